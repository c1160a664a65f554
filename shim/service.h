/* SPDX-License-Identifier: Apache-2.0
 *
 * The task services v2 and v3: which handler answers which method, and what all handlers begin
 * with. One method, one file in rpc/.
 */
#pragma once

#include "pkg/base/error.h"
#include "pkg/ttrpc/ttrpc.h"

#include "google/protobuf/timestamp.pb-c.h"

struct shim_server;
struct container;
struct process;
struct process_exit;

enum { SERVICE_METHODS_MAX = 24, SERVICE_BELAY_METHODS_MAX = 16 };

int service_register(struct shim_server *server, struct error *err);

/* belay's own service (service_belay.c). */
int service_belay_register(struct shim_server *server, struct error *err);

/* The container or process that a request names. When there is none the call is answered, with
 * NOT_FOUND in containerd's words, and NULL is returned. */
struct container *service_find_container(struct shim_server *server, struct ttrpc_call *call,
                                         const char *id);
struct process *service_find_process(struct shim_server *server, struct ttrpc_call *call,
                                     const char *id, const char *exec_id);

/*
 * What an executor's job failed with, on its way to a client, and into the log. It never says
 * NOT_FOUND or ALREADY_EXISTS, whatever was missing or in the way: to a client these mean the task.
 */
void service_fail_job(struct ttrpc_call *call, const char *exec_id, const char *what,
                      const struct error *why);

/* exited_at of an answer: the zero time of Go (year 1) while the exit is not told. */
Google__Protobuf__Timestamp service_exited_at(const struct process_exit *exit);

/* Answers with google.protobuf.Empty. */
void service_reply_empty(struct ttrpc_call *call);
