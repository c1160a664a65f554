/* SPDX-License-Identifier: Apache-2.0
 *
 * The file: see event_store.h. An entry is a header of 12 bytes (all numbers little-endian) and a
 * packed belay.state.v1.Event. The byte `live` is all that ever changes of it. An entry goes out in
 * one write(2), so that only a full disk can tear it, and then it is cut off again.
 *
 *   magic 4 | length of the rest 4 | live 1 | 0 0 0
 */
#include "shim/event_store.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"

#include "belay/state/v1/shim.pb-c.h"

#define ENTRY_MAGIC UINT32_C(0x76656231)

struct entry {
        uint32_t magic;
        uint32_t len;
        uint8_t live;
        uint8_t zero[3];
};

/* Dead bytes from which on the file is written anew: it never empties when containerd is slow. */
enum { DEAD_MAX = 1 << 20 };

#define NEW_FILE EVENT_STORE_FILE ".new"

struct event_store {
        int dir_fd;
        int fd; /* -1: no file yet */
        off_t end;
        off_t dead;
        size_t n_live;
        uint64_t next_seq;
        int lost; /* errno: why not all was loaded; for event_store_settle() */
};

struct event_store *event_store_new(int dir_fd)
{
        struct event_store *store = calloc(1, sizeof(*store));

        if (!store)
                return NULL;
        store->dir_fd = dir_fd;
        store->fd = -1;
        store->next_seq = 1;
        return store;
}

struct event_store *event_store_free(struct event_store *store)
{
        if (!store)
                return NULL;
        if (store->fd >= 0 && store->n_live == 0)
                (void)unlinkat(store->dir_fd, EVENT_STORE_FILE, 0);
        fd_close(store->fd);
        free(store);
        return NULL;
}

uint64_t event_store_next_seq(const struct event_store *store)
{
        return store->next_seq;
}

static int store_open(struct event_store *store, int flags)
{
        store->fd = openat(store->dir_fd, EVENT_STORE_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags,
                           0600);
        return store->fd < 0 ? -errno : 0;
}

/* ---- Writing ---- */

/* The entry of an event, on the heap; NULL without memory. */
static uint8_t *entry_pack(const struct task_event *event, size_t *ret_len)
{
        Belay__State__V1__Event m = BELAY__STATE__V1__EVENT__INIT;
        struct entry head = {.magic = htole32(ENTRY_MAGIC), .live = 1};
        uint8_t *buf;
        size_t len;

        m.seq = event->seq;
        m.topic = (char *)event->topic;
        m.type_url = (char *)event->type_url;
        m.at_ns = (int64_t)clock_timespec_ns(&event->at);
        m.data.data = (uint8_t *)event->data;
        m.data.len = event->len;
        len = belay__state__v1__event__get_packed_size(&m);
        buf = malloc(sizeof(head) + len);
        if (!buf)
                return NULL;
        head.len = htole32((uint32_t)len);
        memcpy(buf, &head, sizeof(head));
        (void)belay__state__v1__event__pack(&m, buf + sizeof(head));
        *ret_len = sizeof(head) + len;
        return buf;
}

/* Appends the entry of an event at *end; 0 or a negative errno. */
static int entry_write(int fd, struct task_event *event, off_t *end)
{
        size_t len = 0;
        _cleanup_free_ uint8_t *entry = entry_pack(event, &len);
        ssize_t n;
        int r;

        if (!entry)
                return -ENOMEM;
        CHAOS_POINT("event-packed");
        n = pwrite(fd, entry, len, *end);
        CHAOS_POINT("event-written");
        if (n != (ssize_t)len) {
                r = n < 0 ? -errno : -ENOSPC;
                (void)!ftruncate(fd, *end);
                return r;
        }
        event->stored_at = *end;
        event->stored_len = len;
        *end += (off_t)len;
        return 0;
}

int event_store_add(struct event_store *store, struct task_event *event, struct error *err)
{
        int r = 0;

        event->seq = store->next_seq++;
        event->stored_len = 0;
        if (store->fd < 0)
                r = store_open(store, O_CREAT | O_TRUNC);
        if (r == 0)
                r = entry_write(store->fd, event, &store->end);
        if (r < 0)
                return error_errno(err, -r, "keep an event in '" EVENT_STORE_FILE "'");
        store->n_live++;
        return 0;
}

/* The entries of a queue, one behind the other; 0 or a negative errno. */
static int copy_entries(int to, int from, const struct list *queue)
{
        off_t end = 0;

        list_for_each(event, queue, struct task_event, node) {
                off_t at = event->stored_at;
                ssize_t n = 0;

                if (event->stored_len > 0)
                        n = copy_file_range(from, &at, to, &end, event->stored_len, 0);
                if (n != (ssize_t)event->stored_len)
                        return n < 0 ? -errno : -EIO;
        }
        return 0;
}

void event_store_tidy(struct event_store *store, struct list *queue)
{
        _cleanup_close_ int fd = -1;
        off_t end = 0;

        if (store->dead < DEAD_MAX || store->dead < store->end / 2)
                return;
        fd = openat(store->dir_fd, NEW_FILE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0600);
        if (fd < 0 || copy_entries(fd, store->fd, queue) < 0 ||
            renameat(store->dir_fd, NEW_FILE, store->dir_fd, EVENT_STORE_FILE) < 0) {
                (void)unlinkat(store->dir_fd, NEW_FILE, 0);
                store->dead = 0; /* not again for a while */
                return;
        }
        fd_close(store->fd);
        store->fd = TAKE_FD(fd);
        list_for_each(event, queue, struct task_event, node) {
                event->stored_at = end;
                end += (off_t)event->stored_len;
        }
        store->end = end;
        store->dead = 0;
}

