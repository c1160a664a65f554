/* SPDX-License-Identifier: Apache-2.0
 *
 * How a shim ends: asked, told, or by itself.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/clock.h"

#include "shim/log.h"
#include "test/unit/shim/harness.h"

static const struct shim_times short_times = {
        .unused_ns = 3 * NSEC_PER_MSEC,
        .alone_ns = 3 * NSEC_PER_MSEC,
        .idle_ns = 3 * NSEC_PER_MSEC,
        .stop_ns = 20 * NSEC_PER_MSEC,
        .backoff_min_ns = NSEC_PER_MSEC,
        .backoff_max_ns = NSEC_PER_MSEC,
};

static int short_setup(void **state)
{
        *state = harness_new(&short_times);
        return 0;
}

static void disconnect(struct harness *h)
{
        ttrpc_client_free(h->client);
        h->client = NULL;
}

static void on_over(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

/* Runs the loop for a time in which every short time has passed several times over. */
static void let_time_pass(struct harness *h)
{
        struct loop_timer *timer = loop_timer_new(h->loop, on_over, h->loop);

        (void)loop_timer_set(timer, 50 * NSEC_PER_MSEC);
        while (loop_timer_is_set(timer))
                assert_int_equal(loop_run(h->loop, NULL), 0);
        loop_timer_free(timer);
}

static void a_shim_that_nobody_connects_to_ends(void **state)
{
        struct harness *h = *state;

        disconnect(h);
        harness_run_until(h, &h->finished);
}

static void a_shim_whose_client_asks_for_nothing_ends(void **state)
{
        struct harness *h = *state;

        harness_run_until(h, &h->finished);
}

static void a_shim_with_a_container_does_not_end(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        disconnect(h);
        let_time_pass(h);
        assert_false(h->finished);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        let_time_pass(h);
        assert_false(h->finished); /* stopped, and not deleted */
}

static void a_container_that_has_ended_is_kept_for_a_client_that_asks_for_nothing(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        let_time_pass(h);
        assert_false(h->finished);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
}

/* As containerd does that has given the shim up. */
static void remove_bundle(struct harness *h)
{
        static const char *const files[] = {"init.json", "init.pid", "events.sock", "events"};

        harness_await_events(h, 2);
        for (size_t i = 0; i < UNIT_COUNT(files); i++) {
                char path[128];

                (void)snprintf(path, sizeof(path), "%s/%s", h->dir, files[i]);
                assert_int_equal(unlink(path), 0);
        }
        assert_int_equal(rmdir(h->dir), 0);
}

static void a_shim_whose_container_has_ended_and_has_no_bundle_any_more_ends(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        disconnect(h);
        remove_bundle(h);
        let_time_pass(h);
        assert_false(h->finished); /* it runs, whatever became of its bundle */
        fake_exit(h->fake.init, CLD_EXITED, 0);
        harness_run_until(h, &h->finished);
        assert_int_equal(h->events.n, 3);
        assert_int_equal(mkdir(h->dir, 0700), 0);
}

static void it_ends_also_with_a_connection_on_which_nothing_is_asked(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        remove_bundle(h);
        let_time_pass(h);
        assert_false(h->finished);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        harness_run_until(h, &h->finished);
        assert_int_equal(mkdir(h->dir, 0700), 0);
}

static void a_shim_that_is_creating_does_not_end(void **state)
{
        struct harness *h = *state;
        struct reply *create;

        h->fake.hold[FAKE_CREATE] = true;
        create = rpc_begin(h, "Create", NULL);
        let_time_pass(h);
        assert_false(h->finished);
        h->fake.fail[FAKE_CREATE] = "no";
        fake_release(&h->fake, FAKE_CREATE);
        assert_int_equal(rpc_end(h, create).code, STATUS_UNKNOWN);
        harness_run_until(h, &h->finished);
}

static void a_shim_whose_container_was_deleted_ends_without_shutdown(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        disconnect(h);
        harness_run_until(h, &h->finished);
        assert_string_equal(events_topics(&h->events), "create start exit delete");
}

static void delete_without_containerd(struct harness *h)
{
        harness_run(h);
        harness_await_events(h, 2);
        events_server_go(&h->events);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        disconnect(h);
        let_time_pass(h);
}

static void a_shim_that_has_events_waits_for_a_containerd_that_is_away(void **state)
{
        struct harness *h = *state;

        delete_without_containerd(h);
        assert_false(h->finished);
        events_server_come(&h->events);
        harness_run_until(h, &h->finished);
        assert_string_equal(events_topics(&h->events), "create start exit delete");
}

static int short_of_events_setup(void **state)
{
        struct shim_times times = short_times;

        times.events_ns = 3 * NSEC_PER_MSEC;
        *state = harness_new(&times);
        return 0;
}

static void but_not_for_ever(void **state)
{
        struct harness *h = *state;

        delete_without_containerd(h);
        if (!h->finished)
                harness_run_until(h, &h->finished);
        events_server_come(&h->events);
}

static void shutdown_without_a_container_ends_the_shim(void **state)
{
        struct harness *h = *state;

        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0); /* R90 */
        harness_run_until(h, &h->finished);
}

