/* SPDX-License-Identifier: Apache-2.0
 *
 * The stage of an exec: plans the process, has it born in the container's namespaces and cgroup, by
 * a process in between (exec_clone.c), and waits until it has executed its program. The stage
 * itself joins nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/exec_clone.h"
#include "pkg/engine/init.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/passed.h"
#include "pkg/engine/stage_init.h"

enum { INIT_END_TIMEOUT_MS = 2000 };

struct exec_stage {
        const struct engine_exec *args;
        const struct engine_container *container;
        struct stage *stage;
        struct plan *plan;
        struct cgroup cgroup;
        struct passed passed;
        int init_pidfd;
        int gate;      /* the stage's end */
        int init_gate; /* the process's */
        pid_t pid;
        int pidfd;
};

/* Nobody gets out of a container's confinement by saying nothing of it. */
static int inherit_labels(const struct exec_stage *es, struct oci_process *process,
                          struct error *err)
{
        struct oci_spec *spec;

        if (!str_is_empty(process->apparmor_profile) && !str_is_empty(process->selinux_label))
                return 0;
        if (container_parse_config(es->container, es->stage->arena, &spec, err) < 0)
                return -1;
        if (str_is_empty(process->apparmor_profile))
                process->apparmor_profile = spec->process.apparmor_profile;
        if (str_is_empty(process->selinux_label))
                process->selinux_label = spec->process.selinux_label;
        return 0;
}

static int make_plan(struct exec_stage *es, struct error *err)
{
        const struct container_facts *facts = &es->container->facts;
        struct plan_options options = {
                .id = es->container->id,
                .bundle = es->container->bundle,
                .terminal = es->args->terminal,
                .personality = &facts->personality,
                .memory_policy = &facts->memory_policy,
                .passed = &es->passed,
        };
        struct plan_seccomp seccomp = {.flags = facts->seccomp_flags};
        struct oci_process *process;

        if (!(facts->namespaces & CLONE_NEWNS))
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "exec into a container without a mount namespace is not "
                                 "supported");
        if (passed_take(&es->args->passed, es->stage->arena, &es->passed, err) < 0 ||
            passed_make_way(&es->passed, &es->init_gate, err) < 0)
                return -1;
        if (oci_process_parse(es->args->process_json, es->args->process_json_len, es->stage->arena,
                              &process, err) < 0)
                return -1;
        if (facts->has_labels && inherit_labels(es, process, err) < 0)
                return -1;
        if (facts->has_seccomp) {
                size_t len;
                const void *filter = stage_map(es->container->seccomp_fd, &len, err);

                if (!filter)
                        return -1;
                seccomp.prog.filter = (struct sock_filter *)filter;
                seccomp.prog.len = (unsigned short)(len / sizeof(struct sock_filter));
        }
        return plan_new_exec(&es->plan, process,
                             facts->has_capabilities ? &facts->capabilities : NULL, &seccomp,
                             &options, es->stage->arena, err);
}

/* A pid namespace takes nobody in as soon as its init begins to end; its pidfd tells of the end
 * when all others have ended, too, so that is given some time. */
static int init_is_ending(const struct exec_stage *es, int errnum)
{
        bool refused = errnum == ENOMEM && (es->container->facts.namespaces & CLONE_NEWPID);
        struct pollfd p = {.fd = es->init_pidfd, .events = POLLIN};

        return poll(&p, 1, refused ? INIT_END_TIMEOUT_MS : 0) > 0;
}

/* A container that has delegated its cgroup (systemd in a container) has no processes in it, only
 * below: v2 answers EBUSY. Then the process is born where init is now. */
