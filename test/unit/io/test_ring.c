/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring of output: what readers see, alone and while another process writes as fast as it can.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/io/ring.h"

#include "test/unit/unit.h"

enum { RING = 4096 };

static struct io_ring *ring_new(size_t bytes)
{
        struct io_ring *ring = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(io_ring_new(&ring, bytes, &err), 0);
        return ring;
}

static void expect_chunk(struct io_ring *ring, uint64_t *place, uint8_t stream, const char *text)
{
        struct io_ring_chunk chunk;
        static char buf[RING];

        assert_int_equal(io_ring_read(ring, place, &chunk, buf), 1);
        assert_int_equal(chunk.stream, stream);
        assert_int_equal(chunk.len, strlen(text));
        assert_memory_equal(buf, text, chunk.len);
}

static void expect_end(struct io_ring *ring, uint64_t *place)
{
        struct io_ring_chunk chunk;
        static char buf[RING];

        assert_int_equal(io_ring_read(ring, place, &chunk, buf), 0);
}

static void what_was_written_is_read_in_order(void **state)
{
        struct io_ring *ring = ring_new(RING);
        size_t skip = 0;
        uint64_t place = io_ring_replay(ring, RING, &skip);

        expect_end(ring, &place);
        io_ring_write(ring, 1, 5, "one", 3);
        io_ring_write(ring, 2, 6, "two", 3);
        expect_chunk(ring, &place, 1, "one");
        expect_chunk(ring, &place, 2, "two");
        expect_end(ring, &place);
        io_ring_write(ring, 1, 7, "three", 5);
        expect_chunk(ring, &place, 1, "three");
        io_ring_free(ring);
}

static void a_chunk_has_its_time(void **state)
{
        struct io_ring *ring = ring_new(RING);
        struct io_ring_chunk chunk;
        uint64_t place = 0;
        static char buf[RING];

        io_ring_write(ring, 1, UINT64_C(1700000000123456789), "x", 1);
        assert_int_equal(io_ring_read(ring, &place, &chunk, buf), 1);
        assert_int_equal(chunk.time_ns, UINT64_C(1700000000123456789));
        io_ring_free(ring);
}

static void readers_do_not_disturb_each_other(void **state)
{
        struct io_ring *ring = ring_new(RING);
        uint64_t a = 0;
        uint64_t b = 0;

        io_ring_write(ring, 1, 0, "one", 3);
        expect_chunk(ring, &a, 1, "one");
        io_ring_write(ring, 1, 0, "two", 3);
        expect_chunk(ring, &b, 1, "one");
        expect_chunk(ring, &b, 1, "two");
        expect_chunk(ring, &a, 1, "two");
        io_ring_free(ring);
}

static void a_replay_is_as_long_as_was_asked_for(void **state)
{
        struct io_ring *ring = ring_new(RING);
        size_t skip = 0;
        uint64_t place;

        io_ring_write(ring, 1, 0, "aaaa", 4);
        io_ring_write(ring, 1, 0, "bbbb", 4);
        io_ring_write(ring, 2, 0, "cccc", 4);
        place = io_ring_replay(ring, 9, &skip);
        assert_int_equal(skip, 3);
        expect_chunk(ring, &place, 1, "aaaa");
        expect_chunk(ring, &place, 1, "bbbb");
        expect_chunk(ring, &place, 2, "cccc");
        expect_end(ring, &place);
        place = io_ring_replay(ring, 0, &skip);
        expect_end(ring, &place);
        place = io_ring_replay(ring, 1000, &skip);
        expect_chunk(ring, &place, 1, "aaaa");
        io_ring_free(ring);
}

static void a_replay_may_begin_in_a_chunk(void **state)
{
        struct io_ring *ring = ring_new(RING);
        size_t skip = 0;
        uint64_t place;

        io_ring_write(ring, 1, 0, "aaaa", 4);
        io_ring_write(ring, 1, 0, "bbbb", 4);
        place = io_ring_replay(ring, 3, &skip);
        assert_int_equal(skip, 1);
        expect_chunk(ring, &place, 1, "bbbb");
        place = io_ring_replay(ring, 5, &skip);
        assert_int_equal(skip, 3);
        expect_chunk(ring, &place, 1, "aaaa");
        place = io_ring_replay(ring, 8, &skip);
        assert_int_equal(skip, 0);
        expect_chunk(ring, &place, 1, "aaaa");
        place = io_ring_replay(ring, 0, &skip);
        assert_int_equal(skip, 0);
        expect_end(ring, &place);
        io_ring_free(ring);
}

