/* SPDX-License-Identifier: Apache-2.0
 *
 * The 10-byte frame header: length, stream id (both big-endian), type, flags. Pure.
 */
#pragma once

#include <stdint.h>

enum { TTRPC_HEADER_SIZE = 10 };

/* Types that are not listed are read and ignored, by the protocol. */
enum ttrpc_frame_type {
        TTRPC_FRAME_REQUEST = 1,
        TTRPC_FRAME_RESPONSE = 2,
        TTRPC_FRAME_DATA = 3,
};

enum {
        TTRPC_FLAG_REMOTE_CLOSED = 0x01, /* the sender has no more to say on this stream */
        TTRPC_FLAG_REMOTE_OPEN = 0x02,   /* a request whose sender will stream data */
        TTRPC_FLAG_NO_DATA = 0x04,       /* an empty Data frame that is no message */
};

struct ttrpc_frame {
        uint32_t length; /* of what follows the header; a peer may claim anything */
        uint32_t stream_id;
        uint8_t type;
        uint8_t flags;
};

void ttrpc_frame_encode(const struct ttrpc_frame *frame, uint8_t ret_header[TTRPC_HEADER_SIZE]);
struct ttrpc_frame ttrpc_frame_decode(const uint8_t header[TTRPC_HEADER_SIZE]);
