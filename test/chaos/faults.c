/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into a shim of the build option `chaos`, and so into its stages: calls of the C library
 * that fail on demand, with an error that they can give by their man pages, and a clock that is
 * wrong. Which call it is, and with what, stands in the plan: pkg/base/chaos.h. A call counts only
 * if it can give the error that is asked for, so that a test can go through them one by one.
 *
 * What the library calls within itself is not seen, nor what a container's own programs do.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pkg/base/chaos.h"

static struct chaos_plan *plan;

__attribute__((constructor)) static void open_plan(void)
{
        plan = chaos_plan_open();
}

/* Groups of errors that calls give alike. */
enum {
        NO_FD = 1,     /* EMFILE, ENFILE */
        NO_SPACE = 2,  /* ENOSPC, EDQUOT, EIO */
        NO_MEMORY = 4, /* ENOMEM, ENOBUFS */
        BROKEN_OFF = 8 /* EINTR */
};

static int group_of(int errnum)
{
        switch (errnum) {
        case EMFILE:
        case ENFILE:
                return NO_FD;
        case ENOSPC:
        case EDQUOT:
        case EIO:
                return NO_SPACE;
        case ENOMEM:
        case ENOBUFS:
                return NO_MEMORY;
        case EINTR:
                return BROKEN_OFF;
        default:
                return 0;
        }
}

static int fails(const char *name, int can)
{
        if (!plan || !(group_of(plan->faults.value) & can))
                return 0;
        if (!chaos_trigger_pass(&plan->faults, name))
                return 0;
        errno = plan->faults.value;
        return 1;
}

