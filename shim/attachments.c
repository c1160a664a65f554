/* SPDX-License-Identifier: Apache-2.0
 *
 * Attachments: see attachments.h. A stream is filled until more than half of its room is taken; so
 * a message of PIECE bytes always fits, and the library tells when there is room again. What is
 * sent is copied out of the ring chunk by chunk; a chunk that does not go as a whole is read again.
 *
 * A client that falls behind the ring while it still takes the past that it has asked for has the
 * whole ring's length of time for that: the past is a copy of its own.
 *
 * After the exit the ring is followed until the stdio is drained. A process left behind can keep a
 * log's writer waiting for ever, so that is bounded by times.attach_drain_ns.
 */
#include "shim/attachments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/io/ring.h"
#include "pkg/log/log.h"
#include "pkg/ttrpc/limits.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/belay_messages.h"
#include "shim/container.h"
#include "shim/log.h"
#include "shim/server_impl.h"

enum { PIECE = 32 << 10, ROOM_WANTED = TTRPC_STREAM_QUEUED_MAX / 2 };

/* Of one process, while somebody is attached. */
struct attachments {
        struct process *process;
        struct list list;
        size_t n;
        struct io_ring *ring; /* the stdio's; NULL: it never had any output */
        struct loop_io *io;
        struct loop_timer *drain;
        bool drain_over;
        uint8_t *chunk; /* room for the ring's largest */
};

/* ---- The watch on the ring ---- */

static void on_ring(struct loop_io *io, int fd, int what, void *userdata)
{
        const struct attachments *all = userdata;
        uint64_t ignored;

        (void)!read(fd, &ignored, sizeof(ignored));
        attachments_advance(all->process);
}

static void on_drain_over(struct loop_timer *timer, void *userdata)
{
        struct attachments *all = userdata;

        all->drain_over = true;
        attachments_advance(all->process);
}

static void watch_free(struct attachments *all)
{
        if (!all)
                return;
        if (all->io)
                io_ring_wait(all->ring, -1);
        loop_io_free(all->io);
        loop_timer_free(all->drain);
        free(all->chunk);
        free(all);
}

static int watch_ring(struct attachments *all, struct loop *loop)
{
        all->chunk = malloc(io_ring_chunk_max(all->ring));
        all->io = loop_io_new(loop, io_ring_fd(all->ring), LOOP_PRIORITY_RELAY, on_ring, all);
        if (!all->chunk || !all->io || loop_io_want(all->io, LOOP_READ) < 0) {
                all->io = loop_io_free(all->io);
                return -1;
        }
        io_ring_wait(all->ring, 1);
        return 0;
}

static struct attachments *watch_new(struct process *p)
{
        struct loop *loop = p->container->server->loop;
        struct attachments *all = calloc(1, sizeof(*all));

        if (!all)
                return NULL;
        list_init(&all->list);
        all->process = p;
        all->ring = p->stdio ? io_stdio_ring(p->stdio) : NULL;
        all->drain = loop_timer_new(loop, on_drain_over, all);
        if (!all->drain || (all->ring && watch_ring(all, loop) < 0)) {
                watch_free(all);
                return NULL;
        }
        return all;
}

/* ---- One attachment ---- */

static void stalled(struct attachment *a)
{
        const struct attachments *all = a->process->attachments;
        struct error err = ERROR_INIT;

        if (a->leaving && !stdin_grants_is_empty(&a->stdin) && !a->process->exit.known) {
                (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                                "attach: the process has not taken what was typed for %d s",
                                LIMIT_ATTACH_STALL_S);
                attachment_fail(a, &err);
                return;
        }
        if (a->leaving) {
                attachment_advance(a);
                return;
        }
        (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                        "attach: the client has taken nothing for %d s, and %llu bytes of output "
                        "wait for it",
                        LIMIT_ATTACH_STALL_S,
                        (unsigned long long)(all->ring ? io_ring_end(all->ring) - a->place : 0));
        attachment_fail(a, &err);
}

static void on_stall(struct loop_timer *timer, void *userdata)
{
        struct attachment *a = userdata;
        struct ttrpc_call *call = a->call;

        (void)timer;
        ttrpc_call_enter(call);
        stalled(a);
        ttrpc_call_leave(call);
}

struct attachment *attachment_new(struct ttrpc_call *call, struct shim_server *server)
{
        struct attachment *a = calloc(1, sizeof(*a));

        if (!a)
                return NULL;
        list_init(&a->node);
        a->call = call;
        a->server = server;
        return a;
}

