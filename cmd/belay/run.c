/* SPDX-License-Identifier: Apache-2.0
 *
 * belay run: a bundle below --root, a shim for it, and Create and Start as containerd calls them.
 * Whatever fails before the container runs leaves nothing behind.
 */
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
#include "cmd/belay/launch.h"
#include "cmd/belay/out.h"
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

        if (args->rootfs && args->bundle)
                why = "takes either --rootfs or --bundle";
        else if (args->address)
                why = "starts a shim of its own: --address makes no sense";
        else if (args->rootfs && args->detach && args->terminal && !launch_keeps_output(args))
                why = "has no terminal to give with --rootfs and --detach: --interactive and "
                      "--log make one to attach to";
        else if (args->container_log && !args->detach)
                why = "takes --log URI only with --detach";
        else if (args->container_log && args->output)
                why = "takes either --log or --output";
        else if (args->rootfs && (args->console_socket || args->keep))
                why = "takes --console-socket and --keep only with --bundle";
        else if (!args->rootfs && args->output)
                why = "takes --output only with --rootfs";
        else if (args->detach && args->rm)
                why = "cannot remove with --rm what it leaves running with --detach";
        else if (args->output && !args->detach)
                why = "takes --output only with --detach";
        if (why)
                return error_set(err, STATUS_INVALID_ARGUMENT, "run %s", why);
        return launch_check(args, err);
}

/* What is run: the bundle for Create, and its config.json. */
struct plan {
        const char *bundle;
        char *user_bundle;
        char *config;
        bool terminal;
};

static void plan_deinit(struct plan *plan)
{
        free(plan->user_bundle);
        free(plan->config);
}

/* Whether the command line changes what the bundle says. */
static bool has_wishes(const struct args *args)
{
        return args->n_words > 0 || args->n_env > 0 || args->cwd || args->user || args->terminal;
}

static int write_config(const char *dir, const char *json, struct error *err)
{
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", dir);
        r = file_write_atomic(fd, "config.json", json, strlen(json), 0600);
        return r < 0 ? error_errno(err, -r, "write '%s/config.json'", dir) : 0;
}

/* own: the directory that belay has made, and the bundle wherever the user's does not do as it is.
 */
static int plan_init(struct plan *plan, const struct args *args, const char *own, struct error *err)
{
        const char *dir = args->rootfs ? args->rootfs : args->bundle ? args->bundle : ".";
        struct spec_wish wish = {
                .id = args->id,
                .args = args->words,
                .n_args = args->n_words,
                .env = args->env,
                .n_env = args->n_env,
                .cwd = args->cwd,
                .user = args->user,
                .terminal = args->terminal,
        };
        int r;

        plan->user_bundle = realpath(dir, NULL);
        if (!plan->user_bundle)
                return error_errno(err, errno, "%s '%s'", args->rootfs ? "rootfs" : "bundle", dir);
        if (!args->rootfs && !has_wishes(args)) {
                plan->bundle = plan->user_bundle;
                return spec_read(plan->bundle, &plan->config, &plan->terminal, err);
        }
        plan->bundle = own;
        plan->terminal = args->terminal;
        wish.rootfs = plan->user_bundle;
        r = args->rootfs ? spec_default(&wish, &plan->config, err)
                         : spec_from_bundle(plan->user_bundle, &wish, &plan->config,
                                            &plan->terminal, err);
        return r < 0 ? -1 : write_config(own, plan->config, err);
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

/* With --rootfs and --detach: no input, and output to a file or nowhere. */
static int run_to_file(const struct args *args, struct container *c, struct launch *launch,
                       struct error *err)
{
        _cleanup_free_ char *log = NULL;

        if (make_log(args->output, &log, err) < 0)
                return -1;
        launch->out = log ? log : "";
        launch->err = launch->out;
        if (launch_create(c, args, launch, err) < 0)
                return -1;
        return launch_start(c, args, err);
}

/* The container has belay's own streams, or its terminal is at the console socket. */
static int run_inherited(const struct args *args, struct container *c, const struct launch *what,
                         int *ret_status, struct error *err)
{
        _cleanup_(launch_stdio_deinit) struct launch_stdio stdio = {.console = NULL};
        struct launch launch = *what;
        struct session_target target = {
                .loop = c->loop,
                .task = c->task,
                .id = args->id,
                .exec_id = "",
                .terminal = launch.terminal,
        };

        if (launch_stdio_init(&stdio, args, launch.terminal, err) < 0)
                return -1;
        launch.in = stdio.in;
        launch.out = launch_stdio_out(&stdio);
        launch.err = stdio.err;
        if (launch_create(c, args, &launch, err) < 0)
                return -1;
        return args->detach ? launch_start(c, args, err) : session_run(&target, ret_status, err);
}

/* Its output is kept for `belay logs` and `belay attach`. */
static int run_kept(const struct args *args, struct container *c, struct launch *launch,
                    struct error *err)
{
        if (launch_keep_output(args, launch, err) < 0 || launch_create(c, args, launch, err) < 0)
                return -1;
        return launch_start(c, args, err);
}

static int run_relayed(const struct args *args, struct container *c, struct launch *launch,
                       int *ret_status, struct error *err)
{
        _cleanup_(streams_free_p) struct streams *streams = NULL;
        struct session_target target = {
                .loop = c->loop,
                .task = c->task,
                .id = args->id,
                .exec_id = "",
                .terminal = launch->terminal,
        };

        if (streams_new(&streams, c->loop, c->bundle, launch->terminal, err) < 0)
                return -1;
        launch->in = streams_in(streams);
        launch->out = streams_out(streams);
        launch->err = streams_err(streams);
        if (launch_create(c, args, launch, err) < 0)
                return -1;
        target.streams = streams;
        return session_run(&target, ret_status, err);
}

/* Everything behind the making of the container's directory. */
static int run_in(const struct args *args, struct container *c, int *ret_status, struct error *err)
{
        _cleanup_(plan_deinit) struct plan plan = {.terminal = false};
        struct launch launch = {.in = ""};

        if (plan_init(&plan, args, c->bundle, err) < 0 ||
            launch_shim(c, args, plan.bundle, plan.config, err) < 0)
                return -1;
        launch.bundle = plan.bundle;
        launch.terminal = plan.terminal;
        if (args->detach && launch_keeps_output(args))
                return run_kept(args, c, &launch, err);
        if (args->rootfs && args->detach)
                return run_to_file(args, c, &launch, err);
        if (args->rootfs || (plan.terminal && !args->detach && !args->console_socket))
                return run_relayed(args, c, &launch, ret_status, err);
        return run_inherited(args, c, &launch, ret_status, err);
}

int verb_run(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {.own = true};
        bool keep = args->rootfs ? !args->rm : (args->keep || args->detach);
        struct args own = *args;

        *ret_status = 0;
        /* Who wants the pid means to wait for it. Anyone else waits through the shim, to which no
         * status of its own child is lost. */
        own.orphans = !args->rootfs && args->detach && args->pid_file;
        if (store_create(args->root, args->id, &c.bundle, err) < 0 || loop_new(&c.loop, err) < 0)
                return -1;
        if (run_in(&own, &c, ret_status, err) < 0) {
                container_discard(c.task, args, c.bundle);
                return -1;
        }
        if (args->rootfs && args->detach)
                out_id("id", args->id, args->json);
        return keep ? 0 : container_remove(&c, args, err);
}
