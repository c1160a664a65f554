/* SPDX-License-Identifier: Apache-2.0
 *
 * A client that is left by an execve() of itself at every step of what it keeps: each of its
 * requests reaches the server once, and each answer is heard. The program is client_image.c, whose
 * path is the argument; the server is in this process.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/ttrpc.h"

#include "test/unit/ttrpc/client_image.h"
#include "test/unit/ttrpc/echo.pb-c.h"
#include "test/unit/unit.h"

enum { GUARD_SECONDS = 60 };

static const char *image_path;

struct world {
        struct loop *loop;
        struct loop_timer *guard;
        struct ttrpc_server *server;
        struct client_control *control;
        unsigned seen[CLIENT_CALLS + 1]; /* requests, by number */
        pid_t pid;
};

static void on_guard(struct loop_timer *timer, void *userdata)
{
        const struct world *w = userdata;

        (void)timer;
        (void)kill(w->pid, SIGKILL);
        fail_msg("crashed at step %llu of %llu: waited for nothing",
                 (unsigned long long)w->control->crash_at, (unsigned long long)w->control->n_steps);
}

static void handle_echo(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;
        struct world *w = userdata;

        assert_in_range(request->number, 1, CLIENT_CALLS);
        w->seen[request->number]++;
        response.number = request->number;
        ttrpc_call_reply(call, &response.base);
}

static void on_end(struct loop_io *io, int fd, int what, void *userdata)
{
        struct world *w = userdata;

        (void)fd;
        (void)what;
        (void)loop_io_want(io, 0);
        loop_quit(w->loop);
}

static void run_image(int socket, int memory, int control)
{
        const int numbers[] = {socket, memory, control};
        char fds[3][16];
        char *argv[] = {(char *)image_path, fds[0], fds[1], fds[2], NULL};

        for (int i = 0; i < 3; i++) {
                (void)snprintf(fds[i], sizeof(fds[i]), "%d", numbers[i]);
                (void)fcntl(numbers[i], F_SETFD, 0);
        }
        (void)execv(image_path, argv);
        _exit(99);
}

/* All calls of a client that crashes at that step; how many steps there were. */
static uint64_t run(struct world *w, uint64_t crash_at, uint64_t *ret_n_resumed)
{
        int memory = memfd_create("kept", MFD_CLOEXEC);
        int control = memfd_create("control", MFD_CLOEXEC);
        int status = 0;
        int fds[2];
        int pidfd;
        struct loop_io *io;
        uint64_t n;

        memset(w->seen, 0, sizeof(w->seen));
        assert_int_equal(ftruncate(memory, (off_t)TTRPC_KEEP_BYTES(1)), 0);
        assert_int_equal(ftruncate(control, sizeof(*w->control)), 0);
        w->control =
                mmap(NULL, sizeof(*w->control), PROT_READ | PROT_WRITE, MAP_SHARED, control, 0);
        assert_ptr_not_equal(w->control, MAP_FAILED);
        w->control->crash_at = crash_at;
        w->control->next = 1;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(ttrpc_server_adopt_consume(w->server, fds[0], NULL), 0);
        w->pid = fork();
        assert_true(w->pid >= 0);
        if (w->pid == 0)
                run_image(fds[1], memory, control);
        close(fds[1]);
        pidfd = pidfd_open(w->pid, 0);
        io = loop_io_new(w->loop, pidfd, LOOP_PRIORITY_EXIT, on_end, w);
        assert_int_equal(loop_io_want(io, LOOP_READ), 0);
        assert_int_equal(loop_timer_set(w->guard, GUARD_SECONDS * NSEC_PER_SEC), 0);
        assert_int_equal(loop_run(w->loop, NULL), 0);
        loop_io_free(io);
        close(pidfd);
        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        if (status != 0)
                fail_msg("crashed at step %llu: wait status %x", (unsigned long long)crash_at,
                         (unsigned)status);
        for (int i = 1; i <= CLIENT_CALLS; i++) {
                if (w->seen[i] != 1 || w->control->answered[i] != 1)
                        fail_msg("crashed at step %llu: request %d came %u times, its answer %llu",
                                 (unsigned long long)crash_at, i, w->seen[i],
                                 (unsigned long long)w->control->answered[i]);
        }
        assert_int_equal(w->control->n_images,
                         1 + (crash_at > 0 && crash_at <= w->control->n_steps));
        n = w->control->n_steps;
        *ret_n_resumed += w->control->n_resumed;
        (void)munmap(w->control, sizeof(*w->control));
        close(memory);
        close(control);
        return n;
}

