/* SPDX-License-Identifier: Apache-2.0
 *
 * The fake executor: see fake.h. It also checks what the interface forbids: freeing a container
 * with jobs under way, or processes that nobody freed.
 */
#include "test/unit/shim/fake.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "belay/state/v1/shim.pb-c.h"

enum { FIRST_PID = 1000000000 }; /* no process has it: records of it have no start time */

struct fake_container {
        struct fake *fake;
        int n_jobs;
};

struct fake_process {
        struct list node;
        struct fake *fake;
        pid_t pid;
        bool exited;
        struct reaper_exit exit;
        reaper_fn fn;
        void *userdata;
        struct loop_deferred deliver;
};

struct job {
        struct list node;
        struct fake *fake;
        struct fake_container *container;
        enum fake_job kind;
        bool aborted;
        bool terminal;
        void (*fn)(void);
        void (*on_init)(pid_t pid, void *userdata);
        pid_t shown; /* its init's pid, if that has been told already */
        void *userdata;
        struct loop_deferred end;
};

static pid_t next_pid(void)
{
        static pid_t pid = FIRST_PID;

        return pid++;
}

static void on_deliver(struct loop_deferred *deferred)
{
        struct fake_process *p = container_of(deferred, struct fake_process, deliver);
        reaper_fn fn = p->fn;

        if (!fn || !p->exited)
                return;
        p->fn = NULL;
        fn(&p->exit, p->userdata);
}

static struct fake_process *process_make(struct fake *fake)
{
        struct fake_process *p = calloc(1, sizeof(*p));

        assert(p);
        p->fake = fake;
        p->pid = next_pid();
        loop_deferred_init(&p->deliver, on_deliver);
        list_append(&fake->processes, &p->node);
        fake->n_processes++;
        return p;
}

__attribute__((format(printf, 3, 4))) static void put_file(const struct fake *fake,
                                                           const char *file, const char *fmt, ...)
{
        char path[96];
        va_list ap;
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", fake->events_dir, file);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert(fd >= 0);
        va_start(ap, fmt);
        assert(vdprintf(fd, fmt, ap) > 0);
        va_end(ap);
        fd_close(fd);
}

static void put_events(const struct fake *fake, const char *file, unsigned hits, unsigned kills)
{
        put_file(fake, file, "oom %u\noom_kill %u\n", hits, kills);
}

void fake_procs(const struct fake *fake, const char *text)
{
        put_file(fake, "cgroup.procs", "%s", text);
}

bool fake_is_thawed(const struct fake *fake)
{
        char path[96];
        char state = 0;
        int fd;

        (void)snprintf(path, sizeof(path), "%s/cgroup.freeze", fake->events_dir);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert(fd >= 0 && read(fd, &state, 1) == 1);
        fd_close(fd);
        return state == '0';
}

void fake_oom(const struct fake *fake, unsigned hits, unsigned kills)
{
        put_events(fake, "memory.events.local", hits, kills);
        put_events(fake, "memory.events", hits, kills);
}

void fake_cgroup(struct fake *fake, const char *dir)
{
        (void)snprintf(fake->events_dir, sizeof(fake->events_dir), "%s", dir);
        fake->cgroup.dirs[0] = (struct cgroup_dir){
                .path = fake->events_dir, .controllers = "", .is_v2 = true, .created = true};
        fake->cgroup.n_dirs = 1;
        fake_oom(fake, 0, 0);
        put_file(fake, "cgroup.freeze", "1\n");
        put_file(fake, "cgroup.events", "populated 1\nfrozen 0\n");
}

void fake_exit(struct fake_process *p, int code, int status)
{
        p->exited = true;
        p->exit = (struct reaper_exit){
                .pid = p->pid,
                .code = code,
                .status = status,
                .at = clock_realtime(),
        };
        if (p->fn)
                loop_defer(p->fake->loop, &p->deliver);
}

struct fake_process *fake_live(const struct fake *fake, unsigned n)
{
        struct fake_process *last = NULL;

        list_for_each(p, &fake->processes, struct fake_process, node) {
                if (p->exited)
                        continue;
                last = p;
                if (n-- == 0)
                        break;
        }
        return last;
}

pid_t fake_pid(const struct fake_process *p)
{
        return p->pid;
}

