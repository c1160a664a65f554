/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that cannot be answered yet: a Wait for an exit, a second Delete, a Kill that came while
 * Start is under way. Such a call is put aside and its handler is run again, from the start, when
 * what it waits for has happened. So there is one way to answer a request, and a caller that gives
 * up costs nothing.
 */
#pragma once

#include "pkg/base/list.h"
#include "pkg/ttrpc/ttrpc.h"

/* Puts the call aside. Without memory, and behind LIMIT_WAITING_CALLS others, the call is answered
 * with ResourceExhausted. */
void pending_add(struct list *list, struct ttrpc_call *call, const ProtobufCMessage *request,
                 ttrpc_handler handler, void *userdata);

/* Runs all handlers again, in order. The list may be gone when it returns; what the handlers add
 * to it waits for the next time. */
void pending_run(struct list *list);

/* Answers all with a failure. */
void pending_fail(struct list *list, int code, const char *text);
