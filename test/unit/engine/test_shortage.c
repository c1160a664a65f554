/* SPDX-License-Identifier: Apache-2.0
 *
 * A host that has no memory for a message, for a while: what stages and inits have said is read
 * when it has, also if they have ended meanwhile. And one that has no descriptors for those that
 * come with a message, which are lost: then the job fails. So it does without memory for what is
 * needed as long as the container lives.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/engine/internal.h"

#include "test/unit/engine/world.h"
#include "test/unit/unit.h"

/* How long it lasts. It is tried once in each LOOP_REST_NS, of which half is believed. */
#define SHORTAGE_NS (3 * LOOP_REST_NS)
enum { TRIES_MAX = 8 };

/* Whose messages there is no memory for; in forks there is. */
static struct {
        pid_t pid;
        const int *fd;
        const struct engine_job *reaped; /* NULL, or from when it has been */
        uint64_t until_ns;               /* 0: there is none */
        unsigned n_tries;
        bool loses_fds; /* the next message with descriptors comes without them */
        bool has_no_arena;
} shortage;

/* The linker puts these in the place of pkg/base's. */
struct arena *__real_arena_new(size_t budget);
struct arena *__wrap_arena_new(size_t budget);

struct arena *__wrap_arena_new(size_t budget)
{
        if (shortage.has_no_arena && getpid() == shortage.pid) {
                shortage.has_no_arena = false;
                return NULL;
        }
        return __real_arena_new(budget);
}

/* As the kernel does where the table is full: unix(7), MSG_CTRUNC. */
static void lose_fds(struct msghdr *msg)
{
        struct cmsghdr *c = CMSG_FIRSTHDR(msg);
        int fd;

        for (size_t at = CMSG_LEN(0); c && at < c->cmsg_len; at += sizeof(fd)) {
                memcpy(&fd, (const char *)c + at, sizeof(fd));
                close(fd);
        }
        msg->msg_controllen = 0;
        msg->msg_flags |= MSG_CTRUNC;
}

/* From the first try on. */
static bool is_short_of_memory(void)
{
        uint64_t now = clock_monotonic_ns();

        if (shortage.n_tries++ == 0)
                shortage.until_ns = now + SHORTAGE_NS;
        if (now >= shortage.until_ns)
                shortage.until_ns = 0;
        return shortage.until_ns > 0;
}

/* In libc's place, for the engine. */
ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
        ssize_t n;

        if (shortage.until_ns > 0 && getpid() == shortage.pid && fd == *shortage.fd &&
            (!shortage.reaped || !shortage.reaped->watch) && is_short_of_memory()) {
                errno = ENOMEM;
                return -1;
        }
        n = syscall(SYS_recvmsg, fd, msg, flags);
        if (n > 0 && msg->msg_controllen > 0 && shortage.loses_fds && getpid() == shortage.pid) {
                shortage.loses_fds = false;
                lose_fds(msg);
        }
        return n;
}

static void begin_shortage(const int *fd, const struct engine_job *reaped)
{
        shortage.pid = getpid();
        shortage.fd = fd;
        shortage.reaped = reaped;
        shortage.n_tries = 0;
        shortage.until_ns = UINT64_MAX;
}

/* It was tried until there was memory, and not all the time. */
static void check_tries(void)
{
        assert_int_equal(shortage.until_ns, 0);
        assert_in_range(shortage.n_tries, 2, TRIES_MAX);
}

static int set_up(void **state)
{
        shortage.until_ns = 0;
        shortage.loses_fds = false;
        shortage.has_no_arena = false;
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
        check_tries();
}

static void an_init_is_heard_at_the_gate(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "exit 7"};

        world_begin_create(w, &c);
        begin_shortage(&w->job->container->gate, NULL);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_OK);
        check_tries();
}

static void what_a_stage_says_is_read_later(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "exit 7"};

        world_begin_create(w, &c);
        begin_shortage(&w->job->sock, NULL);
        world_await(w, &w->created.has_come);
        assert_int_equal(w->created.err.code, STATUS_OK);
        check_tries();
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
        check_tries();
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
        check_tries();
}

/* Its pidfd is the only descriptor that this one's stage sends. */
static void a_create_that_loses_its_init_fails(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "exit 7"};

        world_begin_create(w, &c);
        shortage.pid = getpid();
        shortage.loses_fds = true;
        world_await(w, &w->created.has_come);
        assert_false(shortage.loses_fds);
        assert_int_equal(w->created.err.code, STATUS_RESOURCE_EXHAUSTED);
        assert_string_equal(w->created.err.msg,
                            "create: no room for the descriptors that the stage has sent");
}

/* Else nobody could ask for its stats, nor thaw it. */
static void a_create_that_cannot_know_its_cgroup_fails(void **state)
{
        struct world *w = *state;
        const struct box_config c = {.script = "exit 7"};

        world_begin_create(w, &c);
        shortage.pid = getpid();
        shortage.has_no_arena = true;
        world_await(w, &w->created.has_come);
        assert_false(shortage.has_no_arena);
        assert_int_equal(w->created.err.code, STATUS_RESOURCE_EXHAUSTED);
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
                CASE(a_create_that_loses_its_init_fails),
                CASE(a_create_that_cannot_know_its_cgroup_fails),
        };

        if (!world_possible())
                return WORLD_SKIP;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
