/* SPDX-License-Identifier: Apache-2.0
 *
 * A cgroup's numbers as the message that containerd decodes: io.containerd.cgroups.v1.Metrics or
 * v2.Metrics.
 */
#pragma once

#include "pkg/base/arena.h"
#include "pkg/cgroup/stats.h"

#include "google/protobuf/any.pb-c.h"

/* In the arena; NULL without room in it. */
Google__Protobuf__Any *metrics_v1_pack(const struct cgroup_stats *stats, struct arena *arena);
Google__Protobuf__Any *metrics_v2_pack(const struct cgroup_stats *stats, struct arena *arena);

/* The message as an Any, whose name is its type_url. */
Google__Protobuf__Any *metrics_any(const ProtobufCMessage *message, struct arena *arena);
