/* SPDX-License-Identifier: Apache-2.0
 *
 * The lines of a request to systemd that are properties: see systemd.h. All of it is pure: f is a
 * stream into memory, whose errors the caller looks for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "pkg/base/error.h"
#include "pkg/oci/spec.h"

/* All limits that systemd has a property for; device rules are not among them. */
int systemd_put_resources(FILE *f, bool is_v2, const struct oci_resources *r, struct error *err);

/*
 * What may be used by the rules in force (devices_rules()), as DevicePolicy and DeviceAllow. These
 * can only allow: where the rules deny a part of what they allow as a whole, systemd is told the
 * whole, and it is ours that deny it.
 */
int systemd_put_devices(FILE *f, const struct oci_device_rule *user, size_t n_user,
                        struct error *err);

int systemd_put_annotations(FILE *f, const struct oci_key_value *items, size_t n,
                            struct error *err);
