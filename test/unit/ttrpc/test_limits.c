/* SPDX-License-Identifier: Apache-2.0
 *
 * Every limit of limits.h, from both sides where that is cheap, and what is left of the server
 * after it was reached: all of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/fd.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

static int setup(void **state)
{
        static struct harness h;

        harness_init(&h, NULL);
        *state = &h;
        return 0;
}

static int teardown(void **state)
{
        harness_deinit(*state);
        return 0;
}

static void expect_alive(struct harness *h, uint32_t id)
{
        peer_call(&h->peer, id, "Echo", "alive", 0);
        peer_expect_echo(&h->peer, id, "alive");
}

/* A request for Echo whose frame body has exactly so many bytes; the rest is an unknown field. */
static uint8_t *request_of_size(uint32_t id, size_t n_body, size_t *ret_len)
{
        static const char head[] = "\x0a\x0ftest.ttrpc.Echo\x12\x04"
                                   "Echo\x7a";
        size_t n_head = sizeof(head) - 1;
        size_t rest = n_body - n_head - 4;
        uint8_t *body = calloc(1, n_body);
        uint8_t *frame;

        assert_non_null(body);
        memcpy(body, head, n_head);
        for (int i = 0; i < 4; i++)
                body[n_head + (size_t)i] = (uint8_t)((rest >> 7 * i & 0x7f) | (i < 3 ? 0x80 : 0));
        frame = frame_new(id, TTRPC_FRAME_REQUEST, 0, body, n_body, ret_len);
        free(body);
        return frame;
}

static void a_frame_of_the_largest_size_is_served(void **state)
{
        struct harness *h = *state;
        size_t len = 0;
        uint8_t *bytes = request_of_size(1, TTRPC_MESSAGE_MAX, &len);

        assert_int_equal(len, TTRPC_MESSAGE_MAX + TTRPC_HEADER_SIZE);
        peer_write(&h->peer, bytes, len);
        peer_expect_echo(&h->peer, 1, "");
        free(bytes);
}

static void a_larger_frame_is_thrown_away_and_refused(void **state)
{
        struct harness *h = *state;
        size_t len = 0;
        uint8_t *bytes = request_of_size(1, TTRPC_MESSAGE_MAX + 1, &len);

        peer_write(&h->peer, bytes, len - 1);
        harness_settle(h);
        assert_int_equal(h->peer.n_in, 0);
        peer_write(&h->peer, bytes + len - 1, 1);
        peer_expect_status(&h->peer, 1, STATUS_RESOURCE_EXHAUSTED,
                           "message length 4194305 exceed maximum message size of 4194304");
        expect_alive(h, 1);
        free(bytes);
}

/* The length of an answer: its envelope is 5 bytes, its one field 5 more. */
static void an_answer_that_is_too_large_becomes_a_status(void **state)
{
        struct harness *h = *state;
        size_t len = 0;
        uint8_t *bytes;

        peer_call(&h->peer, 1, "Grow", "", TTRPC_MESSAGE_MAX - 10);
        bytes = peer_read_bytes(&h->peer, &len);
        assert_int_equal(len, TTRPC_MESSAGE_MAX + TTRPC_HEADER_SIZE);
        free(bytes);
        peer_call(&h->peer, 3, "Grow", "", TTRPC_MESSAGE_MAX - 9);
        peer_expect_status(&h->peer, 3, STATUS_RESOURCE_EXHAUSTED,
                           "message length 4194305 exceed maximum message size of 4194304");
        expect_alive(h, 5);
}

static void an_explosion_is_refused(void **state)
{
        enum { N_ITEMS = 2000000 };
        static const char head[] = "\x0a\x0ftest.ttrpc.Echo\x12\x04"
                                   "Echo\x1a\x80\x92\xf4\x01"; /* 4,000,000 */
        struct harness *h = *state;
        size_t n_head = sizeof(head) - 1;
        uint8_t *body = calloc(1, n_head + 2 * (size_t)N_ITEMS);

        assert_non_null(body);
        memcpy(body, head, n_head);
        for (size_t i = 0; i < N_ITEMS; i++)
                body[n_head + 2 * i] = 0x2a;
        peer_send_frame(&h->peer, 1, TTRPC_FRAME_REQUEST, 0, body, n_head + 2 * (size_t)N_ITEMS);
        peer_expect_status(&h->peer, 1, STATUS_RESOURCE_EXHAUSTED,
                           "ttrpc: payload of 4000000 bytes needs too much memory as a "
                           "test.ttrpc.EchoRequest");
        expect_alive(h, 3);
        free(body);
}

