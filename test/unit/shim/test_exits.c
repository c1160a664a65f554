/* SPDX-License-Identifier: Apache-2.0
 *
 * Exits: none lost, none invented, and told in the right order. (Rn: requirements of the task
 * service's history, see docs.)
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/clock.h"

#include "shim/record.h"
#include "test/unit/shim/harness.h"

enum { CREATED = 1, RUNNING = 2, STOPPED = 3 };

static Containerd__Events__TaskExit *exit_event(const struct harness *h, size_t i)
{
        const struct seen_event *e = &h->events.events[i];

        assert_string_equal(e->topic, "/tasks/exit");
        return containerd__events__task_exit__unpack(NULL, e->len, e->data);
}

static void assert_exit_event(const struct harness *h, size_t i, const char *id, uint32_t status)
{
        Containerd__Events__TaskExit *e = exit_event(h, i);

        assert_string_equal(e->container_id, "c1");
        assert_string_equal(e->id, id);
        assert_int_equal(e->exit_status, status);
        assert_true(e->pid > 0);
        assert_true(e->exited_at->seconds > 1600000000);
        containerd__events__task_exit__free_unpacked(e, NULL);
}

static void an_exit_during_start_is_told_after_the_start(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *wait;

        harness_create(h);
        wait = rpc_begin(h, "Wait", NULL);
        h->fake.hold[FAKE_START] = true;
        start = rpc_begin(h, "Start", NULL);
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 4);
        harness_settle(h);
        assert_false(wait->done);
        assert_int_equal(rpc_do(h, "State", NULL).status, CREATED);
        assert_true(harness_record(h, NULL).exited); /* on disk at once */
        assert_int_equal(h->fake.n_aborted, 0);      /* its hooks run to their end */
        fake_release(&h->fake, FAKE_START);
        assert_int_equal(rpc_end(h, start).pid, fake_pid(h->fake.init)); /* R1 */
        assert_int_equal(rpc_end(h, wait).exit_status, 4);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create start exit");
}

static void an_exit_right_after_create_is_told_once(void **state)
{
        struct harness *h = *state;
        struct reply *create;

        h->fake.hold[FAKE_CREATE] = true;
        create = rpc_begin(h, "Create", NULL);
        harness_settle(h);
        fake_release(&h->fake, FAKE_CREATE);
        assert_int_equal(rpc_end(h, create).code, 0);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL); /* R3 */
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 137);
        assert_int_equal(rpc_do(h, "State", NULL).status, STOPPED);
        assert_int_equal(rpc_do(h, "Start", NULL).code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 137);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create exit delete");
}

static void the_exits_of_execs_are_told_before_inits(void **state)
{
        struct harness *h = *state;
        struct fake_process *execs[3];
        struct reply *wait;

        harness_run(h);
        for (int i = 0; i < 3; i++) {
                const char *const ids[] = {"e0", "e1", "e2"};

                harness_exec(h, ids[i]);
                execs[i] = h->fake.exec;
        }
        wait = rpc_begin(h, "Wait", NULL);
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 5);
        harness_settle(h);
        assert_int_equal(rpc_do(h, "State", NULL).status, RUNNING);
        assert_true(harness_record(h, NULL).exited);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, false).code, STATUS_NOT_FOUND);
        for (int i = 2; i >= 0; i--) {
                assert_false(wait->done);
                fake_exit(execs[i], CLD_KILLED, SIGKILL);
                harness_settle(h);
        }
        assert_int_equal(rpc_end(h, wait).exit_status, 5);
        harness_await_events(h, 12);
        assert_exit_event(h, 8, "e2", 137);
        assert_exit_event(h, 9, "e1", 137);
        assert_exit_event(h, 10, "e0", 137);
        assert_exit_event(h, 11, "c1", 5);
}

