/* SPDX-License-Identifier: Apache-2.0
 *
 * One measurement of one shim, printed as a line of JSON; bench.py interleaves the shims and adds
 * up.
 *
 * - `bench life SHIM BUNDLE ID`: the whole life of a container whose program is `payload stamp`;
 * - `bench killed SHIM BUNDLE ID`: `delete` after SIGKILL for the shim of a `payload crowd N`;
 * - `bench busy SHIM BUNDLE ID N`: a container that waits: memory, N execs, memory again, calls;
 * - `bench calls SHIM BUNDLE ID`: the calls alone: latency of State, Stats and Pids, State rate;
 * - `bench stdout SHIM BUNDLE ID MIB`: bytes per second through stdout, and the shim's CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "containerd/task/v2/task.pb-c.h"
#include "test/bench/calls.h"
#include "test/bench/client.h"
#include "test/bench/measure.h"

static int open_fifo(const char *path)
{
        int fd;

        (void)unlink(path);
        if (mkfifo(path, 0700) < 0)
                fail("mkfifo %s: %s", path, strerror(errno));
        /* Read-write, so that neither side of the benchmark ever waits in an open. */
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                fail("open %s: %s", path, strerror(errno));
        return fd;
}

static uint64_t read_stamp(int fd)
{
        uint64_t ns;

        if (read(fd, &ns, sizeof(ns)) != (ssize_t)sizeof(ns))
                fail("no time stamp from the container");
        return ns;
}

/* From the first exec of the shim to the end of its `delete` action, step by step. */
static void bench_life(struct client *c)
{
        struct pending wait = {0};
        uint64_t t[8];
        uint64_t stamp;
        char out[256];
        int fifo;

        (void)snprintf(out, sizeof(out), "%s/../out.%d", c->bundle, (int)getpid());
        fifo = open_fifo(out);
        t[0] = clock_monotonic_ns();
        client_start_shim(c);
        client_connect(c);
        (void)client_shim_pid(c);
        t[1] = clock_monotonic_ns();
        client_create(c, out);
        t[2] = clock_monotonic_ns();
        client_wait_begin(c, "", &wait);
        (void)client_start(c, "");
        t[3] = clock_monotonic_ns();
        client_finish(c, &wait);
        t[4] = clock_monotonic_ns();
        stamp = 0;
        if (wait.value != 0)
                fail("the container ended with %u", wait.value);
        client_delete(c, "");
        t[5] = clock_monotonic_ns();
        client_shutdown(c);
        t[6] = clock_monotonic_ns();
        client_run_delete_action(c);
        t[7] = clock_monotonic_ns();
        stamp = read_stamp(fifo);
        fd_close(fifo);
        (void)unlink(out);
        printf("{\"start\":%.1f,\"create\":%.1f,\"start_rpc\":%.1f,\"exit_to_wait\":%.1f,"
               "\"delete\":%.1f,\"shutdown\":%.1f,\"delete_action\":%.1f,\"life\":%.1f,"
               "\"program\":%.1f,\"end\":%.1f}\n",
               us(t[0], t[1]), us(t[1], t[2]), us(t[2], t[3]), us(stamp, wait.done_ns),
               us(t[4], t[5]), us(t[5], t[6]), us(t[6], t[7]), us(t[0], t[7]), us(t[1], stamp),
               us(t[1], wait.done_ns));
}

static void kill_shim(pid_t shim)
{
        _cleanup_close_ int pidfd = pidfd_open(shim, 0);
        struct pollfd ended = {.fd = pidfd, .events = POLLIN};

        if (pidfd < 0 || pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 || poll(&ended, 1, -1) < 0)
                fail("kill the shim: %s", strerror(errno));
}

/* What containerd waits for when a shim was killed: its `delete` action ends the container. */
static void bench_killed(struct client *c)
{
        uint64_t start;
        uint64_t end;
        char out[256];
        pid_t shim;
        int fifo;

        (void)snprintf(out, sizeof(out), "%s/../out.%d", c->bundle, (int)getpid());
        fifo = open_fifo(out);
        client_start_shim(c);
        client_connect(c);
        shim = (pid_t)client_shim_pid(c);
        client_create(c, out);
        (void)client_start(c, "");
        (void)read_stamp(fifo);
        kill_shim(shim);
        start = clock_monotonic_ns();
        client_run_delete_action(c);
        end = clock_monotonic_ns();
        fd_close(fifo);
        (void)unlink(out);
        (void)unlink(c->address + strlen("unix://")); /* the stock shim's stays */
        printf("{\"killed\":%.1f}\n", us(start, end));
}

