/* SPDX-License-Identifier: Apache-2.0
 *
 * A terminal's relay whose process ends at the worst of moments: just before any of its system
 * calls. The calls are wrapped by the linker; an image of the relay is a process of its own, which
 * counts them and kills itself before the one that the test names. The next image goes on from
 * nothing but the descriptors and the memory. Each number is tried until an image makes no further
 * call; each time, every byte must arrive once, in both directions.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"
#include "pkg/io/relay.h"
#include "pkg/io/relay_memory.h"

#include "test/unit/io/terminal.h"
#include "test/unit/unit.h"

enum {
        TEST_LIMIT_S = 100,
        TURNS_MAX = 20000,
        N_LINES = 4000, /* more than the pipe and the terminal hold */
        N_TYPED = 700,
        LINE = 8,
        PIPE_BYTES = 4096,
};

struct shared {
        _Atomic int n_calls;
        _Atomic int die_at; /* before that call; 0: never */
        pid_t pid;          /* whose calls count */
};

static struct shared *shared;

static void before_call(void)
{
        if (getpid() == shared->pid && atomic_fetch_add(&shared->n_calls, 1) + 1 == shared->die_at)
                (void)raise(SIGKILL);
}

int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __real_close(int fd);
ssize_t __real_read(int fd, void *buf, size_t n);
ssize_t __real_write(int fd, const void *buf, size_t n);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_close(int fd);
ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
        before_call();
        return __real_fallocate(fd, mode, offset, len);
}

int __wrap_close(int fd)
{
        before_call();
        return __real_close(fd);
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
        before_call();
        return __real_read(fd, buf, n);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
        before_call();
        return __real_write(fd, buf, n);
}

/* Lines with numbers: those that are still to be written, and those that have been read. */
struct lines {
        int fd;
        int n;
        int line;
        size_t at; /* bytes of that line */
        char text[LINE + 1];
};

struct fixture {
        struct loop *loop; /* of the relay that is only saved */
        struct io_relay *relay;
        Belay__State__V1__Relay saved;
        int slave;
        struct lines say;  /* output: to the terminal... */
        struct lines hear; /* ...and where it ends */
        struct lines type; /* and input */
        struct lines read_typed;
        pid_t image;
        int n_images;
};

static void on_end(void *userdata)
{
        fail_msg("the relay has ended");
}

