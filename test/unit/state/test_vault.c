/* SPDX-License-Identifier: Apache-2.0
 *
 * The vault as its users see it, and everything that is not one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/state/vault.h"

#include "test/unit/unit.h"

CLEANUP_DEFINE(struct vault, vault_free)

static struct vault *make(void)
{
        struct error err = ERROR_INIT;
        struct vault *vault = NULL;

        if (vault_new(&vault, &err) < 0)
                fail_msg("%s", err.msg);
        return vault;
}

/* As a process image would that comes after it. */
static struct vault *reopen(const struct vault *vault)
{
        struct error err = ERROR_INIT;
        struct vault *other = NULL;

        if (vault_open_take(&other, fcntl(vault_fd(vault), F_DUPFD, 3), &err) < 0)
                fail_msg("%s", err.msg);
        return other;
}

static void put(struct vault *vault, const void *data, size_t len)
{
        struct error err = ERROR_INIT;

        if (vault_put(vault, VAULT_SHIM, data, len, &err) < 0)
                fail_msg("%s", err.msg);
}

static void add(struct vault *vault, const void *data, size_t len)
{
        struct error err = ERROR_INIT;

        if (vault_add(vault, VAULT_SHIM, data, len, &err) < 0)
                fail_msg("%s", err.msg);
}

/* The next piece, from *at on. */
static void assert_next(const struct vault *vault, size_t *at, const void *data, size_t len)
{
        struct error err = ERROR_INIT;
        const void *have = NULL;
        size_t n = 0;

        if (vault_next(vault, VAULT_SHIM, at, &have, &n, &err) != 1)
                fail_msg("no piece: %s", err.msg);
        assert_int_equal(n, len);
        assert_memory_equal(have, data, len);
}

static void assert_end(const struct vault *vault, size_t at)
{
        const void *have;
        size_t n;

        assert_int_equal(vault_next(vault, VAULT_SHIM, &at, &have, &n, NULL), 0);
        assert_int_equal(at, vault_size(vault, VAULT_SHIM));
}

/* One piece. */
static void assert_holds(const struct vault *vault, const void *data, size_t len)
{
        size_t at = 0;

        assert_next(vault, &at, data, len);
        assert_end(vault, at);
}

static void a_record_is_what_was_put_last(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        struct error err = ERROR_INIT;
        const void *have;
        size_t at = 0;
        size_t n;

        (void)state;
        assert_int_equal(vault_next(vault, VAULT_SHIM, &at, &have, &n, &err), -1);
        assert_int_equal(err.code, STATUS_NOT_FOUND);
        assert_int_equal(vault_size(vault, VAULT_SHIM), 0);
        put(vault, "one", 3);
        assert_holds(vault, "one", 3);
        put(vault, "two, longer", 11);
        assert_holds(vault, "two, longer", 11);
        put(vault, NULL, 0);
        assert_holds(vault, "", 0);
        put(vault, "3", 1);
        assert_holds(vault, "3", 1);
}

static void what_is_added_stands_behind_what_was_put_until_that_is_put_anew(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        _cleanup_(vault_free_p) struct vault *next = NULL;
        char bytes[300];
        size_t at = 0;

        (void)state;
        memset(bytes, 'b', sizeof(bytes));
        put(vault, "base", 4);
        add(vault, "+1", 2);
        add(vault, NULL, 0);
        for (size_t i = 0; i < sizeof(bytes); i++)
                add(vault, bytes, i);
        next = reopen(vault);
        assert_next(next, &at, "base", 4);
        assert_next(next, &at, "+1", 2);
        assert_next(next, &at, "", 0);
        for (size_t i = 0; i < sizeof(bytes); i++)
                assert_next(next, &at, bytes, i);
        assert_end(next, at);
        add(next, "goes on", 7);
        assert_next(next, &at, "goes on", 7);
        put(next, "anew", 4);
        assert_holds(next, "anew", 4);
}

