/* SPDX-License-Identifier: Apache-2.0
 *
 * When an upgrade executes the next binary: not before it was tried out, nor within anything that
 * an execve(2) would break. What the binary does and how it is executed is the owner's; here it
 * always fails in the end.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

#include "belay/v1/belay.pb-c.h"
#include "shim/server_impl.h"
#include "shim/state.h"
#include "test/unit/shim/harness.h"

enum { LARGE = 3 << 20 };

/* For an upgrade that is to give up. */
#define SHORT_NS (50 * NSEC_PER_MSEC)

/* The owner of the process, whose userdata is the harness. */
static struct {
        void (*checked)(const struct error *err, void *userdata);
        void *userdata;
        unsigned n_executed;
} owner;

static int begin_check(const char *path, void (*fn)(const struct error *err, void *userdata),
                       void *userdata, void *harness, struct error *err)
{
        (void)harness;
        if (path)
                return error_set(err, STATUS_NOT_FOUND, "no '%s'", path);
        owner.checked = fn;
        owner.userdata = userdata;
        return 0;
}

static void execute(const char *path, void *harness, struct error *err)
{
        const struct harness *h = harness;

        (void)path;
        owner.n_executed++;
        loop_quit(h->loop);
        (void)error_set(err, STATUS_UNKNOWN, "the kernel does not like it");
}

static const struct shim_upgrade_ops ops = {.check = begin_check, .execute = execute};

static int setup(void **state)
{
        const struct shim_times times = {
                .backoff_min_ns = NSEC_PER_MSEC,
                .backoff_max_ns = 4 * NSEC_PER_MSEC,
        };
        struct harness *h = harness_new(&times);

        h->server->upgrade_ops = &ops;
        owner.checked = NULL;
        owner.n_executed = 0;
        *state = h;
        return 0;
}

static struct reply *upgrade_begin_call(struct harness *h, char *path)
{
        Belay__V1__UpgradeRequest m = BELAY__V1__UPGRADE_REQUEST__INIT;
        struct reply *reply;

        m.path = path;
        reply = call_begin(h, h->client, &belay__v1__belay__descriptor, "Upgrade", &m.base, 0);
        harness_settle(h);
        return reply;
}

static void on_over(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

/* Several times as long as an upgrade rests between two looks. */
static void let_it_look(struct harness *h)
{
        struct loop_timer *timer = loop_timer_new(h->loop, on_over, h->loop);

        (void)loop_timer_set(timer, 10 * NSEC_PER_MSEC);
        while (loop_timer_is_set(timer))
                assert_int_equal(loop_run(h->loop, NULL), 0);
        loop_timer_free(timer);
}

static void assert_failed(struct harness *h, struct reply *upgrade, int code, const char *text)
{
        harness_run_until(h, &upgrade->done);
        assert_int_equal(upgrade->err.code, code);
        if (!strstr(upgrade->err.msg, text))
                fail_msg("'%s' is not in '%s'", text, upgrade->err.msg);
        reply_free(upgrade);
}

/* It is not executed while the job is held, and is when the job has ended. */
static void assert_waits(struct harness *h, const char *method, const char *exec_id,
                         enum fake_job job)
{
        struct reply *call = rpc_begin_held(h, method, exec_id, job);
        struct reply *upgrade = upgrade_begin_call(h, NULL);
        unsigned before = owner.n_executed;

        owner.checked(NULL, owner.userdata);
        let_it_look(h);
        if (call->done)
                fail_msg("%s is over: %s", method, call->err.msg);
        if (owner.n_executed > before)
                fail_msg("executed within %s", method);
        h->fake.hold[job] = false;
        fake_release(&h->fake, job);
        assert_int_equal(rpc_end(h, call).code, 0);
        assert_failed(h, upgrade, STATUS_UNKNOWN, "the kernel does not like it");
        assert_int_equal(owner.n_executed, before + 1);
}

static void it_waits_for_each_kind_of_job(void **state)
{
        struct harness *h = *state;

        assert_waits(h, "Create", NULL, FAKE_CREATE);
        assert_waits(h, "Start", NULL, FAKE_START);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        assert_waits(h, "Start", "e1", FAKE_EXEC);
        assert_waits(h, "Pause", NULL, FAKE_PAUSE);
        assert_waits(h, "Resume", NULL, FAKE_RESUME);
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        fake_exit(h->fake.init, CLD_EXITED, 7);
        harness_settle(h);
        assert_waits(h, "Delete", NULL, FAKE_REMOVE);
}

/* What the upgrade that gives up says was in its way while the job was held. */
static void assert_names(struct harness *h, const char *method, const char *exec_id,
                         enum fake_job job, const char *name)
{
        struct reply *call = rpc_begin_held(h, method, exec_id, job);
        struct reply *upgrade = upgrade_begin_call(h, NULL);
        _cleanup_free_ char *text = str_printf(
                "no quiet moment for an upgrade within 0.05 s: %s has been under way for ", name);

        h->server->times.upgrade_ns = SHORT_NS;
        owner.checked(NULL, owner.userdata);
        assert_failed(h, upgrade, STATUS_UNAVAILABLE, text);
        assert_int_equal(owner.n_executed, 0);
        h->fake.hold[job] = false;
        fake_release(&h->fake, job);
        assert_int_equal(rpc_end(h, call).code, 0);
}

static void one_that_waits_too_long_says_for_what_and_how_long_that_has_been_so(void **state)
{
        struct harness *h = *state;

        assert_names(h, "Create", NULL, FAKE_CREATE, "a Create");
        harness_await_events(h, 1);
        assert_names(h, "Start", NULL, FAKE_START, "a Start");
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        assert_names(h, "Start", "e1", FAKE_EXEC, "a Start of exec 'e1'");
        assert_names(h, "Pause", NULL, FAKE_PAUSE, "a Pause");
        assert_names(h, "Resume", NULL, FAKE_RESUME, "a Resume");
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        fake_exit(h->fake.init, CLD_EXITED, 7);
        harness_settle(h);
        assert_names(h, "Delete", NULL, FAKE_REMOVE, "a Delete");
}

/* Others than its own: an exit that happens meanwhile is told at once. */
static void while_it_waits_events_go_on(void **state)
{
        struct harness *h = *state;
        struct reply *pause;
        struct reply *upgrade;

        harness_run(h);
        harness_exec(h, "e1");
        harness_await_events(h, 4);
        pause = rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE);
        h->server->times.upgrade_ns = 3600 * NSEC_PER_SEC;
        upgrade = upgrade_begin_call(h, NULL);
        owner.checked(NULL, owner.userdata);
        let_it_look(h);
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        harness_await_events(h, 5);
        assert_false(upgrade->done);
        fake_release(&h->fake, FAKE_PAUSE);
        assert_int_equal(rpc_end(h, pause).code, 0);
        assert_failed(h, upgrade, STATUS_UNKNOWN, "the kernel does not like it");
}

