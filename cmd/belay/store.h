/* SPDX-License-Identifier: Apache-2.0
 *
 * Where belay keeps its containers: <root>/<id>, which is the bundle of that container, as
 * containerd lays one out. Names that begin with a dot are no containers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "pkg/base/error.h"

/* <root>/<id> with an absolute root, on the heap. */
int store_path(const char *root, const char *id, char **ret, struct error *err);

/* Makes root and bundle; STATUS_ALREADY_EXISTS when there is one of that id. *ret_path as above. */
int store_create(const char *root, const char *id, char **ret_path, struct error *err);

/*
 * Removes the bundle: its files, the directories that belay made in it, and an empty rootfs.
 * Nothing below a directory that belay did not make is ever touched, so what is still mounted there
 * stays and is an error.
 */
int store_remove(const char *path, struct error *err);

/* Ids of all containers, sorted; on the heap, as are the strings. No root is no containers. */
int store_list(const char *root, char ***ret_ids, size_t *ret_n, struct error *err);
void store_list_free(char **ids, size_t n);

/* When the container was made. */
int store_created_at(const char *path, struct timespec *ret);

/* The socket's address that the shim has written into the bundle, on the heap. */
int store_address(const char *bundle, char **ret, struct error *err);
