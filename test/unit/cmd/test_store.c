/* SPDX-License-Identifier: Apache-2.0
 *
 * Where belay keeps containers, and above all what it does not remove.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/belay/store.h"
#include "test/unit/unit.h"

struct fixture {
        char dir[32];
        char *root;
        char *bundle;
};

static int make_container(void **state)
{
        static struct fixture f;
        struct error err = ERROR_INIT;

        strcpy(f.dir, "/tmp/belay-store-XXXXXX");
        if (!mkdtemp(f.dir))
                return -1;
        f.root = str_printf("%s/a/b", f.dir);
        *state = &f;
        return store_create(f.root, "box", &f.bundle, &err);
}

static int remove_container(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *a = str_printf("%s/a", f->dir);

        (void)rmdir(f->bundle);
        (void)rmdir(f->root);
        (void)rmdir(a);
        free(f->bundle);
        free(f->root);
        return rmdir(f->dir);
}

static char *touch(const struct fixture *f, const char *name)
{
        char *path = str_printf("%s/%s", f->bundle, name);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        fd_close(fd);
        return path;
}

static void a_bundle_is_private_and_made_once(void **state)
{
        struct fixture *f = *state;
        struct error err = ERROR_INIT;
        struct stat st;
        char *again = NULL;

        assert_int_equal(stat(f->bundle, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_int_equal(store_create(f->root, "box", &again, &err), -1);
        assert_int_equal(err.code, STATUS_ALREADY_EXISTS);
        assert_null(again);
}

static void a_bundle_is_removed_with_its_files_and_fifos(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ __attribute__((unused)) char *config = touch(f, "config.json");
        _cleanup_free_ char *io = str_printf("%s/io.x", f->bundle);
        _cleanup_free_ char *fifo = str_printf("%s/io.x/stdin", f->bundle);
        _cleanup_free_ char *rootfs = str_printf("%s/rootfs", f->bundle);
        struct error err = ERROR_INIT;

        assert_int_equal(mkdir(io, 0700), 0);
        assert_int_equal(mkfifo(fifo, 0600), 0);
        assert_int_equal(mkdir(rootfs, 0700), 0);
        assert_int_equal(store_remove(f->bundle, &err), 0);
        assert_int_equal(access(f->bundle, F_OK), -1);
        assert_int_equal(store_remove(f->bundle, &err), 0);
}

static void a_rootfs_that_is_not_empty_is_not_touched(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *rootfs = str_printf("%s/rootfs", f->bundle);
        _cleanup_free_ char *precious = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(mkdir(rootfs, 0700), 0);
        precious = touch(f, "rootfs/precious");
        assert_int_equal(store_remove(f->bundle, &err), -1);
        assert_int_equal(access(precious, F_OK), 0);
        assert_int_equal(unlink(precious), 0);
        assert_int_equal(rmdir(rootfs), 0);
}

static void a_symlink_is_removed_not_followed(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *outside = str_printf("%s/outside", f->dir);
        _cleanup_free_ char *precious = str_printf("%s/precious", outside);
        _cleanup_free_ char *link = str_printf("%s/io.evil", f->bundle);
        struct error err = ERROR_INIT;

        assert_int_equal(mkdir(outside, 0700), 0);
        assert_int_equal(mkdir(precious, 0700), 0);
        assert_int_equal(symlink(outside, link), 0);
        assert_int_equal(store_remove(f->bundle, &err), 0);
        assert_int_equal(access(precious, F_OK), 0);
        assert_int_equal(rmdir(precious), 0);
        assert_int_equal(rmdir(outside), 0);
}

static void containers_are_listed_in_order_and_hidden_names_are_none(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *hidden = str_printf("%s/.s", f->root);
        struct error err = ERROR_INIT;
        char *other = NULL;
        char **ids = NULL;
        size_t n = 0;

        assert_int_equal(mkdir(hidden, 0700), 0);
        assert_int_equal(store_create(f->root, "axe", &other, &err), 0);
        assert_int_equal(store_list(f->root, &ids, &n, &err), 0);
        assert_int_equal(n, 2);
        assert_string_equal(ids[0], "axe");
        assert_string_equal(ids[1], "box");
        store_list_free(ids, n);
        assert_int_equal(rmdir(other), 0);
        assert_int_equal(rmdir(hidden), 0);
        free(other);
}

static void no_root_is_no_containers(void **state)
{
        struct error err = ERROR_INIT;
        char **ids = NULL;
        size_t n = 7;

        (void)state;
        assert_int_equal(store_list("/tmp/belay-no-such-root", &ids, &n, &err), 0);
        assert_int_equal(n, 0);
        store_list_free(ids, n);
}

static void the_address_is_that_of_the_shim_or_an_error(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *file = NULL;
        _cleanup_free_ char *address = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(store_address("/tmp/belay-no-such-bundle", &address, &err), -1);
        assert_int_equal(err.code, STATUS_NOT_FOUND);
        assert_int_equal(store_address(f->bundle, &address, &err), -1);
        assert_int_equal(err.code, STATUS_UNKNOWN);
        file = touch(f, "address");
        assert_int_equal(file_write(AT_FDCWD, file, "unix:///x"), 0);
        assert_int_equal(store_address(f->bundle, &address, &err), 0);
        assert_string_equal(address, "unix:///x");
        assert_int_equal(unlink(file), 0);
}

static void a_relative_root_becomes_absolute(void **state)
{
        struct error err = ERROR_INIT;
        _cleanup_free_ char *path = NULL;

        (void)state;
        assert_int_equal(chdir("/tmp"), 0);
        assert_int_equal(store_path("x/../y", "box", &path, &err), 0);
        assert_string_equal(path, "/tmp/y/box");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_bundle_is_private_and_made_once, make_container,
                                                remove_container),
                cmocka_unit_test_setup_teardown(a_bundle_is_removed_with_its_files_and_fifos,
                                                make_container, remove_container),
                cmocka_unit_test_setup_teardown(a_rootfs_that_is_not_empty_is_not_touched,
                                                make_container, remove_container),
                cmocka_unit_test_setup_teardown(a_symlink_is_removed_not_followed, make_container,
                                                remove_container),
                cmocka_unit_test_setup_teardown(
                        containers_are_listed_in_order_and_hidden_names_are_none, make_container,
                        remove_container),
                cmocka_unit_test(no_root_is_no_containers),
                cmocka_unit_test_setup_teardown(the_address_is_that_of_the_shim_or_an_error,
                                                make_container, remove_container),
                cmocka_unit_test(a_relative_root_becomes_absolute),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
