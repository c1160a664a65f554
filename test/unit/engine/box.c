/* SPDX-License-Identifier: Apache-2.0
 *
 * A container for tests: see box.h.
 */
#include "test/unit/engine/box.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/sys.h"

#include "test/unit/unit.h"

enum { BUDGET = 64 << 20, RUN_TIMEOUT_MS = 20000 };

/* How far the child came, and why no further. */
struct report {
        int step;
        struct error err;
};

static const char *const steps[] = {"parse", "plan", "prepare", "enter", "drop", "exec"};

bool box_private_mounts(void)
{
        if (geteuid() != 0)
                return false;
        if (unshare(CLONE_NEWNS) < 0)
                return false;
        return mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0;
}

void box_host(const struct box *box, const char *script)
{
        char *text = NULL;

        assert_true(asprintf(&text, "cd '%s' && set -e && %s", box->dir, script) > 0);
        assert_int_equal(system(text), 0);
        free(text);
}

void box_make(struct box *box)
{
        memset(box, 0, sizeof(*box));
        (void)snprintf(box->dir, sizeof(box->dir), "/tmp/belay-box-XXXXXX");
        assert_non_null(mkdtemp(box->dir));
        assert_int_equal(chmod(box->dir, 0755), 0);
        (void)snprintf(box->id, sizeof(box->id), "%s", strrchr(box->dir, '/') + 1);
        (void)snprintf(box->rootfs, sizeof(box->rootfs), "%s/rootfs", box->dir);
        (void)snprintf(box->outside, sizeof(box->outside), "%s/outside", box->dir);
        box_host(
                box,
                "mkdir -p rootfs/bin rootfs/etc rootfs/tmp outside"
                " && echo host-secret > outside/secret"
                " && cp /bin/busybox rootfs/bin/busybox"
                " && for a in sh cat ls stat mount id pwd grep echo env hostname touch mkdir"
                " readlink ip sleep test umask tty stty unshare head wc mknod chmod dd true false awk"
                " sort umount; do ln -s busybox rootfs/bin/$a; done"
                " && echo 'root:x:0:0:root:/root:/bin/sh' > rootfs/etc/passwd");
}

void box_remove(struct box *box)
{
        char text[160];

        /* whatever a failed test left mounted, this namespace alone sees */
        (void)snprintf(text, sizeof(text), "rm -rf --one-file-system '%s'", box->dir);
        assert_int_equal(system(text), 0);
}

static char *quote(const char *s)
{
        char *out = malloc(strlen(s) * 2 + 3);
        char *p = out;

        assert_non_null(out);
        *p++ = '"';
        for (; *s; s++) {
                if (*s == '"' || *s == '\\')
                        *p++ = '\\';
                if (*s == '\n') {
                        *p++ = '\\';
                        *p++ = 'n';
                        continue;
                }
                *p++ = *s;
        }
        *p++ = '"';
        *p = '\0';
        return out;
}

static const char *or_else(const char *s, const char *other)
{
        return s ? s : other;
}

char *box_document(const struct box_config *c)
{
        _cleanup_free_ char *script = quote(or_else(c->script, "true"));
        _cleanup_free_ char *args = NULL;
        char *text = NULL;

        if (c->args)
                args = strdup(c->args);
        else
                assert_true(asprintf(&args, "[\"/bin/sh\",\"-c\",%s]", script) > 0);
        assert_true(asprintf(&text,
                             "{\"ociVersion\":\"1.0.2\",\"process\":{\"terminal\":%s,\"user\":%s,"
                             "\"cwd\":\"%s\",\"args\":%s,\"env\":%s%s},"
                             "\"root\":{\"path\":\"rootfs\"%s},\"mounts\":%s,"
                             "\"linux\":{\"namespaces\":%s%s}%s}",
                             c->terminal ? "true" : "false",
                             or_else(c->user, "{\"uid\":0,\"gid\":0}"), or_else(c->cwd, "/"), args,
                             or_else(c->env, "[\"PATH=/bin\",\"TERM=xterm\"]"),
                             or_else(c->process, ""), or_else(c->root, ""),
                             or_else(c->mounts, "[" BOX_DEFAULT_MOUNTS "]"),
                             or_else(c->namespaces,
                                     "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},"
                                     "{\"type\":\"uts\"},{\"type\":\"network\"}]"),
                             or_else(c->linux_, ""), or_else(c->top, "")) > 0);
        return text;
}