struct attachment *attachment_free(struct attachment *a)
{
        if (!a)
                return NULL;
        list_remove(&a->node);
        stdin_grants_close(&a->stdin);
        io_ring_free(a->replay);
        loop_timer_free(a->stall);
        if (a->process) {
                struct process *p = a->process;

                if (--p->attachments->n == 0)
                        watch_free(TAKE_PTR(p->attachments));
        }
        free(a);
        return NULL;
}

void attachment_fail(struct attachment *a, const struct error *err)
{
        ttrpc_call_fail_error(a->call, err);
        attachment_free(a);
}

static void attachment_end(struct attachment *a)
{
        ttrpc_call_end(a->call);
        attachment_free(a);
}

static int no_ring(const struct process *p, struct error *err)
{
        const char *kind = io_stdio_status(p->stdio).kind;

        if (strcmp(kind, "log") == 0)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "attach: the shim keeps no output to show: ring=0 in the log:// "
                                 "URI");
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "attach: the shim has no output to show: stdout (%s) is the client's own, "
                         "and no byte of it passes the shim; attach needs log:// in stdout, or a "
                         "terminal",
                         kind);
}

static int may_attach(const struct process *p, struct error *err)
{
        if (!p->impl && !p->exit.told)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "attach: exec '%s' has not been started", p->exec_id);
        if (p->carried)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "attach: the output of exec '%s' belongs to its ExecStream",
                                 p->exec_id);
        if (p->stdio && !io_stdio_ring(p->stdio))
                return no_ring(p, err);
        if (p->attachments && p->attachments->n >= LIMIT_ATTACHMENTS)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "attach: %d clients are attached already", LIMIT_ATTACHMENTS);
        return 0;
}

int attachment_join(struct attachment *a, struct process *p, struct error *err)
{
        if (may_attach(p, err) < 0)
                return -1;
        a->stall = loop_timer_new(p->container->server->loop, on_stall, a);
        if (!p->attachments)
                p->attachments = watch_new(p);
        if (!a->stall || !p->attachments) {
                if (p->attachments && p->attachments->n == 0)
                        watch_free(TAKE_PTR(p->attachments));
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "attach: no memory");
        }
        a->process = p;
        list_append(&p->attachments->list, &a->node);
        p->attachments->n++;
        return 0;
}

int attachment_add(struct attachment *a, struct process *p, uint64_t replay_bytes,
                   struct error *err)
{
        const struct io_ring *ring;

        if (attachment_join(a, p, err) < 0)
                return -1;
        ring = p->attachments->ring;
        if (!ring)
                return 0;
        if (replay_bytes > IO_RING_MAX)
                replay_bytes = IO_RING_MAX;
        if (replay_bytes == 0)
                a->place = io_ring_end(ring);
        else if (io_ring_snapshot(ring, (size_t)replay_bytes, &a->replay, &a->place, &a->sent,
                                  err) < 0)
                return error_prefix(err, "attach");
        return 0;
}

/* ---- Output ---- */

/* Sends of the chunk what is not sent yet; false when there is no room for the rest. */
static bool send_chunk(struct attachment *a, const struct io_ring_chunk *chunk, const uint8_t *data)
{
        while (a->sent < chunk->len) {
                size_t n = chunk->len - a->sent < PIECE ? chunk->len - a->sent : PIECE;
                struct timespec at = {.tv_sec = (time_t)(chunk->time_ns / NSEC_PER_SEC),
                                      .tv_nsec = (long)(chunk->time_ns % NSEC_PER_SEC)};
                struct belay_output output;
                Belay__V1__AttachResponse response = BELAY__V1__ATTACH_RESPONSE__INIT;
                struct error ignored = ERROR_INIT;

                if (ttrpc_call_room(a->call) < ROOM_WANTED)
                        return false;
                belay_output_fill(&output, chunk->stream, data + a->sent, n, &at);
                response.response_case = BELAY__V1__ATTACH_RESPONSE__RESPONSE_OUTPUT;
                response.output = &output.output;
                if (ttrpc_call_send(a->call, &response.base, &ignored) < 0)
                        return false;
                a->sent += n;
        }
        return true;
}

static bool wants(const struct attachment *a, uint8_t stream)
{
        return stream == LOG_STDERR ? a->wants_stderr : a->wants_stdout;
}

/* Where the output is that comes next; NULL: there never was any. */
static const struct io_ring *source_of(struct attachment *a)
{
        if (a->replay && a->place == io_ring_end(a->replay))
                a->replay = io_ring_free(a->replay);
        return a->replay ? a->replay : a->process->attachments->ring;
}