static void calls_without_an_answer_are_limited(void **state)
{
        struct harness *h = *state;
        uint32_t id = 1;

        for (int i = 0; i < TTRPC_CALLS_PER_CONNECTION_MAX; i++, id += 2)
                peer_call(&h->peer, id, "Keep", "", 0);
        peer_call(&h->peer, id, "Keep", "", 0);
        peer_expect_status(&h->peer, id, STATUS_RESOURCE_EXHAUSTED,
                           "ttrpc: 4096 calls are without an answer already");
        assert_int_equal(h->n_kept, TTRPC_CALLS_PER_CONNECTION_MAX);
        kept_reply(h, 4000, "one goes");
        peer_expect_echo(&h->peer, 8001, "one goes");
        expect_alive(h, id + 2);
}

static void calls_that_nobody_waits_for_count_too(void **state)
{
        struct harness *h = *state;
        struct peer other;

        peer_init(&other, h);
        for (uint32_t i = 0; i < TTRPC_CALLS_PER_CONNECTION_MAX; i++)
                peer_call(&other, 2 * i + 1, "Keep", "", 0);
        harness_settle(h);
        while (h->n_kept < TTRPC_CALLS_PER_CONNECTION_MAX)
                harness_settle(h);
        peer_deinit(&other);
        harness_settle(h);
        peer_call(&h->peer, 1, "Echo", "", 0);
        peer_expect_status(&h->peer, 1, STATUS_RESOURCE_EXHAUSTED,
                           "ttrpc: 4096 calls are without an answer already");
        kept_reply(h, 17, "");
        expect_alive(h, 3);
}

static void what_kept_calls_hold_together_is_limited(void **state)
{
        struct harness *h = *state;
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        enum { N = 4000000, FIT = TTRPC_CALL_BYTES_MAX / N };
        uint8_t *data = calloc(1, N);
        uint32_t id = 1;

        assert_non_null(data);
        request.data.data = data;
        request.data.len = N;
        for (int i = 0; i <= FIT; i++, id += 2) {
                size_t len = 0;
                uint8_t *bytes = request_new(id, "Keep", &request, 0, &len);

                peer_write(&h->peer, bytes, len);
                free(bytes);
        }
        peer_expect_status(&h->peer, id - 2, STATUS_RESOURCE_EXHAUSTED,
                           "ttrpc: calls without an answer hold too much memory");
        assert_int_equal(h->n_kept, FIT);
        kept_reply(h, 0, "one goes");
        peer_expect_echo(&h->peer, 1, "one goes");
        expect_alive(h, id);
        free(data);
}

static void a_peer_that_does_not_read_is_still_read(void **state)
{
        enum { N = 10000 };
        struct harness *h = *state;

        peer_pause(&h->peer, true);
        for (uint32_t i = 0; i < N; i++)
                peer_call(&h->peer, 2 * i + 1, "Echo", "two hundred bytes would be too much to ask",
                          0);
        while (h->n_echoed < N)
                harness_settle(h);
        assert_true(ttrpc_server_has_queued(h->server));
        peer_pause(&h->peer, false);
        for (uint32_t i = 0; i < N; i++)
                peer_expect_echo(&h->peer, 2 * i + 1, "two hundred bytes would be too much to ask");
}

static void a_peer_that_never_reads_is_dropped(void **state)
{
        struct harness *h = *state;
        struct peer other;

        peer_init(&other, h);
        peer_pause(&other, true);
        peer_call(&other, 1, "Keep", "", 0);
        for (uint32_t id = 3; id < 40; id += 2)
                peer_call(&other, id, "Grow", "", 1 << 20);
        while (ttrpc_server_n_connections(h->server) == 2)
                harness_settle(h);
        expect_alive(h, 1);
        kept_reply(h, 0, "late");
        peer_deinit(&other);
}

/* Each peer gets a turn per round, whatever the others have sent already. */
static void a_flood_of_one_peer_does_not_starve_another(void **state)
{
        enum { N = 20000 };
        struct harness *h = *state;
        struct peer other;
        uint8_t *all = NULL;
        size_t n_all = 0;
        int room = 8 << 20;
        ssize_t n;

        peer_init(&other, h);
        (void)setsockopt(other.fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
        for (uint32_t i = 0; i < N; i++) {
                Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
                size_t len = 0;
                uint8_t *bytes = request_new(2 * i + 1, "Echo", &request, 0, &len);

                all = all ? all : malloc(N * len * 2);
                assert_non_null(all);
                memcpy(all + n_all, bytes, len);
                n_all += len;
                free(bytes);
        }
        n = send(other.fd, all, n_all, MSG_DONTWAIT);
        assert_true(n > 100000);
        peer_call(&h->peer, 1, "Echo", "alive", 0);
        peer_expect_echo(&h->peer, 1, "alive");
        assert_in_range(h->n_echoed, 1, 1500);
        peer_deinit(&other);
        free(all);
}

/* ---- Accepting ---- */

static struct sockaddr_un test_address(void)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};

        /* An abstract name leaves nothing behind. */
        (void)snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "belay-test-ttrpc-%d",
                       (int)getpid());
        return sun;
}

