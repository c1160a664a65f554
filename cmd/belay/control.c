/* SPDX-License-Identifier: Apache-2.0
 *
 * belay pause, resume and update: one call each. What a shim does not support, it refuses by
 * name, and that is passed on.
 */
#include <containerd/task/v2/task.pb-c.h>
#include <errno.h>
#include <fcntl.h>
#include <google/protobuf/any.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/resources.h"
#include "cmd/belay/verbs.h"

#define RESOURCES_TYPE "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"

int verb_pause(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        Containerd__Task__V2__PauseRequest request = CONTAINERD__TASK__V2__PAUSE_REQUEST__INIT;

        *ret_status = 0;
        request.id = (char *)args->id;
        if (container_open(&c, args, NULL, err) < 0)
                return -1;
        return task_call(c.task, "Pause", &request.base, 0, NULL, err);
}

int verb_resume(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        Containerd__Task__V2__ResumeRequest request = CONTAINERD__TASK__V2__RESUME_REQUEST__INIT;

        *ret_status = 0;
        request.id = (char *)args->id;
        if (container_open(&c, args, NULL, err) < 0)
                return -1;
        return task_call(c.task, "Resume", &request.base, 0, NULL, err);
}

static int read_resources(const char *file, char **ret, size_t *ret_len, struct error *err)
{
        int r = str_equal(file, "-") ? fd_read_all(STDIN_FILENO, LIMIT_CONFIG_BYTES, ret, ret_len)
                                     : file_read(AT_FDCWD, file, LIMIT_CONFIG_BYTES, ret, ret_len);

        return r < 0 ? error_errno(err, -r, "read '%s'", file) : 0;
}

int verb_update(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        Containerd__Task__V2__UpdateTaskRequest request =
                CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
        Google__Protobuf__Any resources = GOOGLE__PROTOBUF__ANY__INIT;
        _cleanup_free_ char *json = NULL;
        size_t len = 0;

        *ret_status = 0;
        /* A document speaks alone, as in runc. */
        if (args->resources ? read_resources(args->resources, &json, &len, err) < 0
                            : resources_format(args->limits, &json, err) < 0)
                return -1;
        if (!args->resources)
                len = strlen(json);
        resources.type_url = (char *)RESOURCES_TYPE;
        resources.value.data = (uint8_t *)json;
        resources.value.len = len;
        request.id = (char *)args->id;
        request.resources = &resources;
        if (container_open(&c, args, NULL, err) < 0)
                return -1;
        return task_call(c.task, "Update", &request.base, 0, NULL, err);
}
