/* SPDX-License-Identifier: Apache-2.0
 *
 * Options of mounts, from one table: see mount_options.h. The last of two options that contradict
 * each other wins, as with mount(8).
 *
 * Invariant: attr_rec_set and attr_rec_clear are what mount_setattr(2) accepts: it wants the whole
 * field of atime modes cleared where one of them is set.
 */
#include "pkg/oci/mount_options.h"

#include <string.h>
#include <sys/mount.h>

enum kind {
        KIND_NOTHING, /* "defaults": what is so anyway */
        KIND_SET,
        KIND_CLEAR,
        KIND_PROPAGATION,
        KIND_REC_SET, /* the recursive attributes: MOUNT_ATTR_* */
        KIND_REC_CLEAR,
        KIND_REC_ATIME,
        KIND_TMPCOPYUP,
        KIND_IDMAP,
};

struct option {
        const char *name;
        enum kind kind;
        unsigned long bits;
};

/* Kernel-wide at most one of these is in force. */
static const unsigned long atime_modes = MS_NOATIME | MS_RELATIME | MS_STRICTATIME;

static const struct option options_known[] = {
        {"defaults", KIND_NOTHING, 0},
        {"ro", KIND_SET, MS_RDONLY},
        {"rw", KIND_CLEAR, MS_RDONLY},
        {"nosuid", KIND_SET, MS_NOSUID},
        {"suid", KIND_CLEAR, MS_NOSUID},
        {"nodev", KIND_SET, MS_NODEV},
        {"dev", KIND_CLEAR, MS_NODEV},
        {"noexec", KIND_SET, MS_NOEXEC},
        {"exec", KIND_CLEAR, MS_NOEXEC},
        {"sync", KIND_SET, MS_SYNCHRONOUS},
        {"async", KIND_CLEAR, MS_SYNCHRONOUS},
        {"dirsync", KIND_SET, MS_DIRSYNC},
        {"remount", KIND_SET, MS_REMOUNT},
        {"mand", KIND_SET, MS_MANDLOCK},
        {"nomand", KIND_CLEAR, MS_MANDLOCK},
        {"noatime", KIND_SET, MS_NOATIME},
        {"atime", KIND_CLEAR, MS_NOATIME},
        {"nodiratime", KIND_SET, MS_NODIRATIME},
        {"diratime", KIND_CLEAR, MS_NODIRATIME},
        {"relatime", KIND_SET, MS_RELATIME},
        {"norelatime", KIND_CLEAR, MS_RELATIME},
        {"strictatime", KIND_SET, MS_STRICTATIME},
        {"nostrictatime", KIND_CLEAR, MS_STRICTATIME},
        {"iversion", KIND_SET, MS_I_VERSION},
        {"noiversion", KIND_CLEAR, MS_I_VERSION},
        {"lazytime", KIND_SET, MS_LAZYTIME},
        {"nolazytime", KIND_CLEAR, MS_LAZYTIME},
        {"silent", KIND_SET, MS_SILENT},
        {"loud", KIND_CLEAR, MS_SILENT},
        {"nosymfollow", KIND_SET, MS_NOSYMFOLLOW},
        {"symfollow", KIND_CLEAR, MS_NOSYMFOLLOW},
        {"bind", KIND_SET, MS_BIND},
        {"rbind", KIND_SET, MS_BIND | MS_REC},

        {"shared", KIND_PROPAGATION, MS_SHARED},
        {"slave", KIND_PROPAGATION, MS_SLAVE},
        {"private", KIND_PROPAGATION, MS_PRIVATE},
        {"unbindable", KIND_PROPAGATION, MS_UNBINDABLE},
        {"rshared", KIND_PROPAGATION, MS_SHARED | MS_REC},
        {"rslave", KIND_PROPAGATION, MS_SLAVE | MS_REC},
        {"rprivate", KIND_PROPAGATION, MS_PRIVATE | MS_REC},
        {"runbindable", KIND_PROPAGATION, MS_UNBINDABLE | MS_REC},

        {"rro", KIND_REC_SET, MOUNT_ATTR_RDONLY},
        {"rrw", KIND_REC_CLEAR, MOUNT_ATTR_RDONLY},
        {"rnosuid", KIND_REC_SET, MOUNT_ATTR_NOSUID},
        {"rsuid", KIND_REC_CLEAR, MOUNT_ATTR_NOSUID},
        {"rnodev", KIND_REC_SET, MOUNT_ATTR_NODEV},
        {"rdev", KIND_REC_CLEAR, MOUNT_ATTR_NODEV},
        {"rnoexec", KIND_REC_SET, MOUNT_ATTR_NOEXEC},
        {"rexec", KIND_REC_CLEAR, MOUNT_ATTR_NOEXEC},
        {"rnodiratime", KIND_REC_SET, MOUNT_ATTR_NODIRATIME},
        {"rdiratime", KIND_REC_CLEAR, MOUNT_ATTR_NODIRATIME},
        {"rnosymfollow", KIND_REC_SET, MOUNT_ATTR_NOSYMFOLLOW},
        {"rsymfollow", KIND_REC_CLEAR, MOUNT_ATTR_NOSYMFOLLOW},
        /* The opposite of any atime mode is the kernel's default, relatime, which is 0. */
        {"rnoatime", KIND_REC_ATIME, MOUNT_ATTR_NOATIME},
        {"ratime", KIND_REC_ATIME, MOUNT_ATTR_RELATIME},
        {"rrelatime", KIND_REC_ATIME, MOUNT_ATTR_RELATIME},
        {"rnorelatime", KIND_REC_ATIME, MOUNT_ATTR_RELATIME},
        {"rstrictatime", KIND_REC_ATIME, MOUNT_ATTR_STRICTATIME},
        {"rnostrictatime", KIND_REC_ATIME, MOUNT_ATTR_RELATIME},

        {"tmpcopyup", KIND_TMPCOPYUP, 0},
        {"idmap", KIND_IDMAP, 0},
        {"ridmap", KIND_IDMAP, MS_REC},
};