static void the_oldest_goes_first_and_a_late_reader_learns_it(void **state)
{
        struct io_ring *ring = ring_new(RING);
        struct io_ring_chunk chunk;
        uint64_t late = 0;
        size_t skip = 0;
        uint64_t place;
        char text[101] = {0};
        static char buf[RING];

        for (int i = 0; i < 1000; i++) {
                memset(text, 'a' + i % 26, 100);
                io_ring_write(ring, 1, 0, text, 100);
        }
        assert_int_equal(io_ring_read(ring, &late, &chunk, buf), -EOVERFLOW);
        place = io_ring_replay(ring, 200, &skip);
        memset(text, 'a' + 998 % 26, 100);
        expect_chunk(ring, &place, 1, text);
        memset(text, 'a' + 999 % 26, 100);
        expect_chunk(ring, &place, 1, text);
        expect_end(ring, &place);
        io_ring_free(ring);
}

/* What was asked for of the past stays, however much comes after it. */
static void a_snapshot_is_not_overwritten(void **state)
{
        struct io_ring *ring = ring_new(RING);
        struct io_ring *copy = NULL;
        struct error err = ERROR_INIT;
        char text[32];
        uint64_t place = 0;
        size_t skip = 1;

        for (int i = 0; i < 1000; i++) {
                (void)snprintf(text, sizeof(text), "line %d", i);
                io_ring_write(ring, 1, 1, text, strlen(text));
        }
        assert_int_equal(io_ring_snapshot(ring, 3 * 8, &copy, &place, &skip, &err), 0);
        assert_int_equal(skip, 0);
        for (int i = 0; i < 1000; i++)
                io_ring_write(ring, 1, 1, "new", 3);
        assert_false(io_ring_has(ring, place));
        expect_chunk(copy, &place, 1, "line 997");
        expect_chunk(copy, &place, 1, "line 998");
        expect_chunk(copy, &place, 1, "line 999");
        expect_end(copy, &place);
        assert_int_equal(place, io_ring_end(copy));
        io_ring_free(copy);
        io_ring_free(ring);
}

static void the_end_of_a_snapshot_is_a_place_of_the_ring(void **state)
{
        struct io_ring *ring = ring_new(RING);
        struct io_ring *copy = NULL;
        struct error err = ERROR_INIT;
        uint64_t place = 0;
        size_t skip = 0;

        io_ring_write(ring, 1, 1, "one", 3);
        assert_int_equal(io_ring_snapshot(ring, 2, &copy, &place, &skip, &err), 0);
        assert_int_equal(skip, 1);
        io_ring_write(ring, 2, 1, "two", 3);
        expect_chunk(copy, &place, 1, "one");
        expect_end(copy, &place);
        expect_chunk(ring, &place, 2, "two");
        io_ring_free(copy);
        io_ring_free(ring);
}

static void a_snapshot_of_nothing_is_empty(void **state)
{
        struct io_ring *ring = ring_new(RING);
        struct io_ring *copy = NULL;
        struct error err = ERROR_INIT;
        uint64_t place = 0;
        size_t skip = 0;

        assert_int_equal(io_ring_snapshot(ring, RING, &copy, &place, &skip, &err), 0);
        expect_end(copy, &place);
        io_ring_free(copy);
        io_ring_free(ring);
}

static void long_output_comes_in_chunks(void **state)
{
        struct io_ring *ring = ring_new(65536);
        static char data[50000];
        static char got[50000];
        struct io_ring_chunk chunk;
        uint64_t place = 0;
        size_t n = 0;

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (char)(i * 7);
        io_ring_write(ring, 1, 0, data, sizeof(data));
        while (io_ring_read(ring, &place, &chunk, got + n) == 1) {
                assert_in_range(chunk.len, 1, io_ring_chunk_max(ring));
                n += chunk.len;
        }
        assert_int_equal(n, sizeof(data));
        assert_memory_equal(data, got, n);
        io_ring_free(ring);
}

