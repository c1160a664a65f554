/* SPDX-License-Identifier: Apache-2.0
 *
 * Delete: of created, stopped and doubled, with stdio that is not drained and executors that fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"

#include "shim/record.h"
#include "test/unit/shim/harness.h"

enum { STOPPED = 3 };

static void a_created_container_is_killed_and_its_exit_is_told_first(void **state)
{
        struct harness *h = *state;
        struct reply *wait;
        struct reply *delete_;
        struct answer a;

        harness_create(h);
        wait = rpc_begin(h, "Wait", NULL);
        delete_ = rpc_begin(h, "Delete", NULL);
        harness_settle(h);
        assert_int_equal(h->fake.last_signal, SIGKILL);
        assert_false(delete_->done);
        assert_int_equal(rpc_do(h, "Start", NULL).code, STATUS_FAILED_PRECONDITION);
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        a = rpc_end(h, wait);
        assert_int_equal(a.exit_status, 137);
        assert_true(a.seconds > 1600000000);
        a = rpc_end(h, delete_);
        assert_int_equal(a.code, 0);
        assert_int_equal(a.exit_status, 137);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create exit delete");
}

static void a_running_container_is_not_deleted(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, STATUS_FAILED_PRECONDITION);
        assert_int_equal(h->fake.n_calls[FAKE_REMOVE], 0);
}

static void the_second_delete_is_not_found_when_the_container_is_gone(void **state)
{
        struct harness *h = *state;
        struct reply *first;
        struct reply *second;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        h->fake.hold[FAKE_REMOVE] = true;
        first = rpc_begin(h, "Delete", NULL);
        second = rpc_begin(h, "Delete", NULL);
        harness_settle(h);
        assert_false(second->done); /* R23 */
        assert_int_equal(rpc_do(h, "State", NULL).status, STOPPED);
        assert_int_equal(rpc_kill_do(h, "", SIGKILL, true).code, STATUS_NOT_FOUND);
        fake_release(&h->fake, FAKE_REMOVE);
        assert_int_equal(rpc_end(h, first).code, 0);
        assert_int_equal(rpc_end(h, second).code, STATUS_NOT_FOUND);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        harness_run_until(h, &h->finished);
        harness_await_events(h, 4);
        assert_string_equal(events_topics(&h->events), "create start exit delete");
}

static void a_delete_that_fails_may_be_tried_again(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        h->fake.fail[FAKE_REMOVE] = "umount '/b/rootfs': Device or resource busy";
        a = rpc_do(h, "Delete", NULL);
        assert_int_equal(a.code, STATUS_UNKNOWN);
        assert_string_equal(a.text, "failed to delete task: umount '/b/rootfs': Device or resource "
                                    "busy");
        assert_int_equal(rpc_do(h, "State", NULL).status, STOPPED);
        h->fake.fail[FAKE_REMOVE] = NULL;
        h->fake.refuse[FAKE_REMOVE] = true;
        assert_int_equal(rpc_do(h, "Delete", NULL).code, STATUS_UNKNOWN);
        h->fake.refuse[FAKE_REMOVE] = false;
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 3);
        harness_await_events(h, 4);
        assert_string_equal(events_topics(&h->events), "create start exit delete");
}

static void a_delete_goes_on_when_its_caller_has_gone(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__DeleteRequest m = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
        struct reply *r;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 3);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        h->fake.hold[FAKE_REMOVE] = true;
        m.id = (char *)"c1";
        r = call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Delete", &m.base,
                       200 * NSEC_PER_MSEC); /* time enough for it to begin */
        assert_int_equal(rpc_end(h, r).code, STATUS_DEADLINE_EXCEEDED);
        fake_release(&h->fake, FAKE_REMOVE);
        harness_await_events(h, 4);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_NOT_FOUND);
}

static void execs_go_with_the_container(void **state)
{
        struct harness *h = *state;
        struct reply *wait;
        char path[128];

        harness_run(h);
        harness_exec(h, "e1");
        assert_int_equal(rpc_exec_do(h, "e2").code, 0);
        wait = rpc_begin(h, "Wait", "e2");
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        assert_int_equal(rpc_end(h, wait).code, STATUS_NOT_FOUND);
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
        (void)snprintf(path, sizeof(path), "%s/exec-e1.json", h->dir);
        assert_int_equal(access(path, F_OK), -1);
        harness_settle(h);
        assert_int_equal(h->fake.n_processes, 0);
}

static void a_delete_waits_for_a_kill_under_way(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__KillRequest m = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
        struct reply *kill;
        struct reply *delete_;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        h->fake.hold[FAKE_KILL_ALL] = true;
        m.id = (char *)"c1";
        m.signal = SIGKILL;
        m.all = true;
        kill = call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Kill", &m.base,
                          0);
        delete_ = rpc_begin(h, "Delete", NULL);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_REMOVE], 0); /* R22 */
        fake_release(&h->fake, FAKE_KILL_ALL);
        assert_int_equal(rpc_end(h, kill).code, 0);
        assert_int_equal(rpc_end(h, delete_).code, 0);
}

