/* SPDX-License-Identifier: Apache-2.0
 *
 * The stdio of one process: see stdio.h. For each stream there is `use`, which goes to the process
 * (or, with a terminal, to the relay), and `keep`, the FIFO's other end. The invariant that saves
 * clients from waiting for ever: of stdout and stderr the shim never holds a writing end, but for
 * the time until the process has it, and with a terminal until the relay has ended.
 *
 * The exception is a client that comes late. Its open(2) waits for a writer; so when the process
 * ends, one is held (`late`) until somebody reads. Whether somebody does is seen only while we do
 * not read ourselves, and nothing wakes us: poll(2) is asked now and then.
 *
 * All is drained when nothing of this is under way any more: the process, a terminal's relay, a
 * logging program.
 */
#include "pkg/io/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/kept.h"
#include "pkg/io/console.h"
#include "pkg/io/stdio_impl.h"
#include "pkg/io/stream.h"

/* What is kept of a terminal's output for those who attach: several times what the relay reads
 * before they have their turn. */
enum { RELAY_RING = 256 << 10 };

#define LATE_PAUSE_MIN_NS (10 * NSEC_PER_MSEC) /* doubled up to the other one */
#define LATE_PAUSE_MAX_NS (640 * NSEC_PER_MSEC)

static const char *const stream_names[STDIO_STREAMS] = {"stdin", "stdout", "stderr"};

CLEANUP_DEFINE(struct io_stdio, io_stdio_free)

static void late_on_timer(struct loop_timer *timer, void *userdata);

static void stdio_run_drained(struct loop_deferred *deferred)
{
        struct io_stdio *s = container_of(deferred, struct io_stdio, on_drained);
        void (*fn)(void *userdata) = s->drained_fn;

        s->drained_fn = NULL;
        if (fn)
                fn(s->drained_userdata);
}

/* ---- A logging program ---- */

static void stdio_look_drained(struct io_stdio *s);

static void logger_on_ready(const struct error *err, void *userdata)
{
        struct io_stdio *s = userdata;
        void (*fn)(const struct error *err, void *userdata) = s->ready_fn;

        s->ready = !err;
        s->ready_fn = NULL;
        if (fn)
                fn(err, s->ready_userdata);
}

void stdio_on_change(void *userdata)
{
        struct io_stdio *s = userdata;

        if (s->change_fn)
                s->change_fn(s->change_userdata);
}

static void logger_on_end(void *userdata)
{
        stdio_look_drained(userdata);
}

static void logger_on_report(const char *text, void *userdata)
{
        struct io_stdio *s = userdata;

        if (s->report_fn)
                s->report_fn(text, s->report_userdata);
}

struct io_logger_config stdio_logger_config(struct io_stdio *s, const struct io_uri *uri,
                                            const struct io_stdio_config *config)
{
        return (struct io_logger_config){
                .loop = s->loop,
                .reaper = config->reaper,
                .uri = uri,
                .id = config->id,
                .runtime_namespace = config->runtime_namespace,
                .events = {.on_ready = logger_on_ready,
                           .on_end = logger_on_end,
                           .on_report = logger_on_report,
                           .on_change = stdio_on_change,
                           .userdata = s},
        };
}

/* Both outputs are its; with a terminal the relay writes to it, and its stderr ends at once. */
static int open_logger(struct io_stdio *s, const struct io_uri *uri,
                       const struct io_stdio_config *config, struct error *err)
{
        const struct io_logger_config logger = stdio_logger_config(s, uri, config);

        if (io_logger_new(&s->logger, &logger, err) < 0)
                return -1;
        s->ready = false;
        if (s->terminal) {
                s->relay_output = io_logger_take_fd(s->logger, IO_LOGGER_OUT);
                fd_close(io_logger_take_fd(s->logger, IO_LOGGER_ERR));
                return fd_set_nonblock(s->relay_output, 1);
        }
        s->child[1] = io_logger_take_fd(s->logger, IO_LOGGER_OUT);
        s->child[2] = io_logger_take_fd(s->logger, IO_LOGGER_ERR);
        return 0;
}

/* ---- Opening ---- */

