/* SPDX-License-Identifier: Apache-2.0
 *
 * A client of one shim for the benchmarks: it starts the shim binary as containerd does, takes its
 * events as containerd does, and makes calls one after the other. Whatever fails ends the program
 * with a message: a benchmark with failures in it is not a benchmark.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "pkg/loop/loop.h"
#include "pkg/ttrpc/ttrpc.h"

struct client {
        const char *shim;   /* path of the binary */
        const char *bundle; /* absolute, with config.json */
        const char *id;
        char events_address[108];
        char address[128];
        struct loop *loop;
        struct loop_io *log;
        int log_fd;
        struct ttrpc_server *events;
        struct ttrpc_client *task;
        uint64_t n_events;
};

_Noreturn void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void client_init(struct client *c, const char *shim, const char *bundle, const char *id);
void client_deinit(struct client *c);

/* Runs `start` and waits for it; connect is apart, since it is measured apart. */
void client_start_shim(struct client *c);
void client_connect(struct client *c);
void client_run_delete_action(struct client *c);

/* Methods of the task service, in the order of the .proto file. */
enum method {
        METHOD_STATE,
        METHOD_CREATE,
        METHOD_START,
        METHOD_DELETE,
        METHOD_PIDS,
        METHOD_PAUSE,
        METHOD_RESUME,
        METHOD_CHECKPOINT,
        METHOD_KILL,
        METHOD_EXEC,
        METHOD_RESIZE_PTY,
        METHOD_CLOSE_IO,
        METHOD_UPDATE,
        METHOD_WAIT,
        METHOD_STATS,
        METHOD_CONNECT,
        METHOD_SHUTDOWN,
};

struct pending {
        struct loop *loop;
        bool done;
        bool quit_loop; /* leave loop_run() when it is done */
        uint64_t done_ns;
        uint32_t value; /* pid of Create, Start and Connect (shim's), exit status of Wait and Delete
                         */
        enum method method;
        bool may_fail;
};

void client_begin(struct client *c, enum method method, const ProtobufCMessage *request,
                  struct pending *p);
void client_finish(struct client *c, struct pending *p);

/* Serves what comes for so long. */
void client_rest(struct client *c, uint64_t ns);

uint32_t client_call(struct client *c, enum method method, const ProtobufCMessage *request);

/* The calls that every benchmark makes. exec_id may be "". */
void client_create(struct client *c, const char *out);
uint32_t client_create_io(struct client *c, const char *in, const char *out, bool terminal);
uint32_t client_start(struct client *c, const char *exec_id);
void client_wait_begin(struct client *c, const char *exec_id, struct pending *p);
void client_delete(struct client *c, const char *exec_id);
uint32_t client_delete_status(struct client *c, const char *exec_id);
void client_kill(struct client *c);
void client_exec(struct client *c, const char *exec_id, const char *process_json, const char *out);
void client_shutdown(struct client *c);
uint32_t client_shim_pid(struct client *c);