static void no_exec_starts_after_init_was_reaped(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        harness_exec(h, "e0"); /* keeps the init's exit back */
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        harness_settle(h);
        a = rpc_do(h, "Start", "e1"); /* R6 */
        assert_int_equal(a.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(a.text, "container c1 init process is not running");
        assert_int_equal(h->fake.n_calls[FAKE_EXEC], 1);
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Start", "e1").code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(rpc_exec_do(h, "e2").code, STATUS_FAILED_PRECONDITION);
}

static void a_start_that_hangs_after_init_has_ended_ends_for_a_delete(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *wait;
        struct answer a;

        harness_create(h);
        h->fake.hold[FAKE_START] = true; /* a poststart hook, say */
        start = rpc_begin(h, "Start", NULL);
        wait = rpc_begin(h, "Wait", NULL);
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 4);
        harness_settle(h);
        assert_false(start->done);
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 4);
        a = rpc_end(h, start);
        assert_int_equal(a.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(a.text, "OCI runtime start failed: the container was ended while it "
                                    "was being started");
        assert_int_equal(rpc_end(h, wait).exit_status, 4);
        assert_int_equal(h->fake.n_aborted, 1);
        assert_int_equal(harness_record(h, NULL).reason,
                         RECORD_EXITED); /* the truth of the process */
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create exit delete");
}

static void a_start_that_hangs_ends_with_a_container_that_is_killed(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *wait;

        harness_create(h);
        h->fake.hold[FAKE_START] = true;
        start = rpc_begin(h, "Start", NULL);
        wait = rpc_begin(h, "Wait", NULL);
        harness_settle(h);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, false).code, 0);
        assert_false(start->done);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_end(h, start).code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(rpc_end(h, wait).exit_status, 137);
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 137);
}

static void an_exec_that_hangs_in_its_start_ends_with_init(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *wait_exec;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        assert_int_equal(rpc_exec_do(h, "e2").code, 0); /* is never started */
        h->fake.hold[FAKE_EXEC] = true;
        start = rpc_begin(h, "Start", "e1");
        wait_exec = rpc_begin(h, "Wait", "e1");
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        a = rpc_end(h, start);
        assert_int_equal(a.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(a.text, "OCI runtime exec failed: the container's init has ended");
        assert_int_equal(h->fake.n_aborted, 1);
        assert_int_equal(rpc_end(h, wait_exec).exit_status, 255);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 3);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        harness_await_events(h, 6);
        assert_string_equal(events_topics(&h->events),
                            "create start exec-added exec-added exit delete");
}

static void an_exec_that_was_starting_when_init_ended_is_killed_and_told_first(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *wait;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        h->fake.hold[FAKE_EXEC] = true;
        h->fake.abort_is_late = true;
        start = rpc_begin(h, "Start", "e1");
        wait = rpc_begin(h, "Wait", NULL);
        harness_settle(h);
        h->fake.last_signal = 0;
        fake_exit(h->fake.init, CLD_EXITED, 0);
        harness_settle(h);
        assert_false(wait->done); /* R4 */
        assert_int_equal(rpc_end(h, start).code, 0);
        assert_int_equal(h->fake.last_signal, SIGKILL);
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_end(h, wait).code, 0);
        harness_await_events(h, 6);
        assert_string_equal(events_topics(&h->events),
                            "create start exec-added exec-started exit exit");
        assert_exit_event(h, 4, "e1", 137);
        assert_exit_event(h, 5, "c1", 0);
}

static void an_exec_that_fails_to_start_does_not_keep_inits_exit(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        h->fake.hold[FAKE_EXEC] = true;
        h->fake.fail[FAKE_EXEC] = "exec '/bin/x': no such file or directory";
        start = rpc_begin(h, "Start", "e1");
        harness_settle(h);
        fake_release(&h->fake, FAKE_EXEC);
        a = rpc_end(h, start);
        assert_int_equal(a.code, STATUS_UNKNOWN);
        assert_string_equal(a.text, "OCI runtime exec failed: exec '/bin/x': no such file or "
                                    "directory");
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0); /* R7 */
        harness_await_events(h, 4);
        assert_string_equal(events_topics(&h->events), "create start exec-added exit");
}

