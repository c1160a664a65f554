/* SPDX-License-Identifier: Apache-2.0
 *
 * See harness.h.
 */
#include "test/unit/cgroup/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/sys.h"
#include "pkg/cgroup/internal.h"

#include "test/unit/unit.h"

enum { CHILD_LIMIT_S = 30, PROGRAM_LIMIT_S = 60 };

struct cgroup harness_plan(struct harness *h, const char *path)
{
        struct error err = ERROR_INIT;
        struct cgroup cg;

        if (cgroup_plan(&h->layout, path, "unit", h->arena, &cg, &err) < 0)
                fail_msg("%s", err.msg);
        return cg;
}

void harness_create(struct cgroup *cg)
{
        struct error err = ERROR_INIT;

        if (cgroup_create(cg, &err) < 0)
                fail_msg("%s", err.msg);
}

bool harness_has_v1(void)
{
        static const char *const needed[] = {"cpu",  "cpuset",  "memory",
                                             "pids", "devices", "freezer"};
        struct arena *arena = arena_new(1 << 20);
        struct cgroup_layout layout;
        struct cgroup cg;
        bool has = geteuid() == 0 && arena && cgroup_layout_read(arena, &layout, NULL) == 0 &&
                   cgroup_plan(&layout, "/x", "x", arena, &cg, NULL) == 0;

        for (size_t i = 0; has && i < UNIT_COUNT(needed); i++)
                has = cgroup_find_v1(&cg, needed[i]) != NULL;
        arena_free(arena);
        return has;
}

int harness_set_up(void **state)
{
        struct harness *h = calloc(1, sizeof(*h));
        struct error err = ERROR_INIT;

        assert_non_null(h);
        (void)alarm(PROGRAM_LIMIT_S);
        *state = h;
        h->arena = arena_new(1 << 20);
        assert_non_null(h->arena);
        if (cgroup_layout_read(h->arena, &h->layout, &err) < 0)
                fail_msg("%s", err.msg);
        (void)snprintf(h->path, sizeof(h->path), "/belay-unit-%d/c", (int)getpid());
        h->cg = harness_plan(h, h->path);
        harness_create(&h->cg);
        return 0;
}

int harness_tear_down(void **state)
{
        struct harness *h = *state;
        struct error err = ERROR_INIT;
        int r;

        (void)cgroup_thaw(&h->cg, 0, NULL);
        while (h->n_children > 0) {
                pid_t pid = h->children[--h->n_children];

                (void)kill(pid, SIGKILL);
                (void)waitpid(pid, NULL, 0);
        }
        r = cgroup_remove(&h->cg, HARNESS_TIMEOUT_MS, &err);
        if (r < 0)
                print_error("%s\n", err.msg);
        arena_free(h->arena);
        free(h);
        (void)alarm(0);
        return r;
}

static int child_join(const int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (write(fds[i], "0", 1) != 1)
                        return -1;
        }
        return 0;
}

pid_t harness_child(struct harness *h, const struct cgroup *cg, int (*fn)(void *userdata),
                    void *userdata)
{
        struct clone_args args = {.exit_signal = SIGCHLD};
        struct cgroup_join join;
        struct error err = ERROR_INIT;
        int ready[2];
        pid_t pid;
        char c;

        assert_true(h->n_children < HARNESS_CHILDREN_MAX);
        if (cgroup_open_join(cg, &join, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
        if (join.v2_dir >= 0) {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = (uint64_t)join.v2_dir;
        }
        pid = sys_clone3(&args);
        if (pid == 0) {
                (void)alarm(CHILD_LIMIT_S);
                if (child_join(join.tasks, join.n_tasks) < 0 || write(ready[1], "x", 1) != 1)
                        _exit(99);
                close(ready[0]);
                close(ready[1]);
                if (fn)
                        _exit(fn(userdata));
                for (;;)
                        (void)pause();
        }
        cgroup_join_close(&join);
        close(ready[1]);
        assert_true(pid > 0);
        h->children[h->n_children++] = pid;
        assert_int_equal(read(ready[0], &c, 1), 1);
        close(ready[0]);
        return pid;
}

int harness_wait(struct harness *h, pid_t pid)
{
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        for (size_t i = 0; i < h->n_children; i++) {
                if (h->children[i] == pid)
                        h->children[i] = h->children[--h->n_children];
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

bool harness_is_alive(pid_t pid)
{
        siginfo_t info = {0};

        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == 0;
}

const char *harness_dir(const struct cgroup *cg, const char *controller)
{
        const struct cgroup_dir *dir =
                *controller ? cgroup_find_v1(cg, controller) : cgroup_find_v2(cg);

        if (!dir)
                fail_msg("no directory for '%s'", controller);
        return dir->path;
}

char *harness_read(const struct cgroup *cg, const char *controller, const char *file)
{
        int fd = dir_open(AT_FDCWD, harness_dir(cg, controller));
        char *text = NULL;

        assert_true(fd >= 0);
        if (dir_read(fd, file, &text) < 0)
                fail_msg("cannot read %s", file);
        fd_close(fd);
        return text;
}

bool harness_exists(const char *path)
{
        return access(path, F_OK) == 0;
}

int harness_apply(const struct cgroup *cg, const struct oci_resources *resources, struct error *err)
{
        if (resources && cgroup_apply_limits(cg, resources, err) < 0)
                return -1;
        return cgroup_apply_devices(cg, resources, err);
}

void harness_set_memory(struct harness *h, int64_t limit, int64_t swap)
{
        struct error err;
        struct oci_resources r = {
                .has_memory = true,
                .memory = {.has_limit = true, .limit = limit, .has_swap = swap != 0, .swap = swap}};

        assert_ok(cgroup_update(&h->cg, &r, &err), err);
}

int harness_touch_memory(void *userdata)
{
        size_t size = *(size_t *)userdata;
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return 1;
        for (size_t i = 0; i < size; i += 4096)
                p[i] = 1;
        return 0;
}

void assert_file(const struct cgroup *cg, const char *controller, const char *file,
                 const char *want)
{
        _cleanup_free_ char *got = harness_read(cg, controller, file);

        assert_string_equal(got, want);
}
