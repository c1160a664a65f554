/* SPDX-License-Identifier: Apache-2.0
 *
 * See vault.h. The file has its full size from the beginning and is sealed against another: the
 * places of all that is in it are constants, growing takes no step that could be interrupted, and
 * nobody who holds the descriptor can make an access fault.
 *
 *   page 0    struct header
 *   then      two slots for each record that the layout has room for: pieces, one behind the other
 *   then      the regions
 */
#include "pkg/state/vault.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/checksum.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

/* A test builds another one. */
#ifndef VAULT_MINOR
#define VAULT_MINOR 1
#endif

enum {
        LAYOUT = 2,
        LAYOUT_NEEDED = 3, /* the same, but only for who has the minor number that it says */
        RECORDS = 4,       /* that the layout has room for */
        REGIONS = 5,
        HEADER_BYTES = 4096,
        PAGE = 4096,
        SLOT_BYTES = VAULT_RECORD_BYTES_MAX + PAGE,
};

static const char magic[8] = {'b', 'e', 'l', 'a', 'y', 'v', 'l', 't'};

static const size_t region_sizes[REGIONS] = {
        [VAULT_CONNS] = (256 << 20) + PAGE, /* TTRPC_KEEP_BYTES */
        [VAULT_EXITS] = 4 << 20,
        [VAULT_EVENTS] = 4 << 20, /* TTRPC_KEEP_BYTES(1) and more */
        [VAULT_QUEUE] = 3 << 20,
        [4] = 1 << 20, /* of minor 0 this and the one before are one */
};

#define REGIONS_AT  ((size_t)HEADER_BYTES + (size_t)2 * RECORDS * SLOT_BYTES)
#define VAULT_BYTES (REGIONS_AT + ((size_t)(256 + 4 + 4 + 4) << 20) + PAGE)

static const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

/* Before the bytes of each piece, which are filled up to a multiple of eight. */
struct piece {
        uint64_t len;
        uint64_t sum;
};

struct record {
        _Atomic uint64_t valid; /* where the pieces end, and in bit 0 in which slot; 0: none */
        uint64_t used[2];       /* how far a slot has memory, at the most */
};

struct header {
        char magic[8];
        _Atomic uint32_t layout;
        uint32_t minor; /* of whoever owns it: which of the records and regions he knows */
        uint64_t size;
        _Atomic uint64_t generation;
        _Atomic uint64_t n_reexecs;
        uint64_t reexecs[VAULT_REEXECS_MAX]; /* the last ones' times, a ring */
        char reason[VAULT_REASON_MAX];
        struct record records[RECORDS];
        uint32_t needed; /* with LAYOUT_NEEDED: the least minor number that will do */
};

_Static_assert(sizeof(struct header) <= HEADER_BYTES, "the header has one page");
_Static_assert((int)_VAULT_RECORD_MAX <= RECORDS && (int)_VAULT_REGION_MAX <= REGIONS,
               "the layout has no room for more");

struct vault {
        int fd;
        uint8_t *bytes;
        struct header *header; /* the same */
};

struct vault *vault_free(struct vault *vault)
{
        if (!vault)
                return NULL;
        if (vault->bytes)
                (void)munmap(vault->bytes, VAULT_BYTES);
        fd_close(vault->fd);
        free(vault);
        return NULL;
}

CLEANUP_DEFINE(struct vault, vault_free)

