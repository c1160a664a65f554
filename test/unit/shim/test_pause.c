/* SPDX-License-Identifier: Apache-2.0
 *
 * Pause, Resume and Update: what is answered when, the order of events, and what becomes of them
 * when the container ends at the same time.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "pkg/base/cleanup.h"

#include "shim/record.h"
#include "test/unit/shim/harness.h"

enum { CREATED = 1, RUNNING, STOPPED, PAUSED, PAUSING };

static uint32_t status_of(struct harness *h, const char *exec_id)
{
        return rpc_do(h, "State", exec_id).status;
}

static bool record_says_paused(const struct harness *h)
{
        _cleanup_close_ int fd = open(h->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct shim_record record = {.pid = 0};
        struct error err = ERROR_INIT;

        if (shim_record_read(fd, NULL, &record, &err) < 0)
                fail_msg("%s", err.msg);
        return record.paused;
}

static void run_paused(struct harness *h)
{
        fake_cgroup(&h->fake, h->dir);
        harness_run(h);
        assert_int_equal(rpc_do(h, "Pause", NULL).code, 0);
}

static struct reply *update_begin(struct harness *h, const char *json)
{
        Containerd__Task__V2__UpdateTaskRequest m = CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

        m.id = (char *)"c1";
        any.type_url = (char *)"of/no/importance";
        if (json) {
                any.value.data = (uint8_t *)json;
                any.value.len = strlen(json);
                m.resources = &any;
        }
        return call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Update", &m.base,
                          0);
}

/* ---- Pause and Resume ---- */

static void state_says_pausing_while_a_pause_is_under_way(void **state)
{
        struct harness *h = *state;
        struct reply *pause;

        harness_run(h);
        harness_exec(h, "e1");
        pause = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE); /* R17 */
        assert_int_equal(status_of(h, NULL), PAUSING);
        assert_int_equal(status_of(h, "e1"), PAUSING);
        assert_false(record_says_paused(h));
        fake_release(&h->fake, FAKE_PAUSE);
        assert_int_equal(rpc_end(h, pause).code, 0);
        assert_int_equal(status_of(h, NULL), PAUSED);
        assert_int_equal(status_of(h, "e1"), PAUSED);
        assert_true(record_says_paused(h));
        assert_int_equal(rpc_do(h, "Resume", NULL).code, 0);
        assert_int_equal(status_of(h, NULL), RUNNING);
        assert_false(record_says_paused(h));
        harness_await_events(h, 6);
        assert_string_equal(events_topics(&h->events),
                            "create start exec-added exec-started paused resumed");
}

static void an_exec_in_a_container_that_was_not_started_shows_its_own_state(void **state)
{
        struct harness *h = *state;

        harness_create(h);
        harness_exec(h, "e1");
        assert_int_equal(status_of(h, NULL), CREATED);
        assert_int_equal(status_of(h, "e1"), RUNNING);
}

static void a_failed_pause_leaves_a_running_container_and_no_event(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        h->fake.fail[FAKE_PAUSE] = "freeze cgroup '/x': not done";
        a = rpc_do(h, "Pause", NULL);
        assert_int_equal(a.code, STATUS_UNKNOWN);
        assert_string_equal(a.text, "OCI runtime pause failed: freeze cgroup '/x': not done");
        assert_int_equal(status_of(h, NULL), RUNNING);
        h->fake.refuse[FAKE_PAUSE] = true;
        assert_int_equal(rpc_do(h, "Pause", NULL).code, STATUS_UNKNOWN);
        h->fake.fail[FAKE_PAUSE] = NULL;
        h->fake.refuse[FAKE_PAUSE] = false;
        assert_int_equal(rpc_do(h, "Pause", NULL).code, 0);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create start paused");
}

