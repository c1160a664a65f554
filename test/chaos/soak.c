/* SPDX-License-Identifier: Apache-2.0
 *
 * The soak's client: very many execs of one container, or very many lives of containers, with every
 * status checked. What the shim holds is printed as lines of JSON whenever it rests; soak.py
 * judges.
 *
 *   soak execs SHIM BUNDLE ID N WORKERS ROUNDS
 *
 * N execs by so many connections at once; after each round the shim comes to rest and is looked at.
 *
 *   soak lives SHIM BUNDLE ID N EVERY
 *
 * N lives, one after the other, in one bundle, whose program ends with status 7; every EVERYth is
 * looked at.
 *
 * Events are counted: each life and each exec has so many, and neither more nor fewer.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "test/bench/client.h"

/*
 * A shim gives memory back a second after it has last done anything; and its connections' pools do
 * so by timers of a second of their own, which is something that it does. So there is no fixed time
 * after which it has, beside other work least of all: it has when it has not run for longer than
 * any of these seconds. Looked at before, the heap is a moment's and not what stays.
 */
#define QUIET_NS      (1500 * NSEC_PER_MSEC)
#define QUIET_LATE_NS (60 * NSEC_PER_SEC)

#define EVENTS_LATE_NS (10 * NSEC_PER_SEC)

enum {
        LIFE_STATUS = 7,
        LIFE_EVENTS = 4,   /* create, start, exit, delete */
        EXEC_EVENTS = 3,   /* added, started, exit */
        BEFORE_EVENTS = 2, /* of the container that the execs are in: create, start */
        STATUSES = 200,    /* that the execs end with, one after the other */
        WORKERS_MAX = 64,
        PROC_BYTES = 1 << 16,
};

static long number_of(const char *text)
{
        char *end;
        long n = strtol(text, &end, 10);

        if (end == text || *end || n <= 0)
                fail("'%s' is no number above 0", text);
        return n;
}

static void await_events(struct client *c, uint64_t n)
{
        uint64_t late = clock_monotonic_ns() + EVENTS_LATE_NS;

        while (c->n_events < n && clock_monotonic_ns() < late)
                client_rest(c, NSEC_PER_MSEC);
        if (c->n_events != n)
                fail("%" PRIu64 " events came, and not %" PRIu64, c->n_events, n);
}

/* ---- What a shim holds ---- */

static long value_in(const char *text, const char *key)
{
        const char *at = strstr(text, key);

        if (!at)
                fail("no %s", key);
        return strtol(at + strlen(key), NULL, 10);
}

static long proc_value(uint32_t pid, const char *file, const char *key)
{
        _cleanup_free_ char *text = NULL;
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%u/%s", pid, file);
        if (file_read(AT_FDCWD, path, PROC_BYTES, &text, NULL) < 0)
                fail("read %s", path);
        return value_in(text, key);
}

/* Descriptors; and the bytes that stand behind its memfds: the vault. */
static long count_fds(uint32_t pid, long *ret_memfd_kb)
{
        char folder[64];
        const struct dirent *entry;
        long n = 0;
        DIR *dir;

        (void)snprintf(folder, sizeof(folder), "/proc/%u/fd", pid);
        dir = opendir(folder);
        if (!dir)
                fail("open %s: %s", folder, strerror(errno));
        *ret_memfd_kb = 0;
        while ((entry = readdir(dir))) {
                char path[384];
                char target[256];
                ssize_t len;
                struct stat st;

                if (entry->d_name[0] == '.')
                        continue;
                n++;
                (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
                len = readlink(path, target, sizeof(target) - 1);
                target[len > 0 ? len : 0] = '\0';
                if (strncmp(target, "/memfd:", 7) == 0 && stat(path, &st) == 0)
                        *ret_memfd_kb += (long)(st.st_blocks / 2);
        }
        (void)closedir(dir);
        return n;
}

/* How often it has gone to sleep or was sent there: it changes whenever the shim runs. */
static long count_switches(uint32_t pid)
{
        return proc_value(pid, "status", "\nvoluntary_ctxt_switches:") +
               proc_value(pid, "status", "\nnonvoluntary_ctxt_switches:");
}

/* Returns how long it took. */
static uint64_t await_rest(struct client *c, uint32_t shim)
{
        uint64_t began_ns = clock_monotonic_ns();
        uint64_t now_ns = began_ns;
        uint64_t since_ns = began_ns;
        long n = count_switches(shim);

        while (now_ns - since_ns < QUIET_NS) {
                long before = n;

                client_rest(c, 20 * NSEC_PER_MSEC);
                now_ns = clock_monotonic_ns();
                n = count_switches(shim);
                if (n != before)
                        since_ns = now_ns;
                if (now_ns - began_ns > QUIET_LATE_NS)
                        fail("the shim with nothing to do does not come to rest");
        }
        return now_ns - began_ns;
}

static long count_children(uint32_t pid)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        long n = 0;

        (void)snprintf(path, sizeof(path), "/proc/%u/task/%u/children", pid, pid);
        if (file_read(AT_FDCWD, path, PROC_BYTES, &text, NULL) < 0)
                fail("read %s", path);
        for (const char *p = text; *p; p++)
                n += *p == ' ';
        return n;
}

