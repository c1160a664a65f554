/* SPDX-License-Identifier: Apache-2.0
 *
 * See logger_exec.h. The program outlives the shim: when that dies, the container's output still
 * reaches its log until the pipes end.
 */
#include "pkg/io/logger_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/child.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"

enum { FD_OUT = 3, FD_ERR = 4, FD_READY = 5, FD_RING = 6, FD_FIRST_FREE = 7 };

struct logger_program {
        char *path; /* of the binary, or of the log */

        /* Of a binary. */
        char **argv; /* NULL-terminated, like envp */
        char **envp;

        /* Of log://. */
        bool is_log;
        struct log_writer writer;
        struct io_ring *ring;
        int counters_fd; /* of the writer's; -1: none */
};

static void strings_free(char **strings)
{
        for (char **s = strings; s && *s; s++)
                free(*s);
        free(strings);
}

struct logger_program *logger_program_free(struct logger_program *program)
{
        if (!program)
                return NULL;
        strings_free(program->argv);
        strings_free(program->envp);
        log_counters_free(program->writer.counters);
        io_ring_free(program->ring);
        fd_close(program->counters_fd);
        free(program->path);
        free(program);
        return NULL;
}

CLEANUP_DEFINE(struct logger_program, logger_program_free)

static char **make_argv(const struct io_uri *uri)
{
        char **argv = calloc(2 * uri->n_params + 2, sizeof(*argv));
        size_t n = 0;

        if (!argv)
                return NULL;
        argv[n++] = strdup(uri->path);
        for (size_t i = 0; i < uri->n_params && argv[n - 1]; i++) {
                argv[n++] = strdup(uri->params[i].key);
                if (argv[n - 1])
                        argv[n++] = strdup(uri->params[i].value);
        }
        if (argv[n - 1])
                return argv;
        strings_free(argv);
        return NULL;
}

static char **make_envp(const char *id, const char *runtime_namespace)
{
        char **envp = calloc(3, sizeof(*envp));

        if (!envp)
                return NULL;
        if (asprintf(&envp[0], "CONTAINER_ID=%s", id) < 0)
                envp[0] = NULL;
        if (envp[0] && asprintf(&envp[1], "CONTAINER_NAMESPACE=%s", runtime_namespace) < 0)
                envp[1] = NULL;
        if (envp[0] && envp[1])
                return envp;
        strings_free(envp);
        return NULL;
}

static void on_output(int stream, uint64_t time_ns, const void *data, size_t len, void *userdata)
{
        io_ring_write(userdata, (uint8_t)stream, time_ns, data, len);
}

static int make_writer(struct logger_program *program, const struct io_uri *uri, struct error *err)
{
        struct log_config *config = &program->writer.config;
        int r;

        log_config_init(config, program->path);
        for (size_t i = 0; i < uri->n_params; i++) {
                if (log_config_set(config, uri->params[i].key, uri->params[i].value, err) < 0)
                        return -1;
        }
        program->counters_fd = log_counters_memory();
        r = program->counters_fd < 0
                    ? program->counters_fd
                    : log_counters_map(&program->writer.counters, program->counters_fd);
        if (r < 0)
                return error_errno(err, -r, "log '%s'", program->path);
        program->writer.out = FD_OUT;
        program->writer.err = FD_ERR;
        if (config->ring_size == 0)
                return 0;
        if (io_ring_new(&program->ring, (size_t)config->ring_size, err) < 0)
                return -1;
        program->writer.on_output = on_output;
        program->writer.userdata = program->ring;
        return 0;
}

int logger_program_new(struct logger_program **ret, const struct io_uri *uri, const char *id,
                       const char *runtime_namespace, struct error *err)
{
        _cleanup_(logger_program_free_p) struct logger_program *program =
                calloc(1, sizeof(*program));

        if (!program)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        program->counters_fd = -1;
        program->is_log = uri->target == IO_TARGET_LOG;
        program->path = strdup(uri->path);
        if (program->path && program->is_log) {
                if (make_writer(program, uri, err) < 0)
                        return -1;
        } else if (program->path) {
                program->argv = make_argv(uri);
                program->envp = make_envp(id, runtime_namespace);
        }
        if (!program->path || (!program->is_log && (!program->argv || !program->envp)))
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        *ret = TAKE_PTR(program);
        return 0;
}

int logger_program_save(const struct logger_program *program, struct arena *arena,
                        Belay__State__V1__Logger *ret, struct error *err)
{
        ret->counters = kept_number(program->counters_fd);
        if (!program->ring)
                return 0;
        ret->ring = arena_alloc(arena, sizeof(*ret->ring));
        if (!ret->ring)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        io_ring_save(program->ring, ret->ring);
        return 0;
}

int logger_program_adopt(struct logger_program *program, const Belay__State__V1__Logger *m,
                         struct error *err)
{
        int fd = -1;
        struct log_counters *counters;
        struct io_ring *ring;
        int r;

        if (!program->is_log)
                return 0;
        if (kept_take(m->counters, KEPT_FILE, "log's counters", &fd, err) < 0)
                return -1;
        r = log_counters_map(&counters, fd);
        if (r < 0) {
                fd_close(fd);
                return error_errno(err, -r, "log '%s': counters", program->path);
        }
        log_counters_free(program->writer.counters);
        program->writer.counters = counters;
        fd_close(program->counters_fd);
        program->counters_fd = fd;
        if (!program->ring || !m->ring)
                return 0;
        if (io_ring_restore(&ring, m->ring, err) < 0)
                return -1;
        io_ring_free(program->ring);
        program->ring = ring;
        program->writer.userdata = ring;
        return 0;
}