/* The next function of that name, found when it is wanted first. */
#define NEXT(type, name)              \
        static type (*next)() = NULL; \
        if (!next)                    \
        *(void **)&next = dlsym(RTLD_NEXT, #name)

/* WRAP(type, failure, groups, name, (parameters), (arguments)) */
#define WRAP(type, failure, can, name, params, args) \
        type name params                             \
        {                                            \
                NEXT(type, name);                    \
                if (fails(#name, can))               \
                        return failure;              \
                return next args;                    \
        }

/* ---- Descriptors ---- */

static int open_of(const char *name, int (*next)(int, const char *, int, ...), int dir,
                   const char *path, int flags, mode_t mode)
{
        int can = NO_FD | NO_MEMORY | BROKEN_OFF | (flags & O_CREAT ? NO_SPACE : 0);

        if (fails(name, can))
                return -1;
        return next(dir, path, flags, mode);
}

#define MODE_OF(flags)                         \
        mode_t mode = 0;                       \
        va_list ap;                            \
                                               \
        va_start(ap, flags);                   \
        if ((flags) & (O_CREAT | __O_TMPFILE)) \
                mode = va_arg(ap, mode_t);     \
        va_end(ap)

int openat64(int dir, const char *path, int flags, ...)
{
        NEXT(int, openat64);
        MODE_OF(flags);
        return open_of("openat", (int (*)(int, const char *, int, ...))next, dir, path, flags,
                       mode);
}

int openat(int dir, const char *path, int flags, ...)
{
        NEXT(int, openat64);
        MODE_OF(flags);
        return open_of("openat", (int (*)(int, const char *, int, ...))next, dir, path, flags,
                       mode);
}

int open64(const char *path, int flags, ...)
{
        NEXT(int, openat64);
        MODE_OF(flags);
        return open_of("open", (int (*)(int, const char *, int, ...))next, AT_FDCWD, path, flags,
                       mode);
}

int open(const char *path, int flags, ...)
{
        NEXT(int, openat64);
        MODE_OF(flags);
        return open_of("open", (int (*)(int, const char *, int, ...))next, AT_FDCWD, path, flags,
                       mode);
}

WRAP(int, -1, NO_FD | NO_MEMORY, socket, (int a, int b, int c), (a, b, c))
WRAP(int, -1, NO_FD | NO_MEMORY, socketpair, (int a, int b, int c, int d[2]), (a, b, c, d))
WRAP(int, -1, NO_FD | NO_MEMORY | BROKEN_OFF, accept4,
     (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d))
WRAP(int, -1, NO_FD | NO_MEMORY, pipe2, (int a[2], int b), (a, b))
WRAP(int, -1, NO_FD | NO_MEMORY, eventfd, (unsigned a, int b), (a, b))
WRAP(int, -1, NO_FD | NO_MEMORY, epoll_create1, (int a), (a))
WRAP(int, -1, NO_FD | NO_MEMORY, signalfd, (int a, const sigset_t *b, int c), (a, b, c))
WRAP(int, -1, NO_FD | NO_MEMORY, inotify_init1, (int a), (a))
WRAP(int, -1, NO_FD | NO_MEMORY, memfd_create, (const char *a, unsigned b), (a, b))
WRAP(int, -1, NO_FD | NO_MEMORY, pidfd_open, (pid_t a, unsigned b), (a, b))
WRAP(int, -1, NO_FD | NO_MEMORY, pidfd_getfd, (int a, int b, unsigned c), (a, b, c))
WRAP(int, -1, NO_FD | NO_MEMORY, open_tree, (int a, const char *b, unsigned c), (a, b, c))
WRAP(int, -1, NO_FD | NO_MEMORY, fsopen, (const char *a, unsigned b), (a, b))
WRAP(int, -1, NO_FD | NO_MEMORY, fsmount, (int a, unsigned b, unsigned c), (a, b, c))
WRAP(int, -1, BROKEN_OFF, dup2, (int a, int b), (a, b))
WRAP(int, -1, BROKEN_OFF, dup3, (int a, int b, int c), (a, b, c))
WRAP(DIR *, NULL, NO_FD | NO_MEMORY, opendir, (const char *a), (a))
WRAP(DIR *, NULL, NO_MEMORY, fdopendir, (int a), (a))

int fcntl64(int fd, int command, ...)
{
        va_list ap;
        void *arg;

        NEXT(int, fcntl64);
        va_start(ap, command);
        arg = va_arg(ap, void *);
        va_end(ap);
        if (command == F_DUPFD_CLOEXEC && fails("fcntl(F_DUPFD_CLOEXEC)", NO_FD))
                return -1;
        return next(fd, command, arg);
}

/* ---- Bytes ---- */

WRAP(ssize_t, -1, BROKEN_OFF | NO_MEMORY, read, (int a, void *b, size_t c), (a, b, c))
WRAP(ssize_t, -1, BROKEN_OFF, pread64, (int a, void *b, size_t c, off_t d), (a, b, c, d))

ssize_t write(int fd, const void *data, size_t len)
{
        struct stat st;
        int can = BROKEN_OFF | NO_SPACE | NO_MEMORY;

        NEXT(ssize_t, write);
        if (fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0)
                can = 0; /* an eventfd, which gives EAGAIN at most */
        return fails("write", can) ? -1 : next(fd, data, len);
}

WRAP(ssize_t, -1, BROKEN_OFF | NO_SPACE, pwrite64, (int a, const void *b, size_t c, off_t d),
     (a, b, c, d))
WRAP(ssize_t, -1, BROKEN_OFF | NO_MEMORY, recv, (int a, void *b, size_t c, int d), (a, b, c, d))
WRAP(ssize_t, -1, BROKEN_OFF | NO_MEMORY, recvmsg, (int a, struct msghdr *b, int c), (a, b, c))
WRAP(ssize_t, -1, BROKEN_OFF | NO_MEMORY, send, (int a, const void *b, size_t c, int d),
     (a, b, c, d))
WRAP(ssize_t, -1, BROKEN_OFF | NO_MEMORY, sendmsg, (int a, const struct msghdr *b, int c),
     (a, b, c))
WRAP(ssize_t, -1, BROKEN_OFF | NO_SPACE | NO_MEMORY, copy_file_range,
     (int a, off_t *b, int c, off_t *d, size_t e, unsigned f), (a, b, c, d, e, f))
WRAP(int, -1, BROKEN_OFF | NO_MEMORY, connect, (int a, const struct sockaddr *b, socklen_t c),
     (a, b, c))
WRAP(int, -1, NO_SPACE | NO_MEMORY, bind, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
WRAP(int, -1, BROKEN_OFF | NO_MEMORY, poll, (struct pollfd * a, nfds_t b, int c), (a, b, c))
WRAP(int, -1, BROKEN_OFF | NO_MEMORY, ppoll,
     (struct pollfd * a, nfds_t b, const struct timespec *c, const sigset_t *d), (a, b, c, d))
WRAP(int, -1, BROKEN_OFF, epoll_wait, (int a, struct epoll_event *b, int c, int d), (a, b, c, d))
WRAP(int, -1, NO_SPACE | NO_MEMORY, inotify_add_watch, (int a, const char *b, uint32_t c),
     (a, b, c))
WRAP(int, -1, BROKEN_OFF | NO_MEMORY, flock, (int a, int b), (a, b))

/* Only what is new takes memory, or counts against a limit. */
int epoll_ctl(int epoll_fd, int what, int fd, struct epoll_event *event)
{
        NEXT(int, epoll_ctl);
        if (what == EPOLL_CTL_ADD && fails("epoll_ctl", NO_SPACE | NO_MEMORY))
                return -1;
        return next(epoll_fd, what, fd, event);
}

/* ---- Files ---- */

WRAP(int, -1, BROKEN_OFF | NO_SPACE, ftruncate64, (int a, off_t b), (a, b))
WRAP(int, -1, BROKEN_OFF | NO_SPACE, fallocate64, (int a, int b, off_t c, off_t d), (a, b, c, d))
WRAP(int, -1, NO_SPACE | NO_MEMORY, mkdir, (const char *a, mode_t b), (a, b))
WRAP(int, -1, NO_SPACE | NO_MEMORY, mkdirat, (int a, const char *b, mode_t c), (a, b, c))
WRAP(int, -1, NO_SPACE | NO_MEMORY, rename, (const char *a, const char *b), (a, b))
WRAP(int, -1, NO_SPACE | NO_MEMORY, renameat, (int a, const char *b, int c, const char *d),
     (a, b, c, d))
WRAP(int, -1, NO_SPACE | NO_MEMORY, symlinkat, (const char *a, int b, const char *c), (a, b, c))
WRAP(int, -1, NO_SPACE | NO_MEMORY, mknodat, (int a, const char *b, mode_t c, dev_t d),
     (a, b, c, d))
WRAP(int, -1, NO_MEMORY, unlinkat, (int a, const char *b, int c), (a, b, c))
WRAP(int, -1, NO_MEMORY, rmdir, (const char *a), (a))
WRAP(int, -1, NO_SPACE | NO_MEMORY, mount,
     (const char *a, const char *b, const char *c, unsigned long d, const void *e), (a, b, c, d, e))
WRAP(int, -1, NO_MEMORY, umount2, (const char *a, int b), (a, b))
WRAP(int, -1, NO_SPACE | NO_MEMORY, move_mount,
     (int a, const char *b, int c, const char *d, unsigned e), (a, b, c, d, e))

/* ---- Memory and processes ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
        return fails("malloc", NO_MEMORY) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
        return fails("calloc", NO_MEMORY) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
        return fails("realloc", NO_MEMORY) ? NULL : __libc_realloc(p, size);
}

WRAP(void *, (void *)-1, NO_MEMORY, mmap64, (void *a, size_t b, int c, int d, int e, off_t f),
     (a, b, c, d, e, f))
WRAP(int, -1, NO_MEMORY, fork, (void), ())
WRAP(int, -1, BROKEN_OFF, waitid, (idtype_t a, id_t b, siginfo_t *c, int d), (a, b, c, d))
WRAP(int, -1, BROKEN_OFF, waitpid, (pid_t a, int *b, int c), (a, b, c))
WRAP(int, -1, NO_SPACE | NO_MEMORY, unshare, (int a), (a))
WRAP(int, -1, NO_MEMORY, setns, (int a, int b), (a, b))

/* Of those that have no function in the library the shim calls some by their numbers. */
long syscall(long number, ...)
{
        long a[6];
        va_list ap;
        int can = 0;

        NEXT(long, syscall);
        va_start(ap, number);
        for (size_t i = 0; i < 6; i++)
                a[i] = va_arg(ap, long);
        va_end(ap);
        if (number == SYS_clone3)
                can = NO_MEMORY;
        else if (number == SYS_openat2)
                can = NO_FD | NO_MEMORY | BROKEN_OFF;
        if (can && fails(number == SYS_clone3 ? "clone3" : "openat2", can))
                return -1;
        return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- The clock ---- */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        int r;

        NEXT(int, clock_gettime);
        r = next(clock, ret);
        if (r == 0 && plan && clock == CLOCK_REALTIME) {
                int64_t ns = ret->tv_sec * INT64_C(1000000000) + ret->tv_nsec + plan->realtime_ns;

                ret->tv_sec = ns / 1000000000;
                ret->tv_nsec = ns % 1000000000;
        }
        return r;
}
