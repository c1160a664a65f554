/* SPDX-License-Identifier: Apache-2.0
 *
 * A publisher without memory takes over from that of a process image before, which had an event on
 * its way. It fails, and has changed nothing: the next one hears the answer, and sends nothing
 * twice. The image before is this process, those that follow are a fork of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/ttrpc/ttrpc.h"

#include "shim/event_store.h"
#include "shim/publisher.h"
#include "test/unit/shim/harness.h"

enum { ALLOCATIONS_MAX = 100, GUARD_SECONDS = 20 };

/* The allocation that fails, counted from now; 0: none. */
static int fails_in;

static bool fails(void)
{
        return fails_in > 0 && --fails_in == 0;
}

/* The linker puts these in libc's place. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
        return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
        return fails() ? NULL : __real_realloc(p, size);
}

struct bed {
        struct harness h; /* only its loop, guard and events server are used */
        int dir_fd;
        void *keep;
        struct loop *loop; /* of the image before */
        struct publisher *publisher;
};

static void on_guard(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        (void)userdata;
        fail_msg("nothing has happened for a long time");
}

static struct publisher *publisher_of(const struct bed *b, struct loop *loop)
{
        const struct publisher_options options = {
                .loop = loop,
                .address = b->h.events.path,
                .runtime_namespace = "testing",
                .dir_fd = b->dir_fd,
                .keep = b->keep,
                .keep_size = TTRPC_KEEP_BYTES(1),
                .attempt_ns = NSEC_PER_SEC * GUARD_SECONDS,
                .backoff_min_ns = NSEC_PER_MSEC,
                .backoff_max_ns = 4 * NSEC_PER_MSEC,
        };
        struct publisher *publisher = NULL;

        assert_int_equal(publisher_new(&publisher, &options, NULL), 0);
        return publisher;
}

static int setup(void **state)
{
        struct bed *b = calloc(1, sizeof(*b));

        assert_non_null(b);
        assert_int_equal(loop_new(&b->h.loop, NULL), 0);
        assert_int_equal(loop_new(&b->loop, NULL), 0);
        b->h.guard = loop_timer_new(b->h.loop, on_guard, NULL);
        (void)snprintf(b->h.dir, sizeof(b->h.dir), "/tmp/shim-restore-XXXXXX");
        assert_non_null(mkdtemp(b->h.dir));
        b->dir_fd = open(b->h.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(b->dir_fd >= 0);
        b->keep = mmap(NULL, TTRPC_KEEP_BYTES(1), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_ptr_not_equal(b->keep, MAP_FAILED);
        events_server_init(&b->h.events, b->h.loop, b->h.dir);
        events_server_come(&b->h.events);
        b->publisher = publisher_of(b, b->loop);
        *state = b;
        return 0;
}

static int teardown(void **state)
{
        struct bed *b = *state;

        publisher_free(b->publisher);
        loop_free(b->loop);
        events_server_go(&b->h.events);
        loop_timer_free(b->h.guard);
        loop_free(b->h.loop);
        (void)munmap(b->keep, TTRPC_KEEP_BYTES(1));
        (void)unlinkat(b->dir_fd, EVENT_STORE_FILE, 0);
        close(b->dir_fd);
        assert_int_equal(rmdir(b->h.dir), 0);
        free(b);
        return 0;
}

/* ---- The image before ---- */

struct quitter {
        struct loop_deferred deferred;
        struct loop *loop;
        int rounds;
};

static void on_quit(struct loop_deferred *deferred)
{
        struct quitter *quitter = container_of(deferred, struct quitter, deferred);

        if (--quitter->rounds == 0)
                loop_quit(quitter->loop);
        else
                loop_defer(quitter->loop, deferred);
}

/* One event, which is sent in the first of these rounds, and answered after the last. */
static void send_event(struct bed *b)
{
        struct quitter quitter = {.loop = b->loop, .rounds = 4};

        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        loop_deferred_init(&quitter.deferred, on_quit);
        loop_defer(b->loop, &quitter.deferred);
        assert_int_equal(loop_run(b->loop, NULL), 0);
        assert_int_equal(publisher_n_queued(b->publisher), 1);
        harness_await_events(&b->h, 1);
        harness_settle(&b->h);
}

/* ---- Those that follow ---- */

static off_t file_size(const struct bed *b)
{
        struct stat st;

        return fstatat(b->dir_fd, EVENT_STORE_FILE, &st, 0) < 0 ? -1 : st.st_size;
}

/* Tries until nothing fails, and goes on in that one. Who has failed is left as an execve(2) would
 * leave him, but for his descriptors. */
static struct publisher *take_over(const struct bed *b, struct loop **ret_loop, int *ret_n_failed)
{
        uint8_t *before = malloc(TTRPC_KEEP_BYTES(1));
        off_t size = file_size(b);

        assert_non_null(before);
        assert_true(size > 0);
        memcpy(before, b->keep, TTRPC_KEEP_BYTES(1));
        for (int at = 1; at < ALLOCATIONS_MAX; at++) {
                struct error err = ERROR_INIT;
                struct publisher *publisher;
                int r;

                assert_int_equal(loop_new(ret_loop, NULL), 0);
                publisher = publisher_of(b, *ret_loop);
                fails_in = at;
                r = publisher_restore(publisher, 2, 0, &err);
                assert_memory_equal(b->keep, before, TTRPC_KEEP_BYTES(1));
                assert_int_equal(file_size(b), size);
                if (fails_in > 0) {
                        fails_in = 0;
                        assert_int_equal(r, 0);
                        *ret_n_failed = at - 1;
                        return publisher;
                }
                if (r == 0)
                        fail_msg("restored without allocation %d", at);
        }
        fail_msg("more than %d allocations", ALLOCATIONS_MAX);
        return NULL;
}

static void on_idle(void *userdata)
{
        loop_quit(userdata);
}

static void go_on(const struct bed *b)
{
        struct publisher *publisher;
        struct loop *loop = NULL;
        int n_failed = 0;

        (void)alarm(GUARD_SECONDS);
        publisher = take_over(b, &loop, &n_failed);
        assert_in_range(n_failed, 5, ALLOCATIONS_MAX);
        publisher_resume(publisher);
        assert_int_equal(publisher_n_queued(publisher), 1);
        publisher_on_idle(publisher, on_idle, loop);
        assert_int_equal(loop_run(loop, NULL), 0);
        assert_int_equal(publisher_n_queued(publisher), 0);
        assert_int_equal(publisher_n_lost(publisher), 0);
        assert_int_equal(file_size(b), 0);
}

static void whatever_there_is_no_memory_for_is_left_as_it_was(void **state)
{
        struct bed *b = *state;
        int status = -1;
        pid_t pid;

        send_event(b);
        (void)fflush(NULL);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                go_on(b);
                _exit(EXIT_SUCCESS);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
                fail_msg("wait status 0x%x", (unsigned)status);
        assert_int_equal(b->h.events.n_attempts, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(whatever_there_is_no_memory_for_is_left_as_it_was,
                                                setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
