/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of the client: one that is connected to the harness's server, and one whose peer is the
 * test, which answers whatever it likes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "test/unit/ttrpc/harness.h"

enum { METHOD_ECHO, METHOD_KEEP, METHOD_FAIL, METHOD_GROW, METHOD_HOOK, METHOD_NOBODY };

struct client_test {
        struct harness h;
        struct ttrpc_client *client; /* of the harness's server */
        struct ttrpc_client *raw;    /* of peer */
        struct peer peer;

        size_t n_done; /* calls that have ended, and how the last one did */
        struct error err;
        char text[64];
        size_t n_data;
        size_t wait_done;
        size_t n_closed;
        bool free_in_callback;
};

/* For cmocka_unit_test_setup_teardown(). */
int client_setup(void **state);
int client_teardown(void **state);

extern const ProtobufCServiceDescriptor *const client_service;

/* Its other end is the caller's. */
struct ttrpc_client *client_on_pair(struct client_test *t, int *ret_fd);

/* Notes what has come; the userdata is the test. */
void client_on_response(const struct error *err, const ProtobufCMessage *message, void *userdata);

int client_start_call(struct client_test *t, struct ttrpc_client *client, unsigned method,
                      const char *text, uint64_t number, const struct ttrpc_call_options *options,
                      struct error *err);

/* That succeeds, and does not end within. */
void client_must_call(struct client_test *t, struct ttrpc_client *client, unsigned method,
                      const char *text);

/* Until so many calls have ended, of all. */
void client_wait_for(struct client_test *t, size_t n_done);

/* The peer's answer. */
void client_answer_raw(struct client_test *t, uint32_t id, uint8_t type, const char *body,
                       size_t len);
