/* SPDX-License-Identifier: Apache-2.0
 *
 * The store: see event_store.h. Of an entry (event_entry.h) the byte that says whether it is live
 * is all that ever changes. It goes out in one write(2), so that only a full disk can tear it, and
 * then it is cut off again. A file that cannot be read is never written to: it is set aside, or
 * where it is all stays in memory.
 */
#include "shim/event_store.h"

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
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"

#include "shim/event_entry.h"
#include "shim/event_store_impl.h"

enum {
        /* Dead bytes from which on the file is written anew: it never empties when containerd is
         * slow. */
        DEAD_MAX = 1 << 20,

        /* What is left of the memory for stubs: one for each event. */
        STUBS_BYTES = LIMIT_EVENTS_QUEUED * EVENT_STUB_BYTES,
};

struct event_store *event_store_new(int dir_fd, void *memory, size_t memory_size)
{
        struct event_store *store = calloc(1, sizeof(*store));

        if (!store)
                return NULL;
        store->dir_fd = dir_fd;
        store->fd = -1;
        store->next_seq = 1;
        store->is_settled = true;
        event_memory_init(&store->memory, memory, memory_size);
        list_init(&store->over);
        return store;
}

struct event_store *event_store_free(struct event_store *store)
{
        if (!store)
                return NULL;
        if (store->fd >= 0 && store->n_live == 0 && store->is_settled && !store->is_unreadable)
                (void)unlinkat(store->dir_fd, EVENT_STORE_FILE, 0);
        while (!list_is_empty(&store->over))
                task_event_free(list_first(&store->over, struct task_event, node));
        fd_close(store->fd);
        free(store);
        return NULL;
}

int event_store_file(const struct event_store *store)
{
        return store->fd;
}

uint64_t event_store_next_seq(const struct event_store *store)
{
        return store->next_seq;
}

size_t event_store_n_in_memory(const struct event_store *store)
{
        return store->n_in_memory;
}

size_t event_store_n_at_risk(const struct event_store *store)
{
        return store->n_at_risk;
}

int event_store_set_aside(struct event_store *store)
{
        if (renameat(store->dir_fd, EVENT_STORE_FILE, store->dir_fd, EVENT_STORE_BAD) < 0 &&
            errno != ENOENT)
                return -errno;
        store->is_unreadable = false;
        return 0;
}

int event_store_open(struct event_store *store, int flags)
{
        int r = store->is_unreadable ? event_store_set_aside(store) : 0;

        if (r < 0)
                return r;
        store->fd = openat(store->dir_fd, EVENT_STORE_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags,
                           0600);
        return store->fd < 0 ? -errno : 0;
}

