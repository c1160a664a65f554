/* SPDX-License-Identifier: Apache-2.0
 *
 * See fds.h.
 */
#include "cmd/containerd-shim-belay-v2/fds.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DIRENT_BYTES = 4096 };

/* What is looked through without a list: as many numbers as may be given, and for a limit that was
 * lowered since, or is none, as many as a shim may be thought to have. */
enum { SCANNED_LEAST = 1 << 16, SCANNED_MOST = 1 << 20 };

/* What getdents64(2) fills in. */
struct dirent_head {
        uint64_t ino;
        int64_t off;
        unsigned short reclen;
        unsigned char type;
        char name[];
};

int parse_fd(const char *text)
{
        int n = 0;

        if (*text < '0' || *text > '9')
                return -1;
        for (; *text >= '0' && *text <= '9' && n < 1 << 24; text++)
                n = n * 10 + (*text - '0');
        return *text ? -1 : n;
}

/* Takes longer than a list, and needs nothing. */
static void scan(void (*fn)(int fd, void *userdata), void *userdata)
{
        struct rlimit limit = {.rlim_cur = SCANNED_MOST};
        int n = SCANNED_LEAST;

        (void)getrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur > SCANNED_LEAST)
                n = limit.rlim_cur < SCANNED_MOST ? (int)limit.rlim_cur : SCANNED_MOST;
        for (int fd = FIRST_FD; fd < n; fd++) {
                if (fcntl(fd, F_GETFD) >= 0)
                        fn(fd, userdata);
        }
}

void for_each_fd(void (*fn)(int fd, void *userdata), void *userdata)
{
        _Alignas(struct dirent_head) char buf[DIRENT_BYTES];
        int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        long n;

        if (dir < 0) {
                scan(fn, userdata);
                return;
        }
        while ((n = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
                for (long at = 0; at < n;) {
                        const struct dirent_head *d = (const void *)(buf + at);
                        int fd = parse_fd(d->name);

                        if (fd >= FIRST_FD && fd != dir)
                                fn(fd, userdata);
                        at += d->reclen;
                }
        }
        close(dir);
}