static long events_bytes(const struct client *c)
{
        char path[512];
        struct stat st;

        (void)snprintf(path, sizeof(path), "%s/events", c->bundle);
        return stat(path, &st) == 0 ? (long)st.st_size : 0;
}

static void print_sample(const struct client *c, uint32_t shim, long done, uint64_t began_ns,
                         uint64_t rested_ns)
{
        long memfd_kb;
        long fds = count_fds(shim, &memfd_kb);

        printf("{\"done\":%ld,\"seconds\":%.1f,\"rested\":%.1f,\"anon_kb\":%ld,"
               "\"rss_kb\":%ld,\"fds\":%ld,\"children\":%ld,\"vault_kb\":%ld,\"events_bytes\":%ld}\n",
               done, (double)(clock_monotonic_ns() - began_ns) / 1e9, (double)rested_ns / 1e9,
               proc_value(shim, "smaps_rollup", "Anonymous:"), proc_value(shim, "status", "VmRSS:"),
               fds, count_children(shim), memfd_kb, events_bytes(c));
        (void)fflush(stdout);
}

/* ---- Execs ---- */

static void one_exec(struct client *w, int worker, long i)
{
        struct pending wait = {0};
        char exec_id[48];
        char process[256];
        uint32_t status = (uint32_t)(i % STATUSES);

        (void)snprintf(exec_id, sizeof(exec_id), "w%d-%ld", worker, i);
        (void)snprintf(
                process, sizeof(process),
                "{\"args\":[\"/payload\",\"exit\",\"%u\"],\"cwd\":\"/\",\"env\":[\"PATH=/\"],"
                "\"user\":{\"uid\":0,\"gid\":0}}",
                status);
        client_exec(w, exec_id, process, "");
        client_wait_begin(w, exec_id, &wait);
        (void)client_start(w, exec_id);
        client_finish(w, &wait);
        if (wait.value != status)
                fail("exec %s ended with %u, and not %u", exec_id, wait.value, status);
        if (client_delete_status(w, exec_id) != status)
                fail("exec %s: Delete says another status than Wait", exec_id);
}

/* A process of its own, with a connection of its own; fork(2) has copied what must not be used. */
static _Noreturn void run_worker(const struct client *c, int worker, long from, long to)
{
        struct client w = {.shim = c->shim, .bundle = c->bundle, .id = c->id};
        struct error err = ERROR_INIT;

        memcpy(w.address, c->address, sizeof(w.address));
        if (loop_new(&w.loop, &err) < 0)
                fail("%s", err.msg);
        client_connect(&w);
        for (long i = from; i < to; i++)
                one_exec(&w, worker, i);
        _exit(0);
}

static void on_over(struct loop_io *io, int fd, int what, void *userdata)
{
        (void)io;
        (void)fd;
        (void)what;
        loop_quit(userdata);
}

/* All workers hold the other end of a pipe: it is at its end when all of them are. */
static void run_round(struct client *c, long from, long to, int n_workers)
{
        long each = (to - from) / n_workers;
        pid_t pids[WORKERS_MAX];
        struct error err = ERROR_INIT;
        struct loop_io *io;
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                fail("pipe: %s", strerror(errno));
        for (int k = 0; k < n_workers; k++) {
                pids[k] = fork();
                if (pids[k] < 0)
                        fail("fork: %s", strerror(errno));
                if (pids[k] == 0)
                        run_worker(c, k, from + k * each,
                                   k == n_workers - 1 ? to : from + (k + 1) * each);
        }
        fd_close(ends[1]);
        io = loop_io_new(c->loop, ends[0], LOOP_PRIORITY_RELAY, on_over, c->loop);
        if (!io || loop_io_want(io, LOOP_READ) < 0 || loop_run(c->loop, &err) < 0)
                fail("wait for the workers: %s", err.msg);
        loop_io_free(io);
        fd_close(ends[0]);
        for (int k = 0; k < n_workers; k++) {
                int status = 0;

                if (waitpid(pids[k], &status, 0) != pids[k] || status != 0)
                        fail("worker %d ended with 0x%x", k, (unsigned)status);
        }
}

