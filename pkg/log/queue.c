/* SPDX-License-Identifier: Apache-2.0
 *
 * See queue.h. The memory is a ring: there is never more of it than may wait. What has been sent is
 * begun anew from its beginning as often as nothing is left, so short bursts touch few pages.
 */
#include "pkg/log/queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int log_queue_init(struct log_queue *queue, int fd, size_t max)
{
        void *data = mmap(NULL, max, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (data == MAP_FAILED)
                return -ENOMEM;
        *queue = (struct log_queue){.fd = fd, .data = data, .max = max};
        return 0;
}

void log_queue_deinit(struct log_queue *queue)
{
        if (queue->data)
                (void)munmap(queue->data, queue->max);
        *queue = (struct log_queue){.fd = -1};
}

static size_t smaller(size_t a, size_t b)
{
        return a < b ? a : b;
}

bool log_queue_put(struct log_queue *queue, const void *data, size_t len)
{
        size_t at = (queue->off + queue->len) % queue->max;
        size_t first = smaller(len, queue->max - at);

        if (len > queue->max - queue->len)
                return false;
        memcpy(queue->data + at, data, first);
        memcpy(queue->data, (const uint8_t *)data + first, len - first);
        queue->len += len;
        queue->touched |= at + len > queue->max / 2;
        return true;
}

int log_queue_flush(struct log_queue *queue)
{
        while (queue->len > 0) {
                ssize_t n = write(queue->fd, queue->data + queue->off,
                                  smaller(queue->len, queue->max - queue->off));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -errno;
                queue->off = (queue->off + (size_t)n) % queue->max;
                queue->len -= (size_t)n;
        }
        /* What a large burst has needed goes back. */
        if (queue->touched)
                (void)madvise(queue->data, queue->max, MADV_DONTNEED);
        queue->touched = false;
        queue->off = 0;
        return 0;
}