/* 1: all is sent; 0: the client must take something first; -EOVERFLOW: it has missed something. */
static int send_output(struct attachment *a)
{
        const struct attachments *all = a->process->attachments;

        for (;;) {
                const struct io_ring *ring = source_of(a);
                uint64_t next = a->place;
                struct io_ring_chunk chunk;

                if (!ring || a->place == io_ring_end(ring))
                        break;
                if (!io_ring_has(ring, a->place))
                        return -EOVERFLOW;
                if (ttrpc_call_room(a->call) < ROOM_WANTED)
                        return 0;
                if (io_ring_read(ring, &next, &chunk, all->chunk) < 0)
                        return -EOVERFLOW;
                if (wants(a, chunk.stream) && !send_chunk(a, &chunk, all->chunk))
                        return 0;
                a->place = next;
                a->sent = 0;
        }
        return 1;
}

/* Whether the process has ended and nothing is to come of it. */
static bool is_over(const struct process *p)
{
        const struct attachments *all = p->attachments;

        if (!p->exit.told)
                return false;
        if (!p->stdio || io_stdio_is_drained(p->stdio) || all->drain_over)
                return true;
        if (!loop_timer_is_set(all->drain) &&
            loop_timer_set(all->drain, p->container->server->times.attach_drain_ns) < 0)
                return true;
        return false;
}

static bool send_exit(struct attachment *a)
{
        struct belay_exit end;
        Belay__V1__AttachResponse response = BELAY__V1__ATTACH_RESPONSE__INIT;
        struct error ignored = ERROR_INIT;

        belay_exit_fill(&end, &a->process->exit, NULL);
        response.response_case = BELAY__V1__ATTACH_RESPONSE__RESPONSE_EXIT;
        response.exit = &end.exit;
        return ttrpc_call_send(a->call, &response.base, &ignored) == 0;
}

static void fell_behind(struct attachment *a)
{
        const struct io_ring *ring = a->process->attachments->ring;
        struct error err = ERROR_INIT;

        (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                        "attach: the client fell %llu bytes behind the output, more than what is "
                        "kept of it",
                        (unsigned long long)(io_ring_end(ring) - a->place));
        attachment_fail(a, &err);
}

void attachment_advance(struct attachment *a)
{
        int r;

        if (a->leaving) {
                if (stdin_grants_is_empty(&a->stdin) || a->process->exit.known)
                        attachment_end(a);
                else if (!loop_timer_is_set(a->stall))
                        (void)loop_timer_set(a->stall, LIMIT_ATTACH_STALL_S * NSEC_PER_SEC);
                return;
        }
        r = send_output(a);
        if (r < 0) {
                fell_behind(a);
                return;
        }
        if (r == 1 && !is_over(a->process)) {
                loop_timer_clear(a->stall);
                return;
        }
        if (r == 1 && send_exit(a)) {
                attachment_end(a);
                return;
        }
        if (!loop_timer_is_set(a->stall))
                (void)loop_timer_set(a->stall, LIMIT_ATTACH_STALL_S * NSEC_PER_SEC);
}

void attachment_on_room(struct attachment *a)
{
        loop_timer_clear(a->stall);
        stdin_grants_offer(&a->stdin);
        attachment_advance(a);
}

/* ---- All of a process ---- */

/* The last one takes the watch with it. */
void attachments_advance(struct process *p)
{
        struct list now = LIST_INIT(now);

        if (!p->attachments)
                return;
        list_splice(&now, &p->attachments->list);
        while (!list_is_empty(&now)) {
                struct attachment *a = list_first(&now, struct attachment, node);

                struct ttrpc_call *call = a->call;

                list_remove(&a->node);
                list_append(&p->attachments->list, &a->node);
                ttrpc_call_enter(call);
                attachment_advance(a);
                ttrpc_call_leave(call);
        }
}

void attachments_end_stdin(struct process *p)
{
        if (!p->attachments)
                return;
        list_for_each(a, &p->attachments->list, struct attachment, node) {
                ttrpc_call_enter(a->call);
                stdin_grants_end(&a->stdin);
                ttrpc_call_leave(a->call);
        }
}

static void end_one(struct attachment *a)
{
        struct error err = ERROR_INIT;
        int r = a->leaving ? 1 : send_output(a);

        if (a->leaving || (r == 1 && a->process->exit.told && send_exit(a))) {
                attachment_end(a);
                return;
        }
        if (a->process->exit.told)
                (void)error_set(&err, STATUS_RESOURCE_EXHAUSTED,
                                "attach: the process was deleted before the client had taken "
                                "%llu bytes of its output",
                                (unsigned long long)(io_ring_end(a->process->attachments->ring) -
                                                     a->place));
        else
                (void)error_set(&err, STATUS_UNAVAILABLE, "the shim is ending");
        attachment_fail(a, &err);
}

void attachments_end(struct process *p)
{
        struct attachment *a;

        while (p->attachments && (a = list_first(&p->attachments->list, struct attachment, node)))
                end_one(a);
}
