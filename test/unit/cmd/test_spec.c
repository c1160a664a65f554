/* SPDX-License-Identifier: Apache-2.0
 *
 * The config.json that belay writes: what the engine's own parser makes of it, and what becomes of
 * a user's bundle.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/arena.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/oci/spec.h"

#include "cmd/belay/spec.h"
#include "test/unit/unit.h"

enum { ARENA_BYTES = 1 << 20 };

struct fixture {
        char dir[32];
        struct arena *arena;
};

static int make_dir(void **state)
{
        static struct fixture f;
        _cleanup_free_ char *sub = NULL;

        strcpy(f.dir, "/tmp/belay-spec-XXXXXX");
        if (!mkdtemp(f.dir))
                return -1;
        sub = str_printf("%s/rootfs", f.dir);
        if (mkdir(sub, 0755) < 0)
                return -1;
        f.arena = arena_new(ARENA_BYTES);
        *state = &f;
        return f.arena ? 0 : -1;
}

static int remove_dir(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *config = str_printf("%s/config.json", f->dir);
        _cleanup_free_ char *sub = str_printf("%s/rootfs", f->dir);

        arena_free(f->arena);
        (void)unlink(config);
        (void)rmdir(sub);
        return rmdir(f->dir);
}

static struct oci_spec *parse(struct fixture *f, const char *json)
{
        struct oci_spec *spec = NULL;
        struct error err = ERROR_INIT;

        if (oci_spec_parse(json, strlen(json), f->arena, &spec, &err) < 0)
                fail_msg("%s", err.msg);
        return spec;
}

static void write_config(struct fixture *f, const char *json)
{
        _cleanup_close_ int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(file_write_atomic(fd, "config.json", json, strlen(json), 0600), 0);
}

static void the_default_is_a_spec_that_the_engine_reads(void **state)
{
        static const char *const args[] = {"ls", "-l", NULL};
        struct fixture *f = *state;
        struct spec_wish wish = {.id = "box", .rootfs = "/some/root", .args = args, .n_args = 2};
        _cleanup_free_ char *json = NULL;
        struct error err = ERROR_INIT;
        struct oci_spec *spec;

        assert_int_equal(spec_default(&wish, &json, &err), 0);
        spec = parse(f, json);
        assert_string_equal(spec->root_path, "/some/root");
        assert_string_equal(spec->hostname, "box");
        assert_string_equal(spec->linux_.cgroups_path, "/belay/box");
        assert_int_equal(spec->process.args.n, 2);
        assert_string_equal(spec->process.args.items[1], "-l");
        assert_false(spec->process.terminal);
        assert_true(spec->process.no_new_privileges);
        assert_int_equal(spec->process.capabilities.inheritable, 0);
        assert_int_equal(spec->n_mounts, 7);
}

static void options_change_the_default(void **state)
{
        static const char *const env[] = {"A=1", "PATH=/bin", NULL};
        struct fixture *f = *state;
        struct spec_wish wish = {
                .id = "box",
                .rootfs = "/r",
                .env = env,
                .n_env = 2,
                .cwd = "/tmp",
                .user = "1000:100",
                .terminal = true,
        };
        _cleanup_free_ char *json = NULL;
        struct error err = ERROR_INIT;
        struct oci_spec *spec;

        assert_int_equal(spec_default(&wish, &json, &err), 0);
        spec = parse(f, json);
        assert_string_equal(spec->process.args.items[0], "sh");
        assert_string_equal(spec->process.cwd, "/tmp");
        assert_int_equal(spec->process.user.uid, 1000);
        assert_int_equal(spec->process.user.gid, 100);
        assert_true(spec->process.terminal);
        assert_int_equal(spec->process.env.n, 3);
        assert_string_equal(spec->process.env.items[0], "PATH=/bin");
        assert_string_equal(spec->process.env.items[1], "TERM=xterm");
        assert_string_equal(spec->process.env.items[2], "A=1");
}

static void a_user_is_numbers(void **state)
{
        static const char *const users[] = {"", "root", "1:", ":1", "1:2:3", "-1", "4294967295"};

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(users); i++) {
                struct spec_wish wish = {.id = "box", .rootfs = "/r", .user = users[i]};
                struct error err = ERROR_INIT;
                char *json = NULL;

                assert_int_equal(spec_default(&wish, &json, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        }
}

static void a_bundle_works_from_elsewhere(void **state)
{
        struct fixture *f = *state;
        struct spec_wish wish = {.id = "box"};
        _cleanup_free_ char *json = NULL;
        _cleanup_free_ char *rootfs = str_printf("%s/rootfs", f->dir);
        struct error err = ERROR_INIT;
        struct oci_spec *spec;
        bool terminal = false;

        write_config(f, "{\"ociVersion\": \"1.0.0\", \"root\": {\"path\": \"rootfs\"},"
                        " \"process\": {\"args\": [\"a\"], \"cwd\": \"/\", \"terminal\": true,"
                        "               \"user\": {\"uid\": 7, \"gid\": 8}},"
                        " \"mounts\": [{\"destination\": \"/a\", \"source\": \"rootfs\","
                        "              \"options\": [\"rbind\"]},"
                        "             {\"destination\": \"/b\", \"source\": \"config.json\","
                        "              \"type\": \"bind\"},"
                        "             {\"destination\": \"/c\", \"source\": \"tmpfs\","
                        "              \"type\": \"tmpfs\"}],"
                        " \"annotations\": {\"big\": \"18446744073709551615\"}}");
        assert_int_equal(spec_from_bundle(f->dir, &wish, &json, &terminal, &err), 0);
        spec = parse(f, json);
        assert_true(terminal);
        assert_string_equal(spec->root_path, rootfs);
        assert_string_equal(spec->mounts[0].source, rootfs);
        assert_true(str_has_prefix(spec->mounts[1].source, f->dir));
        assert_string_equal(spec->mounts[2].source, "tmpfs");
        assert_int_equal(spec->process.user.uid, 7);
        assert_string_equal(spec->process.args.items[0], "a");
}

static void mistakes_in_a_bundle_are_named(void **state)
{
        static const struct {
                const char *json;
                const char *text;
        } cases[] = {
                {"{", "parse '"},
                {"[]", "not an object"},
                {"{\"ociVersion\": \"1.0.0\"}", "no process"},
                {"{\"process\": {\"env\": 3}}", "process.env: must be a list"},
                {"{\"process\": {}, \"root\": {\"path\": \"absent\"}}", "root.path 'absent'"},
        };
        struct fixture *f = *state;
        struct spec_wish wish = {.id = "box"};

        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                struct error err = ERROR_INIT;
                char *json = NULL;
                bool terminal = false;

                write_config(f, cases[i].json);
                assert_int_equal(spec_from_bundle(f->dir, &wish, &json, &terminal, &err), -1);
                assert_non_null(strstr(err.msg, cases[i].text));
        }
}

static void an_exec_is_the_containers_process_with_other_arguments(void **state)
{
        static const char *const args[] = {"id", NULL};
        struct fixture *f = *state;
        struct spec_wish wish = {.args = args, .n_args = 1};
        _cleanup_free_ char *json = NULL;
        struct error err = ERROR_INIT;
        struct oci_process *process = NULL;
        bool terminal = true;

        write_config(f, "{\"process\": {\"args\": [\"a\", \"b\"], \"cwd\": \"/srv\","
                        " \"terminal\": true, \"consoleSize\": {\"width\": 3, \"height\": 4},"
                        " \"env\": [\"X=1\"], \"user\": {\"uid\": 7, \"gid\": 8}}}");
        assert_int_equal(spec_exec_process(f->dir, NULL, &wish, &json, &terminal, &err), 0);
        assert_int_equal(oci_process_parse(json, strlen(json), f->arena, &process, &err), 0);
        assert_int_equal(process->args.n, 1);
        assert_string_equal(process->args.items[0], "id");
        assert_string_equal(process->cwd, "/srv");
        assert_string_equal(process->env.items[0], "X=1");
        assert_int_equal(process->user.uid, 7);
        assert_false(process->terminal);
}

static void an_exec_with_a_terminal_has_the_size_that_it_is_given(void **state)
{
        static const char *const args[] = {"id", NULL};
        struct fixture *f = *state;
        struct spec_wish wish = {.args = args, .n_args = 1, .width = 97, .height = 31};
        struct error err = ERROR_INIT;
        bool terminal = true;

        write_config(f, "{\"process\": {\"args\": [\"a\"], \"cwd\": \"/\","
                        " \"consoleSize\": {\"width\": 3, \"height\": 4}}}");
        for (int i = 0; i < 2; i++) {
                _cleanup_free_ char *json = NULL;
                struct oci_process *process = NULL;

                wish.terminal = i == 1;
                assert_int_equal(spec_exec_process(f->dir, NULL, &wish, &json, &terminal, &err), 0);
                assert_int_equal(oci_process_parse(json, strlen(json), f->arena, &process, &err),
                                 0);
                assert_int_equal(process->console_width, i == 1 ? 97 : 0);
                assert_int_equal(process->console_height, i == 1 ? 31 : 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_default_is_a_spec_that_the_engine_reads,
                                                make_dir, remove_dir),
                cmocka_unit_test_setup_teardown(options_change_the_default, make_dir, remove_dir),
                cmocka_unit_test(a_user_is_numbers),
                cmocka_unit_test_setup_teardown(a_bundle_works_from_elsewhere, make_dir,
                                                remove_dir),
                cmocka_unit_test_setup_teardown(mistakes_in_a_bundle_are_named, make_dir,
                                                remove_dir),
                cmocka_unit_test_setup_teardown(
                        an_exec_is_the_containers_process_with_other_arguments, make_dir,
                        remove_dir),
                cmocka_unit_test_setup_teardown(
                        an_exec_with_a_terminal_has_the_size_that_it_is_given, make_dir,
                        remove_dir),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
