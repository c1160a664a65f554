/* SPDX-License-Identifier: Apache-2.0
 *
 * What each method answers, in good order and in bad.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/limits.h"

#include "containerd/task/v3/task.pb-c.h"
#include "test/unit/shim/harness.h"

enum { CREATED = 1, RUNNING = 2, STOPPED = 3 };

static void a_container_lives_from_create_to_shutdown(void **state)
{
        struct harness *h = *state;
        struct reply *wait;
        struct answer a;

        harness_create(h);
        a = rpc_do(h, "State", NULL);
        assert_int_equal(a.status, CREATED);
        assert_int_equal(a.seconds, NOT_EXITED);
        assert_int_equal(a.pid, fake_pid(h->fake.init));
        wait = rpc_begin(h, "Wait", NULL);
        assert_int_equal(rpc_do(h, "Start", NULL).code, 0);
        assert_int_equal(rpc_do(h, "State", NULL).status, RUNNING);
        assert_false(wait->done);
        fake_exit(h->fake.init, CLD_EXITED, 7);
        a = rpc_end(h, wait);
        assert_int_equal(a.exit_status, 7);
        assert_true(a.seconds > 1600000000);
        a = rpc_do(h, "State", NULL);
        assert_int_equal(a.status, STOPPED);
        assert_int_equal(a.exit_status, 7);
        assert_int_equal(a.pid, fake_pid(h->fake.init));
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 7);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        assert_false(h->finished);
        a = rpc_do(h, "Delete", NULL);
        assert_int_equal(a.code, 0);
        assert_int_equal(a.exit_status, 7);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_NOT_FOUND);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        harness_run_until(h, &h->finished);
        assert_string_equal(events_topics(&h->events), "create start exit delete");
}

static void state_tells_what_was_asked_for(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__CreateTaskRequest m = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
        Containerd__Task__V2__StateRequest q = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        const ProtobufCServiceDescriptor *v2 = &containerd__task__v2__task__descriptor;
        const Containerd__Task__V2__StateResponse *got;
        char uri[128];
        struct reply *r;

        (void)snprintf(uri, sizeof(uri), "file://%s/out", h->dir);
        m.id = q.id = (char *)"c1";
        m.bundle = h->dir;
        m.stdout = m.stderr = uri;
        assert_int_equal(rpc_end(h, call_begin(h, h->client, v2, "Create", &m.base, 0)).code, 0);
        r = call_begin(h, h->client, v2, "State", &q.base, 0);
        harness_run_until(h, &r->done);
        got = r->message;
        assert_string_equal(got->id, "c1");
        assert_string_equal(got->bundle, h->dir);
        assert_string_equal(got->stdout, uri);
        assert_string_equal(got->stderr, uri);
        assert_string_equal(got->stdin, "");
        assert_string_equal(got->exec_id, "");
        reply_free(r);
}

static void version_3_is_the_same_service(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__StateRequest m = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        struct answer a;

        harness_run(h);
        m.id = (char *)"c1";
        a = rpc_end(h, call_begin(h, h->client, &containerd__task__v3__task__descriptor, "State",
                                  &m.base, 0));
        assert_int_equal(a.code, 0);
        assert_int_equal(a.status, RUNNING);
}

static void an_unknown_container_is_not_found_in_containerds_words(void **state)
{
        static const char *const methods[] = {"State", "Start", "Delete",  "Kill",     "Exec",
                                              "Wait",  "Pids",  "CloseIO", "ResizePty"};
        struct harness *h = *state;

        for (size_t i = 0; i < UNIT_COUNT(methods); i++) {
                struct answer a = rpc_do(h, methods[i], NULL);

                assert_int_equal(a.code, STATUS_NOT_FOUND);
                assert_string_equal(a.text, "container not created: not found");
        }
}

static void an_unknown_exec_is_not_found_in_containerds_words(void **state)
{
        static const char *const methods[] = {"State", "Start",   "Delete",   "Kill",
                                              "Wait",  "CloseIO", "ResizePty"};
        struct harness *h = *state;

        harness_run(h);
        for (size_t i = 0; i < UNIT_COUNT(methods); i++) {
                struct answer a = rpc_do(h, methods[i], "nobody");

                assert_int_equal(a.code, STATUS_NOT_FOUND);
                assert_string_equal(a.text, "process does not exist nobody: not found");
        }
}

static void what_is_not_supported_is_refused_by_name(void **state)
{
        static const char *const methods[] = {"Checkpoint"};
        struct harness *h = *state;

        for (size_t i = 0; i < UNIT_COUNT(methods); i++) {
                struct answer a = rpc_do(h, methods[i], NULL);

                assert_int_equal(a.code, STATUS_UNIMPLEMENTED);
                assert_memory_equal(a.text, methods[i], strlen(methods[i]));
        }
}

static void connect_answers_for_any_id_at_any_time(void **state)
{
        struct harness *h = *state;
        struct answer a = rpc_do(h, "Connect", NULL);

        assert_int_equal(a.code, 0);
        assert_int_equal(a.status, getpid());
        assert_int_equal(a.pid, 0);
        harness_run(h);
        assert_int_equal(rpc_do(h, "Connect", NULL).pid, fake_pid(h->fake.init));
}

/* ---- Start ---- */

