/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim's command line, as containerd writes it: Go's flag syntax, then one action word.
 */
#pragma once

#include <stdbool.h>

#include "pkg/base/error.h"

/* Strings point into argv, or are "" when not given; never NULL. */
struct options {
        const char *runtime_namespace;
        const char *id;
        const char *address;        /* containerd's gRPC socket: an input of the socket's name */
        const char *publish_binary; /* accepted, unused */
        const char *socket;         /* serve here instead of on descriptor 3 */
        const char *state;          /* of the daemon: a descriptor, the vault of its predecessor */
        const char *fallback;       /* another one: the predecessor's binary */
        const char *debug_socket;   /* accepted, unused: nothing is profiled over a socket */
        const char *bundle;         /* of `delete` */
        bool debug;
        bool orphans;        /* the container's processes are for the caller's subreaper to reap */
        bool same_oom_score; /* of `start`: a person's containers have no daemon to die before */
        bool version;
        bool info;
        bool help;
        const char *program; /* argv[0]; "" if there is none */
        const char *action;  /* first word that is no flag; "" serves */
};

/*
 * Pure. Go's rules: `-x v`, `-x=v`, `--x v` and `--x=v`; a boolean takes its value only after `=`;
 * the first word that is no flag, or the one behind `--`, is the action and what follows it is
 * ignored. -1 and STATUS_INVALID_ARGUMENT for anything else, worded as Go does.
 */
int options_parse(int argc, const char *const *argv, struct options *ret, struct error *err);

/* The text for -h and behind a usage error; name is the program's. Static text goes to fd. */
void options_print_usage(int fd, const char *name);
