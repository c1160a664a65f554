/* SPDX-License-Identifier: Apache-2.0
 *
 * The frame header, byte by byte, so that neither alignment nor the machine's byte order matters.
 */
#include "pkg/ttrpc/frame.h"

static void put_be32(uint8_t *p, uint32_t value)
{
        p[0] = (uint8_t)(value >> 24);
        p[1] = (uint8_t)(value >> 16);
        p[2] = (uint8_t)(value >> 8);
        p[3] = (uint8_t)value;
}

static uint32_t get_be32(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

void ttrpc_frame_encode(const struct ttrpc_frame *frame, uint8_t ret_header[TTRPC_HEADER_SIZE])
{
        put_be32(ret_header, frame->length);
        put_be32(ret_header + 4, frame->stream_id);
        ret_header[8] = frame->type;
        ret_header[9] = frame->flags;
}

struct ttrpc_frame ttrpc_frame_decode(const uint8_t header[TTRPC_HEADER_SIZE])
{
        return (struct ttrpc_frame){
                .length = get_be32(header),
                .stream_id = get_be32(header + 4),
                .type = header[8],
                .flags = header[9],
        };
}
