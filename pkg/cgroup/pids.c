/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is in a cgroup. Beside v1 the v2 tree need not know all: a kernel before CLONE_INTO_CGROUP,
 * or a container with its own rights on one tree, may have left a process in one of the two only.
 * So both are asked, and the answer is the union.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

enum { READ_ROOM = 4096, LIST_ROOM_INITIAL = 64 };

void pid_list_free(struct pid_list *list)
{
        free(list->items);
        *list = (struct pid_list){0};
}

static int pid_list_append(struct pid_list *list, pid_t pid)
{
        if (list->n == list->room) {
                size_t room = list->room ? list->room * 2 : LIST_ROOM_INITIAL;
                pid_t *grown = reallocarray(list->items, room, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                list->items = grown;
                list->room = room;
        }
        list->items[list->n++] = pid;
        return 0;
}

/* Numbers, one a line; 0 stands for a process that this pid namespace does not see. */
static int procs_read(int fd, struct pid_list *list)
{
        char buf[READ_ROOM];
        pid_t pid = 0;
        ssize_t n;

        for (;;) {
                n = read(fd, buf, sizeof(buf));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                for (ssize_t i = 0; i < n; i++) {
                        if (buf[i] >= '0' && buf[i] <= '9') {
                                pid = pid * 10 + (buf[i] - '0');
                                continue;
                        }
                        if (pid > 0 && pid_list_append(list, pid) < 0)
                                return -ENOMEM;
                        pid = 0;
                }
        }
}

static int dir_read_procs(int dirfd, void *userdata)
{
        _cleanup_close_ int fd = openat(dirfd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
        int r = fd < 0 ? -errno : procs_read(fd, userdata);

        /* Vanished, or a threaded cgroup of v2, whose processes are listed above it. */
        return r == -ENOENT || r == -ENODEV || r == -EOPNOTSUPP ? 0 : r;
}

static int pid_compare(const void *a, const void *b)
{
        pid_t x = *(const pid_t *)a;
        pid_t y = *(const pid_t *)b;

        return (x > y) - (x < y);
}

static void pid_list_sort(struct pid_list *list)
{
        size_t n = 0;

        if (list->n == 0)
                return;
        qsort(list->items, list->n, sizeof(*list->items), pid_compare);
        for (size_t i = 0; i < list->n; i++) {
                if (n == 0 || list->items[n - 1] != list->items[i])
                        list->items[n++] = list->items[i];
        }
        list->n = n;
}

bool pid_list_has(const struct pid_list *list, pid_t pid)
{
        return list->n > 0 &&
               bsearch(&pid, list->items, list->n, sizeof(*list->items), pid_compare);
}

int pid_list_read(const struct cgroup_dir *dir, bool is_quick, struct pid_list *list)
{
        const struct walk walk = {.enter = dir_read_procs, .is_quick = is_quick, .userdata = list};
        int r = dir_walk(dir->path, &walk);

        if (r == 0)
                pid_list_sort(list);
        return r;
}

const struct cgroup_dir *cgroup_find_listing_v1(const struct cgroup *cg)
{
        const struct cgroup_dir *dir = cgroup_find_v1(cg, "freezer");

        if (!dir)
                dir = cgroup_find_v1(cg, "pids");
        for (size_t i = 0; !dir && i < cg->n_dirs; i++) {
                if (!cg->dirs[i].is_v2)
                        dir = &cg->dirs[i];
        }
        return dir;
}

int pid_list_read_all(const struct cgroup *cg, bool is_quick, struct pid_list *list)
{
        const struct cgroup_dir *dirs[] = {cgroup_find_listing_v1(cg), cgroup_find_v2(cg)};
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(dirs) / sizeof(dirs[0]); i++) {
                if (dirs[i])
                        r = pid_list_read(dirs[i], is_quick, list);
        }
        return r;
}

static int list_pids(const struct cgroup *cg, bool is_quick, pid_t **ret_pids, size_t *ret_n,
                     struct error *err)
{
        struct pid_list list = {0};
        int r = pid_list_read_all(cg, is_quick, &list);

        if (r < 0)
                pid_list_free(&list);
        if (r == -E2BIG)
                return 1;
        if (r < 0)
                return error_errno(err, -r, "list processes of cgroup '%s'",
                                   cg->n_dirs > 0 ? cg->dirs[0].path : "");
        *ret_pids = list.items;
        *ret_n = list.n;
        return 0;
}

int cgroup_pids(const struct cgroup *cg, pid_t **ret_pids, size_t *ret_n, struct error *err)
{
        return list_pids(cg, false, ret_pids, ret_n, err);
}

int cgroup_pids_quick(const struct cgroup *cg, pid_t **ret_pids, size_t *ret_n, struct error *err)
{
        return list_pids(cg, true, ret_pids, ret_n, err);
}
