/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in the vault at any moment is enough for another server to go on with: containers and
 * execs in all states. (That each commit has written what it must is looked at in all tests that
 * use the harness.) And whatever else is in the vault is refused, by its name.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/kept.h"

#include "belay/state/v1/shim.pb-c.h"
#include "shim/server_impl.h"
#include "shim/state.h"
#include "test/unit/shim/harness.h"

static void restart(struct harness *h)
{
        struct error err = ERROR_INIT;

        if (harness_restart(h, &err) < 0)
                fail_msg("%s", err.msg);
}

/* With what the vault had when a job was under way. The job is the executor's, and fails now. */
static void restart_within(struct harness *h, enum fake_job job, struct reply *call)
{
        int then = harness_remember(h);
        struct error err = ERROR_INIT;

        assert_false(call->done);
        h->fake.fail[job] = "its process image has ended";
        fake_release(&h->fake, job);
        assert_int_not_equal(rpc_end(h, call).code, 0);
        harness_settle(h);
        h->fake.hold[job] = false;
        h->fake.fail[job] = NULL;
        if (harness_restart_from(h, then, &err) < 0)
                fail_msg("%s", err.msg);
}

static void assert_status(struct harness *h, const char *exec_id, int status)
{
        struct answer a = rpc_do(h, "State", exec_id);

        if (a.code)
                fail_msg("State of '%s': %s", exec_id, a.text);
        assert_int_equal(a.status, status);
}

#define CREATED CONTAINERD__V1__TYPES__STATUS__CREATED
#define RUNNING CONTAINERD__V1__TYPES__STATUS__RUNNING
#define STOPPED CONTAINERD__V1__TYPES__STATUS__STOPPED
#define PAUSED  CONTAINERD__V1__TYPES__STATUS__PAUSED

/* ---- The container and its init ---- */

static void a_server_without_a_container_is_followed_by_one_that_creates(void **state)
{
        struct harness *h = *state;

        restart(h);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_NOT_FOUND);
        harness_run(h);
}

static void a_created_container_is_started_by_the_next_server(void **state)
{
        struct harness *h = *state;

        harness_create(h);
        h->fake.is_created = true;
        restart(h);
        assert_status(h, NULL, CREATED);
        assert_int_equal(rpc_do(h, "Start", NULL).code, 0);
        restart(h);
        assert_status(h, NULL, RUNNING);
        harness_await_events(h, 2);
        assert_string_equal(events_topics(&h->events), "create start");
}

static void an_exit_is_told_by_the_next_server(void **state)
{
        struct harness *h = *state;
        struct reply *wait;
        struct answer a;

        harness_run(h);
        restart(h);
        wait = rpc_begin(h, "Wait", NULL);
        harness_settle(h);
        fake_exit(h->fake.init, CLD_EXITED, 7);
        assert_int_equal(rpc_end(h, wait).exit_status, 7);
        restart(h);
        assert_status(h, NULL, STOPPED);
        a = rpc_do(h, "Wait", NULL);
        assert_int_equal(a.exit_status, 7);
        assert_true(a.seconds > 0);
        a = rpc_do(h, "Delete", NULL);
        assert_int_equal(a.code, 0);
        assert_int_equal(a.exit_status, 7);
        restart(h);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_NOT_FOUND);
        harness_await_events(h, 4);
        assert_string_equal(events_topics(&h->events), "create start exit delete");
}

/* What no end in these tests has, set by hand. */
static void all_that_is_known_of_an_end_goes_along(void **state)
{
        struct harness *h = *state;
        struct process_exit exit;
        struct process *init;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 7);
        harness_settle(h);
        init = h->server->container->init;
        init->exit.core_dumped = true;
        init->exit.oom_killed = true;
        init->exit.oom_level = CGROUP_OOM_HOST;
        init->exit.oom_up = 3;
        init->drain_waited = true;
        init->container->execs_wait_over = true;
        exit = init->exit;
        state_commit(h->server);
        restart(h);
        init = h->server->container->init;
        assert_true(init->exit.core_dumped && init->exit.oom_killed);
        assert_int_equal(init->exit.oom_level, exit.oom_level);
        assert_int_equal(init->exit.oom_up, exit.oom_up);
        assert_int_equal(init->exit.status, 7);
        assert_memory_equal(&init->exit.at, &exit.at, sizeof(exit.at));
        assert_true(init->drain_waited && init->container->execs_wait_over);
}

