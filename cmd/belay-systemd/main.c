/* SPDX-License-Identifier: Apache-2.0
 *
 * belay-systemd: asks systemd for a container's scope, for the shim, which links no D-Bus. It reads
 * one request from standard input, does it, writes one line to standard output, and ends; see
 * pkg/cgroup/systemd.h for both. It has no state, and it is no interface for people or others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "cmd/belay-systemd/bus.h"

enum { REQUEST_MAX = 1 << 20 };

static void bus_unref_p(sd_bus **bus)
{
        sd_bus_flush_close_unref(*bus);
}

/* *ret_group: on the heap, or NULL. */
static int run(char **ret_group, struct error *err)
{
        _cleanup_free_ char *text = NULL;
        _cleanup_(bus_unref_p) sd_bus *bus = NULL;
        struct request request;
        int r = fd_read_all(STDIN_FILENO, REQUEST_MAX, &text, NULL);

        if (r < 0)
                return error_errno(err, -r, "read the request");
        if (request_parse(text, &request, err) < 0 || bus_connect(&bus, err) < 0)
                return -1;
        if (strcmp(request.verb, "start") == 0)
                return bus_start(bus, &request, ret_group, err);
        if (strcmp(request.verb, "set") == 0)
                return bus_set(bus, &request, err);
        if (strcmp(request.verb, "stop") == 0)
                return bus_stop(bus, request.unit, err);
        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown request '%s'", request.verb);
}

int main(void)
{
        _cleanup_free_ char *group = NULL;
        struct error err = ERROR_INIT;

        if (run(&group, &err) < 0) {
                for (char *p = err.msg; *p; p++) {
                        if (*p == '\n')
                                *p = ' ';
                }
                (void)printf("%s %s\n", err.code == STATUS_ALREADY_EXISTS ? "exists" : "error",
                             err.msg);
                return EXIT_FAILURE;
        }
        (void)printf("ok%s%s\n", group ? " " : "", group ? group : "");
        return EXIT_SUCCESS;
}