static void a_piece_without_room_is_refused_and_the_others_stay(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        _cleanup_free_ char *large = calloc(1, (size_t)VAULT_RECORD_BYTES_MAX + 1);
        struct error err = ERROR_INIT;
        size_t at = 0;

        (void)state;
        put(vault, "old", 3);
        assert_int_equal(
                vault_add(vault, VAULT_SHIM, large, (size_t)VAULT_RECORD_BYTES_MAX + 1, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        add(vault, large, VAULT_RECORD_BYTES_MAX / 2);
        assert_int_equal(
                vault_add(vault, VAULT_SHIM, large, VAULT_RECORD_BYTES_MAX / 2 + 8192, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        assert_next(vault, &at, "old", 3);
        assert_next(vault, &at, large, VAULT_RECORD_BYTES_MAX / 2);
        assert_end(vault, at);
}

static void what_was_put_is_there_for_the_next_image(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        _cleanup_(vault_free_p) struct vault *next = NULL;
        char reason[VAULT_REASON_MAX];
        uint64_t *cell;
        size_t size;

        (void)state;
        assert_int_equal(vault_generation(vault), 0);
        put(vault, "kept", 4);
        cell = vault_region(vault, VAULT_EXITS, &size);
        cell[size / sizeof(*cell) - 1] = 42;
        vault_set_reason(vault, "upgrade");
        next = reopen(vault);
        assert_int_equal(vault_generation(next), 1);
        assert_true(fcntl(vault_fd(next), F_GETFD) & FD_CLOEXEC);
        assert_holds(next, "kept", 4);
        cell = vault_region(next, VAULT_EXITS, &size);
        assert_int_equal(cell[size / sizeof(*cell) - 1], 42);
        vault_reason(next, reason);
        assert_string_equal(reason, "upgrade");
}

static void regions_do_not_overlap(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        size_t n_conns;
        size_t n_exits;
        uint8_t *conns = vault_region(vault, VAULT_CONNS, &n_conns);
        uint8_t *exits = vault_region(vault, VAULT_EXITS, &n_exits);

        (void)state;
        put(vault, "record", 6);
        conns[0] = 1;
        conns[n_conns - 1] = 2;
        exits[0] = 3;
        exits[n_exits - 1] = 4;
        assert_true(exits >= conns + n_conns);
        assert_int_equal(conns[0], 1);
        assert_int_equal(conns[n_conns - 1], 2);
        assert_holds(vault, "record", 6);
        assert_int_equal((uintptr_t)conns % 4096, 0);
        assert_int_equal((uintptr_t)exits % 4096, 0);
}

static void a_record_above_the_limit_is_refused_and_the_old_one_stays(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        _cleanup_free_ char *large = calloc(1, (size_t)VAULT_RECORD_BYTES_MAX + 1);
        struct error err = ERROR_INIT;

        (void)state;
        put(vault, "old", 3);
        assert_int_equal(
                vault_put(vault, VAULT_SHIM, large, (size_t)VAULT_RECORD_BYTES_MAX + 1, &err), -1);
        assert_int_equal(err.code, STATUS_RESOURCE_EXHAUSTED);
        assert_holds(vault, "old", 3);
        large[VAULT_RECORD_BYTES_MAX - 1] = 'x';
        put(vault, large, VAULT_RECORD_BYTES_MAX);
        assert_holds(vault, large, VAULT_RECORD_BYTES_MAX);
}

static blkcnt_t blocks(const struct vault *vault)
{
        struct stat st;

        assert_int_equal(fstat(vault_fd(vault), &st), 0);
        return st.st_blocks;
}

static void a_large_record_leaves_no_memory_behind(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        _cleanup_free_ char *large = calloc(1, 1 << 20);

        (void)state;
        assert_true(blocks(vault) <= 8);
        put(vault, large, 1 << 20);
        assert_true(blocks(vault) >= 2048);
        put(vault, "a", 1);
        assert_true(blocks(vault) <= 3 * 8);
        for (int i = 0; i < 3; i++)
                add(vault, large, 1 << 20);
        assert_true(blocks(vault) >= 3 * 2048);
        put(vault, "b", 1);
        assert_true(blocks(vault) <= 3 * 8);
        assert_holds(vault, "b", 1);
}

static void a_copy_is_a_vault_of_its_own(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        _cleanup_(vault_free_p) struct vault *copy = NULL;
        struct error err = ERROR_INIT;
        uint8_t *ours;
        uint8_t *theirs;
        size_t size;
        int fd = -1;

        (void)state;
        put(vault, "before", 6);
        ours = vault_region(vault, VAULT_CONNS, &size);
        ours[size / 2] = 7;
        assert_int_equal(vault_copy(vault, &fd, &err), 0);
        put(vault, "after!", 6);
        ours[size / 2] = 8;
        assert_int_equal(vault_open_take(&copy, fd, &err), 0);
        assert_holds(copy, "before", 6);
        theirs = vault_region(copy, VAULT_CONNS, &size);
        assert_int_equal(theirs[size / 2], 7);
        assert_int_equal(theirs[0], 0);
        assert_true(blocks(copy) <= blocks(vault));
}

static void a_fork_does_not_have_it(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        size_t size;
        void *region = vault_region(vault, VAULT_CONNS, &size);
        unsigned char in_core;
        int status = -1;
        pid_t pid;

        (void)state;
        assert_int_equal(mincore(region, 1, &in_core), 0);
        pid = fork();
        if (pid == 0)
                _exit(mincore(region, 1, &in_core) < 0 ? 0 : 1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void a_reexec_beyond_five_in_ten_seconds_is_one_too_many(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        uint64_t now = 100 * NSEC_PER_SEC;

        (void)state;
        for (int i = 0; i < VAULT_REEXECS_MAX; i++)
                assert_int_equal(vault_count_reexec(vault, now + (uint64_t)i), i + 1);
        assert_int_equal(vault_count_reexec(vault, now + 9 * NSEC_PER_SEC), 0);
        assert_int_equal(vault_count_reexec(vault, now + 10 * NSEC_PER_SEC), VAULT_REEXECS_MAX);
        /* The second of them is a nanosecond younger. */
        assert_int_equal(vault_count_reexec(vault, now + 10 * NSEC_PER_SEC), 0);
        assert_int_equal(vault_count_reexec(vault, now + 10 * NSEC_PER_SEC + 1), VAULT_REEXECS_MAX);
        assert_int_equal(vault_count_reexec(vault, now + 40 * NSEC_PER_SEC), 1);
}

static void reexecs_are_counted_without_opening_it_too(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        _cleanup_close_ int none = memfd_create("none", MFD_CLOEXEC);
        uint64_t now = 100 * NSEC_PER_SEC;
        char reason[VAULT_REASON_MAX];

        (void)state;
        vault_set_reason(vault, "stays");
        assert_int_equal(vault_count_reexec(vault, now), 1);
        assert_int_equal(vault_count_reexec_of(vault_fd(vault), now), 2);
        assert_int_equal(vault_count_reexec(vault, now), 3);
        for (unsigned n = 4; n <= VAULT_REEXECS_MAX; n++)
                assert_int_equal(vault_count_reexec_of(vault_fd(vault), now), n);
        assert_int_equal(vault_count_reexec_of(vault_fd(vault), now), 0);
        assert_int_equal(vault_count_reexec(vault, now), 0);
        vault_reason(vault, reason);
        assert_string_equal(reason, "stays");
        assert_int_equal(vault_count_reexec_of(none, now), 0);
        assert_int_equal(vault_count_reexec_of(-1, now), 0);
}

static void a_long_reason_is_cut(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        char text[2 * VAULT_REASON_MAX];
        char reason[VAULT_REASON_MAX];

        (void)state;
        memset(text, 'r', sizeof(text));
        text[sizeof(text) - 1] = '\0';
        vault_set_reason(vault, text);
        vault_reason(vault, reason);
        assert_int_equal(strlen(reason), VAULT_REASON_MAX - 1);
        vault_set_reason(vault, "short");
        vault_reason(vault, reason);
        assert_string_equal(reason, "short");
}

/* ---- What is no vault ---- */

static void assert_refused(int fd, int code, const char *text)
{
        struct error err = ERROR_INIT;
        struct vault *vault = NULL;

        assert_int_equal(vault_open_take(&vault, fd, &err), -1);
        assert_int_equal(err.code, code);
        if (!strstr(err.msg, text))
                fail_msg("'%s' is not in '%s'", text, err.msg);
        assert_null(vault);
        fd_close(fd);
}

static void what_is_no_sealed_memfd_is_refused(void **state)
{
        int pipes[2];
        int fd;

        (void)state;
        assert_refused(-1, STATUS_UNKNOWN, "Bad file descriptor");
        assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
        fd_close(pipes[1]);
        assert_refused(pipes[0], STATUS_INVALID_ARGUMENT, "not a sealed memfd");
        assert_refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), STATUS_INVALID_ARGUMENT,
                       "not a sealed memfd");
        fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(fd, 256 << 20), 0);
        assert_refused(fd, STATUS_INVALID_ARGUMENT, "not a sealed memfd");
}

static int sealed(size_t size)
{
        int fd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
        return fd;
}

static void a_file_of_another_size_or_kind_is_refused(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        uint8_t header[4096];
        int fd;

        (void)state;
        assert_refused(sealed(0), STATUS_INVALID_ARGUMENT, "0 bytes only");
        assert_refused(sealed(4095), STATUS_INVALID_ARGUMENT, "4095 bytes only");
        assert_refused(sealed(1 << 20), STATUS_INVALID_ARGUMENT, "holds no state");
        assert_int_equal(pread(vault_fd(vault), header, sizeof(header), 0), sizeof(header));
        fd = sealed(1 << 20);
        assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
        assert_refused(fd, STATUS_INVALID_ARGUMENT, "of 1048576 bytes");
}

static void a_layout_of_another_version_is_refused_by_its_number(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        uint32_t layout = 77;

        (void)state;
        assert_int_equal(pwrite(vault_fd(vault), &layout, 4, 8), 4);
        assert_refused(fcntl(vault_fd(vault), F_DUPFD_CLOEXEC, 3), STATUS_UNIMPLEMENTED,
                       "layout version 77");
}

static void assert_next_is_damaged(const struct vault *vault, size_t at, const char *text)
{
        struct error err = ERROR_INIT;
        const void *have = NULL;
        size_t n = 0;

        assert_int_equal(vault_next(vault, VAULT_SHIM, &at, &have, &n, &err), -1);
        assert_int_equal(err.code, STATUS_DATA_LOSS);
        if (!strstr(err.msg, text))
                fail_msg("'%s' is not in '%s'", text, err.msg);
}

/* The first piece begins behind the header's page, with its length and its checksum. */
static void a_damaged_piece_is_an_error(void **state)
{
        _cleanup_(vault_free_p) struct vault *vault = make();
        const uint64_t large = UINT64_MAX - 7;
        size_t at = 0;

        (void)state;
        put(vault, "precious", 8);
        add(vault, "dear", 4);
        assert_int_equal(pwrite(vault_fd(vault), "X", 1, 4096 + 24 + 16 + 3), 1);
        assert_next(vault, &at, "precious", 8);
        assert_next_is_damaged(vault, at, "checksum");
        assert_int_equal(pwrite(vault_fd(vault), "X", 1, 4096 + 16 + 3), 1);
        assert_next_is_damaged(vault, 0, "checksum over 8 bytes");
        assert_int_equal(pwrite(vault_fd(vault), &large, 8, 4096), 8);
        assert_next_is_damaged(vault, 0, "checksum");
        assert_next_is_damaged(vault, 40, "a piece at 40");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_record_is_what_was_put_last),
                cmocka_unit_test(what_is_added_stands_behind_what_was_put_until_that_is_put_anew),
                cmocka_unit_test(a_piece_without_room_is_refused_and_the_others_stay),
                cmocka_unit_test(what_was_put_is_there_for_the_next_image),
                cmocka_unit_test(regions_do_not_overlap),
                cmocka_unit_test(a_record_above_the_limit_is_refused_and_the_old_one_stays),
                cmocka_unit_test(a_large_record_leaves_no_memory_behind),
                cmocka_unit_test(a_copy_is_a_vault_of_its_own),
                cmocka_unit_test(a_fork_does_not_have_it),
                cmocka_unit_test(a_reexec_beyond_five_in_ten_seconds_is_one_too_many),
                cmocka_unit_test(reexecs_are_counted_without_opening_it_too),
                cmocka_unit_test(a_long_reason_is_cut),
                cmocka_unit_test(what_is_no_sealed_memfd_is_refused),
                cmocka_unit_test(a_file_of_another_size_or_kind_is_refused),
                cmocka_unit_test(a_layout_of_another_version_is_refused_by_its_number),
                cmocka_unit_test(a_damaged_piece_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
