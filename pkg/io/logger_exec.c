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
#include <unistd.h>

#include "pkg/base/fd.h"

enum { FD_OUT = 3, FD_ERR = 4, FD_READY = 5, FD_FIRST_FREE = 6 };

struct logger_program {
        char **argv; /* NULL-terminated, like envp */
        char **envp;
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

int logger_program_new(struct logger_program **ret, const struct io_uri *uri, const char *id,
                       const char *runtime_namespace, struct error *err)
{
        _cleanup_(logger_program_free_p) struct logger_program *program =
                calloc(1, sizeof(*program));

        if (program) {
                program->argv = make_argv(uri);
                program->envp = make_envp(id, runtime_namespace);
        }
        if (!program || !program->argv || !program->envp)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "logging binary: no memory");
        *ret = TAKE_PTR(program);
        return 0;
}

const char *logger_program_name(const struct logger_program *program)
{
        return program->argv[0];
}

/* ---- In the child ---- */

static void reset_signals(void)
{
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigset_t none;

        for (int signo = 1; signo < NSIG; signo++)
                (void)sigaction(signo, &action, NULL); /* EINVAL: not to be changed */
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Through copies above all of the targets, so that none overwrites one that is still needed. */
static int set_descriptors(const int sources[], int n)
{
        int copies[FD_FIRST_FREE];

        for (int i = 0; i < n; i++) {
                copies[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, FD_FIRST_FREE + 1);
                if (copies[i] < 0)
                        return -1;
        }
        for (int i = 0; i < n; i++) {
                if (dup2(copies[i], i) < 0)
                        return -1;
        }
        return 0;
}

static _Noreturn void child_main(const struct logger_program *program, const int streams[2],
                                 int ready, int status)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        const int sources[] = {null, null, null, streams[0], streams[1], ready};
        int errnum;

        reset_signals();
        (void)close_range(FD_OUT, ~0U, CLOSE_RANGE_CLOEXEC);
        status = fcntl(status, F_DUPFD_CLOEXEC, FD_FIRST_FREE);
        if (null >= 0 && status >= 0 &&
            set_descriptors(sources, (int)(sizeof(sources) / sizeof(sources[0]))) == 0)
                (void)execve(program->argv[0], program->argv, program->envp);
        errnum = errno;
        (void)fd_write_all(status, &errnum, sizeof(errnum));
        _exit(EXIT_FAILURE);
}

/* ---- In the parent ---- */

static int pipe_new(int *ret_read, int *ret_write)
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        *ret_read = ends[0];
        *ret_write = ends[1];
        return fd_set_nonblock(ends[0], 1);
}

pid_t logger_program_start(const struct logger_program *program, const int streams[2],
                           int *ret_ready, int *ret_status, struct error *err)
{
        _cleanup_close_ int ready = -1;
        _cleanup_close_ int their_ready = -1;
        _cleanup_close_ int status = -1;
        _cleanup_close_ int their_status = -1;
        int r = pipe_new(&ready, &their_ready);
        pid_t pid;

        if (r == 0)
                r = pipe_new(&status, &their_status);
        if (r < 0)
                return error_errno(err, -r, "logging binary '%s': pipe", program->argv[0]);
        pid = fork();
        if (pid < 0)
                return error_errno(err, errno, "logging binary '%s': fork", program->argv[0]);
        if (pid == 0)
                child_main(program, streams, their_ready, their_status);
        *ret_ready = TAKE_FD(ready);
        *ret_status = TAKE_FD(status);
        return pid;
}

int logger_program_check(const struct logger_program *program, int status_fd, struct error *err)
{
        int errnum = 0;

        if (status_fd < 0 || read(status_fd, &errnum, sizeof(errnum)) != (ssize_t)sizeof(errnum))
                return 0;
        return error_errno(err, errnum, "exec logging binary '%s'", program->argv[0]);
}
