/* SPDX-License-Identifier: Apache-2.0
 *
 * Words of mount options into flags.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "pkg/oci/mount_options.h"

#include "test/unit/unit.h"

static struct arena *arena;

static int arena_setup(void **state)
{
        arena = arena_new(1u << 16);
        return arena ? 0 : -1;
}

static int arena_teardown(void **state)
{
        arena = arena_free(arena);
        return 0;
}

/* The words are separated by blanks here. */
static struct oci_mount_options parse(const char *words)
{
        struct oci_mount_options o = {0};
        struct error err = ERROR_INIT;
        const char *list[16];
        char copy[256];
        size_t n = 0;
        char *save = NULL;

        assert_true(strlen(words) < sizeof(copy));
        memcpy(copy, words, strlen(words) + 1);
        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
                list[n++] = w;
        assert_int_equal(oci_mount_options_parse(list, n, arena, &o, &err), 0);
        return o;
}

static void nothing_is_nothing(void **state)
{
        struct oci_mount_options o = parse("");

        assert_int_equal(o.flags | o.cleared | o.propagation, 0);
        assert_string_equal(o.data, "");
        assert_false(o.is_bind);
        o = parse("defaults");
        assert_int_equal(o.flags | o.cleared | o.propagation, 0);
        assert_string_equal(o.data, "");
}

static void every_word_of_the_runtime_spec_has_its_flag(void **state)
{
        static const struct {
                const char *set;
                const char *clear;
                unsigned long flag;
        } pairs[] = {
                {"ro", "rw", MS_RDONLY},
                {"nosuid", "suid", MS_NOSUID},
                {"nodev", "dev", MS_NODEV},
                {"noexec", "exec", MS_NOEXEC},
                {"sync", "async", MS_SYNCHRONOUS},
                {"mand", "nomand", MS_MANDLOCK},
                {"noatime", "atime", MS_NOATIME},
                {"nodiratime", "diratime", MS_NODIRATIME},
                {"relatime", "norelatime", MS_RELATIME},
                {"strictatime", "nostrictatime", MS_STRICTATIME},
                {"iversion", "noiversion", MS_I_VERSION},
                {"lazytime", "nolazytime", MS_LAZYTIME},
                {"silent", "loud", MS_SILENT},
                {"nosymfollow", "symfollow", MS_NOSYMFOLLOW},
        };

        for (size_t i = 0; i < UNIT_COUNT(pairs); i++) {
                struct oci_mount_options o = parse(pairs[i].set);
                char both[64];

                assert_int_equal(o.flags, pairs[i].flag);
                assert_int_equal(o.cleared, 0);
                o = parse(pairs[i].clear);
                assert_int_equal(o.flags, 0);
                assert_int_equal(o.cleared, pairs[i].flag);
                (void)snprintf(both, sizeof(both), "%s %s", pairs[i].set, pairs[i].clear);
                o = parse(both);
                assert_int_equal(o.flags, 0);
                assert_int_equal(o.cleared, pairs[i].flag);
                (void)snprintf(both, sizeof(both), "%s %s", pairs[i].clear, pairs[i].set);
                o = parse(both);
                assert_int_equal(o.flags, pairs[i].flag);
                assert_int_equal(o.cleared, 0);
                assert_string_equal(o.data, "");
        }
        assert_int_equal(parse("dirsync").flags, MS_DIRSYNC);
        assert_int_equal(parse("remount").flags, MS_REMOUNT);
}

static void the_last_of_the_atime_modes_wins(void **state)
{
        assert_int_equal(parse("noatime relatime").flags, MS_RELATIME);
        assert_int_equal(parse("relatime strictatime").flags, MS_STRICTATIME);
        assert_int_equal(parse("strictatime noatime nodiratime").flags, MS_NOATIME | MS_NODIRATIME);
}

static void bind_and_propagation_are_told_apart(void **state)
{
        struct oci_mount_options o = parse("rbind rprivate ro");

        assert_true(o.is_bind);
        assert_int_equal(o.flags, MS_BIND | MS_REC | MS_RDONLY);
        assert_int_equal(o.propagation, MS_PRIVATE | MS_REC);
        o = parse("bind");
        assert_true(o.is_bind);
        assert_int_equal(o.flags, MS_BIND);
        assert_int_equal(o.propagation, 0);
        assert_int_equal(parse("shared").propagation, MS_SHARED);
        assert_int_equal(parse("rshared").propagation, MS_SHARED | MS_REC);
        assert_int_equal(parse("slave").propagation, MS_SLAVE);
        assert_int_equal(parse("rslave").propagation, MS_SLAVE | MS_REC);
        assert_int_equal(parse("private").propagation, MS_PRIVATE);
        assert_int_equal(parse("unbindable").propagation, MS_UNBINDABLE);
        assert_int_equal(parse("shared runbindable").propagation, MS_UNBINDABLE | MS_REC);
}

