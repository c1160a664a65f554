/* SPDX-License-Identifier: Apache-2.0
 *
 * What create and run share: a directory of belay's own for the container, <root>/<id>, a shim in
 * it, and Create with whatever the command line says. The user's bundle is only read.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"

#include "cmd/belay/args.h"
#include "cmd/belay/container.h"

/*
 * Standard streams as the task API names them. Those that the process is to inherit from belay are
 * descriptors of this process to the shim (fd:///PID/N, see pkg/io/stdio.h), which therefore has to
 * live until the call is answered.
 */
struct launch_stdio {
        char in[32];
        char out[32];
        char err[32];
        char *console; /* console://..., in place of out; on the heap */
};

/* The streams of a process that is nobody's to relay: inherited, or those of --console-socket. Says
 * what is wrong when terminal and options do not agree. */
int launch_stdio_init(struct launch_stdio *stdio, const struct args *args, bool terminal,
                      struct error *err);
void launch_stdio_deinit(struct launch_stdio *stdio);
const char *launch_stdio_out(const struct launch_stdio *stdio);

/* Options of runc's that are not supported, refused by name. */
int launch_check(const struct args *args, struct error *err);

/* c->bundle is the directory, which exists. Takes note of the container, and starts and connects
 * its shim. bundle and config_json: what the container is made of. */
int launch_shim(struct container *c, const struct args *args, const char *bundle,
                const char *config_json, struct error *err);

struct launch {
        const char *bundle;
        const char *in;
        const char *out;
        const char *err;
        bool terminal;
};

/*
 * With --log or --interactive, for a container that goes on without us: its streams are what these
 * say. False: neither was given, and launch is as it was.
 */
bool launch_keeps_output(const struct args *args);
int launch_keep_output(const struct args *args, struct launch *launch, struct error *err);

/* Create; then --pid-file is written. */
int launch_create(struct container *c, const struct args *args, const struct launch *launch,
                  struct error *err);

int launch_start(struct container *c, const struct args *args, struct error *err);

/* --pid-file, if there is one: as a whole or not at all. */
int launch_write_pid(const struct args *args, uint32_t pid, struct error *err);