static void an_exit_that_nobody_was_told_of_is_told(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        /* The loop does not run between the two. */
        fake_exit(h->fake.init, CLD_KILLED, SIGKILL);
        state_commit(h->server);
        restart(h);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 128 + SIGKILL);
        harness_await_events(h, 3);
        assert_string_equal(events_topics(&h->events), "create start exit");
}

static void a_start_under_way_has_happened_or_not_as_the_executor_sees_it(void **state)
{
        struct harness *h = *state;

        harness_create(h);
        h->fake.is_created = true;
        restart_within(h, FAKE_START, rpc_begin_held(h, "Start", NULL, FAKE_START));
        assert_status(h, NULL, CREATED);
        h->fake.is_created = false;
        restart_within(h, FAKE_START, rpc_begin_held(h, "Start", NULL, FAKE_START));
        assert_status(h, NULL, RUNNING);
}

static void a_pause_under_way_is_taken_back_and_a_resume_has_not_happened(void **state)
{
        struct harness *h = *state;

        fake_cgroup(&h->fake, h->dir);
        harness_run(h);
        assert_false(fake_is_thawed(&h->fake));
        restart_within(h, FAKE_PAUSE, rpc_begin_held(h, "Pause", NULL, FAKE_PAUSE));
        assert_true(fake_is_thawed(&h->fake));
        assert_status(h, NULL, RUNNING);
        assert_int_equal(rpc_do(h, "Pause", NULL).code, 0);
        restart_within(h, FAKE_RESUME, rpc_begin_held(h, "Resume", NULL, FAKE_RESUME));
        assert_status(h, NULL, PAUSED);
}

static void a_delete_under_way_can_be_asked_for_again(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 9);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 9);
        restart_within(h, FAKE_REMOVE, rpc_begin_held(h, "Delete", NULL, FAKE_REMOVE));
        assert_status(h, NULL, STOPPED);
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 9);
}

static void a_pause_is_over_or_lasts(void **state)
{
        struct harness *h = *state;

        fake_cgroup(&h->fake, h->dir);
        harness_run(h);
        assert_int_equal(rpc_do(h, "Pause", NULL).code, 0);
        restart(h);
        assert_status(h, NULL, PAUSED);
        assert_int_equal(rpc_do(h, "Resume", NULL).code, 0);
        restart(h);
        assert_status(h, NULL, RUNNING);
}

/* ---- Execs ---- */

static void an_exec_that_was_added_is_started_by_the_next_server(void **state)
{
        struct harness *h = *state;
        struct answer a;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        assert_int_equal(rpc_resize_do(h, "e1", 80, 25).code, 0);
        restart(h);
        assert_status(h, "e1", CREATED);
        assert_int_equal(rpc_exec_do(h, "e1").code, STATUS_ALREADY_EXISTS);
        a = rpc_do(h, "Start", "e1");
        assert_int_equal(a.code, 0);
        assert_int_equal(a.pid, fake_pid(h->fake.exec));
        assert_string_equal(h->fake.last_spec, "{\"args\":[\"sh\"]}");
        restart(h);
        assert_status(h, "e1", RUNNING);
        fake_exit(h->fake.exec, CLD_EXITED, 3);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 3);
        restart(h);
        assert_status(h, "e1", STOPPED);
        assert_int_equal(rpc_do(h, "Delete", "e1").exit_status, 3);
        restart(h);
        assert_int_equal(rpc_do(h, "State", "e1").code, STATUS_NOT_FOUND);
        assert_status(h, NULL, RUNNING);
}

/* Many at once, of which each restart finds those that are left, in the state that they were in. */
static void of_many_execs_each_is_what_it_was(void **state)
{
        enum { N = 40 };
        struct harness *h = *state;
        char id[16];

        harness_run(h);
        for (int i = 0; i < N; i++) {
                (void)snprintf(id, sizeof(id), "e%d", i);
                assert_int_equal(rpc_exec_do(h, id).code, 0);
                if (i % 4 == 0)
                        continue;
                assert_int_equal(rpc_do(h, "Start", id).code, 0);
                if (i % 4 == 1)
                        continue;
                fake_exit(h->fake.exec, CLD_EXITED, i);
                assert_int_equal(rpc_do(h, "Wait", id).exit_status, i);
                if (i % 4 == 3)
                        assert_int_equal(rpc_do(h, "Delete", id).code, 0);
        }
        harness_settle(h);
        for (int round = 0; round < 2; round++) {
                restart(h);
                for (int i = 0; i < N; i++) {
                        (void)snprintf(id, sizeof(id), "e%d", i);
                        if (i % 4 == 3)
                                assert_int_equal(rpc_do(h, "State", id).code, STATUS_NOT_FOUND);
                        else
                                assert_status(h, id,
                                              (const int[]){CREATED, RUNNING, STOPPED}[i % 4]);
                }
        }
}

