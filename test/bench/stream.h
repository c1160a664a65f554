/* SPDX-License-Identifier: Apache-2.0
 *
 * A client of Attach or of ExecStream that counts what comes, and throws it away.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "test/bench/client.h"
#include "test/bench/gate.h"

struct stream {
        struct client *c;
        struct ttrpc_client_stream *call;
        struct gate *gate; /* lets the payload on as bytes come; NULL: it runs freely */
        pid_t pid;         /* of the exec */
        bool started;
        bool ended;
        uint64_t received;
        uint64_t wanted; /* then the loop is left */
};

/* Both return when the shim has said that it has begun. */
void stream_attach(struct stream *s, struct client *c);
void stream_exec(struct stream *s, struct client *c, const char *process_json);

void stream_await(struct stream *s, uint64_t bytes);
void stream_await_end(struct stream *s); /* of an exec */
void stream_deinit(struct stream *s);
