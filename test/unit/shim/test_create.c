/* SPDX-License-Identifier: Apache-2.0
 *
 * Create: what it refuses, what it leaves, and that nothing waits for it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "containerd/runc/v1/options.pb-c.h"
#include "shim/record.h"
#include "test/unit/shim/harness.h"

enum { CREATED = 1 };

static struct answer create_with(struct harness *h, const char *id, const char *bundle,
                                 const char *checkpoint)
{
        Containerd__Task__V2__CreateTaskRequest m = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;

        m.id = (char *)id;
        m.bundle = (char *)bundle;
        m.checkpoint = (char *)checkpoint;
        return rpc_end(h, call_begin(h, h->client, &containerd__task__v2__task__descriptor,
                                     "Create", &m.base, 0));
}

static void a_bad_create_is_refused_before_anything_is_touched(void **state)
{
        struct harness *h = *state;
        struct answer a;

        assert_int_equal(create_with(h, "", h->dir, "").code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(create_with(h, "../x", h->dir, "").code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(create_with(h, "c1", "relative", "").code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(create_with(h, "c1", h->dir, "/cp").code, STATUS_UNIMPLEMENTED);
        a = create_with(h, "c1", "/nonexistent/bundle", "");
        assert_int_equal(a.code, STATUS_UNKNOWN);
        assert_non_null(strstr(a.text, "/nonexistent/bundle"));
        assert_int_equal(h->fake.n_calls[FAKE_CREATE], 0);
}

/* A client whose FIFO is not open yet gives that up when it hears that the process has ended. */
static void create_answers_when_the_clients_fifo_is_open(void **state)
{
        struct harness *h = *state;
        struct reply *create;
        char path[128];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/out", h->dir);
        assert_int_equal(mkfifo(path, 0600), 0);
        h->stdout_path = path;
        create = rpc_begin(h, "Create", NULL);
        harness_settle(h);
        assert_int_equal(h->fake.n_calls[FAKE_CREATE], 1);
        assert_false(create->done);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(rpc_end(h, create).code, STATUS_OK);
        close(fd);
}

static int setup_patient(void **state)
{
        const struct shim_times times = {.readers_ns = 20 * NSEC_PER_SEC};

        *state = harness_new(&times);
        return 0;
}

static void create_does_not_wait_for_ever_for_a_client(void **state)
{
        struct harness *h = *state;
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/out", h->dir);
        assert_int_equal(mkfifo(path, 0600), 0);
        h->stdout_path = path;
        assert_int_equal(rpc_end(h, rpc_begin(h, "Create", NULL)).code, STATUS_OK);
}

static void the_options_of_create_are_heeded(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__CreateTaskRequest m = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
        Containerd__Runc__V1__Options o = CONTAINERD__RUNC__V1__OPTIONS__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t data[64];
        struct answer a;

        o.binary_name = (char *)"/bin/sh"; /* there is one, but nothing to run it with here */
        any.type_url = (char *)"containerd.runc.v1.Options";
        any.value.data = data;
        any.value.len = containerd__runc__v1__options__pack(&o, data);
        m.id = (char *)"c1";
        m.bundle = h->dir;
        m.options = &any;
        a = rpc_end(h, call_begin(h, h->client, &containerd__task__v2__task__descriptor, "Create",
                                  &m.base, 0));
        assert_int_equal(a.code, STATUS_UNIMPLEMENTED);
        assert_non_null(strstr(a.text, "/bin/sh"));
}

static void make_fifo(char path[static 128], const struct harness *h, const char *name)
{
        (void)snprintf(path, 128, "%s/%s", h->dir, name);
        assert_int_equal(mkfifo(path, 0600), 0);
}

static void assert_owner(const char *path, uid_t uid, gid_t gid)
{
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_uid, uid);
        assert_int_equal(st.st_gid, gid);
}

