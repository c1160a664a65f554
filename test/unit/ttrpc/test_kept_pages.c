/* SPDX-License-Identifier: Apache-2.0
 *
 * What connections are kept in is as much memory as there are connections: those that are gone have
 * left nothing.
 */
#include <string.h>
#include <sys/mman.h>

#include "pkg/ttrpc/keep.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

enum { AREAS = 8, PAGES_MAX = (AREAS << 8) + 1 };

#define MEMORY TTRPC_KEEP_BYTES(AREAS)

static void *memory_new(void)
{
        void *p = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(p != MAP_FAILED);
        return p;
}

/* That areas have from this one on. */
static size_t count_pages(uint8_t *memory, unsigned area)
{
        size_t at = TTRPC_KEEP_BYTES(area);
        unsigned char is_there[PAGES_MAX];
        size_t n = 0;

        assert_int_equal(mincore(memory + at, MEMORY - at, is_there), 0);
        for (size_t i = 0; i < (MEMORY - at) / 4096; i++)
                n += is_there[i] & 1;
        return n;
}

static void a_connection_that_has_ended_leaves_no_page(void **state)
{
        enum { N = 3 };
        uint8_t *memory = memory_new();
        static struct peer peers[N];
        static struct harness h;

        (void)state;
        harness_init(&h, &(struct ttrpc_server_options){.keep = memory, .keep_size = MEMORY});
        for (int round = 0; round < 2; round++) {
                for (int i = 0; i < N; i++) {
                        peer_init(&peers[i], &h);
                        peer_call(&peers[i], 1, "Echo", "hello", 0);
                        peer_expect_echo(&peers[i], 1, "hello");
                }
                assert_in_range(count_pages(memory, 1), N, PAGES_MAX);
                for (int i = 0; i < N; i++)
                        peer_deinit(&peers[i]);
                harness_settle(&h);
                assert_int_equal(count_pages(memory, 1), 0);
        }
        peer_call(&h.peer, 1, "Echo", "still here", 0);
        peer_expect_echo(&h.peer, 1, "still here");
        harness_deinit(&h);
        assert_int_equal(munmap(memory, MEMORY), 0);
}

/* It was closed, and something held it, when the image ended. */
static void what_an_image_before_has_left_behind_is_given_back(void **state)
{
        uint8_t *memory = memory_new();
        struct error err = ERROR_INIT;
        struct ttrpc_keep *keep = NULL;
        struct ttrpc_kept *kept;
        int slot = 0;

        (void)state;
        assert_int_equal(ttrpc_keep_new(&keep, memory, MEMORY, &err), 0);
        for (int i = 0; i < 3; i++)
                slot = ttrpc_keep_conn(keep, i);
        assert_int_equal(slot, 2);
        kept = ttrpc_kept_of_slot(keep, 1);
        assert_non_null(kept);
        ttrpc_kept_last_id(kept, 5);
        memset(&keep->areas[AREAS - 1], 1, sizeof(keep->areas[0]));
        ttrpc_keep_trim(keep);
        assert_int_equal(count_pages(memory, 0), 1);
        assert_int_equal(kept->area->last_id, 5);
        ttrpc_kept_free(kept);
        assert_int_equal(count_pages(memory, 0), 0);
        ttrpc_keep_unref(keep);
        assert_int_equal(munmap(memory, MEMORY), 0);
}

/* A client of one connection begins the next one while a callback of the last holds it. */
static void a_connection_that_ends_late_leaves_the_next_one_alone(void **state)
{
        uint8_t *memory = memory_new();
        struct error err = ERROR_INIT;
        struct ttrpc_keep *keeps[2] = {NULL, NULL};
        struct ttrpc_kept *kept[2];

        (void)state;
        for (int i = 0; i < 2; i++) {
                assert_int_equal(ttrpc_keep_new(&keeps[i], memory, MEMORY, &err), 0);
                assert_int_equal(ttrpc_keep_conn(keeps[i], 3), 0);
                kept[i] = ttrpc_kept_of_slot(keeps[i], 0);
                assert_non_null(kept[i]);
                if (i == 0)
                        ttrpc_kept_close(kept[i]);
        }
        ttrpc_kept_last_id(kept[1], 7);
        ttrpc_kept_free(kept[0]);
        assert_int_equal(kept[1]->area->last_id, 7);
        ttrpc_kept_free(kept[1]);
        assert_int_equal(count_pages(memory, 0), 0);
        for (int i = 0; i < 2; i++)
                ttrpc_keep_unref(keeps[i]);
        assert_int_equal(munmap(memory, MEMORY), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_connection_that_has_ended_leaves_no_page),
                cmocka_unit_test(what_an_image_before_has_left_behind_is_given_back),
                cmocka_unit_test(a_connection_that_ends_late_leaves_the_next_one_alone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
