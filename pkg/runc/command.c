/* SPDX-License-Identifier: Apache-2.0
 *
 * One run of the runtime under the loop. It is over when it is reaped: whoever holds its output
 * open after that is of no interest. Why it failed is told by the last error that it logged, else
 * by what it printed, else by how it ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

static off_t log_size(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 ? st.st_size : 0;
}

/* What the log has grown by since offset, the end of it if that is too much. */
static bool read_log_error(const char *path, off_t offset, char *ret, size_t ret_size)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        _cleanup_free_ char *text = malloc(LIMIT_RUNTIME_LOG_BYTES);
        struct stat st;
        ssize_t n;

        if (fd < 0 || !text || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return false;
        if (st.st_size - offset > (off_t)LIMIT_RUNTIME_LOG_BYTES)
                offset = st.st_size - (off_t)LIMIT_RUNTIME_LOG_BYTES;
        n = pread(fd, text, LIMIT_RUNTIME_LOG_BYTES, offset);
        return n > 0 && log_last_error(text, (size_t)n, ret, ret_size);
}

/* Keeps what there is room for, drops the rest. False at the end of it. */
static bool read_output(struct runc_job *cmd)
{
        char dropped[512];
        size_t room = COMMAND_OUTPUT_MAX - cmd->output_len;
        ssize_t n = room > 0 ? read(cmd->output_fd, cmd->output + cmd->output_len, room)
                             : read(cmd->output_fd, dropped, sizeof(dropped));

        if (n <= 0)
                return n < 0 && errno == EINTR;
        if (room > 0)
                cmd->output_len += (size_t)n;
        return true;
}

static void on_output(struct loop_io *io, int fd, int what, void *userdata)
{
        struct runc_job *cmd = userdata;

        (void)io;
        (void)fd;
        (void)what;
        if (!read_output(cmd) && errno != EAGAIN)
                cmd->io = loop_io_free(cmd->io);
}

static void close_all(struct runc_job *cmd)
{
        cmd->watch = reaper_watch_free(cmd->watch);
        cmd->io = loop_io_free(cmd->io);
        cmd->output_fd = fd_close(cmd->output_fd);
        cmd->status_fd = fd_close(cmd->status_fd);
        cmd->pidfd = fd_close(cmd->pidfd);
}

static int explain(struct runc_job *cmd, const struct reaper_exit *exit, int errnum,
                   struct error *err)
{
        char text[ERROR_TEXT_MAX] = "";
        char how[32];

        if (cmd->is_aborted)
                return error_set(err, STATUS_CANCELED, "the runtime was stopped");
        if (errnum)
                return error_errno(err, errnum, "exec '%s'", cmd->runc->binary);
        if (read_log_error(cmd->runc->log, cmd->log_offset, text, sizeof(text)))
                return error_set(err, STATUS_UNKNOWN, "%s", text);
        cmd->output[cmd->output_len] = '\0';
        str_make_utf8(cmd->output);
        spawn_describe(exit->code, exit->status, how, sizeof(how));
        return error_set(err, STATUS_UNKNOWN, "'%s' did not terminate successfully: %s%s%.300s",
                         cmd->runc->binary, how, cmd->output_len > 0 ? ": " : "", cmd->output);
}

static void on_reaped(const struct reaper_exit *exit, void *userdata)
{
        struct runc_job *cmd = userdata;
        struct error err = ERROR_INIT;
        int errnum = spawn_errno(cmd->status_fd);
        bool ok = exit->code == CLD_EXITED && exit->status == 0;

        cmd->watch = NULL;
        if (cmd->output_fd >= 0)
                while (cmd->output_len < COMMAND_OUTPUT_MAX && read_output(cmd))
                        ;
        close_all(cmd);
        if (!ok)
                (void)explain(cmd, exit, errnum, &err);
        cmd->done(cmd, ok ? NULL : &err);
}

/* Its output into a pipe of ours, nothing into it. */
static int open_stdio(struct runc_job *cmd, int *ret_null, int *ret_theirs, struct error *err)
{
        int ends[2];

        *ret_null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (*ret_null < 0)
                return error_errno(err, errno, "open '/dev/null'");
        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(err, errno, "run '%s': pipe", cmd->runc->binary);
        cmd->output_fd = ends[0];
        *ret_theirs = ends[1];
        (void)fd_set_nonblock(cmd->output_fd, 1);
        cmd->io = loop_io_new(cmd->runc->loop, cmd->output_fd, LOOP_PRIORITY_RPC, on_output, cmd);
        if (!cmd->io || loop_io_want(cmd->io, LOOP_READ) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "run '%s': no memory",
                                 cmd->runc->binary);
        return 0;
}

static int start(struct runc_job *cmd, const struct args *args, const int *stdio, struct error *err)
{
        _cleanup_close_ int null = -1;
        _cleanup_close_ int theirs = -1;
        int own[3];

        if (!stdio || stdio[1] < 0) {
                if (open_stdio(cmd, &null, &theirs, err) < 0)
                        return -1;
                own[0] = stdio ? stdio[0] : null;
                own[1] = theirs;
                own[2] = theirs;
                stdio = own;
        }
        cmd->log_offset = log_size(cmd->runc->log);
        cmd->pid = spawn(args, stdio, &cmd->status_fd, err);
        if (cmd->pid < 0)
                return -1;
        cmd->pidfd = pidfd_open(cmd->pid, 0);
        cmd->watch = reaper_watch_new(cmd->runc->reaper, cmd->pid, on_reaped, cmd);
        if (!cmd->watch) {
                (void)kill(cmd->pid, SIGKILL);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "run '%s': no memory",
                                 cmd->runc->binary);
        }
        return 0;
}

int command_start(struct runc_job *cmd, struct runc *r, const struct args *args, const int *stdio,
                  void (*done)(struct runc_job *cmd, const struct error *err), struct error *err)
{
        cmd->runc = r;
        cmd->done = done;
        cmd->status_fd = -1;
        cmd->output_fd = -1;
        cmd->pidfd = -1;
        if (start(cmd, args, stdio, err) < 0) {
                close_all(cmd);
                return -1;
        }
        return 0;
}

void runc_job_abort(struct runc_job *job)
{
        job->is_aborted = true;
        if (job->watch)
                (void)kill(job->pid, SIGKILL); /* not reaped yet: the pid is its own */
        else if (job->on_abort)
                job->on_abort(job);
}