/* R59 */
static void io_uid_and_io_gid_own_the_streams_of_init_and_execs(void **state)
{
        struct harness *h = *state;
        Containerd__Task__V2__CreateTaskRequest m = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
        Containerd__Runc__V1__Options o = CONTAINERD__RUNC__V1__OPTIONS__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t data[64];
        char in[128];
        char out[128];
        char err[128];
        char of_exec[128];

        if (geteuid() != 0)
                skip();
        make_fifo(in, h, "in");
        make_fifo(out, h, "out");
        make_fifo(err, h, "err");
        make_fifo(of_exec, h, "of_exec");
        o.io_uid = 1000;
        o.io_gid = 1001;
        any.type_url = (char *)"containerd.runc.v1.Options";
        any.value.data = data;
        any.value.len = containerd__runc__v1__options__pack(&o, data);
        m.id = (char *)"c1";
        m.bundle = h->dir;
        m.stdin = in;
        m.stdout = out;
        m.stderr = err;
        m.options = &any;
        assert_int_equal(
                rpc_end(h, call_begin(h, h->client, &containerd__task__v2__task__descriptor,
                                      "Create", &m.base, 0))
                        .code,
                STATUS_OK);
        assert_owner(in, 1000, 1001);
        assert_owner(out, 1000, 1001);
        assert_owner(err, 1000, 1001);
        assert_int_equal(rpc_do(h, "Start", NULL).code, STATUS_OK);
        h->stdout_path = of_exec;
        harness_exec(h, "e1");
        assert_owner(of_exec, 1000, 1001);
}

static void assert_no_container(struct harness *h)
{
        char path[128];

        assert_int_equal(rpc_do(h, "Delete", NULL).code, STATUS_NOT_FOUND);
        assert_int_equal(h->fake.n_containers, 0);
        assert_int_equal(h->fake.n_processes, 0);
        assert_int_equal(h->events.n, 0);
        (void)snprintf(path, sizeof(path), "%s/init.pid", h->dir);
        assert_int_equal(access(path, F_OK), -1);
        (void)snprintf(path, sizeof(path), "%s/init.json", h->dir);
        assert_int_equal(access(path, F_OK), -1);
}

static void a_create_that_fails_leaves_nothing_and_may_be_tried_again(void **state)
{
        struct harness *h = *state;
        struct answer a;

        h->fake.fail[FAKE_CREATE] = "mount 'proc' on '/proc': Operation not permitted";
        a = rpc_do(h, "Create", NULL);
        assert_int_equal(a.code, STATUS_UNKNOWN);
        assert_string_equal(a.text, "OCI runtime create failed: mount 'proc' on '/proc': "
                                    "Operation not permitted");
        assert_no_container(h);
        h->fake.fail[FAKE_CREATE] = NULL;
        h->fake.refuse[FAKE_CREATE] = true;
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_UNKNOWN);
        assert_no_container(h);
        h->fake.refuse[FAKE_CREATE] = false;
        h->stdout_path = "/nonexistent/fifo";
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_UNKNOWN);
        assert_no_container(h);
        h->stdout_path = NULL;
        harness_run(h);
}

static void what_an_executor_does_not_find_is_not_the_task(void **state)
{
        struct harness *h = *state;

        h->fake.fail[FAKE_CREATE] = "user 'x': not found in /etc/passwd";
        h->fake.fail_code = STATUS_NOT_FOUND;
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_UNKNOWN);
        h->fake.fail_code = STATUS_ALREADY_EXISTS;
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_UNKNOWN);
        h->fake.fail_code = STATUS_UNIMPLEMENTED;
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_UNIMPLEMENTED);
}

static void a_terminal_that_cannot_be_used_undoes_create(void **state)
{
        struct harness *h = *state;
        struct answer a;

        h->terminal = true;
        h->fake.bad_terminal = true;
        a = rpc_do(h, "Create", NULL);
        assert_int_not_equal(a.code, 0);
        assert_int_equal(h->fake.n_calls[FAKE_REMOVE], 1);
        assert_no_container(h);
}

static void creates_that_fail_in_one_round_do_not_meet(void **state)
{
        struct harness *h = *state;
        struct reply *r[4];

        h->stdout_path = "/nonexistent/fifo";
        for (size_t i = 0; i < UNIT_COUNT(r); i++)
                r[i] = rpc_begin(h, "Create", NULL);
        for (size_t i = 0; i < UNIT_COUNT(r); i++)
                assert_int_equal(rpc_end(h, r[i]).code, STATUS_UNKNOWN);
        assert_no_container(h);
}

static void while_create_is_under_way_the_shim_answers(void **state)
{
        struct harness *h = *state;
        struct reply *create;

        h->fake.hold[FAKE_CREATE] = true;
        create = rpc_begin(h, "Create", NULL);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_NOT_FOUND);
        assert_int_equal(rpc_do(h, "Connect", NULL).code, 0);
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_ALREADY_EXISTS);
        assert_false(create->done);
        fake_release(&h->fake, FAKE_CREATE);
        assert_int_equal(rpc_end(h, create).code, 0);
        assert_int_equal(rpc_do(h, "State", NULL).status, CREATED);
        assert_int_equal(rpc_do(h, "Create", NULL).code, STATUS_ALREADY_EXISTS);
}

