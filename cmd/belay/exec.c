/* SPDX-License-Identifier: Apache-2.0
 *
 * belay exec: the process of the container's config.json with other arguments.
 */
#include <containerd/task/v2/task.pb-c.h>
#include <errno.h>
#include <google/protobuf/any.pb-c.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/out.h"
#include "cmd/belay/session.h"
#include "cmd/belay/spec.h"
#include "cmd/belay/stream.h"
#include "cmd/belay/verbs.h"

#define PROCESS_TYPE "types.containerd.io/opencontainers/runtime-spec/1/Process"

CLEANUP_DEFINE(struct streams, streams_free)

int verb_exec_check(const struct args *args, struct error *err)
{
        if (args->n_words == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "exec: what is to be executed?");
        if (args->detach && args->terminal)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "exec has no terminal to give with --detach");
        return 0;
}

/* Registers the process with the shim. */
static int add(const struct args *args, const struct container *c, const char *exec_id,
               const char *json, const struct streams *streams, struct error *err)
{
        Containerd__Task__V2__ExecProcessRequest request =
                CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;

        spec.type_url = (char *)PROCESS_TYPE;
        spec.value.data = (uint8_t *)json;
        spec.value.len = strlen(json);
        request.id = (char *)args->id;
        request.exec_id = (char *)exec_id;
        request.terminal = args->terminal;
        request.spec = &spec;
        if (streams) {
                request.stdin = (char *)streams_in(streams);
                request.stdout = (char *)streams_out(streams);
                request.stderr = (char *)streams_err(streams);
        }
        return task_call(c->task, "Exec", &request.base, 0, NULL, err);
}

static int exec_detached(const struct args *args, const struct container *c, const char *exec_id,
                         const char *json, struct error *err)
{
        Containerd__Task__V2__StartRequest start = CONTAINERD__TASK__V2__START_REQUEST__INIT;

        if (add(args, c, exec_id, json, NULL, err) < 0)
                return -1;
        start.id = (char *)args->id;
        start.exec_id = (char *)exec_id;
        if (task_call(c->task, "Start", &start.base, 0, NULL, err) < 0) {
                (void)task_delete(c->task, args->id, exec_id, NULL);
                return -1;
        }
        out_id("exec_id", exec_id, args->json);
        return 0;
}

static int exec_foreground(const struct args *args, const struct container *c, const char *exec_id,
                           const char *json, int *ret_status, struct error *err)
{
        _cleanup_(streams_free_p) struct streams *streams = NULL;
        struct session_target target = {
                .loop = c->loop,
                .task = c->task,
                .id = args->id,
                .exec_id = exec_id,
                .terminal = args->terminal,
        };
        int r;

        /* A bundle of containerd's is not ours to make directories in. */
        if (streams_new(&streams, c->loop, c->own ? c->bundle : "/tmp", args->terminal, err) < 0 ||
            add(args, c, exec_id, json, streams, err) < 0)
                return -1;
        target.streams = streams;
        r = session_run(&target, ret_status, err);
        (void)task_delete(c->task, args->id, exec_id, NULL);
        return r;
}

int verb_exec(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        _cleanup_(task_state_deinit) struct task_state state = {0};
        _cleanup_free_ char *exec_id =
                str_printf("exec-%d-%llx", (int)getpid(), (unsigned long long)clock_monotonic_ns());
        _cleanup_free_ char *json = NULL;
        struct spec_wish wish = {
                .args = args->words,
                .n_args = args->n_words,
                .env = args->env,
                .n_env = args->n_env,
                .cwd = args->cwd,
                .user = args->user,
                .terminal = args->terminal,
        };

        if (!exec_id)
                return error_errno(err, ENOMEM, "name the process");
        *ret_status = 0;
        /* The shim knows where the bundle is, also for --address. */
        if (container_open(&c, args, NULL, err) < 0 ||
            task_state(c.task, args->id, "", &state, err) < 0 ||
            spec_exec_process(state.bundle, &wish, &json, err) < 0)
                return -1;
        if (args->detach)
                return exec_detached(args, &c, exec_id, json, err);
        return exec_foreground(args, &c, exec_id, json, ret_status, err);
}
