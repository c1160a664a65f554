/* SPDX-License-Identifier: Apache-2.0
 *
 * The publisher against a containerd that comes, goes, refuses and falls silent.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/limits.h"

#include "shim/event_store.h"
#include "shim/publisher.h"
#include "shim/server.h"
#include "test/unit/shim/harness.h"

enum { MEMORY = 3 << 20 };

struct bed {
        struct harness h; /* only its loop, guard and events server are used */
        struct publisher *publisher;
        int dir_fd;
        void *memory; /* that the publisher leaves to the next one */
        bool idle;
};

static void on_guard(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        (void)userdata;
        fail_msg("nothing has happened for a long time");
}

static void bed_open_with(struct bed *b, const char *address, uint64_t backoff_ns)
{
        struct publisher_options options = {
                .loop = b->h.loop,
                .address = address,
                .runtime_namespace = "testing",
                .dir_fd = b->dir_fd,
                .memory = b->memory,
                .memory_size = MEMORY,
                .attempt_ns = 20 * NSEC_PER_MSEC,
                .backoff_min_ns = backoff_ns,
                .backoff_max_ns = 4 * backoff_ns,
        };

        assert_int_equal(publisher_new(&b->publisher, &options, NULL), 0);
}

static void bed_open(struct bed *b, const char *address)
{
        bed_open_with(b, address, NSEC_PER_MSEC);
}

static int setup(void **state)
{
        struct bed *b = calloc(1, sizeof(*b));

        assert_non_null(b);
        assert_int_equal(loop_new(&b->h.loop, NULL), 0);
        b->h.guard = loop_timer_new(b->h.loop, on_guard, NULL);
        (void)snprintf(b->h.dir, sizeof(b->h.dir), "/tmp/shim-events-XXXXXX");
        assert_non_null(mkdtemp(b->h.dir));
        b->dir_fd = open(b->h.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(b->dir_fd >= 0);
        b->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_ptr_not_equal(b->memory, MAP_FAILED);
        events_server_init(&b->h.events, b->h.loop, b->h.dir);
        bed_open(b, b->h.events.path);
        *state = b;
        return 0;
}

static int teardown(void **state)
{
        struct bed *b = *state;

        publisher_free(b->publisher);
        if (b->h.events.server)
                events_server_go(&b->h.events);
        loop_timer_free(b->h.guard);
        loop_free(b->h.loop);
        (void)munmap(b->memory, MEMORY);
        (void)unlinkat(b->dir_fd, EVENT_STORE_FILE, 0);
        close(b->dir_fd);
        assert_int_equal(rmdir(b->h.dir), 0);
        free(b);
        return 0;
}

static void on_idle(void *userdata)
{
        struct bed *b = userdata;

        b->idle = true;
        loop_quit(b->h.loop);
}

/* Runs the loop for n attempts more, whatever their outcome. */
static void await_attempts(struct bed *b, int n)
{
        int until = b->h.events.n_attempts + n;

        (void)loop_timer_set(b->h.guard, 10 * NSEC_PER_SEC);
        while (b->h.events.n_attempts < until)
                assert_int_equal(loop_run(b->h.loop, NULL), 0);
        loop_timer_clear(b->h.guard);
}

static void events_arrive_in_order_with_all_they_need(void **state)
{
        struct bed *b = *state;
        const struct seen_event *e = b->h.events.events;
        Containerd__Events__TaskExecStarted *m;

        events_server_come(&b->h.events);
        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        publisher_publish_take(b->publisher, task_event_exec_added("c1", "e1"));
        publisher_publish_take(b->publisher, task_event_exec_started("c1", "e1", 77));
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        harness_await_events(&b->h, 4);
        assert_string_equal(events_topics(&b->h.events), "start exec-added exec-started oom");
        assert_string_equal(e[2].type_url, "containerd.events.TaskExecStarted");
        assert_string_equal(e[2].runtime_namespace, "testing");
        assert_string_equal(e[2].header_namespace, "testing");
        assert_true(e[2].seconds > 1600000000);
        m = containerd__events__task_exec_started__unpack(NULL, e[2].len, e[2].data);
        assert_string_equal(m->container_id, "c1");
        assert_string_equal(m->exec_id, "e1");
        assert_int_equal(m->pid, 77);
        containerd__events__task_exec_started__free_unpacked(m, NULL);
        harness_settle(&b->h);
        assert_int_equal(publisher_n_queued(b->publisher), 0);
}

static void events_wait_while_containerd_is_away(void **state)
{
        struct bed *b = *state;

        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        harness_settle(&b->h);
        assert_int_equal(publisher_n_queued(b->publisher), 2);
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 2);
        assert_string_equal(events_topics(&b->h.events), "start oom");
        events_server_go(&b->h.events);
        harness_settle(&b->h);
        publisher_publish_take(b->publisher, task_event_exec_added("c1", "e1"));
        publisher_publish_take(b->publisher, task_event_exec_added("c1", "e2"));
        harness_settle(&b->h);
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 4);
        assert_string_equal(events_topics(&b->h.events), "start oom exec-added exec-added");
}

