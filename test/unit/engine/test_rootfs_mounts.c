/* SPDX-License-Identifier: Apache-2.0
 *
 * The rootfs mounts of a Create request: options, long overlays, targets, and taking it all away.
 * Mounts in a mount namespace of its own.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/engine/rootfs_mounts.h"

#include "test/unit/unit.h"

enum { BUDGET = 1 << 20, NOT_ROOT = 77 };

static struct arena *arena;

static int parse(const char *const *options, size_t n, struct rootfs_mount_options *ret,
                 struct error *err)
{
        const struct engine_mount m = {.options = options, .n_options = n};

        return rootfs_mount_options_parse(&m, arena, ret, err);
}

static void known_options_become_flags_and_others_data(void **state)
{
        static const char *const options[] = {"ro",        "lowerdir=/a:/b", "nosuid", "suid",
                                              "index=off", "defaults",       "noexec", "private"};
        struct rootfs_mount_options o;
        struct error err = ERROR_INIT;

        assert_int_equal(parse(options, UNIT_COUNT(options), &o, &err), 0);
        assert_int_equal(o.flags, MS_RDONLY | MS_NOEXEC);
        assert_string_equal(o.data, "lowerdir=/a:/b,index=off,private");
}

static void what_is_not_supported_is_refused_by_name(void **state)
{
        static const char *const refused[] = {"loop", "direct-io"};
        const char *own = "X-containerd.test";
        struct rootfs_mount_options o;
        struct engine_mount fuse = {.type = "fuse.sshfs", .source = "x"};

        for (size_t i = 0; i < UNIT_COUNT(refused); i++) {
                struct error err = ERROR_INIT;

                assert_int_equal(parse(&refused[i], 1, &o, &err), -1);
                assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
                assert_non_null(strstr(err.msg, refused[i]));
        }
        {
                struct error err = ERROR_INIT;

                assert_int_equal(parse(&own, 1, &o, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_int_equal(rootfs_mount("/tmp", &fuse, 1, arena, &err), -1);
                assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
                assert_non_null(strstr(err.msg, "fuse.sshfs"));
        }
}

static void maps_of_ids_are_parsed_and_go_together(void **state)
{
        static const char *const good[] = {"uidmap=0:1000:10,10:5000:1", "gidmap=0:7:1", "ro"};
        static const char *const bad[] = {"uidmap=",      "uidmap=0",       "uidmap=0:1",
                                          "gidmap=0:1:0", "uidmap=0:1:1,",  "uidmap=0:x:1",
                                          "uidmap=a",     "uidmap=0:1:1:1", "uidmap=0:1:4294967295",
                                          "gidmap=-1:1:1"};
        struct rootfs_mount_options o;
        struct error err = ERROR_INIT;

        assert_int_equal(parse(good, 3, &o, &err), 0);
        assert_string_equal(o.data, "");
        assert_int_equal(o.flags, MS_RDONLY);
        assert_int_equal(o.idmap.n_uids, 2);
        assert_int_equal(o.idmap.uids[1].container_id, 10);
        assert_int_equal(o.idmap.uids[1].host_id, 5000);
        assert_int_equal(o.idmap.gids[0].host_id, 7);
        assert_int_equal(parse(good, 1, &o, &err), -1);
        assert_non_null(strstr(err.msg, "go together"));
        for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
                err = ERROR_INIT;
                assert_int_equal(parse(&bad[i], 1, &o, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_non_null(strstr(err.msg, bad[i]));
        }
}

static void lower_directories_become_relative_to_their_common_parent(void **state)
{
        static const struct {
                const char *data;
                const char *dir;
                const char *shortened;
        } cases[] = {
                {"lowerdir=/s/1/fs:/s/2/fs", "/s", "lowerdir=1/fs:2/fs"},
                {"a=b,lowerdir=/s/1/fs:/s/12/fs,upperdir=/s/u", "/s",
                 "a=b,lowerdir=1/fs:12/fs,upperdir=/s/u"},
                {"lowerdir=/s/x/fs", "/s/x", "lowerdir=fs"},
                {"lowerdir=/s/a\\:b/fs:/s/a\\:c/fs", "/s", "lowerdir=a\\:b/fs:a\\:c/fs"},
                {"lowerdir=/a:/a/b", NULL, NULL},
                {"lowerdir=/a/x:/b/y", NULL, NULL},
                {"upperdir=/s/u", NULL, NULL},
        };

        for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
                struct error err = ERROR_INIT;
                char *dir = NULL;
                char *data = NULL;

                assert_int_equal(rootfs_overlay_shorten(cases[i].data, arena, &dir, &data, &err),
                                 0);
                assert_true(str_equal(dir, cases[i].dir));
                assert_true(str_equal(data, cases[i].shortened));
        }
}

/* ---- with real mounts ---- */

