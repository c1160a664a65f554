/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams that say as much as they can, on one connection: none of them, and no other call, waits
 * for the end of another. What is counted is frames in the order in which they arrive, so it does
 * not matter how fast anything is. Once with a connection that is kept, where all streams together
 * have less room than each would like, and once without.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/limits.h"

#include "test/unit/ttrpc/chat.h"
#include "test/unit/unit.h"

enum {
        STREAMS = 6,
        ODD_ONE = STREAMS / 2,
        MESSAGES = 2000, /* of each; many times what is under way of it */
        MESSAGE_BYTES = 1000,
        MESSAGES_QUEUED = TTRPC_STREAM_QUEUED_MAX / MESSAGE_BYTES, /* of one stream, at most */
};

#define COUNT_TO_2000 "\x18\xd0\x0f" /* MESSAGES */

struct fixture {
        struct harness h;
        void *memory;
        unsigned n_got[STREAMS];
        bool is_closed[STREAMS];
};

static struct fixture *fixture_new(bool is_kept)
{
        struct fixture *f = calloc(1, sizeof(*f));
        struct ttrpc_server_options options = {.keep_size = TTRPC_KEEP_BYTES(1)};

        assert_non_null(f);
        if (is_kept) {
                f->memory = aligned_alloc(4096, options.keep_size);
                assert_non_null(f->memory);
                memset(f->memory, 0, options.keep_size);
                options.keep = f->memory;
        }
        chat_init(&f->h, is_kept ? &options : NULL);
        return f;
}

static void fixture_free(struct fixture *f)
{
        harness_deinit(&f->h);
        assert_int_equal(chat_log.n_live, 0);
        free(f->memory);
        free(f);
}

static uint32_t id_of(unsigned stream)
{
        return 2 * stream + 1;
}

static const uint32_t id_of_others = 2 * STREAMS + 1; /* the first that no stream has */

/* All have begun, and as much is under way as there is room for. odd: the payload of the one in the
 * middle, which may have ended. */
static void open_streams_but(struct fixture *f, const char *odd)
{
        peer_pause(&f->h.peer, true);
        for (unsigned i = 0; i < STREAMS; i++)
                chat_open(&f->h.peer, id_of(i), TTRPC_FLAG_REMOTE_CLOSED, "Count",
                          i == ODD_ONE ? odd : COUNT_TO_2000);
        harness_settle(&f->h);
        assert_in_range(chat_log.n_live, STREAMS - 1, STREAMS);
        peer_pause(&f->h.peer, false);
}

static void open_streams(struct fixture *f)
{
        open_streams_but(f, COUNT_TO_2000);
        assert_int_equal(chat_log.n_live, STREAMS);
}

/* Takes note of one frame; returns its id. */
static uint32_t take_frame(struct fixture *f)
{
        size_t len = 0;
        uint8_t *bytes = peer_read_bytes(&f->h.peer, &len);
        struct ttrpc_frame frame = ttrpc_frame_decode(bytes);
        unsigned stream = (frame.stream_id - 1) / 2;

        free(bytes);
        if (frame.type == TTRPC_FRAME_DATA) {
                assert_in_range(stream, 0, STREAMS - 1);
                assert_false(f->is_closed[stream]);
                if (frame.flags & TTRPC_FLAG_REMOTE_CLOSED)
                        f->is_closed[stream] = true;
                else
                        f->n_got[stream]++;
        }
        return frame.stream_id;
}

/* Between the stream that has got most and that which has got least. */
static unsigned lead_but(const struct fixture *f, unsigned except)
{
        unsigned most = 0;
        unsigned least = MESSAGES;

        for (unsigned i = 0; i < STREAMS; i++) {
                if (i == except)
                        continue;
                most = f->n_got[i] > most ? f->n_got[i] : most;
                least = f->n_got[i] < least ? f->n_got[i] : least;
        }
        return most - least;
}

static unsigned lead(const struct fixture *f)
{
        return lead_but(f, STREAMS);
}

static bool all_are_closed_but(const struct fixture *f, unsigned except)
{
        for (unsigned i = 0; i < STREAMS; i++) {
                if (i != except && !f->is_closed[i])
                        return false;
        }
        return true;
}

static bool all_are_closed(const struct fixture *f)
{
        return all_are_closed_but(f, STREAMS);
}

/* To their ends, and none is far ahead of another on the way. */
static void check_that_all_are_served(struct fixture *f)
{
        while (!all_are_closed(f)) {
                (void)take_frame(f);
                /* One was among the first and has had a turn, and the other has neither. */
                assert_in_range(lead(f), 0, 2 * MESSAGES_QUEUED);
        }
        for (unsigned i = 0; i < STREAMS; i++)
                assert_int_equal(f->n_got[i], MESSAGES);
}

static void check_streams(bool is_kept)
{
        struct fixture *f = fixture_new(is_kept);

        open_streams(f);
        check_that_all_are_served(f);
        fixture_free(f);
}