/* A sealed file of the right size; what it holds is the caller's. */
static int file_new(int *ret, struct error *err)
{
        _cleanup_close_ int fd = memfd_create("belay-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0)
                return error_errno(err, errno, "state: memfd_create");
        if (ftruncate(fd, (off_t)VAULT_BYTES) < 0)
                return error_errno(err, errno, "state: ftruncate to %zu bytes", VAULT_BYTES);
        if (fcntl(fd, F_ADD_SEALS, seals) < 0)
                return error_errno(err, errno, "state: seal the memfd");
        *ret = TAKE_FD(fd);
        return 0;
}

static int map_take(struct vault **ret, int fd, struct error *err)
{
        _cleanup_(vault_free_p) struct vault *vault = calloc(1, sizeof(*vault));
        void *bytes;

        if (!vault)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "state: no memory");
        vault->fd = -1;
        bytes = mmap(NULL, VAULT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (bytes == MAP_FAILED)
                return error_errno(err, errno, "state: map %zu bytes of descriptor %d", VAULT_BYTES,
                                   fd);
        vault->bytes = bytes;
        vault->header = bytes;
        if (madvise(bytes, VAULT_BYTES, MADV_DONTFORK) < 0)
                return error_errno(err, errno, "state: madvise(MADV_DONTFORK)");
        (void)madvise(bytes, VAULT_BYTES, MADV_NOHUGEPAGE);
        /* Whoever writes a core file reads every page, and a hole that is read becomes a page. */
        (void)madvise(bytes, VAULT_BYTES, MADV_DONTDUMP);
        vault->fd = fd;
        *ret = TAKE_PTR(vault);
        return 0;
}

int vault_new(struct vault **ret, struct error *err)
{
        _cleanup_close_ int fd = -1;

        if (file_new(&fd, err) < 0 || map_take(ret, fd, err) < 0)
                return -1;
        fd = -1;
        memcpy((*ret)->header->magic, magic, sizeof(magic));
        (*ret)->header->layout = LAYOUT;
        (*ret)->header->minor = VAULT_MINOR;
        (*ret)->header->size = VAULT_BYTES;
        return 0;
}

/* ---- Opening ---- */

/* Before it is mapped: that no access can fault. */
static int file_check(int fd, struct error *err)
{
        struct stat st;
        int have;

        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "state: descriptor %d", fd);
        have = fcntl(fd, F_GET_SEALS);
        if (!S_ISREG(st.st_mode) || have < 0 || (have & seals) != seals)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "state: descriptor %d is not a sealed memfd", fd);
        /* Another layout may have another size, and is to be refused by its name. */
        if (st.st_size < HEADER_BYTES)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "state: descriptor %d has %lld bytes only", fd,
                                 (long long)st.st_size);
        return 0;
}

static bool layout_is_known(const struct header *header)
{
        return header->layout == LAYOUT || header->layout == LAYOUT_NEEDED;
}

static int header_check(int fd, struct error *err)
{
        struct header header;
        struct stat st;

        if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) || fstat(fd, &st) < 0)
                return error_errno(err, errno, "state: read the header");
        if (memcmp(header.magic, magic, sizeof(magic)) != 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "state: descriptor %d holds no state", fd);
        if (!layout_is_known(&header))
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "state: layout version %u, this program knows %d", header.layout,
                                 LAYOUT);
        if (header.layout == LAYOUT_NEEDED && header.needed > VAULT_MINOR)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "state: it holds what programs before minor version %u would lose",
                                 header.needed);
        if (header.size != VAULT_BYTES || (uint64_t)st.st_size != VAULT_BYTES)
                return error_set(
                        err, STATUS_INVALID_ARGUMENT, "state: size %llu of %lld bytes, must be %zu",
                        (unsigned long long)header.size, (long long)st.st_size, VAULT_BYTES);
        for (size_t i = 0; i < RECORDS; i++) {
                uint64_t end = header.records[i].valid & ~UINT64_C(1);

                if (end > SLOT_BYTES || end % sizeof(uint64_t) != 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "state: record %zu has %llu bytes", i,
                                         (unsigned long long)end);
        }
        return 0;
}

int vault_open_take(struct vault **ret, int fd, struct error *err)
{
        struct vault *vault;

        if (file_check(fd, err) < 0 || header_check(fd, err) < 0)
                return -1;
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return error_errno(err, errno, "state: descriptor %d", fd);
        if (map_take(&vault, fd, err) < 0)
                return -1;
        vault->header->generation++;
        *ret = vault;
        return 0;
}

static void region_forget(const struct vault *vault, size_t at, size_t size)
{
        (void)fallocate(vault->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                        (off_t)size);
}

void vault_own(struct vault *vault)
{
        struct header *header = vault->header;
        size_t at = REGIONS_AT;

        if (header->minor == VAULT_MINOR)
                return;
        for (unsigned i = _VAULT_RECORD_MAX; i < RECORDS; i++)
                memset(&header->records[i], 0, sizeof(header->records[i]));
        for (unsigned i = 0; i < REGIONS; i++) {
                if (i >= _VAULT_REGION_MAX)
                        region_forget(vault, at, region_sizes[i]);
                at += region_sizes[i];
        }
        header->minor = VAULT_MINOR;
}

/* Whoever finds that there is such a number finds it. */
void vault_set_needed(struct vault *vault, uint32_t minor)
{
        struct header *header = vault->header;

        if (minor > 0)
                header->needed = minor;
        atomic_store_explicit(&header->layout, minor > 0 ? LAYOUT_NEEDED : LAYOUT,
                              memory_order_release);
}

uint32_t vault_minor(const struct vault *vault)
{
        return vault->header->minor;
}

/* ---- Copying ---- */