struct fixture {
        char dir[32];
        char *rootfs;
        char *source;
};

static char *in_dir(const struct fixture *f, const char *name)
{
        char *path = str_printf("%s/%s", f->dir, name);

        assert_non_null(path);
        return path;
}

static int set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        memcpy(f->dir, "/tmp/belay-rootfs-XXXXXX", sizeof("/tmp/belay-rootfs-XXXXXX"));
        assert_non_null(mkdtemp(f->dir));
        assert_int_equal(mount("tmpfs", f->dir, "tmpfs", 0, NULL), 0);
        f->rootfs = in_dir(f, "rootfs");
        f->source = in_dir(f, "source");
        assert_int_equal(mkdir(f->rootfs, 0711), 0);
        assert_int_equal(mkdir(f->source, 0755), 0);
        *state = f;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *f = *state;

        assert_int_equal(chdir("/"), 0);
        assert_int_equal(umount2(f->dir, MNT_DETACH), 0);
        assert_int_equal(rmdir(f->dir), 0);
        free(f->rootfs);
        free(f->source);
        free(f);
        return 0;
}

static size_t mounts_below(const char *path)
{
        char *text = NULL;
        size_t n = 0;

        assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 16 << 20, &text, NULL), 0);
        for (const char *s = text; (s = strstr(s, path)); s++)
                n++;
        free(text);
        return n;
}

