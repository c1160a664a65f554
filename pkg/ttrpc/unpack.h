/* SPDX-License-Identifier: Apache-2.0
 *
 * Unpacking what a peer sent, into an arena, so that neither its size nor its nesting can hurt: the
 * arena's budget bounds the first, a check of the schema the second.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"

/*
 * The message lives as long as the arena; nothing is to be freed. NULL with RESOURCE_EXHAUSTED
 * beyond the arena's budget, or INTERNAL for what is not such a message.
 */
ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
                               size_t len, struct arena *arena, struct error *err);

/*
 * protobuf-c unpacks submessages by recursion, as deep as the sender likes when a type contains
 * itself. UNIMPLEMENTED for such types and for those nested deeper than TTRPC_SCHEMA_DEPTH_MAX.
 */
int ttrpc_schema_check(const ProtobufCMessageDescriptor *descriptor, struct error *err);