static void a_failed_resume_leaves_a_paused_container(void **state)
{
        struct harness *h = *state;

        run_paused(h);
        h->fake.fail[FAKE_RESUME] = "thaw";
        assert_string_equal(rpc_do(h, "Resume", NULL).text, "OCI runtime resume failed: thaw");
        assert_int_equal(status_of(h, NULL), PAUSED);
        h->fake.fail[FAKE_RESUME] = NULL;
        assert_int_equal(rpc_do(h, "Resume", NULL).code, 0);
}

static void a_paused_container_refuses_execs_in_the_stock_shims_words(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        assert_int_equal(rpc_do(h, "Pause", NULL).code, 0);
        a = rpc_exec_do(h, "e2");
        assert_int_equal(a.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(a.text, "cannot exec in a paused state");
        assert_int_equal(rpc_do(h, "Start", "e1").code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(rpc_do(h, "Delete", NULL).text, "cannot delete a paused process");
        assert_int_equal(rpc_do(h, "Resume", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Start", "e1").code, 0);
}

static void a_pause_waits_for_the_starts_of_execs(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *pause;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        h->fake.hold[FAKE_EXEC] = true;
        start = rpc_begin(h, "Start", "e1");
        harness_settle(h);
        pause = rpc_begin(h, "Pause", NULL);
        harness_settle(h);
        assert_false(pause->done);
        assert_int_equal(h->fake.n_calls[FAKE_PAUSE], 0);
        assert_int_equal(status_of(h, NULL), RUNNING);
        fake_release(&h->fake, FAKE_EXEC);
        assert_int_equal(rpc_end(h, start).code, 0);
        assert_int_equal(rpc_end(h, pause).code, 0);
        harness_await_events(h, 5);
        assert_string_equal(events_topics(&h->events),
                            "create start exec-added exec-started paused");
}

static void a_pause_during_start_comes_after_it(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *pause;

        harness_create(h);
        start = rpc_begin_held(h, "Start", NULL, FAKE_START);
        pause = rpc_begin(h, "Pause", NULL);
        harness_settle(h);
        assert_false(pause->done);
        fake_release(&h->fake, FAKE_START);
        assert_int_equal(rpc_end(h, start).code, 0);
        assert_int_equal(rpc_end(h, pause).code, 0);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create start paused");
}

static void verbs_that_come_during_a_pause_are_answered_after_it(void **state)
{
        struct harness *h = *state;
        struct reply *first;
        struct reply *second;
        struct reply *resume;
        struct reply *delete_;

        harness_run(h);
        first = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE);
        second = rpc_begin(h, "Pause", NULL);
        delete_ = rpc_begin(h, "Delete", NULL);
        resume = rpc_begin(h, "Resume", NULL);
        harness_settle(h);
        assert_false(second->done || delete_->done || resume->done);
        fake_release(&h->fake, FAKE_PAUSE);
        assert_int_equal(rpc_end(h, first).code, 0);
        assert_string_equal(rpc_end(h, second).text, "cannot pause a paused container");
        assert_string_equal(rpc_end(h, delete_).text, "cannot delete a paused process");
        assert_int_equal(rpc_end(h, resume).code, 0);
        assert_int_equal(h->fake.n_aborted, 0);
}

/* ---- The end ---- */

static void sigkill_lets_a_paused_container_go(void **state)
{
        struct harness *h = *state;

        run_paused(h);
        assert_int_equal(rpc_kill_do(h, "", SIGTERM, false).code, 0);
        assert_false(fake_is_thawed(&h->fake));
        assert_int_equal(status_of(h, NULL), PAUSED);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, false).code, 0);
        assert_int_equal(h->fake.last_signal, SIGKILL);
        assert_true(fake_is_thawed(&h->fake));
        assert_false(record_says_paused(h));
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 137);
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 137);
        harness_await_events(h, 5);
        assert_string_equal(events_topics(&h->events), "create start paused exit delete");
}

