/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors that go through execve(2), as a message of saved state names them: by a number that
 * is one higher, so that 0 is none.
 *
 * What comes from before an execve has no CLOEXEC, or it would not have come. So that flag tells
 * what nobody has claimed yet from what this program has opened itself, and a number of a message
 * that leads to the latter is refused.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"

enum kept_kind {
        KEPT_ANY,
        KEPT_SOCKET,
        KEPT_PIPE, /* or a FIFO */
        KEPT_FILE, /* a regular one; a memfd counts */
        KEPT_TERMINAL,
};

/* The number of a descriptor in a message; -1 is none. It is marked: see kept_late_begin(). */
uint32_t kept_number(int fd);

/*
 * Only looks: the descriptor, or -1 for none. A descriptor that is not open, is of another kind or
 * has been claimed is INVALID_ARGUMENT with its number and `what` it was to be.
 */
int kept_look(uint32_t number, enum kept_kind kind, const char *what, int *ret, struct error *err);

/* The same for a pidfd, which must be that process's. One of a process that has been reaped knows
 * its pid no more, and is taken. */
int kept_look_pidfd(uint32_t number, pid_t pid, const char *what, int *ret, struct error *err);

/* The process of a pidfd, -1 if that has been reaped; 0: it is no pidfd. */
pid_t kept_pid(int fd);

/* Makes it CLOEXEC: from here on it is somebody's. -1 is fine. */
void kept_claim(int fd);

/* Both: for what is closed again if something else fails, so that it is owned at once. */
int kept_take(uint32_t number, enum kept_kind kind, const char *what, int *ret, struct error *err);

/*
 * A message names descriptors until it is replaced by the next one, and the process may end between
 * the two. So what it names stays open as long: from kept_late_begin() on, fd_close() only takes
 * note of a descriptor that was marked by kept_number() or kept_claim(), and calls `fn` when it is
 * the first one since kept_late_settle(), which closes them all. Whoever replaces the message calls
 * that then, soon; until it does their numbers are not used again. In a fork all is as if this was
 * never called. All below LIMIT_KEPT_LATE have this, and a shim has no others.
 */
void kept_late_begin(void (*fn)(void *userdata), void *userdata);
void kept_late_settle(void);

/* As fd_close(), for where it matters that it is closed at once: if it is put off, it is the number
 * alone that stays, with standard input behind it. */
int kept_close_now(int fd);

/* Closes what is left, and no more is put off. */
void kept_late_end(void);

/* For fd_close(): true if it was put off. */
bool kept_late_close(int fd);
