/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes per second of one path of a container's output or input, and what they cost the shim and
 * its helpers, as a line of JSON. The same payload writes, whoever takes it; io.py makes the
 * bundles and adds up.
 *
 *   bench-io PATH SHIM BUNDLE ID MIB LINE PAYLOAD    through a shim; PATH is one of `paths` below
 *   bench-io conmon CONMON BUNDLE ID MIB LINE RUNC   conmon's own log; conmon-terminal: of a
 * terminal bench-io pipe PAYLOAD FOLDER - MIB LINE          two processes and a pipe: the limit
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
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
#include "test/bench/gate.h"
#include "test/bench/stream.h"
#include "test/bench/usage.h"

enum {
        PATH_ROOM = 512,
        SETTLE_MS = 50, /* between Start and the first byte */
        WINDOW_MIB = 2, /* that a payload runs ahead of an Attach, of the 4 MiB of its ring */
        PATIENCE_MS = 60 * 1000,
};

enum sink { SINK_FIFO, SINK_FILE, SINK_ATTACH, SINK_EXEC, SINK_STDIN };

static const struct path {
        const char *name;
        enum sink sink;
        bool terminal;
        const char *scheme; /* NULL: the payload is the logging program */
        const char *query;
} paths[] = {
        {"fifo", SINK_FIFO, false, "", ""},
        {"terminal", SINK_FIFO, true, "", ""},
        {"file", SINK_FILE, false, "file://", ""},
        {"logger", SINK_FILE, false, NULL, NULL},
        {"log-cri", SINK_FILE, false, "log://", "?format=cri"},
        {"log-json", SINK_FILE, false, "log://", "?format=json"},
        {"log-raw", SINK_FILE, false, "log://", "?format=raw"},
        {"log-spill", SINK_FILE, false, "log://", "?format=cri&policy=spill"},
        {"terminal-log", SINK_FILE, true, "log://", "?format=cri"},
        {"attach", SINK_ATTACH, false, "log://", "?format=raw&ring=4m"},
        {"exec", SINK_EXEC, false, "", ""},
        {"stdin", SINK_STDIN, false, "", ""},
};

/* One measurement. */
struct run {
        struct gate gate;
        const char *mebibytes;
        uint64_t line;
        uint64_t bytes; /* that the payload moves */
        pid_t shim;
        pid_t not_ours[2]; /* the container's processes */
        struct usage before;
        struct usage after;
        uint64_t end_ns; /* CLOCK_REALTIME, when all was at its place */
};

static void pause_ms(int ms)
{
        (void)poll(NULL, 0, ms);
}

static void print_run(const struct run *r)
{
        printf("{\"bytes\":%llu,\"seconds\":%.6f,\"cpu\":%.6f,\"shim_kb\":%ld,\"helpers_kb\":%ld}\n",
               (unsigned long long)r->bytes, (double)(r->end_ns - r->gate.begin_ns) / NSEC_PER_SEC,
               (double)(r->after.cpu_ns - r->before.cpu_ns) / NSEC_PER_SEC, r->after.shim_peak_kb,
               r->after.helpers_peak_kb);
}

/* folder: where the payload finds its gate. */
static void run_init(struct run *r, const char *mebibytes, const char *line, const char *folder)
{
        *r = (struct run){.mebibytes = mebibytes, .line = strtoull(line, NULL, 10)};
        if (r->line < 2)
                fail("a line of '%s' bytes", line);
        r->bytes = (strtoull(mebibytes, NULL, 10) << 20) / r->line * r->line;
        gate_init(&r->gate, folder, r->bytes);
}

static void look_before(struct run *r)
{
        pause_ms(SETTLE_MS);
        usage_take(&r->before, r->shim, r->not_ours, 2);
}

static void look_after(struct run *r)
{
        usage_take(&r->after, r->shim, r->not_ours, 2);
        if (r->after.n_helpers != r->before.n_helpers)
                fail("%u helpers of the shim have become %u", r->before.n_helpers,
                     r->after.n_helpers);
}

/* ---- Descriptors ---- */

static int open_fifo(const char *path)
{
        int fd;

        if (mkfifo(path, 0600) < 0)
                fail("mkfifo %s: %s", path, strerror(errno));
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                fail("open %s: %s", path, strerror(errno));
        return fd;
}

