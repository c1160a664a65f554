/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of a process's stdio, for stdio.c (its life) and stdio_state.c (its way into another
 * image of the process). Private to the package.
 */
#pragma once

#include "pkg/io/logger.h"
#include "pkg/io/relay.h"
#include "pkg/io/stdio.h"
#include "pkg/io/uri.h"

enum { STDIO_STREAMS = 3 };

struct io_stdio {
        struct loop *loop;
        bool terminal;
        bool has_process;
        bool exited;
        bool drained;
        bool ready;
        enum io_target out_target;
        bool has_size; /* a resize that came before the terminal */
        uint16_t width;
        uint16_t height;
        int child[STDIO_STREAMS];
        int keep[STDIO_STREAMS];
        int late[STDIO_STREAMS];
        struct loop_timer *late_timer;
        uint64_t late_pause_ns;
        int relay_input; /* until the relay takes them */
        int relay_output;
        struct io_relay *relay;
        char *console; /* the socket that gets the terminal; NULL: we relay */
        struct io_logger *logger;
        struct io_ring *ring; /* of the relay, without a logger */
        void (*ready_fn)(const struct error *err, void *userdata);
        void *ready_userdata;
        void (*report_fn)(const char *text, void *userdata);
        void *report_userdata;
        void (*change_fn)(void *userdata);
        void *change_userdata;
        struct loop_deferred on_drained;
        void (*drained_fn)(void *userdata);
        void *drained_userdata;
};

/* Without any descriptor yet. */
struct io_stdio *stdio_alloc(const struct io_stdio_config *config, struct error *err);

struct io_logger_config stdio_logger_config(struct io_stdio *s, const struct io_uri *uri,
                                            const struct io_stdio_config *config);

/* Something has happened by itself that another image of the process must know of. */
void stdio_on_change(void *userdata);

/* The relay has ended. */
void stdio_on_relay_end(void *userdata);

/* All has been said: whoever has not come yet is waited for no longer than until it comes. */
void stdio_look_late(struct io_stdio *s);
