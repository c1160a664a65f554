/* SPDX-License-Identifier: Apache-2.0
 *
 * The watch, and which level it was: see oom.h. Each level has a figure of how often its own limit
 * was hit. When kills are found, the levels whose figure has grown since the last time are looked
 * at: if it is one, then it was that one. Others are not guessed between. A limit above may have
 * been hit for the sake of a neighbour, whose end is not our news; so a growth there and a growth
 * here at the same time is "unknown".
 */
#include "pkg/cgroup/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"
#include "pkg/cgroup/oom_private.h"

enum {
        EVENTS_BYTES_MAX = 1024, /* memory.events has below 150 */
        READ_ROUNDS_MAX = 8,     /* a kill takes longer than a round */
        ROOT_INO = 1,            /* of every cgroup hierarchy's root directory */
};

CLEANUP_DEFINE(struct cgroup_oom, cgroup_oom_free)

const char *cgroup_oom_level_name(enum cgroup_oom_level level)
{
        static const char *const names[_CGROUP_OOM_LEVEL_MAX] = {
                [CGROUP_OOM_UNKNOWN] = "unknown", [CGROUP_OOM_BELOW] = "below",
                [CGROUP_OOM_OWN] = "own",         [CGROUP_OOM_ANCESTOR] = "ancestor",
                [CGROUP_OOM_HOST] = "host",
        };

        return names[level];
}

bool cgroup_counter_find(const char *text, const char *key, uint64_t *ret)
{
        size_t n = strlen(key);

        for (const char *line = text; line; line = strchr(line, '\n')) {
                uint64_t value = 0;
                const char *p;

                line += *line == '\n';
                if (strncmp(line, key, n) != 0 || line[n] != ' ')
                        continue;
                for (p = line + n + 1; *p >= '0' && *p <= '9'; p++) {
                        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
                            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
                                return false;
                }
                if (p == line + n + 1 || (*p && *p != '\n'))
                        return false;
                *ret = value;
                return true;
        }
        return false;
}

/* Of memory.events or memory.events.local, as one read gives them. */
struct events {
        uint64_t oom;
        uint64_t kills;
        uint64_t groups; /* Linux before 5.17 does not say */
};

/* False if the file says nothing: the cgroup is gone, then. */
static bool events_read(int fd, struct events *ret)
{
        struct events events = {0};
        char text[EVENTS_BYTES_MAX];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

        if (n <= 0)
                return false;
        text[n] = '\0';
        if (!cgroup_counter_find(text, "oom_kill", &events.kills))
                return false;
        (void)cgroup_counter_find(text, "oom", &events.oom);
        (void)cgroup_counter_find(text, "oom_group_kill", &events.groups);
        *ret = events;
        return true;
}

/* ---- Opening ---- */

