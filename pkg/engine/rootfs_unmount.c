/* SPDX-License-Identifier: Apache-2.0
 *
 * Unmounting the rootfs: see rootfs_mounts.h. The usual case is one umount2(2) that succeeds and
 * one that says EINVAL; the table of all mounts, which is long on a busy host, is read only where
 * something is mounted below.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"
#include "pkg/engine/rootfs_mounts.h"

enum {
        BUSY_TRIES = 50,
        BUSY_PAUSE_MS = 50,
        /* Two lines of 300 bytes for each of 100000 containers. */
        MOUNTINFO_MAX = 64 << 20,
};

struct mount_point {
        char *path; /* inside the text of mountinfo */
        size_t len;
        size_t order;
};

/* All mounts on one path. -EBUSY after so many tries. */
static int unmount_path(const char *path, int tries)
{
        for (;;) {
                const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * (long)NSEC_PER_MSEC};

                if (umount2(path, UMOUNT_NOFOLLOW) == 0)
                        continue;
                if (errno == EINVAL || errno == ENOENT)
                        return 0;
                if (errno != EBUSY)
                        return -errno;
                if (--tries <= 0)
                        return -EBUSY;
                (void)nanosleep(&pause, NULL);
        }
}

/* Undoes the escapes of mountinfo: space, tab, newline and backslash as three octal digits. */
static void unescape(char *s)
{
        char *to = s;

        while (*s) {
                if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
                    s[3] >= '0' && s[3] <= '7') {
                        *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
                        s += 4;
                } else {
                        *to++ = *s++;
                }
        }
        *to = '\0';
}

/* The mount point of a line of mountinfo (proc(5)): its fifth field. Cuts the line. */
static char *line_mount_point(char *line)
{
        for (int i = 0; i < 4; i++) {
                line = strchr(line, ' ');
                if (!line)
                        return NULL;
                line++;
        }
        line[strcspn(line, " ")] = '\0';
        unescape(line);
        return line;
}

static int compare_depth(const void *a, const void *b)
{
        const struct mount_point *x = a;
        const struct mount_point *y = b;

        if (x->len != y->len)
                return x->len < y->len ? 1 : -1;
        return x->order < y->order ? 1 : -1;
}

/* Mount points at or below path, deepest first; the array is on the heap. */
static int find_below(char *mountinfo, const char *path, struct mount_point **ret, size_t *ret_n)
{
        _cleanup_free_ struct mount_point *found = NULL;
        size_t path_len = strlen(path);
        size_t room = 0;
        size_t n = 0;
        char *save = NULL;

        for (char *line = strtok_r(mountinfo, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save)) {
                char *point = line_mount_point(line);

                if (!point || strncmp(point, path, path_len) != 0 ||
                    (point[path_len] != '\0' && point[path_len] != '/'))
                        continue;
                if (n == room) {
                        struct mount_point *grown;

                        room = room ? room * 2 : 16;
                        grown = realloc(found, room * sizeof(*found));
                        if (!grown)
                                return -ENOMEM;
                        found = grown;
                }
                found[n] = (struct mount_point){.path = point, .len = strlen(point), .order = n};
                n++;
        }
        if (n > 1)
                qsort(found, n, sizeof(*found), compare_depth);
        *ret = TAKE_PTR(found);
        *ret_n = n;
        return 0;
}

/* The path as mountinfo tells it: the directory resolved, the last component as it is. */
static char *canonical(const char *path)
{
        const char *slash = strrchr(path, '/');
        _cleanup_free_ char *parent = slash ? strndup(path, (size_t)(slash - path)) : NULL;
        _cleanup_free_ char *resolved = NULL;

        if (parent)
                resolved = realpath(*parent ? parent : "/", NULL);
        if (!resolved)
                return NULL;
        return str_printf("%s%s", strcmp(resolved, "/") == 0 ? "" : resolved, slash);
}

static int unmount_tree(const char *given, bool lazy, struct error *err)
{
        _cleanup_free_ char *path = canonical(given);
        _cleanup_free_ char *mountinfo = NULL;
        _cleanup_free_ struct mount_point *points = NULL;
        size_t n = 0;
        int r;

        if (!path)
                return 0; /* no such directory, nothing mounted there */
        r = file_read(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, NULL);
        if (r < 0)
                return error_errno(err, -r, "read /proc/self/mountinfo");
        r = find_below(mountinfo, path, &points, &n);
        if (r < 0)
                return error_errno(err, -r, "read /proc/self/mountinfo");
        for (size_t i = 0; i < n; i++) {
                r = unmount_path(points[i].path, lazy ? 1 : BUSY_TRIES);
                if (r == -EBUSY && lazy)
                        r = umount2(points[i].path, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 ? -errno : 0;
                if (r < 0 && r != -EINVAL)
                        return error_errno(err, -r, "unmount '%s'", points[i].path);
        }
        return 0;
}

int rootfs_unmount(const char *rootfs, enum rootfs_unmount_how how, struct error *err)
{
        int r;

        if (how != ROOTFS_UNMOUNT_SIMPLE)
                return unmount_tree(rootfs, how == ROOTFS_UNMOUNT_LAZY, err);
        r = unmount_path(rootfs, 1);
        if (r == -EBUSY)
                return unmount_tree(rootfs, false, err);
        if (r < 0)
                return error_errno(err, -r, "unmount '%s'", rootfs);
        return 0;
}
