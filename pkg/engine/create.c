/* SPDX-License-Identifier: Apache-2.0
 *
 * Create, in the shim: starts the stage, gathers its facts, and hands out the container. If the
 * stage dies or is killed, a second one undoes what the facts tell. A failure is told when all is
 * undone and init has been reaped.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/engine/create_gate.h"
#include "pkg/engine/internal.h"
#include "pkg/engine/rootfs_mounts.h"
#include "pkg/engine/teardown.h"

/* The text of a cgroup: a path of at most PATH_MAX for each hierarchy. */
/* The room that is there from the beginning holds nearly every text: what the stage has made must
 * not be forgotten for want of memory. */
enum { CGROUP_TEXT_MAX = 128 << 10, CGROUP_TEXT_ROOM = 4 << 10 };

static struct create_job *create_job(struct engine_job *job)
{
        return container_of(job, struct create_job, job);
}

/* ---- facts ---- */

static int add_cgroup_part(struct create_job *create, const struct message *msg)
{
        struct engine_container *c = create->job.container;
        size_t n = strnlen(msg->text, sizeof(msg->text));
        char *grown;

        if (msg->value & MESSAGE_PART_FIRST)
                create->text_len = 0;
        if (create->text_len + n > CGROUP_TEXT_MAX)
                return -E2BIG;
        if (create->text_len + n >= create->text_room) {
                grown = realloc(create->text, create->text_len + n + 1);
                if (!grown)
                        return -ENOMEM;
                create->text = grown;
                create->text_room = create->text_len + n + 1;
        }
        memcpy(create->text + create->text_len, msg->text, n);
        create->text_len += n;
        create->text[create->text_len] = '\0';
        if (msg->value & MESSAGE_PART_LAST) {
                free(c->cgroup);
                c->cgroup = TAKE_PTR(create->text);
                create->text_room = 0;
        }
        return 0;
}

static int set_facts(struct engine_container *c, const struct message *msg, int *fds, size_t n_fds)
{
        struct container_facts facts;
        size_t n = 0;

        memcpy(&facts, msg->text, sizeof(facts));
        if (n_fds != (size_t)facts.has_seccomp + (size_t)facts.has_config)
                return -EBADMSG;
        c->facts = facts;
        if (facts.has_seccomp) {
                c->seccomp_fd = TAKE_FD(fds[n]);
                n++;
        }
        if (facts.has_config)
                c->config_fd = TAKE_FD(fds[n]);
        return 0;
}

static int set_init(struct engine_container *c, pid_t pid, int *fds, size_t n_fds)
{
        if (n_fds != 1 || c->init)
                return -EBADMSG;
        c->init = process_new_consume(c->engine, pid, TAKE_FD(fds[0]), c->engine->orphans);
        if (!c->init)
                return -ENOMEM;
        c->init->container = c;
        c->init_pid = pid;
        return 0;
}

/* For all who ask for it as long as the container lives; its text does not change behind this. */
static int parse_cgroup(struct engine_container *c)
{
        if (!c->cgroup)
                return -EBADMSG;
        return container_cgroup(c, &c->cgroup_arena, &c->cgroup_parsed, NULL) < 0 ? -ENOMEM : 0;
}

static int set_terminal(int *terminal_fd, int *fds, size_t n_fds)
{
        if (n_fds != 1 || *terminal_fd >= 0)
                return -EBADMSG;
        *terminal_fd = TAKE_FD(fds[0]);
        return 0;
}

static void on_message(struct engine_job *job, const struct message *msg, int *fds, size_t n_fds)
{
        struct create_job *create = create_job(job);
        int r = -EBADMSG;

        if (msg->type == MESSAGE_CGROUP)
                r = add_cgroup_part(create, msg);
        else if (msg->type == MESSAGE_FACTS)
                r = set_facts(job->container, msg, fds, n_fds);
        else if (msg->type == MESSAGE_CLONED)
                r = set_init(job->container, msg->value, fds, n_fds);
        else if (msg->type == MESSAGE_TERMINAL)
                r = set_terminal(&create->terminal_fd, fds, n_fds);
        if (r == 0 && msg->type == MESSAGE_CLONED)
                r = parse_cgroup(job->container);
        for (size_t i = 0; i < n_fds; i++)
                fd_close(fds[i]);
        if (r < 0) {
                struct error err = ERROR_INIT;

                if (r == -ENOMEM)
                        (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                                        "create: no memory for what the stage has made");
                else
                        (void)error_errno(&err, -r, "create: message of the stage");
                job_give_up(job, &err);
        }
}

