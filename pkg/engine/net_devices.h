/* SPDX-License-Identifier: Apache-2.0
 *
 * Moving the host's network interfaces into a container: see net_devices.c. For the stage.
 */
#pragma once

#include <stddef.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"
#include "pkg/oci/spec.h"

/*
 * Moves the devices from the caller's network namespace into that of the descriptor, under their
 * new names, with their permanent global addresses, and sets them up. Errors name the property.
 * What has been moved before a failure goes with the namespace: real hardware comes back to the
 * host's, other devices cease to exist.
 */
int net_devices_move(const struct oci_net_device *devices, size_t n, int netns_fd,
                     struct arena *arena, struct error *err);
