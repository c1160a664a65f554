/* SPDX-License-Identifier: Apache-2.0
 *
 * create and exec: the two verbs that make a process. The runtime writes the pid into a file and
 * ends; until that is read, the reaper keeps exits of pids that nobody knows. A terminal comes over
 * a socket, mostly before the runtime ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

/* How long a terminal may be late, once the runtime has said that all went well. */
#define TERMINAL_NS (10 * NSEC_PER_SEC)

enum { PID_TEXT_MAX = 32 };

struct launch {
        struct runc_job cmd;
        struct runc *runc;
        struct console *console; /* NULL: no terminal */
        struct loop_timer *timer;
        char *pid_path;
        char *spec_path; /* an exec's process, NULL for the init */
        bool keep_pid_file;
        struct reaper_expectation expected;
        bool has_ended; /* the runtime, with success */
        struct runc_process *process;
        runc_process_fn fn;
        void *userdata;
};

static struct launch *launch_free(struct launch *job)
{
        if (!job)
                return NULL;
        if (job->spec_path)
                (void)unlink(job->spec_path);
        if (job->pid_path && !job->keep_pid_file)
                (void)unlink(job->pid_path);
        reaper_unexpect(job->runc->reaper, &job->expected);
        loop_timer_free(job->timer);
        console_free(job->console);
        runc_process_free(job->process);
        free(job->spec_path);
        free(job->pid_path);
        free(job);
        return NULL;
}
CLEANUP_DEFINE(struct launch, launch_free)

static void finish(struct launch *job, int terminal_fd, const struct error *why)
{
        runc_process_fn fn = job->fn;
        void *userdata = job->userdata;
        struct runc_process *process = why ? NULL : TAKE_PTR(job->process);
        struct error err = ERROR_INIT;

        if (why)
                err = *why;
        if (job->process)
                (void)runc_process_signal(job->process, SIGKILL, NULL);
        launch_free(job);
        fn(why ? &err : NULL, process, terminal_fd, userdata);
}

/* Once the process is there, and again when something has become of its terminal. */
static void advance(struct launch *job)
{
        struct error err = ERROR_INIT;
        int master = -1;

        if (!job->has_ended)
                return;
        if (job->console) {
                master = console_take(job->console, &err);
                if (master < 0 && err.errnum == EAGAIN && !job->cmd.is_aborted &&
                    !loop_timer_is_set(job->timer) && loop_timer_set(job->timer, TERMINAL_NS) == 0)
                        return;
        }
        finish(job, master, err.code != STATUS_OK ? &err : NULL);
}

static void on_console(void *userdata)
{
        advance(userdata);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        struct launch *job = userdata;
        struct error err = ERROR_INIT;

        (void)timer;
        if (job->cmd.is_aborted)
                (void)error_set(&err, STATUS_CANCELED, "the runtime was stopped");
        else
                (void)error_set(&err, STATUS_UNKNOWN, "the runtime has sent no terminal");
        finish(job, -1, &err);
}

/* The runtime has ended, and its terminal is waited for. */
static void on_abort(struct runc_job *cmd)
{
        struct launch *job = container_of(cmd, struct launch, cmd);

        if (job->timer)
                (void)loop_timer_set(job->timer, 0);
}

int read_pid_file(int dirfd, const char *path, pid_t *ret, struct error *err)
{
        _cleanup_free_ char *text = NULL;
        uint64_t pid;
        int r = file_read(dirfd, path, PID_TEXT_MAX, &text, NULL);

        if (r < 0)
                return error_errno(err, -r, "read '%s'", path);
        text[strcspn(text, "\n")] = '\0';
        if (str_to_u64(text, &pid) < 0 || pid == 0 || pid > INT32_MAX)
                return error_set(err, STATUS_UNKNOWN, "'%s': '%.32s' is no pid", path, text);
        *ret = (pid_t)pid;
        return 0;
}

