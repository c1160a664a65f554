/* SPDX-License-Identifier: Apache-2.0
 *
 * A process that enters a container is, until its execve, an image of this binary, and so are the
 * shim and its stages, which the container may see through a shared pid namespace. Whoever opens
 * /proc/PID/exe and waits for the process to end could then write to the file, as root on the host.
 * The daemon is therefore executed from a detached mount of the file that is read-only for ever:
 * the mount lives as long as a process runs from it, and nobody can remount it, since no namespace
 * holds it.
 */
#include "cmd/containerd-shim-belay-v2/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"

#define SELF "/proc/self/exe"

static int seal_by_mount(const char *path, int *ret_fd)
{
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
        _cleanup_close_ int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return -errno;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int seal_by_copy(const char *path, int *ret_fd, struct error *err)
{
        _cleanup_close_ int in = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_close_ int fd = memfd_create("belay", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        struct stat st;
        off_t done = 0;

        if (in < 0)
                return error_errno(err, errno, "open '%s'", path);
        if (fd < 0)
                return error_errno(err, errno, "make a memfd");
        if (fstat(in, &st) < 0)
                return error_errno(err, errno, "stat '%s'", path);
        while (done < st.st_size) {
                ssize_t n = sendfile(fd, in, &done, (size_t)(st.st_size - done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return error_errno(err, n < 0 ? errno : EIO, "copy '%s'", path);
        }
        if (fchmod(fd, 0500) < 0)
                return error_errno(err, errno, "chmod the memfd");
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return error_errno(err, errno, "seal the memfd");
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int seal_open(const char *path, int *ret_fd, struct error *err)
{
        if (!path)
                path = SELF;
        if (seal_by_mount(path, ret_fd) == 0)
                return 0;
        return seal_by_copy(path, ret_fd, err);
}
