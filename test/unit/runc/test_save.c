/* SPDX-License-Identifier: Apache-2.0
 *
 * What is kept of a container that a runtime binary has made, through an execve of this program
 * itself. No runtime runs: the processes are children of the test's own.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/runc/internal.h"

#include "belay/state/v1/runc.pb-c.h"
#include "test/unit/reexec.h"
#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 30, PACKED_MAX = 4096 };

struct along {
        size_t n_container;
        size_t n_process;
        uint8_t container[PACKED_MAX];
        uint8_t process[PACKED_MAX];
};

struct fixture {
        struct loop *loop;
        struct reaper *reaper;
        struct runc *runc;
        struct runc_process *process;
        struct reaper_exit exit;
        bool has_exited;
        bool has_ended;
};

static void fixture_open(struct fixture *f)
{
        struct error err = ERROR_INIT;

        (void)alarm(TEST_LIMIT_S);
        *f = (struct fixture){0};
        assert_int_equal(loop_new(&f->loop, &err), 0);
        assert_int_equal(reaper_new(&f->reaper, f->loop, &err), 0);
}

static void fixture_close(struct fixture *f)
{
        runc_process_free(f->process);
        runc_free(f->runc);
        reaper_free(f->reaper);
        loop_free(f->loop);
}

static void on_exit_seen(const struct reaper_exit *exit, void *userdata)
{
        struct fixture *f = userdata;

        assert_false(f->has_exited);
        f->has_exited = true;
        f->exit = *exit;
}

static void on_end(void *userdata)
{
        struct fixture *f = userdata;

        f->has_ended = true;
        loop_quit(f->loop);
}

static void await_end(struct fixture *f)
{
        struct error err = ERROR_INIT;

        runc_process_on_end(f->process, on_end, f);
        assert_int_equal(loop_run(f->loop, &err), 0);
        assert_true(f->has_ended);
}

/* A container of no runtime, with a process that waits for a signal. */
static void begin(struct fixture *f)
{
        const struct runc_options options = {
                .loop = f->loop,
                .reaper = f->reaper,
                .binary = "/bin/runtime",
                .root = "/run/somewhere",
                .runtime_namespace = "k8s.io",
                .bundle = "/the/bundle",
                .state_dir = "/the/state",
                .id = "the-container",
                .systemd_cgroup = true,
                .no_new_keyring = true,
        };
        struct error err = ERROR_INIT;
        pid_t pid = fork();

        assert_true(pid >= 0);
        while (pid == 0)
                (void)pause();
        assert_int_equal(runc_new(&f->runc, &options, &err), 0);
        assert_int_equal(runc_process_new(&f->process, f->runc, pid, &err), 0);
}

static void save(const struct fixture *f, struct along *along)
{
        Belay__State__V1__RuncContainer container;
        Belay__State__V1__RuncProcess process;

        runc_save(f->runc, &container);
        along->n_container = belay__state__v1__runc_container__pack(&container, along->container);
        runc_process_save(f->process, &process);
        along->n_process = belay__state__v1__runc_process__pack(&process, along->process);
        assert_true(along->n_container <= PACKED_MAX && along->n_process <= PACKED_MAX);
}

static Belay__State__V1__RuncContainer *unpack_container(const struct along *along)
{
        Belay__State__V1__RuncContainer *msg = belay__state__v1__runc_container__unpack(
                NULL, along->n_container, along->container);

        assert_non_null(msg);
        return msg;
}

static Belay__State__V1__RuncProcess *unpack_process(const struct along *along)
{
        Belay__State__V1__RuncProcess *msg =
                belay__state__v1__runc_process__unpack(NULL, along->n_process, along->process);

        assert_non_null(msg);
        return msg;
}

static void restore_container(struct fixture *f, const struct along *along)
{
        Belay__State__V1__RuncContainer *msg = unpack_container(along);
        Belay__State__V1__RuncContainer again;
        struct error err = ERROR_INIT;

        fixture_open(f);
        if (runc_restore(&f->runc, f->loop, f->reaper, msg, &err) < 0)
                fail_msg("%s", err.msg);
        /* All of it is there: what is saved now is what was saved then. */
        runc_save(f->runc, &again);
        assert_int_equal(belay__state__v1__runc_container__get_packed_size(&again),
                         along->n_container);
        assert_string_equal(again.binary, "/bin/runtime");
        assert_string_equal(again.root, "/run/somewhere");
        assert_string_equal(again.runtime_namespace, "k8s.io");
        assert_string_equal(again.state_dir, "/the/state");
        assert_true(again.systemd_cgroup && again.no_new_keyring && !again.no_pivot_root);
        belay__state__v1__runc_container__free_unpacked(msg, NULL);
}

