/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked of systemd, over its own socket or over the system bus.
 */
#pragma once

#include <systemd/sd-bus.h>

#include "pkg/base/error.h"

#include "cmd/belay-systemd/request.h"

/* All of these wait for at most half a minute. */
int bus_connect(sd_bus **ret, struct error *err);

/*
 * Starts the transient unit and waits until it is there; *ret_group is its control group, on the
 * heap. A unit of that name that has failed is forgotten first; one that is there is
 * STATUS_ALREADY_EXISTS. After another failure there is none.
 */
int bus_start(sd_bus *bus, struct request *request, char **ret_group, struct error *err);

int bus_set(sd_bus *bus, struct request *request, struct error *err);

/* A unit that is not there is a success. */
int bus_stop(sd_bus *bus, const char *unit, struct error *err);