static void sigkill_ends_a_pause_that_is_under_way(void **state)
{
        struct harness *h = *state;
        struct reply *pause;
        struct answer a;

        harness_run(h);
        pause = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, false).code, 0);
        a = rpc_end(h, pause);
        assert_int_equal(a.code, STATUS_FAILED_PRECONDITION);
        assert_string_equal(a.text, "OCI runtime pause failed: the container is ending");
        assert_int_equal(h->fake.n_aborted, 1);
        assert_int_equal(status_of(h, NULL), RUNNING);
}

static void a_pause_that_succeeds_in_spite_of_sigkill_is_undone(void **state)
{
        struct harness *h = *state;
        struct reply *pause;

        fake_cgroup(&h->fake, h->dir);
        harness_run(h);
        h->fake.abort_is_late = true;
        pause = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, false).code, 0);
        assert_int_equal(rpc_end(h, pause).code, 0);
        harness_settle(h);
        assert_true(fake_is_thawed(&h->fake));
        assert_int_equal(status_of(h, NULL), RUNNING);
}

static void kill_all_lets_a_paused_container_go(void **state)
{
        struct harness *h = *state;

        run_paused(h);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, true).code, 0);
        assert_int_equal(h->fake.last_kill_all, SIGKILL);
        assert_true(fake_is_thawed(&h->fake));
        assert_int_equal(status_of(h, NULL), RUNNING);
}

static void an_init_that_ends_while_it_is_paused_is_thawed_and_then_stopped(void **state)
{
        struct harness *h = *state;

        run_paused(h); /* R16 */
        fake_exit(h->fake.init, CLD_EXITED, 3);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 3);
        assert_true(fake_is_thawed(&h->fake));
        assert_int_equal(status_of(h, NULL), STOPPED);
        assert_false(record_says_paused(h));
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        harness_await_events(h, 5);
        assert_string_equal(events_topics(&h->events), "create start paused exit delete");
}

static void an_init_that_ends_while_it_is_being_paused(void **state)
{
        struct harness *h = *state;
        struct reply *pause;

        harness_run(h);
        pause = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        assert_int_equal(rpc_end(h, pause).code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 3);
        assert_int_equal(status_of(h, NULL), STOPPED);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create start exit");
}

static void an_init_that_ends_while_it_is_being_resumed(void **state)
{
        struct harness *h = *state;
        struct reply *resume;

        run_paused(h);
        resume = rpc_begin_held(h, "Resume", NULL, FAKE_RESUME);
        assert_int_equal(status_of(h, NULL), PAUSED);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        assert_int_equal(rpc_end(h, resume).code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 3);
        assert_true(fake_is_thawed(&h->fake));
        assert_int_equal(status_of(h, NULL), STOPPED);
}

static void a_stop_of_the_shim_ends_a_pause(void **state)
{
        struct harness *h = *state;
        struct reply *pause;

        harness_run(h);
        pause = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE);
        shim_server_stop(h->server, "test");
        assert_string_equal(rpc_end(h, pause).text, "OCI runtime pause failed: the shim is ending");
        harness_run_until(h, &h->finished);
}

/* ---- Update ---- */

static void an_update_passes_the_resources_on(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_create(h);
        assert_int_equal(rpc_end(h, update_begin(h, "{\"pids\":{}}")).code, 0);
        assert_string_equal(h->fake.last_spec, "{\"pids\":{}}");
        assert_int_equal(rpc_do(h, "Start", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Pause", NULL).code, 0);
        assert_int_equal(rpc_end(h, update_begin(h, "{}")).code, 0);
        assert_int_equal(status_of(h, NULL), PAUSED);
        h->fake.fail[FAKE_UPDATE] = "resources.cpu.shares: no";
        h->fake.fail_code = STATUS_INVALID_ARGUMENT;
        a = rpc_end(h, update_begin(h, "{}"));
        assert_int_equal(a.code, STATUS_INVALID_ARGUMENT);
        assert_string_equal(a.text, "OCI runtime update failed: resources.cpu.shares: no");
}

static void an_update_without_resources_or_of_a_stopped_container_is_refused(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        assert_int_equal(rpc_end(h, update_begin(h, NULL)).code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(rpc_end(h, update_begin(h, "")).code, STATUS_INVALID_ARGUMENT);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_string_equal(rpc_end(h, update_begin(h, "{}")).text,
                            "cannot update a stopped container");
        assert_int_equal(h->fake.n_calls[FAKE_UPDATE], 0);
}

static void updates_are_done_one_after_the_other(void **state)
{
        struct harness *h = *state;
        struct reply *first;
        struct reply *second;

        harness_run(h);
        h->fake.hold[FAKE_UPDATE] = true;
        first = update_begin(h, "{\"n\":1}");
        second = update_begin(h, "{\"n\":2}");
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_UPDATE], 1);
        fake_release(&h->fake, FAKE_UPDATE);
        assert_int_equal(rpc_end(h, first).code, 0);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_UPDATE], 2);
        assert_string_equal(h->fake.last_spec, "{\"n\":2}");
        fake_release(&h->fake, FAKE_UPDATE);
        assert_int_equal(rpc_end(h, second).code, 0);
}

