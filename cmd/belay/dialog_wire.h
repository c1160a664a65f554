/* SPDX-License-Identifier: Apache-2.0
 *
 * Attach and ExecStream of belay.v1 say the same things in messages of their own: here is what they
 * say. Pure but for the sending.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/ttrpc/ttrpc.h"

/* What the shim says. Pointers are good as long as the message. */
struct dialog_event {
        enum {
                DIALOG_NOTHING, /* of a newer shim */
                DIALOG_STARTED,
                DIALOG_OUTPUT,
                DIALOG_GRANT,
                DIALOG_EXIT,
        } what;
        bool terminal; /* started: of Attach */
        bool is_stderr;
        const uint8_t *data;
        size_t len;
        uint64_t granted;
        uint32_t exit_status;
        const char *error; /* exit: why it could not be started; "" if it was */
};

/* What we say. */
struct dialog_word {
        enum { DIALOG_INPUT, DIALOG_RESIZE, DIALOG_END_INPUT, DIALOG_SIGNAL } what;
        const uint8_t *data;
        size_t len;
        uint16_t width;
        uint16_t height;
        int signo; /* ExecStream only */
};

struct dialog_wire {
        const char *method; /* of the service */
        struct dialog_event (*read)(const ProtobufCMessage *message);
        int (*send)(struct ttrpc_client_stream *stream, const struct dialog_word *word,
                    struct error *err);
};

extern const struct dialog_wire dialog_wire_attach;
extern const struct dialog_wire dialog_wire_exec;
