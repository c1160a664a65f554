/* SPDX-License-Identifier: Apache-2.0
 *
 * The store of the process image before: see event_store.h. What the file has and what the memory
 * has are one queue, by their numbers. Some of it may be done with though nothing at its place says
 * so; that is removed when this image may write.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"
#include "pkg/base/limits.h"

#include "shim/event_entry.h"
#include "shim/event_store_impl.h"

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
                ssize_t n = pread(fd, *ret + *ret_len, size - *ret_len, (off_t)*ret_len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                *ret_len += (size_t)n;
        }
        return st.st_size > LIMIT_EVENTS_BYTES ? -EFBIG : 0;
}

/* What lies in the file, from its beginning on; 0 or a negative errno. */
static int load_file_entries(struct event_store *store, const uint8_t *text, size_t len,
                             uint64_t until_seq, struct list *queue)
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
                        event->place = EVENT_IN_FILE;
                        event->stored_at = at;
                        event->stored_len = n;
                        store->n_live++;
                        list_append(queue, &event->node);
                } else {
                        store->dead += (off_t)n;
                }
                at += n;
                store->end = (off_t)at;
        }
        return r;
}

void event_store_set_file(struct event_store *store, uint32_t number)
{
        store->file_before = number;
}

/* 0 or a negative errno; -ENOENT: there is none. */
static int open_file(struct event_store *store)
{
        int r = event_store_open(store, 0);

        if (r != -ENOENT || store->file_before == 0)
                return r;
        return kept_take(store->file_before, KEPT_FILE, EVENT_STORE_FILE, &store->fd, NULL) < 0
                       ? -EBADF
                       : 0;
}

/* 0 or a negative errno: not all that there is could be read. */
static int load_file(struct event_store *store, uint64_t until_seq, struct list *queue)
{
        _cleanup_free_ uint8_t *text = NULL;
        size_t len = 0;
        int read_failed = open_file(store);
        int r = 0;

        if (read_failed == -ENOENT)
                return 0;
        if (read_failed == 0)
                read_failed = file_contents(store->fd, &text, &len);
        if (!may_be_there_later(read_failed))
                r = load_file_entries(store, text, len, until_seq, queue);
        store->is_unreadable = read_failed < 0;
        return read_failed < 0 ? read_failed : r;
}

/* 0 or a negative errno. What has not happened is removed with what is over. */
static int load_memory(struct event_store *store, uint64_t until_seq, struct list *queue)
{
        _cleanup_free_ uint8_t *text = NULL;
        struct task_event *event;
        uint64_t place = 0;
        size_t len = 0;
        size_t at = 0;
        size_t n;
        int r = event_memory_copy(&store->memory, &text, &len, &place);

        while (r >= 0 && (r = event_entry_read(text, len, at, &event, &n)) > 0) {
                if (event) {
                        event->place = *event->topic ? EVENT_IN_MEMORY : EVENT_IS_NOTED;
                        event->stored_at = place + at;
                        event->stored_len = n;
                        store->n_in_memory++;
                        list_append(event->seq < until_seq ? queue : &store->over, &event->node);
                }
                at += n;
        }
        return r;
}

/* Whether it is done with, though its place does not say so. */
static bool is_over(const struct event_store *store, const struct task_event *event)
{
        uint32_t lost_seq;

        (void)event_memory_lost(&store->memory, &lost_seq);
        return event->seq <= event_memory_done(&store->memory) ||
               (lost_seq != 0 && (uint32_t)event->seq == lost_seq);
}

static void put_apart(struct event_store *store, struct list *queue)
{
        list_for_each_safe(event, queue, struct task_event, node) {
                if (!is_over(store, event))
                        continue;
                list_remove(&event->node);
                list_append(&store->over, &event->node);
        }
}

/* Both are in order. What is in both is left in the memory: the file was not to be trusted. */
static void merge(struct event_store *store, struct list *queue, struct list *more)
{
        struct list *at = queue->next;

        list_for_each_safe(event, more, struct task_event, node) {
                list_remove(&event->node);
                while (at != queue) {
                        struct task_event *have = container_of(at, struct task_event, node);

                        if (have->seq > event->seq)
                                break;
                        at = at->next;
                        if (have->seq < event->seq)
                                continue;
                        list_remove(&have->node);
                        list_append(&store->over, &have->node);
                }
                list_append(at, &event->node);
        }
}

/*
 * How many are missing of those that have happened. They are accepted in order, so none behind one
 * that is there has been. Of a file that was read only in part, one at least: in its rest there are
 * those that are not in the memory.
 */
static size_t count_missing(const struct list *queue, uint64_t until_seq, bool is_file_whole)
{
        uint64_t last = 0;
        size_t n_behind = 0;

        list_for_each(event, queue, struct task_event, node) {
                if (is_file_whole || event->place == EVENT_IN_FILE) {
                        last = event->seq;
                        n_behind = 0;
                } else {
                        n_behind++;
                }
        }
        if (last == 0)
                return is_file_whole ? 0 : 1;
        return until_seq - 1 - last - n_behind;
}

