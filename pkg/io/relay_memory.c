/* SPDX-License-Identifier: Apache-2.0
 *
 * See relay_memory.h. Memory is had by fallocate(2), which says when there is none; read(2) into a
 * page that cannot be had would lose what it has taken from the terminal by then.
 */
#include "pkg/io/relay_memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/fd.h"

enum { LAYOUT = 1, ROOM_MIN = 2 * RELAY_CHUNK };

static_assert(sizeof(struct relay_held) == sizeof(uint64_t), "one word");
static_assert(offsetof(struct relay_shared, input) == RELAY_CHUNK, "a page of its own");
static_assert(sizeof(struct relay_shared) == 2 * RELAY_CHUNK + RELAY_OUTPUT_MAX, "no padding");

static struct relay_held held_load(const struct relay_pending *p)
{
        return atomic_load_explicit(p->held, memory_order_relaxed);
}

/* What was done to the bytes comes first. */
static void held_store(struct relay_pending *p, uint32_t off, uint32_t end)
{
        const struct relay_held held = {.off = off, .end = end};

        atomic_store_explicit(p->held, held, memory_order_release);
}

/* ---- The memory ---- */

static int memory_map(struct relay_memory *m, int fd, struct error *err)
{
        struct relay_shared *shared =
                mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (shared == MAP_FAILED)
                return error_errno(err, errno, "relay terminal: map its memory");
        *m = (struct relay_memory){
                .fd = fd,
                .shared = shared,
                .to_output = {.held = &shared->to_output,
                              .data = shared->output,
                              .max = RELAY_OUTPUT_MAX,
                              .offset = offsetof(struct relay_shared, output)},
                .to_master = {.held = &shared->to_master,
                              .data = shared->input,
                              .max = RELAY_INPUT_MAX,
                              .offset = offsetof(struct relay_shared, input)},
        };
        return 0;
}

int relay_memory_new(struct relay_memory *m, struct error *err)
{
        int fd = memfd_create("belay-relay", MFD_CLOEXEC);

        if (fd < 0 || ftruncate(fd, sizeof(struct relay_shared)) < 0) {
                (void)error_errno(err, errno, "relay terminal: make its memory");
                fd_close(fd);
                return -1;
        }
        if (memory_map(m, fd, err) < 0) {
                fd_close(fd);
                return -1;
        }
        m->shared->layout = LAYOUT;
        return 0;
}

static bool held_is_sound(const struct relay_pending *p)
{
        struct relay_held held = held_load(p);

        return held.off <= held.end && held.end <= p->max;
}

int relay_memory_adopt_take(struct relay_memory *m, int fd, struct error *err)
{
        struct relay_memory made = RELAY_MEMORY_INIT;
        struct stat st;

        /* To touch a page behind the end of a file is fatal. */
        if (fstat(fd, &st) < 0 || st.st_size != (off_t)sizeof(struct relay_shared))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "terminal: its memory is not of %zu bytes",
                                 sizeof(struct relay_shared));
        if (memory_map(&made, fd, err) < 0)
                return -1;
        if (made.shared->layout != LAYOUT || !held_is_sound(&made.to_output) ||
            !held_is_sound(&made.to_master)) {
                (void)munmap(made.shared, sizeof(*made.shared));
                return error_set(err, STATUS_INVALID_ARGUMENT, "terminal: its memory is damaged");
        }
        *m = made;
        return 0;
}

void relay_memory_close(struct relay_memory *m)
{
        if (m->shared)
                (void)munmap(m->shared, sizeof(*m->shared));
        fd_close(m->fd);
        *m = RELAY_MEMORY_INIT;
}

static bool pending_may_rest(const struct relay_pending *p)
{
        return p->room > 0 && relay_pending_is_empty(p);
}

bool relay_memory_may_rest(const struct relay_memory *m)
{
        return pending_may_rest(&m->to_output) || pending_may_rest(&m->to_master);
}

static void pending_rest(struct relay_pending *p)
{
        if (pending_may_rest(p) && madvise(p->data, p->max, MADV_REMOVE) == 0)
                p->room = 0;
}

void relay_memory_rest(struct relay_memory *m)
{
        pending_rest(&m->to_output);
        pending_rest(&m->to_master);
}

/* ---- One direction ---- */

bool relay_pending_is_empty(const struct relay_pending *p)
{
        struct relay_held held = held_load(p);

        return held.off == held.end;
}

/* Twice as much as before. */
static void pending_grow(struct relay_memory *m, struct relay_pending *p)
{
        size_t room = p->room > 0 ? 2 * p->room : ROOM_MIN;

        if (room > p->max)
                room = p->max;
        if (room > p->room && fallocate(m->fd, 0, p->offset, (off_t)room) == 0)
                p->room = room;
}

char *relay_pending_reserve(struct relay_memory *m, struct relay_pending *p, size_t *ret_room)
{
        struct relay_held held = held_load(p);

        if (held.off == held.end && held.end > 0) {
                held = (struct relay_held){0};
                held_store(p, 0, 0);
        }
        if (p->room < held.end + RELAY_CHUNK)
                pending_grow(m, p);
        *ret_room = p->room < held.end + RELAY_CHUNK ? 0 : p->room - held.end;
        return p->data + held.end;
}

void relay_pending_add(struct relay_pending *p, size_t n)
{
        struct relay_held held = held_load(p);

        held_store(p, held.off, held.end + (uint32_t)n);
}

int relay_pending_write(struct relay_pending *p, int fd)
{
        struct relay_held held = held_load(p);

        while (held.off < held.end) {
                ssize_t n = write(fd, p->data + held.off, held.end - held.off);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -1;
                held.off += (uint32_t)n;
                held_store(p, held.off, held.end);
        }
        return 1;
}

size_t relay_pending_drop(struct relay_pending *p)
{
        struct relay_held held = held_load(p);

        held_store(p, 0, 0);
        return held.end - held.off;
}