static void a_failed_exec_releases_its_waiters_and_is_not_started_again(void **state)
{
        struct harness *h = *state;
        struct reply *wait;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        wait = rpc_begin(h, "Wait", "e1");
        h->fake.fail[FAKE_EXEC] = "no";
        assert_int_equal(rpc_do(h, "Start", "e1").code, STATUS_UNKNOWN);
        a = rpc_end(h, wait); /* R8 */
        assert_int_equal(a.code, 0);
        assert_int_equal(a.exit_status, 255);
        assert_int_equal(harness_record(h, "e1").reason, RECORD_RUNTIME_ERROR);
        assert_int_equal(rpc_do(h, "State", "e1").status, STOPPED);
        assert_int_equal(rpc_do(h, "Start", "e1").code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(rpc_kill_do(h, "e1", SIGKILL, false).code, STATUS_NOT_FOUND);
        assert_int_equal(rpc_do(h, "Delete", "e1").exit_status, 255);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        h->fake.fail[FAKE_EXEC] = NULL;
        h->stdout_path = "/nonexistent/fifo"; /* fails before the executor is asked */
        assert_int_equal(rpc_exec_do(h, "e2").code, 0);
        assert_int_equal(rpc_do(h, "Start", "e2").code, STATUS_UNKNOWN);
        assert_int_equal(rpc_do(h, "Wait", "e2").exit_status, 255);
}

static void a_failed_start_of_init_is_told_with_its_exit(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_create(h);
        h->fake.fail[FAKE_START] = "exec '/bin/x': no such file or directory";
        a = rpc_do(h, "Start", NULL);
        assert_int_equal(a.code, STATUS_UNKNOWN);
        assert_string_equal(a.text, "OCI runtime start failed: exec '/bin/x': no such file or "
                                    "directory");
        assert_int_equal(rpc_do(h, "State", NULL).status, CREATED);
        fake_exit(h->fake.init, CLD_EXITED, 127);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 127);
        assert_int_equal(harness_record(h, NULL).reason, RECORD_RUNTIME_ERROR);
        harness_await_events(h, 2);
        assert_string_equal(events_topics(&h->events), "create exit");
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 127);
}

static void an_init_that_died_while_start_failed_has_the_reason_too(void **state)
{
        struct harness *h = *state;
        struct reply *start;

        harness_create(h);
        h->fake.hold[FAKE_START] = true;
        h->fake.fail[FAKE_START] = "init is gone";
        start = rpc_begin(h, "Start", NULL);
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 1);
        harness_settle(h);
        fake_release(&h->fake, FAKE_START);
        assert_int_equal(rpc_end(h, start).code, STATUS_UNKNOWN);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 1);
        assert_int_equal(harness_record(h, NULL).reason, RECORD_RUNTIME_ERROR);
}

static void a_shared_pid_namespace_is_cleared_after_init(void **state)
{
        struct harness *h = *state;

        h->fake.private_pid_namespace = false;
        harness_run(h);
        harness_exec(h, "e1");
        fake_exit(h->fake.init, CLD_EXITED, 0);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 1); /* R38 */
        assert_int_equal(h->fake.last_kill_all, SIGKILL);
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
}

/* The next image knows what was so before the kill was over. */
static void crash_within_the_kill(struct harness *h)
{
        int then = harness_remember(h);
        struct error err = ERROR_INIT;

        h->fake.hold[FAKE_KILL_ALL] = false;
        fake_release(&h->fake, FAKE_KILL_ALL);
        harness_settle(h);
        if (harness_restart_from(h, then, &err) < 0)
                fail_msg("%s", err.msg);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 2);
}

static void a_crash_does_not_let_the_rest_live(void **state)
{
        struct harness *h = *state;

        h->fake.private_pid_namespace = false;
        harness_run(h);
        harness_exec(h, "e1");
        h->fake.hold[FAKE_KILL_ALL] = true;
        fake_exit(h->fake.init, CLD_EXITED, 5);
        harness_settle(h);
        crash_within_the_kill(h);
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 5);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
}

/* Its cgroup, or its pid namespace, may have got others by then. */
static void a_crash_long_after_init_kills_nobody(void **state)
{
        struct harness *h = *state;
        struct error err = ERROR_INIT;

        h->fake.private_pid_namespace = false;
        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 5);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 5);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 1);
        if (harness_restart(h, &err) < 0)
                fail_msg("%s", err.msg);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 1);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 5);
}

