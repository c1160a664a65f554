/* SPDX-License-Identifier: Apache-2.0
 *
 * Every limit of the ttrpc library, in one place, each with its reason. The wire's own figures are
 * in ttrpc's PROTOCOL.md.
 */
#pragma once

/* The largest frame payload, by the protocol; a larger one is read, thrown away and refused. */
#define TTRPC_MESSAGE_MAX (4u << 20)

/* What one request may unpack to. A 4 MiB message of empty submessages would unpack to 270 MiB. */
#define TTRPC_UNPACK_BUDGET (16u << 20)

/* Calls without an answer on one connection: pending Waits are cheap, but not free. */
#define TTRPC_CALLS_PER_CONNECTION_MAX 4096

/* What all calls of a server that are not answered yet may hold together. */
#define TTRPC_CALL_BYTES_MAX (64u << 20)

/* Accepted connections: containerd holds one, or one per container of a pod, and people come and
 * go. */
#define TTRPC_CONNECTIONS_MAX 256

/* Streaming calls on one connection, and what each may have queued: together they stay below what
 * costs a connection, and leave room for the answers of other calls. */
#define TTRPC_STREAMS_PER_CONNECTION_MAX 32
#define TTRPC_STREAM_QUEUED_MAX          (128u << 10)

/* What a stream's keeper may say to that of the next process image. */
#define TTRPC_NOTE_MAX 3952

/* What a message counts beside its own bytes. */
#define TTRPC_FRAME_COST 64

/* Bytes queued to a peer that does not read; beyond it the connection is dropped. */
#define TTRPC_QUEUED_BYTES_MAX (8u << 20)

/* Buffers of sent messages that are kept while more are sent, and the size of each: what a stream
 * has under way in pieces of 32 KiB. */
#define TTRPC_SPARES_MAX 4
#define TTRPC_SPARE_SIZE (33u << 10)

/* Metadata pairs kept of one request; what is beyond is ignored. */
#define TTRPC_METADATA_MAX 64

/* The text of a status; what is beyond is cut. It holds the tail of a hook's output at most. */
#define TTRPC_STATUS_TEXT_MAX 4096

/* One read(2): some hundred small requests. It bounds what one connection gets done per round. */
#define TTRPC_READ_MAX 16000

/* Nesting of a request's schema; a recursive one would let the peer choose the depth of our stack.
 */
#define TTRPC_SCHEMA_DEPTH_MAX 64
