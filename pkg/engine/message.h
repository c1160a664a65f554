/* SPDX-License-Identifier: Apache-2.0
 *
 * What shim, stage and the container's init say to each other: fixed-size messages over SEQPACKET
 * sockets, with descriptors beside them. All three are the same program image, so the layout needs
 * no version; the receiver still checks length and type, since init shares its process with nothing
 * that could be trusted after execve.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"
#include "pkg/loop/loop.h"

enum message_type {
        /* stage -> shim */
        MESSAGE_ERROR = 1, /* the job failed and is undone: code, errnum, text; from init, too */
        MESSAGE_WARNING,   /* text */
        MESSAGE_DONE,      /* the job succeeded; value: what the stage's function has returned */
        MESSAGE_CGROUP,    /* a part of the text of cgroup_format(); value: MESSAGE_PART_* */
        MESSAGE_FACTS,     /* payload: struct container_facts; fds as it says */
        MESSAGE_CLONED,    /* value: pid in the host's view; fd: its pidfd */
        MESSAGE_TERMINAL,  /* fd: the pty's master; from init to the stage, too */
        MESSAGE_HOOK,      /* value: process group of the hook that runs, 0 when it has ended */
        /* stage or shim -> init */
        MESSAGE_GO,
        /* init -> stage, value: index of a mount; and the answers, fds: the trees for it and those
         * behind it, as plan_trees_follow() says */
        MESSAGE_TREES,
        /* init -> stage */
        MESSAGE_PREPARED,
        MESSAGE_ENTERED,
        MESSAGE_LISTENER, /* value: the number that the seccomp listener has in the process */
        MESSAGE_READY,
        /* init -> shim, or an exec'd process -> stage: EOF from here on means that execve succeeded
         */
        MESSAGE_EXECUTING,
        _MESSAGE_TYPE_MAX
};

enum { MESSAGE_PART_FIRST = 1, MESSAGE_PART_LAST = 2 };

enum { MESSAGE_TEXT_MAX = 1008 };

struct message {
        uint32_t type;
        int32_t code;
        int32_t errnum;
        int32_t value;
        char text[MESSAGE_TEXT_MAX]; /* a string, or a payload of known size */
};

/* With MSG_NOSIGNAL; 0 or a negative errno. The descriptors stay the caller's. */
int message_send(int sock, const struct message *msg, const int *fds, size_t n_fds);

/* A message without text. */
int message_send_simple(int sock, enum message_type type, int value);

/* A message with the content of err, or with code and text. */
int message_send_error(int sock, enum message_type type, const struct error *err);
void message_get_error(const struct message *msg, struct error *ret);

/* Of message_recv() on a socket that an io watches: there is nothing now, and may be later. Without
 * memory for what there is, the io rests until the next try (loop_io_rest). */
bool message_is_later(struct loop_io *io, int r);

/*
 * 1, or 0 at EOF, or a negative errno (-EAGAIN on a non-blocking socket, -EBADMSG for nonsense). On
 * entry *n_fds is the room in fds; NULL: descriptors are an error.
 */
int message_recv(int sock, struct message *ret, int *fds, size_t *n_fds);

/*
 * The same by read(2) and write(2), for an init that may be behind a seccomp filter already: every
 * profile allows these two.
 */
int message_write(int sock, const struct message *msg);
int message_read(int sock, struct message *ret);
