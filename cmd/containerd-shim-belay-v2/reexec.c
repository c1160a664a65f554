/* SPDX-License-Identifier: Apache-2.0
 *
 * See reexec.h. All that is done at a crash is system calls and memory that was prepared.
 */
#include "cmd/containerd-shim-belay-v2/reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "cmd/containerd-shim-belay-v2/fds.h"
#include "cmd/containerd-shim-belay-v2/seal.h"
#include "cmd/containerd-shim-belay-v2/signals.h"

/* A copy of the list: the words stay. */
static int copy_environment(char ***ret, struct error *err)
{
        size_t n = 0;
        char **copy;

        while (environ[n])
                n++;
        copy = calloc(n + 1, sizeof(*copy));
        if (!copy)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "keep the environment: no memory");
        for (size_t i = 0; i < n; i++)
                copy[i] = environ[i];
        *ret = copy;
        return 0;
}

int reexec_init(struct reexec *r, const struct options *options, struct error *err)
{
        *r = (struct reexec){.image_fd = -1, .before_fd = -1};
        r->n_args = daemon_argv(options, options->program, options->debug, r->argv);
        r->argv[r->n_args++] = r->state;
        reexec_set_state(r, parse_fd(options->state));
        r->before_fd = parse_fd(options->fallback);
        if (*options->fallback && r->before_fd < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "-fallback '%s' is no descriptor",
                                 options->fallback);
        r->is_arriving = *options->state != '\0';
        return 0;
}

int reexec_prepare(struct reexec *r, struct error *err)
{
        if (r->is_arriving && held_init(&r->held, reexec_is_on_trial(r), err) < 0)
                return -1;
        if (copy_environment(&r->envp, err) < 0)
                return -1;
        r->image_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
        return r->image_fd >= 0 ? 0 : error_errno(err, errno, "open the binary that runs");
}

void reexec_passed(struct reexec *r)
{
        r->is_arriving = false;
        r->before_fd = -1; /* it is one of those that nobody claims */
        held_deinit(&r->held);
}

bool reexec_is_on_trial(const struct reexec *r)
{
        return r->before_fd >= 0;
}

void reexec_deinit(struct reexec *r)
{
        held_deinit(&r->held);
        r->image_fd = fd_close(r->image_fd);
        free(r->envp);
        r->envp = NULL;
}

/* For numbers of descriptors; snprintf(3) is not for signal handlers. */
static void write_flag(char *ret, size_t size, const char *flag, int fd)
{
        char digits[12];
        size_t n = 0;
        size_t len = strlen(flag);

        if (fd < 0)
                return;
        do {
                digits[n++] = (char)('0' + fd % 10);
                fd /= 10;
        } while (fd > 0);
        if (len + n + 1 > size)
                return;
        memcpy(ret, flag, len);
        while (n > 0)
                ret[len++] = digits[--n];
        ret[len] = '\0';
}

void reexec_set_state(struct reexec *r, int state_fd)
{
        write_flag(r->state, sizeof(r->state), "-state=", state_fd);
}

static bool is_own(const struct reexec *r, int fd)
{
        for (size_t i = 0; i < r->n_own; i++) {
                if (r->own[i] == fd)
                        return true;
        }
        return false;
}

static void keep_fd(int fd, void *userdata)
{
        if (!is_own(userdata, fd))
                (void)fcntl(fd, F_SETFD, 0);
}

static void unkeep_fd(int fd, void *userdata)
{
        (void)userdata;
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void close_unclaimed_fd(int fd, void *userdata)
{
        int flags = fcntl(fd, F_GETFD);

        (void)userdata;
        if (flags >= 0 && !(flags & FD_CLOEXEC))
                close(fd);
}

void reexec_close_unclaimed(void)
{
        for_each_fd(close_unclaimed_fd, NULL);
}

static void add_own(struct reexec *r, int fd)
{
        if (r->n_own < REEXEC_OWN_FDS_MAX)
                r->own[r->n_own++] = fd;
}

struct noting {
        struct reexec *reexec;
        int state_fd;
};

static void note_own_fd(int fd, void *userdata)
{
        const struct noting *noting = userdata;
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0 && flags & FD_CLOEXEC && fd != noting->state_fd &&
            !held_is_copy(&noting->reexec->held, fd))
                add_own(noting->reexec, fd);
}

void reexec_note_own(struct reexec *r, int state_fd)
{
        struct noting noting = {.reexec = r, .state_fd = state_fd};

        for_each_fd(note_own_fd, &noting);
}

bool reexec_spare(struct reexec *r)
{
        for (; r->n_spare < REEXEC_SPARE_FDS; r->n_spare++) {
                int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, FIRST_FD);

                if (fd < 0)
                        return false;
                add_own(r, fd);
        }
        return true;
}

/* Of a file that somebody has made not executable since. */
static void execute_copy(const struct reexec *r, int image_fd)
{
        _cleanup_close_ int copy = -1;
        char path[32] = "/proc/self/exe";

        write_flag(path, sizeof(path), "/proc/self/fd/", image_fd);
        if (seal_by_copy(path, &copy, NULL) == 0)
                execveat(copy, "", (char *const *)r->argv, r->envp ? r->envp : environ,
                         AT_EMPTY_PATH);
}

/* Returns an errno. image_fd: -1 if what runs could not be opened, which its path needs not. last:
 * one more word, or NULL. */
static int execute(struct reexec *r, int image_fd, const char *last)
{
        sigset_t before;
        int errnum;

        r->argv[r->n_args] = last;
        r->argv[r->n_args + 1] = NULL;
        /* An execve takes the handlers away. What is sent before the next image has its own waits
         * for it: crash_arm() lets it through. */
        signals_mask_fatal(SIG_BLOCK, &before);
        execveat(image_fd, image_fd < 0 ? "/proc/self/exe" : "", (char *const *)r->argv,
                 r->envp ? r->envp : environ, AT_EMPTY_PATH);
        errnum = errno;
        if (errnum == EACCES)
                execute_copy(r, image_fd);
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        return errnum;
}

static int execute_with_fds(struct reexec *r, int image_fd, const char *last)
{
        int errnum;

        for_each_fd(keep_fd, r);
        if (last == r->fallback)
                (void)fcntl(r->image_fd, F_SETFD, 0);
        errnum = execute(r, image_fd, last);
        for_each_fd(unkeep_fd, NULL);
        return errnum;
}

int reexec_try(struct reexec *r, int image_fd)
{
        write_flag(r->fallback, sizeof(r->fallback), "-fallback=", r->image_fd);
        return execute_with_fds(r, image_fd, r->fallback);
}

int reexec_again(struct reexec *r)
{
        if (!r->is_arriving)
                return execute_with_fds(r, r->image_fd, NULL);
        (void)alarm(0); /* a trial's time ends with it */
        /* What this image has made is CLOEXEC, and goes with it. If nothing is held yet, nothing
         * that came has been claimed. */
        held_put_back(&r->held);
        return execute(r, reexec_is_on_trial(r) ? r->before_fd : r->image_fd, NULL);
}

int reexec_ask_version(struct reexec *r, int image_fd)
{
        const char *argv[] = {r->argv[0], "-v", NULL};

        (void)fcntl(image_fd, F_SETFD, 0); /* a script is opened by its number */
        execveat(image_fd, "", (char *const *)argv, r->envp, AT_EMPTY_PATH);
        return errno;
}

int reexec_check(struct reexec *r, int image_fd, int state_copy_fd)
{
        reexec_set_state(r, state_copy_fd);
        return execute_with_fds(r, image_fd, CHECK_STATE_ACTION);
}
