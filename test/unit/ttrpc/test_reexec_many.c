/* SPDX-License-Identifier: Apache-2.0
 *
 * More calls than a connection's area has room for, when the server is left by an execve() of
 * itself, as planned or at any step.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pkg/ttrpc/keep.h"

#include "test/unit/ttrpc/world.h"

static struct answer answer;

static const struct keep_head *map_head(const struct world *w)
{
        const struct keep_head *head =
                mmap(NULL, TTRPC_KEEP_BYTES(IMAGE_CONNS), PROT_READ, MAP_SHARED, w->memory_fd, 0);

        assert_ptr_not_equal(head, MAP_FAILED);
        return head;
}

static void unmap_head(const struct keep_head *head)
{
        (void)munmap((void *)head, TTRPC_KEEP_BYTES(IMAGE_CONNS));
}

static void wait_for_layout(const struct world *w, const struct keep_head *head, uint32_t layout)
{
        while (atomic_load(&head->layout) != layout) {
                world_assert_alive(w);
                loop_settle(w->loop);
        }
}

/* As many as a connection may have open. */
static void all_calls_of_a_connection_go_on(void **state)
{
        enum { N = 4095 };
        const struct keep_head *head;
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        head = map_head(&w);
        assert_int_equal(atomic_load(&head->layout), KEEP_LAYOUT);
        for (uint32_t i = 0; i < N; i++)
                peer_call(&w.peer, 2 * i + 1, "Keep", "", 1);
        peer_call(&w.peer, 2 * N + 1, "Echo", "all are kept", 2);
        peer_expect_echo(&w.peer, 2 * N + 1, "all are kept");
        for (int i = 0; i < 2; i++) {
                assert_int_equal(atomic_load(&head->layout), KEEP_LAYOUT_MORE);
                world_reexec(&w);
        }
        assert_int_equal(w.control->n_not_quiet, 0);
        peer_call(&w.peer, 2 * N + 3, "Hook", "go", 3);
        for (uint32_t i = 0; i < N; i++)
                peer_expect_echo(&w.peer, 2 * i + 1, "let go");
        peer_expect_echo(&w.peer, 2 * N + 3, "go");
        assert_int_equal(w.control->n_resumed, 2 * N);
        assert_int_equal(w.control->n_dropped, 0);
        wait_for_layout(&w, head, KEEP_LAYOUT);
        unmap_head(head);
        world_stop(&w);
}

/* What an image before has left may be damaged. */
static void further_areas_that_are_not_its_own_are_refused(void **state)
{
        static const uint32_t wrong[] = {1 /* it is itself a connection's */, IMAGE_CONNS + 1,
                                         UINT32_MAX};
        const size_t size = TTRPC_KEEP_BYTES(IMAGE_CONNS);
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct error err = ERROR_INIT;
        struct ttrpc_keep *keep = NULL;

        (void)state;
        assert_ptr_not_equal(memory, MAP_FAILED);
        assert_int_equal(ttrpc_keep_new(&keep, memory, size, &err), 0);
        assert_int_equal(ttrpc_keep_conn(keep, 100), 0);
        assert_int_equal(ttrpc_keep_conn(keep, 101), 1);
        for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
                atomic_store(&keep->areas[0].more, wrong[i]);
                assert_int_equal(ttrpc_keep_check(keep, &err), -1);
                assert_int_equal(err.code, STATUS_DATA_LOSS);
                assert_non_null(strstr(err.msg, "is not its own"));
        }
        atomic_store(&keep->areas[0].more, 3);
        assert_int_equal(ttrpc_keep_check(keep, &err), 0);
        /* One that two have, and one that comes again. */
        atomic_store(&keep->areas[1].more, 3);
        assert_int_equal(ttrpc_keep_check(keep, &err), -1);
        atomic_store(&keep->areas[1].more, 0);
        atomic_store(&keep->areas[2].more, 3);
        assert_int_equal(ttrpc_keep_check(keep, &err), -1);
        ttrpc_keep_unref(keep);
        (void)munmap(memory, size);
}

/* ---- A crash at every step ---- */

enum {
        AREA_FULL = 102, /* calls that fill an area, each as large as one may be that fills it */
        N_CALLS = AREA_FULL + 2,
        N_BYTES = 4900,
};

static void keep(struct world *w, uint32_t i)
{
        size_t len = 0;
        uint8_t *frame = echo_frame(2 * i + 1, "Keep", "", 100, N_BYTES, &len);

        peer_write(&w->peer, frame, len);
        free(frame);
}

static void hook(struct peer *p, uint32_t id)
{
        peer_call(p, id, "Hook", "go", 103);
        peer_read(p, &answer);
        assert_int_equal(answer.frame.stream_id, id);
}

/* Each gets one answer, whatever it says. Returns the step before the area was full. */
static uint64_t many_scenario(struct world *w)
{
        bool have[N_CALLS] = {false};
        struct peer other;
        uint64_t step;

        for (uint32_t i = 0; i < AREA_FULL; i++)
                keep(w, i);
        world_wait_seen(w, 100, AREA_FULL);
        step = w->control->n_steps;
        for (uint32_t i = AREA_FULL; i < N_CALLS; i++)
                keep(w, i);
        world_wait_taken(w, &w->peer);
        world_connect(w, &other);
        hook(&other, 1);
        hook(&other, 3);
        for (size_t i = 0; i < N_CALLS; i++) {
                peer_read(&w->peer, &answer);
                assert_in_range(answer.frame.stream_id, 1, 2 * N_CALLS - 1);
                assert_false(have[answer.frame.stream_id / 2]);
                have[answer.frame.stream_id / 2] = true;
        }
        assert_int_equal(w->control->n_dropped, 0);
        peer_call(&w->peer, 2 * N_CALLS + 1, "Echo", "last", 104);
        peer_read(&w->peer, &answer);
        assert_int_equal(answer.frame.stream_id, 2 * N_CALLS + 1);
        peer_deinit(&other);
        return step;
}

static void a_further_area_survives_a_crash_at_any_step(void **state)
{
        const uint64_t n_before_full = 20;
        uint64_t n_tried = 0;
        uint64_t step = 0;
        struct world w;

        (void)state;
        for (bool crashed = true; crashed; step++) {
                uint64_t full;

                world_start(&w);
                w.control->crash_at = step;
                world_serve(&w);
                full = many_scenario(&w);
                crashed = step == 0 || w.control->n_images > 1;
                if (step == 0)
                        step = full - n_before_full;
                n_tried++;
                world_stop(&w);
        }
        assert_true(n_tried > 60);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(all_calls_of_a_connection_go_on),
                cmocka_unit_test(further_areas_that_are_not_its_own_are_refused),
                cmocka_unit_test(a_further_area_survives_a_crash_at_any_step),
        };

        if (argc != 2)
                return 2;
        world_set_image(argv[1]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
