/* SPDX-License-Identifier: Apache-2.0
 *
 * The systemd cgroup driver, as far as it is text: from "slice:prefix:name" to a scope and its
 * cgroup, and from limits to the properties of a unit. All of it is pure. What the texts ask for is
 * done by belay-systemd, a program of its own, for this one links no D-Bus.
 *
 * A request is lines: the first says what is to be done and to which unit, each further one is a
 * property, "<type> <name> <value>", with the type as in D-Bus signatures (b 0 or 1, i, u, x and t
 * numbers, s the rest of the line), and also "as" (strings between tabs), "au" (one number), "ay"
 * (pairs of hex digits), "a(ss)" ("<device> <access>", or nothing) and "a(st)" ("<device>
 * <number>"). The answer is one line: "ok", with the unit's control group behind it after a start,
 * or "exists <text>" or "error <text>".
 *
 * The numbers are those that runc gives systemd, since tools compare; the files get the exact
 * limits afterwards all the same (systemd knows a CPU quota in whole percents only).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/cgroup/cgroup.h"
#include "pkg/oci/spec.h"

/* The longest request: every device rule a line, and the annotations. */
enum { SYSTEMD_REQUEST_MAX = 1 << 20 };

struct systemd_unit {
        const char *name;          /* "prefix-name.scope" */
        const char *slice;         /* "a-b.slice" */
        const char *control_group; /* "/a.slice/a-b.slice/prefix-name.scope" */
        const char *description;
};

/* True for what may be the name of a scope. */
bool systemd_is_unit_name(const char *name);

/*
 * cgroups_path: "slice:prefix:name"; NULL and "" mean "system.slice:runc:<id>", as runc has it, and
 * an empty slice is system.slice. Without a prefix the scope is called "-name.scope". A name that
 * ends in ".slice" is refused: a slice has no processes.
 */
int systemd_plan(const struct cgroup_layout *layout, const char *cgroups_path, const char *id,
                 struct arena *arena, struct systemd_unit *ret_unit, struct cgroup *ret,
                 struct error *err);

/* To start the unit, with the process pid in it. r may be NULL. annotations: of the container;
 * "org.systemd.property.<Name>" sets that property ("TimeoutStopUSec", or "TimeoutStopSec" in
 * seconds), with a value in GVariant's text form. */
struct systemd_start {
        const struct systemd_unit *unit;
        const struct cgroup *cgroup;
        pid_t pid;
        const struct oci_resources *resources;
        const struct oci_key_value *annotations;
        size_t n_annotations;
};
int systemd_request_start(const struct systemd_start *start, struct arena *arena, char **ret,
                          struct error *err);

/* To set the limits that r has, and the device rules if it has any; *ret is NULL if systemd has
 * none of them. */
int systemd_request_update(const struct cgroup *cg, const struct oci_resources *r,
                           struct arena *arena, char **ret, struct error *err);

/* To stop the unit, wherever it may be, and to forget a failure. */
int systemd_request_stop(const struct cgroup *cg, struct arena *arena, char **ret,
                         struct error *err);