static void a_read_only_bind_is_read_only(void **state)
{
        struct fixture *f = *state;
        static const char *const options[] = {"rbind", "ro", "nosuid"};
        const struct engine_mount m = {
                .type = "bind", .source = f->source, .options = options, .n_options = 3};
        struct error err = ERROR_INIT;
        struct statvfs st;

        assert_int_equal(rootfs_mount(f->rootfs, &m, 1, arena, &err), 0);
        assert_int_equal(statvfs(f->rootfs, &st), 0);
        assert_int_equal(st.f_flag & (ST_RDONLY | ST_NOSUID), ST_RDONLY | ST_NOSUID);
        assert_int_equal(statvfs(f->source, &st), 0);
        assert_int_equal(st.f_flag & ST_RDONLY, 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        assert_int_equal(mounts_below(f->rootfs), 0);
}

static void make_file(const struct fixture *f, const char *name, uid_t uid)
{
        _cleanup_free_ char *path = in_dir(f, name);
        _cleanup_close_ int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(fchown(fd, uid, uid), 0);
}

static uid_t owner_of(const struct fixture *f, const char *name)
{
        _cleanup_free_ char *path = in_dir(f, name);
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        return st.st_uid;
}

static void a_bind_shows_mapped_ids(void **state)
{
        struct fixture *f = *state;
        static const char *const options[] = {"rbind", "uidmap=0:1000:10", "gidmap=0:1000:10"};
        struct engine_mount m = {
                .type = "bind", .source = f->source, .options = options, .n_options = 3};
        struct error err = ERROR_INIT;

        make_file(f, "source/file", 3);
        assert_int_equal(rootfs_mount(f->rootfs, &m, 1, arena, &err), 0);
        assert_int_equal(owner_of(f, "rootfs/file"), 1003);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        m.type = "tmpfs";
        m.options = options + 1;
        m.n_options = 2;
        assert_int_equal(rootfs_mount(f->rootfs, &m, 1, arena, &err), -1);
        assert_int_equal(err.code, STATUS_UNIMPLEMENTED);
        assert_non_null(strstr(err.msg, "uidmap= is not supported for type 'tmpfs'"));
        assert_int_equal(mounts_below(f->rootfs), 0);
}

static void the_lower_directories_of_an_overlay_show_mapped_ids(void **state)
{
        static const char *const names[] = {"l", "l/1", "l/2", "upper", "work"};
        struct fixture *f = *state;
        _cleanup_free_ char *lower = str_printf("lowerdir=%s/l/2:%s/l/1", f->dir, f->dir);
        _cleanup_free_ char *upper = str_printf("upperdir=%s/upper", f->dir);
        _cleanup_free_ char *work = str_printf("workdir=%s/work", f->dir);
        const char *options[] = {"uidmap=0:1000:10", lower, upper, work, "gidmap=0:1000:10"};
        const struct engine_mount m = {
                .type = "overlay", .source = "overlay", .options = options, .n_options = 5};
        struct error err = ERROR_INIT;

        for (size_t i = 0; i < UNIT_COUNT(names); i++) {
                _cleanup_free_ char *path = in_dir(f, names[i]);

                assert_int_equal(mkdir(path, 0755), 0);
        }
        make_file(f, "l/1/a", 1);
        make_file(f, "l/2/b", 2);
        if (rootfs_mount(f->rootfs, &m, 1, arena, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(owner_of(f, "rootfs/a"), 1001);
        assert_int_equal(owner_of(f, "rootfs/b"), 1002);
        make_file(f, "rootfs/c", 1009);
        assert_int_equal(owner_of(f, "upper/c"), 1009);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        assert_int_equal(mounts_below(f->rootfs), 0);
}

static void targets_are_mounted_below_and_never_outside_the_rootfs(void **state)
{
        struct fixture *f = *state;
        static const char *const bind[] = {"bind"};
        struct engine_mount m[2] = {
                {.type = "bind", .source = f->source, .options = bind, .n_options = 1},
                {.type = "tmpfs", .source = "tmpfs", .target = "link/sub"},
        };
        struct error err = ERROR_INIT;
        char *inner = in_dir(f, "source/etc");
        char *link = in_dir(f, "source/link");
        char *sub = in_dir(f, "source/etc/sub");
        char *escape = in_dir(f, "source/escape");
        char *outside = in_dir(f, "outside");

        assert_int_equal(mkdir(inner, 0755), 0);
        assert_int_equal(mkdir(sub, 0755), 0);
        assert_int_equal(symlink("/etc", link), 0); /* the rootfs's own /etc */
        assert_int_equal(mkdir(outside, 0755), 0);
        assert_int_equal(symlink("../../../../../../..", escape), 0);
        assert_int_equal(rootfs_mount(f->rootfs, m, 2, arena, &err), 0);
        assert_true(rootfs_mounts_are_nested(m, 2));
        assert_int_equal(mounts_below("rootfs/etc/sub"), 1);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        assert_int_equal(mounts_below(f->rootfs), 0);

        m[1].target = "escape/outside";
        assert_int_equal(rootfs_mount(f->rootfs, m, 2, arena, &err), -1);
        assert_non_null(strstr(err.msg, "open target 'escape/outside' in the rootfs"));
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_NESTED, &err), 0);
        assert_int_equal(mounts_below(f->rootfs), 0);
        free(inner);
        free(link);
        free(sub);
        free(escape);
        free(outside);
}

static void an_overlay_of_many_layers_fits(void **state)
{
        enum { LAYERS = 120 };
        struct fixture *f = *state;
        char *data = strdup("lowerdir=");
        char *base = in_dir(f, "a-directory-with-a-rather-long-name-for-layers");
        const char *option;
        struct engine_mount m = {.type = "overlay", .source = "overlay", .n_options = 1};
        struct error err = ERROR_INIT;
        char *file;

        assert_int_equal(mkdir(base, 0755), 0);
        for (int i = 0; i < LAYERS; i++) {
                char *layer = str_printf("%s/%d", base, i);
                char *grown = str_printf("%s%s%s", data, i > 0 ? ":" : "", layer);

                assert_int_equal(mkdir(layer, 0755), 0);
                free(layer);
                free(data);
                data = grown;
        }
        assert_true(strlen(data) > 4096);
        file = str_printf("%s/%d/here", base, LAYERS - 1);
        assert_int_equal(close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)), 0);
        free(file);
        option = data;
        m.options = &option;
        assert_int_equal(rootfs_mount(f->rootfs, &m, 1, arena, &err), 0);
        file = in_dir(f, "rootfs/here");
        assert_int_equal(access(file, F_OK), 0);
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        free(file);
        free(base);
        free(data);
}

