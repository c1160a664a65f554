/* SPDX-License-Identifier: Apache-2.0
 *
 * Stdio that outlives the image of the program that opened it: each test executes itself anew in
 * the middle.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/arena.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/io/stdio.h"

#include "test/unit/io/terminal.h"
#include "test/unit/reexec.h"
#include "test/unit/unit.h"

enum { ARENA = 1 << 20, PACKED_MAX = 64 << 10, FIFO_BYTES = 4096 };

/* What goes along. */
struct along {
        char dir[32];
        char in[64];
        char out[64];
        char err[64];
        bool terminal;
        int ends[2];      /* of a test's own */
        size_t n_written; /* by the terminal */
        size_t n;
        uint8_t packed[PACKED_MAX];
};

struct bed {
        struct loop *loop;
        struct reaper *reaper;
        struct loop_timer *guard;
        struct io_stdio *stdio;
        bool drained;
};

static void on_guard(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        (void)userdata;
        fail_msg("nothing has happened for a long time");
}

static struct io_stdio_config config_of(struct bed *b, const struct along *a)
{
        return (struct io_stdio_config){
                .loop = b->loop,
                .reaper = b->reaper,
                .in = a->in,
                .out = a->out,
                .err = a->err,
                .terminal = a->terminal,
                .id = "c1",
                .runtime_namespace = "test",
        };
}

static void bed_open(struct bed *b)
{
        *b = (struct bed){.loop = NULL};
        assert_int_equal(loop_new(&b->loop, NULL), 0);
        assert_int_equal(reaper_new(&b->reaper, b->loop, NULL), 0);
        b->guard = loop_timer_new(b->loop, on_guard, NULL);
        assert_non_null(b->guard);
        assert_int_equal(loop_timer_set(b->guard, 20 * NSEC_PER_SEC), 0);
}

static void bed_close(struct bed *b)
{
        io_stdio_free(b->stdio);
        loop_timer_free(b->guard);
        reaper_free(b->reaper);
        loop_free(b->loop);
}

static void make_dir(struct along *a)
{
        (void)snprintf(a->dir, sizeof(a->dir), "/tmp/belay-save-XXXXXX");
        assert_non_null(mkdtemp(a->dir));
}

static void open_stdio(struct bed *b, const struct along *a)
{
        const struct io_stdio_config config = config_of(b, a);
        struct error err = ERROR_INIT;

        if (io_stdio_open(&b->stdio, &config, &err) < 0)
                fail_msg("%s", err.msg);
}

static void save(const struct bed *b, struct along *a)
{
        struct arena *arena = arena_new(ARENA);
        Belay__State__V1__Stdio *m = NULL;

        assert_int_equal(io_stdio_save(b->stdio, arena, &m, NULL), 0);
        assert_true(belay__state__v1__stdio__get_packed_size(m) < sizeof(a->packed));
        a->n = belay__state__v1__stdio__pack(m, a->packed);
        arena_free(arena);
}

static void restore(struct bed *b, const struct along *a)
{
        const struct io_stdio_config config = config_of(b, a);
        Belay__State__V1__Stdio *m = belay__state__v1__stdio__unpack(NULL, a->n, a->packed);
        struct error err = ERROR_INIT;

        assert_non_null(m);
        if (io_stdio_restore(&b->stdio, &config, m, &err) < 0)
                fail_msg("%s", err.msg);
        belay__state__v1__stdio__free_unpacked(m, NULL);
}

