/* SPDX-License-Identifier: Apache-2.0
 *
 * A request as it comes on standard input: see pkg/cgroup/systemd.h. What it says of a property is
 * taken over into a D-Bus message as it stands; whether it makes sense is for systemd to say.
 */
#pragma once

#include <stddef.h>
#include <systemd/sd-bus.h>

#include "pkg/base/error.h"

struct request {
        const char *verb; /* "start", "set" or "stop" */
        const char *unit;
        char *properties; /* the lines that follow */
};

/* text is taken apart, and lives on in the request. */
int request_parse(char *text, struct request *ret, struct error *err);

/* Appends the properties as an a(sv). Once only: the lines are taken apart. */
int request_append(struct request *request, sd_bus_message *message, struct error *err);
