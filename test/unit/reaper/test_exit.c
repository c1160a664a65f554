/* SPDX-License-Identifier: Apache-2.0
 *
 * How a process has ended that is somebody else's to reap. Here the test is that somebody. And what
 * the next image of a process makes of what was saved of its children.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/reaper/reaper.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_MS = 30000 };

/* A zombie that ended with that status, or by that signal. */
static pid_t make_zombie(int status, int signo, int *ret_pidfd)
{
        const struct rlimit no_core = {0, 0};
        struct pollfd p = {.events = POLLIN};
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                (void)setrlimit(RLIMIT_CORE, &no_core);
                if (signo) {
                        (void)signal(signo, SIG_DFL);
                        (void)raise(signo);
                }
                _exit(status);
        }
        p.fd = pidfd_open(pid, 0);
        assert_true(p.fd >= 0);
        assert_int_equal(poll(&p, 1, TEST_LIMIT_MS), 1);
        *ret_pidfd = p.fd;
        return pid;
}

static void reap(pid_t pid)
{
        assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_zombie_shows_its_exit_status(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(42, 0, &pidfd);

        (void)state;
        assert_true(reaper_read_exit(pid, pidfd, &exit));
        assert_int_equal(exit.pid, pid);
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, 42);
        assert_true(exit.at.tv_sec > 0);
        reap(pid);
        fd_close(pidfd);
}

static void a_zombie_shows_its_signal(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(0, SIGKILL, &pidfd);

        (void)state;
        assert_true(reaper_read_exit(pid, pidfd, &exit));
        assert_int_equal(exit.code, CLD_KILLED);
        assert_int_equal(exit.status, SIGKILL);
        reap(pid);
        fd_close(pidfd);
}

/* Linux 6.15 keeps the status; an older kernel does not. */
static void what_has_been_reaped_is_told_by_the_pidfd_or_unknown(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(7, 0, &pidfd);
        bool known;

        (void)state;
        reap(pid);
        known = reaper_read_exit(pid, pidfd, &exit);
        assert_int_equal(exit.pid, pid);
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, known ? 7 : REAPER_STATUS_UNKNOWN);
        fd_close(pidfd);
}

/* The pid may be another's by then: this process is alive, and no zombie. */
static void a_process_that_lives_under_the_pid_is_not_believed(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(9, 0, &pidfd);
        bool known;

        (void)state;
        reap(pid);
        known = reaper_read_exit(getpid(), pidfd, &exit);
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, known ? 9 : REAPER_STATUS_UNKNOWN);
        fd_close(pidfd);
}

/* What is no pidfd stands for a kernel that does not know the question. */
static void a_kernel_that_cannot_be_asked_is_no_status(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd;
        pid_t pid = make_zombie(7, 0, &pidfd);
        int other = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void)state;
        reap(pid);
        assert_false(reaper_read_exit(pid, other, &exit));
        assert_int_equal(exit.code, CLD_EXITED);
        assert_int_equal(exit.status, REAPER_STATUS_UNKNOWN);
        fd_close(other);
        fd_close(pidfd);
}

static void a_process_that_is_there_has_not_ended(void **state)
{
        struct reaper_exit exit = {0};
        int pidfd = pidfd_open(getpid(), 0);

        (void)state;
        assert_true(pidfd >= 0);
        assert_false(reaper_read_exit(getpid(), pidfd, &exit));
        fd_close(pidfd);
}

/* ---- A process through an execve ---- */

struct restart {
        struct loop *loop;
        struct reaper *reaper;
        int pidfd;
        struct reaper_exit exit;
};

static void restart_open(struct restart *r)
{
        struct error err = ERROR_INIT;

        *r = (struct restart){.pidfd = -1};
        assert_int_equal(loop_new(&r->loop, &err), 0);
        assert_int_equal(reaper_new(&r->reaper, r->loop, &err), 0);
}

static void restart_close(struct restart *r)
{
        reaper_free(r->reaper);
        loop_free(r->loop);
}

