/* SPDX-License-Identifier: Apache-2.0
 *
 * The terminal. Both ends come from the container's own devpts and are checked to be there; the
 * slave is got from the master, never by a path (CVE-2025-52565).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/engine/child_private.h"

/* Documentation/admin-guide/devices.txt: 5:2 is /dev/ptmx */
enum { PTMX_MAJOR = 5, PTMX_MINOR = 2 };

/* Descriptors 0-2 are about to be replaced. */
static int above_stdio(int fd)
{
        int moved;

        if (fd < 0 || fd > 2)
                return fd;
        moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        fd_close(fd);
        return moved;
}

static int open_master(const struct plan *plan, struct error *err)
{
        _cleanup_close_ int fd = above_stdio(child_open_in_root_nofollow(
                child_root(plan), "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
        struct stat st;
        int unlocked = 0;

        if (fd < 0)
                return error_errno(err, errno, "terminal: open '/dev/pts/ptmx'");
        if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) ||
            st.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR) || !child_is_on(fd, DEVPTS_SUPER_MAGIC))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "terminal: '/dev/pts/ptmx' is not a devpts");
        if (fcntl(fd, F_SETFL, O_RDWR) < 0 || ioctl(fd, TIOCSPTLCK, &unlocked) < 0)
                return error_errno(err, errno, "terminal: unlock");
        return TAKE_FD(fd);
}

static int open_slave(const struct plan *plan, int master, struct error *err)
{
        const struct oci_process *process = plan->process;
        _cleanup_close_ int fd =
                above_stdio(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
        struct winsize size = {.ws_row = process->console_height, .ws_col = process->console_width};

        if (fd < 0)
                return error_errno(err, errno, "terminal: open the slave");
        if (!child_is_on(fd, DEVPTS_SUPER_MAGIC))
                return error_set(err, STATUS_UNKNOWN, "terminal: the slave is not on devpts");
        if (process->has_console_size && ioctl(fd, TIOCSWINSZ, &size) < 0)
                return error_errno(err, errno, "terminal: set the size");
        /* the group stays what devpts's gid= says */
        if (fchown(fd, process->user.uid, (gid_t)-1) < 0 && errno != EPERM && errno != EINVAL &&
            errno != EROFS)
                return error_errno(err, errno, "terminal: change the owner");
        return TAKE_FD(fd);
}

static int bind_console(const struct plan *plan, int slave, struct error *err)
{
        int root = child_root(plan);
        _cleanup_close_ int dev = child_open_in_root_nofollow(root, "/dev", O_PATH | O_DIRECTORY);
        _cleanup_close_ int target = -1;
        _cleanup_close_ int tree = -1;

        if (dev < 0)
                return error_errno(err, errno, "terminal: open '/dev'");
        if (mknodat(dev, "console", S_IFREG | 0600, 0) < 0 && errno != EEXIST)
                return error_errno(err, errno, "terminal: make '/dev/console'");
        target = child_open_name(dev, "console");
        if (target < 0)
                return error_errno(err, errno, "terminal: open '/dev/console'");
        tree = open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (tree < 0 || child_move_mount(tree, target) < 0)
                return error_errno(err, errno, "terminal: mount on '/dev/console'");
        return 0;
}

int child_open_console(const struct plan *plan, bool bind, int *ret_master, struct error *err)
{
        _cleanup_close_ int master = -1;
        _cleanup_close_ int slave = -1;

        if (!plan->options.terminal)
                return 0;
        master = open_master(plan, err);
        if (master < 0)
                return -1;
        slave = open_slave(plan, master, err);
        if (slave < 0)
                return -1;
        if (bind && plan->private_->has_mount_namespace && bind_console(plan, slave, err) < 0)
                return -1;
        if (ioctl(slave, TIOCSCTTY, 0) < 0)
                return error_errno(err, errno, "terminal: make it the controlling terminal");
        for (int i = 0; i <= 2; i++) {
                if (dup2(slave, i) < 0)
                        return error_errno(err, errno, "terminal: descriptor %d", i);
        }
        *ret_master = TAKE_FD(master);
        return 0;
}
