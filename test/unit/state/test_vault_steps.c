/* SPDX-License-Identifier: Apache-2.0
 *
 * A writer is stopped after every single instruction of vault_put(), and each time somebody else
 * reads: the record must be the old one or the new one, whole.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/state/vault.h"

#include "test/unit/unit.h"

CLEANUP_DEFINE(struct vault, vault_free)

struct value {
        uint8_t fill;
        size_t len;
};

static uint8_t *make_bytes(const struct value *value)
{
        uint8_t *bytes = malloc(value->len + 1);

        assert_non_null(bytes);
        for (size_t i = 0; i < value->len; i++)
                bytes[i] = (uint8_t)(value->fill + i);
        return bytes;
}

static bool holds(const struct vault *vault, const uint8_t *bytes, const struct value *value)
{
        const void *have = NULL;
        size_t n = 0;

        return vault_get(vault, VAULT_SHIM, &have, &n, NULL) == 0 && n == value->len &&
               memcmp(have, bytes, n) == 0;
}

/* In the child: stops, so that it is stepped from here on, and writes. */
static void write_and_exit(int fd, const uint8_t *bytes, size_t len)
{
        struct vault *vault = NULL;

        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ||
            vault_open_take(&vault, fcntl(fd, F_DUPFD, 3), NULL) < 0)
                _exit(77);
        (void)raise(SIGSTOP);
        _exit(vault_put(vault, VAULT_SHIM, bytes, len, NULL) < 0);
}

/* Whether it goes on; status as waitpid tells. */
static bool step(pid_t pid, int *ret_status)
{
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, ret_status, 0), pid);
        return WIFSTOPPED(*ret_status);
}

/* Returns the number of instructions. */
static unsigned replace(const struct vault *vault, const struct value *from, const struct value *to)
{
        _cleanup_free_ uint8_t *old_bytes = make_bytes(from);
        _cleanup_free_ uint8_t *new_bytes = make_bytes(to);
        unsigned n_steps = 0;
        bool is_new = false;
        int status = 0;
        pid_t pid;

        pid = fork();
        if (pid == 0)
                write_and_exit(vault_fd(vault), new_bytes, to->len);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                skip();
        assert_true(WIFSTOPPED(status));
        while (step(pid, &status)) {
                n_steps++;
                if (!is_new)
                        is_new = !holds(vault, old_bytes, from);
                if (is_new && !holds(vault, new_bytes, to))
                        fail_msg("neither the old nor the new record after %u steps", n_steps);
        }
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_true(is_new);
        return n_steps;
}

static void a_reader_between_any_two_steps_finds_the_old_or_the_new_record(void **state)
{
        static const struct value values[] = {
                {'a', 10}, {'b', 200}, {'c', 5000}, {'d', 12000}, {'e', 20}, {'f', 0}, {'g', 4},
        };
        _cleanup_(vault_free_p) struct vault *vault = NULL;
        _cleanup_free_ uint8_t *bytes = make_bytes(&values[0]);

        (void)state;
        assert_int_equal(vault_new(&vault, NULL), 0);
        assert_int_equal(vault_put(vault, VAULT_SHIM, bytes, values[0].len, NULL), 0);
        for (size_t i = 1; i < UNIT_COUNT(values); i++)
                assert_true(replace(vault, &values[i - 1], &values[i]) > 20);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_reader_between_any_two_steps_finds_the_old_or_the_new_record),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
