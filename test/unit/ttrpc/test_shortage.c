/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that has no memory for a while, for what a connection reads or sends: nothing is lost, and
 * it is not tried all the time.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/ttrpc/server.h"

#include "test/unit/ttrpc/chat.h"
#include "test/unit/unit.h"

/* How long it lasts. It is tried once in each LOOP_REST_NS, of which half is believed. */
#define SHORTAGE_NS (3 * LOOP_REST_NS)
enum { TRIES_MAX = 8, MAPS = -2 };

static struct {
        int fd;            /* of the server; MAPS: there is none for mappings */
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

/* For what is larger than a page or two. */
void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
        if (is_short_of_memory(MAPS))
                return MAP_FAILED;
        return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
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

/* Each message, and the end. */
static void a_message_of_a_stream_is_sent_when_there_is_memory(void **state)
{
        static struct harness h;

        (void)state;
        chat_init(&h, NULL);
        /* What it reads into, and what a call lives in, is there from now on. */
        peer_call(&h.peer, 1, "Echo", "before", 0);
        peer_expect_echo(&h.peer, 1, "before");
        begin_shortage(&h);
        shortage.fd = MAPS;
        chat_open(&h.peer, 3, TTRPC_FLAG_REMOTE_CLOSED, "Count", "\x0a\x05large\x18\x03");
        for (int i = 0; i < 4; i++) {
                size_t len = 0;
                uint8_t *bytes = peer_read_bytes(&h.peer, &len);
                struct ttrpc_frame frame = ttrpc_frame_decode(bytes);

                free(bytes);
                assert_int_equal(frame.type, TTRPC_FRAME_DATA);
                assert_int_equal(frame.flags & TTRPC_FLAG_REMOTE_CLOSED,
                                 i == 3 ? TTRPC_FLAG_REMOTE_CLOSED : 0);
        }
        check_tries();
        harness_deinit(&h);
        assert_int_equal(chat_log.n_live, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_request_is_read_when_there_is_memory),
                cmocka_unit_test(an_answer_is_sent_when_there_is_memory),
                cmocka_unit_test(a_message_of_a_stream_is_sent_when_there_is_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
