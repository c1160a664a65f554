/* SPDX-License-Identifier: Apache-2.0
 *
 * A loop with the real server on it and, at the other end of a socketpair, a peer that writes and
 * reads raw bytes. Everything runs in one thread: the peer's socket is on the loop, too, and a test
 * runs the loop until what it waits for has come. A guard timer ends a test that waits for nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/loop/loop.h"
#include "pkg/ttrpc/frame.h"
#include "pkg/ttrpc/ttrpc.h"
#include "pkg/ttrpc/wire.h"

#include "test/unit/ttrpc/echo.pb-c.h"

enum { KEPT_MAX = 5000 };

struct peer {
        struct loop *loop;
        struct loop_io *io;
        int fd;
        bool eof;
        bool paused; /* does not read */
        uint8_t *in;
        size_t n_in;
        size_t n_room;
        size_t wait_bytes; /* quits the loop when so many are there */
};

struct harness {
        struct loop *loop;
        struct loop_timer *guard;
        struct ttrpc_server *server;
        struct peer peer;

        /* What the service has seen. */
        struct ttrpc_call *kept[KEPT_MAX];
        size_t n_kept;
        size_t n_cancelled;
        size_t n_echoed;
        bool cancellable; /* Keep registers on_cancel */
        size_t n_connections;
        void (*hook)(struct harness *h, struct ttrpc_call *call);
        void *hook_userdata;
};

/* A decoded answer; text and payload are NUL-terminated copies that the next read overwrites. */
struct answer {
        struct ttrpc_frame frame;
        int code;
        char text[8192];
        const uint8_t *payload;
        size_t n_payload;
};

void harness_init(struct harness *h, const struct ttrpc_server_options *options);
void harness_deinit(struct harness *h);

/* Rounds of the loop, enough for whatever is under way between sockets of one machine. */
void harness_settle(struct harness *h);
void loop_settle(struct loop *loop);

/* Connects another peer to the server. */
void peer_init(struct peer *p, struct harness *h);

/* A peer of whoever holds the other end of fd, which belongs to the peer from now on. */
void peer_init_fd(struct peer *p, struct loop *loop, int fd);
void peer_deinit(struct peer *p);
void peer_write(struct peer *p, const void *data, size_t len); /* all of it, running the loop */
void peer_pause(struct peer *p, bool paused);

/* Runs the loop until a whole frame is there; fails the test at EOF. */
void peer_read(struct peer *p, struct answer *ret);

/* The same for any frame, of which the peer keeps nothing; its bytes are on the heap. */
uint8_t *peer_read_bytes(struct peer *p, size_t *ret_len);
void peer_wait_eof(struct peer *p);

/* Bytes of a frame, or of a Request in a frame, on the heap. */
uint8_t *frame_new(uint32_t id, uint8_t type, uint8_t flags, const void *body, size_t len,
                   size_t *ret_len);
uint8_t *request_new(uint32_t id, const char *method, const Test__Ttrpc__EchoRequest *request,
                     int64_t timeout_ns, size_t *ret_len);

/* Sends such a request, of the service Echo. */
void peer_call(struct peer *p, uint32_t id, const char *method, const char *text, uint64_t number);
void peer_call_timeout(struct peer *p, uint32_t id, const char *method, const char *text,
                       int64_t timeout_ns);
void peer_send_frame(struct peer *p, uint32_t id, uint8_t type, uint8_t flags, const void *body,
                     size_t len);

/* Reads an answer and asserts what it says. */
void peer_expect_status(struct peer *p, uint32_t id, int code, const char *text);
void peer_expect_echo(struct peer *p, uint32_t id, const char *text);

/* Answers a kept call. */
void kept_reply(struct harness *h, size_t i, const char *text);