static int range_copy(int from, int to, off_t at, off_t end)
{
        uint8_t buffer[PAGE];

        while (at < end) {
                size_t want = end - at < PAGE ? (size_t)(end - at) : PAGE;
                ssize_t n = pread(from, buffer, want, at);

                if (n <= 0 || pwrite(to, buffer, (size_t)n, at) != n)
                        return n == 0 ? -EIO : -errno;
                at += n;
        }
        return 0;
}

/* Only what was written: the rest are holes. */
int vault_copy(const struct vault *vault, int *ret_fd, struct error *err)
{
        _cleanup_close_ int fd = -1;
        off_t at = 0;

        if (file_new(&fd, err) < 0)
                return -1;
        for (;;) {
                off_t data = lseek(vault->fd, at, SEEK_DATA);
                off_t end = data < 0 ? -1 : lseek(vault->fd, data, SEEK_HOLE);
                int r;

                if (data < 0 && errno == ENXIO)
                        break;
                if (end < 0)
                        return error_errno(err, errno, "state: copy: look for data");
                r = range_copy(vault->fd, fd, data, end);
                if (r < 0)
                        return error_errno(err, -r, "state: copy");
                at = end;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

uint64_t vault_generation(const struct vault *vault)
{
        return vault->header->generation;
}

/* ---- Records ---- */

static uint8_t *slot_bytes(const struct vault *vault, enum vault_record which, unsigned slot)
{
        return vault->bytes + HEADER_BYTES + (2 * (size_t)which + slot) * (size_t)SLOT_BYTES;
}

static size_t page_up(uint64_t n)
{
        return ((size_t)n + PAGE - 1) & ~((size_t)PAGE - 1);
}

static size_t piece_size(size_t len)
{
        return sizeof(struct piece) + ((len + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1));
}

/* Gives back what a slot does not need from `from` on. */
static void slot_trim(const struct vault *vault, enum vault_record which, unsigned slot,
                      size_t from)
{
        uint64_t *used = &vault->header->records[which].used[slot];
        size_t to = *used < SLOT_BYTES ? page_up(*used) : SLOT_BYTES;
        off_t at = slot_bytes(vault, which, slot) - vault->bytes;

        from = page_up(from);
        if (from >= to)
                return;
        (void)fallocate(vault->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at + (off_t)from,
                        (off_t)(to - from));
        *used = from;
}

/* Behind what is valid of a slot. Returns its end. */
static size_t piece_write(struct vault *vault, enum vault_record which, unsigned slot, size_t at,
                          const void *data, size_t len)
{
        struct record *record = &vault->header->records[which];
        uint8_t *bytes = slot_bytes(vault, which, slot) + at;
        const struct piece piece = {.len = len, .sum = checksum(data, len)};
        size_t end = at + piece_size(len);

        if (record->used[slot] < end)
                record->used[slot] = end;
        memcpy(bytes, &piece, sizeof(piece));
        if (len > 0)
                memcpy(bytes + sizeof(piece), data, len);
        CHAOS_POINT("piece-written");
        return end;
}

/* From here on it is this. */
static void record_publish(struct record *record, unsigned slot, size_t end)
{
        atomic_store_explicit(&record->valid, (uint64_t)end | slot, memory_order_release);
        CHAOS_POINT("piece-valid");
}

static size_t record_end(const struct record *record, unsigned *ret_slot)
{
        uint64_t valid = atomic_load_explicit(&record->valid, memory_order_acquire);

        *ret_slot = (unsigned)(valid & 1);
        return (size_t)(valid & ~UINT64_C(1));
}

int vault_put(struct vault *vault, enum vault_record which, const void *data, size_t len,
              struct error *err)
{
        struct record *record = &vault->header->records[which];
        unsigned old;
        unsigned next;
        size_t end;

        assert((unsigned)which < _VAULT_RECORD_MAX);
        if (len > VAULT_RECORD_BYTES_MAX)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "state: a record of %zu bytes: at most %d", len,
                                 VAULT_RECORD_BYTES_MAX);
        next = record_end(record, &old) > 0 ? !old : old;
        end = piece_write(vault, which, next, 0, data, len);
        record_publish(record, next, end);
        slot_trim(vault, which, next, end);
        slot_trim(vault, which, !next, PAGE);
        return 0;
}

int vault_add(struct vault *vault, enum vault_record which, const void *data, size_t len,
              struct error *err)
{
        struct record *record = &vault->header->records[which];
        unsigned slot;
        size_t end = record_end(record, &slot);

        assert((unsigned)which < _VAULT_RECORD_MAX);
        assert(end > 0);
        if (len > VAULT_RECORD_BYTES_MAX || piece_size(len) > SLOT_BYTES - end)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                                 "state: %zu bytes more for a record of %zu: at most %d", len, end,
                                 VAULT_RECORD_BYTES_MAX);
        record_publish(record, slot, piece_write(vault, which, slot, end, data, len));
        return 0;
}

