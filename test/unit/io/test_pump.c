/* SPDX-License-Identifier: Apache-2.0
 *
 * Sources and sinks, with a pipe whose other end the test holds. The loop runs until what is
 * awaited has happened; alarm(2) ends a test for which it never does.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/base/kept.h"
#include "pkg/io/pump.h"

#include "test/unit/fds.h"
#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 60, PIPE = 64 << 10, MAX = 16 << 10 };

struct fixture {
        struct loop *loop;
        struct loop_timer *timer;
        struct io_source *source;
        struct io_sink *sink;
        int other; /* the test's end of the pipe */
        size_t got;
        size_t stop_at; /* the source is stopped when so much has come; 0: never */
        size_t taken;
        bool ended;
        bool inside;
        bool free_at_end;
        int n_fds;
};

static void on_timer(struct loop_timer *timer, void *userdata)
{
        loop_quit(((struct fixture *)userdata)->loop);
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        assert_non_null(f);
        (void)alarm(TEST_LIMIT_S);
        (void)signal(SIGPIPE, SIG_IGN);
        f->n_fds = count_fds();
        assert_int_equal(loop_new(&f->loop, &err), 0);
        f->timer = loop_timer_new(f->loop, on_timer, f);
        assert_non_null(f->timer);
        f->other = -1;
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        io_source_free(f->source);
        io_sink_free(f->sink);
        fd_close(f->other);
        loop_timer_free(f->timer);
        loop_free(f->loop);
        assert_int_equal(count_fds(), f->n_fds);
        free(f);
        return 0;
}

/* Some rounds of the loop: what can happen has happened by then. */
static void run_some(struct fixture *f)
{
        struct error err = ERROR_INIT;

        for (int i = 0; i < 20; i++) {
                assert_int_equal(loop_timer_set(f->timer, 0), 0);
                assert_int_equal(loop_run(f->loop, &err), 0);
        }
}

static void run_until_quit(struct fixture *f)
{
        struct error err = ERROR_INIT;

        assert_int_equal(loop_run(f->loop, &err), 0);
}

/* ---- Sources ---- */

static void on_data(const void *data, size_t len, void *userdata)
{
        struct fixture *f = userdata;

        assert_true(len > 0 && len <= IO_SOURCE_CHUNK);
        assert_false(f->ended);
        f->got += len;
        if (f->stop_at > 0 && f->got >= f->stop_at)
                io_source_want(f->source, false);
}

static void on_end(void *userdata)
{
        struct fixture *f = userdata;

        assert_false(f->ended);
        f->ended = true;
        assert_true(io_source_has_ended(f->source));
        if (f->free_at_end)
                f->source = io_source_free(f->source);
        loop_quit(f->loop);
}

static const struct io_source_ops source_ops = {.on_data = on_data, .on_end = on_end};

static void make_source(struct fixture *f)
{
        struct error err = ERROR_INIT;
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        f->other = fds[1];
        assert_int_equal(io_source_new_take(&f->source, f->loop, fds[0], &source_ops, f, &err), 0);
}

static void fill(struct fixture *f, size_t len)
{
        static const char bytes[PIPE];

        assert_int_equal(write(f->other, bytes, len), (ssize_t)len);
}

static void a_source_reads_nothing_before_it_is_wanted(void **state)
{
        struct fixture *f = *state;

        make_source(f);
        fill(f, 100);
        run_some(f);
        assert_int_equal(f->got, 0);
        io_source_want(f->source, true);
        run_some(f);
        assert_int_equal(f->got, 100);
}

static void a_source_that_is_stopped_leaves_the_rest_in_the_pipe(void **state)
{
        struct fixture *f = *state;

        make_source(f);
        fill(f, PIPE);
        f->stop_at = 1;
        io_source_want(f->source, true);
        run_some(f);
        assert_int_equal(f->got, IO_SOURCE_CHUNK);
        fill(f, IO_SOURCE_CHUNK);
        assert_int_equal(write(f->other, "x", 1), -1); /* no byte more was read */
        assert_int_equal(errno, EAGAIN);
        f->stop_at = 0;
        io_source_want(f->source, true);
        run_some(f);
        assert_int_equal(f->got, PIPE + IO_SOURCE_CHUNK);
}

static void the_end_comes_once_after_all_data_and_may_free_it(void **state)
{
        struct fixture *f = *state;

        make_source(f);
        fill(f, PIPE);
        f->other = fd_close(f->other);
        f->free_at_end = true;
        io_source_want(f->source, true);
        run_until_quit(f);
        assert_int_equal(f->got, PIPE);
        assert_null(f->source);
}

