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
#include "cmd/belay/exec_stream.h"
#include "cmd/belay/launch.h"
#include "cmd/belay/out.h"
#include "cmd/belay/passed.h"
#include "cmd/belay/session.h"
#include "cmd/belay/spec.h"
#include "cmd/belay/stream.h"
#include "cmd/belay/terminal.h"
#include "cmd/belay/verbs.h"
#include "shim/exec_options.h"

CLEANUP_DEFINE(struct streams, streams_free)

/* As callers of runc call it: the process inherits belay's streams, and nothing is printed. */
static bool is_for_programs(const struct args *args)
{
        return args->process || args->pid_file || args->console_socket;
}

int verb_exec_check(const struct args *args, struct error *err)
{
        if (args->n_words == 0 && !args->process)
                return error_set(err, STATUS_INVALID_ARGUMENT, "exec: what is to be executed?");
        for (size_t i = 0; i < args->n_cgroups; i++) {
                if (!*args->cgroups[i] || strchr(args->cgroups[i], '\n'))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "--cgroup: '%s' is not a cgroup", args->cgroups[i]);
        }
        return launch_check(args, err);
}

/* What Exec is asked for in metadata: shim/passed.h, shim/exec_options.h. */
struct extras {
        struct passed_option passed;
        char *cgroups;
        struct ttrpc_metadata metadata[4];
        struct ttrpc_call_options options;
};

static void extras_deinit(struct extras *extras)
{
        free(extras->cgroups);
}

static char *cgroup_lines(const struct args *args)
{
        char *lines = strdup(args->cgroups[0]);

        for (size_t i = 1; lines && i < args->n_cgroups; i++) {
                char *longer = str_printf("%s\n%s", lines, args->cgroups[i]);

                free(lines);
                lines = longer;
        }
        return lines;
}

static int extras_init(struct extras *ret, const struct args *args, struct error *err)
{
        size_t n = 0;

        if (passed_option_init(&ret->passed, args, err) < 0)
                return -1;
        for (size_t i = 0; i < ret->passed.options.n_metadata; i++)
                ret->metadata[n++] = ret->passed.options.metadata[i];
        if (args->n_cgroups > 0) {
                ret->cgroups = cgroup_lines(args);
                if (!ret->cgroups)
                        return error_errno(err, ENOMEM, "--cgroup");
                ret->metadata[n++] = (struct ttrpc_metadata){EXEC_CGROUP_KEY, ret->cgroups};
        }
        if (args->ignore_paused)
                ret->metadata[n++] = (struct ttrpc_metadata){EXEC_IGNORE_PAUSED_KEY, "1"};
        /* Of what we wait for the shim must learn the end first. */
        if (!args->detach)
                ret->metadata[n++] = (struct ttrpc_metadata){EXEC_OWN_CHILD_KEY, "1"};
        ret->options = (struct ttrpc_call_options){.metadata = ret->metadata, .n_metadata = n};
        return 0;
}

/* Registers the process with the shim. */
static int add(const struct args *args, const struct container *c, const char *exec_id,
               const char *json, const struct launch *io, struct error *err)
{
        Containerd__Task__V2__ExecProcessRequest request =
                CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
        _cleanup_(extras_deinit) struct extras extras = {.cgroups = NULL};

        if (extras_init(&extras, args, err) < 0)
                return -1;
        spec.type_url = (char *)SPEC_PROCESS_TYPE;
        spec.value.data = (uint8_t *)json;
        spec.value.len = strlen(json);
        request.id = (char *)args->id;
        request.exec_id = (char *)exec_id;
        request.terminal = io->terminal;
        request.spec = &spec;
        request.stdin = (char *)io->in;
        request.stdout = (char *)io->out;
        request.stderr = (char *)io->err;
        return task_call_with(c->task, "Exec", &request.base, &extras.options, NULL, err);
}

/* Start; then --pid-file is written. */
static int start(const struct args *args, const struct container *c, const char *exec_id,
                 struct error *err)
{
        Containerd__Task__V2__StartRequest request = CONTAINERD__TASK__V2__START_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        uint32_t pid;