static void a_start_in_the_wrong_state_is_a_failed_precondition(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        assert_int_equal(rpc_do(h, "Start", NULL).code, STATUS_FAILED_PRECONDITION);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Start", NULL).code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(h->fake.n_calls[FAKE_START], 1);
}

static void two_starts_at_once_start_once(void **state)
{
        struct harness *h = *state;
        struct reply *first;

        harness_create(h);
        h->fake.hold[FAKE_START] = true;
        first = rpc_begin(h, "Start", NULL);
        assert_int_equal(rpc_do(h, "Start", NULL).code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(rpc_do(h, "State", NULL).status, CREATED);
        fake_release(&h->fake, FAKE_START);
        assert_int_equal(rpc_end(h, first).code, 0);
}

/* ---- Exec ---- */

static void an_exec_lives_beside_the_init(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        a = rpc_do(h, "State", "e1");
        assert_int_equal(a.status, CREATED);
        assert_int_equal(a.pid, 0);
        a = rpc_do(h, "Start", "e1");
        assert_int_equal(a.pid, fake_pid(h->fake.exec));
        assert_string_equal(h->fake.last_spec, "{\"args\":[\"sh\"]}");
        assert_int_equal(rpc_do(h, "State", "e1").status, RUNNING);
        assert_int_equal(rpc_do(h, "Delete", "e1").code, STATUS_FAILED_PRECONDITION);
        fake_exit(h->fake.exec, CLD_KILLED, SIGTERM);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 128 + SIGTERM);
        assert_int_equal(rpc_do(h, "State", "e1").status, STOPPED);
        a = rpc_do(h, "Delete", "e1");
        assert_int_equal(a.exit_status, 128 + SIGTERM);
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
        assert_int_equal(rpc_do(h, "State", NULL).status, RUNNING);
        harness_await_events(h, 5);
        assert_string_equal(events_topics(&h->events), "create start exec-added exec-started exit");
}

static void an_exec_id_is_used_once_at_a_time(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        a = rpc_exec_do(h, "e1");
        assert_int_equal(a.code, STATUS_ALREADY_EXISTS);
        assert_string_equal(a.text, "id e1: already exists");
        assert_int_equal(rpc_do(h, "Delete", "e1").code, 0);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
}

static void a_bad_exec_is_refused(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "").code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(rpc_exec_do(h, "../../etc").code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(rpc_do(h, "Exec", "no-spec").code, STATUS_INVALID_ARGUMENT);
}