/* A runtime's own command line, whose container is `payload stamp` with the command's stdout. */
static void bench_command(char **argv)
{
        extern char **environ;
        posix_spawn_file_actions_t actions;
        uint64_t start;
        uint64_t stamp;
        uint64_t end;
        pid_t pid;
        int out[2];
        int status;

        if (pipe2(out, O_CLOEXEC) < 0 || posix_spawn_file_actions_init(&actions) != 0 ||
            posix_spawn_file_actions_adddup2(&actions, out[1], 1) != 0)
                fail("pipe: %s", strerror(errno));
        start = clock_monotonic_ns();
        if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ) != 0)
                fail("run %s", argv[0]);
        if (waitpid(pid, &status, 0) < 0 || status != 0)
                fail("%s ended with 0x%x", argv[0], (unsigned)status);
        end = clock_monotonic_ns();
        stamp = read_stamp(out[0]);
        (void)posix_spawn_file_actions_destroy(&actions);
        printf("{\"program\":%.1f,\"end\":%.1f}\n", us(start, stamp), us(start, end));
}

/* One line of /proc/PID/smaps_rollup, in kB. */
static long smaps(uint32_t pid, const char *key)
{
        char path[64];
        char line[256];
        long kb = -1;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%u/smaps_rollup", pid);
        f = fopen(path, "re");
        if (!f)
                fail("open %s: %s", path, strerror(errno));
        while (fgets(line, sizeof(line), f)) {
                if (strncmp(line, key, strlen(key)) == 0)
                        kb = strtol(line + strlen(key), NULL, 10);
        }
        (void)fclose(f);
        return kb;
}

static long n_threads(uint32_t pid)
{
        char path[64];
        struct stat st;

        (void)snprintf(path, sizeof(path), "/proc/%u/task", pid);
        if (stat(path, &st) < 0)
                fail("stat %s: %s", path, strerror(errno));
        return (long)st.st_nlink - 2;
}