/* ---- the end ---- */

static void succeed(struct create_job *create)
{
        struct engine_container *c = create->job.container;
        struct engine_process *init = c->init;

        assert(init && c->cgroup_arena);
        c->poststop_due = true;
        job_complete(&create->job);
        process_release(init);
        create->fn(NULL, c, init, TAKE_FD(create->terminal_fd), create->userdata);
}

/* Once all is undone; waits for init, whose exit is nobody's business. */
static void finish_failure(struct engine_job *job)
{
        struct create_job *create = create_job(job);
        struct engine_container *c = job->container;
        struct error err;

        if (c->init && !c->init->has_exited) {
                process_kill(c->init);
                c->init->waiter = job;
                return;
        }
        process_explain_end(c->init, &job->err);
        err = job->err;
        job_complete(job);
        engine_process_free(c->init);
        engine_container_free(c);
        create->fn(&err, NULL, NULL, -1, create->userdata);
}

static void create_free(struct engine_job *job)
{
        struct create_job *create = create_job(job);

        loop_io_free(create->gate_io);
        fd_close(create->terminal_fd);
        free(create->text);
        free(create);
}

/* What is undone here was left by a stage that died: what outlives it, it told before it did it. */
static int undo_stage_run(struct engine_job *job, struct stage *stage, struct error *err)
{
        const struct engine_container *c = job->container;
        struct oci_spec *spec = NULL;
        struct teardown t = {
                .id = c->id,
                .bundle = c->bundle,
                .state_dir = c->state_dir,
                .cgroup = c->cgroup,
                .systemd_helper = c->engine->systemd_helper,
                .pidfd = c->init ? c->init->pidfd : -1,
                .unmount = c->unmount,
                .unmount_how = ROOTFS_UNMOUNT_NESTED,
                .remove_rootfs = c->made_rootfs,
                .dead_stage = create_job(job)->dead_stage,
                .stage = stage,
                .arena = stage->arena,
        };

        if (c->poststop_due && c->facts.has_poststop &&
            container_parse_config(c, stage->arena, &spec, err) < 0)
                stage_send_warning(stage, err);
        t.poststop = spec;
        return teardown_run(&t, err);
}

static const struct job_kind undo_kind = {
        .name = "belay:undo",
        .run = undo_stage_run,
        .on_end = finish_failure,
        .on_deferred = finish_failure,
        .free = create_free,
};

/* The stage has not undone its work: somebody else has to. */
static int undo(struct engine_job *job, struct error *err)
{
        const struct engine_container *c = job->container;
        const int keep[] = {c->init ? c->init->pidfd : -1, c->config_fd};

        job->kind = &undo_kind;
        create_job(job)->dead_stage = job->stage_pid;
        return job_fork(job, keep, sizeof(keep) / sizeof(keep[0]), false, err);
}

static void on_heard(struct create_job *create, const struct error *err);

static void on_create_end(struct engine_job *job)
{
        struct engine_container *c = job->container;
        struct error err = ERROR_INIT;

        if (job->is_done && job->result == 1) {
                if (create_job(job)->on_init)
                        create_job(job)->on_init(c->init_pid, create_job(job)->userdata);
                create_gate_hear(create_job(job), on_heard);
                return;
        }
        if (job->is_done) {
                succeed(create_job(job));
                return;
        }
        c->gate = fd_close(c->gate); /* an init that we have not heard of ends by this */
        if (c->init)
                process_kill(c->init);
        if (!job->has_reported) {
                if (undo(job, &err) == 0)
                        return;
                engine_warn(job->engine, err.msg);
        }
        finish_failure(job);
}

