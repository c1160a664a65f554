/* SPDX-License-Identifier: Apache-2.0
 *
 * What connections are kept in is as much memory as there are connections: those that are gone have
 * left nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/keep_store.h"

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

/* In libc's place: memory that is asked for, as long as there is any. */
static unsigned n_reserved, reserved_max = UINT_MAX;

int fallocate(int fd, int mode, off_t at, off_t len)
{
        if (mode == FALLOC_FL_KEEP_SIZE && n_reserved++ >= reserved_max) {
                errno = ENOMEM;
                return -1;
        }
        return (int)syscall(SYS_fallocate, fd, mode, at, len);
}

static struct ttrpc_kept *kept_new(void *memory)
{
        struct error err = ERROR_INIT;
        struct ttrpc_keep *keep = NULL;
        struct ttrpc_kept *kept;

        assert_int_equal(ttrpc_keep_new(&keep, memory, MEMORY, &err), 0);
        keep->wants_annexes = true;
        assert_int_equal(ttrpc_keep_conn(keep, 1), 0);
        kept = ttrpc_kept_of_slot(keep, 0);
        assert_non_null(kept);
        return kept;
}

static void kept_end(struct ttrpc_kept *kept)
{
        struct ttrpc_keep *keep = kept->keep;

        ttrpc_kept_free(kept);
        ttrpc_keep_unref(keep);
}

/* For each reservation that a frame and two large answers make: without memory for it they are kept
 * nowhere, and no page is written to that might not be there. */
static void what_there_is_no_memory_for_is_kept_nowhere(void **state)
{
        enum { LARGE = 600 << 10 };
        _cleanup_free_ uint8_t *large = calloc(1, LARGE);
        uint8_t *memory = memory_new();

        (void)state;
        assert_non_null(large);
        for (reserved_max = 0; reserved_max <= 3; reserved_max++) {
                struct ttrpc_kept *kept = kept_new(memory);
                uint8_t *in = ttrpc_kept_in_room(kept);
                struct ttrpc_frame head = {.length = LARGE, .stream_id = 1, .type = 1};

                n_reserved = 0;
                ttrpc_frame_encode(&head, in);
                ttrpc_kept_in_add(kept, TTRPC_HEADER_SIZE);
                in = ttrpc_kept_frame_begin(kept, in, TTRPC_HEADER_SIZE);
                assert_int_equal(in != NULL, reserved_max > 0);
                ttrpc_kept_frame_end(kept);
                for (unsigned i = 1; i <= 2; i++) {
                        ttrpc_kept_out_add(kept, large, LARGE, -1);
                        assert_int_equal(kept->area->out_large,
                                         reserved_max > 0 && n_reserved <= reserved_max
                                                 ? KEEP_IN_ANNEX
                                                 : KEEP_NOWHERE);
                }
                kept_end(kept);
        }
        assert_int_equal(n_reserved, 3);
        reserved_max = UINT_MAX;
        assert_int_equal(munmap(memory, MEMORY), 0);
}

/* A version that knows no annexes has closed their file, and another has the number. */
static void a_file_with_the_inode_of_the_annexes_may_be_no_memfd(void **state)
{
        uint8_t *memory = memory_new();
        struct ttrpc_kept *kept = kept_new(memory);
        struct keep_annexes *annexes = head_annexes(kept->keep->head);
        _cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        struct stat st;

        (void)state;
        assert_true(fd >= 0 && fstat(fd, &st) == 0);
        annexes->layout = KEEP_ANNEX_LAYOUT;
        annexes->inode = st.st_ino;
        annexes->fd = fd + 1;
        ttrpc_keep_annexes_found(kept->keep);
        assert_int_equal(kept->keep->annexes_fd, -1);
        annexes->fd = 0;
        kept_end(kept);
        assert_int_equal(munmap(memory, MEMORY), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_connection_that_has_ended_leaves_no_page),
                cmocka_unit_test(what_an_image_before_has_left_behind_is_given_back),
                cmocka_unit_test(a_connection_that_ends_late_leaves_the_next_one_alone),
                cmocka_unit_test(what_there_is_no_memory_for_is_kept_nowhere),
                cmocka_unit_test(a_file_with_the_inode_of_the_annexes_may_be_no_memfd),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
