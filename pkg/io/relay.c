/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay of a terminal: see relay.h.
 *
 * Hang-up. When nobody has the slave open, read(2) on the master gives EIO and epoll reports a
 * hang-up that nothing clears, but somebody may open the slave again (/dev/tty). So until the
 * process has ended EIO means "nobody now": the master is then watched edge-triggered, which sleeps
 * until there is data again, and level-triggered once data came.
 *
 * End. After the exit EAGAIN and EIO both mean that everything has been read: n_tty_read() flushes
 * the tty's buffers before it gives either. What processes left behind write later is lost, and so
 * it is with the stock shim.
 *
 * End of input. When the last writer of the input is gone, the terminal's VEOF character is typed
 * (twice, if a line is half typed: the first one only hands over that half). The stock shim closes
 * the master instead, which kills the process by SIGHUP and loses its last output. A program that
 * has put the terminal into raw mode gets the character as such, as line editors and ssh expect it.
 */
#include "pkg/io/relay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/kept.h"
#include "pkg/log/log.h"

enum {
        CHUNK = 4096,         /* what one read of a pty's master gives at most */
        READS_PER_ROUND = 16, /* then others have their turn */
        TAIL_MAX = 1 << 20,   /* bytes after the exit; the kernel's own buffers are below that */
};

#define RETRY_NS (100 * NSEC_PER_MSEC) /* when there was no memory */

/* Bytes that were read and not yet written. data is NULL while there are none. */
struct pending {
        char *data;
        size_t off;
        size_t len;
};

struct io_relay {
        int master;
        int input;
        int output;
        struct loop_io *master_io;
        struct loop_io *input_io;
        struct loop_io *output_io;
        struct loop_timer *retry;
        struct pending to_output;
        struct pending to_master;
        bool hung_up; /* the last read of the master gave EIO */
        bool exited;
        bool starved;    /* no memory: try again later */
        bool line_begun; /* the input so far does not end with a whole line */
        size_t tail;     /* bytes read since the exit */
        struct io_ring *ring;
        struct io_relay_lost lost;
        void (*fn)(void *userdata);
        void (*change_fn)(void *userdata);
        void *userdata;
        bool held;        /* something was pending the last time */
        int input_before; /* and this was the input */
};

CLEANUP_DEFINE(struct io_relay, io_relay_free)

static bool pending_is_empty(const struct pending *p)
{
        return p->off == p->len;
}

static void pending_release(struct pending *p)
{
        free(p->data);
        *p = (struct pending){0};
}

/* Room for CHUNK bytes before anything is read, so that nothing that was read gets lost. */
static bool pending_reserve(struct io_relay *relay, struct pending *p)
{
        if (!p->data)
                p->data = malloc(CHUNK);
        p->off = 0;
        p->len = 0;
        if (!p->data)
                relay->starved = true;
        return p->data != NULL;
}

/* Writes what is pending. 1: all is written; 0: fd is full; -1: fd takes nothing any more. */
static int pending_write(struct pending *p, int fd)
{
        while (!pending_is_empty(p)) {
                ssize_t n = write(fd, p->data + p->off, p->len - p->off);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n < 0)
                        return -1;
                p->off += (size_t)n;
        }
        return 1;
}

static ssize_t read_chunk(int fd, char *buf)
{
        ssize_t n;

        do {
                n = read(fd, buf, CHUNK);
        } while (n < 0 && errno == EINTR);
        return n;
}

static void ring_add(struct io_relay *relay, size_t n)
{
        io_ring_write(relay->ring, LOG_STDOUT, clock_realtime_ns(), relay->to_output.data, n);
}

void io_relay_set_ring(struct io_relay *relay, struct io_ring *ring)
{
        relay->ring = ring;
}

static void end_close(struct loop_io **io, int *fd)
{
        *io = loop_io_free(*io);
        *fd = fd_close(*fd);
}

static void relay_close(struct io_relay *relay)
{
        end_close(&relay->master_io, &relay->master);
        end_close(&relay->input_io, &relay->input);
        end_close(&relay->output_io, &relay->output);
        pending_release(&relay->to_output);
        pending_release(&relay->to_master);
        loop_timer_clear(relay->retry);
}

struct io_relay_lost io_relay_lost(const struct io_relay *relay)
{
        return relay->lost;
}

/* True when nothing is left of what was read. The process goes on when it has nowhere to go. */
static bool output_flush(struct io_relay *relay)
{
        struct pending *p = &relay->to_output;
        int r = relay->output < 0 ? -1 : pending_write(p, relay->output);

        if (r < 0 && relay->output >= 0 && !pending_is_empty(p)) {
                relay->lost.last_errno = errno;
                relay->lost.n_failures++;
                relay->lost.bytes += p->len - p->off;
        }
        if (r < 0)
                p->off = p->len;
        return r != 0;
}