static void start_listening(struct harness *h)
{
        struct sockaddr_un sun = test_address();
        struct error err = ERROR_INIT;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
        assert_int_equal(listen(fd, 1000), 0);
        assert_int_equal(ttrpc_server_listen_take(h->server, fd, &err), 0);
}

static int try_connect(int flags)
{
        struct sockaddr_un sun = test_address();
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

        if (fd >= 0 && connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
                return fd;
        return fd_close(fd);
}

static void connections_are_accepted_until_the_server_stops(void **state)
{
        struct harness *h = *state;
        struct peer other;

        start_listening(h);
        peer_init_fd(&other, h->loop, try_connect(0));
        peer_call(&other, 1, "Echo", "over a socket", 0);
        peer_expect_echo(&other, 1, "over a socket");
        ttrpc_server_stop_listening(h->server);
        assert_int_equal(try_connect(0), -1);
        assert_int_equal(errno, ECONNREFUSED);
        peer_call(&other, 3, "Echo", "still here", 0);
        peer_expect_echo(&other, 3, "still here");
        peer_deinit(&other);
}

static void connections_beyond_the_limit_wait_until_one_goes(void **state)
{
        struct harness *h = *state;
        int fds[TTRPC_CONNECTIONS_MAX];
        struct error err = ERROR_INIT;
        struct peer last;
        int pair[2];

        start_listening(h);
        for (int i = 0; i < TTRPC_CONNECTIONS_MAX; i++) {
                fds[i] = try_connect(0);
                assert_true(fds[i] >= 0);
        }
        harness_settle(h);
        while (ttrpc_server_n_connections(h->server) < TTRPC_CONNECTIONS_MAX)
                harness_settle(h);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(ttrpc_server_adopt_consume(h->server, pair[1], &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        fd_close(pair[0]);
        peer_init_fd(&last, h->loop, fds[TTRPC_CONNECTIONS_MAX - 1]);
        peer_call(&last, 1, "Echo", "made it", 0);
        harness_settle(h);
        assert_int_equal(last.n_in, 0);
        fd_close(fds[0]);
        peer_expect_echo(&last, 1, "made it");
        for (int i = 1; i < TTRPC_CONNECTIONS_MAX - 1; i++)
                fd_close(fds[i]);
        peer_deinit(&last);
}

static void a_server_without_descriptors_accepts_later(void **state)
{
        struct harness *h = *state;
        struct rlimit limit;
        struct rlimit tight;
        struct peer other;
        int fd;
        int top;

        start_listening(h);
        fd = try_connect(0);
        assert_true(fd >= 0);
        top = dup(fd); /* the lowest number that is free */
        fd_close(top);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        tight = (struct rlimit){.rlim_cur = (rlim_t)top, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        for (int i = 0; i < 10; i++)
                harness_settle(h);
        assert_int_equal(ttrpc_server_n_connections(h->server), 1);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        peer_init_fd(&other, h->loop, fd);
        peer_call(&other, 1, "Echo", "patience", 0);
        peer_expect_echo(&other, 1, "patience");
        peer_deinit(&other);
}

#define LIMIT_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                LIMIT_TEST(a_frame_of_the_largest_size_is_served),
                LIMIT_TEST(a_larger_frame_is_thrown_away_and_refused),
                LIMIT_TEST(an_answer_that_is_too_large_becomes_a_status),
                LIMIT_TEST(an_explosion_is_refused),
                LIMIT_TEST(calls_without_an_answer_are_limited),
                LIMIT_TEST(calls_that_nobody_waits_for_count_too),
                LIMIT_TEST(what_kept_calls_hold_together_is_limited),
                LIMIT_TEST(a_peer_that_does_not_read_is_still_read),
                LIMIT_TEST(a_peer_that_never_reads_is_dropped),
                LIMIT_TEST(a_flood_of_one_peer_does_not_starve_another),
                LIMIT_TEST(connections_are_accepted_until_the_server_stops),
                LIMIT_TEST(connections_beyond_the_limit_wait_until_one_goes),
                LIMIT_TEST(a_server_without_descriptors_accepts_later),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