static void soak_execs(struct client *c, long n, int n_workers, long rounds)
{
        struct pending wait = {0};
        uint64_t began_ns;
        uint32_t shim;
        long done = 0;

        client_start_shim(c);
        client_connect(c);
        shim = client_shim_pid(c);
        client_create(c, "");
        (void)client_start(c, "");
        began_ns = clock_monotonic_ns();
        print_sample(c, shim, 0, began_ns, await_rest(c, shim));
        for (long i = 1; i <= rounds; i++) {
                long to = n * i / rounds;

                run_round(c, done, to, n_workers);
                done = to;
                await_events(c, BEFORE_EVENTS + EXEC_EVENTS * (uint64_t)done);
                print_sample(c, shim, done, began_ns, await_rest(c, shim));
        }
        client_wait_begin(c, "", &wait);
        client_kill(c);
        client_finish(c, &wait);
        if (wait.value != 128 + SIGKILL)
                fail("the container ended with %u", wait.value);
        client_delete(c, "");
        client_shutdown(c);
        client_run_delete_action(c);
}

/* ---- Lives ---- */

/* What a life leaves in its bundle (its record, for who asks later) the next one writes again. */
static long count_files(const struct client *c)
{
        const struct dirent *entry;
        DIR *dir = opendir(c->bundle);
        long n = 0;

        if (!dir)
                fail("open %s: %s", c->bundle, strerror(errno));
        while ((entry = readdir(dir)))
                n += entry->d_name[0] != '.';
        (void)closedir(dir);
        return n;
}

/* As many as behind the life before, as soon as the shim is really gone. */
static long await_files(struct client *c, long i, long n)
{
        uint64_t late = clock_monotonic_ns() + EVENTS_LATE_NS;
        long found;

        if (n == 0)
                client_rest(c, NSEC_PER_SEC);
        while ((found = count_files(c)) != n && n > 0 && clock_monotonic_ns() < late)
                client_rest(c, NSEC_PER_MSEC);
        if (n > 0 && found != n)
                fail("life %ld has left %ld files in its bundle, and not %ld", i, found, n);
        return found;
}

static void one_life(struct client *c, long i, bool look, uint64_t began_ns)
{
        struct pending wait = {0};

        client_start_shim(c);
        client_connect(c);
        client_create(c, "");
        client_wait_begin(c, "", &wait);
        (void)client_start(c, "");
        client_finish(c, &wait);
        if (wait.value != LIFE_STATUS)
                fail("life %ld ended with %u", i, wait.value);
        if (look)
                print_sample(c, client_shim_pid(c), i, began_ns, 0);
        if (client_delete_status(c, "") != LIFE_STATUS)
                fail("life %ld: Delete says another status than Wait", i);
        client_shutdown(c);
        client_run_delete_action(c);
        await_events(c, LIFE_EVENTS * (uint64_t)i);
}

static void soak_lives(struct client *c, long n, long every)
{
        uint64_t began_ns = clock_monotonic_ns();
        long n_files = 0;

        for (long i = 1; i <= n; i++) {
                one_life(c, i, i % every == 0, began_ns);
                n_files = await_files(c, i, n_files);
        }
}

int main(int argc, char **argv)
{
        struct client c;

        if (argc < 7)
                fail("usage: soak execs SHIM BUNDLE ID N WORKERS ROUNDS, "
                     "soak lives SHIM BUNDLE ID N EVERY");
        client_init(&c, argv[2], argv[3], argv[4]);
        if (strcmp(argv[1], "execs") == 0 && argc == 8) {
                long workers = number_of(argv[6]);

                if (workers > WORKERS_MAX)
                        fail("at most %d workers", WORKERS_MAX);
                soak_execs(&c, number_of(argv[5]), (int)workers, number_of(argv[7]));
        } else if (strcmp(argv[1], "lives") == 0 && argc == 7) {
                soak_lives(&c, number_of(argv[5]), number_of(argv[6]));
        } else {
                fail("no soak '%s' of %d arguments", argv[1], argc - 2);
        }
        client_deinit(&c);
        return 0;
}