static void a_stopped_source_does_not_end(void **state)
{
        struct fixture *f = *state;

        make_source(f);
        f->other = fd_close(f->other);
        run_some(f);
        assert_false(f->ended);
        io_source_want(f->source, true);
        run_until_quit(f);
        assert_true(f->ended);
}

static void finishing_reads_what_is_there_and_ends_although_the_pipe_is_open(void **state)
{
        struct fixture *f = *state;

        make_source(f);
        io_source_want(f->source, true);
        run_some(f);
        fill(f, PIPE);
        io_source_finish(f->source);
        run_until_quit(f);
        assert_true(f->ended);
        assert_int_equal(f->got, PIPE);
}

static void finishing_waits_for_one_that_is_stopped(void **state)
{
        struct fixture *f = *state;

        make_source(f);
        fill(f, 10);
        io_source_finish(f->source);
        run_some(f);
        assert_false(f->ended);
        io_source_want(f->source, true);
        run_until_quit(f);
        assert_int_equal(f->got, 10);
}

/* ---- Sinks ---- */

static void on_taken(size_t n, void *userdata)
{
        struct fixture *f = userdata;

        assert_true(f->inside);
        f->taken += n;
}

static void *sink_enter(void *userdata)
{
        struct fixture *f = userdata;

        assert_false(f->inside);
        f->inside = true;
        return f;
}

static void sink_leave(void *entered)
{
        struct fixture *f = entered;

        assert_true(f->inside);
        f->inside = false;
}

static const struct io_sink_ops sink_ops = {
        .on_taken = on_taken, .enter = sink_enter, .leave = sink_leave};

static void make_sink(struct fixture *f)
{
        struct error err = ERROR_INIT;
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        f->other = fds[0];
        assert_int_equal(io_sink_new_take(&f->sink, f->loop, fds[1], MAX, &sink_ops, f, &err), 0);
}

/* Gives it as much as it takes at once, and then MAX bytes that it must hold. */
static void fill_sink(struct fixture *f)
{
        static const char bytes[MAX];

        for (int i = 0; i < PIPE / MAX; i++)
                assert_int_equal(io_sink_write(f->sink, bytes, MAX), MAX);
        assert_int_equal(io_sink_write(f->sink, bytes, MAX / 2), 0);
        assert_int_equal(io_sink_write(f->sink, bytes, MAX / 2), 0);
        assert_int_equal(io_sink_held(f->sink), MAX);
}

static size_t drain(struct fixture *f, size_t max)
{
        static char buf[2 * PIPE];
        ssize_t n = read(f->other, buf, max);

        return n < 0 ? 0 : (size_t)n;
}

static void a_sink_holds_what_the_pipe_does_not_take_and_tells_when_it_does(void **state)
{
        struct fixture *f = *state;

        make_sink(f);
        fill_sink(f);
        run_some(f);
        assert_int_equal(f->taken, 0);
        assert_int_equal(drain(f, PIPE), PIPE);
        run_some(f);
        assert_int_equal(f->taken, MAX);
        assert_int_equal(io_sink_held(f->sink), 0);
        assert_int_equal(drain(f, PIPE), MAX);
}

static void what_was_taken_in_part_makes_room_for_more(void **state)
{
        static const char bytes[MAX];
        struct fixture *f = *state;

        make_sink(f);
        fill_sink(f);
        assert_int_equal(drain(f, 4096), 4096);
        run_some(f);
        assert_int_equal(f->taken, 4096);
        assert_int_equal(io_sink_write(f->sink, bytes, 4096), 0);
        assert_int_equal(io_sink_held(f->sink), MAX);
}

static void the_end_of_a_sink_comes_after_what_it_holds(void **state)
{
        static const char bytes[10];
        struct fixture *f = *state;
        size_t n = 0;

        make_sink(f);
        fill_sink(f);
        io_sink_end(f->sink);
        assert_int_equal(io_sink_write(f->sink, bytes, sizeof(bytes)), sizeof(bytes));
        for (int i = 0; i < 4; i++) {
                n += drain(f, PIPE);
                run_some(f);
        }
        assert_int_equal(n, PIPE + MAX);
        assert_int_equal(read(f->other, &n, 1), 0); /* the end */
}

static void without_a_reader_everything_is_thrown_away(void **state)
{
        static const char bytes[MAX];
        struct fixture *f = *state;

        make_sink(f);
        fill_sink(f);
        f->other = fd_close(f->other);
        run_some(f);
        assert_int_equal(f->taken, MAX);
        assert_int_equal(io_sink_write(f->sink, bytes, MAX), MAX);
        assert_int_equal(io_sink_held(f->sink), 0);
}

