/* SPDX-License-Identifier: Apache-2.0
 *
 * See client.h.
 */
#include "test/unit/ttrpc/client.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "pkg/base/cleanup.h"

#include "test/unit/unit.h"

const ProtobufCServiceDescriptor *const client_service = &test__ttrpc__echo__descriptor;

struct ttrpc_client *client_on_pair(struct client_test *t, int *ret_fd)
{
        struct ttrpc_client *client = NULL;
        struct error err = ERROR_INIT;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(ttrpc_client_new_take(&client, t->h.loop, fds[0], &err), 0);
        *ret_fd = fds[1];
        return client;
}

int client_setup(void **state)
{
        static struct client_test t;
        int fd = -1;

        memset(&t, 0, sizeof(t));
        harness_init(&t.h, NULL);
        t.client = client_on_pair(&t, &fd);
        assert_int_equal(ttrpc_server_adopt_consume(t.h.server, fd, NULL), 0);
        t.raw = client_on_pair(&t, &fd);
        peer_init_fd(&t.peer, t.h.loop, fd);
        *state = &t;
        return 0;
}

int client_teardown(void **state)
{
        struct client_test *t = *state;

        ttrpc_client_free(t->client);
        ttrpc_client_free(t->raw);
        peer_deinit(&t->peer);
        harness_deinit(&t->h);
        return 0;
}

void client_on_response(const struct error *err, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoResponse *response = (const void *)message;
        struct client_test *t = userdata;

        assert_true(!err == !!message);
        t->n_done++;
        t->err = err ? *err : ERROR_INIT;
        t->text[0] = '\0';
        if (response) {
                (void)snprintf(t->text, sizeof(t->text), "%s", response->text);
                t->n_data = response->data.len;
        }
        if (t->free_in_callback) {
                /* Freeing ends calls, which gets here again. */
                ttrpc_client_free(TAKE_PTR(t->raw));
                ttrpc_client_free(TAKE_PTR(t->client));
        }
        if (t->n_done >= t->wait_done)
                loop_quit(t->h.loop);
}

int client_start_call(struct client_test *t, struct ttrpc_client *client, unsigned method,
                      const char *text, uint64_t number, const struct ttrpc_call_options *options,
                      struct error *err)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;

        request.text = (char *)text;
        request.number = number;
        return ttrpc_client_call(client, client_service, method, &request.base, options,
                                 client_on_response, t, err);
}

void client_must_call(struct client_test *t, struct ttrpc_client *client, unsigned method,
                      const char *text)
{
        struct error err = ERROR_INIT;
        size_t n_done = t->n_done;

        assert_int_equal(client_start_call(t, client, method, text, 0, NULL, &err), 0);
        assert_int_equal(t->n_done, n_done);
}

void client_wait_for(struct client_test *t, size_t n_done)
{
        t->wait_done = n_done;
        while (t->n_done < n_done)
                assert_int_equal(loop_run(t->h.loop, NULL), 0);
        t->wait_done = 0;
}

void client_answer_raw(struct client_test *t, uint32_t id, uint8_t type, const char *body,
                       size_t len)
{
        peer_send_frame(&t->peer, id, type, 0, body, len);
}
