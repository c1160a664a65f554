/* SPDX-License-Identifier: Apache-2.0
 *
 * See logger.h.
 */
#include "test/unit/io/logger.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"

#include "test/unit/fds.h"
#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 60 };

static void on_ready(const struct error *err, void *userdata)
{
        struct fixture *f = userdata;

        f->n_ready++;
        f->ready_code = err ? err->code : STATUS_OK;
        snprintf(f->ready_text, sizeof(f->ready_text), "%s", err ? err->msg : "");
        loop_quit(f->loop);
}

static void on_drained(void *userdata)
{
        struct fixture *f = userdata;

        f->n_drained++;
        loop_quit(f->loop);
}

static void on_report(const char *text, void *userdata)
{
        struct fixture *f = userdata;
        size_t n = strlen(f->reports);

        f->n_reports++;
        snprintf(f->reports + n, sizeof(f->reports) - n, "%s\n", text);
        loop_quit(f->loop);
}

int logger_set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct error err = ERROR_INIT;

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        assert_int_equal(loop_new(&f->loop, &err), 0);
        assert_int_equal(reaper_new(&f->reaper, f->loop, &err), 0);
        strcpy(f->dir, "/tmp/belay-logger-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->log, sizeof(f->log), "%s/log", f->dir);
        f->out = -1;
        f->err = -1;
        f->n_fds = count_fds();
        *state = f;
        return 0;
}

/* A logger that is still ending could make its file again. */
static void end_children(void)
{
        FILE *list = fopen("/proc/thread-self/children", "re");
        int pid;

        assert_non_null(list);
        while (fscanf(list, "%d", &pid) == 1)
                (void)kill(pid, SIGKILL);
        (void)fclose(list);
        while (waitpid(-1, NULL, 0) > 0)
                ;
}

int logger_tear_down(void **state)
{
        struct fixture *f = *state;

        fd_close(f->out);
        fd_close(f->err);
        io_stdio_free(f->s);
        assert_int_equal(count_fds(), f->n_fds);
        end_children();
        (void)unlink(f->log);
        assert_int_equal(rmdir(f->dir), 0);
        reaper_free(f->reaper);
        loop_free(f->loop);
        free(f);
        (void)alarm(0);
        return 0;
}

void logger_open(struct fixture *f, const char *uri, bool terminal)
{
        const struct io_stdio_config config = {
                .loop = f->loop,
                .reaper = f->reaper,
                .out = uri,
                .err = uri,
                .terminal = terminal,
                .id = "some-id",
                .runtime_namespace = "some-namespace",
                .on_report = on_report,
                .userdata = f,
        };
        struct error err = ERROR_INIT;

        if (io_stdio_open(&f->s, &config, &err) < 0)
                fail_msg("%s", err.msg);
        assert_false(io_stdio_is_ready(f->s));
        io_stdio_on_ready(f->s, on_ready, f);
        io_stdio_on_drained(f->s, on_drained, f);
        while (f->n_ready == 0)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        assert_int_equal(f->n_ready, 1);
}

void logger_close_container(struct fixture *f)
{
        f->out = fd_close(f->out);
        f->err = fd_close(f->err);
        io_stdio_process_exited(f->s);
}

void logger_run_until_drained(struct fixture *f)
{
        while (f->n_drained == 0)
                assert_int_equal(loop_run(f->loop, NULL), 0);
        assert_true(io_stdio_is_drained(f->s));
}

void logger_expect(struct fixture *f, const char *want)
{
        char *text = NULL;
        size_t len = 0;

        assert_int_equal(file_read(AT_FDCWD, f->log, 8 << 20, &text, &len), 0);
        assert_string_equal(text, want);
        free(text);
}

void logger_take_ends(struct fixture *f)
{
        f->out = fcntl(io_stdio_child_fds(f->s)[1], F_DUPFD_CLOEXEC, 0);
        f->err = fcntl(io_stdio_child_fds(f->s)[2], F_DUPFD_CLOEXEC, 0);
        io_stdio_close_child_fds(f->s);
}