static void read_all(int fd, uint64_t bytes)
{
        static char buffer[1 << 16];

        while (bytes > 0) {
                ssize_t n = read(fd, buffer, bytes < sizeof(buffer) ? bytes : sizeof(buffer));

                if (n <= 0)
                        fail("read the output: %s", n < 0 ? strerror(errno) : "it has ended");
                bytes -= (uint64_t)n;
        }
}

static void write_all(int fd, uint64_t bytes)
{
        static const char buffer[1 << 16];

        while (bytes > 0) {
                ssize_t n = write(fd, buffer, bytes < sizeof(buffer) ? bytes : sizeof(buffer));

                if (n < 0)
                        fail("write the input: %s", strerror(errno));
                bytes -= (uint64_t)n;
        }
}

/* The last line has the only #. */
static bool file_is_complete(const char *path, uint64_t bytes, uint64_t *ret_mtime_ns)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        char tail[256];
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size < bytes)
                return false;
        n = pread(fd, tail, sizeof(tail), st.st_size - (off_t)sizeof(tail));
        *ret_mtime_ns = clock_timespec_ns(&st.st_mtim);
        return n > 0 && memchr(tail, '#', (size_t)n) && tail[n - 1] == '\n';
}

/* The file's own time tells when the last of it came, so that looking seldom costs no accuracy. */
static void take_file(struct run *r, const char *path)
{
        uint64_t written_ns = 0;

        gate_pass_all(&r->gate);
        gate_await_done(&r->gate);
        for (int i = 0; !file_is_complete(path, r->bytes, &written_ns); i++) {
                if (i == PATIENCE_MS)
                        fail("%s is not complete %d s after all was written", path,
                             PATIENCE_MS / 1000);
                pause_ms(1);
        }
        r->end_ns = written_ns > r->gate.end_ns ? written_ns : r->gate.end_ns;
        look_after(r);
}

/* ---- Through a shim ---- */

static void take_fifo(struct run *r, const struct path *path, int fifo)
{
        gate_pass_all(&r->gate);
        /* A terminal makes two bytes of a newline. */
        read_all(fifo, r->bytes + (path->terminal ? r->bytes / r->line : 0));
        r->end_ns = clock_realtime_ns();
        look_after(r);
        gate_await_done(&r->gate);
}

static void give_stdin(struct run *r, int fifo)
{
        gate_pass_all(&r->gate);
        write_all(fifo, r->bytes);
        gate_await_done(&r->gate);
        r->end_ns = r->gate.end_ns;
        look_after(r);
}

static void take_attach(struct run *r, struct client *c)
{
        struct stream s;

        stream_attach(&s, c);
        s.gate = &r->gate;
        look_before(r);
        gate_pass(&r->gate, WINDOW_MIB);
        stream_await(&s, r->bytes);
        r->end_ns = clock_realtime_ns();
        look_after(r);
        gate_await_done(&r->gate);
        stream_deinit(&s);
}

static void take_exec(struct run *r, struct client *c)
{
        struct stream s;
        char process[256];

        (void)snprintf(process, sizeof(process),
                       "{\"args\":[\"/payload\",\"lines\",\"%s\",\"%llu\",\"/\"],\"cwd\":\"/\","
                       "\"env\":[\"PATH=/\"],\"user\":{\"uid\":0,\"gid\":0}}",
                       r->mebibytes, (unsigned long long)r->line);
        stream_exec(&s, c, process);
        r->not_ours[1] = s.pid;
        look_before(r);
        gate_pass_all(&r->gate);
        stream_await(&s, r->bytes);
        r->end_ns = clock_realtime_ns();
        look_after(r);
        gate_await_done(&r->gate);
        gate_let_end(&r->gate);
        stream_await_end(&s);
        stream_deinit(&s);
        client_kill(c);
}

static void take(struct run *r, const struct path *path, struct client *c, int fifo,
                 const char *place)
{
        if (path->sink == SINK_EXEC) {
                take_exec(r, c);
                return;
        }
        if (path->sink == SINK_ATTACH) {
                take_attach(r, c);
        } else {
                look_before(r);
                if (path->sink == SINK_FILE)
                        take_file(r, place);
                else if (path->sink == SINK_STDIN)
                        give_stdin(r, fifo);
                else
                        take_fifo(r, path, fifo);
        }
        gate_let_end(&r->gate);
}

