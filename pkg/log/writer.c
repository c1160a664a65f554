/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer of a log: see log.h. With LOG_POLICY_BLOCK it is one process, which reads the
 * container's pipes and writes the file; while the disk makes it wait it does not read, and the
 * pipes make the container wait. With the others it is two: this one, the collector, never waits
 * for a disk, and its child, the flusher, takes whole entries from a pipe and writes the file.
 *
 * SIGTERM is noted by a handler. Whatever may wait for ever does so in wait_for() alone, which
 * SIGTERM ends also when it comes just before; a disk that fails ends log_file_write() by the flag.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/log/file.h"
#include "pkg/log/format.h"
#include "pkg/log/queue.h"

enum {
        READ_ROOM = 65536,
        PART_PATIENCE_MS = 1000, /* then a line that was begun is written as a part */
        DROP_QUEUE = 1 << 20,    /* in memory with LOG_POLICY_DROP, above the pipe's own room */
        PIPE_ROOM = 1 << 20,
};

/* The one thing that a signal handler can touch. */
static volatile bool told_to_end;

static void on_term(int signo)
{
        (void)signo;
        told_to_end = true;
}

struct run {
        struct log_writer *writer;
        struct log_file file;
        struct log_formatter *formatter;
        struct log_queue queue; /* with a flusher */
        pid_t flusher;          /* 0: none */
        int flusher_fd;         /* its pidfd */
        bool was_told;          /* to end; and the flusher was told, too */
        int input[2];           /* stdout, stderr; -1 after their end */
        uint64_t dropped;       /* not yet marked in the log */
        int failure;
};

int log_counters_map(struct log_counters **ret, int fd)
{
        void *mapping = mmap(NULL, sizeof(**ret), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        struct stat st;

        if (mapping == MAP_FAILED)
                return -errno;
        /* To touch a page behind the end of a file is fatal. */
        if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(**ret)) {
                (void)munmap(mapping, sizeof(**ret));
                return -EINVAL;
        }
        *ret = mapping;
        return 0;
}

int log_counters_memory(void)
{
        int fd = memfd_create("belay-log", MFD_CLOEXEC);
        int r;

        if (fd < 0)
                return -errno;
        if (ftruncate(fd, sizeof(struct log_counters)) < 0) {
                r = -errno;
                fd_close(fd);
                return r;
        }
        return fd;
}

int log_counters_new(struct log_counters **ret)
{
        int fd = log_counters_memory();
        int r = fd < 0 ? fd : log_counters_map(ret, fd);

        fd_close(fd < 0 ? -1 : fd);
        return r;
}

void log_counters_free(struct log_counters *counters)
{
        if (counters)
                (void)munmap(counters, sizeof(*counters));
}

/* ---- Waiting, and the order to end ---- */

/* The flusher goes on as long as the disk takes what it writes. */
static bool note_told(struct run *run)
{
        if (!told_to_end || run->was_told)
                return false;
        run->was_told = true;
        if (run->flusher > 0)
                (void)kill(run->flusher, SIGTERM);
        return true;
}

/* As poll(2). It ends once for SIGTERM, with -1, whether that comes before or while it waits. */
static int wait_for(struct run *run, struct pollfd *p, nfds_t n, int timeout_ms)
{
        const struct timespec timeout = {.tv_sec = timeout_ms / 1000,
                                         .tv_nsec = timeout_ms % 1000 * NSEC_PER_MSEC};
        sigset_t term;
        sigset_t before;
        int r = -1;

        (void)sigemptyset(&term);
        (void)sigaddset(&term, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &term, &before);
        if (!note_told(run))
                r = ppoll(p, n, timeout_ms < 0 ? NULL : &timeout, &before);
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
        if (note_told(run))
                r = -1;
        return r;
}

/* ---- The flusher ---- */

/* Entries come whole, but may be cut by a read: what is behind the last newline waits. */
static int flusher_run(struct run *run, int from)
{
        static char data[READ_ROOM + LOG_FORMAT_ROOM];
        bool is_raw = run->writer->config.format == LOG_FORMAT_RAW;
        size_t n = 0;

        for (;;) {
                ssize_t got = read(from, data + n, READ_ROOM);
                const char *end;
                size_t whole;

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return EXIT_FAILURE;
                n += (size_t)got;
                end = is_raw || got == 0 ? data + n : memrchr(data, '\n', n);
                whole = end ? (size_t)(end - data) + !(is_raw || got == 0) : 0;
                if (whole > 0 && log_file_write(&run->file, data, whole, &told_to_end) < 0)
                        return EXIT_FAILURE;
                if (got == 0)
                        return EXIT_SUCCESS;
                memmove(data, data + whole, n - whole);
                n -= whole;
        }
}