/* What it has run for, in microseconds: schedstat counts nanoseconds, where stat has ticks. */
static double run_us(uint32_t pid)
{
        unsigned long long ns = 0;
        char path[64];
        char *text = NULL;

        (void)snprintf(path, sizeof(path), "/proc/%u/schedstat", pid);
        if (file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                fail("read %s", path);
        ns = strtoull(text, NULL, 10);
        free(text);
        return (double)ns / 1000.0;
}

static void bench_execs(struct client *c, uint32_t shim, int n)
{
        static const char process[] =
                "{\"args\":[\"/payload\",\"true\"],\"cwd\":\"/\",\"env\":[\"PATH=/\"],"
                "\"user\":{\"uid\":0,\"gid\":0}}";
        double *samples = calloc((size_t)n, sizeof(*samples));
        double ran = run_us(shim);

        if (!samples)
                fail("no memory");
        for (int i = 0; i < n; i++) {
                struct pending wait = {0};
                char exec_id[32];
                uint64_t start = clock_monotonic_ns();

                (void)snprintf(exec_id, sizeof(exec_id), "e%d", i);
                client_exec(c, exec_id, process, "");
                client_wait_begin(c, exec_id, &wait);
                (void)client_start(c, exec_id);
                client_finish(c, &wait);
                samples[i] = us(start, wait.done_ns);
                if (wait.value != 0)
                        fail("exec %d ended with %u", i, wait.value);
                client_delete(c, exec_id);
        }
        printf("\"exec_cpu\":%.1f,", (run_us(shim) - ran) / n);
        print_quantiles("exec", samples, (size_t)n);
        free(samples);
}

static void print_memory(uint32_t shim, const char *when)
{
        printf("\"rss_%s\":%ld,\"pss_%s\":%ld,\"anon_%s\":%ld,", when, smaps(shim, "Rss:"), when,
               smaps(shim, "Pss:"), when, smaps(shim, "Anonymous:"));
}

static void end_container(struct client *c)
{
        struct pending wait = {0};

        client_wait_begin(c, "", &wait);
        client_kill(c);
        client_finish(c, &wait);
        client_delete(c, "");
        client_shutdown(c);
        client_run_delete_action(c);
}

/* One that runs; the pid of its shim. */
static uint32_t begin_container(struct client *c)
{
        uint32_t shim;

        client_start_shim(c);
        client_connect(c);
        shim = client_shim_pid(c);
        client_create(c, "");
        (void)client_start(c, "");
        return shim;
}

/* The shim gives memory back after a second in which nothing happens; its connections' pools do so
 * by timers of their own, which happen, and begin that second anew. */
#define REST_NS (5 * NSEC_PER_SEC)

static void bench_busy(struct client *c, int n_execs)
{
        uint32_t shim = begin_container(c);

        client_rest(c, REST_NS);
        printf("{");
        print_memory(shim, "idle");
        bench_execs(c, shim, n_execs);
        client_rest(c, REST_NS);
        print_memory(shim, "after");
        printf("\"threads\":%ld,", n_threads(shim));
        bench_calls(c, shim);
        printf("\"n_execs\":%d}\n", n_execs);
        end_container(c);
}

/* Without execs before them, and without rests. */
static void bench_calls_alone(struct client *c)
{
        uint32_t shim = begin_container(c);

        printf("{");
        bench_calls(c, shim);
        printf("\"n_execs\":0}\n");
        end_container(c);
}

static void bench_stdout(struct client *c, long mebibytes)
{
        static char buffer[1 << 20];
        char out[256];
        struct pending wait = {0};
        uint64_t start;
        uint64_t done;
        long left = mebibytes << 20;
        double cpu;
        uint32_t shim;
        int fifo;

        (void)snprintf(out, sizeof(out), "%s/../out.%d", c->bundle, (int)getpid());
        fifo = open_fifo(out);
        (void)fcntl(fifo, F_SETPIPE_SZ, sizeof(buffer));
        client_start_shim(c);
        client_connect(c);
        shim = client_shim_pid(c);
        client_create(c, out);
        client_wait_begin(c, "", &wait);
        cpu = cpu_ms(shim);
        start = clock_monotonic_ns();
        (void)client_start(c, "");
        while (left > 0) {
                ssize_t n = read(fifo, buffer, sizeof(buffer));

                if (n <= 0)
                        fail("read %s: %s", out, strerror(errno));
                left -= n;
        }
        done = clock_monotonic_ns();
        client_finish(c, &wait);
        cpu = cpu_ms(shim) - cpu;
        client_delete(c, "");
        client_shutdown(c);
        client_run_delete_action(c);
        fd_close(fifo);
        (void)unlink(out);
        printf("{\"mib_per_s\":%.1f,\"shim_cpu_ms_per_gib\":%.1f}\n",
               (double)mebibytes * 1e6 / us(start, done), cpu * 1024.0 / (double)mebibytes);
}

int main(int argc, char **argv)
{
        struct client c;

        if (argc > 2 && strcmp(argv[1], "command") == 0) {
                bench_command(argv + 2);
                return 0;
        }
        if (argc < 5)
                fail("usage: bench life|killed|busy|calls|stdout SHIM BUNDLE ID [N], bench command PROGRAM ...");
        client_init(&c, argv[2], argv[3], argv[4]);
        if (strcmp(argv[1], "life") == 0)
                bench_life(&c);
        else if (strcmp(argv[1], "killed") == 0)
                bench_killed(&c);
        else if (strcmp(argv[1], "busy") == 0 && argc > 5)
                bench_busy(&c, (int)strtol(argv[5], NULL, 10));
        else if (strcmp(argv[1], "calls") == 0)
                bench_calls_alone(&c);
        else if (strcmp(argv[1], "stdout") == 0 && argc > 5)
                bench_stdout(&c, strtol(argv[5], NULL, 10));
        else
                fail("no benchmark '%s'", argv[1]);
        client_deinit(&c);
        return 0;
}