static void a_start_of_an_exec_that_was_under_way_has_failed(void **state)
{
        struct harness *h = *state;

        harness_run(h);
        assert_int_equal(rpc_exec_do(h, "e1").code, 0);
        restart_within(h, FAKE_EXEC, rpc_begin_held(h, "Start", "e1", FAKE_EXEC));
        assert_status(h, "e1", STOPPED);
        assert_int_equal(rpc_do(h, "Wait", "e1").exit_status, 255);
        assert_int_equal(rpc_do(h, "Delete", "e1").code, 0);
}

/* A descriptor as the record names one, which its owner has done with. */
static int make_closed(void)
{
        int fd = eventfd(0, EFD_CLOEXEC);

        assert_true(fd >= 0);
        (void)kept_number(fd);
        assert_int_equal(fd_close(fd), -1);
        return fd;
}

static bool is_open(int fd)
{
        return fcntl(fd, F_GETFD) >= 0;
}

static void events_that_were_lost_are_counted_on(void **state)
{
        struct harness *h = *state;

        for (unsigned n = 1; n <= 2; n++) {
                publisher_publish_take(h->server->publisher, NULL); /* without memory for it */
                state_commit(h->server);
                restart(h);
                assert_int_equal(publisher_n_lost(h->server->publisher), n);
        }
}

static void what_the_record_names_is_open_until_the_next_one_is_there(void **state)
{
        struct harness *h = *state;
        int fd;

        harness_run(h);
        harness_settle(h);
        fd = make_closed();
        assert_true(is_open(fd)); /* who takes over now finds it */
        state_commit(h->server);
        assert_false(is_open(fd));
        fd = make_closed();
        assert_true(is_open(fd));
        assert_int_equal(rpc_do(h, "State", NULL).code, 0); /* some rounds of the loop */
        assert_false(is_open(fd));                          /* a record was made for its sake */
        fd = make_closed();
        h->server = shim_server_free(h->server);
        assert_false(is_open(fd));
}

/* ---- What it costs ---- */

/* The pieces of a record since `from`. */
static size_t grown(const struct harness *h, size_t from)
{
        size_t now = vault_size(h->vault, VAULT_SHIM);

        return now > from ? now - from : 0;
}

static void a_transition_writes_what_has_changed(void **state)
{
        struct harness *h = *state;
        size_t size;
        char id[16];

        harness_run(h);
        for (int i = 0; i < 200; i++) {
                (void)snprintf(id, sizeof(id), "e%d", i);
                assert_int_equal(rpc_exec_do(h, id).code, 0);
        }
        state_commit_all(h->server);
        size = vault_size(h->vault, VAULT_SHIM);
        assert_true(size > (size_t)200 * 30);
        assert_int_equal(rpc_resize_do(h, "e7", 10, 10).code, 0);
        assert_in_range(grown(h, size), 1, 250);
        size = vault_size(h->vault, VAULT_SHIM);
        state_commit(h->server);
        assert_int_equal(vault_size(h->vault, VAULT_SHIM), size);
}

static void the_record_does_not_grow_with_what_has_been(void **state)
{
        struct harness *h = *state;
        size_t longest = 0;
        size_t size;

        harness_run(h);
        for (int i = 0; i < 70; i++) {
                harness_exec(h, "e1");
                fake_exit(h->fake.exec, CLD_EXITED, 0);
                assert_int_equal(rpc_do(h, "Wait", "e1").code, 0);
                assert_int_equal(rpc_do(h, "Delete", "e1").code, 0);
                size = vault_size(h->vault, VAULT_SHIM);
                longest = size > longest ? size : longest;
        }
        assert_true(longest <= 4096);
        harness_settle(h);
}

