/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of belay.v1: see belay_messages.h.
 */
#include "shim/belay_messages.h"

#include "pkg/log/log.h"

#include "shim/process.h"

Google__Protobuf__Timestamp belay_timestamp(const struct timespec *ts)
{
        Google__Protobuf__Timestamp t = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

        t.seconds = (int64_t)ts->tv_sec;
        t.nanos = (int32_t)ts->tv_nsec;
        return t;
}

void belay_output_fill(struct belay_output *ret, uint8_t stream, const void *data, size_t len,
                       const struct timespec *at)
{
        belay__v1__output__init(&ret->output);
        ret->time = belay_timestamp(at);
        ret->output.time = &ret->time;
        ret->output.stream = stream == LOG_STDERR ? BELAY__V1__STREAM__STREAM_STDERR
                                                  : BELAY__V1__STREAM__STREAM_STDOUT;
        ret->output.data.data = (uint8_t *)data;
        ret->output.data.len = len;
}

void belay_exit_fill(struct belay_exit *ret, const struct process_exit *exit, const char *error)
{
        belay__v1__exit__init(&ret->exit);
        ret->exited_at = belay_timestamp(&exit->at);
        ret->exit.exited_at = &ret->exited_at;
        ret->exit.exit_status = exit->status;
        ret->exit.reason = (char *)record_reason_name(exit->reason);
        if (error)
                ret->exit.error = (char *)error;
}
