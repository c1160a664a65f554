/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server must not forget when its process image is replaced, or a client of one connection:
 * memory that its owner gives and that outlives the image. It is right at every instruction that
 * can fault: each change is prepared first and then made by one atomic store. Only the syscalls
 * that move bytes are followed by a store that cannot be one with them, and between the two nothing
 * can fault.
 *
 * The memory is one page with the descriptors, then an area for each connection: what was read and
 * not yet taken, the request frames of calls without an answer, what was queued and not yet sent,
 * and a note of each stream's keeper, which is valid while the stream is open and not running.
 * An area that has no room for a frame that is half read, or for what is queued, has an annex for
 * it, in a file that is made when it is needed first (keep_annex.c). One that has no room for calls
 * has further ones for them (keep_more.c). Where there is none, the area says so, and its
 * connection cannot be restored until that something is over. Of a call whose request is too large
 * for an area all is kept but the payload. Private to the package.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/ttrpc/frame.h"
#include "pkg/ttrpc/limits.h"

enum {
        KEEP_LISTENERS = 8,
        KEEP_UNITS = 2048, /* of calls; most requests take one */
        KEEP_UNIT = 256,
        KEEP_IN = 128 << 10,
        KEEP_OUT = 256 << 10,      /* a power of two */
        KEEP_FRAME_MAX = 48 << 10, /* larger ones that come in pieces: in the annex */
        KEEP_OUT_STREAMS = KEEP_OUT - (32 << 10), /* what streams leave is for other answers */
        KEEP_NOTES = TTRPC_STREAMS_PER_CONNECTION_MAX,
        KEEP_NOTE = 3968,      /* of a stream, with its head */
        KEEP_BRIEF_MAX = 4096, /* of a request without its payload, without the frame's header */
        KEEP_ANNEX_IN = (4 << 20) + 4096, /* the largest frame, with its header */
        KEEP_ANNEX_OUT = 8 << 20,         /* a power of two: all that may be queued */
        KEEP_ANNEX_LAYOUT = 1,
        KEEP_LAYOUT = 1,
        KEEP_LAYOUT_ANNEXES = 2, /* the same, but there may be something in an annex, or a call
                                  * without its payload: who knows nothing of them cannot take over
                                  */
        KEEP_LAYOUT_MORE = 3,    /* likewise, and there may be further areas */
        KEEP_ANNEXES_AT = 3072,  /* in the head's page */
};

/* Where a frame that is half read lies, or what is queued. The numbers are a part of the layout. */
enum keep_place {
        KEEP_IN_AREA = 0,
        KEEP_NOWHERE = 1,
        KEEP_IN_ANNEX = 2,
};

/* Instead of a call's unit. */
enum {
        KEEP_NONE = -1,   /* there is no call, or nothing is kept */
        KEEP_UNKEPT = -2, /* the call has no room: its connection cannot be restored */
};

enum keep_call_state {
        KEEP_CALL_FREE,
        KEEP_CALL_NEW,     /* not yet dispatched */
        KEEP_CALL_RUNNING, /* its handler, or another callback of its keeper, is on the stack */
        KEEP_CALL_OPEN,
        _KEEP_CALL_STATE_MAX,
};

enum keep_call_flags {
        KEEP_CALL_HEARD = 1, /* a stream's handler was entered and what came with the request is its
                              * own */
        KEEP_CALL_BRIEF = 2, /* the frame is not the peer's: there was no room for the payload */
        KEEP_CALL_TRIED = 4, /* its handler was on the stack at a crash, and was entered again */
};

/* In its first unit, and as many behind it as the frame takes. */
struct keep_call {
        uint64_t seq; /* order of arrival, of all connections */
        uint64_t deadline_ns;
        uint32_t len;        /* of the frame */
        uint16_t flags;      /* of enum keep_call_flags */
        uint8_t half_closed; /* the peer has ended its side of the stream */
        uint8_t note;        /* index of the stream's note + 1; 0: it has none */
        uint8_t frame[];
};

/* What a stream's keeper has to say to that of the next image. It is written in place. */
struct keep_note {
        uint64_t seq; /* of the call */
        uint32_t len;
        uint32_t unused;
        uint8_t bytes[KEEP_NOTE - 16];
};

