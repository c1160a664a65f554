/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors that are held for another process image. Here nothing is executed: what would come
 * along is what is not CLOEXEC.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/containerd-shim-belay-v2/held.h"
#include "test/unit/unit.h"

static ino_t inode(int fd)
{
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        return st.st_ino;
}

static void what_was_closed_is_put_back_under_its_number(void **state)
{
        struct held held;
        int pair[2];
        ino_t inodes[2];

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        for (int i = 0; i < 2; i++) {
                inodes[i] = inode(pair[i]);
                assert_int_equal(fcntl(pair[i], F_SETFD, 0), 0);
        }
        assert_int_equal(held_init(&held, true, NULL), 0);
        (void)close(pair[0]);
        (void)close(pair[1]);
        assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC), pair[0]);
        held_put_back(&held);
        for (int i = 0; i < 2; i++) {
                assert_int_equal(inode(pair[i]), inodes[i]);
                assert_int_equal(fcntl(pair[i], F_GETFD), 0);
        }
        held_deinit(&held);
        (void)close(pair[0]);
        (void)close(pair[1]);
}

static void nobody_sees_a_hangup_until_it_is_let_go(void **state)
{
        struct pollfd p = {.events = POLLIN};
        struct held held;
        int pair[2];

        (void)state;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(fcntl(pair[1], F_SETFD, 0), 0);
        p.fd = pair[0];
        assert_int_equal(held_init(&held, true, NULL), 0);
        (void)close(pair[1]);
        assert_int_equal(poll(&p, 1, 0), 0);
        held_deinit(&held);
        assert_int_equal(poll(&p, 1, 0), 1);
        (void)close(pair[0]);
}

static void what_is_cloexec_is_this_images_own(void **state)
{
        struct held held;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void)state;
        assert_int_equal(held_init(&held, true, NULL), 0);
        (void)close(fd);
        held_put_back(&held);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        held_deinit(&held);
}

static void what_was_claimed_is_listed_and_goes_along_again(void **state)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct held held;
        int own;

        (void)state;
        assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
        assert_int_equal(held_init(&held, false, NULL), 0);
        assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
        own = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(own, fd + 1); /* no copy was made */
        held_put_back(&held);
        assert_int_equal(fcntl(fd, F_GETFD), 0);
        assert_int_equal(fcntl(own, F_GETFD), FD_CLOEXEC);
        held_deinit(&held);
        (void)close(fd);
        (void)close(own);
}

static void a_copy_is_known_as_one(void **state)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct held held;

        (void)state;
        assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
        assert_int_equal(held_init(&held, true, NULL), 0);
        assert_false(held_is_copy(&held, fd));
        assert_true(held_is_copy(&held, fd + 1));
        assert_false(held_is_copy(&held, -1));
        held_deinit(&held);
        (void)close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_closed_is_put_back_under_its_number),
                cmocka_unit_test(nobody_sees_a_hangup_until_it_is_let_go),
                cmocka_unit_test(what_is_cloexec_is_this_images_own),
                cmocka_unit_test(what_was_claimed_is_listed_and_goes_along_again),
                cmocka_unit_test(a_copy_is_known_as_one),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
