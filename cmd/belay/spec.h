/* SPDX-License-Identifier: Apache-2.0
 *
 * The config.json that belay writes: its own default, or a user's bundle made independent of where
 * it lies. Pure, except for realpath(3) on the bundle's paths. (With out.c the only user of json-c
 * in cmd/.)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

/* A process of an exec, in an Any. */
#define SPEC_PROCESS_TYPE "types.containerd.io/opencontainers/runtime-spec/1/Process"

/* What the command line wishes; NULL or empty leaves a default or the bundle's own value. */
struct spec_wish {
        const char *id;
        const char *rootfs;      /* absolute; spec_default() only */
        const char *const *args; /* NULL-terminated */
        size_t n_args;
        const char *const *env;
        size_t n_env;
        const char *cwd;
        const char *user; /* "UID" or "UID:GID" */
        const char *const *caps;
        size_t n_caps;
        const char *const *gids;
        size_t n_gids;
        const char *apparmor;      /* a profile's name */
        const char *process_label; /* of SELinux */
        bool no_new_privs;
        bool terminal;
        uint16_t width; /* of the terminal; 0: unknown */
        uint16_t height;
};

/*
 * A container with namespaces of its own, the capabilities and the masked paths that containerd
 * gives by default, no network but loopback, and no seccomp profile. The text is on the heap.
 */
int spec_default(const struct spec_wish *wish, char **ret_json, struct error *err);

/*
 * The config.json of a user's bundle, with root.path and the sources of bind mounts made absolute,
 * so that it works from belay's own directory. *ret_terminal: it wants a terminal, or the wish
 * does.
 */
int spec_from_bundle(const char *bundle, const struct spec_wish *wish, char **ret_json,
                     bool *ret_terminal, struct error *err);

/* The config.json of a bundle as it is; *ret_terminal: its process wants a terminal. */
int spec_read(const char *bundle, char **ret_json, bool *ret_terminal, struct error *err);

/*
 * The process of an exec, with the wish's arguments: that of bundle's config.json, or, with a file,
 * what that holds. *ret_terminal: it wants a terminal; of config.json's own that is not heeded.
 */
int spec_exec_process(const char *bundle, const char *file, const struct spec_wish *wish,
                      char **ret_json, bool *ret_terminal, struct error *err);

/* A config.json for people to begin with: `belay spec`. rootless: with a user namespace in which
 * uid and gid are root. */
int spec_template(bool rootless, char **ret_json, struct error *err);