        request.id = (char *)args->id;
        request.exec_id = (char *)exec_id;
        if (task_call(c->task, "Start", &request.base, 0, &response, err) < 0) {
                (void)task_delete(c->task, args->id, exec_id, NULL);
                return -1;
        }
        pid = ((const Containerd__Task__V2__StartResponse *)response)->pid;
        protobuf_c_message_free_unpacked(response, NULL);
        return launch_write_pid(args, pid, err);
}

/* With --detach, or with a console socket: nothing is relayed. */
static int exec_inherited(const struct args *args, const struct container *c, const char *exec_id,
                          const char *json, bool terminal, int *ret_status, struct error *err)
{
        _cleanup_(launch_stdio_deinit) struct launch_stdio stdio = {.console = NULL};
        struct launch io = {.in = stdio.in, .err = stdio.err, .terminal = terminal};
        struct task_state end;

        if (is_for_programs(args) || terminal) {
                if (launch_stdio_init(&stdio, args, terminal, err) < 0)
                        return -1;
        }
        io.out = launch_stdio_out(&stdio);
        if (add(args, c, exec_id, json, &io, err) < 0 || start(args, c, exec_id, err) < 0)
                return -1;
        if (args->detach) {
                if (!is_for_programs(args))
                        out_id("exec_id", exec_id, args->json);
                return 0;
        }
        if (task_wait(c->task, args->id, exec_id, 0, &end, err) < 0)
                return -1;
        *ret_status = (int)end.exit_status;
        (void)task_delete(c->task, args->id, exec_id, NULL);
        return 0;
}

/* Over FIFOs. */
static int exec_joined(const struct args *args, const struct container *c, const char *exec_id,
                       const char *json, bool terminal, int *ret_status, struct error *err)
{
        _cleanup_(streams_free_p) struct streams *streams = NULL;
        struct session_target target = {
                .loop = c->loop,
                .task = c->task,
                .id = args->id,
                .exec_id = exec_id,
                .pid_file = args,
                .terminal = terminal,
        };
        struct launch io = {.terminal = terminal};
        int r;

        /* A bundle of containerd's is not ours to make directories in. */
        if (streams_new(&streams, c->loop, c->own ? c->bundle : "/tmp", terminal, err) < 0)
                return -1;
        io.in = streams_in(streams);
        io.out = streams_out(streams);
        io.err = streams_err(streams);
        if (add(args, c, exec_id, json, &io, err) < 0)
                return -1;
        target.streams = streams;
        r = session_run(&target, ret_status, err);
        (void)task_delete(c->task, args->id, exec_id, NULL);
        return r;
}

static int exec_foreground(const struct args *args, const struct container *c, const char *exec_id,
                           const char *json, bool terminal, int *ret_status, struct error *err)
{
        _cleanup_(extras_deinit) struct extras extras = {.cgroups = NULL};
        int r;

        /* Whoever asks for a pid file wants it at once. */
        if (!terminal || args->pid_file)
                return exec_joined(args, c, exec_id, json, terminal, ret_status, err);
        if (extras_init(&extras, args, err) < 0)
                return -1;
        r = exec_stream(args, c, exec_id, json, &extras.options, ret_status, err);
        if (r == 0 || err->code != STATUS_UNIMPLEMENTED)
                return r;
        return exec_joined(args, c, exec_id, json, terminal, ret_status, err);
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
                .caps = args->caps,
                .n_caps = args->n_caps,
                .gids = args->gids,
                .n_gids = args->n_gids,
                .apparmor = args->apparmor,
                .process_label = args->process_label,
                .no_new_privs = args->no_new_privs,
                .terminal = args->terminal,
        };
        bool terminal = false;

        if (!exec_id)
                return error_errno(err, ENOMEM, "name the process");
        /* Elsewhere it is not our window that the process is seen in. */
        if (!args->detach && !args->console_socket)
                (void)terminal_size(&wish.width, &wish.height);
        *ret_status = 0;
        /* The shim knows where the bundle is, also for --address. */
        if (container_open(&c, args, NULL, err) < 0 ||
            task_state(c.task, args->id, "", &state, err) < 0 ||
            spec_exec_process(state.bundle, args->process, &wish, &json, &terminal, err) < 0)
                return -1;
        if (args->detach || args->console_socket)
                return exec_inherited(args, &c, exec_id, json, terminal, ret_status, err);
        return exec_foreground(args, &c, exec_id, json, terminal, ret_status, err);
}