static void no_stream_waits_for_the_end_of_others(void **state)
{
        (void)state;
        check_streams(false);
}

static void no_stream_waits_for_the_end_of_others_with_which_it_shares_its_room(void **state)
{
        (void)state;
        check_streams(true);
}

/* It asks in every round, before those that are told. */
static void a_stream_that_tries_without_being_told_gets_no_more_than_others(void **state)
{
        struct fixture *f = fixture_new(true);

        (void)state;
        open_streams_but(f, "\x0a\x06greedy" COUNT_TO_2000);
        check_that_all_are_served(f);
        fixture_free(f);
}

static void a_turn_that_is_never_used_passes_on(void **state)
{
        struct fixture *f = fixture_new(true);

        (void)state;
        open_streams_but(f, "\x0a\x04idle" COUNT_TO_2000);
        while (!all_are_closed_but(f, ODD_ONE)) {
                (void)take_frame(f);
                assert_in_range(lead_but(f, ODD_ONE), 0, 2 * MESSAGES_QUEUED);
        }
        /* It was told, as often as the others or more often, and held nobody up. */
        assert_in_range(chat_log.n_unused_rooms, 2, SIZE_MAX);
        assert_int_equal(f->n_got[ODD_ONE], 0);
        peer_deinit(&f->h.peer);
        harness_settle(&f->h);
        fixture_free(f);
}

static void a_stream_that_ends_in_its_turn_passes_it_on(void **state)
{
        struct fixture *f = fixture_new(true);

        (void)state;
        open_streams_but(f, "\x0a\x05quits" COUNT_TO_2000);
        while (!all_are_closed(f)) {
                (void)take_frame(f);
                assert_in_range(lead_but(f, ODD_ONE), 0, 2 * MESSAGES_QUEUED);
        }
        assert_int_equal(f->n_got[ODD_ONE], 0);
        fixture_free(f);
}

/* Frames that are on their way at most: what streams may have queued, what is in the socket, and
 * what the peer has read and not looked at. */
static size_t max_under_way(const struct fixture *f, bool is_kept)
{
        size_t queued = is_kept ? KEEP_OUT_STREAMS : STREAMS * TTRPC_STREAM_QUEUED_MAX;
        int in_socket = 0;
        socklen_t len = sizeof(in_socket);

        assert_int_equal(getsockopt(f->h.peer.fd, SOL_SOCKET, SO_SNDBUF, &in_socket, &len), 0);
        return (queued + (size_t)in_socket + f->h.peer.n_in) / MESSAGE_BYTES + 1;
}

static void check_call(bool is_kept)
{
        struct fixture *f = fixture_new(is_kept);

        open_streams(f);
        for (uint32_t i = 0; i < 5; i++) {
                uint32_t id = id_of_others + 2 * i;
                size_t n_max = max_under_way(f, is_kept);
                size_t n = 0;

                peer_call(&f->h.peer, id, "Echo", "amid the flood", 0);
                while (take_frame(f) != id)
                        assert_in_range(++n, 1, n_max);
        }
        assert_int_equal(chat_log.n_live, STREAMS); /* the flood goes on */
        while (!all_are_closed(f))
                (void)take_frame(f);
        fixture_free(f);
}

static void a_call_is_answered_while_streams_flood(void **state)
{
        (void)state;
        check_call(false);
}

static void a_call_is_answered_while_streams_share_all_the_room_there_is(void **state)
{
        (void)state;
        check_call(true);
}

/* It has come last and finds no room at all. */
static void a_stream_that_comes_late_says_its_word_at_once(void **state)
{
        struct fixture *f = fixture_new(true);
        size_t n_max;
        size_t n = 0;

        (void)state;
        open_streams(f);
        n_max = max_under_way(f, true);
        chat_open(&f->h.peer, id_of_others, TTRPC_FLAG_REMOTE_OPEN, "Talk", "\x0a\x01x");
        for (;;) {
                size_t len = 0;
                uint8_t *bytes = peer_read_bytes(&f->h.peer, &len);
                uint32_t id = ttrpc_frame_decode(bytes).stream_id;

                free(bytes);
                if (id == id_of_others)
                        break;
                assert_in_range(++n, 1, n_max);
        }
        assert_int_equal(chat_log.n_live, STREAMS + 1);
        peer_deinit(&f->h.peer);
        harness_settle(&f->h);
        fixture_free(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_stream_waits_for_the_end_of_others),
                cmocka_unit_test(
                        no_stream_waits_for_the_end_of_others_with_which_it_shares_its_room),
                cmocka_unit_test(a_stream_that_tries_without_being_told_gets_no_more_than_others),
                cmocka_unit_test(a_turn_that_is_never_used_passes_on),
                cmocka_unit_test(a_stream_that_ends_in_its_turn_passes_it_on),
                cmocka_unit_test(a_call_is_answered_while_streams_flood),
                cmocka_unit_test(a_call_is_answered_while_streams_share_all_the_room_there_is),
                cmocka_unit_test(a_stream_that_comes_late_says_its_word_at_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
