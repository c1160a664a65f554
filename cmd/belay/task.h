/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to a shim, and the calls of containerd.task.v2.Task and belay.v1.Belay over it. The
 * calls here wait for their answer by running the loop, so that everything else on it (stdio,
 * signals) goes on.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"
#include "pkg/ttrpc/ttrpc.h"

struct task;

/* What containerd allows State and Connect. A shim that is slower may live all the same. */
#define TASK_QUICK_NS (UINT64_C(5) * 1000000000)

/* address: "unix:///path" or a path. */
int task_open(struct task **ret, struct loop *loop, const char *address, struct error *err);
struct task *task_close(struct task *task);

/* Ends all calls that are pending; every later one fails. */
void task_disconnect(struct task *task);

/*
 * method: its name in the service ("Wait"). timeout_ns 0: none. *ret, when not NULL, is the
 * caller's: protobuf_c_message_free_unpacked(). An error has the shim's own code and text.
 */
int task_call(struct task *task, const char *method, const ProtobufCMessage *request,
              uint64_t timeout_ns, ProtobufCMessage **ret, struct error *err);

/* The same, with metadata of the call. */
int task_call_with(struct task *task, const char *method, const ProtobufCMessage *request,
                   const struct ttrpc_call_options *options, ProtobufCMessage **ret,
                   struct error *err);

/* Does not wait; fn as in ttrpc.h. */
int task_send(struct task *task, const char *method, const ProtobufCMessage *request,
              ttrpc_response_fn fn, void *userdata, struct error *err);

/* Likewise, of belay.v1.Belay. */
int task_send_belay(struct task *task, const char *method, const ProtobufCMessage *request,
                    uint64_t timeout_ns, ttrpc_response_fn fn, void *userdata, struct error *err);

/* The same as task_call(), for the unary methods of belay.v1.Belay. A shim that does not have it
 * answers STATUS_UNIMPLEMENTED. */
int task_call_belay(struct task *task, const char *method, const ProtobufCMessage *request,
                    uint64_t timeout_ns, ProtobufCMessage **ret, struct error *err);

/* Opens a stream of belay.v1.Belay: see ttrpc_client_stream_open(). options may be NULL. */
int task_stream(struct task *task, const char *method, enum ttrpc_kind kind,
                const ProtobufCMessage *request, const struct ttrpc_call_options *options,
                const struct ttrpc_client_stream_ops *ops, void *userdata,
                struct ttrpc_client_stream **ret, struct error *err);

/* Whether the connection is read: see ttrpc_client_pause(). */
void task_pause(struct task *task, bool paused);

/* Runs the loop until the shim has closed the connection, or until the time is over: false. */
bool task_await_close(struct task *task, uint64_t timeout_ns);

/* ---- The calls that several verbs share ---- */

/* exec_id "" is the container's first process. Texts are the caller's to free with
 * task_state_deinit(). */
struct task_state {
        char *bundle;
        char *in;
        char *out;
        char *err;
        bool terminal;
        uint32_t pid;
        int status; /* Containerd__V1__Types__Status */
        uint32_t exit_status;
        int64_t exited_at; /* seconds; year 1 while it has not ended */
        int32_t exited_at_nanos;
};
int task_state(struct task *task, const char *id, const char *exec_id, struct task_state *ret,
               struct error *err);
void task_state_deinit(struct task_state *state);

/* The shim's own pid, from Connect. */
int task_shim_pid(struct task *task, const char *id, uint32_t *ret, struct error *err);

/* "created", "running" and so on; "unknown" for a number that is none. */
const char *task_status_name(int status);

int task_kill(struct task *task, const char *id, const char *exec_id, int signo, bool all,
              struct error *err);

/* Waits for the end of the process; STATUS_DEADLINE_EXCEEDED after timeout_ns, 0 is for ever. */
int task_wait(struct task *task, const char *id, const char *exec_id, uint64_t timeout_ns,
              struct task_state *ret, struct error *err);

/* Delete of the container (exec_id "") or of an exec. */
int task_delete(struct task *task, const char *id, const char *exec_id, struct error *err);

/* The numbers of the container's cgroup; *ret is the caller's: metrics_deinit(). */
struct metrics;
int task_stats(struct task *task, const char *id, struct metrics *ret, struct error *err);

/* Asks the shim to end, and waits a few seconds for it. */
void task_shutdown(struct task *task, const char *id);
