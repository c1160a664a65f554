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
 *
 * Output goes in pieces as large as may be: the terminal is read until it has nothing more, and
 * then there is one write(2), and one wake-up of whoever reads.
 */
#include "pkg/io/relay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/kept.h"
#include "pkg/io/relay_memory.h"
#include "pkg/log/log.h"

enum {
        READS_PER_ROUND = 16, /* then others have their turn */
        TAIL_MAX = 1 << 20,   /* bytes after the exit; the kernel's own buffers are below that */
};

#define RETRY_NS (100 * NSEC_PER_MSEC) /* when there was no memory */
#define REST_NS  NSEC_PER_SEC          /* without a byte; then memory goes back */

struct io_relay {
        int master;
        int input;
        int output;
        struct loop_io *master_io;
        struct loop_io *input_io;
        struct loop_io *output_io;
        struct loop_timer *retry;
        struct loop_timer *rest;
        struct relay_memory memory;
        bool hung_up; /* the last read of the master gave EIO */
        bool exited;
        bool starved; /* no memory: try again later */
        bool moved;   /* bytes have come since the last look at the clock */
        struct io_ring *ring;
        void (*fn)(void *userdata);
        void (*change_fn)(void *userdata);
        void *userdata;
};

CLEANUP_DEFINE(struct io_relay, io_relay_free)

