/* SPDX-License-Identifier: Apache-2.0
 *
 * Containers and processes that outlive the image of the program that made them: each test executes
 * itself anew in the middle.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/kept.h"
#include "pkg/base/str.h"

#include "belay/state/v1/engine.pb-c.h"
#include "test/unit/engine/world.h"
#include "test/unit/reexec.h"
#include "test/unit/unit.h"

#define PROCESS(args) \
        "{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"env\":[\"PATH=/bin\"],\"args\":" args "}"
#define SHELL(script) PROCESS("[\"sh\",\"-c\",\"" script "\"]")

enum { ARENA = 1 << 20, PACKED_MAX = 64 << 10 };

/* What goes along: the world as it was, of which the second half takes what is no pointer. */
struct along {
        struct world world;
        bool has_init;
        bool has_exec;
        size_t n_container;
        size_t n_init;
        size_t n_exec;
        uint8_t container[PACKED_MAX];
        uint8_t init[PACKED_MAX];
        uint8_t exec[PACKED_MAX];
};

static void save(struct world *w, struct along *along)
{
        Belay__State__V1__EngineContainer container;
        Belay__State__V1__EngineProcess process;
        struct arena *arena = arena_new(ARENA);
        struct error err = ERROR_INIT;

        along->world = *w;
        assert_int_equal(engine_container_save(w->container, arena, &container, &err), 0);
        along->n_container = belay__state__v1__engine_container__pack(&container, along->container);
        along->has_init = w->init != NULL;
        if (w->init) {
                engine_process_save(w->init, &process);
                along->n_init = belay__state__v1__engine_process__pack(&process, along->init);
        }
        along->has_exec = w->exec != NULL;
        if (w->exec) {
                engine_process_save(w->exec, &process);
                along->n_exec = belay__state__v1__engine_process__pack(&process, along->exec);
        }
        arena_free(arena);
        (void)fcntl(w->null, F_SETFD, 0);
}

static Belay__State__V1__EngineContainer *unpack_container(const struct along *along)
{
        Belay__State__V1__EngineContainer *msg = belay__state__v1__engine_container__unpack(
                NULL, along->n_container, along->container);

        assert_non_null(msg);
        return msg;
}

static Belay__State__V1__EngineProcess *unpack_process(size_t n, const uint8_t *data)
{
        Belay__State__V1__EngineProcess *msg =
                belay__state__v1__engine_process__unpack(NULL, n, data);

        assert_non_null(msg);
        return msg;
}

/* The world's own part, in the new image; what was kept and is not the container's is claimed. The
 * image before has left its loop's descriptors: nobody claims them. */
static struct world *reopen(const struct along *along)
{
        struct world *w = calloc(1, sizeof(*w));

        (void)alarm(60);
        assert_non_null(w);
        w->box = along->world.box;
        memcpy(w->cgroup, along->world.cgroup, sizeof(w->cgroup));
        w->terminal = along->world.terminal;
        w->null = along->world.null;
        w->out = along->world.out;
        memcpy(w->stdio, along->world.stdio, sizeof(w->stdio));
        world_open(w);
        return w;
}

static struct engine_process *restore_process(struct world *w, size_t n, const uint8_t *data)
{
        Belay__State__V1__EngineProcess *msg = unpack_process(n, data);
        struct engine_process *p = NULL;
        struct error err = ERROR_INIT;