void event_store_remove(struct event_store *store, struct task_event *event)
{
        static const uint8_t dead = 0;

        if (event->stored_len == 0)
                return;
        store->n_live--;
        if (store->n_live == 0) {
                (void)!ftruncate(store->fd, 0);
                store->end = 0;
                store->dead = 0;
        } else {
                (void)!pwrite(store->fd, &dead, 1,
                              event->stored_at + (off_t)offsetof(struct entry, live));
                store->dead += (off_t)event->stored_len;
        }
        event->stored_len = 0;
}

/* ---- Reading ---- */

/* An event of its own from what was read; its texts lie behind its data. NULL without memory. */
static struct task_event *event_of(const Belay__State__V1__Event *m)
{
        size_t topic_len = strlen(m->topic) + 1;
        size_t type_len = strlen(m->type_url) + 1;
        struct task_event *event = task_event_new(m->data.len + topic_len + type_len);
        char *text;

        if (!event)
                return NULL;
        if (m->data.len > 0)
                memcpy(event->data, m->data.data, m->data.len);
        event->len = m->data.len;
        text = (char *)event->data + m->data.len;
        event->topic = memcpy(text, m->topic, topic_len);
        event->type_url = memcpy(text + topic_len, m->type_url, type_len);
        event->at = clock_ns_timespec((uint64_t)m->at_ns);
        event->seq = m->seq;
        return event;
}

/* protobuf-c says of a message that there is no memory for what it says of one that is damaged. */
static void *noting_alloc(void *has_failed, size_t size)
{
        void *p = malloc(size);

        *(bool *)has_failed |= !p;
        return p;
}

static void noting_free(void *has_failed, void *p)
{
        (void)has_failed;
        free(p);
}

/* 0 or a negative errno. */
static int event_read(const uint8_t *body, size_t len, struct task_event **ret)
{
        bool has_failed = false;
        ProtobufCAllocator allocator = {noting_alloc, noting_free, &has_failed};
        Belay__State__V1__Event *m = belay__state__v1__event__unpack(&allocator, len, body);

        if (!m)
                return has_failed ? -ENOMEM : -EBADMSG;
        *ret = event_of(m);
        belay__state__v1__event__free_unpacked(m, &allocator);
        return *ret ? 0 : -ENOMEM;
}

/* The entry at `at`; 1 and the event (NULL: a dead one), 0 at the end; -EBADMSG for a damaged one,
 * -ENOMEM. */
static int entry_read(const uint8_t *text, size_t len, size_t at, struct task_event **ret,
                      size_t *ret_len)
{
        struct entry head;
        size_t body;
        int r;

        *ret = NULL;
        if (at == len)
                return 0;
        if (len - at < sizeof(head))
                return -EBADMSG;
        memcpy(&head, text + at, sizeof(head));
        body = le32toh(head.len);
        if (le32toh(head.magic) != ENTRY_MAGIC || body > len - at - sizeof(head))
                return -EBADMSG;
        *ret_len = sizeof(head) + body;
        if (!head.live)
                return 1;
        r = event_read(text + at + sizeof(head), body, ret);
        return r < 0 ? r : 1;
}

/* What another process image may have. */
static bool may_be_there_later(int r)
{
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

/* What lies in the file, from its beginning on; 0 or a negative errno. */
static int load_entries(struct event_store *store, const uint8_t *text, size_t len,
                        uint64_t until_seq, void (*fn)(struct task_event *event, void *userdata),
                        void *userdata)
{
        struct task_event *event;
        size_t at = 0;
        size_t n;
        int r;

        while ((r = entry_read(text, len, at, &event, &n)) > 0) {
                if (event && event->seq >= until_seq) {
                        task_event_free(event);
                        return 0;
                }
                if (event) {
                        event->stored_at = (off_t)at;
                        event->stored_len = n;
                        store->n_live++;
                        fn(event, userdata);
                } else {
                        store->dead += (off_t)n;
                }
                at += n;
                store->end = (off_t)at;
        }
        return r;
}

int event_store_load(struct event_store *store, uint64_t until_seq,
                     void (*fn)(struct task_event *event, void *userdata), void *userdata,
                     struct error *err)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int r = store_open(store, 0);

        store->next_seq = until_seq;
        if (r == -ENOENT)
                return 0;
        if (r == 0)
                r = fd_read_all(store->fd, LIMIT_EVENTS_BYTES, &text, &len);
        if (r == 0)
                r = load_entries(store, (const uint8_t *)text, len, until_seq, fn, userdata);
        if (may_be_there_later(r)) {
                store->fd = fd_close(store->fd); /* event_store_free() leaves it there */
                return error_errno(err, -r, "read '" EVENT_STORE_FILE "'");
        }
        store->lost = -r;
        return 0;
}

int event_store_settle(struct event_store *store, struct error *err)
{
        int lost = store->lost;

        store->lost = 0;
        if (store->fd >= 0 && ftruncate(store->fd, store->end) < 0)
                return error_errno(err, errno, "cut '" EVENT_STORE_FILE "'");
        if (lost == EBADMSG)
                return error_set(err, STATUS_DATA_LOSS,
                                 "'" EVENT_STORE_FILE "': the entry at byte %lld is damaged",
                                 (long long)store->end);
        return lost == 0 ? 0 : error_errno(err, lost, "read '" EVENT_STORE_FILE "'");
}