/* ---- What is no state of ours ---- */

static void assert_refused(struct harness *h, int code, const char *text)
{
        struct error err = ERROR_INIT;

        assert_int_equal(harness_restart(h, &err), -1);
        if (!strstr(err.msg, text))
                fail_msg("'%s' is not in '%s'", text, err.msg);
        assert_int_equal(err.code, code);
}

static void a_vault_without_a_state_is_refused(void **state)
{
        struct harness *h = *state;
        struct vault *vault = NULL;

        h->client = ttrpc_client_free(h->client);
        h->server = shim_server_free(h->server);
        assert_int_equal(vault_new(&vault, NULL), 0);
        vault_free(h->vault);
        h->vault = vault;
        assert_refused(h, STATUS_NOT_FOUND, "record 0 was never written");
}

static ProtobufCBinaryData packed(const ProtobufCMessage *message)
{
        ProtobufCBinaryData ret = {.len = protobuf_c_message_get_packed_size(message)};

        ret.data = malloc(ret.len + 1);
        assert_non_null(ret.data);
        (void)protobuf_c_message_pack(message, ret.data);
        return ret;
}

/* A state that is as it must be, but for what a test changes in it: a container, an init, an exec.
 */
struct forged {
        Belay__State__V1__Shim shim;
        Belay__State__V1__Container container;
        Belay__State__V1__EngineContainer engine;
        Belay__State__V1__Process processes[2];
        Belay__State__V1__Exit exit;
        uint64_t keys[2];
};

static void forge(struct forged *f, const struct harness *h)
{
        belay__state__v1__shim__init(&f->shim);
        belay__state__v1__container__init(&f->container);
        belay__state__v1__engine_container__init(&f->engine);
        belay__state__v1__exit__init(&f->exit);
        f->shim.id = (char *)"c1";
        f->shim.runtime_namespace = (char *)"testing";
        f->shim.bundle = (char *)h->dir;
        f->shim.container = &f->container;
        f->container.id = (char *)"c1";
        f->container.bundle = (char *)h->dir;
        f->container.engine = &f->engine;
        for (size_t i = 0; i < 2; i++) {
                belay__state__v1__process__init(&f->processes[i]);
                f->keys[i] = i + 1;
        }
        f->processes[1].exec_id = (char *)"e1";
        f->processes[1].exit = &f->exit;
}

static void put(const struct harness *h, const struct forged *f)
{
        Belay__State__V1__KeyedProcess keyed[2];
        Belay__State__V1__KeyedProcess *entries[2];
        Belay__State__V1__Change change = BELAY__STATE__V1__CHANGE__INIT;
        ProtobufCBinaryData all;

        change.shim = packed(&f->shim.base);
        for (size_t i = 0; i < 2; i++) {
                belay__state__v1__keyed_process__init(&keyed[i]);
                keyed[i].key = f->keys[i];
                keyed[i].process = packed(&f->processes[i].base);
                entries[i] = &keyed[i];
        }
        change.processes = entries;
        change.n_processes = 2;
        all = packed(&change.base);
        assert_int_equal(vault_put(h->vault, VAULT_SHIM, all.data, all.len, NULL), 0);
        free(change.shim.data);
        free(keyed[0].process.data);
        free(keyed[1].process.data);
        free(all.data);
}

static void a_forged_state_that_is_in_order_is_taken(void **state)
{
        struct harness *h = *state;
        struct forged f;

        forge(&f, h);
        put(h, &f);
        restart(h);
        assert_status(h, NULL, CREATED);
        assert_status(h, "e1", CREATED);
}

static void a_state_of_another_shim_is_refused(void **state)
{
        struct harness *h = *state;
        struct forged f;

        forge(&f, h);
        f.shim.id = (char *)"c2";
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "the state is that of 'testing/c2'");
        forge(&f, h);
        f.shim.runtime_namespace = (char *)"other";
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "the state is that of 'other/c1'");
}

static void processes_that_make_no_sense_are_refused(void **state)
{
        struct harness *h = *state;
        struct forged f;

        forge(&f, h);
        f.processes[1].state = 99;
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "process 'e1': state 99");
        forge(&f, h);
        f.exit.reason = 77;
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "process 'e1': an exit's reason 77");
        forge(&f, h);
        f.exit.oom_level = 55;
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "level 55");
        forge(&f, h);
        f.keys[1] = 0;
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "a process without a key");
        forge(&f, h);
        f.processes[1].passed = (char *)"1";
        f.processes[1].passed_pidfd = 100001;
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "descriptor 100000 is not open");
}