        if (engine_process_restore(&p, w->container, msg, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(engine_process_pid(p), msg->pid);
        w->n_fds -= msg->pidfd > 0;
        belay__state__v1__engine_process__free_unpacked(msg, NULL);
        return p;
}

static struct world *restore(const struct along *along)
{
        struct world *w = reopen(along);
        Belay__State__V1__EngineContainer *msg = unpack_container(along);
        struct error err = ERROR_INIT;

        if (engine_container_restore(&w->container, w->engine, msg, &err) < 0)
                fail_msg("%s", err.msg);
        w->n_fds -=
                (size_t)(msg->gate > 0) + (size_t)(msg->seccomp > 0) + (size_t)(msg->config > 0);
        w->n_fds -= w->terminal >= 0;
        belay__state__v1__engine_container__free_unpacked(msg, NULL);
        if (along->has_init) {
                w->init = restore_process(w, along->n_init, along->init);
                world_await_init(w);
        }
        if (along->has_exec) {
                w->exec = restore_process(w, along->n_exec, along->exec);
                world_await_exec(w);
        }
        reaper_poll(w->reaper);
        return w;
}

static void finish(struct world *w)
{
        void *state = w;

        (void)world_tear_down(&state);
}

static struct world *begin(void)
{
        void *state = NULL;

        (void)world_set_up(&state);
        return state;
}

static void assert_output(struct world *w, const char *expected)
{
        char *out = world_output(w);

        assert_string_equal(out, expected);
        free(out);
}

/* ---- A container that waits at the gate ---- */

static void first_gate(void *memory)
{
        const struct box_config c = {.script = "echo started; exit 7"};
        struct world *w = begin();

        world_create(w, &c);
        save(w, memory);
}

static void second_gate(void *memory)
{
        struct world *w = restore(memory);

        assert_false(engine_container_has_started(w->container));
        assert_output(w, "");
        world_start(w);
        assert_true(engine_container_has_started(w->container));
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 7);
        assert_output(w, "started\n");
        finish(w);
}

/* ---- One that runs, with all that an exec and a delete need ---- */

static const struct box_config full = {
        .args = "[\"/bin/sleep\",\"1000\"]",
        .process = ",\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"],"
                   "\"permitted\":[\"CAP_KILL\"]}",
        .linux_ = ",\"personality\":{\"domain\":\"LINUX32\"},\"seccomp\":{\"defaultAction\":"
                  "\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\",\"mkdirat\"],"
                  "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":95}]}",
        .top = ",\"hooks\":{\"poststop\":[{\"path\":\"/bin/sh\",\"args\":[\"sh\",\"-c\","
               "\"cat > poststop\"]}]}",
};

static void first_running(void *memory)
{
        struct world *w = begin();

        world_create(w, &full);
        world_start(w);
        save(w, memory);
}

static void second_running(void *memory)
{
        struct world *w = restore(memory);
        struct error err = ERROR_INIT;
        char *hook;

        assert_true(engine_container_has_started(w->container));
        assert_true(engine_has_private_pid_namespace(w->container));
        assert_non_null(engine_cgroup(w->container));
        assert_string_equal(
                world_try_exec(w,
                               SHELL("grep CapBnd /proc/self/status; uname -m; mkdir /x || "
                                     "echo refused; exit 5"),
                               false),
                "");
        world_await(w, &w->exec_exit.has_come);
        assert_int_equal(world_exit_status(&w->exec_exit), 5);
        assert_output(w, "CapBnd:\t0000000000000020\ni686\nmkdir: can't create directory '/x': "
                         "Operation not supported\nrefused\n");
        world_free_exec(w);
        assert_int_equal(engine_process_signal(w->init, SIGKILL, &err), 0);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
        world_delete(w);
        hook = world_file(w, "poststop");
        assert_non_null(strstr(hook, "the-container"));
        free(hook);
        finish(w);
}

/* ---- Exits around the execve ---- */

static void first_exec(void *memory)
{
        const struct box_config c = {.args = "[\"/bin/sleep\",\"1000\"]"};
        struct world *w = begin();

        world_create(w, &c);
        world_start(w);
        assert_string_equal(world_try_exec(w, SHELL("read x; exit 9"), true), "");
        save(w, memory);
}

static void second_exec(void *memory)
{
        struct world *w = restore(memory);

        assert_false(w->exec_exit.has_come);
        assert_int_equal(write(w->terminal, "\n", 1), 1);
        world_await(w, &w->exec_exit.has_come);
        assert_int_equal(world_exit_status(&w->exec_exit), 9);
        assert_false(w->init_exit.has_come);
        finish(w);
}

/* It ends, and is a zombie when the next image begins. */
static void first_zombie(void *memory)
{
        const struct box_config c = {.args = "[\"/bin/sleep\",\"1000\"]"};
        struct error err = ERROR_INIT;
        struct world *w = begin();
        siginfo_t info;

        world_create(w, &c);
        world_start(w);
        save(w, memory);
        assert_int_equal(engine_process_signal(w->init, SIGTERM, &err), 0);
        assert_int_equal(engine_process_signal(w->init, SIGKILL, &err), 0);
        assert_int_equal(
                waitid(P_PID, (id_t)engine_process_pid(w->init), &info, WEXITED | WNOWAIT | __WALL),
                0);
}

static void second_zombie(void *memory)
{
        struct world *w = restore(memory);

        assert_true(w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 137);
        assert_string_equal(world_try_exec(w, SHELL("true"), false),
                            "exec: the container's init has ended");
        finish(w);
}