static void containerd_may_go_in_the_middle_of_an_event(void **state)
{
        struct bed *b = *state;

        events_server_come(&b->h.events);
        b->h.events.mute = true;
        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        await_attempts(b, 1);
        events_server_go(&b->h.events);
        harness_settle(&b->h);
        b->h.events.mute = false;
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 2);
        assert_string_equal(events_topics(&b->h.events), "start oom");
}

static void a_refused_event_is_tried_again_first_and_with_its_own_time(void **state)
{
        struct bed *b = *state;
        int64_t seconds;
        int32_t nanos;

        events_server_come(&b->h.events);
        b->h.events.refuse = STATUS_UNAVAILABLE;
        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        await_attempts(b, 1);
        seconds = b->h.events.last_attempt_seconds;
        nanos = b->h.events.last_attempt_nanos;
        await_attempts(b, 3);
        assert_int_equal(b->h.events.last_attempt_seconds, seconds);
        assert_int_equal(b->h.events.last_attempt_nanos, nanos);
        b->h.events.refuse = 0;
        harness_await_events(&b->h, 2);
        assert_string_equal(events_topics(&b->h.events), "start oom");
}

/* As many attempts as a shim makes in that time, and as many events as there may be. */
static void a_containerd_that_is_away_for_an_hour_gets_all(void **state)
{
        const int n_attempts = (int)(3600 * NSEC_PER_SEC / SHIM_BACKOFF_MAX_NS);
        struct bed *b = *state;

        publisher_free(b->publisher);
        bed_open_with(b, b->h.events.path, NSEC_PER_MSEC / 100);
        events_server_come(&b->h.events);
        b->h.events.refuse = STATUS_UNAVAILABLE;
        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        for (int i = 1; i < LIMIT_EVENTS_QUEUED; i++)
                publisher_publish_take(b->publisher, task_event_oom("c1"));
        while (b->h.events.n_attempts < n_attempts)
                await_attempts(b, 1);
        assert_int_equal(publisher_n_queued(b->publisher), LIMIT_EVENTS_QUEUED);
        assert_int_equal(publisher_n_lost(b->publisher), 0);
        b->h.events.refuse = 0;
        harness_await_events(&b->h, 2);
        assert_string_equal(events_topics(&b->h.events), "start oom");
}

static void an_invalid_event_is_given_up_and_the_next_goes_on(void **state)
{
        struct bed *b = *state;

        events_server_come(&b->h.events);
        b->h.events.refuse = STATUS_INVALID_ARGUMENT;
        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        await_attempts(b, 1);
        harness_settle(&b->h);
        assert_int_equal(publisher_n_lost(b->publisher), 1);
        assert_int_equal(publisher_n_queued(b->publisher), 0);
        b->h.events.refuse = 0;
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        harness_await_events(&b->h, 1);
        assert_string_equal(events_topics(&b->h.events), "oom");
        assert_int_equal(b->h.events.n_attempts, 2);
}

static void a_containerd_that_does_not_answer_is_asked_again(void **state)
{
        struct bed *b = *state;

        events_server_come(&b->h.events);
        b->h.events.mute = true;
        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        await_attempts(b, 2); /* R92 */
        b->h.events.mute = false;
        harness_await_events(&b->h, 1);
        assert_string_equal(events_topics(&b->h.events), "start");
}