/* Opens one stream that needs nobody else. */
static int stream_open(struct io_stream *ret, int stream, const struct io_uri *uri, bool terminal,
                       struct error *err)
{
        switch (uri->target) {
        case IO_TARGET_NULL:
                if (!terminal)
                        return io_stream_open_null(ret, err);
                *ret = IO_STREAM_INIT;
                return 0;
        case IO_TARGET_PATH:
                if (stream == 0)
                        return io_stream_open_input(ret, uri->path, terminal, err);
                return io_stream_open_output(ret, uri->path, terminal, err);
        case IO_TARGET_FILE:
                if (stream == 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "stdio scheme 'file' is for output");
                return io_stream_open_file(ret, uri->path, err);
        case IO_TARGET_FD:
                if (terminal)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "stdio scheme 'fd' is not for terminals");
                return io_stream_open_fd(ret, uri->path, err);
        case IO_TARGET_ATTACH:
                if (stream != 0 || strcmp(uri->path, "/") != 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "stdio scheme 'attach' is for stdin, as attach:///");
                return io_stream_open_pipe(ret, true, terminal, err);
        case IO_TARGET_CONSOLE:
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "stdio scheme 'console' is for stdout of a terminal");
        case IO_TARGET_BINARY:
        case IO_TARGET_BINARY_V2:
        case IO_TARGET_LOG:
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "a log or logging binary is named by stdout, for both outputs");
        }
        return error_set(err, STATUS_INTERNAL, "unknown stdio target");
}

static void stdio_take_stream(struct io_stdio *s, int i, const struct io_stream *stream)
{
        s->keep[i] = stream->keep;
        s->late[i] = stream->late;
        if (!s->terminal)
                s->child[i] = stream->use;
        else if (i == 0)
                s->relay_input = stream->use;
        else
                s->relay_output = stream->use;
}

static int stdio_open_stream(struct io_stdio *s, int i, const struct io_uri *uri, struct error *err)
{
        struct io_stream stream = IO_STREAM_INIT;

        if (stream_open(&stream, i, uri, s->terminal, err) < 0)
                return error_prefix(err, "%s", stream_names[i]);
        stdio_take_stream(s, i, &stream);
        return 0;
}

static int stdio_open_carried(struct io_stdio *s, struct error *err)
{
        s->out_target = IO_TARGET_ATTACH;
        for (int i = 1; i < (s->terminal ? 2 : STDIO_STREAMS); i++) {
                struct io_stream stream = IO_STREAM_INIT;

                if (io_stream_open_pipe(&stream, false, s->terminal, err) < 0)
                        return error_prefix(err, "%s", stream_names[i]);
                stdio_take_stream(s, i, &stream);
        }
        return 0;
}

static int stdio_open_input(struct io_stdio *s, const char *text, struct error *err)
{
        _cleanup_(io_uri_clear_p) struct io_uri uri = {.target = IO_TARGET_NULL};

        if (io_uri_parse(text, &uri, err) < 0)
                return error_prefix(err, "%s", stream_names[0]);
        return stdio_open_stream(s, 0, &uri, err);
}

/* What stdout says is meant for both when it is a file:// or a logging program. */
static int stdio_open_outputs(struct io_stdio *s, const struct io_stdio_config *config,
                              struct error *err)
{
        _cleanup_(io_uri_clear_p) struct io_uri out = {.target = IO_TARGET_NULL};
        _cleanup_(io_uri_clear_p) struct io_uri other = {.target = IO_TARGET_NULL};
        int r;

        if (config->carried)
                return stdio_open_carried(s, err);
        if (io_uri_parse(config->out, &out, err) < 0)
                return error_prefix(err, "%s", stream_names[1]);
        s->out_target = out.target;
        if (out.target == IO_TARGET_CONSOLE && s->terminal) {
                s->console = TAKE_PTR(out.path);
                return 0;
        }
        if (out.target == IO_TARGET_BINARY || out.target == IO_TARGET_BINARY_V2 ||
            out.target == IO_TARGET_LOG) {
                r = open_logger(s, &out, config, err);
                return r < 0 ? error_prefix(err, "%s", stream_names[1]) : 0;
        }
        if (stdio_open_stream(s, 1, &out, err) < 0)
                return -1;
        if (s->terminal)
                return 0;
        if (out.target == IO_TARGET_FILE)
                return stdio_open_stream(s, 2, &out, err);
        if (io_uri_parse(config->err, &other, err) < 0)
                return error_prefix(err, "%s", stream_names[2]);
        return stdio_open_stream(s, 2, &other, err);
}

struct io_stdio *stdio_alloc(const struct io_stdio_config *config, struct error *err)
{
        struct io_stdio *s = calloc(1, sizeof(*s));

