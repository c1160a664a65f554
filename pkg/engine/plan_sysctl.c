/* SPDX-License-Identifier: Apache-2.0
 *
 * Which kernel parameters a container may set: only those of a namespace that is its own. All
 * others would change the host.
 */
#include <stddef.h>
#include <string.h>

#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/plan_private.h"

/* namespaces(7), ipc_namespaces(7) */
static bool is_ipc_key(const char *path)
{
        static const char *const keys[] = {
                "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem",
                "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced",
        };

        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                if (strcmp(path, keys[i]) == 0)
                        return true;
        }
        return str_has_prefix(path, "fs/mqueue/");
}

/* sysctl.d(5): the first separator of a key decides which of `.` and `/` separates. */
static void translate(char *key)
{
        const char *first = strpbrk(key, "./");

        if (!first || *first == '/')
                return;
        for (char *p = key; *p; p++) {
                if (*p == '.')
                        *p = '/';
                else if (*p == '/')
                        *p = '.';
        }
}

/* No empty part, no "." and no "..". */
static bool is_plain(const char *path)
{
        for (const char *p = path;; p++) {
                size_t n = strcspn(p, "/");

                if (n == 0 || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.'))))
                        return false;
                p += n;
                if (!*p)
                        return true;
        }
}

int plan_sysctl_path(const struct oci_spec *spec, const char *key, struct arena *arena,
                     const char **ret, enum oci_namespace_type *ret_type, struct error *err)
{
        const struct oci_namespace *ns = spec->linux_.namespaces;
        char *path = arena_printf(arena, "sys/%s", key);
        const char *below;
        const char *name;
        enum oci_namespace_type type;

        if (!path)
                return plan_no_memory(err);
        translate(path + 4);
        below = path + 4;
        if (!is_plain(below))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.sysctl: '%s' is not a kernel parameter", key);
        if (is_ipc_key(below)) {
                type = OCI_NS_IPC;
                name = "ipc";
        } else if (str_has_prefix(below, "net/")) {
                type = OCI_NS_NETWORK;
                name = "network";
        } else if (strcmp(below, "kernel/hostname") == 0) {
                /* There is a property for it, which other runtimes insist on, too. */
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.sysctl: '%s' is not allowed: it is the property 'hostname'",
                                 key);
        } else if (strcmp(below, "kernel/domainname") == 0) {
                type = OCI_NS_UTS;
                name = "uts";
        } else {
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.sysctl: '%s' is not in a namespace of its own: it would "
                                 "change the host",
                                 key);
        }
        if (!ns[type].present)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.sysctl: '%s' needs a %s namespace", key, name);
        if (type == OCI_NS_UTS && spec->domainname)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.sysctl: '%s' is set by 'domainname' already", key);
        *ret = path;
        *ret_type = type;
        return 0;
}
