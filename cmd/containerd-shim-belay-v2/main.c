/* SPDX-License-Identifier: Apache-2.0
 *
 * containerd-shim-belay-v2: the program that containerd runs. Options, one action, one exit status:
 * 0, 1 for a failure with its text on stderr, 2 for a command line that cannot be read.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/actions.h"
#include "cmd/containerd-shim-belay-v2/options.h"
#include "cmd/containerd-shim-belay-v2/reexec.h"
#include "cmd/containerd-shim-belay-v2/self.h"

enum { EXIT_USAGE = 2 };

/* Descriptors 0 to 2 must exist, lest a socket of ours takes their place. */
static int open_stdio(struct error *err)
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
                if (fcntl(fd, F_GETFD) >= 0)
                        continue;
                if (open("/dev/null", O_RDWR) != fd) // NOLINT(android-cloexec-open): it is stdio
                        return error_set(err, STATUS_UNKNOWN, "open /dev/null as stdio");
        }
        return 0;
}

/* Ids become parts of file names: nothing happens before they are known to be harmless. */
static int check_names(const struct options *options, struct error *err)
{
        if (str_is_empty(options->runtime_namespace))
                return error_set(err, STATUS_INVALID_ARGUMENT, "shim namespace cannot be empty");
        if (!id_is_valid(options->runtime_namespace))
                return error_set(err, STATUS_INVALID_ARGUMENT, "namespace '%s' is not valid",
                                 options->runtime_namespace);
        if (!id_is_valid(options->id))
                return error_set(err, STATUS_INVALID_ARGUMENT, "id '%s' is not valid", options->id);
        return 0;
}

static int run(const struct options *options, struct error *err)
{
        if (options->version)
                return action_version(options, err);
        if (options->info)
                return action_info(options, err);
        if (check_names(options, err) < 0)
                return -1;
        if (strcmp(options->action, "start") == 0)
                return action_start(options, err);
        if (strcmp(options->action, "delete") == 0)
                return action_delete(options, err);
        if (strcmp(options->action, CHECK_STATE_ACTION) == 0)
                return action_check_state(options, err);
        return action_serve(options, err);
}

static int fail(const char *name, const struct error *err)
{
        dprintf(STDERR_FILENO, "%s: %s", name, err->msg);
        return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
        const char *name = argc > 0 ? path_basename(argv[0]) : "containerd-shim-belay-v2";
        struct error err = ERROR_INIT;
        struct options options;

        if (open_stdio(&err) < 0)
                return fail(name, &err);
        if (options_parse(argc, (const char *const *)argv, &options, &err) < 0) {
                dprintf(STDERR_FILENO, "%s\n", err.msg);
                options_print_usage(STDERR_FILENO, name);
                return EXIT_USAGE;
        }
        if (options.help) {
                options_print_usage(STDERR_FILENO, name);
                return EXIT_SUCCESS;
        }
        return run(&options, &err) < 0 ? fail(name, &err) : EXIT_SUCCESS;
}
