/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's state file: what is written is read, and nonsense is refused by name.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/state.h"

#include "test/unit/unit.h"

enum { BUDGET = 1 << 20 };

static void what_is_written_is_read_again(void **state)
{
        struct arena *arena = arena_new(BUDGET);
        char dir[] = "/tmp/belay-state-XXXXXX";
        struct error err = ERROR_INIT;
        struct engine_state in = {
                .id = (char *)"c1",
                .pid = 4242,
                .start_time = UINT64_MAX,
                .namespaces = 0x6c020000,
                .poststop_due = true,
                .cgroup = (char *)"v1+:cpu,cpuacct /sys/fs/cgroup/cpu/c1\nv2+ /sys/fs/cgroup/c1\n",
        };
        struct engine_state out = {0};
        struct stat st;
        int fd;

        assert_non_null(mkdtemp(dir));
        fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(engine_state_read(fd, arena, &out, &err), 0);
        assert_int_equal(engine_state_write(fd, &in, arena, &err), 0);
        assert_int_equal(fstatat(fd, ENGINE_STATE_FILE, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(engine_state_read(fd, arena, &out, &err), 1);
        assert_string_equal(out.id, in.id);
        assert_int_equal(out.pid, in.pid);
        assert_true(out.start_time == in.start_time);
        assert_true(out.namespaces == in.namespaces);
        assert_true(out.poststop_due);
        assert_string_equal(out.cgroup, in.cgroup);
        /* what a writer leaves that is killed in the middle */
        assert_int_equal(mknodat(fd, "." ENGINE_STATE_FILE ".4711.tmp", S_IFREG | 0600, 0), 0);
        engine_state_remove(fd, 4711);
        assert_int_equal(engine_state_read(fd, arena, &out, &err), 0);
        close(fd);
        assert_int_equal(rmdir(dir), 0);
        arena_free(arena);
}

static void bad_texts_are_refused(void **state)
{
        static const struct {
                const char *text;
                const char *msg;
        } cases[] = {
                {"", "engine state: no id"},
                {"id=a\nnonsense\n", "engine state: bad line 'nonsense'"},
                {"version=2\nid=a\n", "engine state: unknown version '2'"},
                {"id=a\npid=-1\n", "engine state: pid: bad number '-1'"},
                {"id=a\npid=4294967297\n", "engine state: pid: bad number '4294967297'"},
                {"id=a\nstart_time=1x\n", "engine state: start_time: bad number '1x'"},
                {"id=a\npoststop_due=2\n", "engine state: poststop_due: bad number '2'"},
        };
        struct arena *arena = arena_new(BUDGET);

        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                struct engine_state out = {0};
                struct error err = ERROR_INIT;

                assert_int_equal(engine_state_parse(cases[i].text, arena, &out, &err), -1);
                assert_string_equal(err.msg, cases[i].msg);
        }
        arena_free(arena);
}

static void unknown_keys_are_skipped(void **state)
{
        struct arena *arena = arena_new(BUDGET);
        struct engine_state out = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(engine_state_parse("version=1\nid=a\nfuture=x=y\n", arena, &out, &err), 0);
        assert_string_equal(out.id, "a");
        assert_string_equal(out.cgroup, "");
        arena_free(arena);
}

static void the_start_time_tells_a_process_from_a_later_one(void **state)
{
        uint64_t ours = 0;
        uint64_t again = 0;
        uint64_t inits = 0;
        bool zombie = true;

        assert_int_equal(process_start_time(getpid(), &ours, &zombie), 0);
        assert_false(zombie);
        assert_int_equal(process_start_time(getpid(), &again, &zombie), 0);
        assert_true(ours == again && ours > 0);
        assert_int_equal(process_start_time(1, &inits, &zombie), 0);
        assert_true(inits < ours);
        assert_true(process_start_time(0x7fffffff, &ours, &zombie) < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_written_is_read_again),
                cmocka_unit_test(bad_texts_are_refused),
                cmocka_unit_test(unknown_keys_are_skipped),
                cmocka_unit_test(the_start_time_tells_a_process_from_a_later_one),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
