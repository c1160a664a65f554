/* SPDX-License-Identifier: Apache-2.0
 *
 * See notes.h. Few slots are ever used at a time, so all is done by looking through them; those
 * that never were are not even read, since in a new file a page that is read is a page that is
 * there. When the first page is enough again, those behind it go back: what they hold is free
 * slots, and a hole reads as such.
 */
#include "pkg/reaper/notes.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "pkg/base/chaos.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"

enum { LAYOUT = 2, PAGE = 4096 };

enum { FREE, NOTED, DELIVERED };

struct note {
        _Atomic uint32_t state;
        int32_t pid;
        int32_t code;
        int32_t status;
        uint64_t at_ns;
        uint64_t seq; /* 0 of a version that wrote none: older than all others */
};
_Static_assert(sizeof(struct note) == 32, "a part of the layout");

struct notes_memory {
        uint32_t layout;          /* 0: new */
        _Atomic uint32_t n_begun; /* slots, the first ones, that may be read */
        uint32_t unused[6];
        struct note notes[];
};

enum { FIRST_PAGE = (PAGE - sizeof(struct notes_memory)) / sizeof(struct note) };
_Static_assert(sizeof(struct notes_memory) + FIRST_PAGE * sizeof(struct note) == PAGE,
               "the slots behind the first page begin with the second");

int notes_open(struct notes *ret, void *memory, size_t size, struct error *err)
{
        struct notes_memory *m = memory;
        size_t room;
        size_t n_begun;

        if (size < sizeof(*m) + sizeof(struct note))
                return error_set(err, STATUS_INVALID_ARGUMENT, "exits: %zu bytes are too few",
                                 size);
        if (m->layout != 0 && m->layout != LAYOUT)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "exits: layout version %u, this program knows %d", m->layout,
                                 LAYOUT);
        m->layout = LAYOUT;
        room = (size - sizeof(*m)) / sizeof(struct note);
        if (room > LIMIT_KEPT_EXITS)
                room = LIMIT_KEPT_EXITS;
        n_begun = m->n_begun;
        if (n_begun > room)
                return error_set(err, STATUS_INVALID_ARGUMENT, "exits: %zu slots, at most %zu",
                                 n_begun, room);
        *ret = (struct notes){.memory = m, .room = room};
        for (size_t i = 0; i < n_begun; i++) {
                uint32_t state = m->notes[i].state;

                if (state > DELIVERED)
                        return error_set(err, STATUS_INVALID_ARGUMENT, "exits: slot %zu says %u", i,
                                         state);
                if (state != FREE)
                        ret->n = i + 1;
        }
        return 0;
}

static void slot_set(struct note *note, uint32_t state)
{
        atomic_store_explicit(&note->state, state, memory_order_release);
}

static struct note *find(const struct notes *notes, pid_t pid)
{
        for (size_t i = 0; i < notes->n; i++) {
                struct note *note = &notes->memory->notes[i];

                if (note->state != FREE && note->pid == pid)
                        return note;
        }
        return NULL;
}

/* It counts before it is used: whoever looks for exits looks there, too. */
static struct note *slot_begin(struct notes *notes)
{
        struct notes_memory *m = notes->memory;

        if (notes->n >= m->n_begun)
                atomic_store_explicit(&m->n_begun, (uint32_t)notes->n + 1, memory_order_release);
        return &m->notes[notes->n++];
}

/* Of those in that state; NULL when there is none. */
static struct note *find_oldest(const struct notes *notes, uint32_t state)
{
        struct note *oldest = NULL;

        for (size_t i = 0; i < notes->n; i++) {
                struct note *note = &notes->memory->notes[i];

                if (note->state == state && (!oldest || note->seq < oldest->seq))
                        oldest = note;
        }
        return oldest;
}

/* The first free one, so that what is used stays together. */
static struct note *slot_for(struct notes *notes)
{
        struct note *slots = notes->memory->notes;
        struct note *delivered;

        for (size_t i = 0; i < notes->n; i++) {
                if (slots[i].state == FREE)
                        return &slots[i];
        }
        if (notes->n < notes->room)
                return slot_begin(notes);
        delivered = find_oldest(notes, DELIVERED);
        return delivered ? delivered : find_oldest(notes, NOTED);
}

void notes_add(struct notes *notes, const struct reaped *reaped)
{
        const struct reaper_exit *exit = &reaped->exit;
        struct note *note;

        if (!notes->memory)
                return;
        note = find(notes, exit->pid);
        if (!note)
                note = slot_for(notes);
        slot_set(note, FREE);
        CHAOS_POINT("note-free");
        note->pid = exit->pid;
        note->code = exit->code;
        note->status = exit->status;
        note->at_ns = clock_timespec_ns(&exit->at);
        note->seq = reaped->seq;
        slot_set(note, NOTED);
}

void notes_set_delivered(struct notes *notes, pid_t pid)
{
        struct note *note = find(notes, pid);

        if (note)
                slot_set(note, DELIVERED);
}

/* They do not count any more before they go. Where it is no shared memory, nothing is given back.
 */
static void give_back(struct notes_memory *m)
{
        size_t n = m->n_begun - FIRST_PAGE;

        atomic_store_explicit(&m->n_begun, FIRST_PAGE, memory_order_release);
        CHAOS_POINT("notes-unread");
        (void)madvise(&m->notes[FIRST_PAGE], n * sizeof(struct note), MADV_REMOVE);
}

/* Those behind the last that is used need not be looked at any more. */
static void trim(struct notes *notes)
{
        struct notes_memory *m = notes->memory;

        while (notes->n > 0 && m->notes[notes->n - 1].state == FREE)
                notes->n--;
        if (m && notes->n <= FIRST_PAGE && m->n_begun > FIRST_PAGE)
                give_back(m);
}

void notes_remove(struct notes *notes, pid_t pid)
{
        struct note *note = find(notes, pid);

        if (note)
                slot_set(note, FREE);
        trim(notes);
}

void notes_remove_delivered(struct notes *notes)
{
        for (size_t i = 0; i < notes->n; i++) {
                if (notes->memory->notes[i].state == DELIVERED)
                        slot_set(&notes->memory->notes[i], FREE);
        }
        trim(notes);
}

bool notes_next(const struct notes *notes, size_t *i, struct reaped *ret)
{
        while (*i < notes->n) {
                const struct note *note = &notes->memory->notes[(*i)++];

                if (note->state == FREE)
                        continue;
                *ret = (struct reaped){
                        .exit = {.pid = note->pid,
                                 .code = note->code,
                                 .status = note->status,
                                 .at = clock_ns_timespec(note->at_ns)},
                        .seq = note->seq,
                };
                return true;
        }
        return false;
}
