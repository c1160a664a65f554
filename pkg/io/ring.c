/* SPDX-License-Identifier: Apache-2.0
 *
 * See ring.h. Places count bytes since the beginning and never go back; a place's offset in the
 * buffer is its remainder. Chunks lie behind each other, each with a head, aligned to the size of a
 * head, and may wrap.
 *
 * The writer moves `start` past what it is about to overwrite, then writes, then moves `end`. A
 * reader copies and looks at `start` afterwards: if that has passed its place, the copy may be torn
 * and is not used. Nothing that is read from the buffer is believed before that look, since another
 * process writes it.
 */
#include "pkg/io/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"

struct head {
        uint64_t time_ns;
        uint32_t len;
        uint8_t stream;
        uint8_t unused[3];
};

/* At the beginning of the mapping. */
struct shared {
        _Atomic uint64_t start;
        _Atomic uint64_t end;
        _Atomic int n_waiting;
        uint8_t unused[64 - 2 * sizeof(uint64_t) - sizeof(int)];
        uint8_t bytes[];
};

struct io_ring {
        struct shared *shared;
        size_t capacity; /* of bytes, a power of two */
        int memory_fd;
        int event_fd;
};

static size_t mapping_size(const struct io_ring *ring)
{
        return sizeof(struct shared) + ring->capacity;
}

struct io_ring *io_ring_free(struct io_ring *ring)
{
        if (!ring)
                return NULL;
        if (ring->shared)
                (void)munmap(ring->shared, mapping_size(ring));
        fd_close(ring->memory_fd);
        fd_close(ring->event_fd);
        free(ring);
        return NULL;
}

CLEANUP_DEFINE(struct io_ring, io_ring_free)

static struct io_ring *ring_alloc(struct error *err)
{
        struct io_ring *ring = calloc(1, sizeof(*ring));

        if (!ring) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "output ring: no memory");
                return NULL;
        }
        ring->memory_fd = -1;
        ring->event_fd = -1;
        return ring;
}

static int ring_map(struct io_ring *ring, struct error *err)
{
        void *mapping = mmap(NULL, mapping_size(ring), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_NORESERVE, ring->memory_fd, 0);

        if (mapping == MAP_FAILED)
                return error_errno(err, errno, "output ring: map %zu bytes", mapping_size(ring));
        ring->shared = mapping;
        return 0;
}

/* capacity: a power of two. Without an eventfd. */
static int ring_make(struct io_ring **ret, size_t capacity, struct error *err)
{
        _cleanup_(io_ring_free_p) struct io_ring *ring = ring_alloc(err);

        if (!ring)
                return -1;
        ring->capacity = capacity;
        ring->memory_fd = memfd_create("belay-ring", MFD_CLOEXEC);
        if (ring->memory_fd < 0 || ftruncate(ring->memory_fd, (off_t)mapping_size(ring)) < 0)
                return error_errno(err, errno, "output ring: make %zu bytes", mapping_size(ring));
        if (ring_map(ring, err) < 0)
                return -1;
        *ret = TAKE_PTR(ring);
        return 0;
}

int io_ring_new(struct io_ring **ret, size_t bytes, struct error *err)
{
        _cleanup_(io_ring_free_p) struct io_ring *ring = NULL;
        size_t capacity = IO_RING_MIN;

        if (bytes > IO_RING_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "%zu bytes of output to keep: at most %d", bytes, IO_RING_MAX);
        while (capacity < bytes)
                capacity *= 2;
        if (ring_make(&ring, capacity, err) < 0)
                return -1;
        ring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (ring->event_fd < 0)
                return error_errno(err, errno, "output ring: eventfd");
        *ret = TAKE_PTR(ring);
        return 0;
}

void io_ring_save(const struct io_ring *ring, Belay__State__V1__Ring *ret)
{
        belay__state__v1__ring__init(ret);
        ret->memory = kept_number(ring->memory_fd);
        ret->event = kept_number(ring->event_fd);
}

int io_ring_restore_snapshot(struct io_ring **ret, const Belay__State__V1__Ring *m,
                             struct error *err)
{
        _cleanup_(io_ring_free_p) struct io_ring *ring = ring_alloc(err);
        struct stat st;