enum { DATA_MAX = 4095 }; /* mount(2): one page, with the NUL */

static const struct option *option_find(const char *name)
{
        for (size_t i = 0; i < sizeof(options_known) / sizeof(options_known[0]); i++)
                if (strcmp(options_known[i].name, name) == 0)
                        return &options_known[i];
        return NULL;
}

static void flags_set(struct oci_mount_options *o, unsigned long bits)
{
        if (bits & atime_modes)
                o->flags &= ~atime_modes;
        o->flags |= bits;
        o->cleared &= ~bits;
        o->is_bind = o->is_bind || (bits & MS_BIND);
}

static void option_apply(struct oci_mount_options *o, const struct option *option)
{
        switch (option->kind) {
        case KIND_NOTHING:
                break;
        case KIND_SET:
                flags_set(o, option->bits);
                break;
        case KIND_CLEAR:
                o->flags &= ~option->bits;
                o->cleared |= option->bits;
                break;
        case KIND_PROPAGATION:
                o->propagation = option->bits;
                break;
        case KIND_REC_SET:
                o->attr_rec_set |= option->bits;
                o->attr_rec_clear &= ~(uint64_t)option->bits;
                break;
        case KIND_REC_CLEAR:
                o->attr_rec_set &= ~(uint64_t)option->bits;
                o->attr_rec_clear |= option->bits;
                break;
        case KIND_REC_ATIME:
                o->attr_rec_set &= ~(uint64_t)MOUNT_ATTR__ATIME;
                o->attr_rec_set |= option->bits;
                o->attr_rec_clear |= MOUNT_ATTR__ATIME;
                break;
        case KIND_TMPCOPYUP:
                o->tmpcopyup = true;
                break;
        case KIND_IDMAP:
                o->idmap = true;
                o->idmap_recursive = option->bits & MS_REC;
                break;
        }
}

/* data has room for all options, each with a comma or the NUL behind it. */
static size_t data_add(char *data, size_t used, const char *option)
{
        size_t len = strlen(option);

        if (used > 0)
                data[used++] = ',';
        memcpy(data + used, option, len + 1);
        return used + len;
}

int oci_mount_options_parse(const char *const *options, size_t n, struct arena *arena,
                            struct oci_mount_options *ret, struct error *err)
{
        struct oci_mount_options o = {0};
        size_t room = 1;
        size_t used = 0;

        for (size_t i = 0; i < n; i++)
                room += option_find(options[i]) ? 0 : strlen(options[i]) + 1;
        o.data = arena_alloc(arena, room);
        if (!o.data)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "mount options: out of memory");
        for (size_t i = 0; i < n; i++) {
                const struct option *option = option_find(options[i]);

                if (option)
                        option_apply(&o, option);
                else if (options[i][0])
                        used = data_add(o.data, used, options[i]);
        }
        if (used > DATA_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "mount options: %zu bytes, more than the %d that mount(2) takes",
                                 used, DATA_MAX);
        *ret = o;
        return 0;
}

const char *oci_mount_option_name(size_t index)
{
        return index < sizeof(options_known) / sizeof(options_known[0]) ? options_known[index].name
                                                                        : NULL;
}