struct keep_area {
        _Atomic uint32_t last_id;
        _Atomic uint32_t half_closed; /* the peer writes no more */
        _Atomic uint32_t in_large;    /* keep_place of a frame that is half read */
        _Atomic uint32_t out_large;   /* keep_place of what is queued */
        _Atomic uint32_t n_unkept;    /* calls without a unit */
        _Atomic uint32_t turn;        /* the stream that had its turn last; 0: not known */
        _Atomic uint64_t in;        /* first and end of what was read: two offsets, 32 bits each */
        _Atomic uint64_t out;       /* the same of the ring, as places that only grow */
        _Atomic uint64_t answering; /* a call's unit + 1, and the end of `out` with its answer */
        _Atomic uint8_t calls[KEEP_UNITS]; /* keep_call_state, at a call's first unit */

        /* Of a client. last_id is that of the request that was queued last. */
        _Atomic uint64_t asking;  /* a request's id, and the end of `out` with it */
        _Atomic uint64_t tags[2]; /* of the last two requests */
        _Atomic uint64_t inode;   /* the socket's */

        /* Slot + 1 of the next area for its calls; 0: there is none. */
        _Atomic uint32_t more;

        _Alignas(4096) uint8_t units[KEEP_UNITS][KEEP_UNIT];
        uint8_t in_bytes[KEEP_IN];
        uint8_t out_bytes[KEEP_OUT];
        struct keep_note notes[KEEP_NOTES];
};

/* What an area has no room for. */
struct keep_annex {
        _Atomic uint64_t in_len; /* of the frame, with its header: what was read of it so far */

        _Alignas(4096) uint8_t in[KEEP_ANNEX_IN]; /* all of that, unless it will be thrown away */
        uint8_t out[KEEP_ANNEX_OUT];              /* another ring, with the area's places */
};

/* The file with the annexes of all areas, one behind the other. */
struct keep_annexes {
        _Atomic int32_t fd; /* descriptor + 1 */
        uint32_t layout;
        _Atomic uint64_t inode;
};

struct keep_head {
        uint64_t magic;
        _Atomic uint32_t layout;
        uint32_t n_areas;
        uint64_t seq;
        _Atomic int32_t listeners[KEEP_LISTENERS]; /* descriptor + 1 */
        _Atomic int32_t conns[];                   /* the same, for each area */
};

/* One for each server; memory stays the owner's. */
struct ttrpc_keep {
        unsigned n_refs; /* the server's, and one for each connection */
        struct keep_head *head;
        struct keep_area *areas;
        uint64_t busy[TTRPC_CONNECTIONS_MAX / 64]; /* areas in use, by bit */
        bool wants_annexes;                        /* set by the owner, before anything is kept */
        bool owns_annexes;
        int annexes_fd;
        unsigned n_in_annexes; /* frames and rings that are in one */
        unsigned n_mapped;     /* annexes; the file is there while there is any */
        unsigned n_more;       /* further areas */
        unsigned n_brief;      /* calls without their payload that need it still */
};

/* A further area of a connection's. */
struct keep_extent {
        struct keep_area *area;
        uint64_t used[KEEP_UNITS / 64]; /* units, by bit */
};

/* One for each connection that is kept. */
struct ttrpc_kept {
        struct ttrpc_keep *keep;
        struct keep_area *area;
        struct keep_annex *annex; /* while something is in it */
        unsigned slot;
        bool closed;
        bool touched;                   /* since the last trim */
        uint64_t used[KEEP_UNITS / 64]; /* units of its own area, by bit */
        struct keep_extent *more;       /* the further ones */
        unsigned n_more;
        unsigned n_brief;    /* its part of keep->n_brief */
        uint32_t used_notes; /* by bit */
};

/* Memory that is all zero is made ready; else it must be of this layout. */
int ttrpc_keep_new(struct ttrpc_keep **ret, void *memory, size_t size, struct error *err);
struct ttrpc_keep *ttrpc_keep_unref(struct ttrpc_keep *keep);
CLEANUP_DEFINE(struct ttrpc_keep, ttrpc_keep_unref)

/* Everything that a restore relies on but the descriptors. */
int ttrpc_keep_check(const struct ttrpc_keep *keep, struct error *err);

/* Takes note of a listening socket; -1 when there is no room for it, else its index. */
int ttrpc_keep_listener(struct ttrpc_keep *keep, int fd);
void ttrpc_keep_listener_gone(struct ttrpc_keep *keep, int index); /* harmless for -1 */

/* The same for a connection: returns its slot. Who has a struct ttrpc_kept frees that instead. */
int ttrpc_keep_conn(struct ttrpc_keep *keep, int fd);
void ttrpc_keep_conn_gone(struct ttrpc_keep *keep, int slot);

/* Gives back what the image before has left in areas that are no connection's. */
void ttrpc_keep_trim(struct ttrpc_keep *keep);