        if (!ring || kept_take(m->memory, KEPT_FILE, "output ring", &ring->memory_fd, err) < 0 ||
            kept_take(m->event, KEPT_ANY, "output ring's eventfd", &ring->event_fd, err) < 0)
                return -1;
        if (ring->memory_fd < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "output ring: no memory");
        if (fstat(ring->memory_fd, &st) < 0)
                return error_errno(err, errno, "output ring: stat");
        ring->capacity = (size_t)st.st_size - sizeof(struct shared);
        if ((size_t)st.st_size < sizeof(struct shared) + IO_RING_MIN ||
            ring->capacity > IO_RING_MAX || (ring->capacity & (ring->capacity - 1)))
                return error_set(err, STATUS_INVALID_ARGUMENT, "output ring: %zu bytes",
                                 (size_t)st.st_size);
        if (ring_map(ring, err) < 0)
                return -1;
        *ret = TAKE_PTR(ring);
        return 0;
}

int io_ring_restore(struct io_ring **ret, const Belay__State__V1__Ring *m, struct error *err)
{
        _cleanup_(io_ring_free_p) struct io_ring *ring = NULL;

        if (io_ring_restore_snapshot(&ring, m, err) < 0)
                return -1;
        if (ring->event_fd < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "output ring: no eventfd");
        atomic_store(&ring->shared->n_waiting, 0);
        *ret = TAKE_PTR(ring);
        return 0;
}

static size_t aligned(size_t n)
{
        return (n + sizeof(struct head) - 1) & ~(sizeof(struct head) - 1);
}

size_t io_ring_chunk_max(const struct io_ring *ring)
{
        return ring->capacity / 4 - sizeof(struct head);
}

static void copy_in(struct io_ring *ring, uint64_t place, const void *data, size_t len)
{
        size_t at = (size_t)(place & (ring->capacity - 1));
        size_t first = len < ring->capacity - at ? len : ring->capacity - at;

        memcpy(ring->shared->bytes + at, data, first);
        memcpy(ring->shared->bytes, (const uint8_t *)data + first, len - first);
}

static void copy_out(const struct io_ring *ring, uint64_t place, void *data, size_t len)
{
        size_t at = (size_t)(place & (ring->capacity - 1));
        size_t first = len < ring->capacity - at ? len : ring->capacity - at;

        memcpy(data, ring->shared->bytes + at, first);
        memcpy((uint8_t *)data + first, ring->shared->bytes, len - first);
}

/* ---- The writer ---- */

/* Lets go of the oldest chunks until n more bytes fit in. */
static void make_room(struct io_ring *ring, uint64_t end, size_t n)
{
        uint64_t start = atomic_load_explicit(&ring->shared->start, memory_order_relaxed);

        while (end + n - start > ring->capacity) {
                struct head head;

                copy_out(ring, start, &head, sizeof(head));
                start += aligned(sizeof(head) + head.len);
        }
        atomic_store_explicit(&ring->shared->start, start, memory_order_relaxed);
        /* Before any of what follows is overwritten. */
        atomic_thread_fence(memory_order_seq_cst);
}

static void write_chunk(struct io_ring *ring, uint8_t stream, uint64_t time_ns, const void *data,
                        size_t len)
{
        uint64_t end = atomic_load_explicit(&ring->shared->end, memory_order_relaxed);
        struct head head = {.time_ns = time_ns, .len = (uint32_t)len, .stream = stream};
        size_t n = aligned(sizeof(head) + len);

        make_room(ring, end, n);
        copy_in(ring, end, &head, sizeof(head));
        copy_in(ring, end + sizeof(head), data, len);
        atomic_store_explicit(&ring->shared->end, end + n, memory_order_release);
}

void io_ring_write(struct io_ring *ring, uint8_t stream, uint64_t time_ns, const void *data,
                   size_t len)
{
        const uint8_t *bytes = data;
        size_t max = io_ring_chunk_max(ring);
        const uint64_t one = 1;

        while (len > 0) {
                size_t n = len < max ? len : max;

                write_chunk(ring, stream, time_ns, bytes, n);
                bytes += n;
                len -= n;
        }
        /* Either the reader that has just begun to wait sees the new end, or it is seen here. */
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&ring->shared->n_waiting, memory_order_relaxed) > 0)
                (void)!write(ring->event_fd, &one, sizeof(one));
}

/* ---- Readers ---- */