/* As an execve(2) does to them: without CLOEXEC, and without the object. */
static void go_through_execve(struct fixture *f, Belay__State__V1__Sink *m)
{
        struct error err = ERROR_INIT;
        uint32_t *numbers[] = {&m->fd, &m->memory};

        io_sink_save(f->sink, m);
        for (int i = 0; i < 2; i++) {
                if (*numbers[i] > 0)
                        *numbers[i] = kept_number(dup((int)*numbers[i] - 1));
        }
        f->sink = io_sink_free(f->sink);
        if (io_sink_restore(&f->sink, f->loop, m, MAX, &sink_ops, f, &err) < 0)
                fail_msg("%s", err.msg);
}

static void what_a_sink_holds_goes_through_an_execve(void **state)
{
        static char bytes[MAX];
        static char got[PIPE + MAX];
        struct fixture *f = *state;
        Belay__State__V1__Sink m;

        for (size_t i = 0; i < MAX; i++)
                bytes[i] = (char)(i * 7 + i / 251);
        make_sink(f);
        for (int i = 0; i < PIPE / MAX; i++)
                assert_int_equal(io_sink_write(f->sink, bytes, MAX), MAX);
        assert_int_equal(io_sink_write(f->sink, bytes, MAX), 0);
        assert_int_equal(read(f->other, got, 4096), 4096);
        run_some(f); /* some of it is written */
        io_sink_end(f->sink);
        go_through_execve(f, &m);
        assert_int_equal(io_sink_held(f->sink), MAX - 4096);
        go_through_execve(f, &m);
        assert_int_equal(read(f->other, got + 4096, PIPE), PIPE);
        run_some(f);
        assert_int_equal(io_sink_held(f->sink), 0);
        assert_int_equal(f->taken, MAX);
        assert_int_equal(read(f->other, got + PIPE + 4096, MAX - 4096), MAX - 4096);
        for (int i = 0; i < PIPE / MAX + 1; i++)
                assert_memory_equal(got + i * MAX, bytes, MAX);
        assert_int_equal(read(f->other, got, 1), 0); /* the end */
}

static void a_sink_that_holds_nothing_goes_through_an_execve(void **state)
{
        struct fixture *f = *state;
        Belay__State__V1__Sink m;
        char byte = 0;

        make_sink(f);
        go_through_execve(f, &m);
        assert_int_equal(m.memory, 0);
        assert_int_equal(io_sink_write(f->sink, "x", 1), 1);
        assert_int_equal(read(f->other, &byte, 1), 1);
        f->other = fd_close(f->other);
        assert_int_equal(io_sink_write(f->sink, "x", 1), 1);
        go_through_execve(f, &m);
        assert_int_equal(m.fd, 0);
        assert_int_equal(io_sink_write(f->sink, "x", 1), 1);
}

static void held_bytes_that_are_not_there_are_refused(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        struct io_sink *other = NULL;
        Belay__State__V1__Sink m;

        make_sink(f);
        fill_sink(f);
        io_sink_save(f->sink, &m);
        m.fd = 0;
        m.memory = kept_number(dup((int)m.memory - 1));
        m.offset = 1;
        assert_int_equal(io_sink_restore(&other, f->loop, &m, MAX, &sink_ops, f, &err), -1);
        assert_string_equal(err.msg, "held stdin: 16384 bytes at 1");
}

static void what_is_freed_with_bytes_leaks_nothing(void **state)
{
        struct fixture *f = *state;

        make_sink(f);
        fill_sink(f);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                WITH_FIXTURE(a_source_reads_nothing_before_it_is_wanted),
                WITH_FIXTURE(a_source_that_is_stopped_leaves_the_rest_in_the_pipe),
                WITH_FIXTURE(the_end_comes_once_after_all_data_and_may_free_it),
                WITH_FIXTURE(a_stopped_source_does_not_end),
                WITH_FIXTURE(finishing_reads_what_is_there_and_ends_although_the_pipe_is_open),
                WITH_FIXTURE(finishing_waits_for_one_that_is_stopped),
                WITH_FIXTURE(a_sink_holds_what_the_pipe_does_not_take_and_tells_when_it_does),
                WITH_FIXTURE(what_was_taken_in_part_makes_room_for_more),
                WITH_FIXTURE(the_end_of_a_sink_comes_after_what_it_holds),
                WITH_FIXTURE(without_a_reader_everything_is_thrown_away),
                WITH_FIXTURE(what_a_sink_holds_goes_through_an_execve),
                WITH_FIXTURE(a_sink_that_holds_nothing_goes_through_an_execve),
                WITH_FIXTURE(held_bytes_that_are_not_there_are_refused),
                WITH_FIXTURE(what_is_freed_with_bytes_leaks_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