static void beyond_the_limit_the_oldest_are_given_up_and_counted(void **state)
{
        struct bed *b = *state;

        assert_int_equal(LIMIT_EVENTS_QUEUED, 16384); /* as docs/operations.md says */
        for (int i = 0; i < 3; i++)
                publisher_publish_take(b->publisher, task_event_exec_added("c1", "e1"));
        for (int i = 3; i < LIMIT_EVENTS_QUEUED; i++)
                publisher_publish_take(b->publisher, task_event_oom("c1"));
        assert_int_equal(publisher_n_lost(b->publisher), 0);
        for (int i = 0; i < 3; i++)
                publisher_publish_take(b->publisher, task_event_start("c1", 5));
        assert_int_equal(publisher_n_queued(b->publisher), LIMIT_EVENTS_QUEUED);
        assert_int_equal(publisher_n_lost(b->publisher), 3);
        publisher_publish_take(b->publisher, NULL); /* there was no memory for it */
        assert_int_equal(publisher_n_lost(b->publisher), 4);
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 1);
        assert_string_equal(events_topics(&b->h.events), "oom");
}

static void without_an_address_events_are_dropped(void **state)
{
        struct bed *b = *state;

        publisher_free(b->publisher);
        bed_open(b, NULL);
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        assert_int_equal(publisher_n_queued(b->publisher), 0);
        publisher_on_idle(b->publisher, on_idle, b);
        assert_false(b->idle);
        harness_run_until(&b->h, &b->idle);
}

static void idle_is_told_when_the_last_event_was_accepted(void **state)
{
        struct bed *b = *state;

        publisher_publish_take(b->publisher, task_event_oom("c1"));
        publisher_on_idle(b->publisher, on_idle, b);
        harness_settle(&b->h);
        assert_false(b->idle);
        events_server_come(&b->h.events);
        harness_run_until(&b->h, &b->idle);
        assert_int_equal(b->h.events.n, 1);
        b->idle = false;
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        harness_await_events(&b->h, 2);
        harness_settle(&b->h);
        assert_false(b->idle); /* once */
}

static void an_address_that_is_none_is_no_crash(void **state)
{
        struct bed *b = *state;

        publisher_free(b->publisher);
        bed_open(b, "not-a-path");
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        harness_settle(&b->h);
        assert_int_equal(publisher_n_queued(b->publisher), 1);
}

/* ---- The file ---- */

static off_t file_size(const struct bed *b)
{
        struct stat st;

        return fstatat(b->dir_fd, EVENT_STORE_FILE, &st, 0) < 0 ? -1 : st.st_size;
}

/* The shim's process goes and another one takes over. */
static void succeed(struct bed *b, uint64_t until_seq)
{
        publisher_free(b->publisher);
        bed_open(b, b->h.events.path);
        assert_int_equal(publisher_restore(b->publisher, until_seq, 0, NULL), 0);
        publisher_resume(b->publisher);
}

static void the_next_process_sends_what_was_not_accepted(void **state)
{
        struct bed *b = *state;
        int64_t seconds;
        uint64_t seq;

        events_server_come(&b->h.events);
        publisher_publish_take(b->publisher, task_event_exec_added("c1", "e1"));
        harness_await_events(&b->h, 1);
        harness_settle(&b->h);
        events_server_go(&b->h.events);
        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        seq = publisher_next_seq(b->publisher);
        assert_int_equal(seq, 4);
        seconds = clock_realtime().tv_sec;
        succeed(b, seq);
        assert_int_equal(publisher_n_queued(b->publisher), 2);
        assert_int_equal(publisher_next_seq(b->publisher), 4);
        publisher_publish_take(b->publisher, task_event_exec_added("c1", "e2"));
        succeed(b, 5);
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 4);
        assert_string_equal(events_topics(&b->h.events), "exec-added start oom exec-added");
        assert_string_equal(b->h.events.events[1].type_url, "containerd.events.TaskStart");
        assert_in_range(b->h.events.events[1].seconds, seconds - 1, seconds);
        harness_settle(&b->h);
        assert_int_equal(file_size(b), 0);
        succeed(b, 5);
        assert_int_equal(publisher_n_queued(b->publisher), 0);
}