static void shutdown_aborts_a_create_first(void **state)
{
        struct harness *h = *state;
        struct reply *create;

        h->fake.hold[FAKE_CREATE] = true;
        create = rpc_begin(h, "Create", NULL);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        assert_int_equal(rpc_end(h, create).code, STATUS_CANCELED);
        harness_run_until(h, &h->finished);
        assert_int_equal(h->fake.n_aborted, 1);
        assert_int_equal(h->fake.n_containers, 0);
}

static void nothing_is_created_while_the_shim_ends(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        events_server_go(&h->events); /* keeps the stop from its end */
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_UNAVAILABLE);
        assert_false(h->finished);
        events_server_come(&h->events);
        harness_run_until(h, &h->finished); /* R25 */
        assert_true(h->events.n >= 2);
        assert_string_equal(h->events.events[h->events.n - 1].topic, "/tasks/delete");
}

static void a_stop_leaves_the_container_alone(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        shim_server_stop(h->server, "SIGTERM"); /* R30 */
        shim_server_stop(h->server, "SIGTERM");
        harness_run_until(h, &h->finished);
        assert_int_equal(h->fake.last_signal, 0);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 0);
        assert_int_equal(h->fake.n_calls[FAKE_REMOVE], 0);
}

static void begin_stop_with_an_event(struct harness *h)
{
        events_server_go(&h->events);
        harness_run(h);
        shim_server_stop(h->server, "SIGTERM");
        harness_settle(h);
        assert_false(h->finished);
}

static void a_stop_waits_for_events_only_for_a_time(void **state)
{
        struct harness *h = *state;

        begin_stop_with_an_event(h);
        harness_run_until(h, &h->finished);
        events_server_come(&h->events);
}

static void a_stop_that_waits_for_events_goes_on(void **state)
{
        struct harness *h = *state;
        struct error err = ERROR_INIT;

        begin_stop_with_an_event(h);
        if (harness_restart(h, &err) < 0)
                fail_msg("%s", err.msg);
        events_server_come(&h->events);
        harness_run_until(h, &h->finished);
        assert_string_equal(events_topics(&h->events), "create start");
}

static void a_stop_with_a_stuck_job_says_that_the_shim_is_busy(void **state)
{
        struct harness *h = *state;
        struct reply *start;

        harness_create(h);
        h->fake.hold[FAKE_START] = true;
        start = rpc_begin(h, "Start", NULL);
        harness_settle(h);
        shim_server_stop(h->server, "SIGTERM");
        harness_run_until(h, &h->finished);
        assert_true(shim_server_is_busy(h->server));
        fake_release(&h->fake, FAKE_START);
        assert_int_equal(rpc_end(h, start).code, 0);
        assert_false(shim_server_is_busy(h->server));
}

static void connections_that_come_and_go_do_not_keep_a_stop_up(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        shim_server_stop(h->server, "SIGTERM");
        ttrpc_client_free(harness_connect(h));
        assert_int_equal(rpc_do(h, "Connect", NULL).code, 0);
        harness_run_until(h, &h->finished);
}

static void a_server_may_be_freed_with_everything_pending(void **state)
{
        struct harness *h = *state;
        struct reply *waits[3];

        harness_run(h);
        harness_exec(h, "e1");
        waits[0] = rpc_begin(h, "Wait", NULL);
        waits[1] = rpc_begin(h, "Wait", "e1");
        fake_exit(h->fake.init, CLD_EXITED, 0); /* kept back by e1 */
        waits[2] = rpc_begin(h, "Wait", NULL);
        harness_settle(h);
        shim_server_free(h->server);
        h->server = NULL;
        for (size_t i = 0; i < UNIT_COUNT(waits); i++)
                assert_int_equal(rpc_end(h, waits[i]).code, STATUS_UNAVAILABLE);
}

#define SHORT(name) cmocka_unit_test_setup_teardown(name, short_setup, harness_teardown)
#define TEST(name)  cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                SHORT(a_shim_that_nobody_connects_to_ends),
                SHORT(a_shim_whose_client_asks_for_nothing_ends),
                SHORT(a_shim_with_a_container_does_not_end),
                SHORT(a_shim_whose_container_has_ended_and_has_no_bundle_any_more_ends),
                SHORT(it_ends_also_with_a_connection_on_which_nothing_is_asked),
                SHORT(a_container_that_has_ended_is_kept_for_a_client_that_asks_for_nothing),
                SHORT(a_shim_that_is_creating_does_not_end),
                SHORT(a_shim_whose_container_was_deleted_ends_without_shutdown),
                SHORT(a_shim_that_has_events_waits_for_a_containerd_that_is_away),
                cmocka_unit_test_setup_teardown(but_not_for_ever, short_of_events_setup,
                                                harness_teardown),
                TEST(shutdown_without_a_container_ends_the_shim),
                TEST(shutdown_aborts_a_create_first),
                TEST(nothing_is_created_while_the_shim_ends),
                TEST(a_stop_leaves_the_container_alone),
                SHORT(a_stop_waits_for_events_only_for_a_time),
                TEST(a_stop_that_waits_for_events_goes_on),
                SHORT(a_stop_with_a_stuck_job_says_that_the_shim_is_busy),
                TEST(connections_that_come_and_go_do_not_keep_a_stop_up),
                TEST(a_server_may_be_freed_with_everything_pending),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