static int open_cgroup_of_init(const struct exec_stage *es, struct error *err)
{
        struct cgroup_layout layout = {0};
        _cleanup_free_ char *text = NULL;
        char path[32];
        const char *line;
        int fd = -1;
        int r;

        (void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)es->container->init_pid);
        r = file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, NULL);
        if (r < 0)
                return error_errno(err, -r, "read '%s'", path);
        line = str_has_prefix(text, "0::") ? text : strstr(text, "\n0::");
        if (!line || cgroup_layout_read(es->stage->arena, &layout, err) < 0)
                return error_set(err, STATUS_UNKNOWN, "find the cgroup of the container's init");
        line = strstr(line, "0::") + strlen("0::");
        for (size_t i = 0; i < layout.n_hierarchies; i++) {
                const char *dir;

                if (!layout.hierarchies[i].is_v2)
                        continue;
                dir = arena_printf(es->stage->arena, "%s%.*s", layout.hierarchies[i].mountpoint,
                                   (int)strcspn(line, "\n"), line);
                if (dir)
                        fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0)
                        return error_errno(err, errno, "open cgroup '%s'", dir ? dir : "");
        }
        return fd;
}

/* The process in between: in the container's cgroup, as yet in no namespace of it. */
static pid_t clone_into(const struct exec_stage *es, int v2_dir, int *ret_pidfd, struct error *err)
{
        pid_t pid = stage_clone(0, false, v2_dir, ret_pidfd);

        if (pid < 0 && (errno == EBUSY || errno == EOPNOTSUPP) && v2_dir >= 0 &&
            !es->args->cgroup) {
                int dir = open_cgroup_of_init(es, err);

                if (dir < 0)
                        return -1;
                pid = stage_clone(0, false, dir, ret_pidfd);
                if (pid != 0)
                        fd_close(dir);
        }
        if (pid < 0)
                return error_errno(err, errno, "exec: clone");
        return pid;
}

static int clone_by_go_between(struct exec_stage *es, const struct init_args *args, int v2_dir,
                               struct error *err)
{
        _cleanup_close_ int ours = -1;
        int pidfd = -1;
        int socks[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return error_errno(err, errno, "exec: socketpair");
        ours = socks[0];
        pid = clone_into(es, v2_dir, &pidfd, err);
        if (pid == 0)
                exec_go_between(args, socks[1]);
        fd_close(socks[1]);
        if (pid < 0)
                return -1;
        fd_close(pidfd);
        if (exec_hear_cloned(ours, &es->pid, &es->pidfd, err) == 0)
                return 0;
        if (err->errnum == ESRCH || init_is_ending(es, err->errnum))
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "exec: the container's init has ended");
        return -1;
}

/*
 * A container at its pids.limit has no room for the process in between, nor for a clone into its
 * cgroup; but a process that is there already may always be moved in. It costs a cold cgroup write,
 * and one can still look into a container that is full.
 */
static int clone_and_move(struct exec_stage *es, struct init_args *args, int v2_dir,
                          struct error *err)
{
        size_t n_tasks = args->n_tasks;
        char pid[16];
        int r = 0;

        args->n_tasks = 0;
        if (clone_by_go_between(es, args, -1, err) < 0)
                return -1;
        (void)snprintf(pid, sizeof(pid), "%d", (int)es->pid);
        for (size_t i = 0; r == 0 && i < n_tasks; i++)
                r = fd_write_all(args->tasks[i], pid, strlen(pid));
        if (r == 0 && v2_dir >= 0)
                r = file_write(v2_dir, "cgroup.procs", pid);
        return r < 0 ? error_errno(err, -r, "exec: move into the container's cgroup") : 0;
}

static int open_cgroup(struct exec_stage *es, struct cgroup_join *ret, struct error *err)
{
        struct arena *arena = es->stage->arena;
        struct cgroup own = {0};

        if (cgroup_parse(es->container->cgroup, arena, &own, err) < 0)
                return -1;
        es->cgroup = own;
        if (es->args->cgroup && cgroup_below(&own, es->args->cgroup, arena, &es->cgroup, err) < 0)
                return error_prefix(err, "exec");
        return cgroup_open_join(&es->cgroup, ret, err);
}

