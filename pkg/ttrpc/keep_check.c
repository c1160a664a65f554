/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether memory that an image before has left can be relied on: see keep.h. It may be damaged, and
 * it is the owner's still: nothing is changed and no descriptor is touched, so who refuses it can
 * leave it to somebody else. What passes is not looked at with suspicion again: offsets are within
 * their buffers, calls do not overlap and are whole requests, no descriptor is there twice. Whether
 * the descriptors are what they should be is restore.c's part.
 */
#include "pkg/ttrpc/keep_store.h"
#include "pkg/ttrpc/limits.h"

static int calls_check(const struct keep_area *area, unsigned slot, struct error *err)
{
        size_t unit = 0;
        size_t free_from = 0; /* the end of the call before */

        for (; unit < KEEP_UNITS; unit++) {
                const struct keep_call *call = area_call(area, unit);
                uint8_t state = LOOK(&area->calls[unit]);
                struct ttrpc_frame frame;

                if (state == KEEP_CALL_FREE)
                        continue;
                if (state >= _KEEP_CALL_STATE_MAX || unit < free_from ||
                    call->len < TTRPC_HEADER_SIZE || call->len > sizeof(area->units) ||
                    units_of(call->len) > KEEP_UNITS - unit)
                        break;
                frame = ttrpc_frame_decode(call->frame);
                if (frame.type != TTRPC_FRAME_REQUEST || frame.length > TTRPC_MESSAGE_MAX ||
                    TTRPC_HEADER_SIZE + frame.length != call->len)
                        break;
                free_from = unit + units_of(call->len);
        }
        if (unit < KEEP_UNITS)
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: call in unit %zu is damaged",
                                 slot, unit);
        return 0;
}

/* taken: bits of the areas that are somebody's further ones. */
static int more_check(const struct ttrpc_keep *keep, unsigned slot, uint64_t *taken,
                      unsigned *ret_n, struct error *err)
{
        const struct keep_area *area = &keep->areas[slot];
        uint32_t more;

        *ret_n = 0;
        while ((more = LOOK(&area->more)) != 0) {
                unsigned next = more - 1;

                if (next >= keep->head->n_areas || LOOK(&keep->head->conns[next]) != 0 ||
                    taken[next / 64] & bit_of(next))
                        return error_set(err, STATUS_DATA_LOSS,
                                         "ttrpc server: kept connection %u: area %u is not its own",
                                         slot, next);
                taken[next / 64] |= bit_of(next);
                (*ret_n)++;
                area = &keep->areas[next];
                if (calls_check(area, slot, err) < 0)
                        return -1;
        }
        return 0;
}

static int area_check(const struct ttrpc_keep *keep, unsigned slot, uint64_t *taken,
                      struct error *err)
{
        const struct keep_area *area = &keep->areas[slot];
        unsigned n_more = 0;
        uint64_t in = LOOK(&area->in);
        uint64_t out = LOOK(&area->out);

        if (pair_first(in) > pair_end(in) || pair_end(in) > KEEP_IN)
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: read from %u to %u", slot,
                                 pair_first(in), pair_end(in));
        if (pair_end(out) - pair_first(out) >
            (uint32_t)(LOOK(&area->out_large) == KEEP_IN_ANNEX ? KEEP_ANNEX_OUT : KEEP_OUT))
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: queued from %u to %u", slot,
                                 pair_first(out), pair_end(out));
        if (more_check(keep, slot, taken, &n_more, err) < 0)
                return -1;
        if (LOOK(&area->answering) >> 32 > (uint64_t)(1 + n_more) * KEEP_UNITS)
                return error_set(err, STATUS_DATA_LOSS,
                                 "ttrpc server: kept connection %u: the answered call is damaged",
                                 slot);
        return calls_check(area, slot, err);
}

int ttrpc_keep_check(const struct ttrpc_keep *keep, struct error *err)
{
        int fds[KEEP_LISTENERS + TTRPC_CONNECTIONS_MAX];
        uint64_t taken[TTRPC_CONNECTIONS_MAX / 64] = {0};
        size_t n = ttrpc_keep_fds(keep->head, fds, KEEP_LISTENERS + TTRPC_CONNECTIONS_MAX);

        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; k < i; k++) {
                        if (fds[i] == fds[k])
                                return error_set(err, STATUS_DATA_LOSS,
                                                 "ttrpc server: descriptor %d is kept twice",
                                                 fds[i]);
                }
        }
        for (unsigned i = 0; i < keep->head->n_areas; i++) {
                if (LOOK(&keep->head->conns[i]) > 0 && area_check(keep, i, taken, err) < 0)
                        return -1;
        }
        return 0;
}
