/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of belay.v1 that several of its methods send. Each is filled where it lies, since its
 * parts point to each other; what is given is borrowed for as long as the message is used.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "belay/v1/belay.pb-c.h"

struct process_exit;

struct belay_output {
        Belay__V1__Output output;
        Google__Protobuf__Timestamp time;
};

/* stream: LOG_STDOUT or LOG_STDERR. */
void belay_output_fill(struct belay_output *ret, uint8_t stream, const void *data, size_t len,
                       const struct timespec *at);

struct belay_exit {
        Belay__V1__Exit exit;
        Google__Protobuf__Timestamp exited_at;
};

/* error: why it could not be started; NULL otherwise. */
void belay_exit_fill(struct belay_exit *ret, const struct process_exit *exit, const char *error);

Google__Protobuf__Timestamp belay_timestamp(const struct timespec *ts);