static void a_failure_names_source_type_and_place(void **state)
{
        struct fixture *f = *state;
        const struct engine_mount m = {.type = "bind-not-there", .source = "/no/such"};
        struct error err = ERROR_INIT;

        assert_int_equal(rootfs_mount(f->rootfs, &m, 1, arena, &err), -1);
        assert_non_null(strstr(err.msg, "rootfs: mount '/no/such' (bind-not-there) on '/tmp/"));
        assert_non_null(strstr(err.msg, "mount: No such device"));
}

static void stacked_mounts_are_all_taken_away(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        for (int i = 0; i < 3; i++)
                assert_int_equal(mount("tmpfs", f->rootfs, "tmpfs", 0, NULL), 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        assert_int_equal(mounts_below(f->rootfs), 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
}

static void a_busy_mount_is_detached_when_that_is_asked_for(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        char *sub = in_dir(f, "rootfs/a b");

        assert_int_equal(mount("tmpfs", f->rootfs, "tmpfs", 0, NULL), 0);
        assert_int_equal(mkdir(sub, 0755), 0);
        assert_int_equal(mount("tmpfs", sub, "tmpfs", 0, NULL), 0);
        assert_int_equal(chdir(sub), 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_LAZY, &err), 0);
        assert_int_equal(mounts_below(f->rootfs), 0);
        free(sub);
}

static void a_link_in_place_of_the_rootfs_is_not_followed(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;

        assert_int_equal(mount("tmpfs", f->source, "tmpfs", 0, NULL), 0);
        assert_int_equal(rmdir(f->rootfs), 0);
        assert_int_equal(symlink(f->source, f->rootfs), 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        assert_int_equal(rootfs_unmount(f->rootfs, ROOTFS_UNMOUNT_LAZY, &err), 0);
        assert_int_equal(mounts_below(f->source), 1);
}

static void a_missing_rootfs_is_no_error(void **state)
{
        struct error err = ERROR_INIT;

        assert_int_equal(rootfs_unmount("/no/such/rootfs", ROOTFS_UNMOUNT_SIMPLE, &err), 0);
        assert_int_equal(rootfs_unmount("/no/such/rootfs", ROOTFS_UNMOUNT_LAZY, &err), 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(known_options_become_flags_and_others_data),
                cmocka_unit_test(what_is_not_supported_is_refused_by_name),
                cmocka_unit_test(maps_of_ids_are_parsed_and_go_together),
                cmocka_unit_test(lower_directories_become_relative_to_their_common_parent),
                CASE(a_read_only_bind_is_read_only),
                CASE(a_bind_shows_mapped_ids),
                CASE(the_lower_directories_of_an_overlay_show_mapped_ids),
                CASE(targets_are_mounted_below_and_never_outside_the_rootfs),
                CASE(an_overlay_of_many_layers_fits),
                CASE(a_failure_names_source_type_and_place),
                CASE(stacked_mounts_are_all_taken_away),
                CASE(a_busy_mount_is_detached_when_that_is_asked_for),
                CASE(a_link_in_place_of_the_rootfs_is_not_followed),
                cmocka_unit_test(a_missing_rootfs_is_no_error),
        };
        int r;

        if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return NOT_ROOT;
        arena = arena_new(BUDGET);
        r = cmocka_run_group_tests(tests, NULL, NULL);
        arena_free(arena);
        return r;
}