/* Returns true when the relay is over. */
static bool output_pump(struct io_relay *relay)
{
        for (int i = 0; i < READS_PER_ROUND; i++) {
                ssize_t n;

                if (!output_flush(relay) || !pending_reserve(relay, &relay->to_output))
                        return false;
                if (relay->tail > TAIL_MAX)
                        return true;
                n = read_chunk(relay->master, relay->to_output.data);
                if (n <= 0) {
                        relay->hung_up = n == 0 || errno != EAGAIN;
                        pending_release(&relay->to_output);
                        return relay->exited;
                }
                relay->hung_up = false;
                relay->to_output.len = (size_t)n;
                if (relay->ring)
                        ring_add(relay, (size_t)n);
                if (relay->exited)
                        relay->tail += (size_t)n;
        }
        (void)output_flush(relay);
        return false;
}

/* Types the end of file. There is room for it in the buffer, which is empty. */
static void input_type_eof(struct io_relay *relay)
{
        struct termios t;
        char eof;

        if (tcgetattr(relay->master, &t) < 0 || t.c_cc[VEOF] == _POSIX_VDISABLE)
                return;
        eof = (char)t.c_cc[VEOF];
        relay->to_master.data[relay->to_master.len++] = eof;
        if (relay->line_begun && (t.c_lflag & ICANON))
                relay->to_master.data[relay->to_master.len++] = eof;
}

static bool input_flush(struct io_relay *relay)
{
        int r = pending_write(&relay->to_master, relay->master);

        if (r < 0)
                relay->to_master.off = relay->to_master.len; /* hung up for good */
        return r != 0;
}

static void input_pump(struct io_relay *relay)
{
        for (int i = 0; i < READS_PER_ROUND; i++) {
                ssize_t n;

                if (!input_flush(relay))
                        return;
                if (relay->input < 0) {
                        pending_release(&relay->to_master);
                        return;
                }
                if (!pending_reserve(relay, &relay->to_master))
                        return;
                n = read_chunk(relay->input, relay->to_master.data);
                if (n < 0 && errno == EAGAIN) {
                        pending_release(&relay->to_master);
                        return;
                }
                if (n > 0) {
                        char last = relay->to_master.data[n - 1];

                        relay->to_master.len = (size_t)n;
                        relay->line_begun = last != '\n' && last != '\r';
                        continue;
                }
                end_close(&relay->input_io, &relay->input);
                if (n == 0)
                        input_type_eof(relay);
        }
        (void)input_flush(relay);
}

static void relay_changed(struct io_relay *relay)
{
        if (relay->change_fn)
                relay->change_fn(relay->userdata);
}

/* Watches what can go on now. */
static void relay_update(struct io_relay *relay)
{
        bool output_waits = !pending_is_empty(&relay->to_output);
        bool input_waits = !pending_is_empty(&relay->to_master);
        bool holds = output_waits || input_waits || relay->input != relay->input_before;
        int want = 0;
        int r = 0;

        if (holds || relay->held)
                relay_changed(relay);
        relay->held = output_waits || input_waits;
        relay->input_before = relay->input;

        if (!output_waits)
                want |= LOOP_READ;
        if (input_waits)
                want |= LOOP_WRITE;
        if (want && relay->hung_up && !relay->exited)
                want |= LOOP_EDGE;
        if (relay->starved)
                want = 0;
        r |= loop_io_want(relay->master_io, want);
        if (relay->output_io)
                r |= loop_io_want(relay->output_io, output_waits ? LOOP_WRITE : 0);
        if (relay->input_io)
                r |= loop_io_want(relay->input_io, input_waits || relay->starved ? 0 : LOOP_READ);
        if (r < 0 || relay->starved)
                (void)loop_timer_set(relay->retry, RETRY_NS);
        relay->starved = false;
}

static void relay_pump_output(struct io_relay *relay)
{
        if (!output_pump(relay)) {
                relay_update(relay);
                return;
        }
        relay_close(relay);
        relay_changed(relay);
        relay->fn(relay->userdata);
}

static void relay_on_master(struct loop_io *io, int fd, int what, void *userdata)
{
        struct io_relay *relay = userdata;

        if (what & LOOP_WRITE)
                input_pump(relay);
        relay_pump_output(relay);
}

static void relay_on_output(struct loop_io *io, int fd, int what, void *userdata)
{
        relay_pump_output(userdata);
}

static void relay_on_input(struct loop_io *io, int fd, int what, void *userdata)
{
        struct io_relay *relay = userdata;

        input_pump(relay);
        relay_update(relay);
}

static void relay_on_retry(struct loop_timer *timer, void *userdata)
{
        struct io_relay *relay = userdata;

        input_pump(relay);
        relay_pump_output(relay);
}

