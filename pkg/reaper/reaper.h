/* SPDX-License-Identifier: Apache-2.0
 *
 * The only caller of wait in the process. A signalfd wakes it; it reaps until nothing is left, in
 * the order of the kernel, and tells whoever watches the pid. It makes the process a child
 * subreaper, so that orphans of containers arrive here and leave no zombie.
 *
 * A stage clones init with CLONE_PARENT: the child is ours before we have heard of it. While such a
 * stage is at work (between reaper_expect() and reaper_unexpect()), exits of unknown pids are kept,
 * and a watch that comes late finds them. So "it ended before we knew it" loses nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "pkg/base/error.h"
#include "pkg/base/list.h"
#include "pkg/loop/loop.h"

struct reaper;
struct reaper_watch;

struct reaper_exit {
        pid_t pid;
        int code;           /* CLD_EXITED, CLD_KILLED or CLD_DUMPED, of waitid(2) */
        int status;         /* exit status, or the signal */
        struct timespec at; /* CLOCK_REALTIME when it was reaped */
};

/* The exit status of a process of which nobody can say how it has ended. */
enum { REAPER_STATUS_UNKNOWN = 255 };

/*
 * How a process has ended that somebody else reaps, or has reaped; its pidfd was opened while it
 * was there, and is readable by now. From /proc while it is a zombie, or from the pidfd
 * (PIDFD_GET_INFO, Linux 6.15). False when the kernel cannot tell: *ret is CLD_EXITED with
 * REAPER_STATUS_UNKNOWN then.
 */
bool reaper_read_exit(pid_t pid, int pidfd, struct reaper_exit *ret);

/* Blocks SIGCHLD and sets PR_SET_CHILD_SUBREAPER. One per process. */
int reaper_new(struct reaper **ret, struct loop *loop, struct error *err);
struct reaper *reaper_free(struct reaper *reaper);

typedef void (*reaper_fn)(const struct reaper_exit *exit, void *userdata);

/*
 * Watches a child until it is reaped; the watch is freed before fn runs. Any watch may be freed
 * from inside any fn. Several watches of one pid all fire. An exit that was kept is delivered from
 * the end of the present round, never from inside this call, and to the first watch only; if that
 * is freed before, it is kept as before. NULL without memory.
 */
struct reaper_watch *reaper_watch_new(struct reaper *reaper, pid_t pid, reaper_fn fn,
                                      void *userdata);
struct reaper_watch *reaper_watch_free(struct reaper_watch *watch);

/* What a pid is that another program has named: for an orphan that must have come to us. */
enum reaper_child {
        REAPER_STRANGER, /* no child of ours, and no exit that is kept */
        REAPER_PRESENT,  /* a child, alive or to be reaped: the pid is its own until then */
        REAPER_KEPT,     /* reaped, and its exit is kept */
};
enum reaper_child reaper_find(const struct reaper *reaper, pid_t pid);

/* Whether anybody watches it: false for an orphan that nobody has named yet. */
bool reaper_is_watched(const struct reaper *reaper, pid_t pid);

/*
 * Children may be born of which nobody has heard yet. An exit that nobody has claimed is kept until
 * every expectation from before it has ended; at most LIMIT_KEPT_EXITS are kept, the newest.
 */
struct reaper_expectation {
        struct list node;
        uint64_t from; /* the first exit that it may be about */
};

/* The expectation is the caller's and stays where it is until it is ended. To end one that is not
 * on, or is all zero, is harmless. */
void reaper_expect(struct reaper *reaper, struct reaper_expectation *expectation);
void reaper_unexpect(struct reaper *reaper, struct reaper_expectation *expectation);

/* Reaps now what has ended by now and calls the watchers before it returns: "did it die?" before an
 * EOF is taken for a success. To be called once after a re-exec, when the watches are back. */
void reaper_poll(struct reaper *reaper);

/*
 * ---- Exits that outlive this image of the process ----
 *
 * An exit is noted before the child is reaped, so that no execve, wanted or after a crash, loses
 * one. notes is the caller's memory, zeroed when it is new, that the next image finds again: whole
 * pages, best of a memfd. Bytes for LIMIT_KEPT_EXITS of 32 bytes each are used at most, and only as
 * far as there are any; a memfd's pages are given back when few are left. Of more exits the oldest
 * go, those first that were delivered.
 *
 * What an image before has noted is kept, as between reaper_expect() and reaper_unexpect(): it is
 * delivered to the watches that are made until reaper_restored() is called, which every caller of
 * this does. INVALID_ARGUMENT or UNIMPLEMENTED when it is not such memory.
 */
int reaper_set_notes(struct reaper *reaper, void *notes, size_t size, struct error *err);
void reaper_restored(struct reaper *reaper);

/* The exits that are noted, one after the other: *i begins at 0. False when there are no more. */
bool reaper_next_note(const struct reaper *reaper, size_t *i, struct reaper_exit *ret);

/* All exits that were delivered so far are in a state of the caller's that outlives this image: the
 * notes of them go. */
void reaper_settle(struct reaper *reaper);

/*
 * ---- A process that goes through an execve ----
 *
 * Whoever holds a process has a message of its own for it. What all of them say, and what the next
 * image makes of that, is here.
 */
struct reaper_saved {
        pid_t pid;
        uint32_t pidfd; /* kept_number() */
        bool is_orphan; /* it was no child of ours */
        bool has_exited;
        int code; /* these as in reaper_exit */
        int status;
        int64_t at_ns;
};

/* exit: how it has ended; NULL: it has not, or nobody knows. */
struct reaper_saved reaper_save(pid_t pid, int pidfd, bool is_orphan,
                                const struct reaper_exit *exit);

/*
 * Only looks: *ret_pidfd is to be claimed (pkg/base/kept.h) when all else has succeeded; -1: there
 * was none. 1: it has ended, as *ret_exit says; that is what was saved, or, of a child that is no
 * longer one though nobody has told of its exit, what the kernel says. 0: its exit is to be watched
 * for. -1 with INVALID_ARGUMENT.
 */
int reaper_look_at_saved(const struct reaper *reaper, const struct reaper_saved *saved,
                         int *ret_pidfd, struct reaper_exit *ret_exit, struct error *err);

/*
 * Children that nobody watches, on the heap: what stages of the image before have left, but also
 * orphans of a container in our pid namespace. 0 or a negative errno: -ENOENT if the kernel does
 * not tell (CONFIG_PROC_CHILDREN).
 */
int reaper_strangers(const struct reaper *reaper, pid_t **ret, size_t *ret_n);
