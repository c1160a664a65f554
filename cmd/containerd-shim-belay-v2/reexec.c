/* SPDX-License-Identifier: Apache-2.0
 *
 * See reexec.h. All that is done at a crash is system calls and memory that was prepared.
 */
#include "cmd/containerd-shim-belay-v2/reexec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/spawn.h"

enum { FIRST_FD = 3, DIRENT_BYTES = 4096 };

/* What getdents64(2) fills in; glibc's readdir(3) allocates. */
struct dirent_head {
        uint64_t ino;
        int64_t off;
        unsigned short reclen;
        unsigned char type;
        char name[];
};

static char **copy_environment(void)
{
        size_t n = 0;
        char **copy;

        while (environ[n])
                n++;
        copy = calloc(n + 1, sizeof(*copy));
        for (size_t i = 0; copy && i < n; i++)
                copy[i] = environ[i];
        return copy;
}

int reexec_init(struct reexec *r, const struct options *options, struct error *err)
{
        r->n_args = daemon_argv(options, options->program, options->debug, r->argv);
        r->argv[r->n_args++] = r->state;
        r->envp = copy_environment();
        r->image_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
        if (!r->envp || r->image_fd < 0)
                return error_errno(err, errno, "open the binary that runs");
        return 0;
}

void reexec_deinit(struct reexec *r)
{
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

int reexec_parse_fd(const char *text)
{
        int n = 0;

        if (*text < '0' || *text > '9')
                return -1;
        for (; *text >= '0' && *text <= '9' && n < 1 << 24; text++)
                n = n * 10 + (*text - '0');
        return *text ? -1 : n;
}

/* Calls fn for every open descriptor above stdio but `dir` itself. No allocation. */
static void for_each_fd(void (*fn)(int fd))
{
        _Alignas(struct dirent_head) char buf[DIRENT_BYTES];
        int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        long n;

        if (dir < 0)
                return;
        while ((n = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
                for (long at = 0; at < n;) {
                        const struct dirent_head *d = (const void *)(buf + at);
                        int fd = reexec_parse_fd(d->name);

                        if (fd >= FIRST_FD && fd != dir)
                                fn(fd);
                        at += d->reclen;
                }
        }
        close(dir);
}

static void keep_fd(int fd)
{
        (void)fcntl(fd, F_SETFD, 0);
}

static void unkeep_fd(int fd)
{
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void close_unclaimed_fd(int fd)
{
        int flags = fcntl(fd, F_GETFD);

        if (flags >= 0 && !(flags & FD_CLOEXEC))
                close(fd);
}

void reexec_keep_fds(void)
{
        for_each_fd(keep_fd);
}

void reexec_close_unclaimed(void)
{
        for_each_fd(close_unclaimed_fd);
}

int reexec_now(struct reexec *r, int image_fd, bool fallback)
{
        int saved;

        reexec_keep_fds();
        if (fallback)
                write_flag(r->fallback, sizeof(r->fallback), "-fallback=", r->image_fd);
        r->argv[r->n_args] = fallback ? r->fallback : NULL;
        r->argv[r->n_args + 1] = NULL;
        execveat(image_fd, "", (char *const *)r->argv, r->envp, AT_EMPTY_PATH);
        saved = errno;
        for_each_fd(unkeep_fd);
        return saved;
}

int reexec_check(struct reexec *r, int image_fd, int state_copy_fd)
{
        reexec_set_state(r, state_copy_fd);
        reexec_keep_fds();
        r->argv[r->n_args] = CHECK_STATE_ACTION;
        r->argv[r->n_args + 1] = NULL;
        execveat(image_fd, "", (char *const *)r->argv, r->envp, AT_EMPTY_PATH);
        return errno;
}