static void a_delete_during_start_waits_and_is_then_refused(void **state)
{
        struct harness *h = *state;
        struct reply *start;
        struct reply *delete_;

        harness_create(h);
        h->fake.hold[FAKE_START] = true;
        start = rpc_begin(h, "Start", NULL);
        delete_ = rpc_begin(h, "Delete", NULL);
        harness_settle(h);
        assert_false(delete_->done);
        fake_release(&h->fake, FAKE_START);
        assert_int_equal(rpc_end(h, start).code, 0);
        assert_int_equal(rpc_end(h, delete_).code, STATUS_FAILED_PRECONDITION);
}

/* ---- Stdio that is not drained ---- */

struct stuck {
        char path[128];
        int reader;
        size_t n_written;
};

enum { PIPE_BYTES = 4096, STUCK_BYTES = 12288 };

/* A terminal whose output nobody reads: more than the FIFO and the relay hold. */
static void stuff_terminal(struct harness *h, struct stuck *s)
{
        char block[512];

        memset(block, 'x', sizeof(block));
        s->n_written = 0;
        for (int i = 0; i < 100000 && s->n_written < STUCK_BYTES; i++) {
                ssize_t n = write(h->fake.slave, block, sizeof(block));

                if (n > 0)
                        s->n_written += (size_t)n;
                else
                        harness_settle(h); /* the kernel moves bytes between the ends at leisure */
        }
        assert_true(s->n_written >= STUCK_BYTES);
        harness_settle(h);
}

static void stuck_open(struct harness *h, struct stuck *s)
{
        (void)snprintf(s->path, sizeof(s->path), "%s/out", h->dir);
        assert_int_equal(mkfifo(s->path, 0600), 0);
        s->reader = open(s->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(s->reader >= 0);
        assert_int_equal(fcntl(s->reader, F_SETPIPE_SZ, PIPE_BYTES), PIPE_BYTES);
        h->stdout_path = s->path;
        h->terminal = true;
}

static void expect_drained(const struct harness *h, bool want)
{
        _cleanup_close_ int fd = open(h->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct shim_record record = {.pid = 0};

        assert_int_equal(shim_record_read(fd, NULL, &record, NULL), 0);
        assert_true(record.exited);
        assert_true(record.drain_known);
        assert_int_equal(record.drained, want);
}

static void delete_waits_for_the_rest_of_a_terminal(void **state)
{
        struct harness *h = *state;
        struct reply *delete_;
        struct stuck s;
        size_t n_read = 0;
        char block[4096];

        stuck_open(h, &s);
        harness_run(h);
        stuff_terminal(h, &s);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        h->fake.slave = fd_close(h->fake.slave);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0); /* does not wait for stdio */
        delete_ = rpc_begin(h, "Delete", NULL);
        harness_settle(h);
        assert_false(delete_->done);
        while (!delete_->done) {
                ssize_t n = read(s.reader, block, sizeof(block));

                n_read += n > 0 ? (size_t)n : 0;
                harness_settle(h);
        }
        assert_int_equal(rpc_end(h, delete_).code, 0);
        for (ssize_t n; (n = read(s.reader, block, sizeof(block))) > 0;)
                n_read += (size_t)n;
        assert_int_equal(n_read, s.n_written);
        expect_drained(h, true);
        fd_close(s.reader);
}

static void delete_waits_for_a_bounded_time(void **state)
{
        const struct shim_times times = {.drain_ns = 5 * NSEC_PER_MSEC};
        struct harness *h = harness_new(&times);
        struct stuck s;

        (void)state;
        stuck_open(h, &s);
        harness_run(h);
        stuff_terminal(h, &s);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        h->fake.slave = fd_close(h->fake.slave);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0); /* R54 */
        expect_drained(h, false);
        fd_close(s.reader);
        harness_free(h);
}

static void an_exec_that_is_being_deleted_goes_with_the_container(void **state)
{
        struct harness *h = *state;
        struct reply *of_exec;
        struct stuck s;

        harness_run(h);
        stuck_open(h, &s);
        harness_exec(h, "e1");
        stuff_terminal(h, &s);
        fake_exit(h->fake.exec, CLD_EXITED, 11);
        h->fake.slave = fd_close(h->fake.slave);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 11);
        of_exec = rpc_begin(h, "Delete", "e1");
        harness_settle(h);
        assert_false(of_exec->done);
        assert_int_equal(rpc_do(h, "State", "e1").status, STOPPED); /* R20 */
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        assert_int_equal(rpc_end(h, of_exec).exit_status, 11);
        fd_close(s.reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_created_container_is_killed_and_its_exit_is_told_first),
                TEST(a_running_container_is_not_deleted),
                TEST(the_second_delete_is_not_found_when_the_container_is_gone),
                TEST(a_delete_that_fails_may_be_tried_again),
                TEST(a_delete_goes_on_when_its_caller_has_gone),
                TEST(execs_go_with_the_container),
                TEST(a_delete_waits_for_a_kill_under_way),
                TEST(a_delete_during_start_waits_and_is_then_refused),
                TEST(delete_waits_for_the_rest_of_a_terminal),
                cmocka_unit_test(delete_waits_for_a_bounded_time),
                TEST(an_exec_that_is_being_deleted_goes_with_the_container),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