static void a_ring_that_is_too_large_is_refused(void **state)
{
        struct io_ring *ring = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(io_ring_new(&ring, IO_RING_MAX + 1, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
}

static bool is_readable(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return poll(&p, 1, 0) == 1;
}

static void only_readers_that_wait_are_woken(void **state)
{
        struct io_ring *ring = ring_new(RING);
        uint64_t n;

        io_ring_write(ring, 1, 0, "x", 1);
        assert_false(is_readable(io_ring_fd(ring)));
        io_ring_wait(ring, 1);
        io_ring_write(ring, 1, 0, "x", 1);
        assert_true(is_readable(io_ring_fd(ring)));
        assert_int_equal(read(io_ring_fd(ring), &n, sizeof(n)), sizeof(n));
        io_ring_wait(ring, -1);
        io_ring_write(ring, 1, 0, "x", 1);
        assert_false(is_readable(io_ring_fd(ring)));
        io_ring_free(ring);
}

/* Each chunk is one letter many times, its length follows from its number, which is its time. */
static size_t length_of(uint64_t number)
{
        return 1 + number * 31 % 700;
}

static void write_forever(struct io_ring *ring)
{
        static char data[1024];

        for (uint64_t i = 1;; i++) {
                memset(data, 'a' + (int)(i % 26), length_of(i));
                io_ring_write(ring, (uint8_t)(i % 2 + 1), i, data, length_of(i));
        }
}

/* What is handed out is never torn, however often the reader is overtaken. */
static void a_chunk_is_whole_while_another_process_writes(void **state)
{
        struct io_ring *ring = ring_new(RING);
        struct io_ring_chunk chunk;
        size_t skip = 0;
        uint64_t place = 0;
        uint64_t last = 0;
        size_t n_read = 0;
        size_t n_lost = 0;
        static char buf[RING];
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                write_forever(ring);
        while (n_read < 50000) {
                int r = io_ring_read(ring, &place, &chunk, buf);

                if (r == -EOVERFLOW) {
                        n_lost++;
                        place = io_ring_replay(ring, 1000, &skip);
                        continue;
                }
                if (r == 0)
                        continue;
                n_read++;
                assert_true(chunk.time_ns > last || n_lost > 0);
                last = chunk.time_ns;
                assert_int_equal(chunk.len, length_of(chunk.time_ns));
                assert_int_equal(chunk.stream, chunk.time_ns % 2 + 1);
                for (size_t i = 0; i < chunk.len; i++)
                        assert_int_equal(buf[i], 'a' + (int)(chunk.time_ns % 26));
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        io_ring_free(ring);
}

static void a_snapshot_is_whole_while_another_process_writes(void **state)
{
        struct io_ring *ring = ring_new(RING);
        static char buf[RING];
        pid_t pid = fork();
        size_t n_read = 0;

        assert_true(pid >= 0);
        if (pid == 0)
                write_forever(ring);
        while (n_read < 20000) {
                struct io_ring *copy = NULL;
                struct error err = ERROR_INIT;
                struct io_ring_chunk chunk;
                uint64_t place = 0;
                uint64_t last = 0;
                size_t skip = 0;
                int r;

                assert_int_equal(io_ring_snapshot(ring, RING, &copy, &place, &skip, &err), 0);
                while ((r = io_ring_read(copy, &place, &chunk, buf)) > 0) {
                        n_read++;
                        assert_true(last == 0 || chunk.time_ns == last + 1);
                        last = chunk.time_ns;
                        assert_int_equal(chunk.len, length_of(chunk.time_ns));
                        for (size_t i = 0; i < chunk.len; i++)
                                assert_int_equal(buf[i], 'a' + (int)(chunk.time_ns % 26));
                }
                assert_int_equal(r, 0);
                assert_int_equal(place, io_ring_end(copy));
                io_ring_free(copy);
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        io_ring_free(ring);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_was_written_is_read_in_order),
                cmocka_unit_test(a_chunk_has_its_time),
                cmocka_unit_test(readers_do_not_disturb_each_other),
                cmocka_unit_test(a_replay_is_as_long_as_was_asked_for),
                cmocka_unit_test(a_replay_may_begin_in_a_chunk),
                cmocka_unit_test(the_oldest_goes_first_and_a_late_reader_learns_it),
                cmocka_unit_test(a_snapshot_is_not_overwritten),
                cmocka_unit_test(the_end_of_a_snapshot_is_a_place_of_the_ring),
                cmocka_unit_test(a_snapshot_of_nothing_is_empty),
                cmocka_unit_test(a_snapshot_is_whole_while_another_process_writes),
                cmocka_unit_test(long_output_comes_in_chunks),
                cmocka_unit_test(a_ring_that_is_too_large_is_refused),
                cmocka_unit_test(only_readers_that_wait_are_woken),
                cmocka_unit_test(a_chunk_is_whole_while_another_process_writes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