uint64_t io_ring_end(const struct io_ring *ring)
{
        return atomic_load_explicit(&ring->shared->end, memory_order_acquire);
}

static uint64_t ring_start(const struct io_ring *ring)
{
        atomic_thread_fence(memory_order_seq_cst);
        return atomic_load_explicit(&ring->shared->start, memory_order_relaxed);
}

bool io_ring_has(const struct io_ring *ring, uint64_t place)
{
        return ring_start(ring) <= place;
}

/* Reads the head at place; false when the place is no longer valid. */
static bool read_head(const struct io_ring *ring, uint64_t place, struct head *ret)
{
        copy_out(ring, place, ret, sizeof(*ret));
        return ring_start(ring) <= place && ret->len <= io_ring_chunk_max(ring);
}

/* Leaves out the oldest chunks while the others have enough. False: overtaken by the writer. */
static bool skip_oldest(const struct io_ring *ring, size_t bytes, uint64_t *first, uint64_t *n)
{
        while (*n > 0) {
                struct head head;

                if (!read_head(ring, *first, &head))
                        return false;
                if (*n < bytes + head.len)
                        return true;
                *n -= head.len;
                *first += aligned(sizeof(head) + head.len);
        }
        return true;
}

uint64_t io_ring_replay(const struct io_ring *ring, size_t bytes, size_t *ret_skip)
{
        uint64_t end = io_ring_end(ring);
        uint64_t place = ring_start(ring);
        uint64_t first = place;
        uint64_t n = 0; /* bytes of output from first to place */

        while (place < end) {
                struct head head;

                if (!read_head(ring, place, &head)) {
                        /* Overtaken by the writer: from its present beginning. */
                        place = ring_start(ring);
                        first = place;
                        n = 0;
                        continue;
                }
                n += head.len;
                place += aligned(sizeof(head) + head.len);
                if (!skip_oldest(ring, bytes, &first, &n)) {
                        first = place;
                        n = 0;
                }
        }
        *ret_skip = n > bytes ? (size_t)(n - bytes) : 0;
        return first < end ? first : end;
}

int io_ring_snapshot(const struct io_ring *ring, size_t bytes, struct io_ring **ret,
                     uint64_t *ret_place, size_t *ret_skip, struct error *err)
{
        struct io_ring *copy = NULL;
        uint64_t place = io_ring_replay(ring, bytes, ret_skip);
        uint64_t end = io_ring_end(ring);
        uint64_t start;

        if (ring_make(&copy, ring->capacity, err) < 0)
                return -1;
        /* No more than the capacity: what is in excess was overwritten already. */
        if (end - place > ring->capacity)
                end = place;
        for (uint64_t at = place; at < end;) {
                size_t offset = (size_t)(at & (ring->capacity - 1));
                size_t n = ring->capacity - offset;

                if (n > end - at)
                        n = (size_t)(end - at);
                memcpy(copy->shared->bytes + offset, ring->shared->bytes + offset, n);
                at += n;
        }
        start = ring_start(ring);
        if (start > place) {
                *ret_skip = 0;
                place = start;
        }
        if (end < place)
                end = place;
        atomic_store(&copy->shared->start, place);
        atomic_store(&copy->shared->end, end);
        *ret_place = place;
        *ret = copy;
        return 0;
}

int io_ring_read(const struct io_ring *ring, uint64_t *place, struct io_ring_chunk *ret, void *buf)
{
        struct head head;

        if (*place == io_ring_end(ring))
                return 0;
        if (!read_head(ring, *place, &head))
                return -EOVERFLOW;
        copy_out(ring, *place + sizeof(head), buf, head.len);
        if (ring_start(ring) > *place)
                return -EOVERFLOW;
        *ret = (struct io_ring_chunk){
                .time_ns = head.time_ns, .stream = head.stream, .len = head.len};
        *place += aligned(sizeof(head) + head.len);
        return 1;
}

int io_ring_fd(const struct io_ring *ring)
{
        return ring->event_fd;
}

void io_ring_wait(struct io_ring *ring, int change)
{
        atomic_fetch_add_explicit(&ring->shared->n_waiting, change, memory_order_seq_cst);
}

void io_ring_set_fd(struct io_ring *ring, int fd)
{
        ring->event_fd = fd;
}