static void a_request_comes_once_whatever_step_the_client_crashes_at(void **state)
{
        static const ttrpc_handler handlers[] = {handle_echo, NULL, NULL, NULL, NULL, NULL};
        struct world w = {.pid = -1};
        uint64_t n_resumed = 0;
        uint64_t n_steps;

        (void)state;
        assert_int_equal(loop_new(&w.loop, NULL), 0);
        w.guard = loop_timer_new(w.loop, on_guard, &w);
        assert_int_equal(ttrpc_server_new(&w.server, w.loop, NULL, NULL), 0);
        assert_int_equal(
                ttrpc_server_register(w.server, &test__ttrpc__echo__descriptor, handlers, &w, NULL),
                0);
        n_steps = run(&w, 0, &n_resumed);
        assert_in_range(n_steps, 10 * CLIENT_CALLS, 100 * CLIENT_CALLS);
        assert_int_equal(n_resumed, 0);
        for (uint64_t step = 1; step <= n_steps; step++)
                (void)run(&w, step, &n_resumed);
        assert_true(n_resumed > CLIENT_CALLS);
        ttrpc_server_free(w.server);
        loop_timer_free(w.guard);
        loop_free(w.loop);
}

/* A version in between that knew nothing of it has closed it, and something else has its number. */
static void a_descriptor_that_is_another_socket_by_now_is_left_alone(void **state)
{
        void *memory = mmap(NULL, TTRPC_KEEP_BYTES(1), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        void *copy = mmap(NULL, TTRPC_KEEP_BYTES(1), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        struct ttrpc_client *client = NULL;
        struct loop *loop = NULL;
        int others[2];
        int fds[2];

        (void)state;
        assert_int_equal(loop_new(&loop, NULL), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(ttrpc_client_new_take(&client, loop, fds[0], NULL), 0);
        assert_false(ttrpc_client_is_kept(client));
        assert_int_equal(ttrpc_client_keep(client, memory, TTRPC_KEEP_BYTES(1), NULL), 0);
        assert_true(ttrpc_client_is_kept(client));
        memcpy(copy, memory, TTRPC_KEEP_BYTES(1));
        ttrpc_client_free(client);
        assert_int_equal(ttrpc_client_restore(&client, loop, memory, TTRPC_KEEP_BYTES(1), NULL), 0);
        assert_null(client);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, others), 0);
        if (others[0] != fds[0])
                assert_int_equal(dup3(others[0], fds[0], O_CLOEXEC), fds[0]);
        assert_int_equal(ttrpc_client_restore(&client, loop, copy, TTRPC_KEEP_BYTES(1), NULL), 0);
        assert_null(client);
        assert_true(fcntl(fds[0], F_GETFD) >= 0);
        close(fds[0]);
        close(fds[1]);
        close(others[1]);
        (void)munmap(memory, TTRPC_KEEP_BYTES(1));
        (void)munmap(copy, TTRPC_KEEP_BYTES(1));
        loop_free(loop);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_descriptor_that_is_another_socket_by_now_is_left_alone),
                cmocka_unit_test(a_request_comes_once_whatever_step_the_client_crashes_at),
        };

        if (argc != 2) {
                (void)fprintf(stderr, "usage: %s IMAGE\n", argv[0]);
                return 2;
        }
        image_path = argv[1];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
