/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/arena.h"
#include "pkg/base/fd.h"
#include "pkg/engine/child.h"
#include "pkg/engine/seccomp_cache.h"

#include "test/unit/unit.h"

enum { BUDGET = 16 << 20, SOMEBODY = 12345 };

struct fixture {
        char base[64];
        char path[80];
        int dir;
        struct arena *arena;
        struct seccomp_key key;
        struct sock_filter insns[3];
        struct sock_fprog prog;
};

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        (void)snprintf(f->base, sizeof(f->base), "/tmp/belay-cache.XXXXXX");
        assert_non_null(mkdtemp(f->base));
        (void)snprintf(f->path, sizeof(f->path), "%s/cache", f->base);
        f->arena = arena_new(BUDGET);
        assert_non_null(f->arena);
        f->dir = seccomp_cache_open(f->path);
        assert_true(f->dir >= 0);
        memset(f->key.bytes, 0xa5, sizeof(f->key.bytes));
        f->insns[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4);
        f->insns[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 0);
        f->insns[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0x7fff0000);
        f->prog = (struct sock_fprog){.len = 3, .filter = f->insns};
        *state = f;
        return 0;
}

/* The names in the cache; the last of them in name. */
static size_t list(const struct fixture *f, char name[NAME_MAX + 1])
{
        DIR *d = opendir(f->path);
        size_t n = 0;

        assert_non_null(d);
        for (struct dirent *e = readdir(d); e; e = readdir(d)) {
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (name)
                        (void)snprintf(name, NAME_MAX + 1, "%s", e->d_name);
                n++;
        }
        closedir(d);
        return n;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;
        char name[NAME_MAX + 1];

        while (list(f, name) > 0)
                assert_int_equal(unlinkat(f->dir, name, 0), 0);
        fd_close(f->dir);
        assert_int_equal(rmdir(f->path), 0);
        assert_int_equal(rmdir(f->base), 0);
        arena_free(f->arena);
        free(f);
        return 0;
}

static bool find(const struct fixture *f, const struct seccomp_key *key, struct sock_fprog *ret)
{
        return seccomp_cache_find(f->dir, key, f->arena, ret);
}

static void keep(const struct fixture *f)
{
        seccomp_cache_keep(f->dir, &f->key, &f->prog);
}

/* Not found, and out of the way of the next one. */
static void assert_refused(const struct fixture *f)
{
        struct sock_fprog got = {.len = 77};

        assert_false(find(f, &f->key, &got));
        assert_int_equal(got.len, 77);
        assert_int_equal(list(f, NULL), 0);
}