/* The bundle's parent is ours. */
static void place_in(char *place, size_t room, const char *bundle, const char *name)
{
        const char *slash = strrchr(bundle, '/');
        int n = snprintf(place, room, "%.*s/%s", slash ? (int)(slash - bundle) : 0, bundle, name);

        if (!slash || n < 0 || (size_t)n >= room)
                fail("bundle %s", bundle);
}

static void uri_of(char *uri, size_t room, const struct path *path, const char *payload,
                   const char *place)
{
        if (path->sink == SINK_EXEC)
                uri[0] = '\0';
        else if (!path->scheme)
                (void)snprintf(uri, room, "binary://%s?logger=%s", payload, place);
        else
                (void)snprintf(uri, room, "%s%s%s", path->scheme, place, path->query);
}

static void bench_shim(const struct path *path, char **argv)
{
        const char *bundle = argv[1];
        struct pending wait = {0};
        char rootfs[PATH_ROOM];
        char place[PATH_ROOM];
        char uri[2 * PATH_ROOM];
        struct client c;
        struct run r;
        int fifo = -1;

        place_in(place, sizeof(place), bundle, "io");
        uri_of(uri, sizeof(uri), path, argv[5], place);
        (void)snprintf(rootfs, sizeof(rootfs), "%s/rootfs", bundle);
        run_init(&r, argv[3], argv[4], rootfs);
        if (path->sink == SINK_FIFO || path->sink == SINK_STDIN)
                fifo = open_fifo(place);
        client_init(&c, argv[0], bundle, argv[2]);
        client_start_shim(&c);
        client_connect(&c);
        r.shim = (pid_t)client_shim_pid(&c);
        /* The stock shim never answers for a FIFO as stdin alone. */
        r.not_ours[0] = (pid_t)client_create_io(&c, path->sink == SINK_STDIN ? uri : "", uri,
                                                path->terminal);
        client_wait_begin(&c, "", &wait);
        (void)client_start(&c, "");
        take(&r, path, &c, fifo, place);
        client_finish(&c, &wait);
        if (wait.value != (path->sink == SINK_EXEC ? 128 + 9 : 0))
                fail("the container ended with %u", wait.value);
        client_delete(&c, "");
        client_shutdown(&c);
        client_run_delete_action(&c);
        client_deinit(&c);
        fd_close(fifo);
        print_run(&r);
        gate_deinit(&r.gate);
}

/* ---- conmon ---- */

static pid_t spawn(const char *const *argv, int out)
{
        extern char **environ;
        posix_spawn_file_actions_t actions;
        pid_t pid;
        int r;

        if (posix_spawn_file_actions_init(&actions) != 0 ||
            (out >= 0 && posix_spawn_file_actions_adddup2(&actions, out, 1) != 0))
                fail("no memory");
        r = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
        if (r != 0)
                fail("run %s: %s", argv[0], strerror(r));
        (void)posix_spawn_file_actions_destroy(&actions);
        return pid;
}

static void run_program(const char *const *argv)
{
        pid_t pid = spawn(argv, -1);
        int status;

        if (waitpid(pid, &status, 0) != pid || status != 0)
                fail("%s %s ended with 0x%x", argv[0], argv[1], (unsigned)status);
}

/* conmon goes on in the background; the pid of the container comes last. */
static pid_t read_pid(const char *path)
{
        for (int i = 0; i < PATIENCE_MS; i++) {
                _cleanup_free_ char *text = NULL;

                if (file_read(AT_FDCWD, path, 64, &text, NULL) == 0 && strtol(text, NULL, 10) > 0)
                        return (pid_t)strtol(text, NULL, 10);
                pause_ms(1);
        }
        fail("conmon has not written %s", path);
}

/* Somebody else reaps it. */
static bool has_ended(pid_t pid)
{
        _cleanup_free_ char *text = NULL;
        char path[64];
        const char *p;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        if (file_read(AT_FDCWD, path, 4096, &text, NULL) < 0)
                return true;
        p = strrchr(text, ')');
        return p && strncmp(p, ") Z", 3) == 0;
}

