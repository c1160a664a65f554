/* SPDX-License-Identifier: Apache-2.0
 *
 * belay's input: read when it is wanted, but a terminal always.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "cmd/belay/source.h"
#include "test/unit/unit.h"

static void on_news(void *userdata)
{
        loop_quit(userdata);
}

static void on_timer(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

/* Rounds of the loop, in which everything that is ready has its turn. */
static void settle(struct loop *loop)
{
        struct loop_timer *timer = loop_timer_new(loop, on_timer, loop);

        assert_int_equal(loop_timer_set(timer, 20000000), 0);
        while (loop_timer_is_set(timer))
                assert_int_equal(loop_run(loop, NULL), 0);
        loop_timer_free(timer);
}

static struct source *input_of(struct loop *loop, int fd, const struct detach_keys *keys)
{
        struct error err = ERROR_INIT;
        struct source *input = NULL;

        assert_int_equal(source_new(&input, loop, fd, keys, on_news, loop, &err), 0);
        return input;
}

static struct loop *loop_of(void)
{
        struct loop *loop = NULL;

        assert_int_equal(loop_new(&loop, NULL), 0);
        return loop;
}

static void has(const struct source *input, const char *text)
{
        size_t len = 0;
        const uint8_t *bytes = source_bytes(input, &len);

        assert_int_equal(len, strlen(text));
        assert_memory_equal(bytes, text, len);
}

static void a_pipe_is_read_only_when_it_is_wanted(void **state)
{
        struct loop *loop = loop_of();
        struct source *input;
        int fds[2];

        (void)state;
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        input = input_of(loop, fds[0], NULL);
        assert_int_equal(fd_write_all(fds[1], "one", 3), 0);
        settle(loop);
        has(input, "");
        source_want(input, true);
        settle(loop);
        has(input, "one");
        assert_int_equal(fd_write_all(fds[1], "two", 3), 0);
        fd_close(fds[1]);
        source_take(input, 1);
        settle(loop);
        has(input, "ne");
        source_take(input, 2);
        settle(loop);
        has(input, "two");
        assert_false(source_has_ended(input));
        source_take(input, 3);
        settle(loop);
        assert_true(source_has_ended(input));
        source_free(input);
        loop_free(loop);
        fd_close(fds[0]);
}

static void a_file_is_read_to_its_end(void **state)
{
        _cleanup_close_ int file = memfd_create("input", MFD_CLOEXEC);
        struct loop *loop = loop_of();
        struct source *input = input_of(loop, file, NULL);

        (void)state;
        assert_int_equal(fd_write_all(file, "text", 4), 0);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        settle(loop);
        has(input, "");
        source_want(input, true);
        settle(loop);
        has(input, "text");
        source_take(input, 4);
        settle(loop);
        assert_true(source_has_ended(input));
        source_free(input);
        loop_free(loop);
}

static int open_pty(int *ret_slave)
{
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct termios mode;

        assert_true(master >= 0);
        assert_int_equal(grantpt(master), 0);
        assert_int_equal(unlockpt(master), 0);
        *ret_slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(*ret_slave >= 0);
        assert_int_equal(tcgetattr(*ret_slave, &mode), 0);
        cfmakeraw(&mode);
        assert_int_equal(tcsetattr(*ret_slave, TCSANOW, &mode), 0);
        return master;
}

/* However much has been typed that nobody takes. */
static void detach_keys_are_seen_also_when_nothing_is_wanted(void **state)
{
        struct loop *loop = loop_of();
        struct detach_keys keys;
        struct source *input;
        char line[1000];
        size_t len = 0;
        int slave = -1;
        int master = open_pty(&slave);

        (void)state;
        memset(line, 'x', sizeof(line));
        assert_int_equal(detach_keys_parse(DETACH_KEYS_DEFAULT, &keys, NULL), 0);
        input = input_of(loop, slave, &keys);
        for (int i = 0; i < 100; i++) {
                assert_int_equal(fd_write_all(master, line, sizeof(line)), 0);
                settle(loop);
        }
        assert_false(source_is_detach(input));
        (void)source_bytes(input, &len);
        assert_true(len > 4096 && len < 100 * sizeof(line));
        assert_int_equal(fd_write_all(master, "\x10\x11", 2), 0);
        settle(loop);
        assert_true(source_is_detach(input));
        source_free(input);
        loop_free(loop);
        fd_close(master);
        fd_close(slave);
}

/* A file that holds the keys is not typed. */
static void in_a_pipe_detach_keys_are_bytes(void **state)
{
        struct loop *loop = loop_of();
        struct detach_keys keys;
        struct source *input;
        int fds[2];

        (void)state;
        assert_int_equal(detach_keys_parse(DETACH_KEYS_DEFAULT, &keys, NULL), 0);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        input = input_of(loop, fds[0], &keys);
        source_want(input, true);
        assert_int_equal(fd_write_all(fds[1], "\x10\x11", 2), 0);
        settle(loop);
        has(input, "\x10\x11");
        assert_false(source_is_detach(input));
        source_free(input);
        loop_free(loop);
        fd_close(fds[0]);
        fd_close(fds[1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_pipe_is_read_only_when_it_is_wanted),
                cmocka_unit_test(a_file_is_read_to_its_end),
                cmocka_unit_test(detach_keys_are_seen_also_when_nothing_is_wanted),
                cmocka_unit_test(in_a_pipe_detach_keys_are_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