static _Noreturn void child_fail(int sock, int step, const struct error *err)
{
        struct report report = {.step = step, .err = *err};

        (void)!write(sock, &report, sizeof(report));
        _exit(125);
}

/* child_trees_fn */
static int get_trees(size_t first, bool follow, int *fds, size_t n, void *userdata,
                     struct error *err)
{
        size_t n_fds = n;
        char byte;

        (void)userdata;
        (void)err;
        if ((!follow && write(BOX_KEPT_FD, &first, sizeof(first)) != sizeof(first)) ||
            fd_recv(BOX_KEPT_FD, &byte, 1, fds, &n_fds) != 1 || n_fds != n)
                _exit(127);
        return 0;
}

static _Noreturn void child_main(const struct plan *plan, const struct box_config *c, int sock,
                                 int output)
{
        struct error err = ERROR_INIT;
        int terminal = -1;
        char go;

        for (int i = 0; i <= 2; i++) {
                if (i > 0)
                        (void)dup2(output, i);
        }
        if (dup3(sock, BOX_KEPT_FD, O_CLOEXEC) < 0)
                _exit(126);
        (void)close(sock);
        sock = BOX_KEPT_FD;
        if (read(sock, &go, 1) != 1)
                _exit(124);
        if (c->in_child)
                c->in_child(c->userdata);
        if (child_prepare(plan, get_trees, NULL, &err) < 0)
                child_fail(sock, 2, &err);
        if (child_enter(plan, c->hooks, c->userdata, &terminal, &err) < 0)
                child_fail(sock, 3, &err);
        if (terminal >= 0 && fd_send(sock, "t", 1, &terminal, 1) < 0)
                _exit(123);
        if (child_drop(plan, sock, NULL, NULL, &err) < 0)
                child_fail(sock, 4, &err);
        (void)child_exec(plan, c->hooks, c->userdata, NULL, &err);
        child_fail(sock, 5, &err);
}

/* In the stage, where cmocka's assertions have nowhere to go. */
static void must(bool ok, const char *what)
{
        if (ok)
                return;
        perror(what);
        _exit(1);
}

/* The stage's side of get_trees(). A child that has failed by then takes no more. */
static bool give_trees(const struct plan *plan, int sock, size_t first, struct box_result *ret)
{
        bool follow;

        do {
                int fds[FD_PASS_MAX];
                size_t n = plan_count_trees(plan, first);
                int r;

                if (plan_clone_trees(plan, first, fds, &ret->err) < 0) {
                        ret->failed_at = "plan";
                        (void)shutdown(sock, SHUT_RDWR); /* the child waits for them */
                        return false;
                }
                r = fd_send(sock, "f", 1, fds, n);
                must(r == 0 || r == -EPIPE || r == -ECONNRESET, "send trees");
                for (size_t i = 0; i < n; i++)
                        (void)close(fds[i]);
                follow = plan_trees_follow(plan, first);
                first = plan_end_of_trees(plan, first);
        } while (follow);
        return true;
}

/* An intermediate, where the plan wants one, is what the test's child then comes from. */
static pid_t clone_child(const struct plan *plan, const struct box_config *c, int sock, int output)
{
        struct clone_args args = {
                .flags = plan->clone_flags,
                .exit_signal = SIGCHLD,
        };
        struct error err = ERROR_INIT;
        pid_t pid;

        if (!plan_joins_early(plan)) {
                pid = sys_clone3(&args);
                if (pid == 0)
                        child_main(plan, c, sock, output);
                return pid;
        }
        pid = fork();
        if (pid != 0)
                return pid;
        if (child_join(plan, &err) < 0)
                child_fail(sock, 2, &err);
        pid = sys_clone3(&args);
        if (pid == 0)
                child_main(plan, c, sock, output);
        if (pid > 0) {
                int status = 0;

                (void)waitpid(pid, &status, 0);
                _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 122);
        }
        _exit(121);
}

static void collect(int from, struct box_result *ret)
{
        struct pollfd p = {.fd = from, .events = POLLIN};

        while (ret->out_len < sizeof(ret->out) - 1) {
                ssize_t n;

                if (poll(&p, 1, RUN_TIMEOUT_MS) <= 0)
                        break;
                n = read(from, ret->out + ret->out_len, sizeof(ret->out) - 1 - ret->out_len);
                if (n <= 0)
                        break;
                ret->out_len += (size_t)n;
        }
        ret->out[ret->out_len] = '\0';
}