/* It may stop the container for a moment and let it go on. */
static void an_update_is_never_beside_a_pause_or_a_resume(void **state)
{
        struct harness *h = *state;
        struct reply *update;
        struct reply *pause;
        struct reply *resume;

        harness_run(h);
        h->fake.hold[FAKE_UPDATE] = true;
        update = update_begin(h, "{}");
        pause = rpc_begin(h, "Pause", NULL);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_PAUSE], 0);
        fake_release(&h->fake, FAKE_UPDATE);
        assert_int_equal(rpc_end(h, update).code, 0);
        assert_int_equal(rpc_end(h, pause).code, 0);
        update = update_begin(h, "{}");
        resume = rpc_begin(h, "Resume", NULL);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_RESUME], 0);
        fake_release(&h->fake, FAKE_UPDATE);
        assert_int_equal(rpc_end(h, update).code, 0);
        assert_int_equal(rpc_end(h, resume).code, 0);
        h->fake.hold[FAKE_UPDATE] = false;
        pause = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE);
        update = update_begin(h, "{}");
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_UPDATE], 2);
        fake_release(&h->fake, FAKE_PAUSE);
        assert_int_equal(rpc_end(h, pause).code, 0);
        assert_int_equal(rpc_end(h, update).code, 0);
}

static void an_update_ends_with_its_container(void **state)
{
        struct harness *h = *state;
        struct reply *update;

        harness_run(h);
        h->fake.hold[FAKE_UPDATE] = true;
        update = update_begin(h, "{}");
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_end(h, update).code, STATUS_CANCELED);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(state_says_pausing_while_a_pause_is_under_way),
                CASE(an_exec_in_a_container_that_was_not_started_shows_its_own_state),
                CASE(a_failed_pause_leaves_a_running_container_and_no_event),
                CASE(a_failed_resume_leaves_a_paused_container),
                CASE(a_paused_container_refuses_execs_in_the_stock_shims_words),
                CASE(a_pause_waits_for_the_starts_of_execs),
                CASE(a_pause_during_start_comes_after_it),
                CASE(verbs_that_come_during_a_pause_are_answered_after_it),
                CASE(sigkill_lets_a_paused_container_go),
                CASE(sigkill_ends_a_pause_that_is_under_way),
                CASE(a_pause_that_succeeds_in_spite_of_sigkill_is_undone),
                CASE(kill_all_lets_a_paused_container_go),
                CASE(an_init_that_ends_while_it_is_paused_is_thawed_and_then_stopped),
                CASE(an_init_that_ends_while_it_is_being_paused),
                CASE(an_init_that_ends_while_it_is_being_resumed),
                CASE(a_stop_of_the_shim_ends_a_pause),
                CASE(an_update_passes_the_resources_on),
                CASE(an_update_without_resources_or_of_a_stopped_container_is_refused),
                CASE(updates_are_done_one_after_the_other),
                CASE(an_update_is_never_beside_a_pause_or_a_resume),
                CASE(an_update_ends_with_its_container),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
