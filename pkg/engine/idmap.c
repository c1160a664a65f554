/* SPDX-License-Identifier: Apache-2.0
 *
 * Maps of ids: see idmap.h. The child that makes a user namespace waits for the end of a pipe, so
 * it ends with its maker, whatever becomes of that one.
 */
#include "pkg/engine/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/sys.h"

/* "4294967295 4294967295 4294967295\n" */
enum { LINE_MAX_BYTES = 33 };

static bool lists_are_equal(const struct oci_id_mapping *a, size_t n_a,
                            const struct oci_id_mapping *b, size_t n_b)
{
        if (n_a != n_b)
                return false;
        for (size_t i = 0; i < n_a; i++) {
                if (a[i].container_id != b[i].container_id || a[i].host_id != b[i].host_id ||
                    a[i].size != b[i].size)
                        return false;
        }
        return true;
}

bool idmap_is_equal(const struct idmap *a, const struct idmap *b)
{
        return lists_are_equal(a->uids, a->n_uids, b->uids, b->n_uids) &&
               lists_are_equal(a->gids, a->n_gids, b->gids, b->n_gids);
}

static int write_list(pid_t pid, const char *file, const struct oci_id_mapping *maps, size_t n,
                      struct error *err)
{
        _cleanup_free_ char *text = malloc(n * LINE_MAX_BYTES + 1);
        char path[64];
        size_t len = 0;
        int r;

        if (!text)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "id maps: no memory");
        text[0] = '\0';
        for (size_t i = 0; i < n; i++)
                len += (size_t)snprintf(text + len, n * LINE_MAX_BYTES + 1 - len, "%u %u %u\n",
                                        maps[i].container_id, maps[i].host_id, maps[i].size);
        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        /* The kernel takes the whole map in one write, once. */
        r = file_write(AT_FDCWD, path, text);
        if (r < 0)
                return error_errno(err, -r, "write %s of the user namespace", file);
        return 0;
}

/* setgroups stays "allow", its default: a privileged writer of gid_map need not deny it, and a
 * container's additionalGids need it. */
int idmap_write(pid_t pid, const struct idmap *map, struct error *err)
{
        if (write_list(pid, "uid_map", map->uids, map->n_uids, err) < 0)
                return -1;
        return write_list(pid, "gid_map", map->gids, map->n_gids, err);
}

static _Noreturn void be_in_it(int reader, int writer)
{
        char byte;

        fd_close(writer);
        while (read(reader, &byte, 1) < 0 && errno == EINTR)
                ;
        _exit(EXIT_SUCCESS);
}

static int take_namespace(pid_t pid, const struct idmap *map, struct error *err)
{
        char path[64];
        int fd;

        if (idmap_write(pid, map, err) < 0)
                return -1;
        (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open '%s'", path);
        return fd;
}

int idmap_open(const struct idmap *map, struct error *err)
{
        struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
        siginfo_t info;
        int pipe_fds[2];
        pid_t pid;
        int fd;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "make a user namespace: pipe");
        pid = sys_clone3(&args);
        if (pid == 0)
                be_in_it(pipe_fds[0], pipe_fds[1]);
        fd_close(pipe_fds[0]);
        if (pid < 0) {
                (void)error_errno(err, errno, "make a user namespace");
                fd_close(pipe_fds[1]);
                return -1;
        }
        fd = take_namespace(pid, map, err);
        fd_close(pipe_fds[1]);
        while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
                ;
        return fd;
}

int idmap_apply(int tree_fd, int userns_fd, bool recursive, struct error *err)
{
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};

        if (mount_setattr(tree_fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
                          sizeof(attr)) == 0)
                return 0;
        if (errno == EINVAL || errno == EOPNOTSUPP)
                return error_errno(err, errno,
                                   "map its ids (its file system may know no idmapped mounts)");
        return error_errno(err, errno, "map its ids");
}
