/* SPDX-License-Identifier: Apache-2.0
 *
 * The methods of the task service, one file each; userdata of every handler is the shim_server.
 * What a method means is in containerd's api/runtime/task; where belay differs, the file says so.
 */
#pragma once

#include "pkg/ttrpc/ttrpc.h"

struct container;
struct error;
struct process;
struct process_request;

void rpc_state(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_create(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_start(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_delete(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_pids(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_kill(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_exec(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_resize_pty(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_close_io(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_wait(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_connect(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_shutdown(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);

void rpc_pause(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_resume(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_stats(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_update(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);

/* Checkpoint. */
void rpc_unsupported(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);

/* Of belay.v1.Belay; see proto/belay/v1/belay.proto. */
void rpc_status(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_inspect(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_upgrade(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_logs(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);

void rpc_attach(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_exec_stream(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);

/* Adds an exec. spec is copied; call: whose passed descriptors it gets. */
int rpc_exec_add(struct process **ret, struct container *container,
                 const struct process_request *request, const ProtobufCBinaryData *spec,
                 const struct ttrpc_call *call, struct error *err);

/* Starts an exec that has an ExecStream, which is told how it went. -1: it may not be started. */
int rpc_start_exec(struct process *process, struct error *err);

/* A Delete of an exec that has ended, which nobody waits for. */
void rpc_delete_exec(struct process *process);

/* Its stdio is drained: a Delete under way goes on. */
void rpc_delete_drained(struct process *process);

/* The container goes: Pids that still wait are answered, those of a stage at work, too. */
struct pids;
struct pids *rpc_pids_forget(struct pids *pids);

/* Ends the Create under way early; it is answered with a failure, soon. */
void rpc_create_abort(struct container *container);

/* Ends a Start under way early; it is answered with a failure, soon. */
void rpc_start_abort(struct process *process);

/* The container has ended, or shall: a Pause under way is ended early, and what is paused goes on.
 */
void rpc_pause_end(struct container *container);

/* Lets all its processes go on, at once. */
void rpc_pause_thaw(const struct container *container);

/* The same when SIGKILL was sent to the init, which somebody else, or it itself, may have frozen.
 */
void rpc_pause_after_sigkill(struct container *container);

/* Ends an Update under way early. */
void rpc_update_abort(struct container *container);

/* A Delete of the init goes on as far as it can: called when something it may wait for has
 * happened. Harmless when none is under way. */
void rpc_delete_advance(struct container *container);