static void an_exec_that_was_never_started_is_deleted_with_zeros(void **state)
{
        struct harness *h = *state;
        struct reply *wait;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        wait = rpc_begin(h, "Wait", "e1");
        a = rpc_do(h, "Delete", "e1");
        assert_int_equal(a.code, 0);
        assert_int_equal(a.pid, 0);
        assert_int_equal(a.exit_status, 0);
        assert_int_equal(a.seconds, NOT_EXITED);
        assert_int_equal(rpc_end(h, wait).code, STATUS_NOT_FOUND);
}

static void a_thousand_execs_leave_the_memory_as_it_was(void **state)
{
        struct harness *h = *state;
        size_t before = 0;

        harness_run(h);
        for (int i = 0; i < 1200; i++) {
                harness_exec(h, "e");
                fake_exit(h->fake.exec, CLD_EXITED, 0);
                assert_int_equal(rpc_do(h, "Wait", "e").code, 0);
                assert_int_equal(rpc_do(h, "Delete", "e").code, 0);
                harness_await_events(h, 3);
                h->events.n = 0;
                if (i == 200)
                        before = mallinfo2().uordblks;
        }
        assert_true(mallinfo2().uordblks <= before + 1024);
        assert_int_equal(h->fake.n_processes, 1);
}

/* ---- Kill ---- */

static void kill_reaches_the_process_it_names(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_kill_do(h, "", SIGTERM, false).code, 0);
        assert_int_equal(h->fake.last_signal, SIGTERM);
        assert_int_equal(rpc_kill_do(h, "", 0, false).code, 0);
        assert_int_equal(h->fake.last_signal, 0);
        assert_int_equal(rpc_kill_do(h, "", SIGUSR1, true).code, 0);
        assert_int_equal(h->fake.last_kill_all, SIGUSR1);
        assert_int_equal(rpc_kill_do(h, "", 65, false).code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        a = rpc_kill_do(h, "e1", SIGKILL, true);
        assert_int_equal(a.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(a.text, "process not created");
        assert_int_equal(rpc_do(h, "Start", "e1").code, 0);
        assert_int_equal(rpc_kill_do(h, "e1", SIGHUP, true).code, 0);
        assert_int_equal(h->fake.last_signal, SIGHUP);
        assert_int_equal(h->fake.n_calls[FAKE_KILL_ALL], 1);
}

static void kill_after_the_exit_is_not_found_but_all_still_reaches_the_rest(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        a = rpc_kill_do(h, "", SIGKILL, false);
        assert_int_equal(a.code, STATUS_NOT_FOUND);
        assert_string_equal(a.text, "process already finished");
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, true).code, 0);
        h->fake.fail[FAKE_KILL_ALL] = "no cgroup";
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, true).code, STATUS_UNKNOWN);
}

static void sigkill_while_an_exec_starts_ends_the_start(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        h->fake.hold[FAKE_EXEC] = true;
        start = rpc_begin(h, "Start", "e1");
        harness_settle(h);
        assert_int_equal(rpc_kill_do(h, "e1", SIGKILL, false).code, 0);
        a = rpc_end(h, start);
        assert_int_equal(a.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(a.text, "OCI runtime exec failed: the process was killed while it was "
                                    "being started");
        assert_int_equal(h->fake.n_aborted, 1);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 255);
        assert_int_equal(rpc_do(h, "Delete", "e1").code, 0);
}

static void sigkill_that_comes_too_late_for_the_start_is_sent(void **state)
{
        struct harness *h = *state;
        struct reply *start;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        h->fake.hold[FAKE_EXEC] = true;
        h->fake.abort_is_late = true;
        start = rpc_begin(h, "Start", "e1");
        harness_settle(h);
        assert_int_equal(rpc_kill_do(h, "e1", SIGKILL, false).code, 0);
        assert_int_equal(rpc_end(h, start).code, 0);
        assert_int_equal(h->fake.last_signal, SIGKILL);
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 137);
}

