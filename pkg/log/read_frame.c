/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes between a log's reader and the shim: see log.h. Both are the same program, so a frame
 * is a struct; the shim still believes none of its numbers.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "pkg/log/log.h"

ssize_t log_frame_parse(const void *data, size_t len, struct log_frame *ret, const char **ret_text)
{
        struct log_frame frame;

        if (len < sizeof(frame))
                return 0;
        memcpy(&frame, data, sizeof(frame));
        if (frame.n > LOG_READ_TEXT_MAX || frame.kind < LOG_FRAME_ENTRY ||
            frame.kind > LOG_FRAME_FAILURE || frame.stream > LOG_STDERR)
                return -EPROTO;
        if (len - sizeof(frame) < frame.n)
                return 0;
        *ret = frame;
        *ret_text = (const char *)data + sizeof(frame);
        return (ssize_t)(sizeof(frame) + frame.n);
}

ssize_t log_message_look(int fd, void *data)
{
        ssize_t n;

        do {
                n = recv(fd, data, LOG_MESSAGE_MAX, MSG_PEEK | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

/* The rest of a message goes with its first byte. */
int log_message_drop(int fd)
{
        ssize_t n;
        char byte;

        do {
                n = recv(fd, &byte, 1, MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

int log_query_check(const struct log_query *query, enum log_format format, struct error *err)
{
        if (query->tail < -1)
                return error_set(err, STATUS_INVALID_ARGUMENT, "logs: tail %lld: less than -1",
                                 (long long)query->tail);
        if (format != LOG_FORMAT_RAW)
                return 0;
        if (query->since_ns > 0 || query->until_ns > 0)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "logs: since and until: a raw log has no times");
        if (query->out != query->err)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "logs: a raw log does not tell stdout and stderr apart");
        return 0;
}
