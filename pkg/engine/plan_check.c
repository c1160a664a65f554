/* SPDX-License-Identifier: Apache-2.0
 *
 * What the runtime-spec demands of properties in combination: what the parser, which sees one
 * property at a time, cannot say. Pure. Errors begin with the path of the property.
 */
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include "pkg/base/error.h"
#include "pkg/base/str.h"
#include "pkg/engine/plan_private.h"

/* user_namespaces(7): lines in a map since Linux 4.15 */
enum { ID_MAPPINGS_MAX = 340 };

static int check_names(const struct oci_spec *spec, struct error *err)
{
        bool has_uts = spec->linux_.namespaces[OCI_NS_UTS].present;

        if (!str_is_empty(spec->hostname) && !has_uts)
                return error_set(err, STATUS_INVALID_ARGUMENT, "hostname: needs a uts namespace");
        if (!str_is_empty(spec->domainname) && !has_uts)
                return error_set(err, STATUS_INVALID_ARGUMENT, "domainname: needs a uts namespace");
        return 0;
}

static int check_net_devices(const struct oci_spec *spec, struct error *err)
{
        if (spec->linux_.n_net_devices > 0 && !spec->linux_.namespaces[OCI_NS_NETWORK].present)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.netDevices: needs a network namespace");
        return 0;
}

static int check_mapping(const struct oci_id_mapping *maps, size_t n, const char *name,
                         struct error *err)
{
        if (n == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.%s: a new user namespace needs it", name);
        if (n > ID_MAPPINGS_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.%s: %zu entries, the kernel takes %d", name, n,
                                 ID_MAPPINGS_MAX);
        for (size_t i = 0; i < n; i++) {
                if (maps[i].size == 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT, "linux.%s[%zu].size: is 0",
                                         name, i);
        }
        return 0;
}

static bool is_mapped(const struct oci_id_mapping *maps, size_t n, uint32_t id)
{
        for (size_t i = 0; i < n; i++) {
                if (id >= maps[i].container_id && id - maps[i].container_id < maps[i].size)
                        return true;
        }
        return false;
}

static int check_user_namespace(const struct oci_spec *spec, struct error *err)
{
        const struct oci_linux *l = &spec->linux_;
        const struct oci_namespace *user = &l->namespaces[OCI_NS_USER];
        const struct oci_user *u = &spec->process.user;

        if (!user->present) {
                if (l->n_uid_mappings > 0 || l->n_gid_mappings > 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "linux.uidMappings: need a user namespace");
                return 0;
        }
        if (user->path)
                return 0; /* its maps are there already */
        if (check_mapping(l->uid_mappings, l->n_uid_mappings, "uidMappings", err) < 0 ||
            check_mapping(l->gid_mappings, l->n_gid_mappings, "gidMappings", err) < 0)
                return -1;
        if (!is_mapped(l->uid_mappings, l->n_uid_mappings, 0) ||
            !is_mapped(l->gid_mappings, l->n_gid_mappings, 0))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.uidMappings: id 0 is not mapped");
        if (!is_mapped(l->uid_mappings, l->n_uid_mappings, u->uid))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "process.user.uid: %u is not in linux.uidMappings", u->uid);
        if (!is_mapped(l->gid_mappings, l->n_gid_mappings, u->gid))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "process.user.gid: %u is not in linux.gidMappings", u->gid);
        for (size_t i = 0; i < u->n_additional_gids; i++) {
                if (!is_mapped(l->gid_mappings, l->n_gid_mappings, u->additional_gids[i]))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "process.user.additionalGids[%zu]: %u is not in "
                                         "linux.gidMappings",
                                         i, u->additional_gids[i]);
        }
        return 0;
}

/* Without a mount namespace the runtime's own mount table would change, so nothing is mounted, and
 * what protects by mounting is refused. */
static int check_mount_namespace(const struct oci_spec *spec, struct error *err)
{
        const char *what = NULL;

        if (spec->linux_.namespaces[OCI_NS_MOUNT].present)
                return 0;
        if (spec->linux_.masked_paths.n > 0)
                what = "linux.maskedPaths";
        else if (spec->linux_.readonly_paths.n > 0)
                what = "linux.readonlyPaths";
        else if (spec->root_readonly)
                what = "root.readonly";
        if (what)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: needs a mount namespace", what);
        return 0;
}

/* The clocks of a time namespace are set by its maker, before anybody is in it. */
static int check_time_offsets(const struct oci_spec *spec, struct error *err)
{
        const struct oci_namespace *ns = &spec->linux_.namespaces[OCI_NS_TIME];

        if (spec->linux_.has_time_offsets && (!ns->present || ns->path))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.timeOffsets: needs a new time namespace");
        return 0;
}

int plan_check_process(const struct oci_process *process, struct error *err)
{
        if (process->args.n == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "process.args: is empty");
        if (!process->cwd || process->cwd[0] != '/')
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "process.cwd: must be an absolute path");
        for (size_t i = 0; i < process->n_rlimits; i++) {
                const struct oci_rlimit *r = &process->rlimits[i];

                if (r->soft > r->hard)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "process.rlimits[%zu]: soft is above hard", i);
                for (size_t j = 0; j < i; j++) {
                        if (process->rlimits[j].resource == r->resource)
                                return error_set(err, STATUS_INVALID_ARGUMENT,
                                                 "process.rlimits[%zu].type: '%s' occurs twice", i,
                                                 r->name ? r->name : "");
                }
        }
        return 0;
}

int plan_check(const struct oci_spec *spec, const struct plan_options *options, struct error *err)
{
        unsigned type = 0;
        bool recursive = false;

        if (!id_is_valid(options->id))
                return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not a container id",
                                 options->id);
        if (!spec->has_process)
                return error_set(err, STATUS_INVALID_ARGUMENT, "process: is missing");
        if (!spec->root_path)
                return error_set(err, STATUS_INVALID_ARGUMENT, "root.path: is missing");
        if (plan_parse_propagation(spec->linux_.rootfs_propagation, &type, &recursive) < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.rootfsPropagation: unknown value '%s'",
                                 spec->linux_.rootfs_propagation);
        if (plan_check_process(&spec->process, err) < 0 || check_names(spec, err) < 0 ||
            check_user_namespace(spec, err) < 0 || check_mount_namespace(spec, err) < 0 ||
            check_net_devices(spec, err) < 0 || check_time_offsets(spec, err) < 0)
                return -1;
        return 0;
}