static void what_the_state_does_not_know_of_has_not_happened(void **state)
{
        struct bed *b = *state;

        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        succeed(b, 2);
        assert_int_equal(publisher_n_queued(b->publisher), 1);
        publisher_publish_take(b->publisher, task_event_exec_added("c1", "e1"));
        assert_int_equal(publisher_next_seq(b->publisher), 3);
        succeed(b, 3);
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 2);
        assert_string_equal(events_topics(&b->h.events), "start exec-added");
}

static void a_damaged_entry_costs_what_lies_behind_it(void **state)
{
        struct bed *b = *state;
        off_t size;
        int fd;

        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        size = file_size(b);
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        publisher_free(b->publisher);
        fd = openat(b->dir_fd, EVENT_STORE_FILE, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "x", 1, size), 1);
        close(fd);
        bed_open(b, b->h.events.path);
        assert_int_equal(publisher_restore(b->publisher, 3, 0, NULL), 0);
        publisher_resume(b->publisher);
        assert_int_equal(publisher_n_queued(b->publisher), 1);
        assert_int_equal(publisher_n_lost(b->publisher), 1);
        assert_int_equal(file_size(b), size);
}

static void a_torn_entry_is_no_event(void **state)
{
        struct bed *b = *state;
        off_t size;

        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        size = file_size(b);
        for (off_t cut = 1; cut < 20; cut++) {
                char path[128];

                (void)snprintf(path, sizeof(path), "%s/%s", b->h.dir, EVENT_STORE_FILE);
                assert_int_equal(truncate(path, size - cut), 0);
                succeed(b, 3);
                assert_int_equal(publisher_n_queued(b->publisher), 1);
                publisher_publish_take(b->publisher, task_event_oom("c1"));
                size = file_size(b);
        }
}

/* 100 bytes more or less. */
static void disk_is_full(bool is_full)
{
        const struct rlimit limit = {
                .rlim_cur = is_full ? 100 : RLIM_INFINITY,
                .rlim_max = RLIM_INFINITY,
        };

        assert_int_equal(sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL), 0);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_costs_an_event_its_file_alone(void **state)
{
        struct bed *b = *state;

        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        disk_is_full(true);
        publisher_publish_take(b->publisher, task_event_exec_added("c1", "a-long-name-for-it"));
        disk_is_full(false);
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        succeed(b, 4);
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 3);
        assert_string_equal(events_topics(&b->h.events), "start exec-added oom");
        harness_settle(&b->h);
        assert_int_equal(file_size(b), 0);
}

/* Where there is no memory for it either: the next process finds that it was, and goes on. */
static void what_only_a_process_had_that_is_gone_is_given_up_and_counted_once(void **state)
{
        struct bed *b = *state;

        publisher_publish_take(b->publisher, task_event_start("c1", 5));
        disk_is_full(true);
        for (int i = 0; i < 3; i++) {
                struct task_event *event = task_event_new(MEMORY);

                assert_non_null(event);
                memset(event->data, 0, MEMORY);
                event->len = MEMORY;
                event->topic = "/tasks/large";
                event->type_url = "large";
                publisher_publish_take(b->publisher, event);
        }
        disk_is_full(false);
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        assert_int_equal(publisher_n_lost(b->publisher), 0);
        succeed(b, 6);
        succeed(b, 6);
        assert_int_equal(publisher_n_queued(b->publisher), 5);
        events_server_come(&b->h.events);
        harness_await_events(&b->h, 2);
        harness_settle(&b->h);
        assert_string_equal(events_topics(&b->h.events), "start oom");
        assert_int_equal(publisher_n_queued(b->publisher), 0);
        assert_int_equal(publisher_n_lost(b->publisher), 3);
        assert_int_equal(publisher_n_in_memory(b->publisher), 0);
        succeed(b, 6);
        assert_int_equal(publisher_n_lost(b->publisher), 3);
}