/* ---- One connection ---- */

/* Of a connection in that slot, new or of the image before, of which nothing is changed yet. NULL
 * without memory. */
struct ttrpc_kept *ttrpc_kept_of_slot(struct ttrpc_keep *keep, unsigned slot);

/* Whether there is one of that slot, or one that has its area. */
bool ttrpc_keep_is_taken(const struct ttrpc_keep *keep, unsigned slot);
void ttrpc_keep_take(struct ttrpc_keep *keep, unsigned slot, bool taken);

/* One that nobody has; -1: there is none. */
int ttrpc_keep_free_slot(const struct ttrpc_keep *keep);

/* Tells other versions what they must know of to take over. */
void ttrpc_keep_publish_layout(struct ttrpc_keep *keep);

/* Pages that hold nothing. Where it is no shared memory, nothing is given back, and nothing lost.
 */
void ttrpc_keep_give_back(void *bytes, size_t size);

/* Instead of ttrpc_kept_free(): what it was made of is left as it is, for another image. */
struct ttrpc_kept *ttrpc_kept_leave(struct ttrpc_kept *kept);

/* From now on it is forgotten; the area is this connection's until the free. */
void ttrpc_kept_close(struct ttrpc_kept *kept);
struct ttrpc_kept *ttrpc_kept_free(struct ttrpc_kept *kept);

/* The peer writes no more. */
void ttrpc_kept_half_close(struct ttrpc_kept *kept);

/* Of a call on a valid id. */
void ttrpc_kept_last_id(struct ttrpc_kept *kept, uint32_t id);

/* The stream has had its turn to use what all have room for. */
void ttrpc_kept_turn(struct ttrpc_kept *kept, uint32_t id);

/* Around the queueing of a client's request of so many bytes: afterwards, and at no instruction
 * before all of it is queued, it is the last one. */
void ttrpc_kept_ask(struct ttrpc_kept *kept, uint32_t id, uint64_t tag, size_t len);
void ttrpc_kept_asked(struct ttrpc_kept *kept, uint32_t id);

/* Of the image before: the id of the request that was queued last, or 0, and its tag. Only looks;
 * the second one takes note of it, once, before anything is queued or sent. */
uint32_t ttrpc_kept_last_asked(const struct ttrpc_kept *kept, uint64_t *ret_tag);
void ttrpc_kept_asked_found(struct ttrpc_kept *kept);

/* Whether all of it is in the area, or in its annex. */
bool ttrpc_area_is_whole(const struct keep_area *area);

/* Of the image before: the same, and what should be in the annex is there. */
bool ttrpc_keep_is_whole(const struct ttrpc_keep *keep, unsigned slot);

/* Gives pages back that hold nothing now. */
void ttrpc_kept_trim(struct ttrpc_kept *kept);

/* Where to read to; at least TTRPC_READ_MAX bytes. Then how many have come. */
uint8_t *ttrpc_kept_in_room(struct ttrpc_kept *kept);
void ttrpc_kept_in_add(struct ttrpc_kept *kept, size_t n);

/* What was read and not yet taken; taking leaves the bytes in place until the next read. */
const uint8_t *ttrpc_kept_in(const struct ttrpc_kept *kept, size_t *ret_len);
void ttrpc_kept_in_take(struct ttrpc_kept *kept, size_t n);

/* A frame for which the area has no room, with the len bytes that have come of it and are taken:
 * where it is kept, in the annex. NULL: it is kept nowhere. Then how many more of it have come, and
 * that it was heard. */
uint8_t *ttrpc_kept_frame_begin(struct ttrpc_kept *kept, const uint8_t *data, size_t len);
void ttrpc_kept_frame_add(struct ttrpc_kept *kept, size_t n);
void ttrpc_kept_frame_end(struct ttrpc_kept *kept);

/* Of the image before: the frame, and what had come of it; NULL when there is none. */
uint8_t *ttrpc_kept_frame(const struct ttrpc_kept *kept, size_t *ret_len);

/* Keeps a call: returns its unit, or KEEP_UNKEPT. Without its payload if there is no room. */
int ttrpc_kept_call_add(struct ttrpc_kept *kept, const uint8_t *frame, size_t len);

/* The same without the payload in any case; body may be NULL. It counts as running already: if
 * nothing is answered, no other image can begin with it. */
int ttrpc_kept_call_add_brief(struct ttrpc_kept *kept, uint32_t id, uint8_t flags,
                              const uint8_t *body, size_t len);