/* The exit is told as soon as all execs have ended, which does not say that the kill is over. */
static void a_crash_within_the_kill_repeats_it_also_when_the_exit_has_been_told(void **state)
{
        struct harness *h = *state;
        struct error err = ERROR_INIT;

        h->fake.private_pid_namespace = false;
        harness_run(h);
        h->fake.hold[FAKE_KILL_ALL] = true;
        fake_exit(h->fake.init, CLD_EXITED, 5);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 5);
        harness_settle(h);
        crash_within_the_kill(h);
        if (harness_restart(h, &err) < 0)
                fail_msg("%s", err.msg);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 2);
}

static void a_private_pid_namespace_is_left_to_the_kernel(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 0);
}

static void a_failing_kill_of_the_rest_does_not_hold_the_exit_up(void **state)
{
        struct harness *h = *state;

        h->fake.private_pid_namespace = false;
        h->fake.refuse[FAKE_KILL_ALL] = true;
        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 9);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 9);
}

static void an_exec_that_never_ends_keeps_inits_exit_for_a_bounded_time(void **state)
{
        const struct shim_times times = {.execs_ns = NSEC_PER_MSEC};
        struct harness *h = harness_new(&times);

        (void)state;
        harness_run(h);
        harness_exec(h, "e1");
        fake_exit(h->fake.init, CLD_EXITED, 6);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 6);
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 137);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        harness_await_events(h, 7);
        assert_string_equal(events_topics(&h->events),
                            "create start exec-added exec-started exit exit delete");
        harness_free(h);
}

static void twenty_execs_at_once_lose_no_exit(void **state)
{
        static const char *const methods[] = {"Start", "Wait"};
        struct harness *h = *state;
        struct reply *replies[2][20];
        char ids[20][8];

        harness_run(h);
        for (int i = 0; i < 20; i++) {
                (void)snprintf(ids[i], sizeof(ids[i]), "e%d", i);
                assert_int_equal(rpc_exec_do(h, ids[i]).code, 0);
        }
        h->fake.exec_exits_at_once = true;
        for (int m = 0; m < 2; m++) {
                for (int i = 0; i < 20; i++)
                        replies[m][i] = rpc_begin(h, methods[m], ids[i]);
        }
        for (int m = 0; m < 2; m++) {
                for (int i = 0; i < 20; i++)
                        assert_int_equal(rpc_end(h, replies[m][i]).code, 0);
        }
        harness_await_events(h, 62);
        for (int i = 0; i < 20; i++)
                assert_int_equal(rpc_do(h, "Delete", ids[i]).code, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(an_exit_during_start_is_told_after_the_start),
                TEST(an_exit_right_after_create_is_told_once),
                TEST(the_exits_of_execs_are_told_before_inits),
                TEST(no_exec_starts_after_init_was_reaped),
                TEST(a_start_that_hangs_after_init_has_ended_ends_for_a_delete),
                TEST(a_start_that_hangs_ends_with_a_container_that_is_killed),
                TEST(an_exec_that_hangs_in_its_start_ends_with_init),
                TEST(an_exec_that_was_starting_when_init_ended_is_killed_and_told_first),
                TEST(an_exec_that_fails_to_start_does_not_keep_inits_exit),
                TEST(a_failed_exec_releases_its_waiters_and_is_not_started_again),
                TEST(a_failed_start_of_init_is_told_with_its_exit),
                TEST(an_init_that_died_while_start_failed_has_the_reason_too),
                TEST(a_shared_pid_namespace_is_cleared_after_init),
                TEST(a_crash_does_not_let_the_rest_live),
                TEST(a_crash_long_after_init_kills_nobody),
                TEST(a_crash_within_the_kill_repeats_it_also_when_the_exit_has_been_told),
                TEST(a_private_pid_namespace_is_left_to_the_kernel),
                TEST(a_failing_kill_of_the_rest_does_not_hold_the_exit_up),
                cmocka_unit_test(an_exec_that_never_ends_keeps_inits_exit_for_a_bounded_time),
                TEST(twenty_execs_at_once_lose_no_exit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
