/* SPDX-License-Identifier: Apache-2.0
 *
 * A server in a process of its own (image.c), which executes itself again when it is told to and
 * where it crashes. The peers are the harness's, here without a server.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "pkg/loop/loop.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/ttrpc/image.h"
#include "test/unit/unit.h"

struct world {
        struct loop *loop;
        struct loop_timer *guard;
        struct sockaddr_un address;
        socklen_t n_address;
        int listener;
        int memory_fd;
        int control_fd;
        volatile struct control *control;
        pid_t pid;
        struct peer peer;
};

/* The program, once. */
void world_set_image(const char *path);

/* All but the process, so that its crashes can be planned in control; then the process. */
void world_start(struct world *w);
void world_serve(struct world *w);
void world_stop(struct world *w);

void world_assert_alive(const struct world *w);

/* From now on it cannot have one more descriptor. */
void world_limit_fds(const struct world *w);

/* As planned; it is the next image when this returns. */
void world_reexec(struct world *w);

/* One more peer. */
void world_connect(struct world *w, struct peer *p);

/* Until the server has read all that the peer wrote; until it has seen a number n times. */
void world_wait_taken(struct world *w, const struct peer *p);
void world_wait_seen(struct world *w, size_t number, unsigned n);

/* ---- Frames ---- */

uint8_t *echo_frame(uint32_t id, const char *method, const char *text, uint64_t number,
                    size_t n_data, size_t *ret_len);

/* Opens a Count of so many messages. */
void count_open(struct peer *p, uint32_t id, uint64_t number);

/* Opens a Talk. */
void talk_open(struct peer *p, uint32_t id);
void talk_say(struct peer *p, uint32_t id, const char *text, uint64_t number);
void talk_expect(struct peer *p, uint32_t id, const char *text);