static void on_quit(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

/* One round, or a little more. */
static void turn(struct bed *b)
{
        struct loop_timer *timer = loop_timer_new(b->loop, on_quit, b->loop);

        assert_int_equal(loop_timer_set(timer, NSEC_PER_MSEC), 0);
        assert_int_equal(loop_run(b->loop, NULL), 0);
        loop_timer_free(timer);
}

static void on_drained(void *userdata)
{
        struct bed *b = userdata;

        b->drained = true;
        loop_quit(b->loop);
}

static void await_drained(struct bed *b)
{
        io_stdio_on_drained(b->stdio, on_drained, b);
        while (!b->drained)
                assert_int_equal(loop_run(b->loop, NULL), 0);
}

/* ---- A terminal ---- */

/* Byte number i of what the terminal writes: numbered lines of 7 bytes. */
static char written(size_t i)
{
        char line[32];

        (void)snprintf(line, sizeof(line), "%06zu\n", i / 7);
        return line[i % 7];
}

/* Fills until the relay holds bytes for which the FIFO has no room, and so the terminal, too. A
 * terminal that is nearly full takes a part of what it is given. */
static size_t fill(struct bed *b, int slave)
{
        size_t n = 0;

        for (int idle = 0; idle < 20;) {
                char text[64];
                ssize_t taken;

                for (size_t i = 0; i < sizeof(text); i++)
                        text[i] = written(n + i);
                taken = write(slave, text, sizeof(text));
                if (taken > 0) {
                        n += (size_t)taken;
                        idle = 0;
                } else {
                        idle++;
                        turn(b);
                }
        }
        return n;
}

static void terminal_first(void *memory)
{
        struct along *a = memory;
        struct bed b;
        int master;

        make_dir(a);
        a->terminal = true;
        (void)snprintf(a->in, sizeof(a->in), "%s/in", a->dir);
        (void)snprintf(a->out, sizeof(a->out), "%s/out", a->dir);
        assert_int_equal(mkfifo(a->in, 0600), 0);
        assert_int_equal(mkfifo(a->out, 0600), 0);
        a->ends[0] = open(a->out, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(a->ends[0] >= 0);
        assert_true(fcntl(a->ends[0], F_SETPIPE_SZ, FIFO_BYTES) >= 0);
        bed_open(&b);
        open_stdio(&b, a);
        terminal_new(&master, &a->ends[1], 0);
        io_stdio_close_child_fds(b.stdio);
        assert_int_equal(io_stdio_attach_terminal_take(b.stdio, master, NULL), 0);
        a->n_written = fill(&b, a->ends[1]);
        assert_in_range(a->n_written, FIFO_BYTES, 1 << 20);
        save(&b, a);
}

static void terminal_second(void *memory)
{
        struct along *a = memory;
        char got[4096] = "";
        struct bed b;
        size_t n = 0;
        int in;

        bed_open(&b);
        restore(&b, a);
        while (n < a->n_written) {
                ssize_t len = read(a->ends[0], got, sizeof(got));

                if (len <= 0)
                        turn(&b);
                for (ssize_t i = 0; i < len; i++)
                        assert_int_equal(got[i], written(n++));
        }
        in = open(a->in, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(in >= 0);
        assert_int_equal(write(in, "typed", 5), 5);
        memset(got, 0, sizeof(got));
        while (read(a->ends[1], got, sizeof(got)) < 5)
                turn(&b);
        assert_string_equal(got, "typed");
        assert_int_equal(io_stdio_resize(b.stdio, 80, 25, NULL), 0);
        assert_non_null(io_stdio_ring(b.stdio));
        assert_true(io_ring_end(io_stdio_ring(b.stdio)) > a->n_written); /* with its headers */
        close(a->ends[1]);
        io_stdio_process_exited(b.stdio);
        await_drained(&b);
        bed_close(&b);
        unlink(a->in);
        unlink(a->out);
        assert_int_equal(rmdir(a->dir), 0);
}

/* ---- A log ---- */

static void on_ready(const struct error *err, void *userdata)
{
        assert_null(err);
        loop_quit(userdata);
}

static void log_first(void *memory)
{
        struct along *a = memory;
        struct bed b;

        make_dir(a);
        (void)snprintf(a->out, sizeof(a->out), "log://%s/log?format=raw", a->dir);
        bed_open(&b);
        open_stdio(&b, a);
        io_stdio_on_ready(b.stdio, on_ready, b.loop);
        while (!io_stdio_is_ready(b.stdio))
                assert_int_equal(loop_run(b.loop, NULL), 0);
        a->ends[0] = fcntl(io_stdio_child_fds(b.stdio)[1], F_DUPFD_CLOEXEC, 3);
        assert_true(a->ends[0] >= 0);
        io_stdio_close_child_fds(b.stdio);
        assert_int_equal(write(a->ends[0], "before\n", 7), 7);
        save(&b, a);
}

static void log_second(void *memory)
{
        struct along *a = memory;
        char path[64];
        char *text = NULL;
        struct bed b;

        bed_open(&b);
        restore(&b, a);
        assert_true(io_stdio_status(b.stdio).logger_pid > 0);
        assert_int_equal(write(a->ends[0], "after\n", 6), 6);
        close(a->ends[0]);
        io_stdio_process_exited(b.stdio);
        await_drained(&b);
        assert_true(io_stdio_status(b.stdio).is_complete);
        assert_int_equal(io_stdio_status(b.stdio).log->bytes, 13);
        assert_true(io_ring_end(io_stdio_ring(b.stdio)) > 0);
        (void)snprintf(path, sizeof(path), "%s/log", a->dir);
        assert_int_equal(file_read(AT_FDCWD, path, 4096, &text, NULL), 0);
        assert_string_equal(text, "before\nafter\n");
        free(text);
        bed_close(&b);
        unlink(path);
        assert_int_equal(rmdir(a->dir), 0);
}

static void log_ended_first(void *memory)
{
        struct along *a = memory;
        struct bed b;

        make_dir(a);
        (void)snprintf(a->out, sizeof(a->out), "log://%s/log?format=raw", a->dir);
        bed_open(&b);
        open_stdio(&b, a);
        io_stdio_close_child_fds(b.stdio);
        io_stdio_process_exited(b.stdio);
        await_drained(&b);
        save(&b, a);
}

/* As it is when the image ended between the logger's end and its being told. */
static void log_ended_second(void *memory)
{
        struct along *a = memory;
        Belay__State__V1__Stdio *m = belay__state__v1__stdio__unpack(NULL, a->n, a->packed);
        struct io_stdio_config config;
        char path[64];
        struct bed b;

        assert_true(m->logger->ended);
        assert_true(m->drained);
        m->drained = false;
        bed_open(&b);
        config = config_of(&b, a);
        assert_int_equal(io_stdio_restore(&b.stdio, &config, m, NULL), 0);
        belay__state__v1__stdio__free_unpacked(m, NULL);
        await_drained(&b);
        bed_close(&b);
        (void)snprintf(path, sizeof(path), "%s/log", a->dir);
        unlink(path);
        assert_int_equal(rmdir(a->dir), 0);
}

/* ---- FIFOs ---- */

static void fifo_first(void *memory)
{
        struct along *a = memory;
        struct bed b;

        make_dir(a);
        (void)snprintf(a->in, sizeof(a->in), "%s/in", a->dir);
        (void)snprintf(a->out, sizeof(a->out), "%s/out", a->dir);
        assert_int_equal(mkfifo(a->in, 0600), 0);
        assert_int_equal(mkfifo(a->out, 0600), 0);
        bed_open(&b);
        open_stdio(&b, a);
        for (int i = 0; i < 2; i++)
                a->ends[i] = fcntl(io_stdio_child_fds(b.stdio)[i], F_DUPFD_CLOEXEC, 3);
        io_stdio_close_child_fds(b.stdio);
        assert_int_equal(write(a->ends[1], "hello", 5), 5);
        save(&b, a);
}

static void fifo_second(void *memory)
{
        struct along *a = memory;
        char got[8] = "";
        struct bed b;
        int out;

        bed_open(&b);
        restore(&b, a);
        assert_int_equal(fd_set_nonblock(a->ends[0], 1), 0);
        assert_int_equal(read(a->ends[0], got, 1), -1); /* no EOF: the shim keeps it open */
        io_stdio_close_stdin(b.stdio);
        assert_int_equal(read(a->ends[0], got, 1), 0);
        close(a->ends[1]);
        io_stdio_process_exited(b.stdio);
        assert_true(io_stdio_is_drained(b.stdio));
        out = open(a->out, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a client that comes late */
        assert_int_equal(read(out, got, sizeof(got)), 5);
        bed_close(&b);
        unlink(a->in);
        unlink(a->out);
        assert_int_equal(rmdir(a->dir), 0);
}

/* ---- What is not as it was ---- */

static void damaged_second(void *memory)
{
        struct along *a = memory;
        Belay__State__V1__Stdio *m = belay__state__v1__stdio__unpack(NULL, a->n, a->packed);
        struct io_stdio_config config;
        struct error err = ERROR_INIT;
        struct bed b;

        bed_open(&b);
        config = config_of(&b, a);
        m->keep[0] = 1000;
        assert_int_equal(io_stdio_restore(&b.stdio, &config, m, &err), -1);
        assert_non_null(strstr(err.msg, "descriptor 999 is not open"));
        assert_non_null(strstr(err.msg, "the kept ends of stdio"));
        belay__state__v1__stdio__free_unpacked(m, NULL);
        bed_close(&b);
        unlink(a->in);
        unlink(a->out);
        assert_int_equal(rmdir(a->dir), 0);
}

static const struct reexec_case cases[] = {
        {"terminal", terminal_first, terminal_second},    {"log", log_first, log_second},
        {"log_ended", log_ended_first, log_ended_second}, {"fifo", fifo_first, fifo_second},
        {"damaged", fifo_first, damaged_second},
};

static void a_terminal_loses_no_byte_in_either_direction(void **state)
{
        (void)state;
        reexec_run("terminal");
}

static void a_log_and_its_writer_stay_together(void **state)
{
        (void)state;
        reexec_run("log");
}

static void a_log_that_has_ended_is_drained_also_if_nobody_was_told(void **state)
{
        (void)state;
        reexec_run("log_ended");
}

static void fifos_are_kept_open_and_let_go_of_as_before(void **state)
{
        (void)state;
        reexec_run("fifo");
}

static void a_descriptor_that_is_missing_is_named(void **state)
{
        (void)state;
        reexec_run("damaged");
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_terminal_loses_no_byte_in_either_direction),
                cmocka_unit_test(a_log_and_its_writer_stay_together),
                cmocka_unit_test(a_log_that_has_ended_is_drained_also_if_nobody_was_told),
                cmocka_unit_test(fifos_are_kept_open_and_let_go_of_as_before),
                cmocka_unit_test(a_descriptor_that_is_missing_is_named),
        };

        reexec_main(argc, argv, cases, UNIT_COUNT(cases));
        return cmocka_run_group_tests(tests, NULL, NULL);
}
