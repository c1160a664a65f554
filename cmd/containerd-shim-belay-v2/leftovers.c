/* SPDX-License-Identifier: Apache-2.0
 *
 * See leftovers.h.
 */
#include "cmd/containerd-shim-belay-v2/leftovers.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"

#include "cmd/containerd-shim-belay-v2/fds.h"

/* How long all that is killed may take to end. What is in a frozen cgroup of v1 takes longer. */
enum { LEFTOVERS_END_MS = 200 };

/* What a stage says, and more. */
enum { MESSAGE_BYTES = 4096 };

/* Names that a shim is given, and paths. */
enum { WORDS_BYTES = 2048 };

#define STATE_WORD "\0-state="

/* ---- What came along ---- */

static bool is_stages_socket(int fd)
{
        int type = 0;
        socklen_t len = sizeof(type);

        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

static void count(int fd, void *userdata)
{
        (void)fd;
        ++*(size_t *)userdata;
}

static void claim(int fd, void *userdata)
{
        struct leftovers *leftovers = userdata;
        int flags = fcntl(fd, F_GETFD);

        if (flags < 0 || flags & FD_CLOEXEC || (!is_stages_socket(fd) && kept_pid(fd) == 0))
                return;
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        leftovers->fds[leftovers->n++] = fd;
}

void leftovers_claim(struct leftovers *leftovers)
{
        size_t n = 0;

        for_each_fd(count, &n);
        *leftovers = (struct leftovers){.fds = calloc(n + 1, sizeof(*leftovers->fds))};
        if (leftovers->fds)
                for_each_fd(claim, leftovers);
}

void leftovers_deinit(struct leftovers *leftovers)
{
        for (size_t i = 0; i < leftovers->n; i++)
                fd_close(leftovers->fds[i]);
        free(leftovers->fds);
        *leftovers = (struct leftovers){.n = 0};
}

/* ---- The end of them ---- */

static bool is_own_image(pid_t pid)
{
        char path[32];
        struct stat own;
        struct stat other;

        (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
        return stat("/proc/self/exe", &own) == 0 && stat(path, &other) == 0 &&
               own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

/* The words of its command line that no other shim has: what differs from image to image comes
 * behind them. */
static size_t read_words(const char *path, char ret[static WORDS_BYTES])
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, ret, WORDS_BYTES);
        const char *state =
                n > 0 ? memmem(ret, (size_t)n, STATE_WORD, sizeof(STATE_WORD) - 1) : NULL;

        if (n <= 0)
                return 0;
        return state ? (size_t)(state - ret) + 1 : (size_t)n;
}

/* A container may run shims, too: of the same file, and as orphans. */
static bool is_fork_of_ours(pid_t pid)
{
        char path[32];
        char own[WORDS_BYTES];
        char other[WORDS_BYTES];
        size_t n = read_words("/proc/self/cmdline", own);

        (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
        return is_own_image(pid) && read_words(path, other) == n && memcmp(own, other, n) == 0;
}

static bool has_ended(int pidfd, int timeout_ms)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return poll(&p, 1, timeout_ms) > 0;
}

static void await_end(int pidfd, uint64_t deadline_ns)
{
        uint64_t now = clock_monotonic_ns();

        if (pidfd >= 0 && now < deadline_ns)
                (void)has_ended(pidfd, (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1);
}

/* False: there were none that lived. */
static bool kill_strangers(const struct reaper *reaper, bool owns_children, uint64_t deadline_ns)
{
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0;
        size_t n_killed = 0;

        if (reaper_strangers(reaper, &pids, &n) < 0)
                return false;
        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int pidfd = pidfd_open(pids[i], 0);

                if ((!owns_children && !is_fork_of_ours(pids[i])) || has_ended(pidfd, 0))
                        continue;
                (void)kill(pids[i], SIGKILL);
                pids[n_killed++] = pids[i];
        }
        for (size_t i = 0; i < n_killed; i++) {
                _cleanup_close_ int pidfd = pidfd_open(pids[i], 0);

                await_end(pidfd, deadline_ns);
        }
        return n_killed > 0;
}

/* Whoever has passed descriptors on to an exec is known by a pidfd, too, and is no child. */
static void kill_known(const struct reaper *reaper, int pidfd, uint64_t deadline_ns)
{
        pid_t pid = kept_pid(pidfd);

        if (pid <= 0 || reaper_is_watched(reaper, pid) ||
            reaper_find(reaper, pid) != REAPER_PRESENT)
                return;
        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        await_end(pidfd, deadline_ns);
}

static void kill_told(const struct reaper *reaper, int sock, uint64_t deadline_ns)
{
        char message[MESSAGE_BYTES];
        int fds[2];
        size_t n;

        (void)fd_set_nonblock(sock, 1);
        while (n = 2, fd_recv(sock, message, sizeof(message), fds, &n) > 0) {
                for (size_t i = 0; i < n; i++) {
                        kill_known(reaper, fds[i], deadline_ns);
                        fd_close(fds[i]);
                }
        }
}

/* Until there are none: the child of one that is killed, as a runtime's, is a stranger only then.
 * The stages are among them, and say nothing any more when their sockets are read. */
void leftovers_kill(const struct leftovers *leftovers, const struct reaper *reaper,
                    bool owns_children)
{
        uint64_t deadline_ns = clock_monotonic_ns() + LEFTOVERS_END_MS * NSEC_PER_MSEC;

        while (kill_strangers(reaper, owns_children, deadline_ns) &&
               clock_monotonic_ns() < deadline_ns)
                ;
        for (size_t i = 0; i < leftovers->n; i++) {
                if (is_stages_socket(leftovers->fds[i]))
                        kill_told(reaper, leftovers->fds[i], deadline_ns);
                else
                        kill_known(reaper, leftovers->fds[i], deadline_ns);
        }
}