void ttrpc_kept_call_set(struct ttrpc_kept *kept, int unit, enum keep_call_state state);
enum keep_call_state ttrpc_kept_call_state(const struct ttrpc_kept *kept, int unit);
struct keep_call *ttrpc_kept_call(const struct ttrpc_kept *kept, int unit);

/* Units are below this. */
int ttrpc_kept_n_units(const struct ttrpc_kept *kept);

/* A stream's handler has what came with the request. */
void ttrpc_kept_call_heard(struct ttrpc_kept *kept, int unit);

/* Of the image before: whether the request in a frame was noted as a call, but for its payload. */
bool ttrpc_kept_call_is_noted(const struct ttrpc_kept *kept, const struct ttrpc_frame *frame);

/* Calls of the image before: they have their units again, but for one whose answer is queued. */
void ttrpc_kept_calls_found(struct ttrpc_kept *kept);

/* The call needs no answer, or has had it. Harmless for KEEP_NONE. */
void ttrpc_kept_call_end(struct ttrpc_kept *kept, int unit);

/* Where the note of a stream that is running goes, TTRPC_NOTE_MAX bytes; NULL when there is no
 * place. Then how many there are. */
uint8_t *ttrpc_kept_note_begin(struct ttrpc_kept *kept, int unit);
void ttrpc_kept_note_end(struct ttrpc_kept *kept, int unit, size_t len);

/* A call of the image before, and one that is over: whose place is taken, and is free. */
void ttrpc_kept_note_found(struct ttrpc_kept *kept, const struct keep_call *call);
void ttrpc_kept_note_gone(struct ttrpc_kept *kept, const struct keep_call *call);

/* The note, or NULL. */
const uint8_t *ttrpc_kept_note(const struct ttrpc_kept *kept, int unit, size_t *ret_len);

/* Bytes are queued, which answer the call `ends`, or none. */
void ttrpc_kept_out_add(struct ttrpc_kept *kept, const uint8_t *data, size_t len, int ends);

/* n bytes have left; empty: and nothing is queued any more. */
void ttrpc_kept_out_sent(struct ttrpc_kept *kept, size_t n, bool empty);

/* Copies what is queued; ret has room for ttrpc_kept_out_len() bytes. */
size_t ttrpc_kept_out_len(const struct ttrpc_kept *kept);
void ttrpc_kept_out_copy(const struct ttrpc_kept *kept, uint8_t *ret);

/* ---- Further areas ---- */

/* That behind an area; NULL: there is none. */
struct keep_area *ttrpc_keep_more(const struct ttrpc_keep *keep, const struct keep_area *area);

/* One more; false when it cannot be had. */
bool ttrpc_kept_more_add(struct ttrpc_kept *kept);

/* Of the image before, of which nothing is changed: takes hold of them, -1 without memory; and
 * leaves them again. */
int ttrpc_kept_more_found(struct ttrpc_kept *kept);
void ttrpc_kept_more_leave(struct ttrpc_kept *kept);

/* Gives them back; trim: those behind the last that is used. */
void ttrpc_kept_more_free(struct ttrpc_kept *kept);
void ttrpc_kept_more_trim(struct ttrpc_kept *kept);

/* ---- Annexes ---- */

/* Of the image before: looks for their file, and becomes its owner or forgets it. */
void ttrpc_keep_annexes_found(struct ttrpc_keep *keep);
void ttrpc_keep_annexes_own(struct ttrpc_keep *keep);
void ttrpc_keep_annexes_close(struct ttrpc_keep *keep);

/* The connection's; NULL when it cannot be had. */
struct keep_annex *ttrpc_kept_annex(struct ttrpc_kept *kept);

/* Has memory for len bytes at a place in it: to write to a page for which there is none is SIGBUS.
 */
bool ttrpc_kept_annex_reserve(const struct ttrpc_kept *kept, const void *at, size_t len);

/* Of the area's in_large or out_large: from now on it is so. */
void ttrpc_kept_place(struct ttrpc_kept *kept, _Atomic uint32_t *which, enum keep_place place);

/* Of the image before, when something is in it and ttrpc_keep_is_whole(). */
int ttrpc_kept_annex_found(struct ttrpc_kept *kept, struct error *err);
void ttrpc_kept_annex_unmap(struct ttrpc_kept *kept);

/* Gives it back, with the file when it was the last; trim: when nothing is in it. */
void ttrpc_kept_annex_free(struct ttrpc_kept *kept);
void ttrpc_kept_annex_trim(struct ttrpc_kept *kept);
