/* SPDX-License-Identifier: Apache-2.0
 *
 * What a caller of `start` sends on standard input, and what it is answered. Two kinds of callers
 * exist, and each gets the answer that it can read: see input_decode().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"

#include "cmd/containerd-shim-belay-v2/options.h"

/* Strings are on the heap and NULL when not given. */
struct input {
        bool bootstrap; /* the caller speaks BootstrapParams (containerd 2.3 and later) */
        bool debug;
        char *ttrpc_address;
        char *socket_dir;
        char *shim_cgroup;
};

/*
 * Pure. Bytes that decode as BootstrapParams with the instance_id and namespace of the flags come
 * from a bootstrap caller; all others are a bare Any of runtime options, or nothing. Options of a
 * type other than containerd.runc.v1.Options and containerd.linux.runc.CreateOptions are not ours
 * to read here, and no error.
 */
int input_decode(const void *data, size_t len, const struct options *options, struct input *ret,
                 struct error *err);

/* Reads fd to its end, at most LIMIT_BOOTSTRAP_BYTES, and decodes that. A closed fd is empty. */
int input_read(int fd, const struct options *options, struct input *ret, struct error *err);

void input_deinit(struct input *input);

/* The full type name of an Any, without what stands before the last '/'. */
const char *any_type_name(const char *type_url);

/*
 * The answer of `start` for the socket at path, on the heap: the bare address, without a newline,
 * or a BootstrapResult. The version is always 2: with 3, containerd would put the containers of a
 * pod into one shim.
 */
int reply_encode(bool bootstrap, const char *path, char **ret_data, size_t *ret_len,
                 struct error *err);
