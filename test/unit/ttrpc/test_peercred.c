/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may connect. A child with another uid or gid connects to a listening server; needs root.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

enum { SKIPPED = 77, NOBODY = 65534 };

static struct sockaddr_un address(void)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};

        (void)snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, "belay-test-peercred-%d",
                       (int)getpid());
        return sun;
}

static int setup(void **state)
{
        static struct harness h;
        struct sockaddr_un sun = address();
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        harness_init(&h, &(struct ttrpc_server_options){.check_peer = true});
        assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
        assert_int_equal(listen(fd, 10), 0);
        assert_int_equal(ttrpc_server_listen_take(h.server, fd, NULL), 0);
        *state = &h;
        return 0;
}

static int teardown(void **state)
{
        harness_deinit(*state);
        return 0;
}

static void reply(struct harness *h, struct ttrpc_call *call)
{
        ttrpc_call_fail(call, STATUS_ABORTED, "let in");
        h->n_cancelled = 1;
}

/* In the child: connects, calls, and exits with 1 for an answer, 2 for EOF without one. */
static void child(uid_t uid, gid_t gid, const struct sockaddr_un *sun, const uint8_t *request,
                  size_t len)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char buf[256];
        ssize_t n;

        if (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 ||
            connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0)
                _exit(3);
        (void)!send(fd, request, len, MSG_NOSIGNAL);
        n = read(fd, buf, sizeof(buf));
        _exit(n > 0 ? 1 : 2);
}

static int connect_as(struct harness *h, uid_t uid, gid_t gid)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct sockaddr_un sun = address();
        size_t len = 0;
        uint8_t *bytes = request_new(1, "Hook", &request, 0, &len);
        int status = 0;
        pid_t pid;

        h->hook = reply;
        pid = fork();
        if (pid == 0)
                child(uid, gid, &sun, bytes, len);
        assert_true(pid > 0);
        free(bytes);
        /* The child ends by itself; what it waits for comes from our loop. */
        while (waitpid(pid, &status, WNOHANG) == 0)
                harness_settle(h);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void a_peer_with_our_uid_and_gid_is_served(void **state)
{
        struct harness *h = *state;

        assert_int_equal(connect_as(h, 0, 0), 1);
        assert_int_equal(h->n_cancelled, 1);
        peer_call(&h->peer, 1, "Echo", "adopted", 0);
        peer_expect_echo(&h->peer, 1, "adopted");
}

static void a_peer_with_another_uid_is_closed_unheard(void **state)
{
        struct harness *h = *state;

        assert_int_equal(connect_as(h, NOBODY, 0), 2);
        assert_int_equal(h->n_cancelled, 0);
        assert_int_equal(ttrpc_server_n_connections(h->server), 1);
}

static void a_peer_with_another_gid_is_closed_unheard(void **state)
{
        struct harness *h = *state;

        assert_int_equal(connect_as(h, 0, NOBODY), 2);
        assert_int_equal(h->n_cancelled, 0);
        assert_int_equal(ttrpc_server_n_connections(h->server), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_peer_with_our_uid_and_gid_is_served, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_peer_with_another_uid_is_closed_unheard, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_peer_with_another_gid_is_closed_unheard, setup,
                                                teardown),
        };

        if (geteuid() != 0)
                return SKIPPED;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