static ssize_t read_some(int fd, char *buf, size_t len)
{
        ssize_t n;

        do {
                n = read(fd, buf, len);
        } while (n < 0 && errno == EINTR);
        return n;
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

/* What closes a descriptor says so first, in the memory: another image looks for none of it. */
static void relay_close(struct io_relay *relay)
{
        relay->memory.shared->is_over = true;
        end_close(&relay->master_io, &relay->master);
        end_close(&relay->input_io, &relay->input);
        end_close(&relay->output_io, &relay->output);
        (void)relay_pending_drop(&relay->memory.to_output);
        (void)relay_pending_drop(&relay->memory.to_master);
        relay_memory_rest(&relay->memory);
        loop_timer_clear(relay->retry);
        loop_timer_clear(relay->rest);
}

static void input_close(struct io_relay *relay)
{
        relay->memory.shared->input_ended = true;
        end_close(&relay->input_io, &relay->input);
}

bool io_relay_has_ended(const struct io_relay *relay)
{
        return relay->memory.shared->is_over;
}

struct io_relay_lost io_relay_lost(const struct io_relay *relay)
{
        const struct relay_shared *shared = relay->memory.shared;

        return (struct io_relay_lost){
                .bytes = shared->lost_bytes,
                .n_failures = shared->lost_failures,
                .last_errno = shared->lost_errno,
        };
}

static void relay_changed(struct io_relay *relay)
{
        if (relay->change_fn)
                relay->change_fn(relay->userdata);
}

/* ---- Output ---- */

/* True when nothing is left of what was read. The process goes on when it has nowhere to go. */
static bool output_flush(struct io_relay *relay)
{
        struct relay_shared *shared = relay->memory.shared;
        struct relay_pending *p = &relay->memory.to_output;
        int r = relay->output < 0 ? -1 : relay_pending_write(p, relay->output);
        int failure = errno;
        size_t lost;

        if (r >= 0)
                return r > 0;
        lost = relay_pending_drop(p);
        if (relay->output >= 0 && lost > 0) {
                shared->lost_errno = failure;
                shared->lost_failures++;
                shared->lost_bytes += lost;
        }
        return true;
}

/* Reads until the terminal has nothing more, or there is no room. True in the first case. */
static bool output_fill(struct io_relay *relay, uint64_t *ret_n)
{
        struct relay_pending *p = &relay->memory.to_output;
        size_t room = 0;

        for (int i = 0; i < READS_PER_ROUND; i++) {
                char *at = relay_pending_reserve(&relay->memory, p, &room);
                ssize_t n;

                if (room == 0)
                        break;
                n = read_some(relay->master, at, room);
                if (n <= 0) {
                        relay->hung_up = n == 0 || errno != EAGAIN;
                        return true;
                }
                relay->hung_up = false;
                relay_pending_add(p, (size_t)n);
                *ret_n += (uint64_t)n;
        }
        relay->starved |= room == 0 && relay_pending_is_empty(p);
        return false;
}

/* Returns true when the relay is over. */
static bool output_pump(struct io_relay *relay)
{
        struct relay_shared *shared = relay->memory.shared;
        const char *data = shared->output;
        uint64_t n = 0;
        bool has_ended;

        if (!output_flush(relay))
                return false;
        if (shared->tail > TAIL_MAX)
                return true;
        has_ended = output_fill(relay, &n);
        relay->moved |= n > 0;
        if (relay->exited)
                shared->tail += n;
        if (relay->ring && n > 0)
                io_ring_write(relay->ring, LOG_STDOUT, clock_realtime_ns(), data, (size_t)n);
        return output_flush(relay) && has_ended && relay->exited;
}

/* ---- Input ---- */

/* Types the end of file. There is room for it in the memory, which holds nothing. */
static void input_type_eof(struct io_relay *relay, char *at)
{
        struct termios t;
        size_t n = 1;

        if (tcgetattr(relay->master, &t) < 0 || t.c_cc[VEOF] == _POSIX_VDISABLE)
                return;
        if (relay->memory.shared->line_begun && (t.c_lflag & ICANON))
                n = 2;
        memset(at, t.c_cc[VEOF], n);
        relay_pending_add(&relay->memory.to_master, n);
}

static bool input_flush(struct io_relay *relay)
{
        int r = relay_pending_write(&relay->memory.to_master, relay->master);

        if (r < 0)
                (void)relay_pending_drop(&relay->memory.to_master); /* hung up for good */
        return r != 0;
}

static void input_pump(struct io_relay *relay)
{
        struct relay_pending *p = &relay->memory.to_master;

        for (int i = 0; i < READS_PER_ROUND; i++) {
                size_t room;
                char *at;
                ssize_t n;

                if (!input_flush(relay) || relay->input < 0)
                        return;
                at = relay_pending_reserve(&relay->memory, p, &room);
                if (room == 0) {
                        relay->starved = true;
                        return;
                }
                n = read_some(relay->input, at, room);
                if (n < 0 && errno == EAGAIN)
                        return;
                relay->moved = true;
                if (n > 0) {
                        relay->memory.shared->line_begun = at[n - 1] != '\n' && at[n - 1] != '\r';
                        relay_pending_add(p, (size_t)n);
                        continue;
                }
                if (n == 0)
                        input_type_eof(relay, at);
                input_close(relay);
                relay_changed(relay);
        }
        (void)input_flush(relay);
}

/* ---- What is waited for ---- */

/* Watches what can go on now. */
static void relay_update(struct io_relay *relay)
{
        bool output_waits = !relay_pending_is_empty(&relay->memory.to_output);
        bool input_waits = !relay_pending_is_empty(&relay->memory.to_master);
        int want = 0;
        int r = 0;

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
        if (!loop_timer_is_set(relay->rest) && relay_memory_may_rest(&relay->memory))
                (void)loop_timer_set(relay->rest, REST_NS);
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

static void relay_on_rest(struct loop_timer *timer, void *userdata)
{
        struct io_relay *relay = userdata;

        if (!relay->moved)
                relay_memory_rest(&relay->memory);
        else if (relay_memory_may_rest(&relay->memory))
                (void)loop_timer_set(timer, REST_NS);
        relay->moved = false;
}

static struct io_relay *relay_alloc(void (*fn)(void *userdata), void *userdata, struct error *err)
{
        struct io_relay *relay = calloc(1, sizeof(*relay));

        if (!relay) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "relay terminal: no memory");
                return NULL;
        }
        relay->master = -1;
        relay->input = -1;
        relay->output = -1;
        relay->memory = RELAY_MEMORY_INIT;
        relay->fn = fn;
        relay->userdata = userdata;
        return relay;
}