/* An init that has failed is as if the stage had died, whose end is near and is waited for. */
static void fail_at_gate(struct create_job *create)
{
        struct engine_job *job = &create->job;

        create->gate_io = loop_io_free(create->gate_io);
        job->is_done = false;
        if (job->sock < 0) /* else that is done when it has been reaped, or is being reaped now */
                on_create_end(job);
}

static void on_heard(struct create_job *create, const struct error *err)
{
        if (!err) {
                succeed(create);
                return;
        }
        job_fail(&create->job, err);
        fail_at_gate(create);
}

static void create_abort(struct engine_job *job)
{
        bool is_at_gate = create_job(job)->gate_io;

        if (job->sock < 0 && !is_at_gate)
                return; /* it is failing already */
        job_cancel(job);
        if (job->container->init)
                process_kill(job->container->init);
        if (is_at_gate)
                fail_at_gate(create_job(job));
}

static const struct job_kind create_kind = {
        .name = "belay:create",
        .run = create_stage_run,
        .on_message = on_message,
        .on_end = on_create_end,
        .on_deferred = finish_failure,
        .abort = create_abort,
        .free = create_free,
};

/* ---- the call ---- */

static int check_args(const struct engine_create *args, struct error *err)
{
        if (!id_is_valid(args->id))
                return error_set(err, STATUS_INVALID_ARGUMENT, "container id '%s' is not valid",
                                 args->id);
        if (args->bundle[0] != '/')
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "bundle '%s' is not an absolute path", args->bundle);
        if (strchr(args->bundle, '\n'))
                return error_set(err, STATUS_INVALID_ARGUMENT, "bundle: a path of several lines");
        return 0;
}

static bool has_rootfs(const char *bundle)
{
        _cleanup_close_ int fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);

        return fd >= 0 && faccessat(fd, "rootfs", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct engine_container *new_container(struct engine *engine,
                                              const struct engine_create *args, int *ret_init_gate,
                                              struct error *err)
{
        struct engine_container *c;
        int gate[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, gate) < 0) {
                (void)error_errno(err, errno, "create: socketpair");
                return NULL;
        }
        c = engine_container_new(engine, args->id, args->bundle, args->state_dir);
        if (!c) {
                fd_close(gate[0]);
                fd_close(gate[1]);
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return NULL;
        }
        c->gate = gate[0];
        c->unmount = args->n_mounts > 0;
        c->made_rootfs = c->unmount && !has_rootfs(args->bundle);
        c->nested = rootfs_mounts_are_nested(args->mounts, args->n_mounts);
        *ret_init_gate = gate[1];
        return c;
}

int engine_create(struct engine *engine, const struct engine_create *args, engine_create_fn fn,
                  void *userdata, struct engine_job **ret, struct error *err)
{
        struct create_job *create;
        struct engine_container *c;
        int keep[6];
        int r;

        if (check_args(args, err) < 0)
                return -1;
        create = calloc(1, sizeof(*create));
        if (!create)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
        create->text = malloc(CGROUP_TEXT_ROOM);
        create->text_room = CGROUP_TEXT_ROOM;
        if (!create->text)
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
        c = create->text ? new_container(engine, args, &create->init_gate, err) : NULL;
        if (!c) {
                free(create->text);
                free(create);
                return -1;
        }
        create->args = *args;
        create->fn = fn;
        create->on_init = args->on_init;
        create->userdata = userdata;
        create->terminal_fd = -1;
        job_init(&create->job, engine, c, &create_kind);
        keep[0] = c->gate;
        keep[1] = create->init_gate;
        for (int i = 0; i < 3; i++)
                keep[2 + i] = args->terminal ? -1 : args->stdio[i];
        keep[5] = args->passed.map ? args->passed.pidfd : -1;
        r = job_fork(&create->job, keep, 6, true, err);
        create->init_gate = fd_close(create->init_gate);
        create->args = (struct engine_create){0}; /* was borrowed */
        if (r < 0) {
                job_deinit(&create->job);
                create_free(&create->job);
                engine_container_free(c);
                return -1;
        }
        *ret = &create->job;
        return 0;
}
