/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that has no memory for a message, for a while: what stages and inits have said is read
 * when it has, also if they have ended meanwhile.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/engine/internal.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

enum { TIMES = 5 };

/* Whose messages there is no memory for; in forks there is. */
static struct {
        pid_t pid;
        const int *fd;
        const struct engine_job *reaped; /* NULL, or from when it has been */
        int n;
} shortage;

/* In libc's place, for the engine. */
ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
        if (shortage.n > 0 && getpid() == shortage.pid && fd == *shortage.fd &&
            (!shortage.reaped || !shortage.reaped->watch)) {
                shortage.n--;
                errno = ENOMEM;
                return -1;
        }
        return syscall(SYS_recvmsg, fd, msg, flags);
}

static void begin_shortage(const int *fd, const struct engine_job *reaped)
{
        shortage.pid = getpid();
        shortage.fd = fd;
        shortage.reaped = reaped;
        shortage.n = TIMES;
}

static int set_up(void **state)
{
        shortage.n = 0;
        return world_set_up(state);
}

static void a_start_is_answered(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "read line; exit 7"};

        world_create(w, &c);
        begin_shortage(&w->container->gate, NULL);
        world_begin_start(w);
        world_await(w, &w->started.has_come);
        assert_int_equal(w->started.err.code, STATUS_OK);
        assert_int_equal(shortage.n, 0);
}

static void an_init_is_heard_at_the_gate(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "exit 7"};

        world_begin_create(w, &c);
        begin_shortage(&w->job->container->gate, NULL);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_OK);
        assert_int_equal(shortage.n, 0);
}

static void what_a_stage_says_is_read_later(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "exit 7"};

        world_begin_create(w, &c);
        begin_shortage(&w->job->sock, NULL);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_OK);
        assert_int_equal(shortage.n, 0);
}

/* Until then nothing of it is read. */
static void so_is_what_it_said_before_it_was_reaped(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "exit 7"};
        siginfo_t info;

        world_begin_create(w, &c);
        assert_int_equal(waitid(P_PID, (id_t)w->job->stage_pid, &info, WEXITED | WNOWAIT), 0);
        begin_shortage(&w->job->sock, w->job);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_OK);
        assert_int_equal(shortage.n, 0);
}

static void an_exec_goes_through(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "sleep 1000"};
        static const char process[] =
                "{\"cwd\":\"/\",\"args\":[\"sleep\",\"1000\"],\"env\":[\"PATH=/bin\"]}";
        const struct engine_exec args = {
                .exec_id = "e1",
                .process_json = process,
                .process_json_len = sizeof(process) - 1,
                .stdio = w->stdio,
        };
        siginfo_t info;

        world_create(w, &c);
        world_start(w);
        world_begin_exec(w, &args);
        assert_int_equal(waitid(P_PID, (id_t)w->job->stage_pid, &info, WEXITED | WNOWAIT), 0);
        begin_shortage(&w->job->sock, w->job);
        world_await(w, &w->execed.has_come);
        assert_int_equal(w->execed.err.code, STATUS_OK);
        assert_int_equal(shortage.n, 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, world_tear_down)
        const struct CMUnitTest tests[] = {
                CASE(a_start_is_answered),
                CASE(an_init_is_heard_at_the_gate),
                CASE(what_a_stage_says_is_read_later),
                CASE(so_is_what_it_said_before_it_was_reaped),
                CASE(an_exec_goes_through),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
