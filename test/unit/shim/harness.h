/* SPDX-License-Identifier: Apache-2.0
 *
 * A shim server with a fake executor, a real client on a socketpair, and a containerd that receives
 * events: everything on one loop in one process, and nothing that sleeps.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"
#include "pkg/state/vault.h"
#include "pkg/ttrpc/ttrpc.h"

#include "containerd/events/task.pb-c.h"
#include "containerd/task/v2/task.pb-c.h"
#include "shim/record.h"
#include "shim/server.h"
#include "test/unit/shim/fake.h"
#include "test/unit/unit.h"

/* ---- A containerd that takes events ---- */

enum { EVENTS_MAX = 256 };

struct seen_event {
        char topic[64];
        char runtime_namespace[64];
        char header_namespace[64];
        char type_url[64];
        int64_t seconds;
        uint8_t data[512];
        size_t len;
};

struct events_server {
        struct loop *loop;
        char path[100];
        struct ttrpc_server *server; /* NULL: it is away */
        int refuse;                  /* answer every event with this status */
        bool mute;                   /* answer none */
        int n_attempts;
        int64_t last_attempt_seconds; /* the timestamp in it */
        int32_t last_attempt_nanos;
        size_t n;
        struct seen_event events[EVENTS_MAX];
};

void events_server_init(struct events_server *s, struct loop *loop, const char *dir);
void events_server_come(struct events_server *s);
void events_server_go(struct events_server *s);

/* The topics so far, as "create start exit". */
const char *events_topics(const struct events_server *s);

/* ---- A server under test ---- */

struct reply {
        bool done;
        struct error err;
        void *message; /* unpacked; freed with the reply */
};

struct harness {
        struct loop *loop;
        struct reaper *reaper;
        struct vault *vault;
        struct fake fake;
        struct events_server events;
        struct shim_server *server;
        struct ttrpc_client *client;
        struct loop_timer *guard;
        struct shim_times times;
        char dir[64]; /* the bundle, and the events' socket */
        bool finished;

        /* Of the next Create and Exec. */
        bool terminal;
        const char *stdout_path;
};

/* times may be NULL. For cmocka_unit_test_setup_teardown: harness_setup, harness_teardown. */
struct harness *harness_new(const struct shim_times *times);
void harness_free(struct harness *h);

/* The server goes, as in a crash, and another one takes over what is in the vault. -1 if it
 * refuses; then there is no server. The client is a new one. */
int harness_restart(struct harness *h, struct error *err);

/* The vault as it is now, and the same from there: what the server has done since then has not
 * happened. The first one gives a descriptor, which the other one takes. */
int harness_remember(const struct harness *h);
int harness_restart_from(struct harness *h, int vault_fd, struct error *err);

int harness_setup(void **state);
int harness_teardown(void **state);

/* One more client. */
struct ttrpc_client *harness_connect(struct harness *h);

/* Runs the loop until *flag, or fails the test after some seconds. */
void harness_run_until(struct harness *h, const bool *flag);

/* Runs what is ready, some rounds of the loop. Then all that the server has to keep for another
 * process image must be in the vault. */
void harness_settle(struct harness *h);

/* Runs until the events server has seen n events. */
void harness_await_events(struct harness *h, size_t n);

/* Starts a call of containerd.task.v2.Task, or another service's. */
struct reply *call_begin(struct harness *h, struct ttrpc_client *client,
                         const ProtobufCServiceDescriptor *service, const char *method,
                         const ProtobufCMessage *request, uint64_t timeout_ns);
void reply_free(struct reply *reply);

/* ---- The methods, by name; each returns the status code ---- */

struct answer {
        int code;
        char text[ERROR_TEXT_MAX];
        uint32_t pid;
        uint32_t status; /* exit status, or the state of State */
        uint32_t exit_status;
        int64_t seconds; /* of exited_at */
};

#define NOT_EXITED INT64_C(-62135596800)

struct answer rpc_do(struct harness *h, const char *method, const char *exec_id);
struct reply *rpc_begin(struct harness *h, const char *method, const char *exec_id);
/* It has no answer yet, since the executor's job of it is held. */
struct reply *rpc_begin_held(struct harness *h, const char *method, const char *exec_id,
                             enum fake_job job);
struct answer rpc_end(struct harness *h, struct reply *reply);
struct answer rpc_kill_do(struct harness *h, const char *exec_id, uint32_t signo, bool all);
struct answer rpc_resize_do(struct harness *h, const char *exec_id, uint32_t width,
                            uint32_t height);
struct answer rpc_exec_do(struct harness *h, const char *exec_id);

/* What is on disk of init (NULL) or of an exec. */
struct shim_record harness_record(const struct harness *h, const char *exec_id);

/* Create and Start of the container "c1"; asserts that they succeed. */
void harness_create(struct harness *h);
void harness_run(struct harness *h);
void harness_exec(struct harness *h, const char *exec_id); /* Exec and Start */
