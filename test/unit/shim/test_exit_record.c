/* SPDX-License-Identifier: Apache-2.0
 *
 * How a process ended: what its record says, and OOM kills, in the record and as events. The
 * fake's memory.events is a plain file, of which no poll tells: where a test wants to be told,
 * inotify stands in for it, in wrappers that the linker puts around pkg/cgroup/oom.h.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/cgroup/oom.h"

#include "shim/record.h"
#include "test/unit/shim/harness.h"

static int told_fd = -1; /* readable when memory.events has changed; -1: nobody is told */

int __real_cgroup_oom_fd(const struct cgroup_oom *oom);
int __wrap_cgroup_oom_fd(const struct cgroup_oom *oom);
void __real_cgroup_oom_read(struct cgroup_oom *oom, bool last, struct cgroup_oom_news *ret);
void __wrap_cgroup_oom_read(struct cgroup_oom *oom, bool last, struct cgroup_oom_news *ret);

int __wrap_cgroup_oom_fd(const struct cgroup_oom *oom)
{
        return told_fd >= 0 ? told_fd : __real_cgroup_oom_fd(oom);
}

void __wrap_cgroup_oom_read(struct cgroup_oom *oom, bool last, struct cgroup_oom_news *ret)
{
        char events[4096];

        if (told_fd < 0) {
                __real_cgroup_oom_read(oom, last, ret);
                return;
        }
        while (read(told_fd, events, sizeof(events)) > 0)
                ;
        __real_cgroup_oom_read(oom, last, ret);
        ret->look_again_ms = 0; /* the descriptor has to do */
}

static void told_cgroup(struct harness *h)
{
        char path[96];

        fake_cgroup(&h->fake, h->dir);
        (void)snprintf(path, sizeof(path), "%s/memory.events", h->dir);
        told_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        assert_true(inotify_add_watch(told_fd, path, IN_MODIFY) >= 0);
}

static int teardown(void **state)
{
        int r = harness_teardown(state);

        told_fd = fd_close(told_fd);
        return r;
}

static void the_record_says_how_a_process_ended(void **state)
{
        struct harness *h = *state;
        struct shim_record r;

        harness_run(h);
        harness_exec(h, "e1");
        r = harness_record(h, "e1");
        assert_false(r.exited);
        assert_int_equal(r.pid, fake_pid(h->fake.exec));
        fake_exit(h->fake.exec, CLD_DUMPED, SIGSEGV);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 139);
        r = harness_record(h, "e1");
        assert_true(r.exited && r.core_dumped && !r.oom_killed);
        assert_int_equal(r.signal, SIGSEGV);
        assert_int_equal(r.reason, RECORD_SIGNAL);
        harness_exec(h, "e2");
        fake_exit(h->fake.exec, CLD_EXITED, 137); /* looks like a signal, and is none */
        assert_int_equal(rpc_do(h, "Wait", "e2").exit_status, 137);
        r = harness_record(h, "e2");
        assert_int_equal(r.reason, RECORD_EXITED);
        assert_int_equal(r.signal, 0);
        assert_int_equal(rpc_do(h, "Delete", "e2").code, 0);
        fake_exit(h->fake.init, CLD_EXITED, 2);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 2);
        r = harness_record(h, NULL);
        assert_true(r.exited);
        assert_int_equal(r.exit_status, 2);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        assert_true(harness_record(h, NULL).exited); /* for `delete`, which runs after */
}

static void the_record_of_an_exec_goes_with_its_delete(void **state)
{
        struct harness *h = *state;
        char path[128];

        harness_run(h);
        harness_exec(h, "e1");
        (void)snprintf(path, sizeof(path), "%s/exec-e1.json", h->dir);
        assert_int_equal(access(path, F_OK), 0);
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", "e1").code, 0);
        assert_int_equal(rpc_do(h, "Delete", "e1").code, 0);
        assert_int_equal(access(path, F_OK), -1); /* R41 */
}

static void an_oom_kill_needs_the_signal_and_the_counter(void **state)
{
        struct harness *h = *state;

        told_cgroup(h);
        harness_run(h);
        harness_exec(h, "e1");
        fake_oom(&h->fake, 1, 1); /* a child of e1, say: e1 itself ends by itself */
        harness_await_events(h, 5);
        fake_exit(h->fake.exec, CLD_EXITED, 137);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 137);
        assert_false(harness_record(h, "e1").oom_killed);
        harness_exec(h, "e2");
        assert_int_equal(rpc_kill_do(h, "e2", SIGKILL, false).code, 0);
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL); /* by the client, after that OOM kill */
        assert_int_equal(rpc_do(h, "Wait", "e2").exit_status, 137);
        assert_int_equal(harness_record(h, "e2").reason, RECORD_SIGNAL);
        fake_oom(&h->fake, 2, 2);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 137);
        assert_true(harness_record(h, NULL).oom_killed);
        assert_int_equal(harness_record(h, NULL).reason, RECORD_OOM_KILLED);
        assert_int_equal(harness_record(h, NULL).oom_level, CGROUP_OOM_OWN);
        harness_await_events(h, 11);
        assert_string_equal(events_topics(&h->events),
                            "create start exec-added exec-started oom exit exec-added exec-started "
                            "exit oom exit");
}

