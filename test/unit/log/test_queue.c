/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue between a log's two processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/log/queue.h"

#include "test/unit/unit.h"

enum { PAGE = 4096, MAX = 16 * PAGE, PIPE_BYTES = PAGE };

struct fixture {
        struct log_queue queue;
        int ends[2];
        uint8_t put; /* the next byte to be put, and to be read: they count */
        uint8_t got;
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        assert_int_equal(pipe2(f->ends, O_CLOEXEC | O_NONBLOCK), 0);
        assert_true(fcntl(f->ends[1], F_SETPIPE_SZ, PIPE_BYTES) >= 0);
        assert_int_equal(log_queue_init(&f->queue, f->ends[1], MAX), 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        log_queue_deinit(&f->queue);
        fd_close(f->ends[0]);
        fd_close(f->ends[1]);
        free(f);
        return 0;
}

static bool put(struct fixture *f, size_t len)
{
        static uint8_t data[2 * MAX];

        for (size_t i = 0; i < len; i++)
                data[i] = (uint8_t)(f->put + i);
        if (!log_queue_put(&f->queue, data, len))
                return false;
        f->put = (uint8_t)(f->put + len);
        return true;
}

/* At most so much. */
static size_t take(struct fixture *f, size_t len)
{
        static uint8_t data[2 * MAX];
        ssize_t n = read(f->ends[0], data, len);

        for (ssize_t i = 0; i < n; i++)
                assert_int_equal(data[i], f->got++);
        return n > 0 ? (size_t)n : 0;
}

static void bytes_come_out_in_order_however_often_it_goes_round(void **state)
{
        struct fixture *f = *state;
        size_t n_put = 0;
        size_t n_taken = 0;

        for (int i = 0; i < 1000; i++) {
                size_t len = (size_t)(i * 97 % 3000) + 1;

                if (put(f, len))
                        n_put += len;
                assert_int_equal(log_queue_flush(&f->queue), 0);
                n_taken += take(f, (size_t)(i * 89 % 3000) + 1);
        }
        while (f->queue.len > 0) {
                n_taken += take(f, MAX);
                assert_int_equal(log_queue_flush(&f->queue), 0);
        }
        n_taken += take(f, MAX);
        assert_true(n_put > (size_t)10 * MAX);
        assert_int_equal(n_taken, n_put);
}

static void all_of_it_fits_or_nothing(void **state)
{
        struct fixture *f = *state;

        assert_false(put(f, MAX + 1));
        assert_true(put(f, MAX - 10));
        assert_false(put(f, 11));
        assert_true(put(f, 10));
        assert_false(put(f, 1));
        assert_int_equal(log_queue_flush(&f->queue), 0);
        assert_int_equal(f->queue.len, MAX - PIPE_BYTES);
        assert_true(put(f, PIPE_BYTES));
        assert_false(put(f, 1));
}

/* How many pages of it there are. */
static size_t pages(const struct fixture *f)
{
        unsigned char is_there[MAX / PAGE];
        size_t n = 0;

        assert_int_equal(mincore(f->queue.data, MAX, is_there), 0);
        for (size_t i = 0; i < sizeof(is_there); i++)
                n += is_there[i] & 1;
        return n;
}

static void the_memory_of_a_burst_goes_back(void **state)
{
        struct fixture *f = *state;

        assert_true(put(f, MAX));
        assert_int_equal(pages(f), MAX / PAGE);
        while (f->queue.len > 0) {
                (void)take(f, MAX);
                assert_int_equal(log_queue_flush(&f->queue), 0);
        }
        assert_int_equal(pages(f), 0);
        (void)take(f, MAX);
        for (int i = 0; i < 100; i++) {
                assert_true(put(f, 1000));
                assert_int_equal(log_queue_flush(&f->queue), 0);
                assert_int_equal(take(f, MAX), 1000);
        }
        assert_int_equal(pages(f), 1);
}

static void nobody_to_take_it_is_an_error(void **state)
{
        struct fixture *f = *state;

        (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        assert_true(put(f, 1));
        f->ends[0] = fd_close(f->ends[0]);
        assert_int_equal(log_queue_flush(&f->queue), -EPIPE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(bytes_come_out_in_order_however_often_it_goes_round),
                T(all_of_it_fits_or_nothing),
                T(the_memory_of_a_burst_goes_back),
                T(nobody_to_take_it_is_an_error),
        };
#undef T

        return cmocka_run_group_tests(tests, NULL, NULL);
}