static void set_up(struct fixture *f)
{
        int input[2];
        int output[2];
        int master;

        *f = (struct fixture){.image = 0};
        assert_int_equal(loop_new(&f->loop, NULL), 0);
        terminal_new(&master, &f->slave, O_NONBLOCK);
        assert_int_equal(pipe2(input, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(pipe2(output, O_CLOEXEC | O_NONBLOCK), 0);
        assert_true(fcntl(output[1], F_SETPIPE_SZ, PIPE_BYTES) >= 0);
        f->say = (struct lines){.fd = f->slave, .n = N_LINES};
        f->hear = (struct lines){.fd = output[0], .n = N_LINES};
        f->type = (struct lines){.fd = input[1], .n = N_TYPED};
        f->read_typed = (struct lines){.fd = f->slave, .n = N_TYPED};
        assert_int_equal(
                io_relay_new_take(&f->relay, f->loop, master, input[0], output[1], on_end, f, NULL),
                0);
        io_relay_save(f->relay, &f->saved);
}

static void tear_down(struct fixture *f)
{
        io_relay_free(f->relay);
        loop_free(f->loop);
        close(f->slave);
        close(f->hear.fd);
        fd_close(f->type.fd);
}

/* ---- An image ---- */

static void keep(uint32_t number)
{
        (void)fcntl((int)number - 1, F_SETFD, 0);
}

static _Noreturn void image_main(struct fixture *f)
{
        struct io_relay *relay;
        struct loop *loop;
        struct error err = ERROR_INIT;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        keep(f->saved.master);
        keep(f->saved.input);
        keep(f->saved.output);
        keep(f->saved.memory);
        (void)close(f->type.fd); /* ours, so that input has an end */
        shared->pid = getpid();
        if (loop_new(&loop, &err) < 0 ||
            io_relay_restore(&relay, loop, &f->saved, on_end, f, &err) < 0) {
                (void)fprintf(stderr, "%s\n", err.msg);
                _exit(EXIT_FAILURE);
        }
        (void)loop_run(loop, &err);
        _exit(EXIT_FAILURE);
}

static void start_image(struct fixture *f)
{
        f->n_images++;
        f->image = fork();
        assert_true(f->image >= 0);
        if (f->image == 0)
                image_main(f);
}

/* The next one, if it has died; that one lives. */
static void look_after_image(struct fixture *f)
{
        int status = 0;

        if (waitpid(f->image, &status, WNOHANG) != f->image)
                return;
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        atomic_store(&shared->die_at, 0);
        start_image(f);
}

static void end_image(struct fixture *f)
{
        int status;

        assert_int_equal(kill(f->image, SIGKILL), 0);
        assert_int_equal(waitpid(f->image, &status, 0), f->image);
        assert_true(WIFSIGNALED(status));
}

/* ---- Those at the ends ---- */

static bool is_done(const struct lines *l)
{
        return l->line == l->n;
}

static void next_line(struct lines *l, size_t n)
{
        l->at += n;
        if (l->at < LINE)
                return;
        l->at = 0;
        l->line++;
}

static void write_lines(struct lines *l)
{
        while (!is_done(l)) {
                ssize_t n;

                (void)snprintf(l->text, sizeof(l->text), "%07d\n", l->line);
                n = write(l->fd, l->text + l->at, LINE - l->at);
                if (n <= 0)
                        return;
                next_line(l, (size_t)n);
        }
}

/* Each comes whole, and in its turn. */
static void read_lines(struct lines *l)
{
        ssize_t n;

        while ((n = read(l->fd, l->text + l->at, LINE - l->at)) > 0) {
                if (l->at + (size_t)n == LINE)
                        assert_int_equal(strtol(l->text, NULL, 10), l->line);
                next_line(l, (size_t)n);
        }
}

static void exchange(struct fixture *f)
{
        while (!is_done(&f->hear) || !is_done(&f->read_typed)) {
                struct pollfd p[] = {
                        {.fd = f->slave, .events = POLLIN},
                        {.fd = f->hear.fd, .events = POLLIN},
                };

                write_lines(&f->say);
                write_lines(&f->type);
                if (is_done(&f->type))
                        f->type.fd = fd_close(f->type.fd);
                (void)poll(p, 2, 1);
                read_lines(&f->hear);
                read_lines(&f->read_typed);
                look_after_image(f);
        }
}

/* The end of the input, which a raw terminal gets as the character, once. */
static void expect_end_of_input(struct fixture *f)
{
        struct pollfd p = {.fd = f->slave, .events = POLLIN};

        for (int i = 0; f->read_typed.at == 0; i++) {
                if (i == TURNS_MAX)
                        fail_msg("the input does not end");
                (void)poll(&p, 1, 1);
                read_lines(&f->read_typed);
                look_after_image(f);
        }
        assert_int_equal(f->read_typed.at, 1);
        assert_int_equal(f->read_typed.text[0], 4);
}

static void expect_nothing_more(struct fixture *f)
{
        struct relay_memory memory = RELAY_MEMORY_INIT;
        int fd = fcntl((int)f->saved.memory - 1, F_DUPFD_CLOEXEC, 3);
        char text[LINE];

        assert_int_equal(relay_memory_adopt_take(&memory, fd, NULL), 0);
        for (int i = 0; !relay_pending_is_empty(&memory.to_output) ||
                        !relay_pending_is_empty(&memory.to_master) || !memory.shared->input_ended;
             i++) {
                if (i == TURNS_MAX)
                        fail_msg("bytes are held that have been written");
                (void)poll(NULL, 0, 1);
                look_after_image(f);
        }
        relay_memory_close(&memory);
        assert_int_equal(read(f->hear.fd, text, sizeof(text)), -1);
        assert_int_equal(read(f->slave, text, sizeof(text)), -1);
}

static void every_byte_arrives_once_whichever_call_is_the_last(void **state)
{
        int n_died = 0;

        (void)alarm(TEST_LIMIT_S);
        for (int die_at = 1;; die_at++) {
                struct fixture f;

                set_up(&f);
                atomic_store(&shared->n_calls, 0);
                atomic_store(&shared->die_at, die_at);
                start_image(&f);
                exchange(&f);
                expect_end_of_input(&f);
                expect_nothing_more(&f);
                end_image(&f);
                tear_down(&f);
                if (f.n_images == 1)
                        break;
                n_died++;
        }
        assert_true(n_died > 20);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_byte_arrives_once_whichever_call_is_the_last),
        };

        shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        if (shared == MAP_FAILED)
                return EXIT_FAILURE;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