/* The descriptors are still the caller's. */
static int relay_watch(struct io_relay *relay, struct loop *loop, int master, int input, int output,
                       struct error *err)
{
        relay->retry = loop_timer_new(loop, relay_on_retry, relay);
        relay->rest = loop_timer_new(loop, relay_on_rest, relay);
        relay->master_io = loop_io_new(loop, master, LOOP_PRIORITY_RELAY, relay_on_master, relay);
        if (input >= 0)
                relay->input_io =
                        loop_io_new(loop, input, LOOP_PRIORITY_RELAY, relay_on_input, relay);
        if (output >= 0)
                relay->output_io =
                        loop_io_new(loop, output, LOOP_PRIORITY_RELAY, relay_on_output, relay);
        if (!relay->retry || !relay->rest || !relay->master_io ||
            (input >= 0 && !relay->input_io) || (output >= 0 && !relay->output_io))
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "relay terminal: no memory");
        if (loop_io_want(relay->master_io, LOOP_READ) < 0 ||
            (input >= 0 && loop_io_want(relay->input_io, LOOP_READ) < 0))
                return error_set(err, STATUS_UNKNOWN,
                                 "relay terminal: a descriptor cannot be watched");
        relay->master = master;
        relay->input = input;
        relay->output = output;
        return 0;
}

int io_relay_new_take(struct io_relay **ret, struct loop *loop, int master, int input, int output,
                      void (*fn)(void *userdata), void *userdata, struct error *err)
{
        _cleanup_(io_relay_free_p) struct io_relay *relay = relay_alloc(fn, userdata, err);

        if (!relay || relay_memory_new(&relay->memory, err) < 0 ||
            relay_watch(relay, loop, master, input, output, err) < 0)
                return -1;
        *ret = TAKE_PTR(relay);
        return 0;
}

/* The memory stays as it is: it may be another image's by now. */
struct io_relay *io_relay_free(struct io_relay *relay)
{
        if (!relay)
                return NULL;
        end_close(&relay->master_io, &relay->master);
        end_close(&relay->input_io, &relay->input);
        end_close(&relay->output_io, &relay->output);
        loop_timer_free(relay->retry);
        loop_timer_free(relay->rest);
        relay_memory_close(&relay->memory);
        free(relay);
        return NULL;
}

void io_relay_process_exited(struct io_relay *relay)
{
        if (relay->exited || relay->master < 0)
                return;
        relay->exited = true;
        input_close(relay);
        (void)relay_pending_drop(&relay->memory.to_master);
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

void io_relay_save(const struct io_relay *relay, Belay__State__V1__Relay *ret)
{
        belay__state__v1__relay__init(ret);
        ret->master = kept_number(relay->master);
        ret->input = kept_number(relay->input);
        ret->output = kept_number(relay->output);
        ret->memory = kept_number(relay->memory.fd);
        ret->exited = relay->exited;
}

int io_relay_restore(struct io_relay **ret, struct loop *loop, const Belay__State__V1__Relay *m,
                     void (*fn)(void *userdata), void *userdata, struct error *err)
{
        _cleanup_(io_relay_free_p) struct io_relay *relay = relay_alloc(fn, userdata, err);
        _cleanup_close_ int memory = -1;
        _cleanup_close_ int master = -1;
        _cleanup_close_ int input = -1;
        _cleanup_close_ int output = -1;

        if (!relay || kept_take(m->memory, KEPT_FILE, "terminal's memory", &memory, err) < 0)
                return -1;
        if (memory < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "terminal: no memory of it");
        if (relay_memory_adopt_take(&relay->memory, memory, err) < 0)
                return -1;
        TAKE_FD(memory);
        if (io_relay_has_ended(relay)) {
                *ret = TAKE_PTR(relay);
                return 0;
        }
        if (kept_take(m->master, KEPT_TERMINAL, "terminal", &master, err) < 0 ||
            kept_take(m->output, KEPT_ANY, "terminal's output", &output, err) < 0)
                return -1;
        if (!relay->memory.shared->input_ended &&
            kept_take(m->input, KEPT_ANY, "terminal's input", &input, err) < 0)
                return -1;
        if (master < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "terminal: no descriptor");
        if (relay_watch(relay, loop, master, input, output, err) < 0)
                return -1;
        TAKE_FD(master);
        TAKE_FD(input);
        TAKE_FD(output);
        relay->exited = m->exited;
        relay_update(relay);
        if (relay->exited)
                (void)loop_timer_set(relay->retry, 0); /* there may be nothing that wakes it */
        *ret = TAKE_PTR(relay);
        return 0;
}