static void a_kill_while_an_exec_starts_waits_for_it(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__KillRequest m = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
        struct reply *start;
        struct reply *kill;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        h->fake.hold[FAKE_EXEC] = true;
        start = rpc_begin(h, "Start", "e1");
        m.id = (char *)"c1";
        m.exec_id = (char *)"e1";
        m.signal = SIGINT;
        kill = call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Kill", &m.base,
                          0);
        harness_settle(h);
        assert_false(kill->done);
        fake_release(&h->fake, FAKE_EXEC);
        assert_int_equal(rpc_end(h, start).code, 0);
        assert_int_equal(rpc_end(h, kill).code, 0);
        assert_int_equal(h->fake.last_signal, SIGINT);
}

/* ---- Wait ---- */

static void many_waits_end_with_one_exit(void **state)
{
        struct harness *h = *state;
        struct reply *waits[50];

        harness_create(h);
        for (size_t i = 0; i < UNIT_COUNT(waits); i++)
                waits[i] = rpc_begin(h, "Wait", NULL);
        assert_int_equal(rpc_do(h, "Start", NULL).code, 0);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        for (size_t i = 0; i < UNIT_COUNT(waits); i++)
                assert_int_equal(rpc_end(h, waits[i]).exit_status, 3);
}

static void a_wait_ends_with_its_deadline_or_its_connection(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__WaitRequest m = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        const ProtobufCServiceDescriptor *v2 = &containerd__task__v2__task__descriptor;
        struct ttrpc_client *other = harness_connect(h);
        struct reply *lost;

        harness_run(h);
        m.id = (char *)"c1";
        assert_int_equal(
                rpc_end(h, call_begin(h, h->client, v2, "Wait", &m.base, NSEC_PER_MSEC)).code,
                STATUS_DEADLINE_EXCEEDED);
        lost = call_begin(h, other, v2, "Wait", &m.base, 0);
        harness_settle(h);
        ttrpc_client_free(other);
        assert_int_equal(rpc_end(h, lost).code, STATUS_CANCELED);
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 3);
}

static void waits_that_nobody_reads_any_more_leave_room_for_a_kill(void **state)
{
        enum { N = 5000 }; /* above what one connection may have outstanding */
        struct harness *h = *state;
        struct reply **waits = calloc(N, sizeof(*waits));
        size_t n_waiting = 0;

        assert_non_null(waits);
        harness_run(h);
        for (int i = 0; i < N; i++) {
                waits[i] = rpc_begin(h, "Wait", NULL);
                if (i % 100 == 0)
                        harness_settle(h);
        }
        harness_settle(h);
        for (int i = 0; i < N; i++)
                n_waiting += !waits[i]->done;
        assert_int_equal(n_waiting, LIMIT_WAITING_CALLS);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, false).code, 0);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_end(h, waits[0]).exit_status, 137);
        assert_int_equal(rpc_end(h, waits[N - 1]).code, STATUS_RESOURCE_EXHAUSTED);
        for (int i = 1; i < N - 1; i++)
                (void)rpc_end(h, waits[i]);
        free(waits);
}

/* ---- Stats, ResizePty, CloseIO ---- */

static void stats_without_a_cgroup_are_not_found(void **state)
{
        struct harness *h = *state;
        struct answer a = rpc_do(h, "Stats", NULL);

        assert_int_equal(a.code, STATUS_NOT_FOUND);
        harness_run(h);
        a = rpc_do(h, "Stats", NULL);
        assert_int_equal(a.code, STATUS_NOT_FOUND);
        assert_string_equal(a.text, "cgroup does not exist");
}

static void stats_are_those_of_the_executors_cgroup(void **state)
{
        Containerd__Task__V2__StatsRequest m = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
        const Containerd__Task__V2__StatsResponse *got;
        struct harness *h = *state;
        struct reply *r;

        fake_cgroup(&h->fake, h->dir);
        fake_oom(&h->fake, 3, 2);
        harness_run(h);
        m.id = (char *)"c1";
        r = call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Stats", &m.base, 0);
        harness_run_until(h, &r->done);
        assert_int_equal(r->err.code, 0);
        got = r->message;
        assert_string_equal(got->stats->type_url, "io.containerd.cgroups.v2.Metrics");
        assert_true(got->stats->value.len > 0);
        reply_free(r);
        assert_int_equal(rpc_do(h, "Stats", NULL).code, 0);
}

