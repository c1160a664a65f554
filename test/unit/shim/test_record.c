/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "shim/record.h"
#include "test/unit/unit.h"

struct place {
        char dir[64];
        int fd;
};

static int setup(void **state)
{
        struct place *p = calloc(1, sizeof(*p));

        assert_non_null(p);
        (void)snprintf(p->dir, sizeof(p->dir), "/tmp/shim-record-XXXXXX");
        assert_non_null(mkdtemp(p->dir));
        p->fd = open(p->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_true(p->fd >= 0);
        *state = p;
        return 0;
}

static int teardown(void **state)
{
        struct place *p = *state;
        _cleanup_closedir_ DIR *d = opendir(p->dir);

        for (struct dirent *e; d && (e = readdir(d));)
                (void)unlinkat(dirfd(d), e->d_name, 0);
        assert_int_equal(rmdir(p->dir), 0);
        fd_close(p->fd);
        free(p);
        return 0;
}

static struct shim_record ended(void)
{
        return (struct shim_record){
                .id = "c1",
                .exec_id = "e-1",
                .pid = 4321,
                .start_ticks = 998877,
                .started_at = {.tv_sec = 1700000000, .tv_nsec = 1},
                .exited = true,
                .exit_status = 139,
                .signal = 11,
                .core_dumped = true,
                .reason = RECORD_SIGNAL,
                .exited_at = {.tv_sec = 1700000001, .tv_nsec = 999999999},
        };
}

static void assert_same(const struct shim_record *a, const struct shim_record *b)
{
        assert_string_equal(a->id, b->id);
        assert_string_equal(a->exec_id, b->exec_id);
        assert_int_equal(a->pid, b->pid);
        assert_int_equal(a->start_ticks, b->start_ticks);
        assert_int_equal(a->started_at.tv_sec, b->started_at.tv_sec);
        assert_int_equal(a->started_at.tv_nsec, b->started_at.tv_nsec);
        assert_int_equal(a->paused, b->paused);
        assert_int_equal(a->exited, b->exited);
        assert_int_equal(a->exit_status, b->exit_status);
        assert_int_equal(a->signal, b->signal);
        assert_int_equal(a->core_dumped, b->core_dumped);
        assert_int_equal(a->oom_killed, b->oom_killed);
        if (a->oom_killed) {
                assert_int_equal(a->oom_level, b->oom_level);
                assert_int_equal(a->oom_up, b->oom_up);
        }
        assert_int_equal(a->reason, b->reason);
        assert_int_equal(a->exited_at.tv_sec, b->exited_at.tv_sec);
        assert_int_equal(a->exited_at.tv_nsec, b->exited_at.tv_nsec);
}

static void put(const struct place *p, const char *name, const char *text, size_t len)
{
        assert_int_equal(file_write_atomic(p->fd, name, text, len, 0600), 0);
}

static int read_code(const struct place *p, const char *exec_id)
{
        struct shim_record record;
        struct error err = ERROR_INIT;

        memset(&record, 0xee, sizeof(record));
        if (shim_record_read(p->fd, exec_id, &record, &err) == 0)
                return 0;
        assert_int_equal((unsigned char)record.id[0], 0xee); /* untouched */
        return err.code;
}

static void what_is_written_is_read_again(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        struct shim_record b = {.pid = 0};

        for (int reason = 0; reason < _RECORD_REASON_MAX; reason++) {
                a.reason = (enum record_reason)reason;
                a.oom_killed = reason == RECORD_OOM_KILLED;
                for (int level = 0; level < _CGROUP_OOM_LEVEL_MAX; level++) {
                        a.oom_level = (enum cgroup_oom_level)level;
                        a.oom_up = level == CGROUP_OOM_ANCESTOR ? LIMIT_OOM_LEVELS : 0;
                        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
                        assert_int_equal(shim_record_read(p->fd, "e-1", &b, NULL), 0);
                        assert_same(&a, &b);
                }
        }
}

static void a_running_process_has_no_exit_in_its_record(void **state)
{
        const struct place *p = *state;
        struct shim_record a = {.id = "c1", .pid = 7, .started_at = {.tv_sec = 5}};
        struct shim_record b = {.pid = 0};
        _cleanup_free_ char *text = NULL;

        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(shim_record_read(p->fd, NULL, &b, NULL), 0);
        assert_same(&a, &b);
        assert_int_equal(file_read(p->fd, "init.json", 4096, &text, NULL), 0);
        assert_null(strstr(text, "exit_status"));
}

static void a_paused_init_says_so_in_its_record(void **state)
{
        const struct place *p = *state;
        struct shim_record a = {.id = "c1", .pid = 7, .started_at = {.tv_sec = 5}, .paused = true};
        struct shim_record b = {.pid = 0};

        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(shim_record_read(p->fd, NULL, &b, NULL), 0);
        assert_same(&a, &b);
        a.paused = false;
        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(shim_record_read(p->fd, NULL, &b, NULL), 0);
        assert_same(&a, &b);
        a = ended();
        a.paused = true; /* which the shim never writes */
        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(shim_record_read(p->fd, a.exec_id, &b, NULL), -1);
}

static void whether_all_was_drained_is_in_the_record_once_it_is_known(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        struct shim_record b = {.pid = 0};

        for (int i = 0; i < 4; i++) {
                a.drained = i & 1;
                a.oom_killed = i & 2;
                a.drain_known = true;
                assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
                assert_int_equal(shim_record_read(p->fd, a.exec_id, &b, NULL), 0);
                assert_same(&a, &b);
                assert_true(b.drain_known);
                assert_int_equal(b.drained, a.drained);
                a.drain_known = false;
                assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
                assert_int_equal(shim_record_read(p->fd, a.exec_id, &b, NULL), 0);
                assert_false(b.drain_known);
        }
}

static void the_longest_ids_and_numbers_fit(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        struct shim_record b = {.pid = 0};

        memset(a.id, 'a', LIMIT_ID_LENGTH);
        memset(a.exec_id, 'b', LIMIT_ID_LENGTH);
        a.pid = INT32_MAX;
        a.start_ticks = INT64_MAX;
        a.exit_status = UINT32_MAX;
        a.signal = 64;
        a.exited_at.tv_sec = INT64_MAX;
        a.started_at.tv_sec = -INT64_MAX;
        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(shim_record_read(p->fd, a.exec_id, &b, NULL), 0);
        assert_same(&a, &b);
}

static void strings_are_escaped_both_ways(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        struct shim_record b = {.pid = 0};

        (void)snprintf(a.id, sizeof(a.id), "a\"b\\c\nd\x1f");
        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(shim_record_read(p->fd, "e-1", &b, NULL), 0);
        assert_same(&a, &b);
}

static void a_missing_record_is_not_found(void **state)
{
        assert_int_equal(read_code(*state, NULL), STATUS_NOT_FOUND);
        assert_int_equal(read_code(*state, "e"), STATUS_NOT_FOUND);
}

static void every_cut_record_is_refused(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        _cleanup_free_ char *text = NULL;
        size_t len = 0;

        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(file_read(p->fd, "exec-e-1.json", 4096, &text, &len), 0);
        for (size_t n = 0; n < len; n++) {
                put(p, "exec-e-1.json", text, n);
                assert_int_equal(read_code(p, "e-1"), STATUS_DATA_LOSS);
        }
        put(p, "exec-e-1.json", text, len);
        assert_int_equal(read_code(p, "e-1"), 0);
}

static void every_flipped_bit_gives_a_record_or_an_error(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        _cleanup_free_ char *text = NULL;
        size_t len = 0;

        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(file_read(p->fd, "exec-e-1.json", 4096, &text, &len), 0);
        for (size_t i = 0; i < len; i++) {
                for (int bit = 0; bit < 8; bit++) {
                        struct shim_record got;

                        text[i] ^= (char)(1 << bit);
                        if (shim_record_parse(text, len, &got))
                                assert_true((unsigned)got.reason < _RECORD_REASON_MAX &&
                                            got.pid >= 0);
                        text[i] ^= (char)(1 << bit);
                }
        }
}

static void what_is_not_a_record_is_refused(void **state)
{
        static const char *const bad[] = {
                "",
                "null\n",
                "{}\n",
                "[]\n",
                "{\"id\":\"c1\"}\n",
                "{\"id\":1,\"exec_id\":\"\",\"pid\":1,\"start_ticks\":1,\"started_at_sec\":1,"
                "\"started_at_nsec\":1,\"exited\":false}\n",
                "{\"id\":\"c\",\"exec_id\":\"\",\"pid\":-1,\"start_ticks\":1,\"started_at_sec\":1,"
                "\"started_at_nsec\":1,\"exited\":false}\n",
                "{\"id\":\"c\",\"exec_id\":\"\",\"pid\":1,\"pid\":1,\"start_ticks\":1,"
                "\"started_at_sec\":1,\"started_at_nsec\":1,\"exited\":false}\n",
                "{\"id\":\"c\",\"exec_id\":\"\",\"pid\":1,\"start_ticks\":1,\"started_at_sec\":1,"
                "\"started_at_nsec\":1000000000,\"exited\":false}\n",
                "{\"id\":\"c\",\"exec_id\":\"\",\"pid\":99999999999999999999,\"start_ticks\":1,"
                "\"started_at_sec\":1,\"started_at_nsec\":1,\"exited\":false}\n",
                "{\"id\":\"c\",\"exec_id\":\"\",\"pid\":1,\"start_ticks\":1,\"started_at_sec\":1,"
                "\"started_at_nsec\":1,\"exited\":true}\n",
                "{\"id\":\"c\",\"exec_id\":\"\",\"pid\":1,\"start_ticks\":1,\"started_at_sec\":1,"
                "\"started_at_nsec\":1,\"exited\":false,\"colour\":\"red\"}\n",
        };
        const struct place *p = *state;

        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                put(p, "init.json", bad[i], strlen(bad[i]));
                assert_int_equal(read_code(p, ""), STATUS_DATA_LOSS);
        }
        put(p, "init.json", "{\"id\":\"c\0\"}", 11);
        assert_int_equal(read_code(p, ""), STATUS_DATA_LOSS);
}