static void every_oom_kill_is_an_event_while_the_container_lives_on(void **state)
{
        struct harness *h = *state;

        told_cgroup(h);
        harness_run(h);
        fake_oom(&h->fake, 1, 1);
        harness_await_events(h, 3);
        fake_oom(&h->fake, 2, 3);
        harness_await_events(h, 5);
        fake_oom(&h->fake, 3, 3); /* none was killed */
        fake_oom(&h->fake, 4, 4);
        fake_exit(h->fake.init, CLD_EXITED, 0); /* read once more, though no signal ended it */
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 0);
        assert_false(harness_record(h, NULL).oom_killed);
        harness_await_events(h, 7);
        assert_string_equal(events_topics(&h->events), "create start oom oom oom oom exit");
}

/* On a host that has no descriptor, or no memory, left to be told by. */
static void oom_kills_are_told_where_the_kernel_does_not_tell(void **state)
{
        struct harness *h = *state;

        fake_cgroup(&h->fake, h->dir);
        harness_run(h);
        fake_oom(&h->fake, 1, 1);
        harness_await_events(h, 3);
        fake_oom(&h->fake, 2, 2);
        harness_await_events(h, 4);
        assert_string_equal(events_topics(&h->events), "create start oom oom");
        fake_oom(&h->fake, 3, 3);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 137);
        assert_true(harness_record(h, NULL).oom_killed);
}

static void more_oom_kills_than_can_be_told_are_told_up_to_a_bound(void **state)
{
        struct harness *h = *state;

        told_cgroup(h);
        harness_run(h);
        fake_oom(&h->fake, 1, 1000000);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 137);
        harness_await_events(h, 3 + LIMIT_OOM_EVENTS);
        assert_true(harness_record(h, NULL).oom_killed);
}

static void oom_kills_do_not_push_other_events_out_while_containerd_is_away(void **state)
{
        struct harness *h = *state;
        size_t n = 0;

        told_cgroup(h);
        harness_run(h);
        harness_exec(h, "e1");
        harness_await_events(h, 4);
        events_server_go(&h->events);
        for (unsigned i = 1; i <= 6; i++) {
                fake_oom(&h->fake, i, i * LIMIT_OOM_EVENTS);
                assert_int_equal(rpc_kill_do(h, "e1", SIGKILL, false).code, 0); /* looks, first */
        }
        fake_exit(h->fake.exec, CLD_KILLED, SIGKILL);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 0);
        events_server_come(&h->events);
        harness_await_events(h, 4 + LIMIT_OOM_BACKLOG + 2);
        for (size_t i = 0; i < h->events.n; i++)
                n += strcmp(h->events.events[i].topic, "/tasks/oom") == 0;
        assert_int_equal(n, LIMIT_OOM_BACKLOG);
        assert_string_equal(h->events.events[h->events.n - 1].topic, "/tasks/exit");
}

static void a_cgroup_that_is_gone_ends_the_watch_in_silence(void **state)
{
        struct harness *h = *state;
        char path[96];

        told_cgroup(h);
        harness_run(h);
        (void)snprintf(path, sizeof(path), "%s/memory.events", h->dir);
        assert_int_equal(truncate(path, 0), 0);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 137);
        assert_int_equal(harness_record(h, NULL).reason, RECORD_SIGNAL);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create start exit");
}

static void a_bundle_that_is_gone_costs_the_record_only(void **state)
{
        struct harness *h = *state;
        char away[80];

        harness_run(h);
        (void)snprintf(away, sizeof(away), "%s.moved", h->dir);
        assert_int_equal(rename(h->dir, away), 0);
        fake_exit(h->fake.init, CLD_EXITED, 8);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 8);
        assert_int_equal(rename(away, h->dir), 0);
        assert_int_equal(harness_record(h, NULL).exit_status, 8); /* a rename does not lose it */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(the_record_says_how_a_process_ended),
                TEST(the_record_of_an_exec_goes_with_its_delete),
                TEST(an_oom_kill_needs_the_signal_and_the_counter),
                TEST(every_oom_kill_is_an_event_while_the_container_lives_on),
                TEST(oom_kills_are_told_where_the_kernel_does_not_tell),
                TEST(more_oom_kills_than_can_be_told_are_told_up_to_a_bound),
                TEST(oom_kills_do_not_push_other_events_out_while_containerd_is_away),
                TEST(a_cgroup_that_is_gone_ends_the_watch_in_silence),
                TEST(a_bundle_that_is_gone_costs_the_record_only),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
