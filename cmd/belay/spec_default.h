/* SPDX-License-Identifier: Apache-2.0
 *
 * The container that `belay run --rootfs` starts from, as JSON; spec.c fills in what differs.
 */
#pragma once

extern const char spec_default_text[];