/* What has come through an execve has no CLOEXEC. */
static int look(struct restart *r, const struct reaper_saved *saved, struct error *err)
{
        *err = (struct error)ERROR_INIT;
        if (saved->pidfd > 0)
                (void)fcntl((int)saved->pidfd - 1, F_SETFD, 0);
        return reaper_look_at_saved(r->reaper, saved, &r->pidfd, &r->exit, err);
}

static void a_child_that_is_still_there_is_to_be_watched(void **state)
{
        struct error err = ERROR_INIT;
        struct reaper_saved saved;
        struct restart r;
        int pidfd;
        pid_t pid;

        (void)state;
        restart_open(&r);
        pid = make_zombie(5, 0, &pidfd);
        saved = reaper_save(pid, pidfd, false, NULL);
        assert_int_equal(look(&r, &saved, &err), 0);
        assert_int_equal(r.pidfd, pidfd);
        reap(pid);
        fd_close(pidfd);
        restart_close(&r);
}

static void an_exit_that_was_saved_is_that_exit(void **state)
{
        const struct reaper_exit saved_exit = {.pid = 12,
                                               .code = CLD_DUMPED,
                                               .status = SIGABRT,
                                               .at = {.tv_sec = 7, .tv_nsec = 9}};
        struct reaper_saved saved = reaper_save(12, -1, false, &saved_exit);
        struct error err = ERROR_INIT;
        struct restart r;

        (void)state;
        restart_open(&r);
        assert_int_equal(look(&r, &saved, &err), 1);
        assert_int_equal(r.pidfd, -1);
        assert_memory_equal(&r.exit, &saved_exit, sizeof(saved_exit));
        restart_close(&r);
}

static void a_child_that_is_gone_has_ended_as_the_kernel_says(void **state)
{
        struct reaper_exit told = {0};
        struct error err = ERROR_INIT;
        struct reaper_saved saved;
        struct restart r;
        int pidfd;
        pid_t pid;

        (void)state;
        restart_open(&r);
        pid = make_zombie(5, 0, &pidfd);
        reap(pid);
        (void)reaper_read_exit(pid, pidfd, &told);
        saved = reaper_save(pid, pidfd, false, NULL);
        assert_int_equal(look(&r, &saved, &err), 1);
        assert_int_equal(r.exit.pid, pid);
        assert_int_equal(r.exit.code, told.code);
        assert_int_equal(r.exit.status, told.status);
        /* Of an orphan that says nothing: it never was a child. */
        saved.is_orphan = true;
        assert_int_equal(look(&r, &saved, &err), 0);
        fd_close(pidfd);
        restart_close(&r);
}

static void what_was_no_process_is_refused(void **state)
{
        struct reaper_saved saved = reaper_save(0, -1, false, NULL);
        struct error err = ERROR_INIT;
        struct restart r;
        int pidfd;
        pid_t pid;

        (void)state;
        restart_open(&r);
        assert_int_equal(look(&r, &saved, &err), -1);
        assert_string_equal(err.msg, "no pid");
        pid = make_zombie(5, 0, &pidfd);
        saved = reaper_save(pid + 1, pidfd, false, NULL);
        assert_int_equal(look(&r, &saved, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(err.msg, "is the pidfd of process"));
        reap(pid);
        fd_close(pidfd);
        restart_close(&r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_zombie_shows_its_exit_status),
                cmocka_unit_test(a_zombie_shows_its_signal),
                cmocka_unit_test(what_has_been_reaped_is_told_by_the_pidfd_or_unknown),
                cmocka_unit_test(a_process_that_lives_under_the_pid_is_not_believed),
                cmocka_unit_test(a_kernel_that_cannot_be_asked_is_no_status),
                cmocka_unit_test(a_process_that_is_there_has_not_ended),
                cmocka_unit_test(a_child_that_is_still_there_is_to_be_watched),
                cmocka_unit_test(an_exit_that_was_saved_is_that_exit),
                cmocka_unit_test(a_child_that_is_gone_has_ended_as_the_kernel_says),
                cmocka_unit_test(what_was_no_process_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
