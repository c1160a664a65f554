/* SPDX-License-Identifier: Apache-2.0
 *
 * A new instance of a file system, by the mount API of Linux 5.2: it is complete, with its flags,
 * before it is anywhere in the tree.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/child_private.h"

/* fsconfig(2) takes values of at most 255 bytes; overlay's lowerdir may be longer. */
enum { VALUE_MAX = 255, KEY_MAX = 64 };

/* Length of the next option: to the comma that is not escaped by a backslash. */
static size_t option_length(const char *s)
{
        size_t n = 0;

        while (s[n] && s[n] != ',')
                n += s[n] == '\\' && s[n + 1] ? 2 : 1;
        return n;
}

int child_fsmount_is_possible(const struct plan_mount *m)
{
        const char *s = m->options.data;

        if (str_is_empty(s))
                return 1;
        while (*s) {
                size_t n = option_length(s);

                if (n > VALUE_MAX || memchr(s, '\\', n))
                        return 0;
                s += n + (s[n] == ',');
        }
        return 1;
}

static int set_option(int fs, const char *option, size_t n)
{
        const char *equals = memchr(option, '=', n);
        size_t key_len = equals ? (size_t)(equals - option) : n;
        char key[KEY_MAX];
        char value[VALUE_MAX + 1];
        size_t value_len;

        if (n == 0)
                return 0;
        if (key_len >= sizeof(key)) {
                errno = EINVAL;
                return -1;
        }
        memcpy(key, option, key_len);
        key[key_len] = '\0';
        if (!equals)
                return fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0);
        value_len = n - key_len - 1;
        memcpy(value, equals + 1, value_len);
        value[value_len] = '\0';
        return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int set_options(int fs, const char *data)
{
        while (data && *data) {
                size_t n = option_length(data);

                if (set_option(fs, data, n) < 0)
                        return -1;
                data += n + (data[n] == ',');
        }
        return 0;
}

/* Flags that are the superblock's; those of the mount go to fsmount(2). */
static int set_superblock_flags(int fs, const struct plan_mount *m)
{
        static const struct {
                unsigned long flag;
                const char *name;
        } flags[] = {
                {MS_SYNCHRONOUS, "sync"},  {MS_DIRSYNC, "dirsync"}, {MS_MANDLOCK, "mand"},
                {MS_LAZYTIME, "lazytime"}, {MS_RDONLY, "ro"},
        };

        for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
                if (!(m->options.flags & flags[i].flag))
                        continue;
                if (flags[i].flag == MS_RDONLY && !m->private_superblock_flags)
                        continue;
                if (fsconfig(fs, FSCONFIG_SET_FLAG, flags[i].name, NULL, 0) < 0)
                        return -1;
        }
        return 0;
}

static int no_label(const char *label, struct error *err)
{
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "linux.mountLabel: '%s' is no label of the loaded SELinux policy", label);
}

/* Those that it does not take are proc, sysfs and cgroups, whose files have labels of their own,
 * and mqueue, which has one instance for each IPC namespace: only its directory is labelled, and
 * what is made in it has the label of its maker. */
static bool takes_label(const char *type)
{
        return strcmp(type, "proc") != 0 && strcmp(type, "sysfs") != 0 &&
               strcmp(type, "mqueue") != 0 && !str_has_prefix(type, "cgroup");
}

static int label_directory(int mount, const char *label, struct error *err)
{
        _cleanup_close_ int fd = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd >= 0 && fsetxattr(fd, "security.selinux", label, strlen(label) + 1, 0) == 0)
                return 0;
        if (fd >= 0 && errno == EINVAL)
                return no_label(label, err);
        return error_errno(err, errno, "label the root of 'mqueue' '%s'", label);
}

/* errno, and what the file system itself has to say about it. */
static int report(int fs, const struct plan_mount *m, struct error *err)
{
        int saved = errno;
        char text[200];
        ssize_t n = read(fs, text, sizeof(text) - 1);

        if (n > 2 && (text[0] == 'e' || text[0] == 'w')) {
                text[n] = '\0';
                text[strcspn(text, "\n")] = '\0';
                return error_errno(err, saved, "mount '%s' on '%s': %s", m->source, m->destination,
                                   text + 2);
        }
        return error_errno(err, saved, "mount '%s' on '%s'", m->source, m->destination);
}

int child_fsmount(const struct plan *plan, const struct plan_mount *m, const char *extra_options,
                  struct error *err)
{
        _cleanup_close_ int fs = fsopen(m->type, FSOPEN_CLOEXEC);
        const char *label = plan->private_->mount_label;
        uint64_t attr =
                m->readonly_later ? m->attr_set & ~(uint64_t)MOUNT_ATTR_RDONLY : m->attr_set;
        _cleanup_close_ int fd = -1;

        if (fs < 0 && errno == ENODEV)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mount '%s' on '%s': this kernel has no file system '%s'",
                                 m->source, m->destination, m->type);
        if (fs < 0)
                return error_errno(err, errno, "mount '%s' on '%s'", m->source, m->destination);
        if (fsconfig(fs, FSCONFIG_SET_STRING, "source", m->source, 0) < 0 ||
            set_superblock_flags(fs, m) < 0 || set_options(fs, extra_options) < 0 ||
            set_options(fs, m->options.data) < 0)
                return report(fs, m, err);
        if (label && takes_label(m->type) &&
            fsconfig(fs, FSCONFIG_SET_STRING, "context", label, 0) < 0)
                return errno == EINVAL ? no_label(label, err) : report(fs, m, err);
        if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return report(fs, m, err);
        fd = fsmount(fs, FSMOUNT_CLOEXEC, (unsigned)attr);
        if (fd < 0)
                return report(fs, m, err);
        if (label && strcmp(m->type, "mqueue") == 0 && label_directory(fd, label, err) < 0)
                return -1;
        return TAKE_FD(fd);
}