int io_relay_new_take(struct io_relay **ret, struct loop *loop, int master, int input, int output,
                      void (*fn)(void *userdata), void *userdata, struct error *err)
{
        _cleanup_(io_relay_free_p) struct io_relay *relay = calloc(1, sizeof(*relay));

        if (!relay)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "relay terminal: no memory");
        relay->master = -1;
        relay->input = -1;
        relay->output = -1;
        relay->fn = fn;
        relay->userdata = userdata;
        relay->retry = loop_timer_new(loop, relay_on_retry, relay);
        relay->master_io = loop_io_new(loop, master, LOOP_PRIORITY_RELAY, relay_on_master, relay);
        if (input >= 0)
                relay->input_io =
                        loop_io_new(loop, input, LOOP_PRIORITY_RELAY, relay_on_input, relay);
        if (output >= 0)
                relay->output_io =
                        loop_io_new(loop, output, LOOP_PRIORITY_RELAY, relay_on_output, relay);
        if (!relay->retry || !relay->master_io || (input >= 0 && !relay->input_io) ||
            (output >= 0 && !relay->output_io))
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "relay terminal: no memory");
        if (loop_io_want(relay->master_io, LOOP_READ) < 0 ||
            (input >= 0 && loop_io_want(relay->input_io, LOOP_READ) < 0))
                return error_set(err, STATUS_UNKNOWN,
                                 "relay terminal: a descriptor cannot be watched");
        relay->master = master;
        relay->input = input;
        relay->input_before = input;
        relay->output = output;
        *ret = TAKE_PTR(relay);
        return 0;
}

struct io_relay *io_relay_free(struct io_relay *relay)
{
        if (!relay)
                return NULL;
        if (relay->retry)
                relay_close(relay);
        loop_io_free(relay->master_io);
        loop_io_free(relay->input_io);
        loop_io_free(relay->output_io);
        loop_timer_free(relay->retry);
        free(relay);
        return NULL;
}

void io_relay_process_exited(struct io_relay *relay)
{
        if (relay->exited || relay->master < 0)
                return;
        relay->exited = true;
        end_close(&relay->input_io, &relay->input);
        pending_release(&relay->to_master);
        relay_pump_output(relay);
}

int io_relay_resize(struct io_relay *relay, uint16_t width, uint16_t height, struct error *err)
{
        struct winsize size = {.ws_col = width, .ws_row = height};

        if (relay->master >= 0 && ioctl(relay->master, TIOCSWINSZ, &size) < 0)
                return error_errno(err, errno, "resize terminal");
        return 0;
}

/* ---- Going on in another image ---- */

void io_relay_on_change(struct io_relay *relay, void (*fn)(void *userdata))
{
        relay->change_fn = fn;
}

static ProtobufCBinaryData pending_save(const struct pending *p)
{
        return (ProtobufCBinaryData){
                .data = (uint8_t *)p->data + (p->data ? p->off : 0),
                .len = p->len - p->off,
        };
}

void io_relay_save(const struct io_relay *relay, Belay__State__V1__Relay *ret)
{
        belay__state__v1__relay__init(ret);
        ret->master = kept_number(relay->master);
        ret->input = kept_number(relay->input);
        ret->output = kept_number(relay->output);
        ret->to_output = pending_save(&relay->to_output);
        ret->to_master = pending_save(&relay->to_master);
        ret->exited = relay->exited;
        ret->hung_up = relay->hung_up;
        ret->line_begun = relay->line_begun;
        ret->tail = relay->tail;
        ret->lost_bytes = relay->lost.bytes;
        ret->lost_failures = relay->lost.n_failures;
        ret->lost_errno = relay->lost.last_errno;
}

static int pending_restore(struct pending *p, const ProtobufCBinaryData *m)
{
        if (m->len == 0)
                return 0;
        if (m->len > CHUNK)
                return -1;
        p->data = malloc(CHUNK);
        if (!p->data)
                return -1;
        memcpy(p->data, m->data, m->len);
        p->len = m->len;
        return 0;
}

int io_relay_restore(struct io_relay **ret, struct loop *loop, const Belay__State__V1__Relay *m,
                     void (*fn)(void *userdata), void *userdata, struct error *err)
{
        _cleanup_(io_relay_free_p) struct io_relay *relay = NULL;
        _cleanup_close_ int master = -1;
        _cleanup_close_ int input = -1;
        _cleanup_close_ int output = -1;

        if (kept_take(m->master, KEPT_TERMINAL, "terminal", &master, err) < 0 ||
            kept_take(m->input, KEPT_ANY, "terminal's input", &input, err) < 0 ||
            kept_take(m->output, KEPT_ANY, "terminal's output", &output, err) < 0)
                return -1;
        if (master < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "terminal: no descriptor");
        if (io_relay_new_take(&relay, loop, master, input, output, fn, userdata, err) < 0)
                return -1;
        TAKE_FD(master);
        TAKE_FD(input);
        TAKE_FD(output);
        relay->exited = m->exited;
        relay->hung_up = m->hung_up;
        relay->line_begun = m->line_begun;
        relay->tail = m->tail;
        relay->lost.bytes = m->lost_bytes;
        relay->lost.n_failures = m->lost_failures;
        relay->lost.last_errno = m->lost_errno;
        if (pending_restore(&relay->to_output, &m->to_output) < 0 ||
            pending_restore(&relay->to_master, &m->to_master) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "terminal: no room for %zu bytes",
                                 m->to_output.len + m->to_master.len);
        relay_update(relay);
        if (relay->exited)
                (void)loop_timer_set(relay->retry, 0); /* there may be nothing that wakes it */
        *ret = TAKE_PTR(relay);
        return 0;
}
