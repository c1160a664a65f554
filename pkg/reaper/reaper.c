/* SPDX-License-Identifier: Apache-2.0
 *
 * One waitid(2) loop for the whole process: see reaper.h.
 *
 * The exit path needs no memory: a watch has room for its exit, and so has the table of those that
 * nobody has claimed (unclaimed.h).
 *
 * With notes an exit is looked at (WNOWAIT), noted, and only then reaped: whenever this image ends,
 * the next one finds the child or the note.
 *
 * Watches leave every list before anything is called, so a callback may free any of them.
 */
#include "pkg/reaper/reaper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/reaper/notes.h"
#include "pkg/reaper/unclaimed.h"

struct reaper {
        struct loop *loop;
        struct loop_signal *signal;
        struct list watches; /* waiting for the kernel */
        struct list ready;   /* waiting for `deliver`, by seq */
        struct loop_deferred deliver;
        struct list expectations; /* by from */
        uint64_t seq;             /* of the next exit */
        struct unclaimed kept;
        struct notes notes;
        struct reaper_expectation restoring; /* until reaper_restored() */
};

struct reaper_watch {
        struct reaper *reaper; /* NULL: it was freed */
        struct list node;
        pid_t pid;
        reaper_fn fn;
        void *userdata;
        bool is_ready;
        struct reaped ready; /* meaningful then */
};

CLEANUP_DEFINE(struct reaper, reaper_free)

static void watch_deliver(struct reaper_watch *watch, const struct reaper_exit *exit)
{
        reaper_fn fn = watch->fn;
        void *userdata = watch->userdata;

        watch->is_ready = false;
        reaper_watch_free(watch);
        fn(exit, userdata);
}

/* It is kept as long as somebody may still claim it. */
static void reaper_keep(struct reaper *reaper, const struct reaped *reaped)
{
        if (!list_is_empty(&reaper->expectations))
                unclaimed_add(&reaper->kept, reaped, &reaper->notes);
        else
                notes_remove(&reaper->notes, reaped->exit.pid);
}

static void reaper_dispatch(struct reaper *reaper, const struct reaped *reaped)
{
        struct list due = LIST_INIT(due);

        list_for_each_safe(watch, &reaper->watches, struct reaper_watch, node) {
                if (watch->pid != reaped->exit.pid)
                        continue;
                list_remove(&watch->node);
                list_append(&due, &watch->node);
        }
        if (list_is_empty(&due)) {
                reaper_keep(reaper, reaped);
                return;
        }
        notes_set_delivered(&reaper->notes, reaped->exit.pid);
        while (!list_is_empty(&due))
                watch_deliver(list_first(&due, struct reaper_watch, node), &reaped->exit);
}

/* The next child that has ended; flags: WNOWAIT, or 0. False when there is none. */
static bool next_ended(idtype_t type, pid_t pid, int flags, siginfo_t *ret)
{
        int r;

        *ret = (siginfo_t){0};
        do {
                /* __WALL: also children whose exit signal is not SIGCHLD. */
                r = waitid(type, (id_t)pid, ret, WEXITED | WNOHANG | __WALL | flags);
        } while (r < 0 && errno == EINTR);
        return r == 0 && ret->si_pid != 0; /* else ECHILD */
}

void reaper_poll(struct reaper *reaper)
{
        int look_only = reaper->notes.memory ? WNOWAIT : 0;
        siginfo_t info;

        while (next_ended(P_ALL, 0, look_only, &info)) {
                const struct reaped reaped = {
                        .exit = {.pid = info.si_pid,
                                 .code = info.si_code,
                                 .status = info.si_status,
                                 .at = clock_realtime()},
                        .seq = reaper->seq++,
                };

                CHAOS_POINT("child-looked-at");
                notes_add(&reaper->notes, &reaped);
                CHAOS_POINT("child-noted");
                if (look_only)
                        (void)next_ended(P_PID, reaped.exit.pid, 0, &info);
                CHAOS_POINT("child-reaped");
                reaper_dispatch(reaper, &reaped);
        }
}

static void reaper_on_signal(int signo, void *userdata)
{
        (void)signo;
        reaper_poll(userdata);
}

static void reaper_on_deliver(struct loop_deferred *deferred)
{
        struct reaper *reaper = container_of(deferred, struct reaper, deliver);
        struct list due = LIST_INIT(due);

        list_splice(&due, &reaper->ready);
        while (!list_is_empty(&due)) {
                struct reaper_watch *watch = list_first(&due, struct reaper_watch, node);
                struct reaper_exit exit = watch->ready.exit;

                notes_set_delivered(&reaper->notes, exit.pid);
                watch_deliver(watch, &exit);
        }
}