/* The level of an open directory. */
static bool level_open(struct cgroup_oom *oom, int dirfd)
{
        struct oom_level *level = &oom->levels[oom->n_levels];
        int fd = oom->is_v1 ? oom_v1_arm(dirfd)
                            : openat(dirfd, "memory.events.local", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return false;
        *level = (struct oom_level){.fd = fd};
        oom->n_levels++;
        return true;
}

static void levels_open(struct cgroup_oom *oom)
{
        _cleanup_close_ int fd = dir_open(AT_FDCWD, oom->path);

        while (fd >= 0) {
                struct stat st;
                int up;

                if (fstat(fd, &st) < 0)
                        return;
                if (st.st_ino == ROOT_INO && oom->n_levels > 0) {
                        oom->is_whole = true;
                        return;
                }
                if (oom->n_levels == LIMIT_OOM_LEVELS || !level_open(oom, fd))
                        return;
                up = dir_open(fd, "..");
                fd_close(fd);
                fd = up;
        }
}

int oom_v2_poll(int fd)
{
        struct epoll_event event = {.events = EPOLLPRI};
        _cleanup_close_ int poll_fd = epoll_create1(EPOLL_CLOEXEC);

        return epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -1 : TAKE_FD(poll_fd);
}

static int v2_open(struct cgroup_oom *oom, struct error *err)
{
        _cleanup_close_ int dir = dir_open(AT_FDCWD, oom->path);

        if (dir >= 0)
                oom->events_fd = openat(dir, "memory.events", O_RDONLY | O_CLOEXEC);
        if (oom->events_fd < 0)
                return error_set(err, STATUS_NOT_FOUND, "'%s' has no memory.events", oom->path);
        oom->poll_fd = oom_v2_poll(oom->events_fd);
        return 0;
}

/* ---- Reading ---- */

/* How often the limits of all levels were hit, and groups killed for the sake of those above. */
static uint64_t v2_levels_read(struct cgroup_oom *oom)
{
        uint64_t groups = 0;

        for (size_t i = 0; i < oom->n_levels; i++) {
                struct events events;

                if (!events_read(oom->levels[i].fd, &events))
                        continue;
                oom->levels[i].hits = events.oom;
                groups += i > 0 ? events.groups : 0;
        }
        return groups;
}

/*
 * Whatever kill is counted by a read has had its limit counted before, so the levels are read after
 * it. And each read of memory.events ends the descriptor's being readable for all that it gives: so
 * what the last one gives is what is told, and the levels are read anew if that was news.
 */
static uint64_t v2_count(struct cgroup_oom *oom)
{
        struct events now = {.kills = oom->kills};
        bool is_there = events_read(oom->events_fd, &now);

        for (int i = 0; is_there && i < READ_ROUNDS_MAX; i++) {
                struct events before = now;
                uint64_t groups = v2_levels_read(oom);

                is_there = events_read(oom->events_fd, &now);
                oom->group_kills = now.groups + groups;
                if (now.kills == before.kills && now.oom == before.oom)
                        break;
        }
        oom->is_over = !is_there;
        if (oom->n_levels > 0 && now.oom > oom->levels[0].hits + oom->below_hits)
                oom->below_hits = now.oom - oom->levels[0].hits;
        return now.kills;
}

static uint64_t count(struct cgroup_oom *oom, bool last)
{
        return oom->is_v1 ? oom_v1_count(oom, last) : v2_count(oom);
}

/* Nothing that has been hit until now is a cause of what comes. */
static void levels_account(struct cgroup_oom *oom)
{
        for (size_t i = 0; i < oom->n_levels; i++)
                oom->levels[i].known = oom->levels[i].hits;
        oom->below_known = oom->below_hits;
        oom->group_known = oom->group_kills;
        oom->has_missed = false;
}

/* One level was hit, n_hits times, whose kills or whose group's may be still to come. */
static void last_keep(struct cgroup_oom *oom, const struct cgroup_oom_news *news, uint64_t n_hits)
{
        oom->has_last = news->level != CGROUP_OOM_UNKNOWN && news->level != CGROUP_OOM_HOST;
        oom->last_level = news->level;
        oom->last_up = news->n_up;
        oom->last_group = oom->group_known;
        oom->last_surplus = n_hits > news->n_kills ? n_hits - news->n_kills : 0;
        oom->last_ns = clock_monotonic_ns();
}

/* True if kills without a hit are those of an earlier one, or of the rest of a group. */
static bool last_goes_on(struct cgroup_oom *oom, struct cgroup_oom_news *news)
{
        bool is_late = oom->last_surplus > 0 && clock_monotonic_ns() - oom->last_ns < OOM_WAIT_NS;

        if (!oom->has_last || (oom->group_kills <= oom->last_group && !is_late))
                return false;
        if (is_late)
                oom->last_surplus -=
                        news->n_kills < oom->last_surplus ? news->n_kills : oom->last_surplus;
        news->level = oom->last_level;
        news->n_up = oom->last_up;
        return true;
}

static void find_level(struct cgroup_oom *oom, struct cgroup_oom_news *news)
{
        uint64_t n_hits = 0;
        size_t n = 0;

        if (oom->below_hits > oom->below_known) {
                news->level = CGROUP_OOM_BELOW;
                n_hits = oom->below_hits - oom->below_known;
                n++;
        }
        for (size_t i = 0; i < oom->n_levels; i++) {
                if (oom->levels[i].hits <= oom->levels[i].known)
                        continue;
                news->level = i == 0 ? CGROUP_OOM_OWN : CGROUP_OOM_ANCESTOR;
                news->n_up = (unsigned)i;
                n_hits = oom->levels[i].hits - oom->levels[i].known;
                n++;
        }
        if (n == 0 && last_goes_on(oom, news))
                return;
        if (n == 0 && oom->is_whole && !oom->has_missed && (!oom->is_v1 || oom_v1_is_quiet(oom)))
                news->level = CGROUP_OOM_HOST;
        else if (n != 1)
                news->level = CGROUP_OOM_UNKNOWN;
        if (news->level != CGROUP_OOM_ANCESTOR)
                news->n_up = 0;
        last_keep(oom, news, n_hits);
}

void cgroup_oom_read(struct cgroup_oom *oom, bool last, struct cgroup_oom_news *ret)
{
        struct cgroup_oom_news news = {.level = CGROUP_OOM_UNKNOWN};
        uint64_t kills = count(oom, last);

        if (kills > oom->kills) {
                news.n_kills = kills - oom->kills;
                find_level(oom, &news);
                levels_account(oom);
                if (oom->is_v1)
                        oom_v1_explain(oom);
        }
        oom->kills = kills;
        if (oom->is_v1)
                news.look_again_ms = oom_v1_look_again(oom);
        if (news.look_again_ms == 0 && !oom->is_over && cgroup_oom_is_blind(oom))
                news.look_again_ms = LIMIT_OOM_BLIND_MS;
        news.is_over = oom->is_over;
        *ret = news;
}

int cgroup_oom_fd(const struct cgroup_oom *oom)
{
        return oom->poll_fd;
}

bool cgroup_oom_is_blind(const struct cgroup_oom *oom)
{
        return oom->poll_fd < 0 || (oom->is_v1 && oom->inotify_fd < 0);
}

/* ---- Its life ---- */

static int watch_open(struct cgroup_oom *oom, bool created, const struct cgroup_oom_past *past,
                      struct error *err)
{
        uint64_t kills;

        levels_open(oom);
        if ((oom->is_v1 ? oom_v1_open(oom, err) : v2_open(oom, err)) < 0)
                return -1;
        kills = count(oom, false);
        if (past->knows_before)
                oom->n_before = past->n_before;
        else if (!created)
                oom->n_before = kills;
        oom->kills = oom->n_before + past->n_told;
        oom->has_missed = kills > oom->kills;
        oom->group_known = created ? 0 : oom->group_kills;
        /* On v2 the own levels' figures are those of the container from its beginning. */
        for (size_t i = created && !oom->is_v1 ? 1 : 0; i < oom->n_levels; i++)
                oom->levels[i].known = oom->levels[i].hits;
        if (!created)
                oom->below_known = oom->below_hits;
        return 0;
}

int cgroup_oom_resume(const struct cgroup *cg, const struct cgroup_oom_past *past,
                      struct cgroup_oom **ret, struct error *err)
{
        _cleanup_(cgroup_oom_free_p) struct cgroup_oom *oom = NULL;
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "memory");
        bool is_v1 = dir;

        if (!dir)
                dir = cgroup_find_v2(cg);
        if (!dir)
                return error_set(err, STATUS_NOT_FOUND, "the container has no memory cgroup");
        oom = calloc(1, sizeof(*oom));
        if (!oom)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch for OOM kills: no memory");
        oom->is_v1 = is_v1;
        oom->poll_fd = -1;
        oom->inotify_fd = -1;
        oom->events_fd = -1;
        oom->path = strdup(dir->path);
        if (!oom->path)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "watch for OOM kills: no memory");
        if (watch_open(oom, dir->created, past, err) < 0)
                return -1;
        *ret = TAKE_PTR(oom);
        return 0;
}

int cgroup_oom_new(const struct cgroup *cg, struct cgroup_oom **ret, struct error *err)
{
        const struct cgroup_oom_past none = {.n_told = 0};

        return cgroup_oom_resume(cg, &none, ret, err);
}

uint64_t cgroup_oom_n_before(const struct cgroup_oom *oom)
{
        return oom->n_before;
}

int cgroup_oom_retire(struct cgroup_oom *oom)
{
        int fd = TAKE_FD(oom->inotify_fd);

        (void)cgroup_oom_free(oom);
        return fd;
}

struct cgroup_oom *cgroup_oom_free(struct cgroup_oom *oom)
{
        if (!oom)
                return NULL;
        for (size_t i = 0; i < oom->n_levels; i++)
                fd_close(oom->levels[i].fd);
        for (size_t i = 0; i < oom->n_groups; i++)
                fd_close(oom->groups[i].event_fd);
        fd_close(oom->poll_fd);
        fd_close(oom->inotify_fd);
        fd_close(oom->events_fd);
        free(oom->groups);
        free(oom->path);
        free(oom);
        return NULL;
}