int event_store_load(struct event_store *store, uint64_t until_seq, struct list *queue,
                     uint64_t *ret_lost, struct error *err)
{
        struct list more = LIST_INIT(more);
        uint32_t lost_seq;
        int file;
        int r;

        store->next_seq = until_seq;
        store->is_settled = false;
        if (event_memory_look(&store->memory, err) < 0)
                return -1;
        *ret_lost = event_memory_lost(&store->memory, &lost_seq);
        file = load_file(store, until_seq, queue);
        r = load_memory(store, until_seq, &more);
        if (may_be_there_later(file) || r == -ENOMEM) {
                list_splice(queue, &more);
                return error_errno(err, r < 0 ? -r : -file, "read '" EVENT_STORE_FILE "'");
        }
        put_apart(store, queue);
        put_apart(store, &more);
        merge(store, queue, &more);
        store->why = file < 0 ? -file : -r;
        store->n_lost = count_missing(queue, until_seq, file >= 0);
        if (!list_is_empty(queue))
                store->n_anew =
                        until_seq - 1 - container_of(queue->prev, struct task_event, node)->seq;
        return 0;
}

/* ---- From here on this image writes ---- */

/* What was written to EVENT_STORE_NEW takes the place of the file, which stays under another name.
 * At no time is there none. 0 or a negative errno; then all is as it was. */
static int put_in_place(const struct event_store *store)
{
        int dir = store->dir_fd;
        int r = linkat(dir, EVENT_STORE_FILE, dir, EVENT_STORE_BAD, 0);

        if (r < 0 && errno == EEXIST && unlinkat(dir, EVENT_STORE_BAD, 0) == 0)
                r = linkat(dir, EVENT_STORE_FILE, dir, EVENT_STORE_BAD, 0);
        if (r < 0)
                return -errno;
        if (renameat(dir, EVENT_STORE_NEW, dir, EVENT_STORE_FILE) < 0) {
                r = -errno;
                (void)unlinkat(dir, EVENT_STORE_BAD, 0);
        }
        return r;
}

/* What was in the file goes to a new one, if there is one, and else to the memory. 0 or a negative
 * errno, when one of them is in neither. */
static int move_entries(struct event_store *store, struct list *queue, bool to_file)
{
        int failed = 0;

        list_for_each(event, queue, struct task_event, node) {
                _cleanup_free_ uint8_t *entry = NULL;
                size_t len = 0;
                int r = -ENOMEM;

                if (event->place != EVENT_IN_FILE)
                        continue;
                event->place = EVENT_NOWHERE;
                entry = event_entry_pack(event, &len);
                if (entry && to_file)
                        r = event_store_to_file(store, event, entry, len);
                if (r < 0)
                        r = event_store_to_memory(store, event, entry, len);
                if (failed == 0)
                        failed = r;
        }
        return failed;
}

/* The file stays as it is, under another name if that can be, and what was read of it goes into a
 * new one. 0 or a negative errno: not all outlives this image. */
static int replace_unreadable(struct event_store *store, struct list *queue)
{
        int failed;
        int r;

        fd_close(store->fd);
        r = event_store_open_new(store);
        failed = move_entries(store, queue, r == 0);
        if (r == 0)
                r = put_in_place(store);
        if (r == 0) {
                store->is_unreadable = false;
                return failed;
        }
        (void)unlinkat(store->dir_fd, EVENT_STORE_NEW, 0);
        store->fd = fd_close(store->fd);
        failed = move_entries(store, queue, false);
        store->end = 0;
        store->n_live = 0;
        r = event_store_set_aside(store);
        return failed < 0 ? failed : r;
}

/* Of a file that cannot be read nothing is removed: it is set aside as a whole. */
static void remove_over(struct event_store *store)
{
        while (!list_is_empty(&store->over)) {
                struct task_event *event = list_first(&store->over, struct task_event, node);

                if (event->place != EVENT_IN_FILE || !store->is_unreadable)
                        event_store_remove(store, event, false);
                task_event_free(event);
        }
}

int event_store_settle(struct event_store *store, struct list *queue, size_t *ret_lost,
                       struct error *err)
{
        uint32_t lost_seq;
        uint32_t n_lost = event_memory_lost(&store->memory, &lost_seq);
        int why = store->why;
        int r = 0;

        *ret_lost = store->n_lost;
        store->is_settled = true;
        store->why = 0;
        store->n_lost = 0;
        remove_over(store);
        if (store->is_unreadable)
                r = replace_unreadable(store, queue);
        else if (store->fd >= 0 && ftruncate(store->fd, store->end) < 0)
                r = -errno;
        if (lost_seq != 0)
                event_memory_set_lost(&store->memory, n_lost, 0);
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