static int start_flusher(struct run *run)
{
        bool spills = run->writer->config.policy == LOG_POLICY_SPILL;
        const size_t min = (size_t)2 * LOG_FORMAT_ROOM; /* one entry must always fit */
        size_t max = spills ? (size_t)run->writer->config.spill_max : DROP_QUEUE;
        pid_t parent = getpid();
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_ROOM);
        run->flusher = fork();
        if (run->flusher < 0)
                return -errno;
        if (run->flusher == 0) {
                /* When the collector is killed, the shim starts another pair of them. */
                if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
                        _exit(EXIT_FAILURE);
                fd_close(ends[1]);
                fd_close(run->input[0]);
                fd_close(run->input[1]);
                _exit(flusher_run(run, ends[0]));
        }
        fd_close(ends[0]);
        run->flusher_fd = pidfd_open(run->flusher, 0);
        if (run->flusher_fd < 0)
                return -errno;
        (void)fd_set_nonblock(ends[1], 1);
        return log_queue_init(&run->queue, ends[1], max > min ? max : min);
}

/* ---- What the formatter emits ---- */

static bool owes_mark(const struct run *run)
{
        return run->dropped > 0 && run->writer->config.format != LOG_FORMAT_RAW;
}

/* As soon as there is room for it, so that the reader sees where something is missing. */
static void mark_dropped(struct run *run)
{
        struct timespec now = clock_realtime();
        char date[CLOCK_TEXT_MAX];
        char text[256];
        int n;

        if (!owes_mark(run))
                return;
        clock_format(now.tv_sec, now.tv_nsec, date);
        if (run->writer->config.format == LOG_FORMAT_CRI)
                n = snprintf(text, sizeof(text),
                             "%s stderr F belay: %llu bytes of output were dropped\n", date,
                             (unsigned long long)run->dropped);
        else
                n = snprintf(text, sizeof(text),
                             "{\"log\":\"belay: %llu bytes of output were dropped\\n\",\"stream\":"
                             "\"stderr\",\"time\":\"%s\"}\n",
                             (unsigned long long)run->dropped, date);
        if (n > 0 && log_queue_put(&run->queue, text, (size_t)n))
                run->dropped = 0;
}

static void drop(struct run *run, size_t n_output)
{
        run->dropped += n_output;
        atomic_fetch_add(&run->writer->counters->bytes_dropped, n_output);
}

/* What the pipe takes now; then there may be room for a mark, and less is waiting. */
static int send_queue(struct run *run)
{
        int r = log_queue_flush(&run->queue);

        mark_dropped(run);
        atomic_store(&run->writer->counters->bytes_waiting, run->queue.len);
        return r;
}

/* Until there is room in the pipe, or the flusher is gone; then writes. */
static int push_queue(struct run *run)
{
        struct pollfd p = {.fd = run->queue.fd, .events = POLLOUT};

        (void)wait_for(run, &p, 1, -1);
        return send_queue(run);
}

/* With LOG_POLICY_SPILL nothing is lost: what finds no room makes the container wait. */
static int wait_for_room(struct run *run, const char *entries, size_t len)
{
        int r = 0;

        while (r == 0 && !log_queue_put(&run->queue, entries, len))
                r = push_queue(run);
        return r;
}

static void emit_to_queue(struct run *run, const char *entries, size_t len, size_t n_output)
{
        int r = send_queue(run);

        if (!log_queue_put(&run->queue, entries, len) &&
            (run->writer->config.policy == LOG_POLICY_DROP ||
             wait_for_room(run, entries, len) < 0)) {
                drop(run, n_output);
                return;
        }
        if (r == 0)
                r = send_queue(run);
        if (r < 0)
                run->failure = r;
        atomic_fetch_add(&run->writer->counters->bytes, n_output);
}

static void emit(const char *entries, size_t len, size_t n_output, void *userdata)
{
        struct run *run = userdata;
        int r;

        if (run->flusher > 0) {
                emit_to_queue(run, entries, len, n_output);
                return;
        }
        r = log_file_write(&run->file, entries, len, &told_to_end);
        if (r < 0) {
                run->failure = r;
                drop(run, n_output);
                return;
        }
        atomic_fetch_add(&run->writer->counters->bytes, n_output);
}

/* ---- The collector ---- */