static void restore(struct fixture *f, const struct along *along)
{
        Belay__State__V1__RuncProcess *msg = unpack_process(along);
        struct error err = ERROR_INIT;

        restore_container(f, along);
        if (runc_process_restore(&f->process, f->runc, msg, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(runc_process_pid(f->process), msg->pid);
        runc_process_on_exit(f->process, on_exit_seen, f);
        belay__state__v1__runc_process__free_unpacked(msg, NULL);
}

/* ---- One that lives ---- */

static void first_living(void *memory)
{
        struct fixture f;

        fixture_open(&f);
        begin(&f);
        save(&f, memory);
}

static void second_living(void *memory)
{
        struct error err = ERROR_INIT;
        struct fixture f;

        restore(&f, memory);
        assert_false(runc_process_has_exited(f.process));
        assert_false(runc_is_created(f.runc));
        assert_int_equal(runc_process_signal(f.process, SIGKILL, &err), 0);
        await_end(&f);
        assert_true(f.has_exited);
        assert_int_equal(f.exit.code, CLD_KILLED);
        assert_int_equal(f.exit.status, SIGKILL);
        fixture_close(&f);
}

/* ---- One that has ended, untold ---- */

static void first_ended(void *memory)
{
        struct error err = ERROR_INIT;
        struct fixture f;

        fixture_open(&f);
        begin(&f);
        assert_int_equal(runc_process_signal(f.process, SIGTERM, &err), 0);
        await_end(&f);
        save(&f, memory);
}

static void second_ended(void *memory)
{
        struct fixture f;

        restore(&f, memory);
        assert_true(runc_process_has_exited(f.process));
        assert_false(f.has_exited);
        await_end(&f);
        assert_true(f.has_exited);
        assert_int_equal(f.exit.status, SIGTERM);
        assert_true(f.exit.at.tv_sec > 0);
        fixture_close(&f);
}

/* Somebody has reaped it, and nothing is noted: its pidfd may know (Linux 6.15). */
static void first_lost(void *memory)
{
        struct fixture f;
        pid_t pid;

        fixture_open(&f);
        begin(&f);
        save(&f, memory);
        pid = runc_process_pid(f.process);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void second_lost(void *memory)
{
        struct fixture f;

        restore(&f, memory);
        await_end(&f);
        assert_true(f.has_exited);
        if (f.exit.code == CLD_KILLED) {
                assert_int_equal(f.exit.status, SIGKILL);
        } else {
                assert_int_equal(f.exit.code, CLD_EXITED);
                assert_int_equal(f.exit.status, REAPER_STATUS_UNKNOWN);
        }
        fixture_close(&f);
}

/* ---- Damage ---- */

static void assert_process_refused(struct fixture *f, const Belay__State__V1__RuncProcess *msg,
                                   const char *text)
{
        struct runc_process *p = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(runc_process_restore(&p, f->runc, msg, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        if (!strstr(err.msg, text))
                fail_msg("'%s' is not in '%s'", text, err.msg);
        assert_null(p);
}

static void second_damaged(void *memory)
{
        Belay__State__V1__RuncProcess *process = unpack_process(memory);
        Belay__State__V1__RuncContainer *container = unpack_container(memory);
        uint32_t pidfd = process->pidfd;
        int32_t pid = process->pid;
        struct error err = ERROR_INIT;
        struct runc *runc = NULL;
        char *text = container->id;
        struct fixture f;

        restore_container(&f, memory);
        container->id = (char *)"../x";
        assert_int_equal(runc_restore(&runc, f.loop, f.reaper, container, &err), -1);
        assert_non_null(strstr(err.msg, "restore container: id '../x'"));
        container->id = text;
        text = container->binary;
        container->binary = (char *)"runc";
        assert_int_equal(runc_restore(&runc, f.loop, f.reaper, container, &err), -1);
        assert_non_null(strstr(err.msg, "binary 'runc': not absolute"));
        container->binary = text;
        process->pidfd = 200;
        assert_process_refused(&f, process, "pidfd: descriptor 199 is not open");
        process->pidfd = pidfd;
        process->pid = pid + 1;
        assert_process_refused(&f, process, "is the pidfd of process");
        process->pid = 0;
        assert_process_refused(&f, process, "restore process 0: no pid");
        belay__state__v1__runc_process__free_unpacked(process, NULL);
        belay__state__v1__runc_container__free_unpacked(container, NULL);
        fixture_close(&f);
        /* Nothing was claimed. */
        second_living(memory);
}

static const struct reexec_case cases[] = {
        {"living", first_living, second_living},
        {"ended", first_ended, second_ended},
        {"lost", first_lost, second_lost},
        {"damaged", first_living, second_damaged},
};

static void a_process_that_lives_goes_on(void **state)
{
        (void)state;
        reexec_run("living");
}

static void an_exit_that_was_not_told_is_told(void **state)
{
        (void)state;
        reexec_run("ended");
}

static void an_exit_that_nobody_has_noted_is_what_the_kernel_says(void **state)
{
        (void)state;
        reexec_run("lost");
}

static void damage_is_refused_by_name(void **state)
{
        (void)state;
        reexec_run("damaged");
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_process_that_lives_goes_on),
                cmocka_unit_test(an_exit_that_was_not_told_is_told),
                cmocka_unit_test(an_exit_that_nobody_has_noted_is_what_the_kernel_says),
                cmocka_unit_test(damage_is_refused_by_name),
        };

        reexec_main(argc, argv, cases, UNIT_COUNT(cases));
        return cmocka_run_group_tests(tests, NULL, NULL);
}
