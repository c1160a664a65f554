/* SPDX-License-Identifier: Apache-2.0
 *
 * belay create and belay start, as the command line of the OCI has them: the container inherits
 * create's standard streams, unless --log or --interactive say otherwise, and create returns when
 * its init waits to be started.
 */
#include <errno.h>
#include <stdlib.h>

#include "pkg/base/cleanup.h"

#include "cmd/belay/container.h"
#include "cmd/belay/launch.h"
#include "cmd/belay/remove.h"
#include "cmd/belay/spec.h"
#include "cmd/belay/store.h"
#include "cmd/belay/verbs.h"

int verb_create_check(const struct args *args, struct error *err)
{
        if (args->address)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "create starts a shim of its own: --address makes no sense");
        return launch_check(args, err);
}

static int create_in(const struct args *args, struct container *c, const char *bundle,
                     const char *config, bool terminal, struct error *err)
{
        _cleanup_(launch_stdio_deinit) struct launch_stdio stdio = {.console = NULL};
        struct launch launch = {.bundle = bundle, .terminal = terminal};

        if (launch_keeps_output(args)) {
                if (launch_keep_output(args, &launch, err) < 0 ||
                    launch_shim(c, args, bundle, config, err) < 0)
                        return -1;
                return launch_create(c, args, &launch, err);
        }
        if (launch_stdio_init(&stdio, args, terminal, err) < 0 ||
            launch_shim(c, args, bundle, config, err) < 0)
                return -1;
        launch.in = stdio.in;
        launch.out = launch_stdio_out(&stdio);
        launch.err = stdio.err;
        return launch_create(c, args, &launch, err);
}

int verb_create(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {.own = true};
        const char *dir = args->bundle ? args->bundle : ".";
        _cleanup_free_ char *bundle = realpath(dir, NULL);
        _cleanup_free_ char *config = NULL;
        struct args own = *args;
        bool terminal = false;

        *ret_status = 0;
        own.orphans = true;
        if (!bundle)
                return error_errno(err, errno, "bundle '%s'", dir);
        if (spec_read(bundle, &config, &terminal, err) < 0 ||
            store_create(args->root, args->id, &c.bundle, err) < 0)
                return -1;
        if (loop_new(&c.loop, err) == 0 && create_in(&own, &c, bundle, config, terminal, err) == 0)
                return 0;
        container_discard(c.task, args, c.bundle);
        return -1;
}

int verb_start(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};

        *ret_status = 0;
        if (container_open(&c, args, NULL, err) < 0)
                return -1;
        return launch_start(&c, args, err);
}