static void receive_report(const struct plan *plan, int sock, struct box_result *ret,
                           int *ret_terminal)
{
        struct report report = {0};
        int fds[1];
        size_t n_fds = 1;
        ssize_t n = fd_recv(sock, &report, sizeof(report), fds, &n_fds);

        while (n == sizeof(size_t)) {
                size_t first;

                memcpy(&first, &report, sizeof(first));
                if (!give_trees(plan, sock, first, ret))
                        return;
                n_fds = 1;
                n = fd_recv(sock, &report, sizeof(report), fds, &n_fds);
        }
        if (n == 1 && n_fds == 1) {
                *ret_terminal = fds[0];
                n = fd_recv(sock, &report, sizeof(report), NULL, NULL);
        }
        if (n == (ssize_t)sizeof(report)) {
                ret->failed_at = steps[report.step];
                ret->err = report.err;
        }
}

static void run_plan(struct plan *plan, const struct box_config *c, struct box_result *ret)
{
        int socks[2];
        int out[2];
        int terminal = -1;
        pid_t pid;

        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) == 0, "socketpair");
        must(pipe2(out, O_CLOEXEC) == 0, "pipe");
        pid = clone_child(plan, c, socks[1], out[1]);
        must(pid > 0, "clone");
        (void)close(socks[1]);
        if (plan_write_id_maps(plan, pid, &ret->err) < 0 ||
            plan_apply_oom_score(plan, pid, &ret->err) < 0 ||
            plan_apply_rlimits(plan, pid, &ret->err) < 0 ||
            plan_apply_scheduling(plan, pid, &ret->err) < 0) {
                ret->failed_at = "maps";
                (void)kill(pid, SIGKILL);
        } else {
                must(write(socks[0], "g", 1) == 1, "write");
        }
        if (!ret->failed_at)
                receive_report(plan, socks[0], ret, &terminal);
        if (!ret->failed_at && c->while_running)
                c->while_running(pid, out[1], c->userdata);
        (void)close(out[1]);
        collect(terminal >= 0 ? terminal : out[0], ret);
        (void)close(out[0]);
        fd_close(terminal);
        (void)close(socks[0]);
        must(waitpid(pid, &ret->status, 0) == pid, "waitpid");
}

static _Noreturn void stage_main(const struct box *box, const struct box_config *config,
                                 struct box_result *ret)
{
        const struct plan_options options = {
                .id = box->id,
                .bundle = box->dir,
                .terminal = config->terminal,
                .no_pivot_root = config->no_pivot_root,
        };
        struct arena *arena = arena_new(BUDGET);
        char *json = box_document(config);
        struct oci_spec *spec = NULL;
        struct plan *plan = NULL;

        must(arena != NULL, "arena");
        if (oci_spec_parse(json, strlen(json), arena, &spec, &ret->err) < 0)
                ret->failed_at = "parse";
        else if (plan_new(&plan, spec, &options, arena, &ret->err) < 0)
                ret->failed_at = "plan";
        if (!ret->failed_at && config->cgroup)
                plan_set_cgroup(plan, config->cgroup);
        if (!ret->failed_at)
                run_plan(plan, config, ret);
        _exit(0);
}

void box_run(const struct box *box, const struct box_config *config, struct box_result *ret)
{
        struct box_result *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int status = 0;
        pid_t stage;

        assert_ptr_not_equal(shared, MAP_FAILED);
        (void)fflush(NULL);
        stage = fork();
        assert_true(stage >= 0);
        if (stage == 0)
                stage_main(box, config, shared);
        assert_int_equal(waitpid(stage, &status, 0), stage);
        assert_int_equal(status, 0);
        *ret = *shared;
        (void)munmap(shared, sizeof(*shared));
}

void box_run_ok(const struct box *box, const struct box_config *config, struct box_result *ret)
{
        box_run(box, config, ret);
        if (ret->failed_at || ret->status != 0)
                print_error("failed at %s: %s\nstatus 0x%x\n%s\n",
                            ret->failed_at ? ret->failed_at : "(run)", ret->err.msg, ret->status,
                            ret->out);
        assert_null(ret->failed_at);
        assert_int_equal(ret->status, 0);
}
