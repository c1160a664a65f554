/* SPDX-License-Identifier: Apache-2.0
 *
 * The watch on cgroup v1 (the kernel's mm/memcontrol-v1.c). An eventfd that is registered with a
 * level's memory.oom_control is signalled when that level or one above it is out of memory, before
 * the kill, and once more when the directory has been removed. So what a level was told and the one
 * above it was not is a hit of its own limit.
 *
 * The counter of kills is that of the level in which the process was, and is gone with it. A
 * sub-cgroup that was removed before its counter could be read is taken at its eventfd's word.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/oom_private.h"

enum {
        LOOK_ROUND_MAX = 8, /* the time between two looks grows up to 1 << 7 ms */
        GONE_MS = 50,       /* the last word of a removed cgroup is said by a work queue */
};

int oom_v1_arm(int dirfd)
{
        _cleanup_close_ int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        _cleanup_close_ int control = openat(dirfd, "memory.oom_control", O_RDONLY | O_CLOEXEC);
        char text[32];

        if (event < 0 || control < 0)
                return -1;
        (void)snprintf(text, sizeof(text), "%d %d", event, control);
        return file_write(dirfd, "cgroup.event_control", text) < 0 ? -1 : TAKE_FD(event);
}

static int poll_add(const struct cgroup_oom *oom, int fd)
{
        struct epoll_event event = {.events = EPOLLIN};

        return epoll_ctl(oom->poll_fd, EPOLL_CTL_ADD, fd, &event);
}

int oom_v1_open(struct cgroup_oom *oom, struct error *err)
{
        struct stat st;

        if (stat(oom->path, &st) < 0)
                return error_set(err, STATUS_NOT_FOUND, "there is no cgroup '%s'", oom->path);
        oom->own_ino = st.st_ino;
        oom->poll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (oom->poll_fd < 0)
                return error_errno(err, errno, "watch for OOM kills");
        oom->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if ((oom->inotify_fd >= 0 && poll_add(oom, oom->inotify_fd) < 0) ||
            (oom->n_levels > 0 && poll_add(oom, oom->levels[0].fd) < 0))
                return error_errno(err, errno, "watch for OOM kills: epoll");
        (void)inotify_add_watch(oom->inotify_fd, oom->path, IN_CREATE | IN_ONLYDIR);
        return 0;
}

