/* SPDX-License-Identifier: Apache-2.0
 *
 * See children.h. A test that hangs is ended by alarm(2).
 */
#include "test/unit/reaper/children.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 30 };

int children_set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        assert_int_equal(loop_new(&f->loop, &err), 0);
        assert_int_equal(reaper_new(&f->reaper, f->loop, &err), 0);
        *state = f;
        return 0;
}

int children_tear_down(void **state)
{
        struct fixture *f = *state;

        f->reaper = reaper_free(f->reaper);
        loop_free(f->loop);
        free(f);
        (void)alarm(0);
        return 0;
}

void children_on_exit(const struct reaper_exit *exit, void *userdata)
{
        struct fixture *f = userdata;

        assert_true(f->n_seen < SEEN_MAX);
        f->seen[f->n_seen++] = *exit;
        f->victim = reaper_watch_free(f->victim);
        if (f->n_seen == f->n_quit_at)
                loop_quit(f->loop);
}

void children_run_until(struct fixture *f, size_t n)
{
        struct error err = ERROR_INIT;

        f->n_quit_at = n;
        if (f->n_seen < n)
                assert_int_equal(loop_run(f->loop, &err), 0);
}

static void on_quit(struct loop_deferred *deferred)
{
        loop_quit(container_of(deferred, struct fixture, quit)->loop);
}

void children_run_round(struct fixture *f)
{
        struct error err = ERROR_INIT;

        loop_deferred_init(&f->quit, on_quit);
        loop_defer(f->loop, &f->quit);
        assert_int_equal(loop_run(f->loop, &err), 0);
}

pid_t child_new(int gate[2], int status)
{
        pid_t pid = fork();
        char c;

        assert_true(pid >= 0);
        if (pid == 0) {
                if (gate) {
                        close(gate[1]);
                        (void)!read(gate[0], &c, 1);
                }
                _exit(status);
        }
        return pid;
}

void children_await_zombie(pid_t pid)
{
        siginfo_t info;

        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

bool children_is_ours(pid_t pid)
{
        siginfo_t info;

        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0;
}