/* A terminal's master, whose slave the test has; or -1 if none was asked for. */
static int make_terminal(const struct job *job)
{
        struct fake *fake = job->fake;
        char slave[64];
        int master;

        if (!job->terminal)
                return -1;
        if (fake->bad_terminal)
                return open("/dev/null", O_RDWR | O_CLOEXEC);
        master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        assert(ptsname_r(master, slave, sizeof(slave)) == 0);
        fd_close(fake->slave);
        fake->slave = open(slave, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        assert(fake->slave >= 0);
        return master;
}

static void job_succeed(struct job *job)
{
        const pid_t listed[] = {1, getpid()};
        struct fake *fake = job->fake;

        switch (job->kind) {
        case FAKE_CREATE:
                job->container = calloc(1, sizeof(*job->container));
                assert(job->container);
                job->container->fake = fake;
                fake->n_containers++;
                fake->init = process_make(fake);
                if (job->shown > 0)
                        fake->init->pid = job->shown;
                ((executor_create_fn)job->fn)(NULL, (void *)job->container, (void *)fake->init,
                                              make_terminal(job), job->userdata);
                break;
        case FAKE_EXEC:
                fake->exec = process_make(fake);
                if (fake->exec_exits_at_once)
                        fake_exit(fake->exec, CLD_EXITED, 0);
                ((executor_exec_fn)job->fn)(NULL, (void *)fake->exec, make_terminal(job),
                                            job->userdata);
                break;
        case FAKE_START:
        case FAKE_PAUSE:
        case FAKE_RESUME:
        case FAKE_UPDATE:
        case FAKE_KILL_ALL:
        case FAKE_REMOVE:
                ((executor_done_fn)job->fn)(NULL, job->userdata);
                break;
        case FAKE_LIST_PIDS:
                ((executor_pids_fn)job->fn)(NULL, listed, 2, job->userdata);
                break;
        case _FAKE_JOB_MAX:
                break;
        }
}

static void job_fail(struct job *job, const struct error *err)
{
        if (job->kind == FAKE_CREATE)
                ((executor_create_fn)job->fn)(err, NULL, NULL, -1, job->userdata);
        else if (job->kind == FAKE_EXEC)
                ((executor_exec_fn)job->fn)(err, NULL, -1, job->userdata);
        else if (job->kind == FAKE_LIST_PIDS)
                ((executor_pids_fn)job->fn)(err, NULL, 0, job->userdata);
        else
                ((executor_done_fn)job->fn)(err, job->userdata);
}

static void on_job_end(struct loop_deferred *deferred)
{
        struct job *job = container_of(deferred, struct job, end);
        struct error err = ERROR_INIT;

        list_remove(&job->node);
        if (job->container)
                job->container->n_jobs--;
        if (job->aborted)
                (void)error_set(&err, STATUS_CANCELED, "aborted");
        else if (job->fake->fail[job->kind])
                (void)error_set(&err, job->fake->fail_code ? job->fake->fail_code : STATUS_UNKNOWN,
                                "%s", job->fake->fail[job->kind]);
        if (err.code)
                job_fail(job, &err);
        else
                job_succeed(job);
        free(job);
}

static int job_begin(struct fake *fake, struct fake_container *c, enum fake_job kind,
                     void (*fn)(void), void *userdata, bool terminal, struct executor_job **ret,
                     struct error *err)
{
        struct job *job;

        fake->n_calls[kind]++;
        if (fake->refuse[kind])
                return error_set(err, STATUS_UNKNOWN, "refused");
        job = calloc(1, sizeof(*job));
        assert(job);
        job->fake = fake;
        job->container = c;
        job->kind = kind;
        job->fn = fn;
        job->userdata = userdata;
        job->terminal = terminal;
        loop_deferred_init(&job->end, on_job_end);
        list_append(&fake->jobs, &job->node);
        if (c)
                c->n_jobs++;
        if (!fake->hold[kind])
                loop_defer(fake->loop, &job->end);
        if (ret)
                *ret = (void *)job;
        return 0;
}

void fake_release(struct fake *fake, enum fake_job kind)
{
        list_for_each(job, &fake->jobs, struct job, node) {
                if (job->kind == kind)
                        loop_defer(fake->loop, &job->end);
        }
}

static int do_create(void *impl, const struct executor_create *args, executor_create_fn fn,
                     void *userdata, struct executor_job **ret, struct error *err)
{
        if (job_begin(impl, NULL, FAKE_CREATE, (void (*)(void))fn, userdata, args->terminal, ret,
                      err) < 0)
                return -1;
        ((struct job *)*ret)->on_init = args->on_init;
        return 0;
}

pid_t fake_show_init(struct fake *fake)
{
        pid_t pid = 0;

        list_for_each(job, &fake->jobs, struct job, node) {
                if (job->kind == FAKE_CREATE) {
                        pid = job->shown = next_pid();
                        job->on_init(pid, job->userdata);
                }
        }
        return pid;
}

static bool list_contains(const struct list *list, const struct list *node)
{
        for (const struct list *n = list->next; n != list; n = n->next) {
                if (n == node)
                        return true;
        }
        return false;
}

static void do_abort(struct executor_job *executor_job)
{
        struct job *job = (void *)executor_job;

        assert(list_contains(&job->fake->jobs, &job->node)); /* not one that is over */
        job->fake->n_aborted++;
        job->aborted = !job->fake->abort_is_late;
        loop_defer(job->fake->loop, &job->end);
}

static int do_start(struct executor_container *ec, executor_done_fn fn, void *userdata,
                    struct executor_job **ret, struct error *err)
{
        struct fake_container *c = (void *)ec;

        return job_begin(c->fake, c, FAKE_START, (void (*)(void))fn, userdata, false, ret, err);
}

static int do_exec(struct executor_container *ec, const struct executor_exec *args,
                   executor_exec_fn fn, void *userdata, struct executor_job **ret,
                   struct error *err)
{
        struct fake_container *c = (void *)ec;

        (void)snprintf(c->fake->last_spec, sizeof(c->fake->last_spec), "%.*s",
                       (int)args->process_json_len, args->process_json);
        return job_begin(c->fake, c, FAKE_EXEC, (void (*)(void))fn, userdata, args->terminal, ret,
                         err);
}

static int do_pause(struct executor_container *ec, executor_done_fn fn, void *userdata,
                    struct executor_job **ret, struct error *err)
{
        struct fake_container *c = (void *)ec;

        return job_begin(c->fake, c, FAKE_PAUSE, (void (*)(void))fn, userdata, false, ret, err);
}

static int do_resume(struct executor_container *ec, executor_done_fn fn, void *userdata,
                     struct executor_job **ret, struct error *err)
{
        struct fake_container *c = (void *)ec;

        return job_begin(c->fake, c, FAKE_RESUME, (void (*)(void))fn, userdata, false, ret, err);
}

static int do_update(struct executor_container *ec, const char *json, size_t len,
                     executor_done_fn fn, void *userdata, struct executor_job **ret,
                     struct error *err)
{
        struct fake_container *c = (void *)ec;

        (void)snprintf(c->fake->last_spec, sizeof(c->fake->last_spec), "%.*s", (int)len, json);
        return job_begin(c->fake, c, FAKE_UPDATE, (void (*)(void))fn, userdata, false, ret, err);
}

static int do_kill_all(struct executor_container *ec, int signo, executor_done_fn fn,
                       void *userdata, struct error *err)
{
        struct fake_container *c = (void *)ec;

        c->fake->last_kill_all = signo;
        return job_begin(c->fake, c, FAKE_KILL_ALL, (void (*)(void))fn, userdata, false, NULL, err);
}

static bool do_has_private_pid_namespace(const struct executor_container *ec)
{
        return ((const struct fake_container *)ec)->fake->private_pid_namespace;
}

static const struct cgroup *do_cgroup(const struct executor_container *ec)
{
        const struct fake *fake = ((const struct fake_container *)ec)->fake;

        return fake->cgroup.n_dirs > 0 ? &fake->cgroup : NULL;
}

static int do_list_pids(void *impl, const struct cgroup *cg, executor_pids_fn fn, void *userdata,
                        struct error *err)
{
        (void)cg;
        return job_begin(impl, NULL, FAKE_LIST_PIDS, (void (*)(void))fn, userdata, false, NULL,
                         err);
}

static int do_remove(struct executor_container *ec, executor_done_fn fn, void *userdata,
                     struct error *err)
{
        struct fake_container *c = (void *)ec;

        assert(c->n_jobs == 0);
        return job_begin(c->fake, c, FAKE_REMOVE, (void (*)(void))fn, userdata, false, NULL, err);
}

static void do_container_free(struct executor_container *ec)
{
        struct fake_container *c = (void *)ec;

        assert(c->n_jobs == 0);
        c->fake->n_containers--;
        free(c);
}

static pid_t do_process_pid(const struct executor_process *ep)
{
        return ((const struct fake_process *)ep)->pid;
}

static void do_process_on_exit(struct executor_process *ep, reaper_fn fn, void *userdata)
{
        struct fake_process *p = (void *)ep;

        p->fn = fn;
        p->userdata = userdata;
        if (p->exited)
                loop_defer(p->fake->loop, &p->deliver);
}

static int do_process_signal(struct executor_process *ep, int signo, struct error *err)
{
        struct fake_process *p = (void *)ep;

        if (p->exited)
                return error_set(err, STATUS_NOT_FOUND, "process already finished");
        p->fake->last_signal = signo;
        return 0;
}

static void do_process_free(struct executor_process *ep)
{
        struct fake_process *p = (void *)ep;

        loop_deferred_cancel(&p->deliver);
        list_remove(&p->node);
        if (p->fake->init == p)
                p->fake->init = NULL;
        if (p->fake->exec == p)
                p->fake->exec = NULL;
        p->fake->n_processes--;
        free(p);
}

void fake_deinit(struct fake *fake)
{
        fake->slave = fd_close(fake->slave);
}

static int do_container_save(const struct executor_container *c, struct arena *arena,
                             Belay__State__V1__Container *message, struct error *err)
{
        (void)c;
        (void)err;
        message->engine = arena_alloc(arena, sizeof(*message->engine));
        assert(message->engine);
        belay__state__v1__engine_container__init(message->engine);
        return 0;
}

static int do_container_restore(void *impl, const Belay__State__V1__Container *message,
                                struct executor_container **ret, struct error *err)
{
        struct fake_container *c;

        if (!message->engine)
                return error_set(err, STATUS_INVALID_ARGUMENT, "the fake has not saved any");
        c = calloc(1, sizeof(*c));
        assert(c);
        c->fake = impl;
        c->fake->n_containers++;
        *ret = (struct executor_container *)c;
        return 0;
}

static int do_process_save(const struct executor_process *p, struct arena *arena,
                           Belay__State__V1__Process *message, struct error *err)
{
        const struct fake_process *fake = (const struct fake_process *)p;
        Belay__State__V1__EngineProcess *msg = arena_alloc(arena, sizeof(*msg));

        (void)err;
        assert(msg);
        belay__state__v1__engine_process__init(msg);
        msg->pid = fake->pid;
        msg->exited = fake->exited;
        msg->code = fake->exit.code;
        msg->status = fake->exit.status;
        msg->exited_at_ns = (int64_t)clock_timespec_ns(&fake->exit.at);
        message->engine = msg;
        return 0;
}

static int do_process_restore(struct executor_container *c,
                              const Belay__State__V1__Process *message,
                              struct executor_process **ret, struct error *err)
{
        const Belay__State__V1__EngineProcess *msg = message->engine;
        struct fake *fake = ((struct fake_container *)c)->fake;
        struct fake_process *p;

        (void)err;
        *ret = NULL;
        if (!msg)
                return 0;
        p = process_make(fake);
        p->pid = msg->pid;
        p->exited = msg->exited;
        if (*message->exec_id)
                fake->exec = p;
        else
                fake->init = p;
        p->exit = (struct reaper_exit){
                .pid = msg->pid,
                .code = msg->code,
                .status = msg->status,
                .at = clock_ns_timespec((uint64_t)msg->exited_at_ns),
        };
        *ret = (struct executor_process *)p;
        return 0;
}

static bool do_is_created(const struct executor_container *c)
{
        return ((const struct fake_container *)c)->fake->is_created;
}

void fake_init(struct fake *fake, struct loop *loop)
{
        static const struct executor_ops ops = {
                .create = do_create,
                .abort = do_abort,
                .start = do_start,
                .exec = do_exec,
                .pause = do_pause,
                .resume = do_resume,
                .update = do_update,
                .kill_all = do_kill_all,
                .has_private_pid_namespace = do_has_private_pid_namespace,
                .cgroup = do_cgroup,
                .list_pids = do_list_pids,
                .remove = do_remove,
                .container_free = do_container_free,
                .process_pid = do_process_pid,
                .process_on_exit = do_process_on_exit,
                .process_signal = do_process_signal,
                .process_free = do_process_free,
                .container_save = do_container_save,
                .container_restore = do_container_restore,
                .process_save = do_process_save,
                .process_restore = do_process_restore,
                .is_created = do_is_created,
        };

        *fake = (struct fake){.loop = loop, .private_pid_namespace = true, .slave = -1};
        fake->executor.ops = &ops;
        fake->executor.impl = fake;
        list_init(&fake->jobs);
        list_init(&fake->processes);
}