/* The shim's state tells of none of them: its last commit was before. */
static void what_is_lost_is_counted_without_a_commit(void **state)
{
        struct bed *b = *state;

        for (int i = 0; i < LIMIT_EVENTS_QUEUED + 3; i++)
                publisher_publish_take(b->publisher, task_event_oom("c1"));
        publisher_publish_take(b->publisher, NULL);
        succeed(b, publisher_next_seq(b->publisher));
        assert_int_equal(publisher_n_lost(b->publisher), 4);
        assert_int_equal(publisher_n_queued(b->publisher), LIMIT_EVENTS_QUEUED);
}

static void a_file_that_never_empties_does_not_grow_for_ever(void **state)
{
        struct bed *b = *state;
        off_t largest = 0;

        /* The limit makes room by giving up the oldest, so some 16,000 stay. */
        for (int i = 0; i < LIMIT_EVENTS_QUEUED * 4; i++) {
                publisher_publish_take(b->publisher, task_event_exec_added("container", "exec"));
                if (file_size(b) > largest)
                        largest = file_size(b);
        }
        assert_int_equal(publisher_n_queued(b->publisher), LIMIT_EVENTS_QUEUED);
        assert_true(file_size(b) > LIMIT_EVENTS_QUEUED * 50);
        assert_true(largest < (off_t)LIMIT_EVENTS_QUEUED * 150 * 3);
        succeed(b, publisher_next_seq(b->publisher));
        assert_int_equal(publisher_n_queued(b->publisher), LIMIT_EVENTS_QUEUED);
        assert_int_equal(publisher_n_lost(b->publisher), LIMIT_EVENTS_QUEUED * 3);
}

static void what_is_held_back_goes_when_it_is_let(void **state)
{
        struct bed *b = *state;

        events_server_come(&b->h.events);
        publisher_hold(b->publisher, true);
        publisher_publish_take(b->publisher, task_event_oom("c1"));
        harness_settle(&b->h);
        assert_true(publisher_is_quiet(b->publisher));
        assert_int_equal(b->h.events.n_attempts, 0);
        publisher_hold(b->publisher, false);
        harness_await_events(&b->h, 1);
}

static void the_longest_exit_fits_what_was_reserved(void **state)
{
        const struct timespec at = {.tv_sec = INT64_MAX, .tv_nsec = 999999999};
        struct task_event *event = task_event_exit_reserve();
        char id[LIMIT_ID_LENGTH + 1] = {0};

        (void)state;
        assert_non_null(event);
        memset(id, 'a', LIMIT_ID_LENGTH);
        task_event_exit_fill(event, id, id, INT32_MAX, UINT32_MAX, &at);
        assert_true(event->len <= event->room);
        task_event_free(event);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(events_arrive_in_order_with_all_they_need),
                TEST(events_wait_while_containerd_is_away),
                TEST(containerd_may_go_in_the_middle_of_an_event),
                TEST(a_refused_event_is_tried_again_first_and_with_its_own_time),
                TEST(a_containerd_that_is_away_for_an_hour_gets_all),
                TEST(an_invalid_event_is_given_up_and_the_next_goes_on),
                TEST(a_containerd_that_does_not_answer_is_asked_again),
                TEST(beyond_the_limit_the_oldest_are_given_up_and_counted),
                TEST(without_an_address_events_are_dropped),
                TEST(idle_is_told_when_the_last_event_was_accepted),
                TEST(an_address_that_is_none_is_no_crash),
                TEST(the_next_process_sends_what_was_not_accepted),
                TEST(what_the_state_does_not_know_of_has_not_happened),
                TEST(a_damaged_entry_costs_what_lies_behind_it),
                TEST(a_torn_entry_is_no_event),
                TEST(a_full_disk_costs_an_event_its_file_alone),
                TEST(what_only_a_process_had_that_is_gone_is_given_up_and_counted_once),
                TEST(what_is_lost_is_counted_without_a_commit),
                TEST(a_file_that_never_empties_does_not_grow_for_ever),
                TEST(what_is_held_back_goes_when_it_is_let),
                cmocka_unit_test(the_longest_exit_fits_what_was_reserved),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
