/* SPDX-License-Identifier: Apache-2.0
 *
 * OOM kills in a container's cgroup, and which level of the tree was out of memory. A watch has no
 * loop of its own: it gives a descriptor that becomes readable, and a function that then says what
 * has happened since it was last called. That function may be called at any time, too, for instance
 * when a process was ended by SIGKILL.
 *
 * v2: memory.events counts the kills of the whole subtree, and poll(2) tells when it has changed
 * since it was read. (So would inotify, of which a user has few instances; to close one takes 15
 * ms.)
 *
 * v1: memory.oom_control counts those of its own level only, and tells an eventfd of an OOM shortly
 * *before* the kill: at the level that is out of memory and at all levels below. So sub-cgroups are
 * watched one by one, and what is told is looked at again until it has been counted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"

struct cgroup;
struct cgroup_oom;

/* Whose limit it was. */
enum cgroup_oom_level {
        CGROUP_OOM_UNKNOWN,  /* cannot be told, or several were hit */
        CGROUP_OOM_BELOW,    /* that of a cgroup which the container has made in its own */
        CGROUP_OOM_OWN,      /* the container's */
        CGROUP_OOM_ANCESTOR, /* that of a cgroup above, a pod's for instance */
        CGROUP_OOM_HOST,     /* no cgroup's: the machine was out of memory */
        _CGROUP_OOM_LEVEL_MAX
};

/* "unknown", "below", "own", "ancestor", "host". */
const char *cgroup_oom_level_name(enum cgroup_oom_level level);

struct cgroup_oom_news {
        unsigned long n_kills; /* since the last call */
        enum cgroup_oom_level level;
        unsigned n_up;          /* ANCESTOR: 1 is the cgroup right above the container's */
        unsigned look_again_ms; /* read again after this time; 0: when the descriptor is readable */
        bool is_over;           /* the cgroup is gone: the descriptor is of no more use */
};

/*
 * Begins to watch. Kills that were counted before belong to the container if its cgroup was created
 * for it. STATUS_NOT_FOUND where there is no memory controller. What cannot be armed (a level above
 * that may not be written, say, or that there is no inotify instance left for) costs promptness or
 * the level, never the count. Quick. Two descriptors, and one for each level and,
 * on v1, for each sub-cgroup, up to LIMIT_OOM_LEVELS and LIMIT_OOM_GROUPS.
 */
int cgroup_oom_new(const struct cgroup *cg, struct cgroup_oom **ret, struct error *err);

/* What another watch of the same cgroup has come to know. */
struct cgroup_oom_past {
        bool knows_before;
        uint64_t n_before; /* kills that are not the container's, since they were before it */
        uint64_t n_told;   /* kills of the container's */
};

/*
 * Goes on from there: what was told is not told again, and what was not is told. (Where n_before is
 * not known, and the cgroup was not created for the container, that was all there is now.)
 */
int cgroup_oom_resume(const struct cgroup *cg, const struct cgroup_oom_past *past,
                      struct cgroup_oom **ret, struct error *err);

uint64_t cgroup_oom_n_before(const struct cgroup_oom *oom);
struct cgroup_oom *cgroup_oom_free(struct cgroup_oom *oom);

/* The same, but for v1's inotify descriptor, which becomes the caller's (-1: none): to close the
 * last copy of it waits for a grace period of the kernel, 15 ms and more. */
int cgroup_oom_retire(struct cgroup_oom *oom);

/* Readable when there may be news; the watch's own. -1: there is none, and news tell when to look
 * again. */
int cgroup_oom_fd(const struct cgroup_oom *oom);

/* News may be LIMIT_OOM_BLIND_MS old: v1, without an inotify instance; v2, without an epoll, for
 * want of a descriptor or of memory. */
bool cgroup_oom_is_blind(const struct cgroup_oom *oom);

/* What has happened since the last call. `last`: there will be no other call, so nothing is put
 * off. Quick, but on v1 it may take LIMIT_CGROUP_LOOK_MS: a container
 * that makes and removes them keeps the descriptor readable, so the caller has to limit how often
 * it comes. */
void cgroup_oom_read(struct cgroup_oom *oom, bool last, struct cgroup_oom_news *ret);

/*
 * The number behind "key " at the beginning of a line of a file like memory.events. False if there
 * is no such line, or it does not hold a number that fits. Pure.
 */
bool cgroup_counter_find(const char *text, const char *key, uint64_t *ret);
