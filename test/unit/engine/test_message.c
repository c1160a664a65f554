/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages between shim, stage and init.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/message.h"

#include "test/unit/unit.h"

static int reads_to_fail;

/* In libc's place, for the engine. */
ssize_t read(int fd, void *buf, size_t n)
{
        if (reads_to_fail > 0) {
                reads_to_fail--;
                errno = ENOMEM;
                return -1;
        }
        return syscall(SYS_read, fd, buf, n);
}

static void make_pair(int *socks)
{
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
}

static void an_error_arrives_with_code_errno_and_text(void **state)
{
        struct error err = ERROR_INIT;
        struct error got = ERROR_INIT;
        struct message msg;
        int socks[2];

        make_pair(socks);
        (void)error_errno(&err, ENOENT, "open 'x'");
        assert_int_equal(message_send_error(socks[0], MESSAGE_ERROR, &err), 0);
        assert_int_equal(message_recv(socks[1], &msg, NULL, NULL), 1);
        assert_int_equal(msg.type, MESSAGE_ERROR);
        message_get_error(&msg, &got);
        assert_int_equal(got.code, STATUS_UNKNOWN);
        assert_int_equal(got.errnum, ENOENT);
        assert_string_equal(got.msg, "open 'x': No such file or directory");
        close(socks[0]);
        assert_int_equal(message_recv(socks[1], &msg, NULL, NULL), 0);
        close(socks[1]);
}

static void an_error_without_a_code_is_still_an_error(void **state)
{
        struct message msg = {.type = MESSAGE_ERROR};
        struct error got = ERROR_INIT;

        memset(msg.text, 'x', sizeof(msg.text));
        message_get_error(&msg, &got);
        assert_int_equal(got.code, STATUS_UNKNOWN);
        assert_int_equal(strlen(got.msg), ERROR_TEXT_MAX - 1);
}

static void a_descriptor_travels_beside_the_message(void **state)
{
        struct message msg = {.type = MESSAGE_CLONED, .value = 42};
        int socks[2];
        int fds[2] = {-1, -1};
        size_t n_fds = 2;

        make_pair(socks);
        assert_int_equal(message_send(socks[0], &msg, &socks[0], 1), 0);
        assert_int_equal(message_recv(socks[1], &msg, fds, &n_fds), 1);
        assert_int_equal(msg.value, 42);
        assert_int_equal(n_fds, 1);
        assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
        close(fds[0]);
        close(socks[0]);
        close(socks[1]);
}

static void nonsense_is_told_from_a_message(void **state)
{
        struct message msg = {.type = _MESSAGE_TYPE_MAX};
        int socks[2];

        make_pair(socks);
        assert_int_equal(write(socks[0], "abc", 3), 3);
        assert_int_equal(message_recv(socks[1], &msg, NULL, NULL), -EBADMSG);
        msg.type = _MESSAGE_TYPE_MAX;
        assert_int_equal(message_write(socks[0], &msg), 0);
        assert_int_equal(message_read(socks[1], &msg), -EBADMSG);
        msg.type = MESSAGE_GO;
        assert_int_equal(message_write(socks[0], &msg), 0);
        assert_int_equal(message_read(socks[1], &msg), 1);
        close(socks[0]);
        close(socks[1]);
}

static void a_peer_that_is_gone_is_an_error_and_no_signal(void **state)
{
        int socks[2];

        make_pair(socks);
        close(socks[1]);
        assert_int_equal(message_send_simple(socks[0], MESSAGE_GO, 0), -EPIPE);
        close(socks[0]);
}

static void last_words_are_heard_of_a_peer_that_did_not_listen(void **state)
{
        struct message msg;
        int socks[2];

        make_pair(socks);
        assert_int_equal(message_send_simple(socks[0], MESSAGE_GO, 0), 0);
        assert_int_equal(message_send_simple(socks[1], MESSAGE_READY, 7), 0);
        close(socks[1]); /* with GO unread */
        assert_int_equal(message_recv(socks[0], &msg, NULL, NULL), 1);
        assert_int_equal(msg.value, 7);
        assert_int_equal(message_recv(socks[0], &msg, NULL, NULL), 0);
        close(socks[0]);
}

static void who_waits_at_the_gate_is_patient(void **state)
{
        struct message msg;
        int socks[2];

        make_pair(socks);
        assert_int_equal(message_send_simple(socks[0], MESSAGE_GO, 0), 0);
        reads_to_fail = 5;
        assert_int_equal(message_read(socks[1], &msg), 1);
        assert_int_equal(msg.type, MESSAGE_GO);
        reads_to_fail = 1000;
        assert_int_equal(message_read(socks[1], &msg), -ENOMEM);
        reads_to_fail = 0;
        close(socks[0]);
        close(socks[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_error_arrives_with_code_errno_and_text),
                cmocka_unit_test(an_error_without_a_code_is_still_an_error),
                cmocka_unit_test(a_descriptor_travels_beside_the_message),
                cmocka_unit_test(nonsense_is_told_from_a_message),
                cmocka_unit_test(last_words_are_heard_of_a_peer_that_did_not_listen),
                cmocka_unit_test(a_peer_that_is_gone_is_an_error_and_no_signal),
                cmocka_unit_test(who_waits_at_the_gate_is_patient),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