static void stop(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

/* The engine has seen the exit, and nobody has asked for it. */
static void first_untold(void *memory)
{
        const struct box_config c = {.script = "exit 3"};
        struct error err = ERROR_INIT;
        struct world *w = begin();
        struct loop_timer *timer;
        siginfo_t info;

        world_create(w, &c);
        engine_process_on_exit(w->init, NULL, NULL);
        world_start(w);
        timer = loop_timer_new(w->loop, stop, w->loop);
        assert_non_null(timer);
        while (waitid(P_PID, (id_t)engine_process_pid(w->init), &info,
                      WEXITED | WNOWAIT | WNOHANG | __WALL) == 0) {
                assert_int_equal(loop_timer_set(timer, 1000000), 0);
                assert_int_equal(loop_run(w->loop, &err), 0);
        }
        loop_timer_free(timer);
        assert_false(w->init_exit.has_come);
        save(w, memory);
}

static void second_untold(void *memory)
{
        struct world *w = restore(memory);

        assert_false(w->init_exit.has_come);
        world_await(w, &w->init_exit.has_come);
        assert_int_equal(world_exit_status(&w->init_exit), 3);
        assert_true(w->init_exit.exit.at.tv_sec > 0);
        finish(w);
}

static void first_told(void *memory)
{
        const struct box_config c = {.script = "exit 3"};
        struct world *w = begin();

        assert_int_equal(world_run(w, &c), 3);
        save(w, memory);
}

static void second_told(void *memory)
{
        struct world *w = restore(memory);
        struct error err = ERROR_INIT;

        assert_int_equal(engine_process_signal(w->init, SIGKILL, &err), -1);
        assert_string_equal(err.msg, "process already finished");
        world_delete(w);
        assert_false(w->init_exit.has_come);
        finish(w);
}

/* The image that had opened the gate is gone before it was answered. */
static void first_starting(void *memory)
{
        const struct box_config c = {.args = "[\"/bin/sleep\",\"1000\"]"};
        struct world *w = begin();

        world_create(w, &c);
        save(w, memory);
        world_start(w);
}

static void second_starting(void *memory)
{
        struct world *w = reopen(memory);
        Belay__State__V1__EngineContainer *msg = unpack_container(memory);
        struct error err = ERROR_INIT;
        int pair[2];

        /* The image before has closed its own by now; as if it had not: */
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
        (void)close(pair[1]);
        msg->gate = kept_number(pair[0]);
        if (engine_container_restore(&w->container, w->engine, msg, &err) < 0)
                fail_msg("%s", err.msg);
        assert_true(engine_container_has_started(w->container));
        assert_int_equal(fcntl(pair[0], F_GETFD), -1);
        belay__state__v1__engine_container__free_unpacked(msg, NULL);
        w->init = restore_process(w, ((struct along *)memory)->n_init,
                                  ((struct along *)memory)->init);
        world_await_init(w);
        finish(w);
}

/* ---- Damage ---- */

static size_t open_fds(void)
{
        size_t n = 0;

        for (int fd = 0; fd < REEXEC_FD_MAX; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void assert_container_refused(struct world *w, const Belay__State__V1__EngineContainer *msg,
                                     const char *text)
{
        struct engine_container *c = NULL;
        struct error err = ERROR_INIT;
        size_t n = open_fds();

        assert_int_equal(engine_container_restore(&c, w->engine, msg, &err), -1);
        if (!strstr(err.msg, text))
                fail_msg("'%s' is not in '%s'", text, err.msg);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_null(c);
        assert_int_equal(open_fds(), n);
}

static void refuse_container_fd(struct world *w, const Belay__State__V1__EngineContainer *msg,
                                uint32_t *field, const char *name, const char *kind)
{
        uint32_t good = *field;
        char text[128];

        *field = 200;
        (void)snprintf(text, sizeof(text), "restore container: %s: descriptor 199 is not open",
                       name);
        assert_container_refused(w, msg, text);
        *field = UINT32_MAX;
        assert_container_refused(w, msg, "is not open");
        (void)fcntl(w->null, F_SETFD, 0);
        *field = kept_number(w->null);
        (void)snprintf(text, sizeof(text), "restore container: %s: descriptor %d is not %s", name,
                       w->null, kind);
        assert_container_refused(w, msg, text);
        (void)fcntl(w->null, F_SETFD, FD_CLOEXEC);
        (void)snprintf(text, sizeof(text),
                       "%s: descriptor %d is not from before the execve, or another's", name,
                       w->null);
        assert_container_refused(w, msg, text);
        *field = good;
}

static void second_damaged_container(void *memory)
{
        struct world *w = reopen(memory);
        Belay__State__V1__EngineContainer *msg = unpack_container(memory);
        Belay__State__V1__EngineFacts *facts = TAKE_PTR(msg->facts);
        char *cgroup = msg->cgroup;
        char *id = msg->id;

        assert_container_refused(w, msg, "no facts");
        msg->facts = facts;
        msg->id = (char *)"../x";
        assert_container_refused(w, msg, "id '../x' is not valid");
        msg->id = id;
        msg->cgroup = (char *)"nonsense";
        assert_container_refused(w, msg, "restore container: ");
        msg->cgroup = cgroup;
        refuse_container_fd(w, msg, &msg->gate, "gate", "a socket");
        refuse_container_fd(w, msg, &msg->seccomp, "seccomp filter", "a file");
        refuse_container_fd(w, msg, &msg->config, "config.json", "a file");
        belay__state__v1__engine_container__free_unpacked(msg, NULL);
        engine_free(w->engine);
        reaper_free(w->reaper);
        loop_free(w->loop);
        free(w);
        /* Nothing was claimed by all that: it still works. */
        second_running(memory);
}

static void assert_process_refused(struct world *w, const Belay__State__V1__EngineProcess *msg,
                                   const char *text)
{
        struct engine_process *p = NULL;
        struct error err = ERROR_INIT;
        size_t n = open_fds();

        assert_int_equal(engine_process_restore(&p, w->container, msg, &err), -1);
        if (!strstr(err.msg, text))
                fail_msg("'%s' is not in '%s'", text, err.msg);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_null(p);
        assert_int_equal(open_fds(), n);
}

static void second_damaged_process(void *memory)
{
        struct along *along = memory;
        struct world *w;
        Belay__State__V1__EngineProcess *msg = unpack_process(along->n_exec, along->exec);
        uint32_t pidfd = msg->pidfd;
        int32_t pid = msg->pid;

        along->has_exec = false;
        w = restore(along);
        msg->pidfd = 0;
        assert_process_refused(w, msg, "pidfd: none");
        msg->pidfd = 200;
        assert_process_refused(w, msg, "pidfd: descriptor 199 is not open");
        (void)fcntl(w->null, F_SETFD, 0);
        msg->pidfd = kept_number(w->null);
        assert_process_refused(w, msg, "is not a pidfd");
        msg->pidfd = pidfd;
        msg->pid = pid + 1;
        assert_process_refused(w, msg, "is the pidfd of process");
        msg->pid = 0;
        assert_process_refused(w, msg, "restore process 0: no pid");
        msg->pid = pid;
        msg->init = true;
        assert_process_refused(w, msg, "the container's init is");
        belay__state__v1__engine_process__free_unpacked(msg, NULL);
        w->exec = restore_process(w, along->n_exec, along->exec);
        world_await_exec(w);
        assert_int_equal(write(w->terminal, "\n", 1), 1);
        world_await(w, &w->exec_exit.has_come);
        finish(w);
}

static const struct reexec_case cases[] = {
        {"gate", first_gate, second_gate},
        {"running", first_running, second_running},
        {"exec", first_exec, second_exec},
        {"zombie", first_zombie, second_zombie},
        {"untold", first_untold, second_untold},
        {"told", first_told, second_told},
        {"starting", first_starting, second_starting},
        {"damaged container", first_running, second_damaged_container},
        {"damaged process", first_exec, second_damaged_process},
};

static void a_container_at_the_gate_can_be_started(void **state)
{
        (void)state;
        reexec_run("gate");
}

static void a_running_container_can_be_used_as_before(void **state)
{
        (void)state;
        reexec_run("running");
}

static void the_exit_of_an_exec_is_told(void **state)
{
        (void)state;
        reexec_run("exec");
}

static void an_exit_in_between_is_told(void **state)
{
        (void)state;
        reexec_run("zombie");
}

static void an_exit_that_was_not_told_is_told(void **state)
{
        (void)state;
        reexec_run("untold");
}

static void an_exit_that_was_told_is_not_told_again(void **state)
{
        (void)state;
        reexec_run("told");
}

static void a_gate_that_was_opened_counts_as_passed(void **state)
{
        (void)state;
        reexec_run("starting");
}

static void a_damaged_container_is_refused_by_name(void **state)
{
        (void)state;
        reexec_run("damaged container");
}

static void a_damaged_process_is_refused_by_name(void **state)
{
        (void)state;
        reexec_run("damaged process");
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_container_at_the_gate_can_be_started),
                cmocka_unit_test(a_running_container_can_be_used_as_before),
                cmocka_unit_test(the_exit_of_an_exec_is_told),
                cmocka_unit_test(an_exit_in_between_is_told),
                cmocka_unit_test(an_exit_that_was_not_told_is_told),
                cmocka_unit_test(an_exit_that_was_told_is_not_told_again),
                cmocka_unit_test(a_gate_that_was_opened_counts_as_passed),
                cmocka_unit_test(a_damaged_container_is_refused_by_name),
                cmocka_unit_test(a_damaged_process_is_refused_by_name),
        };

        reexec_main(argc, argv, cases, UNIT_COUNT(cases));
        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
