/* SPDX-License-Identifier: Apache-2.0
 *
 * The schemes of OCI command lines: fd:// (a descriptor of another process) and console:// (a
 * socket that gets the terminal's master).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/io/console.h"
#include "pkg/io/stdio.h"

#include "test/unit/unit.h"

struct fixture {
        struct loop *loop;
        char dir[64];
        struct sockaddr_un address;
        int listener;
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        (void)alarm(30);
        assert_non_null(f);
        assert_int_equal(loop_new(&f->loop, &err), 0);
        strcpy(f->dir, "/tmp/belay-io-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->address.sun_family = AF_UNIX;
        snprintf(f->address.sun_path, sizeof(f->address.sun_path), "%s/console", f->dir);
        f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(f->listener, (struct sockaddr *)&f->address, sizeof(f->address)), 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        fd_close(f->listener);
        (void)unlink(f->address.sun_path);
        (void)rmdir(f->dir);
        loop_free(f->loop);
        free(f);
        (void)alarm(0);
        return 0;
}

static struct io_stdio *open_stdio(const struct fixture *f, const char *in, const char *out,
                                   bool terminal)
{
        const struct io_stdio_config config = {
                .loop = f->loop, .in = in, .out = out, .terminal = terminal};
        struct error err = ERROR_INIT;
        struct io_stdio *s = NULL;

        if (io_stdio_open(&s, &config, &err) < 0)
                fail_msg("%s", err.msg);
        return s;
}

static void refuse(const struct fixture *f, const char *out, bool terminal, const char *text)
{
        const struct io_stdio_config config = {
                .loop = f->loop, .in = "", .out = out, .terminal = terminal};
        struct error err = ERROR_INIT;
        struct io_stdio *s = NULL;

        assert_int_equal(io_stdio_open(&s, &config, &err), -1);
        if (!strstr(err.msg, "stdout") || !strstr(err.msg, text))
                fail_msg("'%s' does not name stdout and '%s'", err.msg, text);
}

static bool is_same_file(int a, int b)
{
        struct stat sa;
        struct stat sb;

        assert_int_equal(fstat(a, &sa), 0);
        assert_int_equal(fstat(b, &sb), 0);
        return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static void a_descriptor_of_a_process_is_taken_as_it_is(void **state)
{
        const struct fixture *f = *state;
        struct io_stdio *s;
        char in[48];
        char out[48];
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        snprintf(in, sizeof(in), "fd:///%d/%d", (int)getpid(), fds[0]);
        snprintf(out, sizeof(out), "fd:///%d/%d", (int)getpid(), fds[1]);
        s = open_stdio(f, in, out, false);
        assert_true(is_same_file(io_stdio_child_fds(s)[0], fds[0]));
        assert_true(is_same_file(io_stdio_child_fds(s)[1], fds[1]));
        assert_true(fcntl(io_stdio_child_fds(s)[1], F_GETFD) & FD_CLOEXEC);
        fd_close(fds[1]);
        io_stdio_close_child_fds(s);
        /* Nobody holds the writing end any more: the shim keeps nothing of it. */
        assert_int_equal(read(fds[0], out, 1), 0);
        fd_close(fds[0]);
        io_stdio_free(s);
}

static void what_is_no_descriptor_of_a_process_is_refused(void **state)
{
        const struct fixture *f = *state;
        char out[48];

        refuse(f, "fd:///self/1", false, "fd:///PID/NUMBER");
        refuse(f, "fd:///1", false, "fd:///PID/NUMBER");
        refuse(f, "fd:///0/1", false, "fd:///PID/NUMBER");
        refuse(f, "fd:///1/-1", false, "fd:///PID/NUMBER");
        refuse(f, "fd:///1/1/1", false, "fd:///PID/NUMBER");
        refuse(f, "fd:///2147483647/1", false, "process 2147483647");
        snprintf(out, sizeof(out), "fd:///%d/12345", (int)getpid());
        refuse(f, out, false, "descriptor 12345");
}

static void neither_scheme_is_for_the_other_kind_of_stdout(void **state)
{
        const struct fixture *f = *state;
        char out[160];

        snprintf(out, sizeof(out), "fd:///%d/1", (int)getpid());
        refuse(f, out, true, "fd");
        snprintf(out, sizeof(out), "console://%s", f->address.sun_path);
        refuse(f, out, false, "terminal");
}

/* What came with one message on that connection. */
static int receive(int connection)
{
        char data[256];
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {data, sizeof(data)};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
        int fd = -1;

        assert_true(recvmsg(connection, &msg, MSG_CMSG_CLOEXEC) > 0);
        assert_non_null(CMSG_FIRSTHDR(&msg));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
        return fd;
}

static void the_master_is_sent_to_the_console_socket(void **state)
{
        const struct fixture *f = *state;
        struct error err = ERROR_INIT;
        struct io_stdio *s;
        char out[160];
        int connection;
        int master;
        int fds[2];

        assert_int_equal(listen(f->listener, 1), 0);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        snprintf(out, sizeof(out), "console://%s", f->address.sun_path);
        s = open_stdio(f, "", out, true);
        assert_int_equal(io_stdio_attach_terminal_take(s, fds[1], &err), 0);
        connection = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(connection >= 0);
        master = receive(connection);
        assert_int_equal(write(master, "x", 1), 1);
        fd_close(master);
        assert_int_equal(read(fds[0], out, sizeof(out)), 1);
        /* The shim has kept none. */
        assert_int_equal(read(fds[0], out, sizeof(out)), 0);
        assert_true(io_stdio_is_drained(s));
        io_stdio_free(s);
        fd_close(connection);
        fd_close(fds[0]);
}

static void a_console_socket_that_nobody_listens_on_is_an_error(void **state)
{
        const struct fixture *f = *state;
        struct error err = ERROR_INIT;
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        assert_int_equal(io_console_send(f->address.sun_path, fd, &err), -1);
        if (!strstr(err.msg, f->address.sun_path))
                fail_msg("'%s' does not name the socket", err.msg);
        fd_close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_descriptor_of_a_process_is_taken_as_it_is, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(what_is_no_descriptor_of_a_process_is_refused,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(neither_scheme_is_for_the_other_kind_of_stdout,
                                                set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_master_is_sent_to_the_console_socket, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_console_socket_that_nobody_listens_on_is_an_error,
                                                set_up, tear_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