static void a_file_that_is_too_long_or_no_file_is_an_error(void **state)
{
        const struct place *p = *state;
        char big[5000];

        memset(big, '{', sizeof(big));
        put(p, "init.json", big, sizeof(big));
        assert_int_equal(read_code(p, NULL), STATUS_UNKNOWN);
        assert_int_equal(unlinkat(p->fd, "init.json", 0), 0);
        assert_int_equal(symlinkat("/etc/passwd", p->fd, "init.json"), 0);
        assert_int_equal(read_code(p, NULL), STATUS_UNKNOWN);
        assert_int_equal(unlinkat(p->fd, "init.json", 0), 0);
        assert_int_equal(mkfifoat(p->fd, "init.json", 0600), 0);
        assert_int_equal(read_code(p, NULL), STATUS_UNKNOWN);
}

static void a_record_under_another_name_is_refused(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();

        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        assert_int_equal(renameat(p->fd, "exec-e-1.json", p->fd, "exec-e-2.json"), 0);
        assert_int_equal(read_code(p, "e-2"), STATUS_DATA_LOSS);
}

static void an_id_never_leads_out_of_the_bundle(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        struct error err = ERROR_INIT;

        (void)snprintf(a.exec_id, sizeof(a.exec_id), "../../x");
        assert_int_equal(shim_record_write(p->fd, &a, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_int_equal(read_code(p, "../../x"), STATUS_INVALID_ARGUMENT);
        shim_record_remove(p->fd, "../../x");
}

static void a_removed_record_is_gone_and_inits_stays(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();

        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        a.exec_id[0] = '\0';
        assert_int_equal(shim_record_write(p->fd, &a, NULL), 0);
        shim_record_remove(p->fd, "e-1");
        shim_record_remove(p->fd, "e-1");
        shim_record_remove(p->fd, "");
        assert_int_equal(read_code(p, "e-1"), STATUS_NOT_FOUND);
        assert_int_equal(read_code(p, NULL), 0);
}

static void a_bundle_that_is_gone_is_an_error_and_nothing_more(void **state)
{
        const struct place *p = *state;
        struct shim_record a = ended();
        struct error err = ERROR_INIT;

        assert_int_equal(rmdir(p->dir), 0);
        assert_int_equal(shim_record_write(p->fd, &a, &err), -1);
        assert_non_null(strstr(err.msg, "exec-e-1.json"));
        assert_int_equal(mkdir(p->dir, 0700), 0);
}

static void the_start_time_is_found_whatever_the_process_is_called(void **state)
{
        uint64_t before = process_start_ticks(getpid());

        (void)state;
        assert_true(before > 0);
        assert_int_equal(prctl(PR_SET_NAME, "a) 1 (2 ) 3"), 0);
        assert_int_equal(process_start_ticks(getpid()), before);
        assert_int_equal(process_start_ticks(0), 0);
        assert_int_equal(process_start_ticks(-1), 0);
        assert_int_equal(process_start_ticks(INT32_MAX), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(what_is_written_is_read_again),
                TEST(a_running_process_has_no_exit_in_its_record),
                TEST(a_paused_init_says_so_in_its_record),
                TEST(whether_all_was_drained_is_in_the_record_once_it_is_known),
                TEST(the_longest_ids_and_numbers_fit),
                TEST(strings_are_escaped_both_ways),
                TEST(a_missing_record_is_not_found),
                TEST(every_cut_record_is_refused),
                TEST(every_flipped_bit_gives_a_record_or_an_error),
                TEST(what_is_not_a_record_is_refused),
                TEST(a_file_that_is_too_long_or_no_file_is_an_error),
                TEST(a_record_under_another_name_is_refused),
                TEST(an_id_never_leads_out_of_the_bundle),
                TEST(a_removed_record_is_gone_and_inits_stays),
                TEST(a_bundle_that_is_gone_is_an_error_and_nothing_more),
                cmocka_unit_test(the_start_time_is_found_whatever_the_process_is_called),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
