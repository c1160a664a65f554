/* SPDX-License-Identifier: Apache-2.0
 *
 * A legacy caller's Any decodes as BootstrapParams, too (its two fields have the same wire type),
 * so what decides is whether the message names the same container as the flags do.
 */
#include "cmd/containerd-shim-belay-v2/input.h"

#include <containerd/linux/runc/options.pb-c.h>
#include <containerd/runc/v1/options.pb-c.h>
#include <containerd/runtime/bootstrap/v1/bootstrap.pb-c.h>
#include <errno.h>
#include <google/protobuf/any.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

typedef Containerd__Runtime__Bootstrap__V1__BootstrapParams Params;
typedef Containerd__Runtime__Bootstrap__V1__BootstrapResult Result;
typedef Containerd__Runc__V1__Options RuncOptions;
typedef Containerd__Linux__Runc__CreateOptions OldOptions;

static void params_free(Params *params)
{
        containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(params, NULL);
}
CLEANUP_DEFINE(Params, params_free)

static void any_free(Google__Protobuf__Any *any)
{
        google__protobuf__any__free_unpacked(any, NULL);
}
CLEANUP_DEFINE(Google__Protobuf__Any, any_free)

static void runc_options_free(RuncOptions *options)
{
        containerd__runc__v1__options__free_unpacked(options, NULL);
}
CLEANUP_DEFINE(RuncOptions, runc_options_free)

static void old_options_free(OldOptions *options)
{
        containerd__linux__runc__create_options__free_unpacked(options, NULL);
}
CLEANUP_DEFINE(OldOptions, old_options_free)

const char *any_type_name(const char *type_url)
{
        const char *slash = strrchr(type_url, '/');

        return slash ? slash + 1 : type_url;
}

/* A copy of a protobuf string, NULL for an empty one. */
static int copy_string(char **ret, const char *s, struct error *err)
{
        if (str_is_empty(s))
                return 0;
        *ret = strdup(s);
        return *ret ? 0 : error_errno(err, ENOMEM, "copy the caller's parameters");
}

static int set_shim_cgroup(struct input *input, const char *shim_cgroup, struct error *err)
{
        free(input->shim_cgroup);
        input->shim_cgroup = NULL;
        return copy_string(&input->shim_cgroup, shim_cgroup, err);
}

static int read_runtime_options(const Google__Protobuf__Any *any, struct input *input,
                                struct error *err)
{
        _cleanup_(old_options_free_p) OldOptions *old = NULL;
        _cleanup_(runc_options_free_p) RuncOptions *options = NULL;
        const char *type;

        if (!any)
                return 0;
        type = any_type_name(any->type_url);
        if (str_equal(type, containerd__runc__v1__options__descriptor.name)) {
                options = containerd__runc__v1__options__unpack(NULL, any->value.len,
                                                                any->value.data);
                if (options)
                        return set_shim_cgroup(input, options->shim_cgroup, err);
        } else if (str_equal(type, containerd__linux__runc__create_options__descriptor.name)) {
                old = containerd__linux__runc__create_options__unpack(NULL, any->value.len,
                                                                      any->value.data);
                if (old)
                        return set_shim_cgroup(input, old->shim_cgroup, err);
        } else {
                return 0;
        }
        return error_set(err, STATUS_INVALID_ARGUMENT, "decode the runtime options: malformed %s",
                         any->type_url);
}

static int read_params(const Params *params, struct input *input, struct error *err)
{
        input->bootstrap = true;
        input->debug =
                params->log_level <= CONTAINERD__RUNTIME__BOOTSTRAP__V1__LOG_LEVEL__LOG_LEVEL_DEBUG;
        if (copy_string(&input->ttrpc_address, params->containerd_ttrpc_address, err) < 0 ||
            copy_string(&input->socket_dir, params->socket_dir, err) < 0)
                return -1;
        for (size_t i = 0; i < params->n_extensions; i++) {
                if (read_runtime_options(params->extensions[i]->value, input, err) < 0)
                        return -1;
        }
        return 0;
}

static int read_legacy(const void *data, size_t len, struct input *input, struct error *err)
{
        _cleanup_(any_free_p) Google__Protobuf__Any *any =
                google__protobuf__any__unpack(NULL, len, data);

        if (!any)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "decode standard input: neither BootstrapParams nor Any");
        return read_runtime_options(any, input, err);
}

int input_decode(const void *data, size_t len, const struct options *options, struct input *ret,
                 struct error *err)
{
        _cleanup_(params_free_p) Params *params =
                containerd__runtime__bootstrap__v1__bootstrap_params__unpack(NULL, len, data);
        struct input input = {0};
        int r;

        if (params && len > 0 && str_equal(params->instance_id, options->id) &&
            str_equal(params->namespace_, options->runtime_namespace))
                r = read_params(params, &input, err);
        else
                r = read_legacy(data, len, &input, err);
        if (r < 0) {
                input_deinit(&input);
                return -1;
        }
        *ret = input;
        return 0;
}

int input_read(int fd, const struct options *options, struct input *ret, struct error *err)
{
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int r = fd_read_all(fd, LIMIT_BOOTSTRAP_BYTES, &text, &len);

        if (r < 0 && r != -EBADF)
                return error_errno(err, -r, "read standard input");
        return input_decode(text, len, options, ret, err);
}

void input_deinit(struct input *input)
{
        free(input->ttrpc_address);
        free(input->socket_dir);
        free(input->shim_cgroup);
        *input = (struct input){0};
}

int reply_encode(bool bootstrap, const char *path, char **ret_data, size_t *ret_len,
                 struct error *err)
{
        _cleanup_free_ char *address = str_printf("unix://%s", path);
        Result result = CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_RESULT__INIT;
        char *data;

        if (!address)
                return error_errno(err, ENOMEM, "answer the caller");
        if (!bootstrap) {
                *ret_len = strlen(address);
                *ret_data = TAKE_PTR(address);
                return 0;
        }
        result.version = 2;
        result.address = address;
        result.protocol = (char *)"ttrpc";
        *ret_len = containerd__runtime__bootstrap__v1__bootstrap_result__get_packed_size(&result);
        data = malloc(*ret_len);
        if (!data)
                return error_errno(err, ENOMEM, "answer the caller");
        containerd__runtime__bootstrap__v1__bootstrap_result__pack(&result, (uint8_t *)data);
        *ret_data = data;
        return 0;
}
