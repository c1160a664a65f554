/* SPDX-License-Identifier: Apache-2.0
 *
 * The name of the shim's socket, who may take it, and what whoever removes it waits for. Above 400
 * lines, since the cases need the same few helpers.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/socket.h"
#include "test/unit/unit.h"

/* sha256 of "/run/containerd/containerd.sock/default/redis", as containerd computes it. */
#define REDIS_HASH "f6b99128c07bdbd0902363ba979c22f8ef053e683a7ce24dd016a1ab17092c33"

static void assert_path(const char *expected, const char *dir, const char *address, const char *ns,
                        const char *id)
{
        _cleanup_free_ char *path = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(socket_path(dir, address, ns, id, &path, &err), 0);
        assert_string_equal(path, expected);
}

static void the_path_is_the_one_that_containerd_computes(void **state)
{
        (void)state;
        assert_path("/run/containerd/s/" REDIS_HASH, NULL, "/run/containerd/containerd.sock",
                    "default", "redis");
        /* The hash behind which containerd finds its debug socket: one component more. */
        assert_path("/run/containerd/s/"
                    "85cbbbc9c96db79a9641bc82285af17595410e5a369bb0c244c9ca49fda8de87",
                    NULL, "/run/containerd/containerd.sock", "default", "redis/debug");
}

static void the_address_is_joined_and_cleaned_before_it_is_hashed(void **state)
{
        (void)state;
        assert_path("/run/containerd/s/" REDIS_HASH, NULL,
                    "//run/./containerd/x/../containerd.sock/", "default", "redis");
}

static void a_directory_given_by_the_caller_is_used(void **state)
{
        (void)state;
        assert_path("/tmp/x/" REDIS_HASH, "/tmp/x", "/run/containerd/containerd.sock", "default",
                    "redis");
}