static void a_create_goes_on_when_its_caller_has_gone(void **state)
{
        struct harness *h = *state;
        struct reply *create;
        struct answer a;

        h->fake.hold[FAKE_CREATE] = true;
        create = rpc_begin(h, "Create", NULL);
        harness_settle(h);
        ttrpc_client_free(h->client);
        h->client = harness_connect(h);
        assert_int_not_equal(rpc_end(h, create).code, 0);
        fake_release(&h->fake, FAKE_CREATE);
        harness_await_events(h, 1);
        a = rpc_do(h, "State", NULL);
        assert_int_equal(a.code, 0);
        assert_int_equal(a.status, CREATED);
}

static void create_writes_the_pid_and_a_record(void **state)
{
        struct harness *h = *state;
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *text = NULL;
        struct shim_record record;
        char path[128];
        char want[16];

        harness_create(h);
        (void)snprintf(path, sizeof(path), "%s/init.pid", h->dir);
        assert_int_equal(file_read(AT_FDCWD, path, 64, &text, NULL), 0);
        (void)snprintf(want, sizeof(want), "%d", (int)fake_pid(h->fake.init));
        assert_string_equal(text, want);
        fd = open(h->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(shim_record_read(fd, NULL, &record, NULL), 0);
        assert_false(record.exited);
        assert_int_equal(record.pid, fake_pid(h->fake.init));
        assert_string_equal(record.id, "c1");
}

static bool has_file(const struct harness *h, const char *name)
{
        char path[128];

        (void)snprintf(path, sizeof(path), "%s/%s", h->dir, name);
        return access(path, F_OK) == 0;
}

static void what_the_disk_knows_of_an_init_is_written_while_it_gets_ready(void **state)
{
        struct harness *h = *state;
        struct reply *create;
        struct shim_record early;
        struct shim_record late;
        pid_t pid;

        h->fake.hold[FAKE_CREATE] = true;
        create = rpc_begin(h, "Create", NULL);
        harness_settle(h);
        assert_false(has_file(h, "init.pid"));
        pid = fake_show_init(&h->fake);
        assert_true(pid > 0);
        assert_true(has_file(h, "init.pid"));
        early = harness_record(h, NULL);
        assert_int_equal(early.pid, pid);
        harness_settle(h);
        assert_false(create->done);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_NOT_FOUND);
        fake_release(&h->fake, FAKE_CREATE);
        assert_int_equal(rpc_end(h, create).pid, pid);
        assert_int_equal(fake_pid(h->fake.init), pid);
        late = harness_record(h, NULL);
        assert_int_equal(late.pid, pid);
        assert_memory_equal(&late.started_at, &early.started_at, sizeof(late.started_at));
}

static void a_create_that_fails_late_takes_its_files_away(void **state)
{
        struct harness *h = *state;
        struct reply *create;

        h->fake.hold[FAKE_CREATE] = true;
        h->fake.fail[FAKE_CREATE] = "not today";
        create = rpc_begin(h, "Create", NULL);
        harness_settle(h);
        (void)fake_show_init(&h->fake);
        assert_true(has_file(h, "init.pid"));
        assert_true(has_file(h, "init.json"));
        fake_release(&h->fake, FAKE_CREATE);
        assert_int_equal(rpc_end(h, create).code, STATUS_UNKNOWN);
        assert_false(has_file(h, "init.pid"));
        assert_false(has_file(h, "init.json"));
        h->fake.hold[FAKE_CREATE] = false;
        h->fake.fail[FAKE_CREATE] = NULL;
        harness_create(h);
        assert_int_equal(harness_record(h, NULL).pid, fake_pid(h->fake.init));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(a_bad_create_is_refused_before_anything_is_touched),
                cmocka_unit_test_setup_teardown(create_answers_when_the_clients_fifo_is_open,
                                                setup_patient, harness_teardown),
                TEST(create_does_not_wait_for_ever_for_a_client),
                TEST(the_options_of_create_are_heeded),
                TEST(io_uid_and_io_gid_own_the_streams_of_init_and_execs),
                TEST(a_create_that_fails_leaves_nothing_and_may_be_tried_again),
                TEST(what_an_executor_does_not_find_is_not_the_task),
                TEST(a_terminal_that_cannot_be_used_undoes_create),
                TEST(creates_that_fail_in_one_round_do_not_meet),
                TEST(while_create_is_under_way_the_shim_answers),
                TEST(a_create_goes_on_when_its_caller_has_gone),
                TEST(create_writes_the_pid_and_a_record),
                TEST(what_the_disk_knows_of_an_init_is_written_while_it_gets_ready),
                TEST(a_create_that_fails_late_takes_its_files_away),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