const char *logger_program_name(const struct logger_program *program)
{
        return program->path;
}

struct io_ring *logger_program_ring(const struct logger_program *program)
{
        return program->ring;
}

const struct log_counters *logger_program_counters(const struct logger_program *program)
{
        return program->writer.counters;
}

const struct log_config *logger_program_log(const struct logger_program *program)
{
        return program->is_log ? &program->writer.config : NULL;
}

/* ---- In the child ---- */

/* Returns an errno when the log cannot be opened. The fork goes on as the log's writer, with
 * nothing of the shim's but its memory as it was. */
static int child_log(struct logger_program *program, int status)
{
        struct error err = ERROR_INIT;

        if (status > FD_FIRST_FREE)
                (void)close_range(FD_FIRST_FREE, (unsigned)status - 1, 0);
        (void)close_range((unsigned)status + 1, ~0U, 0);
        if (program->ring)
                io_ring_set_fd(program->ring, FD_RING);
        if (log_writer_open(&program->writer, &err) < 0)
                return err.errnum;
        fd_close(status);
        (void)fd_write_all(FD_READY, "", 1);
        fd_close(FD_READY);
        _exit(log_writer_run(&program->writer));
}

static int child_binary(const struct logger_program *program)
{
        fd_close(FD_RING);
        (void)execve(program->argv[0], program->argv, program->envp);
        return errno;
}

static _Noreturn void child_main(struct logger_program *program, const int streams[2], int ready,
                                 int status)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int ring = program->ring ? io_ring_fd(program->ring) : null;
        const int sources[] = {null, null, null, streams[0], streams[1], ready, ring};
        int errnum = 0;

        /* An order to end waits for the log writer's own handler, and then ends what may wait. */
        if (program->is_log)
                child_default_signals();
        else
                child_reset_signals();
        (void)prctl(PR_SET_NAME, "belay-log");
        (void)close_range(FD_OUT, ~0U, CLOSE_RANGE_CLOEXEC);
        status = fcntl(status, F_DUPFD_CLOEXEC, FD_FIRST_FREE);
        if (null < 0 || status < 0 ||
            child_set_fds(sources, sizeof(sources) / sizeof(sources[0])) < 0)
                errnum = errno;
        if (errnum == 0)
                errnum = program->is_log ? child_log(program, status) : child_binary(program);
        (void)fd_write_all(status, &errnum, sizeof(errnum));
        _exit(EXIT_FAILURE);
}

/* ---- In the parent ---- */

/*
 * A program's own opening of a pipe: what it does to its flags (O_NONBLOCK) is not done to its
 * successor's. Where it cannot be opened, ours is shared.
 */
static int open_stream(int fd)
{
        char link[64];
        int own;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        own = open(link, O_RDONLY | O_NOCTTY | O_CLOEXEC);
        if (own >= 0)
                return own;
        (void)fd_set_nonblock(fd, 0);
        return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* SIGTERM stays blocked in the child until it has told what it does about it. */
static pid_t fork_without_term(void)
{
        sigset_t term;
        sigset_t before;
        pid_t pid;

        (void)sigemptyset(&term);
        (void)sigaddset(&term, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &term, &before);
        pid = fork();
        if (pid != 0)
                (void)sigprocmask(SIG_SETMASK, &before, NULL);
        return pid;
}

static int pipe_new(int *ret_read, int *ret_write)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        *ret_read = ends[0];
        *ret_write = ends[1];
        return fd_set_nonblock(ends[0], 1);
}

pid_t logger_program_start(struct logger_program *program, const int streams[2], int *ret_ready,
                           int *ret_status, struct error *err)
{
        _cleanup_close_ int ready = -1;
        _cleanup_close_ int their_ready = -1;
        _cleanup_close_ int status = -1;
        _cleanup_close_ int their_status = -1;
        _cleanup_close_ int out = open_stream(streams[0]);
        _cleanup_close_ int errors = open_stream(streams[1]);
        int r = out < 0 || errors < 0 ? -errno : pipe_new(&ready, &their_ready);
        pid_t pid;

        if (r == 0)
                r = pipe_new(&status, &their_status);
        if (r < 0)
                return error_errno(err, -r, "logging binary '%s': pipe", program->path);
        pid = fork_without_term();
        if (pid < 0)
                return error_errno(err, errno, "logging binary '%s': fork", program->path);
        if (pid == 0)
                child_main(program, (const int[]){out, errors}, their_ready, their_status);
        *ret_ready = TAKE_FD(ready);
        *ret_status = TAKE_FD(status);
        return pid;
}

int logger_program_check(const struct logger_program *program, int status_fd, struct error *err)
{
        int errnum = 0;

        if (status_fd < 0 || read(status_fd, &errnum, sizeof(errnum)) != (ssize_t)sizeof(errnum))
                return 0;
        return error_errno(err, errnum, "%s '%s'",
                           program->is_log ? "open log" : "exec logging binary", program->path);
}