static uint64_t event_take(int fd)
{
        uint64_t n = 0;

        return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

/* ---- The walk through the container's own cgroups ---- */

struct count {
        struct cgroup_oom *oom;
        uint64_t kills;
};

static struct oom_group *group_find(struct cgroup_oom *oom, ino_t ino)
{
        for (size_t i = 0; i < oom->n_groups; i++) {
                if (oom->groups[i].ino == ino)
                        return &oom->groups[i];
        }
        return NULL;
}

/* What sub-cgroups are made in a directory is told from now on. */
static void watch_directory(const struct cgroup_oom *oom, int dirfd)
{
        char path[32];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", dirfd);
        (void)inotify_add_watch(oom->inotify_fd, path, IN_CREATE | IN_ONLYDIR);
}

/* NULL when there is no room: it is counted, as long as it is there, but tells nothing. */
static struct oom_group *group_add(struct cgroup_oom *oom, ino_t ino, int dirfd)
{
        struct oom_group *group;
        int fd;

        if (oom->n_groups == LIMIT_OOM_GROUPS)
                return NULL;
        group = reallocarray(oom->groups, oom->n_groups + 1, sizeof(*group));
        if (!group)
                return NULL;
        oom->groups = group;
        group += oom->n_groups;
        fd = oom_v1_arm(dirfd);
        if (fd < 0)
                return NULL;
        if (poll_add(oom, fd) < 0) {
                fd_close(fd);
                return NULL;
        }
        *group = (struct oom_group){
                .ino = ino,
                .event_fd = fd,
                .own_told = oom->n_levels > 0 ? oom->levels[0].told : 0,
        };
        oom->n_groups++;
        watch_directory(oom, dirfd);
        return group;
}

static int enter(int dirfd, void *userdata)
{
        struct count *count = userdata;
        _cleanup_free_ char *text = NULL;
        struct oom_group *group;
        struct stat st;
        uint64_t kills = 0;

        if (fstat(dirfd, &st) < 0)
                return 0;
        group = st.st_ino == count->oom->own_ino ? NULL : group_find(count->oom, st.st_ino);
        if (!group && st.st_ino != count->oom->own_ino)
                group = group_add(count->oom, st.st_ino, dirfd);
        if (dir_read(dirfd, "memory.oom_control", &text) == 0)
                (void)cgroup_counter_find(text, "oom_kill", &kills);
        count->kills += kills;
        if (group) {
                group->is_seen = true;
                group->kills = kills;
        }
        return 0;
}

/* ---- What was told ---- */

/* How often the group was told of an OOM of its own, and not of the container's or one above; what
 * the removal adds is not counted. */
static uint64_t group_hits(const struct cgroup_oom *oom, const struct oom_group *group, uint64_t n)
{
        uint64_t above = oom->n_levels > 0 ? oom->levels[0].told - group->own_told : 0;

        return n > above ? n - above : 0;
}

/* From the bottom up: who is told later has an upper level that was told before. */
static void take_events(struct cgroup_oom *oom)
{
        bool is_told = false;

        for (size_t i = 0; i < oom->n_groups; i++) {
                uint64_t n = event_take(oom->groups[i].event_fd);

                oom->groups[i].told += n;
                is_told |= n > 0;
        }
        for (size_t i = 0; i < oom->n_levels; i++) {
                uint64_t n = event_take(oom->levels[i].fd);

                oom->levels[i].told += n;
                is_told |= n > 0 && i == 0;
        }
        for (size_t i = 0; i < oom->n_levels; i++) {
                struct oom_level *level = &oom->levels[i];
                uint64_t above = i + 1 < oom->n_levels ? level[1].told : 0;

                if (level->told > above && level->told - above > level->hits)
                        level->hits = level->told - above;
        }
        if (is_told) {
                oom->told_ns = clock_monotonic_ns();
                oom->last_told_ns = oom->told_ns;
                oom->told_rounds = 0;
        }
}

/* A group that is gone: its kills, and what it was told and nobody could count. */
static uint64_t group_end(struct cgroup_oom *oom, size_t index)
{
        struct oom_group *group = &oom->groups[index];
        uint64_t n = group->told > 0 ? group->told - 1 : 0; /* one is its removal's */
        uint64_t uncounted = group_hits(oom, group, n);

        oom->gone_kills += group->kills;
        fd_close(group->event_fd);
        *group = oom->groups[--oom->n_groups];
        return uncounted;
}

/* Nested groups were all told of one and the same OOM, so the most of it counts. After a walk that
 * was cut short, who was not seen may be there. */
static void end_groups(struct cgroup_oom *oom, bool last, bool is_cut, uint64_t *kills)
{
        uint64_t now = clock_monotonic_ns();
        uint64_t uncounted = 0;

        for (size_t i = oom->n_groups; i-- > 0;) {
                struct oom_group *group = &oom->groups[i];
                uint64_t n;

                if (group->is_seen)
                        continue;
                if (group->gone_ns == 0 && !is_cut)
                        group->gone_ns = now;
                if (!last && (is_cut || now - group->gone_ns < GONE_MS * NSEC_PER_MSEC)) {
                        *kills += group->kills;
                        continue;
                }
                n = group_end(oom, i);
                uncounted = n > uncounted ? n : uncounted;
        }
        oom->gone_kills += uncounted;
        if (uncounted > 0)
                oom->below_hits++;
}

static void count_below(struct cgroup_oom *oom)
{
        uint64_t hits = oom->below_known;

        for (size_t i = 0; i < oom->n_groups; i++) {
                const struct oom_group *group = &oom->groups[i];

                if (group->is_seen && group_hits(oom, group, group->told) > 0)
                        hits++;
        }
        if (hits > oom->below_hits)
                oom->below_hits = hits;
}

uint64_t oom_v1_count(struct cgroup_oom *oom, bool last)
{
        struct count all = {.oom = oom};
        const struct walk walk = {.enter = enter, .is_quick = true, .userdata = &all};
        char buf[1024];
        bool is_cut;

        while (read(oom->inotify_fd, buf, sizeof(buf)) > 0)
                ;
        take_events(oom); /* before new groups take note of what was told by now */
        for (size_t i = 0; i < oom->n_groups; i++)
                oom->groups[i].is_seen = false;
        if (access(oom->path, F_OK) < 0)
                oom->is_over = true;
        is_cut = dir_walk(oom->path, &walk) < 0;
        take_events(oom);
        count_below(oom);
        end_groups(oom, last || oom->is_over, is_cut, &all.kills);
        all.kills += oom->gone_kills;
        /* What was not seen this time has been told once: it must not be news again. */
        return (oom->is_over || is_cut) && all.kills < oom->kills ? oom->kills : all.kills;
}

bool oom_v1_is_quiet(const struct cgroup_oom *oom)
{
        return oom->last_told_ns == 0 || clock_monotonic_ns() - oom->last_told_ns > OOM_WAIT_NS;
}

void oom_v1_explain(struct cgroup_oom *oom)
{
        for (size_t i = 0; i < oom->n_groups; i++) {
                oom->groups[i].told = 0;
                oom->groups[i].own_told = oom->n_levels > 0 ? oom->levels[0].told : 0;
        }
}

unsigned oom_v1_look_again(struct cgroup_oom *oom)
{
        bool is_missing = false;

        for (size_t i = 0; i < oom->n_groups; i++)
                is_missing |= oom->groups[i].gone_ns != 0;
        if (oom->is_over || (oom->told_ns == 0 && !is_missing))
                return 0;
        if (oom->told_ns != 0 && clock_monotonic_ns() - oom->told_ns > OOM_WAIT_NS) {
                /* The process that was killed was somebody else's. */
                for (size_t i = 0; i < oom->n_levels; i++)
                        oom->levels[i].known = oom->levels[i].hits;
                oom->below_known = oom->below_hits;
                oom_v1_explain(oom);
                oom->told_ns = 0;
                return is_missing ? GONE_MS : 0;
        }
        if (oom->told_ns == 0)
                return GONE_MS;
        if (oom->told_rounds < LOOK_ROUND_MAX)
                oom->told_rounds++;
        return 1u << (oom->told_rounds - 1);
}
