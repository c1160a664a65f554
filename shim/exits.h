/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens when a process has ended: the order in which the world is told.
 *
 *   1. the record on disk        at once
 *   2. the state                 when no Start, Pause or Resume is under way any more, and, for
 *   3. the event                 the init, when the exits of all execs have been told
 *   4. those who wait
 */
#pragma once

#include "pkg/loop/loop.h"

struct container;
struct process;

/* From now on the process's exit is seen. Once, when the executor has made it. */
void exits_watch(struct process *process);

/* The Start of a process has come to its end: an exit that came meanwhile is told now. */
void exits_after_start(struct process *process);

/* Something that init's exit may wait for is over. Harmless when there is no exit. */
void exits_advance(struct container *container);

/* The Start of an exec has failed: it counts as ended, with the reason runtime_error; no event. */
void exits_exec_not_started(struct process *process);

/* What an init has left in a pid namespace that it shares with others is killed, once. For a shim
 * that goes on after a crash in the middle of it: nobody knows how far that had come. */
void exits_kill_rest(struct container *container);

/* A SIGKILL is about to be sent for a client: OOM kills so far were of other processes. */
void exits_before_sigkill(struct container *container);

/* Somebody wants the container gone. Once its init has ended, a Start that is still under way (a
 * poststart hook may take any time) is not waited for. */
void exits_want_end(struct container *container);

/* The timer of container->execs_wait. */
void exits_on_wait_over(struct loop_timer *timer, void *userdata);
