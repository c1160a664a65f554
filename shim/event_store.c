/* SPDX-License-Identifier: Apache-2.0
 *
 * The file: see event_store.h. Of an entry (event_entry.h) the byte that says whether it is live is
 * all that ever changes. It goes out in one write(2), so that only a full disk can tear it, and
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

/* Dead bytes from which on the file is written anew: it never empties when containerd is slow. */
enum { DEAD_MAX = 1 << 20 };

#define NEW_FILE EVENT_STORE_FILE ".new"
#define BAD_FILE EVENT_STORE_FILE ".unreadable"

struct event_store {
        int dir_fd;
        int fd; /* -1: no file yet */
        off_t end;
        off_t dead;
        size_t n_live;
        uint64_t next_seq;

        uint64_t last_seq;  /* that was loaded; 0: none was */
        size_t n_lost;      /* of those that have happened; for event_store_settle() */
        int why;            /* errno: why not all was loaded; likewise */
        size_t n_anew;      /* numbers below next_seq that event_store_renumber() gives anew */
        bool is_unreadable; /* the file is one that could not be read: it must not be overwritten */
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
        if (store->fd >= 0 && store->n_live == 0 && !store->is_unreadable)
                (void)unlinkat(store->dir_fd, EVENT_STORE_FILE, 0);
        fd_close(store->fd);
        free(store);
        return NULL;
}

uint64_t event_store_next_seq(const struct event_store *store)
{
        return store->next_seq;
}

/* 0 or a negative errno; then the file is where it was. */
static int set_aside(struct event_store *store)
{
        if (renameat(store->dir_fd, EVENT_STORE_FILE, store->dir_fd, BAD_FILE) < 0 &&
            errno != ENOENT)
                return -errno;
        store->is_unreadable = false;
        return 0;
}

static int store_open(struct event_store *store, int flags)
{
        int r = store->is_unreadable ? set_aside(store) : 0;

        if (r < 0)
                return r;
        store->fd = openat(store->dir_fd, EVENT_STORE_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags,
                           0600);
        return store->fd < 0 ? -errno : 0;
}

/* ---- Writing ---- */

