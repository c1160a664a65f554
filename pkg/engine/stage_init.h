/* SPDX-License-Identifier: Apache-2.0
 *
 * The stage's part of the conversation with a process that it has cloned; see init.h for the other
 * side.
 */
#pragma once

#include "pkg/base/error.h"
#include "pkg/engine/child.h"
#include "pkg/engine/message.h"
#include "pkg/engine/seccomp_notify.h"
#include "pkg/engine/stage.h"

/* Moves the three above 2, so that dup2(2) onto 0 to 2 overwrites none of them. */
int stage_raise_stdio(int *stdio, struct error *err);

/* Tells the shim about a process that was cloned, before it may do anything. */
int stage_send_cloned(const struct stage *stage, pid_t pid, int pidfd, struct error *err);

/* -1 and the error of a process that has ended instead of going on, with errnum ECHILD. */
int stage_set_ended(struct error *err);

int stage_send_go(int gate, struct error *err);

/*
 * Waits for the next message of the process, which must be of that type. A terminal is passed on to
 * the shim. EOF is an error with errnum ECHILD; what the process says of itself is one as it is.
 */
int stage_await(const struct stage *stage, int gate, enum message_type type, struct error *err);

/* The same, and the message's value. */
int stage_await_value(const struct stage *stage, int gate, enum message_type type, int *ret_value,
                      struct error *err);

/* Also hands over the trees that the process asks for on its way (plan_clone_trees()). */
int stage_await_mounting(const struct stage *stage, int gate, enum message_type type,
                         const struct plan *plan, struct error *err);

/* Hands trees over until there are none left that the process may ask for. 1, or 0 if it has said
 * READY by then, or -1. */
int stage_serve_trees(const struct stage *stage, int gate, const struct plan *plan,
                      struct error *err);

/* Waits for the process's word that it has a seccomp listener, sends that to whoever is to have it,
 * and lets the process go on. notify->listener is filled in. */
int stage_hand_listener_over(const struct stage *stage, int gate, struct seccomp_notify *notify,
                             struct error *err);
