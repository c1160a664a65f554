/* SPDX-License-Identifier: Apache-2.0
 *
 * Grants of stdin, with a pipe whose reader the test is: what may still be sent, what is held and
 * what is to be granted are LIMIT_STDIN_GRANT together, in every image of the process.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/base/kept.h"
#include "pkg/base/limits.h"

#include "shim/stdin_grants.h"
#include "test/unit/fds.h"
#include "test/unit/unit.h"

enum { PIPE = 4096, HELD = 10000, TEST_LIMIT_S = 60 };

struct fixture {
        struct loop *loop;
        struct loop_timer *turn;
        struct stdin_grants grants;
        int reader;
        bool has_room; /* for a grant on its way to the peer */
        size_t n_granted;
        unsigned n_grants;
        unsigned n_empty;
        int n_fds;
};

static bool on_send(size_t n, void *userdata)
{
        struct fixture *f = userdata;

        if (!f->has_room)
                return false;
        f->n_granted += n;
        f->n_grants++;
        return true;
}

static void on_empty(void *userdata)
{
        ((struct fixture *)userdata)->n_empty++;
}

static struct ttrpc_call *no_call(void *userdata)
{
        (void)userdata;
        return NULL;
}

static const struct stdin_grants_ops ops = {
        .send = on_send,
        .on_empty = on_empty,
        .call = no_call,
};

static void on_turn(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(((struct fixture *)userdata)->loop);
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;
        int ends[2];

        assert_non_null(f);
        (void)alarm(TEST_LIMIT_S);
        f->n_fds = count_fds();
        assert_int_equal(loop_new(&f->loop, &err), 0);
        f->turn = loop_timer_new(f->loop, on_turn, f);
        assert_non_null(f->turn);
        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, PIPE), PIPE);
        f->reader = ends[0];
        f->has_room = true;
        assert_int_equal(stdin_grants_open_take(&f->grants, f->loop, ends[1], &ops, f, &err), 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        stdin_grants_close(&f->grants);
        fd_close(f->reader);
        loop_timer_free(f->turn);
        loop_free(f->loop);
        assert_int_equal(count_fds(), f->n_fds);
        (void)alarm(0);
        free(f);
        return 0;
}

/* What is ready, some times over. */
static void run_some(struct fixture *f)
{
        for (int i = 0; i < 8; i++) {
                struct error err = ERROR_INIT;

                assert_int_equal(loop_timer_set(f->turn, 0), 0);
                assert_int_equal(loop_run(f->loop, &err), 0);
        }
}

static void assert_adds_up(const struct fixture *f)
{
        assert_int_equal(f->grants.allowed + io_sink_held(f->grants.sink) + f->grants.owed,
                         LIMIT_STDIN_GRANT);
}

static uint8_t byte_at(size_t i)
{
        return (uint8_t)(i * 7 + i / 251);
}

/* Bytes of the one long input, from `from` on. */
static void type(struct fixture *f, size_t from, size_t len)
{
        struct error err = ERROR_INIT;
        uint8_t *bytes = malloc(len);

        assert_non_null(bytes);
        for (size_t i = 0; i < len; i++)
                bytes[i] = byte_at(from + i);
        if (stdin_grants_take(&f->grants, bytes, len, &err) < 0)
                fail_msg("%s", err.msg);
        free(bytes);
}

/* Reads and checks that much of it. */
static void expect(struct fixture *f, size_t from, size_t len)
{
        while (len > 0) {
                uint8_t got[PIPE];
                ssize_t n = read(f->reader, got, len < PIPE ? len : PIPE);

                assert_true(n > 0);
                for (ssize_t i = 0; i < n; i++)
                        assert_int_equal(got[i], byte_at(from + (size_t)i));
                from += (size_t)n;
                len -= (size_t)n;
                run_some(f);
        }
}

/* As an execve(2) does to them: descriptors without CLOEXEC, and the message alone. */
static int go_through_execve(struct fixture *f, Belay__State__V1__StdinGrants *m, struct error *err)
{
        Belay__State__V1__Sink sink;
        uint32_t *numbers[] = {&sink.fd, &sink.memory};

        assert_true(stdin_grants_save(&f->grants, m, &sink));
        for (int i = 0; i < 2; i++) {
                if (*numbers[i] > 0)
                        *numbers[i] = kept_number(fcntl((int)*numbers[i] - 1, F_DUPFD, 0));
        }
        stdin_grants_close(&f->grants);
        memset(&f->grants, 0, sizeof(f->grants));
        return stdin_grants_restore(&f->grants, f->loop, m, &ops, f, err);
}

