/* SPDX-License-Identifier: Apache-2.0
 *
 * belay run: a bundle below --root, a shim for it, and Create and Start as containerd calls them.
 * Whatever fails before the container runs leaves nothing behind.
 */
#include <containerd/task/v2/task.pb-c.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/out.h"
#include "cmd/belay/program.h"
#include "cmd/belay/remove.h"
#include "cmd/belay/session.h"
#include "cmd/belay/spec.h"
#include "cmd/belay/store.h"
#include "cmd/belay/stream.h"
#include "cmd/belay/verbs.h"

CLEANUP_DEFINE(struct streams, streams_free)

int verb_run_check(const struct args *args, struct error *err)
{
        const char *why = NULL;

        if (!args->rootfs == !args->bundle)
                why = "needs either --rootfs or --bundle";
        else if (args->address)
                why = "starts a shim of its own: --address makes no sense";
        else if (args->detach && args->terminal)
                why = "has no terminal to give with --detach";
        else if (args->detach && args->rm)
                why = "cannot remove with --rm what it leaves running with --detach";
        else if (args->output && !args->detach)
                why = "takes --output only with --detach";
        return why ? error_set(err, STATUS_INVALID_ARGUMENT, "run %s", why) : 0;
}

/* config.json from the command line's wishes; *ret_terminal: whether it has a terminal. */
static int make_config(const struct args *args, char **ret_json, bool *ret_terminal,
                       struct error *err)
{
        const char *dir = args->rootfs ? args->rootfs : args->bundle;
        _cleanup_free_ char *real = realpath(dir, NULL);
        struct spec_wish wish = {
                .id = args->id,
                .rootfs = real,
                .args = args->words,
                .n_args = args->n_words,
                .env = args->env,
                .n_env = args->n_env,
                .cwd = args->cwd,
                .user = args->user,
                .terminal = args->terminal,
        };

        if (!real)
                return error_errno(err, errno, "%s '%s'", args->rootfs ? "rootfs" : "bundle", dir);
        *ret_terminal = args->terminal;
        if (args->rootfs)
                return spec_default(&wish, ret_json, err);
        if (spec_from_bundle(real, &wish, ret_json, ret_terminal, err) < 0)
                return -1;
        if (*ret_terminal && args->detach)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "the bundle wants a terminal, which --detach cannot give");
        return 0;
}

/* The files of the bundle: config.json, and a plain file that takes the shim's log. */
static int write_bundle(const char *bundle, const char *json, struct error *err)
{
        _cleanup_close_ int fd = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", bundle);
        r = file_write_atomic(fd, "config.json", json, strlen(json), 0600);
        if (r == 0)
                r = file_write_atomic(fd, "log", "", 0, 0600);
        return r < 0 ? error_errno(err, -r, "write to '%s'", bundle) : 0;
}

/* The file for a detached container's output; it must exist for the shim. */
static int make_log(const char *file, char **ret_path, struct error *err)
{
        _cleanup_close_ int fd = -1;

        if (!file)
                return 0;
        fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(err, errno, "open '%s'", file);
        *ret_path = realpath(file, NULL);
        return *ret_path ? 0 : error_errno(err, errno, "find '%s'", file);
}

static int create(const struct args *args, struct container *c, struct streams *streams,
                  bool terminal, struct error *err)
{
        Containerd__Task__V2__CreateTaskRequest request =
                CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
        _cleanup_free_ char *log = NULL;

        if (make_log(args->output, &log, err) < 0)
                return -1;
        request.id = (char *)args->id;
        request.bundle = c->bundle;
        request.terminal = terminal;
        if (streams) {
                request.stdin = (char *)streams_in(streams);
                request.stdout = (char *)streams_out(streams);
                request.stderr = (char *)streams_err(streams);
        } else if (log) {
                request.stdout = log;
                request.stderr = log;
        }
        return task_call(c->task, "Create", &request.base, 0, NULL, err);
}

static int run_detached(const struct args *args, struct container *c, struct error *err)
{
        Containerd__Task__V2__StartRequest start = CONTAINERD__TASK__V2__START_REQUEST__INIT;

        if (create(args, c, NULL, false, err) < 0)
                return -1;
        start.id = (char *)args->id;
        return task_call(c->task, "Start", &start.base, 0, NULL, err);
}

static int run_foreground(const struct args *args, struct container *c, bool terminal,
                          int *ret_status, struct error *err)
{
        _cleanup_(streams_free_p) struct streams *streams = NULL;
        struct session_target target = {
                .loop = c->loop,
                .task = c->task,
                .id = args->id,
                .exec_id = "",
                .terminal = terminal,
        };

        if (streams_new(&streams, c->loop, c->bundle, terminal, err) < 0 ||
            create(args, c, streams, terminal, err) < 0)
                return -1;
        target.streams = streams;
        return session_run(&target, ret_status, err);
}

/* Everything behind the making of the bundle's directory. */
static int run_in(const struct args *args, struct container *c, int *ret_status, struct error *err)
{
        _cleanup_free_ char *json = NULL;
        _cleanup_free_ char *address = NULL;
        bool terminal = false;

        if (make_config(args, &json, &terminal, err) < 0 ||
            write_bundle(c->bundle, json, err) < 0 ||
            program_start(args, c->bundle, &address, err) < 0 ||
            task_open(&c->task, c->loop, address, err) < 0)
                return -1;
        if (args->detach)
                return run_detached(args, c, err);
        return run_foreground(args, c, terminal, ret_status, err);
}

int verb_run(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {.own = true};

        *ret_status = 0;
        if (store_create(args->root, args->id, &c.bundle, err) < 0 || loop_new(&c.loop, err) < 0)
                return -1;
        if (run_in(args, &c, ret_status, err) < 0) {
                container_discard(c.task, args, c.bundle);
                return -1;
        }
        if (args->detach)
                out_id("id", args->id, args->json);
        return args->rm ? container_remove(&c, args, err) : 0;
}