static struct winsize size_of_terminal(const struct harness *h)
{
        struct winsize size = {0};

        assert_int_equal(ioctl(h->fake.slave, TIOCGWINSZ, &size), 0);
        return size;
}

static void a_terminal_is_resized_also_before_it_is_there(void **state)
{
        struct harness *h = *state;

        h->terminal = true;
        harness_run(h);
        assert_int_equal(rpc_resize_do(h, "", 80, 25).code, 0);
        assert_int_equal(size_of_terminal(h).ws_col, 80);
        assert_int_equal(size_of_terminal(h).ws_row, 25);
        assert_int_equal(rpc_resize_do(h, "", 65536, 25).code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        assert_int_equal(rpc_resize_do(h, "e1", 120, 50).code, 0);
        assert_int_equal(rpc_do(h, "Start", "e1").code, 0);
        assert_int_equal(size_of_terminal(h).ws_col, 120);
        assert_int_equal(size_of_terminal(h).ws_row, 50);
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", "e1").code, 0);
        assert_int_equal(rpc_resize_do(h, "e1", 80, 25).code, STATUS_FAILED_PRECONDITION);
}

static void without_a_terminal_a_resize_does_nothing(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        assert_int_equal(rpc_resize_do(h, "", 80, 25).code, 0);
}

static void close_io_may_come_at_any_time_and_twice(void **state)
{
        struct harness *h = *state;

        harness_create(h);
        assert_int_equal(rpc_do(h, "CloseIO", NULL).code, 0);
        assert_int_equal(rpc_do(h, "CloseIO", NULL).code, 0);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        assert_int_equal(rpc_do(h, "CloseIO", "e1").code, 0);
        assert_int_equal(rpc_do(h, "Start", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Start", "e1").code, 0);
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", "e1").code, 0);
        assert_int_equal(rpc_do(h, "CloseIO", "e1").code, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_container_lives_from_create_to_shutdown),
                TEST(state_tells_what_was_asked_for),
                TEST(version_3_is_the_same_service),
                TEST(an_unknown_container_is_not_found_in_containerds_words),
                TEST(an_unknown_exec_is_not_found_in_containerds_words),
                TEST(what_is_not_supported_is_refused_by_name),
                TEST(connect_answers_for_any_id_at_any_time),
                TEST(a_start_in_the_wrong_state_is_a_failed_precondition),
                TEST(two_starts_at_once_start_once),
                TEST(an_exec_lives_beside_the_init),
                TEST(an_exec_id_is_used_once_at_a_time),
                TEST(a_bad_exec_is_refused),
                TEST(an_exec_that_was_never_started_is_deleted_with_zeros),
                TEST(a_thousand_execs_leave_the_memory_as_it_was),
                TEST(kill_reaches_the_process_it_names),
                TEST(kill_after_the_exit_is_not_found_but_all_still_reaches_the_rest),
                TEST(a_kill_while_an_exec_starts_waits_for_it),
                TEST(sigkill_while_an_exec_starts_ends_the_start),
                TEST(sigkill_that_comes_too_late_for_the_start_is_sent),
                TEST(many_waits_end_with_one_exit),
                TEST(a_wait_ends_with_its_deadline_or_its_connection),
                TEST(waits_that_nobody_reads_any_more_leave_room_for_a_kill),
                TEST(stats_without_a_cgroup_are_not_found),
                TEST(stats_are_those_of_the_executors_cgroup),
                TEST(a_terminal_is_resized_also_before_it_is_there),
                TEST(without_a_terminal_a_resize_does_nothing),
                TEST(close_io_may_come_at_any_time_and_twice),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