static void what_is_kept_is_found(void **state)
{
        struct fixture *f = *state;
        struct sock_fprog got = {0};
        struct stat st;
        char name[NAME_MAX + 1];

        assert_false(find(f, &f->key, &got));
        keep(f);
        assert_true(find(f, &f->key, &got));
        assert_int_equal(got.len, 3);
        assert_memory_equal(got.filter, f->insns, sizeof(f->insns));
        assert_int_equal(list(f, name), 1);
        assert_int_equal(fstatat(f->dir, name, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(fstat(f->dir, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
}

static void another_key_finds_nothing(void **state)
{
        struct fixture *f = *state;
        struct seccomp_key other = f->key;
        struct sock_fprog got = {0};

        keep(f);
        other.bytes[31] ^= 1;
        assert_false(find(f, &other, &got));
        assert_true(find(f, &f->key, &got));
}

static void a_file_under_another_key_is_refused(void **state)
{
        struct fixture *f = *state;
        char name[NAME_MAX + 1];
        char renamed[NAME_MAX + 1];

        keep(f);
        assert_int_equal(list(f, name), 1);
        memcpy(renamed, name, sizeof(renamed));
        renamed[0] = renamed[0] == '0' ? '1' : '0';
        f->key.bytes[0] = (uint8_t)((f->key.bytes[0] & 0x0f) | (renamed[0] - '0') << 4);
        assert_int_equal(renameat(f->dir, name, f->dir, renamed), 0);
        assert_refused(f);
}

static void every_changed_byte_is_seen(void **state)
{
        struct fixture *f = *state;
        char name[NAME_MAX + 1];
        struct stat st;

        keep(f);
        assert_int_equal(list(f, name), 1);
        assert_int_equal(fstatat(f->dir, name, &st, 0), 0);
        assert_true(st.st_size > (off_t)sizeof(f->insns));
        for (off_t i = 0; i < st.st_size; i++) {
                uint8_t byte;
                int fd;

                keep(f);
                fd = openat(f->dir, name, O_RDWR | O_CLOEXEC);
                assert_int_equal(pread(fd, &byte, 1, i), 1);
                byte ^= 0x10;
                assert_int_equal(pwrite(fd, &byte, 1, i), 1);
                fd_close(fd);
                assert_refused(f);
        }
}

static void every_other_length_is_seen(void **state)
{
        struct fixture *f = *state;
        char name[NAME_MAX + 1];
        struct stat st;

        keep(f);
        assert_int_equal(list(f, name), 1);
        assert_int_equal(fstatat(f->dir, name, &st, 0), 0);
        for (off_t i = 0; i <= st.st_size + 8; i++) {
                int fd;

                if (i == st.st_size)
                        continue;
                keep(f);
                fd = openat(f->dir, name, O_RDWR | O_CLOEXEC);
                assert_int_equal(ftruncate(fd, i), 0);
                fd_close(fd);
                assert_refused(f);
        }
}

static void a_file_that_is_not_ours_alone_is_refused(void **state)
{
        struct fixture *f = *state;
        char name[NAME_MAX + 1];

        keep(f);
        assert_int_equal(list(f, name), 1);
        assert_int_equal(fchmodat(f->dir, name, 0604, 0), 0);
        assert_refused(f);
        keep(f);
        assert_int_equal(fchmodat(f->dir, name, 0620, 0), 0);
        assert_refused(f);
        if (geteuid() != 0)
                return;
        keep(f);
        assert_int_equal(fchownat(f->dir, name, SOMEBODY, 0, 0), 0);
        assert_refused(f);
}

static void what_is_no_file_is_refused(void **state)
{
        struct fixture *f = *state;
        char name[NAME_MAX + 1];
        char outside[NAME_MAX + 1];

        keep(f);
        assert_int_equal(list(f, name), 1);
        (void)snprintf(outside, sizeof(outside), "%s/outside", f->base);
        assert_int_equal(renameat(f->dir, name, AT_FDCWD, outside), 0);
        assert_int_equal(symlinkat(outside, f->dir, name), 0);
        assert_false(find(f, &f->key, &(struct sock_fprog){0}));
        keep(f); /* takes the link's place */
        assert_true(find(f, &f->key, &(struct sock_fprog){0}));
        assert_int_equal(unlink(outside), 0);
        assert_int_equal(unlinkat(f->dir, name, 0), 0);
        assert_int_equal(mkfifoat(f->dir, name, 0600), 0);
        assert_refused(f); /* and nobody waited for a writer */
}

static void a_folder_that_is_not_ours_alone_is_not_used(void **state)
{
        struct fixture *f = *state;
        char other[96];
        int dir;

        assert_int_equal(chmod(f->path, 0755), 0);
        assert_int_equal(seccomp_cache_open(f->path), -1);
        assert_int_equal(chmod(f->path, 0720), 0);
        assert_int_equal(seccomp_cache_open(f->path), -1);
        assert_int_equal(chmod(f->path, 0700), 0);
        (void)snprintf(other, sizeof(other), "%s/link", f->base);
        assert_int_equal(symlink(f->path, other), 0);
        assert_int_equal(seccomp_cache_open(other), -1);
        assert_int_equal(unlink(other), 0);
        (void)snprintf(other, sizeof(other), "%s/no/such", f->base);
        assert_int_equal(seccomp_cache_open(other), -1);
        if (geteuid() == 0) {
                assert_int_equal(chown(f->path, SOMEBODY, 0), 0);
                assert_int_equal(seccomp_cache_open(f->path), -1);
                assert_int_equal(chown(f->path, 0, 0), 0);
        }
        dir = seccomp_cache_open(f->path);
        assert_true(dir >= 0);
        fd_close(dir);
}

static void a_full_cache_loses_its_oldest(void **state)
{
        struct fixture *f = *state;
        struct seccomp_key first = f->key;
        struct seccomp_key second = f->key;
        const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        const struct timespec later[2] = {{.tv_sec = 2000}, {.tv_sec = 2000}};
        char name[NAME_MAX + 1];

        keep(f);
        assert_int_equal(list(f, name), 1);
        assert_int_equal(utimensat(f->dir, name, long_ago, 0), 0);
        second.bytes[0] = 0;
        seccomp_cache_keep(f->dir, &second, &f->prog);
        name[0] = name[1] = '0';
        assert_int_equal(utimensat(f->dir, name, later, 0), 0);
        for (unsigned i = 2; i < SECCOMP_CACHE_FILES_MAX; i++) {
                f->key.bytes[1] = (uint8_t)i;
                keep(f);
        }
        assert_int_equal(list(f, NULL), SECCOMP_CACHE_FILES_MAX);
        assert_true(find(f, &first, &(struct sock_fprog){0}));
        f->key.bytes[1] = 0xff;
        keep(f);
        assert_int_equal(list(f, NULL), SECCOMP_CACHE_FILES_MAX);
        assert_false(find(f, &first, &(struct sock_fprog){0}));
        assert_true(find(f, &second, &(struct sock_fprog){0}));
        assert_true(find(f, &f->key, &(struct sock_fprog){0}));
}

static void leftovers_count_and_go_first(void **state)
{
        struct fixture *f = *state;
        const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

        for (unsigned i = 0; i < SECCOMP_CACHE_FILES_MAX + 3; i++) {
                char name[32];

                (void)snprintf(name, sizeof(name), ".left.%u.tmp", i);
                fd_close(openat(f->dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
                assert_int_equal(utimensat(f->dir, name, long_ago, 0), 0);
        }
        keep(f);
        assert_int_equal(list(f, NULL), SECCOMP_CACHE_FILES_MAX);
        assert_true(find(f, &f->key, &(struct sock_fprog){0}));
}

static void a_full_disk_is_no_error(void **state)
{
        struct fixture *f = *state;
        int readonly = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(readonly >= 0);
        seccomp_cache_keep(readonly, &f->key, &f->prog); /* nobody can make a file there */
        fd_close(readonly);
}

/* ---- the key ---- */

static void each_property_of_the_input_changes_the_key(void **state)
{
        struct scmp_arg_cmp args[2] = {{.arg = 1, .op = SCMP_CMP_EQ, .datum_a = 5, .datum_b = 6},
                                       {.arg = 2, .op = SCMP_CMP_NE}};
        int numbers[3] = {10, 11, 12};
        struct seccomp_rule rules[2] = {
                {.action = 1, .args = args, .n_args = 1, .numbers = numbers, .n_numbers = 2},
                {.action = 2, .numbers = numbers, .n_numbers = 1},
        };
        struct seccomp_input input = {
                .default_action = 9,
                .tokens = {1, 2, 3},
                .n_tokens = 2,
                .rules = rules,
                .n_rules = 1,
        };
        struct seccomp_key keys[20];
        size_t n = 0;

#define ADD_KEY(change)                                            \
        do {                                                       \
                change;                                            \
                assert_true(seccomp_key_make(&input, &keys[n++])); \
        } while (0)
        ADD_KEY((void)0);
        ADD_KEY(input.default_action = 8);
        ADD_KEY(input.tokens[1] = 7);
        ADD_KEY(input.n_tokens = 3);
        ADD_KEY(input.n_rules = 2);
        ADD_KEY(rules[0].action = 3);
        ADD_KEY(rules[0].is_default = true);
        ADD_KEY(rules[0].is_split = true);
        ADD_KEY(rules[0].is_default = false);
        ADD_KEY(rules[0].n_args = 2);
        ADD_KEY(args[0].arg = 3);
        ADD_KEY(args[0].op = SCMP_CMP_GT);
        ADD_KEY(args[0].datum_a = 1);
        ADD_KEY(args[0].datum_b = 1);
        ADD_KEY(rules[0].n_numbers = 3);
        ADD_KEY(numbers[2] = -10036);
        ADD_KEY(rules[1].n_numbers = 2);
#undef ADD_KEY
        for (size_t i = 0; i < n; i++) {
                for (size_t j = i + 1; j < n; j++)
                        assert_memory_not_equal(&keys[i], &keys[j], sizeof(keys[i]));
        }
        assert_true(seccomp_key_make(&input, &keys[n]));
        assert_memory_equal(&keys[n], &keys[n - 1], sizeof(keys[n]));
}

/* ---- seccomp_compile() with it ---- */

static struct sock_fprog compile(const struct fixture *f, const char *cache, uint32_t errno_ret)
{
        char *names[] = {(char *)"mkdir", (char *)"mkdirat", (char *)"no_such_call"};
        struct oci_seccomp_rule rule = {
                .names = {.items = names, .n = UNIT_COUNT(names)},
                .action = (char *)"SCMP_ACT_ERRNO",
                .has_errno_ret = true,
                .errno_ret = errno_ret,
        };
        struct oci_seccomp profile = {
                .default_action = (char *)"SCMP_ACT_ALLOW",
                .rules = &rule,
                .n_rules = 1,
        };
        struct plan_seccomp s = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(seccomp_compile(&profile, cache, f->arena, &s, &err), 0);
        assert_true(s.prog.len > 3);
        assert_int_equal(s.flags, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
        return s.prog;
}

static bool is_same(const struct sock_fprog *a, const struct sock_fprog *b)
{
        return a->len == b->len && memcmp(a->filter, b->filter, a->len * sizeof(*a->filter)) == 0;
}

static void a_profile_is_compiled_once(void **state)
{
        struct fixture *f = *state;
        struct sock_fprog pure = compile(f, NULL, 30);
        struct sock_fprog miss = compile(f, f->path, 30);
        struct sock_fprog hit;
        char name[NAME_MAX + 1];

        assert_true(is_same(&pure, &miss));
        assert_int_equal(list(f, name), 1);
        hit = compile(f, f->path, 30);
        assert_true(is_same(&pure, &hit));
        /* The filter is the kept one, not one that was compiled again: another in its place shows.
         */
        for (size_t i = 0; i < sizeof(f->key.bytes); i++) {
                unsigned byte;

                assert_int_equal(sscanf(name + 2 * i, "%2x", &byte), 1);
                f->key.bytes[i] = (uint8_t)byte;
        }
        hit.filter[hit.len - 1].k = 1;
        seccomp_cache_keep(f->dir, &f->key, &hit);
        hit = compile(f, f->path, 30);
        assert_false(is_same(&pure, &hit));
        assert_int_equal(list(f, NULL), 1);
}

static void profiles_that_differ_have_their_own_filters(void **state)
{
        struct fixture *f = *state;
        struct sock_fprog first = compile(f, f->path, 30);
        struct sock_fprog second = compile(f, f->path, 31);
        struct sock_fprog pure = compile(f, NULL, 31);

        assert_false(is_same(&first, &second));
        assert_true(is_same(&second, &pure));
        assert_int_equal(list(f, NULL), 2);
}

static void without_a_usable_cache_filters_are_compiled(void **state)
{
        struct fixture *f = *state;
        struct sock_fprog pure = compile(f, NULL, 30);
        struct sock_fprog got;
        char name[NAME_MAX + 1];

        got = compile(f, "/proc/self/no/such", 30);
        assert_true(is_same(&pure, &got));
        assert_int_equal(chmod(f->path, 0777), 0);
        got = compile(f, f->path, 30);
        assert_true(is_same(&pure, &got));
        assert_int_equal(chmod(f->path, 0700), 0);
        assert_int_equal(list(f, NULL), 0);
        (void)compile(f, f->path, 30);
        assert_int_equal(list(f, name), 1);
        fd_close(openat(f->dir, name, O_WRONLY | O_TRUNC | O_CLOEXEC));
        got = compile(f, f->path, 30);
        assert_true(is_same(&pure, &got));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
                TEST(what_is_kept_is_found),
                TEST(another_key_finds_nothing),
                TEST(a_file_under_another_key_is_refused),
                TEST(every_changed_byte_is_seen),
                TEST(every_other_length_is_seen),
                TEST(a_file_that_is_not_ours_alone_is_refused),
                TEST(what_is_no_file_is_refused),
                TEST(a_folder_that_is_not_ours_alone_is_not_used),
                TEST(a_full_cache_loses_its_oldest),
                TEST(leftovers_count_and_go_first),
                TEST(a_full_disk_is_no_error),
                TEST(each_property_of_the_input_changes_the_key),
                TEST(a_profile_is_compiled_once),
                TEST(profiles_that_differ_have_their_own_filters),
                TEST(without_a_usable_cache_filters_are_compiled),
#undef TEST
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