static bool may_read(const struct run *run)
{
        return run->writer->config.policy != LOG_POLICY_SPILL || run->queue.len < run->queue.max;
}

/* Reads one pipe. False when it has ended. */
static bool take_input(struct run *run, int i)
{
        static char data[READ_ROOM];
        struct log_writer *w = run->writer;
        ssize_t n = read(run->input[i], data, sizeof(data));
        uint64_t time_ns;

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return true;
        if (n <= 0)
                return false;
        time_ns = clock_realtime_ns();
        if (w->on_output)
                w->on_output(LOG_STDOUT + i, time_ns, data, (size_t)n, w->userdata);
        log_formatter_feed(run->formatter, LOG_STDOUT + i, time_ns, data, (size_t)n);
        return true;
}

/* One round. False when there is nothing left to be read. */
static bool collect(struct run *run)
{
        bool may = may_read(run);
        struct pollfd p[] = {
                {.fd = may ? run->input[0] : -1, .events = POLLIN},
                {.fd = may ? run->input[1] : -1, .events = POLLIN},
                {.fd = run->queue.len > 0 ? run->queue.fd : -1, .events = POLLOUT},
        };
        int n;

        if (run->input[0] < 0 && run->input[1] < 0)
                return false;
        n = wait_for(run, p, 3, log_formatter_has_part(run->formatter) ? PART_PATIENCE_MS : -1);
        if (n == 0)
                log_formatter_flush(run->formatter);
        for (int i = 0; n > 0 && i < 2; i++) {
                if (p[i].revents && !take_input(run, i))
                        run->input[i] = fd_close(run->input[i]);
        }
        if (n > 0 && p[2].revents)
                run->failure = send_queue(run);
        return true;
}

/* After the order to end: what is in a pipe by now, however fast somebody goes on to write. */
static void take_rest(struct run *run, int i)
{
        struct pollfd p = {.fd = run->input[i], .events = POLLIN};
        int left = 0;

        if (p.fd < 0 || ioctl(p.fd, FIONREAD, &left) < 0)
                return;
        for (int n = 0; left > 0 && run->failure == 0; left -= n) {
                if (poll(&p, 1, 0) <= 0 || ioctl(p.fd, FIONREAD, &n) < 0 || n <= 0 ||
                    !take_input(run, i))
                        return;
                n = n < READ_ROOM ? n : READ_ROOM;
        }
}

/* The flusher gets the rest, and its end is awaited. */
static void end_flusher(struct run *run)
{
        struct pollfd p = {.fd = run->flusher_fd, .events = POLLIN};
        int status = 0;

        while (run->failure == 0 && (run->queue.len > 0 || owes_mark(run)))
                run->failure = push_queue(run);
        fd_close(run->queue.fd);
        atomic_store(&run->writer->counters->bytes_waiting, 0);
        while (wait_for(run, &p, 1, -1) < 1)
                ;
        (void)waitpid(run->flusher, &status, 0);
        if (status != 0)
                run->failure = -EIO;
}

int log_writer_open(struct log_writer *w, struct error *err)
{
        struct log_file file;
        int r = log_file_open(&file, &w->config, w->counters);

        if (r < 0)
                return error_errno(err, -r, "log '%s'", w->config.path);
        log_file_close(&file);
        return 0;
}

int log_writer_run(struct log_writer *w)
{
        static struct log_formatter formatter;
        struct sigaction action = {.sa_handler = on_term};
        struct run run = {.writer = w, .formatter = &formatter, .input = {w->out, w->err}};
        sigset_t none;

        (void)sigaction(SIGTERM, &action, NULL);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        action.sa_handler = SIG_IGN;
        (void)sigaction(SIGPIPE, &action, NULL);
        (void)sigaction(SIGXFSZ, &action, NULL); /* a limit is a full disk */
        if (log_file_open(&run.file, &w->config, w->counters) < 0)
                return EXIT_FAILURE;
        if (w->config.policy != LOG_POLICY_BLOCK) {
                if (start_flusher(&run) < 0)
                        return EXIT_FAILURE;
                log_file_close(&run.file);
        }
        log_formatter_init(&formatter, w->config.format, emit, &run);
        while (run.failure == 0 && !run.was_told && collect(&run))
                ;
        for (int i = 0; run.was_told && i < 2; i++)
                take_rest(&run, i);
        log_formatter_flush(&formatter);
        if (run.flusher > 0)
                end_flusher(&run);
        log_file_close(&run.file);
        return run.failure == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