static void on_done(struct runc_job *cmd, const struct error *why)
{
        struct launch *job = container_of(cmd, struct launch, cmd);
        struct error err = ERROR_INIT;
        pid_t pid = 0;

        if (why) {
                /* What it had made already is killed by finish(). */
                if (read_pid_file(AT_FDCWD, job->pid_path, &pid, NULL) == 0)
                        (void)runc_process_new(&job->process, job->runc, pid, NULL);
                finish(job, -1, why);
                return;
        }
        if (read_pid_file(AT_FDCWD, job->pid_path, &pid, &err) < 0 ||
            runc_process_new(&job->process, job->runc, pid, &err) < 0) {
                finish(job, -1, &err);
                return;
        }
        job->has_ended = true;
        advance(job);
}

static struct launch *launch_new(struct runc *r, const struct runc_stdio *stdio, char *pid_path,
                                 runc_process_fn fn, void *userdata, struct error *err)
{
        _cleanup_(launch_free_p) struct launch *job = calloc(1, sizeof(*job));

        if (!job || !pid_path) {
                free(pid_path);
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "run '%s': no memory", r->binary);
                return NULL;
        }
        job->runc = r;
        job->pid_path = pid_path;
        job->fn = fn;
        job->userdata = userdata;
        if (!stdio->terminal)
                return TAKE_PTR(job);
        job->timer = loop_timer_new(r->loop, on_timer, job);
        if (!job->timer) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "run '%s': no memory", r->binary);
                return NULL;
        }
        if (console_new(&job->console, r->loop, on_console, job, err) < 0)
                return NULL;
        return TAKE_PTR(job);
}

static int launch_start(struct launch *job, const struct args *args, const struct runc_stdio *stdio,
                        struct error *err)
{
        (void)unlink(job->pid_path); /* one of before would be believed */
        job->cmd.on_abort = on_abort;
        reaper_expect(job->runc->reaper, &job->expected);
        return command_start(&job->cmd, job->runc, args, stdio->terminal ? NULL : stdio->fds,
                             on_done, err);
}

int runc_create(struct runc *r, const struct runc_stdio *stdio, runc_process_fn fn, void *userdata,
                struct runc_job **ret, struct error *err)
{
        _cleanup_(launch_free_p) struct launch *job =
                launch_new(r, stdio, str_printf("%s/init.pid", r->state_dir), fn, userdata, err);
        struct args args;

        if (!job)
                return -1;
        args_create(&args, r, job->pid_path, job->console ? console_path(job->console) : NULL);
        if (launch_start(job, &args, stdio, err) < 0)
                return -1;
        job->keep_pid_file = true;
        *ret = &TAKE_PTR(job)->cmd;
        return 0;
}

/* In the state directory, which is root's; the names differ from all others there by their endings.
 */
static int write_spec(struct launch *job, const struct runc_exec *args, struct error *err)
{
        size_t len = args->process_json_len;
        _cleanup_free_ char *json =
                json_set_bool(args->process_json, &len, "terminal", args->stdio.terminal);
        _cleanup_close_ int fd = -1;
        char *path = str_printf("%s/exec-%s.spec", job->runc->state_dir, args->exec_id);
        int r;

        if (!path || !json) {
                free(path);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec: no memory");
        }
        (void)unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        r = fd < 0 ? -errno : fd_write_all(fd, json, len);
        if (r < 0) {
                (void)error_errno(err, -r, "write '%s'", path);
                (void)unlink(path);
                free(path);
                return -1;
        }
        job->spec_path = path;
        return 0;
}

int runc_exec(struct runc *r, const struct runc_exec *args, runc_process_fn fn, void *userdata,
              struct runc_job **ret, struct error *err)
{
        _cleanup_(launch_free_p) struct launch *job = launch_new(
                r, &args->stdio, str_printf("%s/exec-%s.pid", r->state_dir, args->exec_id), fn,
                userdata, err);
        _cleanup_free_ char *cgroups = args->cgroup ? strdup(args->cgroup) : NULL;
        struct args_of_exec exec = {.cgroups = cgroups, .ignore_paused = args->ignore_paused};
        struct args line;

        if (args->cgroup && !cgroups)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec: no memory");
        if (!job || write_spec(job, args, err) < 0)
                return -1;
        exec.spec = job->spec_path;
        exec.pid_file = job->pid_path;
        exec.console = job->console ? console_path(job->console) : NULL;
        args_exec(&line, r, &exec);
        if (launch_start(job, &line, &args->stdio, err) < 0)
                return -1;
        *ret = &TAKE_PTR(job)->cmd;
        return 0;
}
