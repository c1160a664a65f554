/* SPDX-License-Identifier: Apache-2.0
 *
 * Pids: from the cgroup at once, from a stage where there are very many, or from what the shim
 * knows.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/limits.h"

#include "containerd/task/v2/task.pb-c.h"
#include "test/unit/shim/harness.h"

struct pid_list {
        size_t n;
        uint32_t pids[8];
        bool is_exec[8];
};

static struct pid_list list_pids(struct harness *h)
{
        Containerd__Task__V2__PidsRequest m = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
        const Containerd__Task__V2__PidsResponse *got;
        struct pid_list list = {.n = 0};
        struct reply *r;

        m.id = (char *)"c1";
        r = call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Pids", &m.base, 0);
        harness_run_until(h, &r->done);
        assert_int_equal(r->err.code, 0);
        got = r->message;
        for (; list.n < got->n_processes; list.n++) {
                const Google__Protobuf__Any *info = got->processes[list.n]->info;

                list.pids[list.n] = got->processes[list.n]->pid;
                list.is_exec[list.n] = info != NULL;
                if (info) {
                        assert_string_equal(info->type_url, "containerd.runc.v1.ProcessDetails");
                        assert_int_equal(info->value.len, 4);
                        assert_memory_equal(info->value.data,
                                            "\x0a\x02"
                                            "e1",
                                            4);
                }
        }
        reply_free(r);
        return list;
}

static const char *procs_path(const struct harness *h)
{
        static char path[96];

        (void)snprintf(path, sizeof(path), "%s/cgroup.procs", h->dir);
        return path;
}

static void pids_never_fails_and_never_is_empty(void **state)
{
        struct harness *h = *state;
        struct pid_list list;
        char text[32];

        fake_cgroup(&h->fake, h->dir);
        harness_run(h);
        harness_exec(h, "e1");
        (void)snprintf(text, sizeof(text), "%d\n%d\n", (int)fake_pid(h->fake.init),
                       (int)fake_pid(h->fake.exec));
        fake_procs(&h->fake, text);
        list = list_pids(h);
        assert_int_equal(list.n, 2);
        assert_int_equal(list.pids[0], fake_pid(h->fake.init));
        assert_false(list.is_exec[0]);
        assert_int_equal(list.pids[1], fake_pid(h->fake.exec));
        assert_true(list.is_exec[1]);
        h->fake.cgroup.n_dirs = 0; /* not known */
        list = list_pids(h);
        assert_int_equal(list.n, 2);
        assert_true(list.is_exec[1]);
        h->fake.cgroup.n_dirs = 1;
        fake_exit(h->fake.exec, CLD_EXITED, 0);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(unlink(procs_path(h)), 0);
        list = list_pids(h);
        assert_int_equal(list.n, 1);
        assert_int_equal(list.pids[0], fake_pid(h->fake.init));
}

/* A container with more cgroups than a look in the loop may take. */
static void run_with_many_cgroups(struct harness *h)
{
        char path[96];

        fake_cgroup(&h->fake, h->dir);
        harness_run(h);
        for (int i = 0; i <= LIMIT_CGROUP_LOOK; i++) {
                (void)snprintf(path, sizeof(path), "%s/%d", h->dir, i);
                assert_int_equal(mkdir(path, 0700), 0);
        }
        h->fake.hold[FAKE_LIST_PIDS] = true;
}

static struct reply *pids_begin(struct harness *h)
{
        Containerd__Task__V2__PidsRequest m = CONTAINERD__TASK__V2__PIDS_REQUEST__INIT;
        struct reply *r;

        m.id = (char *)"c1";
        r = call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Pids", &m.base, 0);
        harness_settle(h);
        return r;
}

static void assert_listed(struct harness *h, struct reply *r, size_t n, uint32_t first)
{
        const Containerd__Task__V2__PidsResponse *got;

        harness_run_until(h, &r->done);
        assert_int_equal(r->err.code, 0);
        got = r->message;
        assert_int_equal(got->n_processes, n);
        assert_int_equal(got->processes[0]->pid, first);
        reply_free(r);
}

static void pids_of_very_many_cgroups_come_from_a_stage_and_nobody_waits_for_it(void **state)
{
        struct harness *h = *state;
        struct reply *first;
        struct reply *late;
        struct reply *later;

        run_with_many_cgroups(h);
        first = pids_begin(h);
        late = pids_begin(h);
        later = pids_begin(h);
        assert_false(first->done || late->done || later->done);
        assert_int_equal(rpc_do(h, "State", NULL).code, 0);
        assert_int_equal(h->fake.n_calls[FAKE_LIST_PIDS], 1);
        fake_release(&h->fake, FAKE_LIST_PIDS);
        assert_listed(h, first, 2, 1);
        harness_settle(h);
        assert_false(late->done || later->done); /* what they ask for may be newer */
        assert_int_equal(h->fake.n_calls[FAKE_LIST_PIDS], 2);
        fake_release(&h->fake, FAKE_LIST_PIDS);
        assert_listed(h, late, 2, 1);
        assert_listed(h, later, 2, 1);
        assert_int_equal(h->fake.n_calls[FAKE_LIST_PIDS], 2);
}

static void pids_that_a_stage_cannot_list_are_those_that_the_shim_knows(void **state)
{
        struct harness *h = *state;
        struct reply *r;

        run_with_many_cgroups(h);
        h->fake.fail[FAKE_LIST_PIDS] = "it was ended by signal 14";
        r = pids_begin(h);
        fake_release(&h->fake, FAKE_LIST_PIDS);
        assert_listed(h, r, 1, (uint32_t)fake_pid(h->fake.init));
        h->fake.refuse[FAKE_LIST_PIDS] = true;
        assert_listed(h, pids_begin(h), 1, (uint32_t)fake_pid(h->fake.init));
}

static void a_delete_does_not_wait_for_a_stage_that_lists_pids(void **state)
{
        struct harness *h = *state;
        struct reply *r;

        run_with_many_cgroups(h);
        r = pids_begin(h);
        fake_exit(h->fake.init, CLD_EXITED, 0);
        assert_int_equal(rpc_do(h, "Wait", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Delete", NULL).code, 0);
        harness_run_until(h, &r->done);
        assert_int_equal(r->err.code, STATUS_NOT_FOUND);
        reply_free(r);
        fake_release(&h->fake, FAKE_LIST_PIDS);
        harness_settle(h);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(pids_never_fails_and_never_is_empty),
                TEST(pids_of_very_many_cgroups_come_from_a_stage_and_nobody_waits_for_it),
                TEST(pids_that_a_stage_cannot_list_are_those_that_the_shim_knows),
                TEST(a_delete_does_not_wait_for_a_stage_that_lists_pids),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