static void recursive_attributes_are_what_mount_setattr_takes(void **state)
{
        static const struct {
                const char *set;
                const char *clear;
                uint64_t attr;
        } pairs[] = {
                {"rro", "rrw", MOUNT_ATTR_RDONLY},
                {"rnosuid", "rsuid", MOUNT_ATTR_NOSUID},
                {"rnodev", "rdev", MOUNT_ATTR_NODEV},
                {"rnoexec", "rexec", MOUNT_ATTR_NOEXEC},
                {"rnodiratime", "rdiratime", MOUNT_ATTR_NODIRATIME},
                {"rnosymfollow", "rsymfollow", MOUNT_ATTR_NOSYMFOLLOW},
        };
        static const struct {
                const char *word;
                uint64_t set;
        } atimes[] = {
                {"rnoatime", MOUNT_ATTR_NOATIME},
                {"ratime", 0},
                {"rrelatime", 0},
                {"rnorelatime", 0},
                {"rstrictatime", MOUNT_ATTR_STRICTATIME},
                {"rnostrictatime", 0},
                {"rnoatime rstrictatime", MOUNT_ATTR_STRICTATIME},
        };

        for (size_t i = 0; i < UNIT_COUNT(pairs); i++) {
                struct oci_mount_options o = parse(pairs[i].set);
                char both[64];

                assert_true(o.attr_rec_set == pairs[i].attr && o.attr_rec_clear == 0);
                o = parse(pairs[i].clear);
                assert_true(o.attr_rec_set == 0 && o.attr_rec_clear == pairs[i].attr);
                (void)snprintf(both, sizeof(both), "%s %s", pairs[i].clear, pairs[i].set);
                o = parse(both);
                assert_true(o.attr_rec_set == pairs[i].attr && o.attr_rec_clear == 0);
                assert_int_equal(o.flags, 0);
        }
        for (size_t i = 0; i < UNIT_COUNT(atimes); i++) {
                struct oci_mount_options o = parse(atimes[i].word);

                assert_true(o.attr_rec_set == atimes[i].set);
                assert_true(o.attr_rec_clear == MOUNT_ATTR__ATIME);
        }
}

static void what_is_left_is_for_the_file_system(void **state)
{
        struct oci_mount_options o = parse("nosuid mode=755 noexec size=65536k idmap tmpcopyup");

        assert_string_equal(o.data, "mode=755,size=65536k");
        assert_int_equal(o.flags, MS_NOSUID | MS_NOEXEC);
        assert_true(o.idmap);
        assert_true(o.tmpcopyup);
        assert_false(o.idmap_recursive);
        assert_true(parse("ridmap").idmap);
        assert_true(parse("ridmap").idmap_recursive);
        assert_string_equal(parse("lowerdir=/a:/b upperdir=/c workdir=/d index=off").data,
                            "lowerdir=/a:/b,upperdir=/c,workdir=/d,index=off");
        /* Words are whole and have one case. */
        assert_string_equal(parse("RO bin rox").data, "RO,bin,rox");
}

static void empty_words_leave_no_comma(void **state)
{
        const char *list[] = {"", "a", "", "b", ""};
        struct oci_mount_options o = {0};
        struct error err = ERROR_INIT;

        assert_int_equal(oci_mount_options_parse(list, UNIT_COUNT(list), arena, &o, &err), 0);
        assert_string_equal(o.data, "a,b");
}

static void data_beyond_a_page_is_an_error(void **state)
{
        struct oci_mount_options o = {.flags = 77};
        struct error err = ERROR_INIT;
        char word[4097];
        const char *list[] = {word, "x"};

        memset(word, 'a', sizeof(word));
        word[4095] = '\0';
        assert_int_equal(oci_mount_options_parse(list, 1, arena, &o, &err), 0);
        assert_int_equal(strlen(o.data), 4095);
        o.flags = 77;
        assert_int_equal(oci_mount_options_parse(list, 2, arena, &o, &err), -1);
        assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
        assert_string_equal(err.msg,
                            "mount options: 4097 bytes, more than the 4095 that mount(2) takes");
        assert_int_equal(o.flags, 77);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_setup, arena_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(nothing_is_nothing),
                TEST(every_word_of_the_runtime_spec_has_its_flag),
                TEST(the_last_of_the_atime_modes_wins),
                TEST(bind_and_propagation_are_told_apart),
                TEST(recursive_attributes_are_what_mount_setattr_takes),
                TEST(what_is_left_is_for_the_file_system),
                TEST(empty_words_leave_no_comma),
                TEST(data_beyond_a_page_is_an_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