static void await_end(pid_t pid)
{
        for (int i = 0; !has_ended(pid); i++) {
                if (i == PATIENCE_MS)
                        fail("process %d goes on", (int)pid);
                pause_ms(1);
        }
}

static void bench_conmon(char **argv, bool terminal)
{
        const char *bundle = argv[1];
        const char *id = argv[2];
        const char *runc = argv[5];
        char folder[PATH_ROOM];
        char rootfs[PATH_ROOM];
        char log[PATH_ROOM + 16];
        char log_path[PATH_ROOM];
        char pid_file[PATH_ROOM];
        char conmon_pid_file[PATH_ROOM];
        const char *const conmon[] = {argv[0],
                                      "--cid",
                                      id,
                                      "--cuuid",
                                      id,
                                      "--name",
                                      id,
                                      "--bundle",
                                      bundle,
                                      "--runtime",
                                      runc,
                                      "--runtime-arg",
                                      "--root",
                                      "--runtime-arg",
                                      folder,
                                      "--container-pidfile",
                                      pid_file,
                                      "--conmon-pidfile",
                                      conmon_pid_file,
                                      "--log-path",
                                      log,
                                      "--full-attach",
                                      "--no-sync-log",
                                      terminal ? "--terminal" : NULL,
                                      NULL};
        const char *const start[] = {runc, "--root", folder, "start", id, NULL};
        const char *const delete[] = {runc, "--root", folder, "delete", "--force", id, NULL};
        struct run r;

        place_in(folder, sizeof(folder), bundle, "runc");
        place_in(log_path, sizeof(log_path), bundle, "io");
        place_in(pid_file, sizeof(pid_file), bundle, "pid");
        place_in(conmon_pid_file, sizeof(conmon_pid_file), bundle, "conmon.pid");
        (void)snprintf(log, sizeof(log), "k8s-file:%s", log_path);
        (void)snprintf(rootfs, sizeof(rootfs), "%s/rootfs", bundle);
        run_init(&r, argv[3], argv[4], rootfs);

        run_program(conmon);
        r.not_ours[0] = read_pid(pid_file);
        r.shim = read_pid(conmon_pid_file);
        run_program(start);
        look_before(&r);
        take_file(&r, log_path);
        gate_let_end(&r.gate);
        await_end(r.shim);
        run_program(delete);
        print_run(&r);
        gate_deinit(&r.gate);
}

/* ---- The limit ---- */

static void bench_pipe(char **argv)
{
        const char *const payload[] = {argv[0], "lines", argv[3], argv[4], argv[1], NULL};
        struct run r;
        int ends[2];
        int status;
        pid_t pid;

        run_init(&r, argv[3], argv[4], argv[1]);
        if (pipe2(ends, O_CLOEXEC) < 0)
                fail("pipe: %s", strerror(errno));
        pid = spawn(payload, ends[1]);
        fd_close(ends[1]);
        gate_pass_all(&r.gate);
        read_all(ends[0], r.bytes);
        r.end_ns = clock_realtime_ns();
        gate_await_done(&r.gate);
        gate_let_end(&r.gate);
        if (waitpid(pid, &status, 0) != pid || status != 0)
                fail("the payload ended with 0x%x", (unsigned)status);
        fd_close(ends[0]);
        print_run(&r);
        gate_deinit(&r.gate);
}

int main(int argc, char **argv)
{
        const char *what = argc > 6 ? argv[1] : "";

        if (argc == 7 && strcmp(what, "pipe") == 0) {
                bench_pipe(argv + 2);
                return 0;
        }
        if (argc == 8 && (strcmp(what, "conmon") == 0 || strcmp(what, "conmon-terminal") == 0)) {
                bench_conmon(argv + 2, strcmp(what, "conmon") != 0);
                return 0;
        }
        for (size_t i = 0; argc == 8 && i < sizeof(paths) / sizeof(paths[0]); i++) {
                if (strcmp(what, paths[i].name) == 0) {
                        bench_shim(&paths[i], argv + 2);
                        return 0;
                }
        }
        fail("usage: bench-io PATH SHIM BUNDLE ID MIB LINE PAYLOAD, "
             "bench-io conmon[-terminal] CONMON BUNDLE ID MIB LINE RUNC, "
             "bench-io pipe PAYLOAD FOLDER - MIB LINE; no '%s' with %d arguments",
             what, argc - 2);
}