size_t vault_size(const struct vault *vault, enum vault_record which)
{
        unsigned slot;

        return record_end(&vault->header->records[which], &slot);
}

int vault_next(const struct vault *vault, enum vault_record which, size_t *at, const void **ret,
               size_t *ret_len, struct error *err)
{
        struct piece piece;
        const uint8_t *bytes;
        unsigned slot;
        size_t end = record_end(&vault->header->records[which], &slot);

        assert((unsigned)which < _VAULT_RECORD_MAX);
        if (end == 0)
                return error_set(err, STATUS_NOT_FOUND, "state: record %d was never written",
                                 (int)which);
        if (end > SLOT_BYTES || *at > end || (*at < end && end - *at < sizeof(piece)))
                return error_set(err, STATUS_DATA_LOSS,
                                 "state: record %d was damaged: %zu bytes, a piece at %zu",
                                 (int)which, end, *at);
        if (*at == end)
                return 0;
        bytes = slot_bytes(vault, which, slot) + *at;
        memcpy(&piece, bytes, sizeof(piece));
        if (piece.len > end - *at - sizeof(piece) || piece_size(piece.len) > end - *at ||
            checksum(bytes + sizeof(piece), piece.len) != piece.sum)
                return error_set(err, STATUS_DATA_LOSS,
                                 "state: record %d was damaged: wrong checksum over %llu bytes",
                                 (int)which, (unsigned long long)piece.len);
        *ret = bytes + sizeof(piece);
        *ret_len = piece.len;
        *at += piece_size(piece.len);
        return 1;
}

void *vault_region(struct vault *vault, enum vault_region which, size_t *ret_size)
{
        size_t at = REGIONS_AT;

        assert((unsigned)which < _VAULT_REGION_MAX);
        for (unsigned i = 0; i < (unsigned)which; i++)
                at += region_sizes[i];
        *ret_size = region_sizes[which];
        return vault->bytes + at;
}

/* ---- From a signal handler ---- */

int vault_fd(const struct vault *vault)
{
        return vault->fd;
}

/* A time of the future is damage, or none of this boot's: it does not count. */
static bool is_within_span(uint64_t at_ns, uint64_t now_ns)
{
        return at_ns <= now_ns && now_ns - at_ns < VAULT_REEXECS_SPAN_S * NSEC_PER_SEC;
}

static unsigned header_count_reexec(struct header *header, uint64_t now_ns)
{
        uint64_t n = header->n_reexecs;
        uint64_t *oldest = &header->reexecs[n % VAULT_REEXECS_MAX];
        unsigned n_within = 0;

        if (n >= VAULT_REEXECS_MAX && is_within_span(*oldest, now_ns))
                return 0;
        *oldest = now_ns;
        header->n_reexecs = n + 1;
        for (uint64_t i = 0; i < VAULT_REEXECS_MAX && i <= n; i++)
                n_within += is_within_span(header->reexecs[i], now_ns);
        return n_within;
}

unsigned vault_count_reexec(struct vault *vault, uint64_t now_ns)
{
        return header_count_reexec(vault->header, now_ns);
}

unsigned vault_count_reexec_of(int fd, uint64_t now_ns)
{
        const off_t at = offsetof(struct header, n_reexecs);
        const size_t len = offsetof(struct header, reason) - offsetof(struct header, n_reexecs);
        struct header header;
        unsigned n;

        if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
            memcmp(header.magic, magic, sizeof(magic)) != 0 || !layout_is_known(&header))
                return 0;
        n = header_count_reexec(&header, now_ns);
        if (n > 0 && pwrite(fd, (const uint8_t *)&header + at, len, at) != (ssize_t)len)
                return 0;
        return n;
}

void vault_set_reason(struct vault *vault, const char *text)
{
        char *reason = vault->header->reason;
        size_t n = strnlen(text, VAULT_REASON_MAX - 1);

        memcpy(reason, text, n);
        memset(reason + n, 0, VAULT_REASON_MAX - n);
}

void vault_reason(const struct vault *vault, char ret[static VAULT_REASON_MAX])
{
        memcpy(ret, vault->header->reason, VAULT_REASON_MAX);
        ret[VAULT_REASON_MAX - 1] = '\0';
}