int reaper_new(struct reaper **ret, struct loop *loop, struct error *err)
{
        _cleanup_(reaper_free_p) struct reaper *reaper = calloc(1, sizeof(*reaper));

        if (!reaper)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create reaper: no memory");
        reaper->loop = loop;
        list_init(&reaper->watches);
        list_init(&reaper->ready);
        list_init(&reaper->expectations);
        loop_deferred_init(&reaper->deliver, reaper_on_deliver);
        if (unclaimed_init(&reaper->kept) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create reaper: no memory");
        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return error_errno(err, errno, "become child subreaper");
        if (loop_signal_new(loop, SIGCHLD, LOOP_PRIORITY_EXIT, reaper_on_signal, reaper,
                            &reaper->signal, err) < 0)
                return -1;
        *ret = TAKE_PTR(reaper);
        return 0;
}

/* Those that are still there will never fire; their owners may free them later. */
static void watches_leave(struct list *watches)
{
        while (!list_is_empty(watches)) {
                struct reaper_watch *watch = list_first(watches, struct reaper_watch, node);

                list_remove(&watch->node);
                watch->reaper = NULL;
        }
}

struct reaper *reaper_free(struct reaper *reaper)
{
        if (!reaper)
                return NULL;
        watches_leave(&reaper->watches);
        watches_leave(&reaper->ready);
        while (!list_is_empty(&reaper->expectations))
                list_remove(reaper->expectations.next);
        loop_deferred_cancel(&reaper->deliver);
        loop_signal_free(reaper->signal);
        unclaimed_deinit(&reaper->kept);
        free(reaper);
        return NULL;
}

/* A kept exit is stale when a child of that pid exists again: it is another process. */
static bool child_exists(pid_t pid)
{
        siginfo_t info = {0};

        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

enum reaper_child reaper_find(const struct reaper *reaper, pid_t pid)
{
        size_t i;

        if (child_exists(pid))
                return REAPER_PRESENT;
        return unclaimed_find(&reaper->kept, pid, &i) ? REAPER_KEPT : REAPER_STRANGER;
}

bool reaper_is_watched(const struct reaper *reaper, pid_t pid)
{
        list_for_each(watch, &reaper->watches, struct reaper_watch, node) {
                if (watch->pid == pid)
                        return true;
        }
        return false;
}

static void ready_insert(struct reaper *reaper, struct reaper_watch *watch)
{
        struct list *before = &reaper->ready;

        list_for_each(other, &reaper->ready, struct reaper_watch, node) {
                if (other->ready.seq > watch->ready.seq) {
                        before = &other->node;
                        break;
                }
        }
        list_append(before, &watch->node);
        loop_defer(reaper->loop, &reaper->deliver);
}

struct reaper_watch *reaper_watch_new(struct reaper *reaper, pid_t pid, reaper_fn fn,
                                      void *userdata)
{
        struct reaper_watch *watch = calloc(1, sizeof(*watch));
        size_t i;

        if (!watch)
                return NULL;
        watch->reaper = reaper;
        list_init(&watch->node);
        watch->pid = pid;
        watch->fn = fn;
        watch->userdata = userdata;
        if (unclaimed_find(&reaper->kept, pid, &i)) {
                watch->ready = reaper->kept.exits[i];
                unclaimed_remove(&reaper->kept, i);
                watch->is_ready = !child_exists(pid);
        }
        if (watch->is_ready)
                ready_insert(reaper, watch);
        else
                list_append(&reaper->watches, &watch->node);
        return watch;
}

struct reaper_watch *reaper_watch_free(struct reaper_watch *watch)
{
        if (!watch)
                return NULL;
        list_remove(&watch->node);
        if (watch->is_ready && watch->reaper)
                reaper_keep(watch->reaper, &watch->ready);
        free(watch);
        return NULL;
}

void reaper_expect(struct reaper *reaper, struct reaper_expectation *expectation)
{
        list_init(&expectation->node);
        expectation->from = reaper->seq;
        list_append(&reaper->expectations, &expectation->node);
}

void reaper_unexpect(struct reaper *reaper, struct reaper_expectation *expectation)
{
        const struct reaper_expectation *oldest;

        if (!expectation->node.next || list_is_empty(&expectation->node))
                return;
        list_remove(&expectation->node);
        oldest = list_first(&reaper->expectations, struct reaper_expectation, node);
        unclaimed_forget(&reaper->kept, oldest ? oldest->from : UINT64_MAX, &reaper->notes);
}

/* ---- Exits that outlive this image of the process ---- */

int reaper_set_notes(struct reaper *reaper, void *notes, size_t size, struct error *err)
{
        struct reaped reaped = {0};
        size_t i = 0;

        if (notes_open(&reaper->notes, notes, size, err) < 0)
                return -1;
        /* Without it some would be forgotten that another image may have the room for. */
        if (unclaimed_reserve(&reaper->kept, reaper->notes.n) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "exits: no memory");
        reaper_expect(reaper, &reaper->restoring);
        while (notes_next(&reaper->notes, &i, &reaped)) {
                unclaimed_add(&reaper->kept, &reaped, &reaper->notes);
                if (reaped.seq >= reaper->seq)
                        reaper->seq = reaped.seq + 1;
        }
        return 0;
}

void reaper_restored(struct reaper *reaper)
{
        assert(reaper->restoring.node.next && !list_is_empty(&reaper->restoring.node));
        reaper_unexpect(reaper, &reaper->restoring);
}

bool reaper_next_note(const struct reaper *reaper, size_t *i, struct reaper_exit *ret)
{
        struct reaped reaped;

        if (!notes_next(&reaper->notes, i, &reaped))
                return false;
        *ret = reaped.exit;
        return true;
}

void reaper_settle(struct reaper *reaper)
{
        notes_remove_delivered(&reaper->notes);
}

int reaper_strangers(const struct reaper *reaper, pid_t **ret, size_t *ret_n)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0;
        size_t len;
        char *at;
        char *end;
        int r = file_read(AT_FDCWD, "/proc/thread-self/children", LIMIT_PROC_BYTES, &text, &len);

        if (r < 0)
                return r;
        pids = calloc(len / 2 + 1, sizeof(*pids)); /* a digit and a blank each, at least */
        if (!pids)
                return -ENOMEM;
        at = text;
        for (long pid = strtol(at, &end, 10); end != at; pid = strtol(at, &end, 10)) {
                at = end;
                if (!reaper_is_watched(reaper, (pid_t)pid))
                        pids[n++] = (pid_t)pid;
        }
        *ret = TAKE_PTR(pids);
        *ret_n = n;
        return 0;
}