static int clone_process(struct exec_stage *es, struct error *err)
{
        struct cgroup_join join;
        int stdio[3] = {-1, -1, -1};
        struct init_args args = {
                .plan = es->plan,
                .arena = es->stage->arena,
                .gate = es->init_gate,
                .join_pidfd = es->init_pidfd,
                .join_flags = (int)es->container->facts.namespaces,
                .orphan = es->container->engine->orphans && !es->args->own_child,
        };

        if (!es->args->terminal) {
                memcpy(stdio, es->args->stdio, sizeof(stdio));
                if (stage_raise_stdio(stdio, err) < 0)
                        return -1;
                args.stdio = stdio;
        }
        if (open_cgroup(es, &join, err) < 0)
                return -1;
        args.tasks = join.tasks;
        args.n_tasks = join.n_tasks;
        if (plan_set_initial_cpus(es->plan, err) < 0)
                return -1;
        if (prctl(PR_SET_DUMPABLE, 0) < 0)
                return error_errno(err, errno, "exec: PR_SET_DUMPABLE");
        if (clone_by_go_between(es, &args, join.v2_dir, err) < 0 &&
            (err->errnum != EAGAIN || clone_and_move(es, &args, join.v2_dir, err) < 0))
                return -1;
        es->init_gate = fd_close(es->init_gate);
        return stage_send_cloned(es->stage, es->pid, es->pidfd, err);
}

static int own_stdio(const struct exec_stage *es, struct error *err)
{
        if (!(es->container->facts.namespaces & CLONE_NEWUSER))
                return 0;
        return plan_own_stdio(es->plan, es->pid, es->args->stdio, err);
}

static int hand_listener_over(const struct exec_stage *es, struct error *err)
{
        const struct engine_container *c = es->container;
        struct hook_state state = {
                .id = c->id,
                .status = "running",
                .pid = c->init_pid,
                .bundle = c->bundle,
        };
        struct seccomp_notify notify = {.state = &state, .pid = es->pid, .pidfd = es->pidfd};
        struct oci_spec *spec;

        if (!plan_has_listener(es->plan))
                return 0;
        if (container_parse_config(c, es->stage->arena, &spec, err) < 0)
                return -1;
        state.oci_version = spec->version;
        state.annotations = spec->annotations;
        state.n_annotations = spec->n_annotations;
        notify.profile = spec->linux_.seccomp;
        return stage_hand_listener_over(es->stage, es->gate, &notify, err);
}

/* EOF is what is waited for; a message can only be the process's error. */
static int await_eof(const struct exec_stage *es, struct error *err)
{
        struct message msg;
        int r = message_recv(es->gate, &msg, NULL, NULL);

        if (r == 0 || r == -ECONNRESET)
                return 0;
        if (r < 0)
                return error_errno(err, -r, "exec: hear from the process");
        message_get_error(&msg, err);
        return -1;
}

int exec_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct exec_job *exec = container_of(job, struct exec_job, job);
        struct exec_stage es = {
                .args = &exec->args,
                .container = job->container,
                .stage = stage,
                .init_pidfd = job->container->init->pidfd,
                .pidfd = -1,
        };
        int socks[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
                return error_errno(err, errno, "exec: socketpair");
        es.gate = socks[0];
        es.init_gate = socks[1];
        if (make_plan(&es, err) < 0 || clone_process(&es, err) < 0 ||
            stage_await(stage, es.gate, MESSAGE_ENTERED, err) < 0 || own_stdio(&es, err) < 0 ||
            plan_apply_oom_score(es.plan, es.pid, err) < 0 ||
            plan_apply_rlimits(es.plan, es.pid, err) < 0 ||
            plan_apply_scheduling(es.plan, es.pid, err) < 0 || stage_send_go(es.gate, err) < 0 ||
            hand_listener_over(&es, err) < 0 ||
            stage_await(stage, es.gate, MESSAGE_EXECUTING, err) < 0)
                return -1;
        return await_eof(&es, err);
}
