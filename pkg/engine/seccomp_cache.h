/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled filters, kept by what they were compiled from: see seccomp_cache.c.
 */
#pragma once

#include <linux/filter.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/engine/seccomp_join.h"

/* Made when it is needed. On a tmpfs, so that it ends with the kernel that it was made for. */
#define SECCOMP_CACHE_DIR "/run/belay-seccomp"

/* A filter is at most 32 KiB; few nodes have more than a handful of profiles. */
enum { SECCOMP_CACHE_FILES_MAX = 64 };

/* A rule with everything in libseccomp's terms: once, for all architectures. */
struct seccomp_rule {
        uint32_t action;
        bool is_default; /* libseccomp refuses rules that say what is said already */
        bool is_split;   /* an argument occurs twice: each comparison is a rule of its own */
        struct scmp_arg_cmp *args;
        unsigned n_args;
        int *numbers; /* of the names that exist */
        size_t n_numbers;
};

/* All that a filter is compiled from. seccomp_key_make() covers every field. */
struct seccomp_input {
        uint32_t default_action;
        uint32_t tokens[SECCOMP_ARCHES_MAX]; /* SCMP_ARCH_*, the native one first */
        size_t n_tokens;
        const struct seccomp_rule *rules;
        size_t n_rules;
};

struct seccomp_key {
        uint8_t bytes[32];
};

/* False: what compiles cannot be named, so nothing is to be kept. */
bool seccomp_key_make(const struct seccomp_input *input, struct seccomp_key *ret);

/* The folder, made if it is not there; -1 if there is none that only we can write to. */
int seccomp_cache_open(const char *path);

/* False, with *ret untouched: not there, or not as it was written; the latter is removed. */
bool seccomp_cache_find(int dir, const struct seccomp_key *key, struct arena *arena,
                        struct sock_fprog *ret);

/* What cannot be kept is not: that is no error. */
void seccomp_cache_keep(int dir, const struct seccomp_key *key, const struct sock_fprog *prog);
