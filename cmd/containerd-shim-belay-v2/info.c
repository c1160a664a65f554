/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program says of itself: -v for people, -info for containerd 2.0 and later, which reads
 * the OCI features from it before it allows idmapped mounts.
 */
#include <containerd/runc/v1/options.pb-c.h>
#include <containerd/types/introspection.pb-c.h>
#include <errno.h>
#include <google/protobuf/any.pb-c.h>
#include <runtimeoptions/v1/options.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/engine/engine.h"
#include "pkg/runc/runc.h"

#include "cmd/containerd-shim-belay-v2/actions.h"
#include "cmd/containerd-shim-belay-v2/input.h"
#include "cmd/containerd-shim-belay-v2/self.h"
#include "version.h"

#define RUNTIME_NAME  "io.containerd.belay.v2"
#define FEATURES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

static void any_free(Google__Protobuf__Any *any)
{
        google__protobuf__any__free_unpacked(any, NULL);
}
CLEANUP_DEFINE(Google__Protobuf__Any, any_free)

int action_version(const struct options *options, struct error *err)
{
        _cleanup_free_ char *self = self_path();

        (void)options;
        if (!self)
                return error_errno(err, ENOMEM, "print the version");
        dprintf(STDOUT_FILENO, "%s:\n  Version:  %s\n  Revision: %s\n\n", path_basename(self),
                BELAY_VERSION, BELAY_REVISION);
        return 0;
}

/* The caller's options, to be echoed. None is fine; a type that no shim of ours takes is not. */
static int read_options(Google__Protobuf__Any **ret, struct error *err)
{
        _cleanup_(any_free_p) Google__Protobuf__Any *any = NULL;
        _cleanup_free_ char *data = NULL;
        const char *type;
        size_t len = 0;
        int r = fd_read_all(STDIN_FILENO, LIMIT_BOOTSTRAP_BYTES, &data, &len);

        if (r < 0 && r != -EBADF)
                return error_errno(err, -r, "read standard input");
        if (len == 0)
                return 0;
        any = google__protobuf__any__unpack(NULL, len, (const uint8_t *)data);
        if (!any)
                return error_set(err, STATUS_INVALID_ARGUMENT, "decode standard input: not an Any");
        type = any_type_name(any->type_url);
        if (*type && !str_equal(type, containerd__runc__v1__options__descriptor.name) &&
            !str_equal(type, runtimeoptions__v1__options__descriptor.name))
                return error_set(err, STATUS_INVALID_ARGUMENT, "options of type '%s' are not known",
                                 any->type_url);
        *ret = TAKE_PTR(any);
        return 0;
}

static int print_info(const Containerd__Types__RuntimeInfo *info, struct error *err)
{
        size_t len = containerd__types__runtime_info__get_packed_size(info);
        _cleanup_free_ uint8_t *data = malloc(len);
        int r;

        if (!data)
                return error_errno(err, ENOMEM, "print the runtime's description");
        containerd__types__runtime_info__pack(info, data);
        r = fd_write_all(STDOUT_FILENO, data, len);
        return r < 0 ? error_errno(err, -r, "write to standard output") : 0;
}

static void runc_options_free(Containerd__Runc__V1__Options *options)
{
        containerd__runc__v1__options__free_unpacked(options, NULL);
}
CLEANUP_DEFINE(Containerd__Runc__V1__Options, runc_options_free)

/*
 * The features of what would run a container with these options: the rules are those of Create. A
 * binary that cannot tell leaves *ret NULL.
 */
static int read_features(const Google__Protobuf__Any *any, char **ret, struct error *err)
{
        _cleanup_(runc_options_free_p) Containerd__Runc__V1__Options *options = NULL;
        _cleanup_free_ char *binary = NULL;
        struct error why = ERROR_INIT;
        const char *name = "";

        if (any && str_equal(any_type_name(any->type_url),
                             containerd__runc__v1__options__descriptor.name)) {
                options = containerd__runc__v1__options__unpack(NULL, any->value.len,
                                                                any->value.data);
                if (!options)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "options are not a valid '%s'", any->type_url);
                name = options->binary_name;
        }
        if (!*name || str_equal(name, "belay"))
                return engine_features(ret, err);
        if (runc_find(name, &binary, err) < 0)
                return str_equal(name, "runc") ? engine_features(ret, err) : -1;
        if (runc_features(binary, ret, &why) < 0)
                dprintf(STDERR_FILENO, "features: %s\n", why.msg);
        return 0;
}

int action_info(const struct options *options, struct error *err)
{
        Containerd__Types__RuntimeInfo info = CONTAINERD__TYPES__RUNTIME_INFO__INIT;
        Containerd__Types__RuntimeVersion version = CONTAINERD__TYPES__RUNTIME_VERSION__INIT;
        Google__Protobuf__Any features = GOOGLE__PROTOBUF__ANY__INIT;
        _cleanup_(any_free_p) Google__Protobuf__Any *echo = NULL;
        _cleanup_free_ char *json = NULL;

        (void)options;
        if (read_options(&echo, err) < 0 || read_features(echo, &json, err) < 0)
                return -1;
        version.version = (char *)BELAY_VERSION;
        version.revision = (char *)BELAY_REVISION;
        features.type_url = (char *)FEATURES_TYPE;
        features.value.data = (uint8_t *)json;
        features.value.len = json ? strlen(json) : 0;
        info.name = (char *)RUNTIME_NAME;
        info.version = &version;
        info.options = echo;
        info.features = json ? &features : NULL;
        return print_info(&info, err);
}
