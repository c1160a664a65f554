/* SPDX-License-Identifier: Apache-2.0
 *
 * See queue.h. The bytes lie in one piece of memory of twice the bound, and are moved to its
 * beginning when they have come to its end: at most once for each byte.
 */
#include "pkg/log/queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int log_queue_init(struct log_queue *queue, int fd, size_t max)
{
        void *data = mmap(NULL, 2 * max, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (data == MAP_FAILED)
                return -ENOMEM;
        *queue = (struct log_queue){.fd = fd, .data = data, .room = 2 * max, .max = max};
        return 0;
}

void log_queue_deinit(struct log_queue *queue)
{
        if (queue->data)
                (void)munmap(queue->data, queue->room);
        *queue = (struct log_queue){.fd = -1};
}

bool log_queue_put(struct log_queue *queue, const void *data, size_t len)
{
        if (len > queue->max - queue->len)
                return false;
        if (queue->off + queue->len + len > queue->room) {
                memmove(queue->data, queue->data + queue->off, queue->len);
                queue->off = 0;
        }
        memcpy(queue->data + queue->off + queue->len, data, len);
        queue->len += len;
        return true;
}

int log_queue_flush(struct log_queue *queue)
{
        while (queue->len > 0) {
                ssize_t n = write(queue->fd, queue->data + queue->off, queue->len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -errno;
                queue->off += (size_t)n;
                queue->len -= (size_t)n;
        }
        /* What a large burst has needed goes back. */
        if (queue->off > queue->max / 2)
                (void)madvise(queue->data, queue->room, MADV_DONTNEED);
        queue->off = 0;
        return 0;
}