static void restart(struct fixture *f)
{
        Belay__State__V1__StdinGrants m;
        struct error err = ERROR_INIT;

        if (go_through_execve(f, &m, &err) < 0)
                fail_msg("%s", err.msg);
        assert_adds_up(f);
}

/* ---- Tests ---- */

static void what_is_held_and_granted_goes_on_in_the_next_image(void **state)
{
        struct fixture *f = *state;
        size_t allowed;

        stdin_grants_offer(&f->grants);
        assert_int_equal(f->n_granted, LIMIT_STDIN_GRANT);
        type(f, 0, PIPE + HELD); /* the pipe takes its part, and owes it */
        assert_int_equal(io_sink_held(f->grants.sink), HELD);
        assert_int_equal(f->grants.owed, PIPE);
        allowed = f->grants.allowed;
        restart(f);
        assert_int_equal(io_sink_held(f->grants.sink), HELD);
        assert_int_equal(f->grants.owed, PIPE);
        assert_int_equal(f->grants.allowed, allowed);
        assert_int_equal(f->n_grants, 1); /* nothing is granted by the way */
        type(f, PIPE + HELD, 100);
        assert_adds_up(f);
        expect(f, 0, PIPE + HELD + 100);
        assert_true(stdin_grants_is_empty(&f->grants));
        assert_int_equal(f->n_empty, 1);
        assert_adds_up(f);
}

static void a_grant_that_was_owed_is_told_by_the_next_image(void **state)
{
        struct fixture *f = *state;

        f->has_room = false;
        stdin_grants_offer(&f->grants);
        assert_int_equal(f->n_grants, 0);
        restart(f);
        assert_int_equal(f->grants.owed, LIMIT_STDIN_GRANT);
        f->has_room = true;
        stdin_grants_offer(&f->grants);
        assert_int_equal(f->n_granted, LIMIT_STDIN_GRANT);
        restart(f);
        stdin_grants_offer(&f->grants);
        assert_int_equal(f->n_granted, LIMIT_STDIN_GRANT);
}

static void the_end_that_was_said_comes_behind_what_is_held(void **state)
{
        struct fixture *f = *state;
        char byte;

        stdin_grants_offer(&f->grants);
        type(f, 0, PIPE + HELD);
        stdin_grants_end(&f->grants);
        restart(f);
        expect(f, 0, PIPE + HELD);
        assert_int_equal(read(f->reader, &byte, 1), 0);
        assert_int_equal(f->n_empty, 1);
}

static void more_than_was_granted_is_refused_in_the_next_image_too(void **state)
{
        static uint8_t bytes[LIMIT_STDIN_GRANT + 1];
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        stdin_grants_offer(&f->grants);
        type(f, 0, 10);
        restart(f);
        assert_int_equal(stdin_grants_take(&f->grants, bytes, LIMIT_STDIN_GRANT - 9, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_adds_up(f);
        expect(f, 0, 10);
}

static void without_a_stdin_there_is_nothing_to_be_saved(void **state)
{
        struct fixture *f = *state;
        Belay__State__V1__StdinGrants m;
        Belay__State__V1__Sink sink;

        stdin_grants_close(&f->grants);
        assert_false(stdin_grants_save(&f->grants, &m, &sink));
}

static void grants_that_do_not_add_up_are_refused_and_nothing_is_claimed(void **state)
{
        struct fixture *f = *state;
        Belay__State__V1__StdinGrants m;
        Belay__State__V1__Sink sink;
        struct stdin_grants other = {0};

        assert_true(stdin_grants_save(&f->grants, &m, &sink));
        for (int i = 0; i < 5; i++) {
                Belay__State__V1__StdinGrants forged = m;
                Belay__State__V1__Sink forged_sink = sink;
                struct error err = ERROR_INIT;

                forged.sink = &forged_sink;
                forged.sink = i == 0 ? NULL : &forged_sink;
                forged.allowed += i == 1;
                forged.owed -= i == 2;
                forged_sink.length += i == 3;
                if (i == 4) { /* the sum goes around */
                        forged.allowed = UINT64_MAX;
                        forged.owed += 1;
                } /* the sum goes around */
                assert_int_equal(stdin_grants_restore(&other, f->loop, &forged, &ops, f, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_string_equal(err.msg, "stdin: grants that do not add up");
                assert_null(other.sink);
        }
        assert_int_equal(f->n_grants, 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(what_is_held_and_granted_goes_on_in_the_next_image),
                T(a_grant_that_was_owed_is_told_by_the_next_image),
                T(the_end_that_was_said_comes_behind_what_is_held),
                T(more_than_was_granted_is_refused_in_the_next_image_too),
                T(without_a_stdin_there_is_nothing_to_be_saved),
                T(grants_that_do_not_add_up_are_refused_and_nothing_is_claimed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
