/* SPDX-License-Identifier: Apache-2.0
 *
 * Options of Create: see options.h. CRIU's paths are passed over; shim_cgroup is the business of
 * `start`.
 */
#include "shim/options.h"

#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/runc/runc.h"

#include "containerd/linux/runc/options.pb-c.h"
#include "containerd/runc/v1/options.pb-c.h"
#include "runtimeoptions/v1/options.pb-c.h"
#include "shim/log.h"

static void *allocate(void *arena, size_t size)
{
        return arena_alloc(arena, size);
}

static void release(void *arena, void *p)
{
        (void)arena;
        (void)p;
}

/* The name of the message behind a type URL, which may have a host before it. */
static const char *type_name(const char *type_url)
{
        const char *slash = strrchr(type_url, '/');

        return slash ? slash + 1 : type_url;
}

/*
 * binary_name: nothing and "belay" mean the engine, all else the binary of that name. "runc" by its
 * mere name is what Docker and many a config.toml say by default, so a host without runc is no
 * error: then the engine runs the container.
 */
static int find_binary(const char *name, struct arena *arena, struct create_options *ret,
                       struct error *err)
{
        _cleanup_free_ char *path = NULL;

        if (!*name || strcmp(name, "belay") == 0)
                return 0;
        if (runc_find(name, &path, err) < 0) {
                if (strcmp(name, "runc") != 0)
                        return -1;
                log_warning("options.binary_name is 'runc', which is not installed: the built-in "
                            "engine runs the container");
                return 0;
        }
        ret->binary = arena_strdup(arena, path);
        return ret->binary ? 0 : error_set(err, STATUS_RESOURCE_EXHAUSTED, "options: no memory");
}

static int parse_current(const Google__Protobuf__Any *any, ProtobufCAllocator *allocator,
                         struct arena *arena, struct create_options *ret, struct error *err)
{
        const Containerd__Runc__V1__Options *options =
                containerd__runc__v1__options__unpack(allocator, any->value.len, any->value.data);

        if (!options)
                return error_set(err, STATUS_INVALID_ARGUMENT, "options are not a valid '%s'",
                                 any->type_url);
        if (find_binary(options->binary_name, arena, ret, err) < 0)
                return -1;
        ret->root = options->root;
        ret->no_pivot_root = options->no_pivot_root;
        ret->no_new_keyring = options->no_new_keyring;
        ret->systemd_cgroup = options->systemd_cgroup;
        ret->io_uid = options->io_uid;
        ret->io_gid = options->io_gid;
        return 0;
}

/* From clients before 2.0, for a runtime whose name does not begin with io.containerd.runc. */
static int parse_old(const Google__Protobuf__Any *any, ProtobufCAllocator *allocator,
                     struct create_options *ret, struct error *err)
{
        const Containerd__Linux__Runc__CreateOptions *options =
                containerd__linux__runc__create_options__unpack(allocator, any->value.len,
                                                                any->value.data);

        if (!options)
                return error_set(err, STATUS_INVALID_ARGUMENT, "options are not a valid '%s'",
                                 any->type_url);
        ret->no_pivot_root = options->no_pivot_root;
        ret->no_new_keyring = options->no_new_keyring;
        ret->io_uid = options->io_uid;
        ret->io_gid = options->io_gid;
        return 0;
}

int create_options_parse(const Google__Protobuf__Any *any, struct arena *arena,
                         struct create_options *ret, struct error *err)
{
        ProtobufCAllocator allocator = {
                .alloc = allocate,
                .free = release,
                .allocator_data = arena,
        };
        const char *name;

        *ret = (struct create_options){.root = ""};
        if (!any || any->value.len == 0)
                return 0;
        name = type_name(any->type_url);
        if (strcmp(name, runtimeoptions__v1__options__descriptor.name) == 0) {
                log_debug("options of type '%s' are passed over", any->type_url);
                return 0;
        }
        if (strcmp(name, containerd__runc__v1__options__descriptor.name) == 0)
                return parse_current(any, &allocator, arena, ret, err);
        if (strcmp(name, containerd__linux__runc__create_options__descriptor.name) == 0)
                return parse_old(any, &allocator, ret, err);
        return error_set(err, STATUS_INVALID_ARGUMENT, "options have the unknown type '%s'",
                         any->type_url);
}