static int new_file_open(const struct event_store *store)
{
        return openat(store->dir_fd, EVENT_STORE_NEW,
                      O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int event_store_open_new(struct event_store *store)
{
        store->fd = new_file_open(store);
        store->end = 0;
        store->dead = 0;
        store->n_live = 0;
        return store->fd < 0 ? -errno : 0;
}

/* ---- Adding ---- */

int event_store_to_file(struct event_store *store, struct task_event *event, const uint8_t *entry,
                        size_t len)
{
        ssize_t n = pwrite(store->fd, entry, len, store->end);
        int r;

        CHAOS_POINT("event-written");
        if (n != (ssize_t)len) {
                r = n < 0 ? -errno : -ENOSPC;
                (void)!ftruncate(store->fd, store->end);
                return r;
        }
        event->place = EVENT_IN_FILE;
        event->stored_at = (uint64_t)store->end;
        event->stored_len = len;
        store->end += (off_t)len;
        store->n_live++;
        return 0;
}

int event_store_to_memory(struct event_store *store, struct task_event *event, const uint8_t *entry,
                          size_t len)
{
        uint8_t stub[EVENT_STUB_BYTES];
        int r = -ENOMEM;

        if (entry)
                r = event_memory_add(&store->memory, entry, len, STUBS_BYTES, &event->stored_at);
        if (r == 0) {
                event->place = EVENT_IN_MEMORY;
        } else {
                store->n_at_risk++;
                len = event_entry_pack_stub(event, stub);
                if (event_memory_add(&store->memory, stub, len, 0, &event->stored_at) < 0)
                        return r;
                event->place = EVENT_IS_NOTED;
        }
        event->stored_len = len;
        store->n_in_memory++;
        return r;
}

/* 0 or a negative errno. */
static int file_append(struct event_store *store, struct task_event *event, const uint8_t *entry,
                       size_t len)
{
        int r = store->fd < 0 ? event_store_open(store, O_CREAT | O_TRUNC) : 0;

        return r < 0 ? r : event_store_to_file(store, event, entry, len);
}

int event_store_add(struct event_store *store, struct task_event *event, struct error *err)
{
        _cleanup_free_ uint8_t *entry = NULL;
        const char *instead = "it is kept in memory";
        size_t len = 0;
        int r;

        event->seq = store->next_seq++;
        store->n_anew = 0;
        entry = event_entry_pack(event, &len);
        CHAOS_POINT("event-packed");
        r = entry ? file_append(store, event, entry, len) : -ENOMEM;
        if (r == 0)
                return 0;
        if (event_store_to_memory(store, event, entry, len) < 0)
                instead = "it would not outlive this process image";
        (void)error_errno(err, -r, "keep an event in '" EVENT_STORE_FILE "'");
        return error_prefix(err, "%s", instead);
}

void event_store_set_lost(struct event_store *store, uint64_t n, const struct task_event *event)
{
        event_memory_set_lost(&store->memory, (uint32_t)n, event ? event->seq : 0);
}

/* ---- Removing ---- */

/* The entries of a queue that are in the file, one behind the other; 0 or a negative errno. */
static int copy_entries(int to, int from, const struct list *queue)
{
        off_t end = 0;

        list_for_each(event, queue, struct task_event, node) {
                off_t at = (off_t)event->stored_at;
                ssize_t n;

                if (event->place != EVENT_IN_FILE)
                        continue;
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
        fd = new_file_open(store);
        if (fd < 0 || copy_entries(fd, store->fd, queue) < 0 ||
            renameat(store->dir_fd, EVENT_STORE_NEW, store->dir_fd, EVENT_STORE_FILE) < 0) {
                (void)unlinkat(store->dir_fd, EVENT_STORE_NEW, 0);
                store->dead = 0; /* not again for a while */
                return;
        }
        fd_close(store->fd);
        store->fd = TAKE_FD(fd);
        list_for_each(event, queue, struct task_event, node) {
                if (event->place != EVENT_IN_FILE)
                        continue;
                event->stored_at = (uint64_t)end;
                end += (off_t)event->stored_len;
        }
        store->end = end;
        store->dead = 0;
}

/* In the file. False if that cannot be: whoever reads it would find the event as it was. */
static bool file_remove(struct event_store *store, const struct task_event *event)
{
        static const uint8_t dead = 0;

        store->n_live--;
        if (store->n_live == 0 && ftruncate(store->fd, 0) == 0) {
                store->end = 0;
                store->dead = 0;
                return true;
        }
        store->dead += (off_t)event->stored_len;
        return pwrite(store->fd, &dead, 1, (off_t)event->stored_at + EVENT_ENTRY_LIVE_AT) == 1;
}

/* One that was loaded and is only noted is not at risk any more. */
static bool is_at_risk(const struct task_event *event)
{
        return (event->place == EVENT_NOWHERE || event->place == EVENT_IS_NOTED) && *event->topic;
}

void event_store_remove(struct event_store *store, struct task_event *event, bool is_first)
{
        bool is_marked = !store->is_unreadable;

        store->n_at_risk -= is_at_risk(event);
        switch (event->place) {
        case EVENT_NOWHERE:
                break;
        case EVENT_IN_FILE:
                is_marked = file_remove(store, event);
                break;
        case EVENT_IN_MEMORY:
        case EVENT_IS_NOTED:
                event_memory_remove(&store->memory, event->stored_at);
                store->n_in_memory--;
                break;
        }
        if (is_first && !is_marked)
                event_memory_set_done(&store->memory, event->seq);
        event->place = EVENT_NOWHERE;
}
