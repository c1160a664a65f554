/* SPDX-License-Identifier: Apache-2.0
 *
 * CVE-2019-5736: the image of a sealed process cannot be written to, not even by root, neither
 * while it runs nor afterwards through a descriptor that was opened before it ended.
 *
 * This program copies itself, so that nothing else runs from the file (that alone would refuse
 * writers, with ETXTBSY). The copy is called twice: `seal` executes itself again from a sealed
 * image, in a child, and ends, as the start helper does; `hold` is that child.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/seal.h"
#include "test/unit/unit.h"

enum { BINARY_BYTES_MAX = 64 << 20, NOBODY = 65534 };

struct fixture {
        char dir[32];
        char *copy; /* the file that must not change */
        char *text;
        size_t len;
        pid_t pid; /* of the sealed process */
        int hold;  /* closing it ends that process */
};

/* `seal` and `seal-unprivileged`: standard input and output go on to the sealed child. */
static int seal_and_end(bool unprivileged)
{
        const char *const argv[] = {"sealed", "hold", NULL};
        struct error err = ERROR_INIT;
        int image = -1;
        pid_t pid;

        if (unprivileged && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                             setresuid(NOBODY, NOBODY, NOBODY) < 0))
                return 1;
        if (seal_open(NULL, &image, &err) < 0)
                return 1;
        pid = fork();
        if (pid != 0)
                return pid < 0;
        execveat(image, "", (char *const *)argv, environ, AT_EMPTY_PATH);
        _exit(1);
}

/* `hold`: says its pid, waits for EOF. */
static int hold(void)
{
        pid_t pid = getpid();
        char byte;

        if (write(STDOUT_FILENO, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
                return 1;
        return read(STDIN_FILENO, &byte, 1) == 0 ? 0 : 1;
}

static int copy_self(struct fixture *f)
{
        int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        int r = fd_read_all(fd, BINARY_BYTES_MAX, &f->text, &f->len);

        fd_close(fd);
        if (r < 0)
                return -1;
        return file_write_atomic(AT_FDCWD, f->copy, f->text, f->len, 0755);
}

static int start(void **state, const char *how)
{
        static struct fixture f;
        int in[2];
        int out[2];
        int status = -1;
        pid_t helper;

        strcpy(f.dir, "/tmp/belay-seal-XXXXXX");
        if (!mkdtemp(f.dir) || chdir(f.dir) < 0)
                return -1;
        f.copy = strdup("copy");
        if (copy_self(&f) < 0 || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
                return -1;
        helper = fork();
        if (helper == 0) {
                if (dup2(in[0], STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0)
                        _exit(1);
                execl(f.copy, f.copy, how, (char *)NULL);
                _exit(1);
        }
        fd_close(in[0]);
        fd_close(out[1]);
        f.hold = in[1];
        if (waitpid(helper, &status, 0) != helper || status != 0)
                return -1;
        if (read(out[0], &f.pid, sizeof(f.pid)) != (ssize_t)sizeof(f.pid))
                return -1;
        fd_close(out[0]);
        *state = &f;
        return 0;
}

static int start_sealed(void **state)
{
        return start(state, "seal");
}

static int start_sealed_unprivileged(void **state)
{
        return start(state, "seal-unprivileged");
}

/* Idempotent; the sealed process is ours since this program is a subreaper. */
static void end_sealed(struct fixture *f)
{
        int status = -1;

        if (f->hold < 0)
                return;
        f->hold = fd_close(f->hold);
        assert_int_equal(waitpid(f->pid, &status, 0), f->pid);
        assert_int_equal(status, 0);
}

static int remove_all(void **state)
{
        struct fixture *f = *state;

        end_sealed(f);
        (void)unlink(f->copy);
        free(f->copy);
        free(f->text);
        return chdir("/") < 0 ? -1 : rmdir(f->dir);
}

/* Tries to write through path; whatever comes of it, the file on disk is as it was. */
static void assert_not_writable(struct fixture *f, const char *path, int expected_errno)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
        _cleanup_free_ char *text = NULL;
        size_t len = 0;

        if (fd < 0)
                assert_int_equal(errno, expected_errno);
        else
                assert_int_equal(write(fd, "#!/bin/sh\n", 10), -1);
        assert_int_equal(file_read(AT_FDCWD, f->copy, BINARY_BYTES_MAX, &text, &len), 0);
        assert_int_equal(len, f->len);
        assert_memory_equal(text, f->text, len);
}

/* The sealed copy as it is now; a link of procfs, which file_read() would not follow. */
static int file_read_through(const char *path, char **ret_text, size_t *ret_len)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

        return fd_read_all(fd, BINARY_BYTES_MAX, ret_text, ret_len);
}

static void the_image_cannot_be_written_to_while_it_runs(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *exe = str_printf("/proc/%d/exe", (int)f->pid);

        assert_not_writable(f, exe, ETXTBSY);
}

static void the_image_cannot_be_written_to_when_it_has_ended(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *exe = str_printf("/proc/%d/exe", (int)f->pid);
        _cleanup_close_ int kept = open(exe, O_PATH | O_CLOEXEC);
        _cleanup_free_ char *again = str_printf("/proc/self/fd/%d", kept);

        assert_true(kept >= 0);
        end_sealed(f);
        assert_not_writable(f, again, EROFS);
}

static void the_image_is_the_file_itself_and_not_a_copy(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *exe = str_printf("/proc/%d/exe", (int)f->pid);
        struct stat file;
        struct stat image;

        assert_int_equal(stat(f->copy, &file), 0);
        assert_int_equal(stat(exe, &image), 0);
        assert_int_equal(file.st_dev, image.st_dev);
        assert_int_equal(file.st_ino, image.st_ino);
}

static void without_privileges_it_is_a_copy_that_cannot_be_written_to_either(void **state)
{
        struct fixture *f = *state;
        _cleanup_free_ char *exe = str_printf("/proc/%d/exe", (int)f->pid);
        _cleanup_close_ int kept = open(exe, O_PATH | O_CLOEXEC);
        _cleanup_free_ char *again = str_printf("/proc/self/fd/%d", kept);
        _cleanup_free_ char *text = NULL;
        struct stat file;
        struct stat image;
        size_t len = 0;

        assert_int_equal(stat(f->copy, &file), 0);
        assert_int_equal(stat(exe, &image), 0);
        assert_int_not_equal(file.st_ino, image.st_ino);
        assert_not_writable(f, exe, ETXTBSY);
        end_sealed(f);
        assert_not_writable(f, again, EPERM);
        assert_int_equal(file_read_through(again, &text, &len), 0);
        assert_int_equal(len, f->len);
        assert_memory_equal(text, f->text, len);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(the_image_cannot_be_written_to_while_it_runs,
                                                start_sealed, remove_all),
                cmocka_unit_test_setup_teardown(the_image_cannot_be_written_to_when_it_has_ended,
                                                start_sealed, remove_all),
                cmocka_unit_test_setup_teardown(the_image_is_the_file_itself_and_not_a_copy,
                                                start_sealed, remove_all),
                cmocka_unit_test_setup_teardown(
                        without_privileges_it_is_a_copy_that_cannot_be_written_to_either,
                        start_sealed_unprivileged, remove_all),
        };

        if (argc == 2 && strcmp(argv[1], "seal") == 0)
                return seal_and_end(false);
        if (argc == 2 && strcmp(argv[1], "seal-unprivileged") == 0)
                return seal_and_end(true);
        if (argc == 2 && strcmp(argv[1], "hold") == 0)
                return hold();
        if (geteuid() != 0)
                return 77;
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