        if (!s) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "open stdio: no memory");
                return NULL;
        }
        s->loop = config->loop;
        s->late_pause_ns = LATE_PAUSE_MIN_NS;
        s->terminal = config->terminal;
        s->ready = true;
        s->report_fn = config->on_report;
        s->report_userdata = config->userdata;
        s->change_fn = config->on_change;
        s->change_userdata = config->userdata;
        for (int i = 0; i < STDIO_STREAMS; i++) {
                s->child[i] = -1;
                s->keep[i] = -1;
                s->late[i] = -1;
        }
        s->relay_input = -1;
        s->relay_output = -1;
        loop_deferred_init(&s->on_drained, stdio_run_drained);
        return s;
}

int io_stdio_open(struct io_stdio **ret, const struct io_stdio_config *config, struct error *err)
{
        _cleanup_(io_stdio_free_p) struct io_stdio *s = stdio_alloc(config, err);

        if (!s || stdio_open_outputs(s, config, err) < 0)
                return -1;
        if (!s->console && stdio_open_input(s, config->in, err) < 0)
                return -1;
        s->drained = !s->logger && (!s->terminal || s->console);
        *ret = TAKE_PTR(s);
        return 0;
}

struct io_stdio *io_stdio_free(struct io_stdio *s)
{
        if (!s)
                return NULL;
        if (s->has_process && !s->exited)
                io_logger_abandon(s->logger);
        else
                io_logger_free(s->logger);
        io_stdio_close_child_fds(s);
        io_relay_free(s->relay);
        io_ring_free(s->ring);
        free(s->console);
        fd_close(s->relay_input);
        fd_close(s->relay_output);
        loop_timer_free(s->late_timer);
        for (int i = 0; i < STDIO_STREAMS; i++) {
                fd_close(s->keep[i]);
                fd_close(s->late[i]);
        }
        loop_deferred_cancel(&s->on_drained);
        free(s);
        return NULL;
}

const int *io_stdio_child_fds(const struct io_stdio *s)
{
        return s->child;
}

void io_stdio_close_child_fds(struct io_stdio *s)
{
        s->has_process = true;
        for (int i = 0; i < STDIO_STREAMS; i++)
                s->child[i] = fd_close(s->child[i]);
}

/* False while nobody has come to read. */
static bool late_has_come(struct io_stdio *s, int i)
{
        struct pollfd p = {.fd = s->late[i]};

        s->keep[i] = kept_close_now(s->keep[i]);
        if (poll(&p, 1, 0) < 0 || (p.revents & POLLERR))
                return false;
        s->keep[i] = io_stream_open_keep(s->late[i]);
        s->late[i] = fd_close(s->late[i]);
        stdio_on_change(s);
        return true;
}

bool io_stdio_readers_have_come(struct io_stdio *s)
{
        bool all_here = true;

        for (int i = 0; i < STDIO_STREAMS; i++) {
                if (s->late[i] < 0 || late_has_come(s, i))
                        continue;
                s->keep[i] = io_stream_open_keep(s->late[i]);
                all_here = false;
        }
        return all_here;
}

/* The process has ended and has said all: from now on EOF is due to whoever reads. */
void stdio_look_late(struct io_stdio *s)
{
        bool all_here = true;

        for (int i = 0; i < STDIO_STREAMS; i++)
                all_here &= s->late[i] < 0 || late_has_come(s, i);
        if (all_here)
                return;
        if (!s->late_timer) {
                s->late_timer = loop_timer_new(s->loop, late_on_timer, s);
                stdio_on_change(s); /* what was kept open of them is closed */
        }
        if (s->late_timer && loop_timer_set(s->late_timer, s->late_pause_ns) == 0)
                s->late_pause_ns *= s->late_pause_ns < LATE_PAUSE_MAX_NS ? 2 : 1;
}

static void late_on_timer(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        stdio_look_late(userdata);
}

/* From the end of the round, so that fn may free s. */
static void stdio_look_drained(struct io_stdio *s)
{
        bool is_relaying = s->relay && !io_relay_has_ended(s->relay);

        if (s->drained || !s->exited || is_relaying ||
            (s->logger && !io_logger_has_ended(s->logger)))
                return;
        s->drained = true;
        loop_defer(s->loop, &s->on_drained);
}

void stdio_on_relay_end(void *userdata)
{
        struct io_stdio *s = userdata;

        stdio_look_late(s);
        stdio_look_drained(s);
}

