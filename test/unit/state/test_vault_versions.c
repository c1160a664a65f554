/* SPDX-License-Identifier: Apache-2.0
 *
 * A vault goes from one version of the program to another and back. It is looked into here, as the
 * other version would: so this is a build of it.
 */
#define VAULT_MINOR 1
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
        struct vault *before = newer(2);
        struct vault *vault = reopened(before);

        (void)state;
        assert_int_equal(vault_minor(vault), 2);
        assert_int_equal(vault->header->records[NEW_RECORD].valid, 24);
        assert_int_equal(vault->bytes[new_region_at()], 'x');
        vault_own(vault);
        assert_int_equal(vault_minor(vault), 1);
        assert_int_equal(vault->header->records[NEW_RECORD].valid, 0);
        assert_int_equal(vault->bytes[new_region_at()], 0);
        assert_state_is_there(vault);
        vault_free(vault);
        vault_free(before);
}

static void one_of_a_lower_minor_is_taken(void **state)
{
        struct vault *before = newer(0);
        struct vault *vault = reopened(before);

        (void)state;
        vault_own(vault);
        assert_int_equal(vault_minor(vault), 1);
        assert_state_is_there(vault);
        vault_free(vault);
        vault_free(before);
}

static void the_same_minor_keeps_all(void **state)
{
        struct vault *before = newer(1);
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
        struct vault *before = newer(1);
        struct vault *vault = NULL;
        struct error err = ERROR_INIT;

        (void)state;
        before->header->layout = LAYOUT + 1;
        assert_int_equal(vault_open_take(&vault, vault_fd(before), &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        vault_free(before);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_another_minor_knows_is_there_until_this_one_owns_it),
                cmocka_unit_test(one_of_a_lower_minor_is_taken),
                cmocka_unit_test(the_same_minor_keeps_all),
                cmocka_unit_test(another_layout_is_refused_by_its_number),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
