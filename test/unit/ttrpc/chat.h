/* SPDX-License-Identifier: Apache-2.0
 *
 * A service that streams, on a harness's server: it counts, sums up, and sends back. What it has
 * seen is in chat_log, anew for each test.
 */
#pragma once

#include "test/unit/ttrpc/harness.h"

/* Its methods, and what each of them streams. */
enum { CHAT_COUNT, CHAT_SUM, CHAT_TALK, _CHAT_METHODS_MAX };
extern const enum ttrpc_kind chat_kinds[_CHAT_METHODS_MAX];

struct chat_log {
        size_t n_cancelled, n_messages, n_half_closed, n_rooms, n_unused_rooms, n_live;
};
extern struct chat_log chat_log;

/* A harness with such a server; its harness_deinit() is as ever. */
void chat_init(struct harness *h, const struct ttrpc_server_options *options);

/* Sends a Request of the service whose payload is given. */
void chat_open(struct peer *p, uint32_t id, uint8_t flags, const char *method, const char *payload);

/* For cmocka; the state is the harness. The teardown asserts that no stream is left. */
int chat_setup(void **state);
int chat_teardown(void **state);