static void a_path_that_no_socket_can_have_is_refused(void **state)
{
        char dir[64];
        char *path = NULL;
        struct error err = ERROR_INIT;

        (void)state;
        memset(dir, 'd', sizeof(dir) - 1);
        dir[0] = '/';
        dir[sizeof(dir) - 1] = '\0';
        assert_int_equal(socket_path(dir, "/a", "b", "c", &path, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_null(path);
        /* 41 and 65 characters are the most that fit. */
        dir[41] = '\0';
        assert_int_equal(socket_path(dir, "/a", "b", "c", &path, &err), 0);
        assert_int_equal(strlen(path), 106);
        free(path);
}

struct fixture {
        char dir[32];
        char *sub;
        char *path;
};

static int make_dir(void **state)
{
        static struct fixture f;

        strcpy(f.dir, "/tmp/belay-socket-XXXXXX");
        if (!mkdtemp(f.dir))
                return -1;
        f.sub = str_printf("%s/sub", f.dir);
        f.path = str_printf("%s/sub/socket", f.dir);
        *state = &f;
        return f.sub && f.path ? 0 : -1;
}

static int remove_dir(void **state)
{
        struct fixture *f = *state;

        (void)unlink(f->path);
        (void)rmdir(f->sub);
        free(f->sub);
        free(f->path);
        return rmdir(f->dir);
}

static int listen_ok(const char *path)
{
        struct error err = ERROR_INIT;
        int fd = -2;

        assert_int_equal(socket_listen(path, &fd, &err), 0);
        return fd;
}

static void remove_stale_ok(const char *path)
{
        struct error err = ERROR_INIT;

        assert_int_equal(socket_remove_stale(path, UINT64_MAX, &err), 0);
}

static void assert_not_stale(const char *path)
{
        struct error err = ERROR_INIT;

        assert_int_equal(socket_remove_stale(path, UINT64_MAX, &err), 1);
        assert_int_equal(access(path, F_OK), 0);
}

static void directory_and_socket_are_private(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ __attribute__((unused)) int fd = listen_ok(f->path);
        struct stat st;

        assert_true(fd >= 0);
        assert_int_equal(stat(f->sub, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_live_socket_is_left_alone(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ __attribute__((unused)) int fd = listen_ok(f->path);

        assert_true(socket_is_live(f->path));
        assert_int_equal(listen_ok(f->path), -1);
        assert_not_stale(f->path);
}

static void a_name_is_removed_only_from_the_socket_that_has_it(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int first = listen_ok(f->path);
        _cleanup_close_ int second = -1;
        struct socket_name first_name;
        struct socket_name second_name;

        socket_name_init(&first_name, first);
        assert_string_equal(first_name.path, f->path);
        assert_int_equal(unlink(f->path), 0);
        second = listen_ok(f->path);
        socket_name_init(&second_name, second);
        socket_name_remove(&first_name);
        assert_int_equal(access(f->path, F_OK), 0);
        socket_name_remove(&second_name);
        assert_int_equal(access(f->path, F_OK), -1);
        socket_name_remove(&second_name);
}

/* A client that waits to be accepted, for which there is room. */
static int connect_ok(const char *path)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_un sa = {.sun_family = AF_UNIX};

        (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
        assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        return fd;
}

static void a_socket_with_a_full_backlog_counts_as_live(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ __attribute__((unused)) int fd = listen_ok(f->path);
        _cleanup_close_ __attribute__((unused)) int waiting = -1;

        assert_int_equal(listen(fd, 0), 0);
        waiting = connect_ok(f->path);
        assert_true(socket_is_live(f->path));
        assert_int_equal(listen_ok(f->path), -1);
}

/* Owned by a child that has ended, and is a zombie. */
static pid_t give_away_with(int fd, int backlog)
{
        siginfo_t info;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit((backlog < 0 ? socket_own(fd) : listen(fd, backlog)) < 0);
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
        assert_int_equal(info.si_status, 0);
        return pid;
}

static pid_t give_away(int fd)
{
        return give_away_with(fd, -1);
}

static void a_socket_of_a_dead_process_is_stale_whoever_has_a_copy(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int copy = listen_ok(f->path);
        _cleanup_close_ int replaced = -1;
        pid_t owner = give_away(copy);

        assert_false(socket_is_live(f->path));
        assert_int_equal(waitpid(owner, NULL, 0), owner);
        assert_false(socket_is_live(f->path));
        assert_int_equal(socket_own(copy), 0);
        assert_true(socket_is_live(f->path));
        owner = give_away(copy);
        assert_int_equal(waitpid(owner, NULL, 0), owner);
        replaced = listen_ok(f->path);
        assert_true(replaced >= 0);
        assert_true(socket_is_live(f->path));
        owner = give_away(replaced);
        assert_int_equal(waitpid(owner, NULL, 0), owner);
        remove_stale_ok(f->path);
        assert_int_equal(access(f->path, F_OK), -1);
}

static void a_full_backlog_of_a_dead_process_is_stale_whoever_has_a_copy(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int copy = listen_ok(f->path);
        _cleanup_close_ int replaced = -1;
        _cleanup_close_ __attribute__((unused)) int waiting = -1;
        pid_t owner = give_away_with(copy, 0);

        waiting = connect_ok(f->path);
        assert_false(socket_is_live(f->path));
        assert_int_equal(waitpid(owner, NULL, 0), owner);
        replaced = listen_ok(f->path);
        assert_true(replaced >= 0);
        assert_true(socket_is_live(f->path));
}

/* Has the socket as a shim does, leads its own process group, and is stopped: it answers nobody. */
static pid_t stopped_shim(void)
{
        siginfo_t info;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                if (setpgid(0, 0) == 0)
                        (void)raise(SIGSTOP);
                _exit(EXIT_FAILURE);
        }
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT), 0);
        assert_int_equal(info.si_code, CLD_STOPPED);
        return pid;
}

static void end(pid_t pid)
{
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* What a process that ends has closed last. */
static int closed_late = -1;

/* In libc's place. Whoever rests waits for this, or for nothing. */
int nanosleep(const struct timespec *time, struct timespec *rest)
{
        (void)time;
        (void)rest;
        closed_late = fd_close(closed_late);
        return 0;
}

/* As of a process that is ending: a descriptor that is on its way is in nobody's table. */
static void a_socket_that_is_just_being_closed_is_stale(void **state)
{
        struct fixture *f = *state;
        int fd = listen_ok(f->path);
        pid_t owner = give_away(fd);
        int pair[2];

        assert_int_equal(waitpid(owner, NULL, 0), owner);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(fd_send(pair[0], "x", 1, &fd, 1), 0);
        fd_close(pair[0]);
        fd_close(fd);
        closed_late = pair[1];
        assert_false(socket_is_live(f->path));
        assert_int_equal(closed_late, -1);
}

/* As that of a shim of a version whose `start` had called listen(2): it must never be replaced. */
static void a_socket_of_a_dead_process_is_live_if_a_shim_has_it(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int copy = listen_ok(f->path);
        _cleanup_close_ int replaced = -1;
        pid_t owner = give_away(copy);
        pid_t shim = stopped_shim();

        assert_int_equal(waitpid(owner, NULL, 0), owner);
        assert_true(socket_is_live(f->path));
        assert_int_equal(listen_ok(f->path), -1);
        assert_not_stale(f->path);
        end(shim);
        assert_false(socket_is_live(f->path));
        replaced = listen_ok(f->path);
        assert_true(replaced >= 0);
}

static void a_full_backlog_of_a_dead_process_is_live_if_a_shim_has_it(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int copy = listen_ok(f->path);
        _cleanup_close_ __attribute__((unused)) int waiting = -1;
        pid_t owner = give_away_with(copy, 0);
        pid_t shim = stopped_shim();

        assert_int_equal(waitpid(owner, NULL, 0), owner);
        waiting = connect_ok(f->path);
        assert_true(socket_is_live(f->path));
        assert_int_equal(listen_ok(f->path), -1);
        end(shim);
        assert_false(socket_is_live(f->path));
}

/* So many more descriptors can be had until it is called with the limit that was before. */
static rlim_t allow_descriptors(rlim_t n_more)
{
        int next = open("/", O_PATH | O_CLOEXEC);
        struct rlimit limit;
        rlim_t before;

        fd_close(next);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        before = limit.rlim_cur;
        limit.rlim_cur = (rlim_t)next + n_more;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        return before;
}

static void restore_descriptors(rlim_t limit)
{
        struct rlimit now;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
        now.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
}

/* There are enough for what comes before the look. */
static void a_live_socket_is_left_alone_where_there_is_no_descriptor_to_look_with(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ __attribute__((unused)) int fd = listen_ok(f->path);
        rlim_t before = allow_descriptors(1);
        struct error err = ERROR_INIT;
        int other = -1;
        int r;

        (void)socket_remove_stale(f->path, UINT64_MAX, &err);
        restore_descriptors(before);
        assert_true(socket_is_live(f->path));
        before = allow_descriptors(2);
        r = socket_listen(f->path, &other, &err);
        restore_descriptors(before);
        assert_int_equal(r, -1);
        assert_int_equal(err.errnum, EMFILE);
        assert_true(socket_is_live(f->path));
}

static void assert_stays(const char *path, uint64_t time_ms, const char *why)
{
        uint64_t deadline = clock_monotonic_ns() + time_ms * NSEC_PER_MSEC;
        struct error err = ERROR_INIT;

        assert_int_equal(socket_remove_stale(path, deadline, &err), -1);
        assert_int_equal(err.code, STATUS_DEADLINE_EXCEEDED);
        assert_non_null(strstr(err.msg, path));
        assert_non_null(strstr(err.msg, why));
        assert_int_equal(access(path, F_OK), 0);
}

static void a_lock_that_somebody_keeps_is_not_waited_for_beyond_the_deadline(void **state)
{
        struct fixture *f = *state;
        int live = listen_ok(f->path);
        int lock = open(f->sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(flock(lock, LOCK_EX), 0);
        assert_not_stale(f->path); /* it needs no lock */
        fd_close(live);
        assert_stays(f->path, 20, "locked");
        fd_close(lock);
        remove_stale_ok(f->path);
        assert_int_equal(access(f->path, F_OK), -1);
        lock = open(f->sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(flock(lock, LOCK_EX), 0);
        remove_stale_ok(f->path); /* nor does one that is not there */
        fd_close(lock);
}

static void no_processes_are_looked_through_when_there_is_no_time(void **state)
{
        struct fixture *f = *state;
        _cleanup_close_ int copy = listen_ok(f->path);
        pid_t owner = give_away(copy);

        assert_int_equal(waitpid(owner, NULL, 0), owner);
        assert_stays(f->path, 0, "no time");
        owner = give_away_with(copy, 0); /* whoever has looked so far fills the backlog */
        assert_int_equal(waitpid(owner, NULL, 0), owner);
        assert_stays(f->path, 0, "no time");
}

static void a_stale_socket_is_replaced(void **state)
{
        struct fixture *f = *state;
        int fd = listen_ok(f->path);

        fd_close(fd);
        assert_int_equal(access(f->path, F_OK), 0);
        assert_false(socket_is_live(f->path));
        fd = listen_ok(f->path);
        assert_true(fd >= 0);
        assert_true(socket_is_live(f->path));
        fd_close(fd);
}

static void a_stale_socket_is_removed(void **state)
{
        struct fixture *f = *state;

        fd_close(listen_ok(f->path));
        remove_stale_ok(f->path);
        assert_int_equal(access(f->path, F_OK), -1);
}

static void only_sockets_are_removed_or_replaced(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        int fd = -2;

        fd_close(listen_ok(f->path));
        assert_int_equal(unlink(f->path), 0);
        assert_int_equal(symlink("/dev/null", f->path), 0);
        remove_stale_ok(f->path);
        assert_int_equal(socket_listen(f->path, &fd, &err), -1);
        assert_int_equal(err.errnum, EADDRINUSE);
        assert_int_equal(fd, -2);
}

/* Without a process group of its own: whoever has a socket here has a copy, as a stage. */
static pid_t fork_the_tests(int *ret_status)
{
        pid_t pid = fork();

        if (pid > 0 && waitpid(pid, ret_status, 0) != pid)
                *ret_status = -1;
        return pid;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_path_is_the_one_that_containerd_computes),
                cmocka_unit_test(the_address_is_joined_and_cleaned_before_it_is_hashed),
                cmocka_unit_test(a_directory_given_by_the_caller_is_used),
                cmocka_unit_test(a_path_that_no_socket_can_have_is_refused),
                cmocka_unit_test_setup_teardown(directory_and_socket_are_private, make_dir,
                                                remove_dir),
                cmocka_unit_test_setup_teardown(a_live_socket_is_left_alone, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(
                        a_live_socket_is_left_alone_where_there_is_no_descriptor_to_look_with,
                        make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(a_name_is_removed_only_from_the_socket_that_has_it,
                                                make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(a_socket_with_a_full_backlog_counts_as_live,
                                                make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(
                        a_socket_of_a_dead_process_is_stale_whoever_has_a_copy, make_dir,
                        remove_dir),
                cmocka_unit_test_setup_teardown(a_socket_of_a_dead_process_is_live_if_a_shim_has_it,
                                                make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(
                        a_full_backlog_of_a_dead_process_is_stale_whoever_has_a_copy, make_dir,
                        remove_dir),
                cmocka_unit_test_setup_teardown(
                        a_full_backlog_of_a_dead_process_is_live_if_a_shim_has_it, make_dir,
                        remove_dir),
                cmocka_unit_test_setup_teardown(a_socket_that_is_just_being_closed_is_stale,
                                                make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(
                        a_lock_that_somebody_keeps_is_not_waited_for_beyond_the_deadline, make_dir,
                        remove_dir),
                cmocka_unit_test_setup_teardown(
                        no_processes_are_looked_through_when_there_is_no_time, make_dir,
                        remove_dir),
                cmocka_unit_test_setup_teardown(a_stale_socket_is_replaced, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(a_stale_socket_is_removed, make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(only_sockets_are_removed_or_replaced, make_dir,
                                                remove_dir),
        };

        int status = -1;

        if (fork_the_tests(&status) == 0)
                return cmocka_run_group_tests(tests, NULL, NULL);
        return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}
