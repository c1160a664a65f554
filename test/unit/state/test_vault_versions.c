/* SPDX-License-Identifier: Apache-2.0
 *
 * A vault goes from one version of the program to another and back. It is looked into here, as the
 * other version would: so this is a build of it.
 */
#define VAULT_MINOR 2
#include "pkg/state/vault.c" // NOLINT(bugprone-suspicious-include): see above

#include "test/unit/unit.h"

enum { NEW_RECORD = _VAULT_RECORD_MAX, NEW_REGION = _VAULT_REGION_MAX };

static size_t new_region_at(void)
{
        size_t at = REGIONS_AT;

        for (unsigned i = 0; i < NEW_REGION; i++)
                at += region_sizes[i];
        return at;
}

/* A vault in which the next version has written what this one does not know. */
static struct vault *newer(uint32_t minor)
{
        struct vault *vault = NULL;

        if (vault_new(&vault, NULL) < 0)
                abort();
        assert_int_equal(vault_put(vault, VAULT_SHIM, "state", 5, NULL), 0);
        vault->header->minor = minor;
        memset(&vault->header->records[NEW_RECORD], 0x11, sizeof(struct record));
        vault->header->records[NEW_RECORD].valid = 24;
        vault->bytes[new_region_at()] = 'x';
        return vault;
}

/* The program that comes next takes it, or another one after it. */
static struct vault *reopened(struct vault *vault)
{
        struct vault *other = NULL;
        int fd = fcntl(vault_fd(vault), F_DUPFD_CLOEXEC, 3);

        if (vault_open_take(&other, fd, NULL) < 0)
                abort();
        return other;
}

static void assert_state_is_there(const struct vault *vault)
{
        const void *data = NULL;
        size_t len = 0;
        size_t at = 0;

        assert_int_equal(vault_next(vault, VAULT_SHIM, &at, &data, &len, NULL), 1);
        assert_int_equal(len, 5);
        assert_memory_equal(data, "state", 5);
}

static void what_another_minor_knows_is_there_until_this_one_owns_it(void **state)
{
        struct vault *before = newer(3);
        struct vault *vault = reopened(before);

        (void)state;
        assert_int_equal(vault_minor(vault), 3);
        assert_int_equal(vault->header->records[NEW_RECORD].valid, 24);
        assert_int_equal(vault->bytes[new_region_at()], 'x');
        vault_own(vault);
        assert_int_equal(vault_minor(vault), 2);
        assert_int_equal(vault->header->records[NEW_RECORD].valid, 0);
        assert_int_equal(vault->bytes[new_region_at()], 0);
        assert_state_is_there(vault);
        vault_free(vault);
        vault_free(before);
}

static void one_of_a_lower_minor_is_taken(void **state)
{
        struct vault *before = newer(1);
        struct vault *vault = reopened(before);

        (void)state;
        vault_own(vault);
        assert_int_equal(vault_minor(vault), 2);
        assert_state_is_there(vault);
        vault_free(vault);
        vault_free(before);
}

static void the_same_minor_keeps_all(void **state)
{
        struct vault *before = newer(2);
        struct vault *vault = reopened(before);

        (void)state;
        vault_own(vault);
        assert_int_equal(vault->header->records[NEW_RECORD].valid, 24);
        assert_int_equal(vault->bytes[new_region_at()], 'x');
        vault_free(vault);
        vault_free(before);
}

static void another_layout_is_refused_by_its_number(void **state)
{
        struct vault *before = newer(2);
        struct vault *vault = NULL;
        struct error err = ERROR_INIT;

        (void)state;
        before->header->layout = LAYOUT_NEEDED + 1;
        assert_int_equal(vault_open_take(&vault, vault_fd(before), &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        vault_free(before);
}

static int try_open(const struct vault *vault, struct error *err)
{
        struct vault *other = NULL;
        int fd = fcntl(vault_fd(vault), F_DUPFD_CLOEXEC, 3);
        int r = vault_open_take(&other, fd, err);

        if (r < 0)
                fd_close(fd);
        vault_free(other);
        return r;
}

/* Programs of minor 0 refuse by the layout alone. */
static void what_would_be_lost_is_refused_and_counted_all_the_same(void **state)
{
        struct vault *before = newer(3);
        struct error err = ERROR_INIT;

        (void)state;
        vault_set_needed(before, 2);
        assert_int_equal(before->header->layout, LAYOUT_NEEDED);
        assert_int_equal(try_open(before, &err), 0);
        vault_set_needed(before, 3);
        assert_int_equal(try_open(before, &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        assert_string_equal(err.msg,
                            "state: it holds what programs before minor version 3 would lose");
        assert_int_equal(vault_count_reexec_of(vault_fd(before), 1), 1);
        vault_set_needed(before, 0);
        assert_int_equal(before->header->layout, LAYOUT);
        assert_int_equal(try_open(before, &err), 0);
        vault_free(before);
}

/* It was one region of 4 MiB that nobody used. */
static void a_program_of_minor_0_forgets_what_has_its_place(void **state)
{
        (void)state;
        assert_int_equal(region_sizes[VAULT_QUEUE] + region_sizes[4], 4 << 20);
        assert_int_equal(VAULT_BYTES, REGIONS_AT + ((size_t)(256 + 4 + 4 + 4) << 20) + PAGE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_another_minor_knows_is_there_until_this_one_owns_it),
                cmocka_unit_test(one_of_a_lower_minor_is_taken),
                cmocka_unit_test(the_same_minor_keeps_all),
                cmocka_unit_test(another_layout_is_refused_by_its_number),
                cmocka_unit_test(what_would_be_lost_is_refused_and_counted_all_the_same),
                cmocka_unit_test(a_program_of_minor_0_forgets_what_has_its_place),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
