/* SPDX-License-Identifier: Apache-2.0
 *
 * What runs in the benchmarks' containers; static, with no library start-up to speak of.
 *
 *   true                  end at once
 *   exit N                end at once, with that status
 *   stamp                 write CLOCK_MONOTONIC nanoseconds to stdout as 8 bytes, and end
 *   pause                 wait for a signal
 *   crowd N               the same as N processes; write 8 bytes as `stamp` when all are there
 *   spew N                write N MiB to stdout, and end
 *   lines N LINE FOLDER   write lines of LINE bytes, N MiB of them, as the gate in FOLDER lets it:
 *                         gate.h. The last line has a # before its newline, and no other
 *   sink N FOLDER         read N MiB from stdin, likewise
 *   logger FILE           a logging program: descriptors 3 and 4 to the file
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MEBIBYTE = 1 << 20 };

static char buffer[1 << 16];
static char last[1 << 16];

static int spew(long mebibytes)
{
        for (long left = mebibytes * (1 << 20); left > 0;) {
                ssize_t n = write(1, buffer,
                                  left < (long)sizeof(buffer) ? (size_t)left : sizeof(buffer));

                if (n < 0)
                        return 1;
                left -= n;
        }
        return 0;
}

static uint64_t now(clockid_t clock)
{
        struct timespec ts;

        (void)clock_gettime(clock, &ts);
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int stamp(void)
{
        uint64_t ns = now(CLOCK_MONOTONIC);

        return write(1, &ns, sizeof(ns)) == (ssize_t)sizeof(ns) ? 0 : 1;
}

static _Noreturn void wait_for_a_signal(void)
{
        for (;;)
                (void)pause();
}

static int crowd(long n)
{
        while (--n > 0) {
                pid_t pid = fork();

                if (pid < 0)
                        return 1;
                if (pid == 0)
                        wait_for_a_signal();
        }
        if (stamp() != 0)
                return 1;
        wait_for_a_signal();
}

/* ---- The container's side of a gate ---- */

static int gate_open(const char *folder, const char *name, int flags)
{
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
        return open(path, flags | O_CLOEXEC);
}

static bool gate_pass(int go)
{
        char c;

        return read(go, &c, 1) == 1;
}

/* The bench looks at its processes now, and lets us end. */
static int gate_tell(const char *folder, int go, const uint64_t times[2])
{
        int done = gate_open(folder, "done", O_WRONLY);
        ssize_t size = (ssize_t)(2 * sizeof(times[0]));

        return done >= 0 && write(done, times, (size_t)size) == size && gate_pass(go) ? 0 : 1;
}

/* ---- Lines ---- */

/* Both buffers hold the same whole lines, but for the end of the last one. */
static size_t fill_lines(size_t line)
{
        size_t size = sizeof(buffer) / line * line;

        for (size_t i = 0; i < size; i++)
                buffer[i] = i % line == line - 1 ? '\n' : (char)('a' + i % line % 26);
        memcpy(last, buffer, size);
        last[size - 2] = '#';
        return size;
}

static int lines(long mebibytes, size_t line, const char *folder)
{
        int go = gate_open(folder, "go", O_RDONLY);
        size_t size = line >= 2 && line <= sizeof(buffer) ? fill_lines(line) : 0;
        size_t left = size ? (size_t)mebibytes * MEBIBYTE / line * line : 0;
        size_t at = 0;
        long passed = 0;
        uint64_t times[2] = {0};

        if (go < 0 || left == 0)
                return 1;
        while (left > 0) {
                const char *from = left <= size ? last + size - left : buffer + at;
                ssize_t n;

                if (passed <= 0) {
                        if (!gate_pass(go))
                                return 1;
                        passed += MEBIBYTE;
                        times[0] = times[0] ? times[0] : now(CLOCK_REALTIME);
                }
                n = write(1, from, left <= size ? left : size - at);
                if (n < 0)
                        return 1;
                left -= (size_t)n;
                at = (at + (size_t)n) % size;
                passed -= n;
        }
        times[1] = now(CLOCK_REALTIME);
        return gate_tell(folder, go, times);
}

static int sink(long mebibytes, const char *folder)
{
        int go = gate_open(folder, "go", O_RDONLY);
        uint64_t times[2] = {0};

        if (go < 0 || !gate_pass(go))
                return 1;
        times[0] = now(CLOCK_REALTIME);
        for (long left = mebibytes * MEBIBYTE; left > 0;) {
                ssize_t n = read(0, buffer, sizeof(buffer));

                if (n <= 0)
                        return 1;
                left -= n;
        }
        times[1] = now(CLOCK_REALTIME);
        return gate_tell(folder, go, times);
}

/* ---- A logging program ---- */

static int logger(const char *path)
{
        struct pollfd from[] = {{.fd = 3, .events = POLLIN}, {.fd = 4, .events = POLLIN}};
        int to = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        if (to < 0 || close(5) < 0)
                return 1;
        while (from[0].fd >= 0 || from[1].fd >= 0) {
                if (poll(from, 2, -1) < 0)
                        return 1;
                for (int i = 0; i < 2; i++) {
                        ssize_t n = from[i].revents ? read(from[i].fd, buffer, sizeof(buffer)) : -1;

                        if (from[i].revents && n <= 0)
                                from[i].fd = -1;
                        if (n > 0 && write(to, buffer, (size_t)n) != n)
                                return 1;
                }
        }
        return 0;
}

int main(int argc, char **argv)
{
        const char *what = argc > 1 ? argv[1] : "";

        if (strcmp(what, "true") == 0)
                return 0;
        if (strcmp(what, "exit") == 0 && argc > 2)
                return (int)strtol(argv[2], NULL, 10);
        if (strcmp(what, "stamp") == 0)
                _exit(stamp());
        if (strcmp(what, "pause") == 0)
                wait_for_a_signal();
        if (strcmp(what, "crowd") == 0 && argc > 2)
                return crowd(strtol(argv[2], NULL, 10));
        if (strcmp(what, "spew") == 0 && argc > 2)
                return spew(strtol(argv[2], NULL, 10));
        if (strcmp(what, "lines") == 0 && argc > 4)
                return lines(strtol(argv[2], NULL, 10), strtoul(argv[3], NULL, 10), argv[4]);
        if (strcmp(what, "sink") == 0 && argc > 3)
                return sink(strtol(argv[2], NULL, 10), argv[3]);
        if (strcmp(what, "logger") == 0 && argc > 2)
                return logger(argv[2]);
        return 2;
}
