/* SPDX-License-Identifier: Apache-2.0
 *
 * The streams that are open on one connection, by id: embedded nodes in a fixed table of chains, so
 * that entering never fails. Ids come one after the other, which spreads them evenly; with the
 * limit on open calls no chain is longer than a few dozen.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { TTRPC_STREAM_CHAINS = 64 };

struct ttrpc_stream {
        struct ttrpc_stream *next;
        uint32_t id;
        int unit; /* of a server's call: where it is kept (keep.h) */
};

struct ttrpc_streams {
        struct ttrpc_stream *chains[TTRPC_STREAM_CHAINS];
        size_t n;
};

/* Ids of one side are all odd or all even. */
static inline struct ttrpc_stream **ttrpc_streams_chain(struct ttrpc_streams *streams, uint32_t id)
{
        return &streams->chains[id / 2 % TTRPC_STREAM_CHAINS];
}

static inline void ttrpc_streams_add(struct ttrpc_streams *streams, struct ttrpc_stream *stream)
{
        struct ttrpc_stream **chain = ttrpc_streams_chain(streams, stream->id);

        stream->next = *chain;
        *chain = stream;
        streams->n++;
}

static inline struct ttrpc_stream *ttrpc_streams_find(struct ttrpc_streams *streams, uint32_t id)
{
        struct ttrpc_stream *stream = *ttrpc_streams_chain(streams, id);

        while (stream && stream->id != id)
                stream = stream->next;
        return stream;
}

/* The stream must be in the table. */
static inline void ttrpc_streams_remove(struct ttrpc_streams *streams, struct ttrpc_stream *stream)
{
        struct ttrpc_stream **at = ttrpc_streams_chain(streams, stream->id);

        while (*at != stream)
                at = &(*at)->next;
        *at = stream->next;
        stream->next = NULL;
        streams->n--;
}

/* Any stream, or NULL when there is none. */
static inline struct ttrpc_stream *ttrpc_streams_any(struct ttrpc_streams *streams)
{
        for (size_t i = 0; streams->n > 0 && i < TTRPC_STREAM_CHAINS; i++) {
                if (streams->chains[i])
                        return streams->chains[i];
        }
        return NULL;
}