/* Appends the entry of an event at *end; 0 or a negative errno. */
static int entry_write(int fd, struct task_event *event, off_t *end)
{
        size_t len = 0;
        _cleanup_free_ uint8_t *entry = event_entry_pack(event, &len);
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

/* 0 or a negative errno. */
static int store_append(struct event_store *store, struct task_event *event)
{
        int r = 0;

        event->stored_len = 0;
        if (store->fd < 0)
                r = store_open(store, O_CREAT | O_TRUNC);
        if (r == 0)
                r = entry_write(store->fd, event, &store->end);
        if (r == 0)
                store->n_live++;
        return r;
}

int event_store_add(struct event_store *store, struct task_event *event, struct error *err)
{
        int r;

        event->seq = store->next_seq++;
        store->n_anew = 0;
        r = store_append(store, event);
        return r < 0 ? error_errno(err, -r, "keep an event in '" EVENT_STORE_FILE "'") : 0;
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

static int new_file_open(const struct event_store *store)
{
        return openat(store->dir_fd, NEW_FILE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                      0600);
}

void event_store_tidy(struct event_store *store, struct list *queue)
{
        _cleanup_close_ int fd = -1;
        off_t end = 0;

        if (store->dead < DEAD_MAX || store->dead < store->end / 2)
                return;
        fd = new_file_open(store);
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
                (void)!pwrite(store->fd, &dead, 1, event->stored_at + EVENT_ENTRY_LIVE_AT);
                store->dead += (off_t)event->stored_len;
        }
        event->stored_len = 0;
}

/* ---- Reading ---- */

/* What another process image may have. */
static bool may_be_there_later(int r)
{
        return r == -ENOMEM || r == -EMFILE || r == -ENFILE;
}

/* What can be read of the file, which is less than all if it fails; 0 or a negative errno. */
static int file_contents(int fd, uint8_t **ret, size_t *ret_len)
{
        struct stat st;
        size_t size;

        *ret_len = 0;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        size = st.st_size < LIMIT_EVENTS_BYTES ? (size_t)st.st_size : LIMIT_EVENTS_BYTES;
        *ret = malloc(size + 1);
        if (!*ret)
                return -ENOMEM;
        while (*ret_len < size) {
                ssize_t n = read(fd, *ret + *ret_len, size - *ret_len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                *ret_len += (size_t)n;
        }
        return st.st_size > LIMIT_EVENTS_BYTES ? -EFBIG : 0;
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

        while ((r = event_entry_read(text, len, at, &event, &n)) > 0) {
                if (event && event->seq >= until_seq) {
                        task_event_free(event);
                        return 0;
                }
                if (event) {
                        event->stored_at = (off_t)at;
                        event->stored_len = n;
                        store->n_live++;
                        store->last_seq = event->seq;
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
        _cleanup_free_ uint8_t *text = NULL;
        size_t len = 0;
        int read_failed = store_open(store, 0);
        int r = 0;

        store->next_seq = until_seq;
        if (read_failed == -ENOENT)
                return 0;
        if (read_failed == 0)
                read_failed = file_contents(store->fd, &text, &len);
        if (!may_be_there_later(read_failed))
                r = load_entries(store, text, len, until_seq, fn, userdata);
        if (read_failed < 0)
                r = read_failed;
        if (may_be_there_later(r)) {
                store->fd = fd_close(store->fd); /* event_store_free() leaves it there */
                return error_errno(err, -r, "read '" EVENT_STORE_FILE "'");
        }
        store->why = -r;
        store->is_unreadable = read_failed < 0;
        /* They are accepted in order, so none behind a live one has been. */
        store->n_lost = store->last_seq > 0 ? until_seq - 1 - store->last_seq : r < 0;
        return 0;
}

/* What was written to NEW_FILE takes the place of the file, which stays under another name. At no
 * time is there none. 0 or a negative errno; then all is as it was. */
static int put_in_place(const struct event_store *store)
{
        int dir = store->dir_fd;
        int r = linkat(dir, EVENT_STORE_FILE, dir, BAD_FILE, 0);

        if (r < 0 && errno == EEXIST && unlinkat(dir, BAD_FILE, 0) == 0)
                r = linkat(dir, EVENT_STORE_FILE, dir, BAD_FILE, 0);
        if (r < 0)
                return -errno;
        if (renameat(dir, NEW_FILE, dir, EVENT_STORE_FILE) < 0) {
                r = -errno;
                (void)unlinkat(dir, BAD_FILE, 0);
        }
        return r;
}

/* The file stays as it is, under another name if that can be, and what was read of it goes into a
 * new one. 0 or a negative errno: that one has not all. */
static int replace_unreadable(struct event_store *store, struct list *queue)
{
        int failed = 0;
        int r;

        fd_close(store->fd);
        store->fd = new_file_open(store);
        r = store->fd < 0 ? -errno : 0;
        store->end = 0;
        store->dead = 0;
        store->n_live = 0;
        list_for_each(event, queue, struct task_event, node) {
                int written = r < 0 ? r : entry_write(store->fd, event, &store->end);

                if (written == 0)
                        store->n_live++;
                else
                        event->stored_len = 0;
                if (failed == 0)
                        failed = written;
        }
        if (r == 0)
                r = put_in_place(store);
        if (r == 0) {
                store->is_unreadable = false;
                return failed;
        }
        /* All stays in memory. */
        (void)unlinkat(store->dir_fd, NEW_FILE, 0);
        store->fd = fd_close(store->fd);
        store->end = 0;
        store->n_live = 0;
        list_for_each(event, queue, struct task_event, node)
                event->stored_len = 0;
        failed = set_aside(store);
        return failed < 0 ? failed : r;
}

int event_store_settle(struct event_store *store, struct list *queue, size_t *ret_lost,
                       struct error *err)
{
        int why = store->why;
        int r = 0;

        *ret_lost = store->n_lost;
        store->n_anew = store->last_seq > 0 ? store->n_lost : 0;
        store->why = 0;
        store->n_lost = 0;
        if (store->is_unreadable)
                r = replace_unreadable(store, queue);
        else if (store->fd >= 0 && ftruncate(store->fd, store->end) < 0)
                r = -errno;
        if (why == EBADMSG)
                return error_set(err, STATUS_DATA_LOSS,
                                 "'" EVENT_STORE_FILE "': the entry at byte %lld is damaged",
                                 (long long)store->end);
        if (why != 0)
                return error_errno(err, why, "read '" EVENT_STORE_FILE "'");
        return r < 0 ? error_errno(err, -r, "cut '" EVENT_STORE_FILE "'") : 0;
}

void event_store_renumber(struct event_store *store)
{
        store->next_seq -= store->n_anew;
        store->n_anew = 0;
}
