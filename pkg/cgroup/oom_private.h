/* SPDX-License-Identifier: Apache-2.0
 *
 * What oom.c and oom_v1.c share. Nobody else includes this.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/cgroup/oom.h"

struct cgroup_dir;

/* OOMs of one level of the tree, from the container's own (the first) upwards. */
struct oom_level {
        int fd;         /* v1: an eventfd; v2: memory.events.local */
        uint64_t told;  /* v1: how often the eventfd was signalled */
        uint64_t hits;  /* how often this level's limit was hit */
        uint64_t known; /* how many of those are accounted for */
};

/* v1: a cgroup that the container has made. */
struct oom_group {
        ino_t ino;
        int event_fd;
        uint64_t told;     /* how often the eventfd was signalled since all of it was explained */
        uint64_t own_told; /* the `told` of the container's own level then */
        uint64_t kills;    /* its counter */
        uint64_t gone_ns;  /* when it was first missed; 0: it is there */
        bool is_seen;      /* in the present walk */
};

struct cgroup_oom {
        bool is_v1;
        char *path;      /* of the container's directory */
        int poll_fd;     /* an epoll: v1: of all eventfds and the inotify; v2: of events_fd */
        int inotify_fd;  /* v1: of new sub-cgroups */
        int events_fd;   /* v2: memory.events */
        bool is_whole;   /* levels reach up to the root */
        bool has_missed; /* there were kills before the levels were watched */
        bool is_over;

        struct oom_level levels[LIMIT_OOM_LEVELS];
        size_t n_levels;
        uint64_t below_hits; /* of all cgroups below the container's own */
        uint64_t below_known;
        uint64_t kills;    /* that were told to the caller, and: */
        uint64_t n_before; /* those before the container */

        /*
         * A hit is counted before its kill: a look in between that finds an earlier kill sees both
         * hits, and the next one a kill without any. And on v2 with memory.oom.group the kernel
         * kills the members after the one that it chose, for one and the same hit.
         */
        uint64_t group_kills; /* how often a group was killed */
        uint64_t group_known; /* the same when kills were last found */
        bool has_last;        /* there was a hit, of: */
        enum cgroup_oom_level last_level;
        unsigned last_up;
        uint64_t last_group;   /* group_known before it */
        uint64_t last_surplus; /* hits, more than there were kills */
        uint64_t last_ns;      /* when */

        /* v1 */
        ino_t own_ino;
        struct oom_group *groups; /* up to LIMIT_OOM_GROUPS */
        size_t n_groups;
        uint64_t gone_kills; /* of sub-cgroups that are no more */
        uint64_t told_ns;    /* when an OOM was told whose kill may be still to come; 0: none is */
        uint64_t last_told_ns; /* when an OOM was told at all; 0: never */
        unsigned told_rounds;  /* how often it was looked for since */
};

/* How long after a hit its kill is waited for: it is killing at that moment. */
#define OOM_WAIT_NS (2 * NSEC_PER_SEC)

/* All there is of one hierarchy's kind: opens, and brings the figures of the struct up to date and
 * returns the kills of the whole subtree so far. */
int oom_v1_open(struct cgroup_oom *oom, struct error *err);
uint64_t oom_v1_count(struct cgroup_oom *oom, bool last);

/* n kills were found, or none and none is to come: what was told until now is explained. */
void oom_v1_explain(struct cgroup_oom *oom);

/*
 * True if nothing was told for some time. While one OOM is being handled another one in the same
 * tree is not told of, so only then may a kill be put down to the host.
 */
bool oom_v1_is_quiet(const struct cgroup_oom *oom);

/* The time until the next look, in ms; 0: none is needed. */
unsigned oom_v1_look_again(struct cgroup_oom *oom);

/*
 * v2: an epoll that is readable when memory.events, or another file of the kind, has changed since
 * it was last read through fd, or was never read (kernfs_generic_poll() of the kernel). A removal
 * of the cgroup may make it readable or not (Linux 6.18 or 6.1). -1 if it cannot be had.
 */
int oom_v2_poll(int fd);

/* v1: the eventfd of a level that is open as dirfd; -1 if it cannot be had. */
int oom_v1_arm(int dirfd);
