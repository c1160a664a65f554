/* SPDX-License-Identifier: Apache-2.0
 *
 * A logging program that does not end when it is told to: this executable plays it. The loop's
 * timers are wrapped by the linker, so that the grace that was asked for is seen, and is over soon.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"

#include "test/unit/io/logger.h"
#include "test/unit/unit.h"

enum { SOON_MS = 200 };

static int n_graces;

int __real_loop_timer_set(struct loop_timer *timer, uint64_t delay_ns);
int __wrap_loop_timer_set(struct loop_timer *timer, uint64_t delay_ns);

int __wrap_loop_timer_set(struct loop_timer *timer, uint64_t delay_ns)
{
        if (delay_ns == LIMIT_LOGGER_GRACE_S * NSEC_PER_SEC) {
                n_graces++;
                delay_ns = SOON_MS * NSEC_PER_MSEC;
        }
        return __real_loop_timer_set(timer, delay_ns);
}

static _Noreturn void ignore_all(void)
{
        struct sigaction action = {.sa_handler = SIG_IGN};

        (void)sigaction(SIGTERM, &action, NULL);
        (void)fd_write_all(5, "", 1);
        for (;;)
                (void)pause();
}

/* R61 */
static void one_that_ignores_sigterm_is_killed_after_the_grace(void **state)
{
        struct fixture *f = *state;
        char self[2048];
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        uint64_t before;
        pid_t pid;

        assert_true(n > 0);
        self[n] = '\0';
        (void)snprintf(f->uri, sizeof(f->uri), "binary-v2://%s?ignore=all", self);
        logger_open(f, f->uri, false);
        assert_true(io_stdio_is_ready(f->s));
        logger_take_ends(f);
        pid = io_stdio_status(f->s).logger_pid;
        logger_close_container(f);
        before = clock_monotonic_ns();
        assert_true(io_stdio_stop(f->s));
        assert_int_equal(n_graces, 1);
        logger_run_until_drained(f);
        assert_true(clock_monotonic_ns() - before >= SOON_MS * NSEC_PER_MSEC);
        assert_int_equal(io_stdio_status(f->s).logger_pid, 0);
        assert_int_equal(kill(pid, 0), -1);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(one_that_ignores_sigterm_is_killed_after_the_grace,
                                                logger_set_up, logger_tear_down),
        };

        if (argc > 1 && strcmp(argv[1], "ignore") == 0)
                ignore_all();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
