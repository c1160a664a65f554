/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that has no memory for a while, for what a connection reads or sends: nothing is lost, and
 * it is not tried all the time.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/ttrpc/server.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

/* How long it lasts. It is tried once in each LOOP_REST_NS, of which half is believed. */
#define SHORTAGE_NS (3 * LOOP_REST_NS)
enum { TRIES_MAX = 8 };

static struct {
        int fd;            /* of the server */
        uint64_t until_ns; /* 0: there is none */
        unsigned n_tries;
} shortage;

/* From the first try on. */
static bool is_short_of_memory(int fd)
{
        uint64_t now = clock_monotonic_ns();

        if (shortage.until_ns == 0 || fd != shortage.fd)
                return false;
        if (shortage.n_tries++ == 0)
                shortage.until_ns = now + SHORTAGE_NS;
        if (now >= shortage.until_ns)
                shortage.until_ns = 0;
        errno = ENOMEM;
        return shortage.until_ns > 0;
}

/* In libc's place. */
ssize_t recv(int fd, void *buf, size_t len, int flags)
{
        return is_short_of_memory(fd) ? -1 : syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
        return is_short_of_memory(fd) ? -1 : syscall(SYS_sendmsg, fd, msg, flags);
}

static void begin_shortage(const struct harness *h)
{
        const struct ttrpc_conn *conn = list_first(&h->server->conns, struct ttrpc_conn, node);

        assert_non_null(conn);
        shortage.fd = conn->fd;
        shortage.n_tries = 0;
        shortage.until_ns = UINT64_MAX;
}

static void check_tries(void)
{
        assert_int_equal(shortage.until_ns, 0);
        assert_in_range(shortage.n_tries, 2, TRIES_MAX);
}

static void a_request_is_read_when_there_is_memory(void **state)
{
        static struct harness h;

        (void)state;
        harness_init(&h, NULL);
        begin_shortage(&h);
        peer_call(&h.peer, 1, "Echo", "read later", 0);
        peer_expect_echo(&h.peer, 1, "read later");
        check_tries();
        harness_deinit(&h);
}

static void an_answer_is_sent_when_there_is_memory(void **state)
{
        static struct harness h;

        (void)state;
        harness_init(&h, NULL);
        peer_call(&h.peer, 1, "Keep", "", 0);
        while (h.n_kept == 0)
                harness_settle(&h);
        begin_shortage(&h);
        kept_reply(&h, 0, "sent later");
        peer_expect_echo(&h.peer, 1, "sent later");
        check_tries();
        harness_deinit(&h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_request_is_read_when_there_is_memory),
                cmocka_unit_test(an_answer_is_sent_when_there_is_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
