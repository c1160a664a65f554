/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim's binary, run as containerd runs it: its start and delete actions.
 */
#pragma once

#include <stddef.h>

#include "pkg/base/error.h"

#include "cmd/belay/args.h"

/*
 * Starts a shim for the bundle; returns its socket's address, on the heap. Events go nowhere, since
 * there is no containerd.
 */
int program_start(const struct args *args, const char *bundle, char **ret_address,
                  struct error *err);

/* Cleans up behind a container, as far as that is still to be done. Idempotent. */
int program_delete(const struct args *args, const char *bundle, struct error *err);

/* The features document of the runtime-spec (features.md), as the shim has it; on the heap. */
int program_features(const struct args *args, char **ret_json, struct error *err);

/* Pure: the answer of `start`, a bare address or a BootstrapResult. */
int program_decode_reply(const char *data, size_t len, char **ret_address, struct error *err);