static void one_at_a_time(void **state)
{
        struct harness *h = *state;
        struct reply *first = upgrade_begin_call(h, NULL);

        assert_failed(h, upgrade_begin_call(h, NULL), STATUS_FAILED_PRECONDITION,
                      "an upgrade is under way");
        shim_server_upgrade(h->server); /* SIGHUP: it is in the log */
        assert_false(first->done);
        owner.checked(NULL, owner.userdata);
        assert_failed(h, first, STATUS_UNKNOWN, "the kernel does not like it");
        assert_int_equal(owner.n_executed, 1);
        shim_server_upgrade(h->server);
        owner.checked(NULL, owner.userdata);
        harness_settle(h);
        assert_int_equal(owner.n_executed, 2);
}

static void what_the_trial_says_is_the_answer(void **state)
{
        struct harness *h = *state;
        struct reply *upgrade = upgrade_begin_call(h, NULL);
        struct error why = ERROR_INIT;

        (void)error_set(&why, STATUS_FAILED_PRECONDITION, "it is no shim");
        owner.checked(&why, owner.userdata);
        assert_failed(h, upgrade, STATUS_FAILED_PRECONDITION, "it is no shim");
        assert_failed(h, upgrade_begin_call(h, (char *)"/nowhere"), STATUS_NOT_FOUND,
                      "no '/nowhere'");
        assert_failed(h, upgrade_begin_call(h, (char *)"here"), STATUS_INVALID_ARGUMENT,
                      "'here' is not absolute");
        assert_int_equal(owner.n_executed, 0);
        harness_run(h);
        harness_await_events(h, 2);
}

/* An event that is larger than what the state has room for, on a full disk. */
static void publish_what_has_no_room(struct harness *h)
{
        const struct rlimit none = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
        const struct rlimit any = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        struct task_event *event = task_event_new(LARGE);

        assert_non_null(event);
        memset(event->data, 0, LARGE);
        event->len = LARGE;
        event->topic = "/tasks/large";
        event->type_url = "large";
        assert_int_equal(sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL), 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
        publisher_publish_take(h->server->publisher, event);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &any), 0);
}

static void an_event_that_would_be_lost_is_sent_first(void **state)
{
        struct harness *h = *state;
        struct reply *upgrade;

        events_server_go(&h->events);
        publish_what_has_no_room(h);
        upgrade = upgrade_begin_call(h, NULL);
        h->server->times.upgrade_ns = SHORT_NS;
        owner.checked(NULL, owner.userdata);
        assert_failed(h, upgrade, STATUS_UNAVAILABLE, "there is room for an event neither");
        assert_int_equal(owner.n_executed, 0);
        h->server->times.upgrade_ns = SHIM_UPGRADE_NS;
        upgrade = upgrade_begin_call(h, NULL);
        owner.checked(NULL, owner.userdata);
        events_server_come(&h->events);
        assert_failed(h, upgrade, STATUS_UNKNOWN, "the kernel does not like it");
        assert_string_equal(events_topics(&h->events), "large");
}

static void a_shim_that_ends_is_not_upgraded(void **state)
{
        struct harness *h = *state;
        struct reply *upgrade = upgrade_begin_call(h, NULL);

        shim_server_stop(h->server, "SIGTERM");
        owner.checked(NULL, owner.userdata);
        assert_failed(h, upgrade, STATUS_UNAVAILABLE, "the shim is ending");
        assert_int_equal(owner.n_executed, 0);
        harness_run_until(h, &h->finished);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)
        const struct CMUnitTest tests[] = {
                TEST(it_waits_for_each_kind_of_job),
                TEST(one_that_waits_too_long_says_for_what_and_how_long_that_has_been_so),
                TEST(while_it_waits_events_go_on),
                TEST(one_at_a_time),
                TEST(what_the_trial_says_is_the_answer),
                TEST(an_event_that_would_be_lost_is_sent_first),
                TEST(a_shim_that_ends_is_not_upgraded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