int io_stdio_attach_terminal_take(struct io_stdio *s, int master, struct error *err)
{
        int r;

        if (!s->terminal || s->relay)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "attach terminal: there is none to be attached");
        if (s->console) {
                if (io_console_send(s->console, master, err) < 0)
                        return -1;
                fd_close(master);
                return 0;
        }
        r = fd_set_nonblock(master, 1);
        if (r < 0)
                return error_errno(err, -r, "attach terminal");
        if (io_relay_new_take(&s->relay, s->loop, master, s->relay_input, s->relay_output,
                              stdio_on_relay_end, s, err) < 0)
                return -1;
        s->relay_input = -1;
        s->relay_output = -1;
        io_relay_on_change(s->relay, stdio_on_change);
        if (!s->logger && io_ring_new(&s->ring, RELAY_RING, NULL) == 0)
                io_relay_set_ring(s->relay, s->ring);
        if (s->has_size)
                (void)io_relay_resize(s->relay, s->width, s->height, NULL);
        if (s->exited)
                io_relay_process_exited(s->relay);
        return 0;
}

int io_stdio_resize(struct io_stdio *s, uint16_t width, uint16_t height, struct error *err)
{
        if (!s->terminal)
                return 0;
        if (s->relay)
                return io_relay_resize(s->relay, width, height, err);
        s->has_size = true;
        s->width = width;
        s->height = height;
        return 0;
}

void io_stdio_close_stdin(struct io_stdio *s)
{
        s->keep[0] = fd_close(s->keep[0]);
}

int io_stdio_stdin_fd(const struct io_stdio *s, struct error *err)
{
        int fd;

        if (s->keep[0] < 0)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "stdin is nothing that the shim can write to: it needs a FIFO or "
                                 "attach:///, and not to be closed");
        fd = fcntl(s->keep[0], F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return error_errno(err, errno, "stdin");
        return fd;
}

int io_stdio_take_output(struct io_stdio *s, int stream)
{
        return TAKE_FD(s->keep[stream]);
}

void io_stdio_process_exited(struct io_stdio *s)
{
        if (s->exited)
                return;
        s->exited = true;
        io_stdio_close_stdin(s);
        if (s->relay) {
                io_relay_process_exited(s->relay);
                return;
        }
        s->relay_input = fd_close(s->relay_input);
        s->relay_output = fd_close(s->relay_output);
        stdio_look_late(s);
        stdio_look_drained(s);
}

bool io_stdio_is_ready(const struct io_stdio *s)
{
        return s->ready;
}

void io_stdio_on_ready(struct io_stdio *s, void (*fn)(const struct error *err, void *userdata),
                       void *userdata)
{
        s->ready_fn = fn;
        s->ready_userdata = userdata;
}

bool io_stdio_is_drained(const struct io_stdio *s)
{
        return s->drained;
}

void io_stdio_on_drained(struct io_stdio *s, void (*fn)(void *userdata), void *userdata)
{
        s->drained_fn = fn;
        s->drained_userdata = userdata;
}

bool io_stdio_stop(struct io_stdio *s)
{
        if (!s->logger || io_logger_has_ended(s->logger))
                return false;
        io_logger_stop(s->logger);
        return true;
}

static const char *target_kind(enum io_target target)
{
        switch (target) {
        case IO_TARGET_NULL:
                return "none";
        case IO_TARGET_PATH:
                return "path";
        case IO_TARGET_FILE:
                return "file";
        case IO_TARGET_FD:
                return "fd";
        case IO_TARGET_CONSOLE:
                return "console";
        case IO_TARGET_BINARY:
        case IO_TARGET_BINARY_V2:
                return "logger";
        case IO_TARGET_LOG:
                return "log";
        case IO_TARGET_ATTACH:
                return "stream";
        }
        return "unknown";
}

struct io_stdio_status io_stdio_status(const struct io_stdio *s)
{
        struct io_stdio_status status = {
                .kind = target_kind(s->out_target),
                .is_complete = s->drained,
        };

        if (s->relay) {
                struct io_relay_lost lost = io_relay_lost(s->relay);

                status.is_complete = s->drained && lost.bytes == 0;
                status.bytes_dropped = lost.bytes;
                status.n_write_errors = lost.n_failures;
                status.last_errno = lost.last_errno;
        }
        if (s->logger) {
                struct io_logger_status logger = io_logger_status(s->logger);

                status.is_complete = status.is_complete && logger.has_all;
                status.logger_pid = logger.pid;
                status.n_restarts = logger.n_restarts;
                status.bytes_dropped += logger.bytes_dropped;
                status.log = io_logger_counters(s->logger);
        }
        return status;
}

const struct log_config *io_stdio_log(const struct io_stdio *s)
{
        return s->logger ? io_logger_log(s->logger) : NULL;
}

struct io_ring *io_stdio_ring(const struct io_stdio *s)
{
        return s->logger ? io_logger_ring(s->logger) : s->ring;
}
