/* SPDX-License-Identifier: Apache-2.0
 *
 * A writer is stopped after every single instruction of vault_put() and vault_add(), and each time
 * somebody else reads: the record must be the old one or the new one, whole.
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

enum { PIECES_MAX = 4 };

/* What is written: anew, or behind the others. */
struct value {
        bool add;
        uint8_t fill;
        size_t len;
};

/* A record, piece by piece. */
struct content {
        struct value pieces[PIECES_MAX];
        size_t n;
};

static uint8_t *make_bytes(const struct value *value)
{
        uint8_t *bytes = malloc(value->len + 1);

        assert_non_null(bytes);
        for (size_t i = 0; i < value->len; i++)
                bytes[i] = (uint8_t)(value->fill + i);
        return bytes;
}

static bool is_piece(const uint8_t *have, size_t n, const struct value *value)
{
        if (n != value->len)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (have[i] != (uint8_t)(value->fill + i))
                        return false;
        }
        return true;
}

static bool holds(const struct vault *vault, const struct content *content)
{
        const void *have = NULL;
        size_t at = 0;
        size_t n = 0;

        for (size_t i = 0; i < content->n; i++) {
                if (vault_next(vault, VAULT_SHIM, &at, &have, &n, NULL) != 1 ||
                    !is_piece(have, n, &content->pieces[i]))
                        return false;
        }
        return vault_next(vault, VAULT_SHIM, &at, &have, &n, NULL) == 0;
}

static struct content after(const struct content *content, const struct value *value)
{
        struct content ret = {.n = 0};

        if (value->add)
                ret = *content;
        assert_true(ret.n < PIECES_MAX);
        ret.pieces[ret.n++] = *value;
        return ret;
}

static int write_value(struct vault *vault, const uint8_t *bytes, const struct value *value)
{
        return value->add ? vault_add(vault, VAULT_SHIM, bytes, value->len, NULL)
                          : vault_put(vault, VAULT_SHIM, bytes, value->len, NULL);
}

/* In the child: stops, so that it is stepped from here on, and writes. */
static void write_and_exit(int fd, const uint8_t *bytes, const struct value *value)
{
        struct vault *vault = NULL;

        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 ||
            vault_open_take(&vault, fcntl(fd, F_DUPFD, 3), NULL) < 0)
                _exit(77);
        (void)raise(SIGSTOP);
        _exit(write_value(vault, bytes, value) < 0);
}

/* Whether it goes on; status as waitpid tells. */
static bool step(pid_t pid, int *ret_status)
{
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, ret_status, 0), pid);
        return WIFSTOPPED(*ret_status);
}

/* Returns the number of instructions. */
static unsigned change(const struct vault *vault, const struct content *from,
                       const struct value *value)
{
        _cleanup_free_ uint8_t *bytes = make_bytes(value);
        const struct content to = after(from, value);
        unsigned n_steps = 0;
        bool is_new = false;
        int status = 0;
        pid_t pid;

        pid = fork();
        if (pid == 0)
                write_and_exit(vault_fd(vault), bytes, value);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                skip();
        assert_true(WIFSTOPPED(status));
        while (step(pid, &status)) {
                n_steps++;
                if (!is_new)
                        is_new = !holds(vault, from);
                if (is_new && !holds(vault, &to))
                        fail_msg("neither the old nor the new record after %u steps", n_steps);
        }
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_true(is_new);
        return n_steps;
}

static void a_reader_between_any_two_steps_finds_the_old_or_the_new_record(void **state)
{
        static const struct value values[] = {
                {false, 'a', 10},  {false, 'b', 200}, {false, 'c', 5000}, {false, 'd', 12000},
                {false, 'e', 20},  {true, 'f', 30},   {true, 'g', 0},     {true, 'h', 4100},
                {false, 'i', 0},   {true, 'j', 300},  {false, 'k', 4},    {true, 'l', 90},
                {false, 'm', 100},
        };
        _cleanup_(vault_free_p) struct vault *vault = NULL;
        _cleanup_free_ uint8_t *bytes = make_bytes(&values[0]);
        struct content content = {.n = 0};

        (void)state;
        assert_int_equal(vault_new(&vault, NULL), 0);
        assert_int_equal(write_value(vault, bytes, &values[0]), 0);
        content = after(&content, &values[0]);
        for (size_t i = 1; i < UNIT_COUNT(values); i++) {
                assert_true(change(vault, &content, &values[i]) > 20);
                content = after(&content, &values[i]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_reader_between_any_two_steps_finds_the_old_or_the_new_record),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