static void an_init_that_is_not_the_first_or_not_the_only_one_is_refused(void **state)
{
        struct harness *h = *state;
        struct forged f;

        forge(&f, h);
        f.keys[0] = 3;
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "process 'e1': it comes before the init");
        forge(&f, h);
        f.processes[1].exec_id = (char *)"";
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "process '': a second init");
        forge(&f, h);
        f.keys[1] = f.keys[0]; /* so that the exec is what is said last of the init */
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "before the init");
}

static void a_container_that_no_executor_knows_is_refused(void **state)
{
        struct harness *h = *state;
        struct forged f;

        forge(&f, h);
        f.container.engine = NULL;
        put(h, &f);
        assert_refused(h, STATUS_INVALID_ARGUMENT, "the fake has not saved any");
        forge(&f, h);
        f.container.by_binary = true;
        put(h, &f);
        assert_refused(h, STATUS_UNIMPLEMENTED, "a runtime binary's container");
}

static void what_is_no_message_is_refused(void **state)
{
        static const uint8_t noise[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
        struct harness *h = *state;
        Belay__State__V1__KeyedProcess keyed = BELAY__STATE__V1__KEYED_PROCESS__INIT;
        Belay__State__V1__KeyedProcess *entries[] = {&keyed};
        Belay__State__V1__Change change = BELAY__STATE__V1__CHANGE__INIT;
        struct forged f;
        ProtobufCBinaryData all;

        assert_int_equal(vault_put(h->vault, VAULT_SHIM, noise, sizeof(noise), NULL), 0);
        assert_refused(h, STATUS_DATA_LOSS, "piece 0 of the state is no message");
        assert_int_equal(vault_put(h->vault, VAULT_SHIM, NULL, 0, NULL), 0);
        assert_refused(h, STATUS_DATA_LOSS, "the state does not tell of the shim");
        forge(&f, h);
        put(h, &f);
        assert_int_equal(vault_add(h->vault, VAULT_SHIM, noise, sizeof(noise), NULL), 0);
        assert_refused(h, STATUS_DATA_LOSS, "piece 1 of the state is no message");
        put(h, &f);
        keyed.key = 2;
        keyed.process.data = (uint8_t *)noise;
        keyed.process.len = sizeof(noise);
        change.processes = entries;
        change.n_processes = 1;
        all = packed(&change.base);
        assert_int_equal(vault_add(h->vault, VAULT_SHIM, all.data, all.len, NULL), 0);
        free(all.data);
        assert_refused(h, STATUS_DATA_LOSS, "process 2 of the state is no message");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(a_server_without_a_container_is_followed_by_one_that_creates),
                CASE(a_created_container_is_started_by_the_next_server),
                CASE(an_exit_is_told_by_the_next_server),
                CASE(all_that_is_known_of_an_end_goes_along),
                CASE(an_exit_that_nobody_was_told_of_is_told),
                CASE(a_start_under_way_has_happened_or_not_as_the_executor_sees_it),
                CASE(a_pause_under_way_is_taken_back_and_a_resume_has_not_happened),
                CASE(a_delete_under_way_can_be_asked_for_again),
                CASE(a_pause_is_over_or_lasts),
                CASE(an_exec_that_was_added_is_started_by_the_next_server),
                CASE(of_many_execs_each_is_what_it_was),
                CASE(a_start_of_an_exec_that_was_under_way_has_failed),
                CASE(events_that_were_lost_are_counted_on),
                CASE(what_the_record_names_is_open_until_the_next_one_is_there),
                CASE(a_transition_writes_what_has_changed),
                CASE(the_record_does_not_grow_with_what_has_been),
                CASE(a_vault_without_a_state_is_refused),
                CASE(a_forged_state_that_is_in_order_is_taken),
                CASE(a_state_of_another_shim_is_refused),
                CASE(processes_that_make_no_sense_are_refused),
                CASE(an_init_that_is_not_the_first_or_not_the_only_one_is_refused),
                CASE(a_container_that_no_executor_knows_is_refused),
                CASE(what_is_no_message_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
