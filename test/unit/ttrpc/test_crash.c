/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that is left by an execve() of itself at a crash, at any step: what was answered is not
 * answered twice, and what was not is answered, or refused.
 */
#include <stdlib.h>
#include <string.h>

#include "test/unit/ttrpc/world.h"

enum { PIPELINE = 300 };

/* ---- As a crash ---- */

static void a_call_that_crashes_its_handler_is_refused_and_the_rest_go_on(void **state)
{
        struct world w;

        (void)state;
        world_start(&w);
        world_serve(&w);
        peer_call(&w.peer, 1, "Keep", "", 1);
        world_wait_seen(&w, 1, 1);
        peer_call(&w.peer, 3, "Hook", "crash", 2);
        peer_call(&w.peer, 5, "Echo", "after it", 3);
        peer_expect_status(&w.peer, 3, STATUS_UNAVAILABLE, "restarted in its handler");
        peer_expect_echo(&w.peer, 5, "after it");
        assert_int_equal(w.control->n_images, 2);
        assert_int_equal(w.control->seen[2], 1);
        peer_call(&w.peer, 7, "Hook", "go", 4);
        peer_expect_echo(&w.peer, 1, "let go");
        peer_expect_echo(&w.peer, 7, "go");
        world_stop(&w);
}

static void without_a_descriptor_a_crash_drops_a_connection_that_has_no_room(void **state)
{
        struct world w;
        struct peer other;

        (void)state;
        world_start(&w);
        world_serve(&w);
        world_connect(&w, &other);
        peer_call(&other, 1, "Echo", "it is connected", 9);
        peer_expect_echo(&other, 1, "it is connected");
        world_limit_fds(&w);
        peer_pause(&w.peer, true);
        peer_call(&w.peer, 1, "Grow", "", 1 << 20);
        peer_call(&w.peer, 3, "Echo", "", 1);
        world_wait_seen(&w, 1, 1);
        peer_call(&other, 3, "Hook", "crash", 2);
        peer_expect_status(&other, 3, STATUS_UNAVAILABLE, "restarted in its handler");
        assert_int_equal(w.control->n_dropped, 1);
        peer_pause(&w.peer, false);
        peer_wait_eof(&w.peer);
        peer_deinit(&other);
        world_stop(&w);
}

/* ---- At every step ---- */

/* One answer to each id, in any order; true: it was OK. */
static void read_answers(struct world *w, size_t n, bool ret_ok[])
{
        static struct answer answer;
        bool have[PIPELINE] = {false};

        for (size_t i = 0; i < n; i++) {
                size_t k;

                peer_read(&w->peer, &answer);
                k = answer.frame.stream_id / 2;
                assert_in_range(k, 0, n - 1);
                if (have[k])
                        fail_msg("a second answer to %u", answer.frame.stream_id);
                have[k] = true;
                ret_ok[k] = answer.code == STATUS_OK;
                if (answer.code == STATUS_UNIMPLEMENTED)
                        continue;
                if (answer.code != STATUS_OK)
                        assert_string_equal(answer.text, "restarted in its handler");
        }
}

/* Nothing is queued twice. */
static void assert_silent(struct world *w, uint32_t id)
{
        static struct answer answer;

        peer_call(&w->peer, id, "Echo", "last", IMAGE_NUMBERS - 1);
        peer_read(&w->peer, &answer);
        assert_int_equal(answer.frame.stream_id, id);
        loop_settle(w->loop);
        assert_int_equal(w->peer.n_in, 0);
        assert_false(w->peer.eof);
}

/* Eight calls of which one waits for the next to last; the bytes come in two pieces. */
static void calls_scenario(struct world *w, size_t cut)
{
        static const char *const methods[] = {"Echo", "Keep", "Echo", "Nobody",
                                              "Echo", "Grow", "Hook", "Echo"};
        enum { N = UNIT_COUNT(methods) };
        uint8_t bytes[4096];
        size_t len = 0;
        static struct answer last;
        bool ok[N] = {false};

        for (uint32_t i = 0; i < N; i++) {
                size_t n = 0;
                uint8_t *frame = echo_frame(2 * i + 1, methods[i], "go", 100 + i, 0, &n);

                memcpy(bytes + len, frame, n);
                len += n;
                free(frame);
        }
        cut = len * cut / 10;
        peer_write(&w->peer, bytes, cut);
        world_wait_taken(w, &w->peer);
        peer_write(&w->peer, bytes + cut, len - cut);
        /* If the Hook was what crashed, somebody else must let the kept one go. */
        peer_call(&w->peer, 2 * N + 1, "Hook", "go", 100 + N);
        read_answers(w, N, ok);
        peer_read(&w->peer, &last);
        assert_int_equal(last.frame.stream_id, 2 * N + 1);
        assert_silent(w, 2 * N + 3);
        for (size_t i = 0; i < N; i++) {
                unsigned seen = w->control->seen[100 + i];

                if (strcmp(methods[i], "Echo") == 0 && (seen > 1 || (ok[i] && seen != 1)))
                        fail_msg("call %zu was dispatched %u times", i, seen);
        }
}

/* A stream hears and says all of it, or it ends with Unavailable: with no gap, and nothing twice.
 */
static void stream_scenario(struct world *w, size_t cut)
{
        static const char *const texts[] = {"one", "two", "three", "four", "end"};
        const size_t n = UNIT_COUNT(texts);
        struct ttrpc_frame frame = {.type = TTRPC_FRAME_DATA};
        size_t n_heard = 0;

        talk_open(&w->peer, 1);
        for (size_t i = 0; i < n; i++) {
                if (i == cut)
                        world_wait_taken(w, &w->peer);
                talk_say(&w->peer, 1, texts[i], 100 + i);
        }
        /* An end without a message, or a status. */
        for (size_t i = 0; frame.type == TTRPC_FRAME_DATA && frame.flags == 0; i++) {
                size_t len = 0;
                uint8_t *bytes = peer_read_bytes(&w->peer, &len);

                frame = ttrpc_frame_decode(bytes);
                if (frame.type == TTRPC_FRAME_DATA && frame.flags == 0) {
                        Test__Ttrpc__EchoResponse *response = test__ttrpc__echo_response__unpack(
                                NULL, frame.length, bytes + TTRPC_HEADER_SIZE);

                        assert_non_null(response);
                        assert_in_range(i, 0, n - 1);
                        assert_string_equal(response->text, texts[i]);
                        test__ttrpc__echo_response__free_unpacked(response, NULL);
                        n_heard++;
                }
                free(bytes);
        }
        if (frame.type == TTRPC_FRAME_DATA)
                assert_int_equal(n_heard, n);
        for (size_t i = 0; i < n; i++)
                assert_in_range(w->control->seen[100 + i], i < n_heard, 1);
}

static void a_pipeline_survives_many_crashes(void **state)
{
        struct world w;
        bool ok[PIPELINE];

        (void)state;
        world_start(&w);
        w.control->crash_every = 211;
        world_serve(&w);
        for (uint32_t i = 0; i < PIPELINE; i++)
                peer_call(&w.peer, 2 * i + 1, "Echo", "pipeline", i);
        read_answers(&w, PIPELINE, ok);
        assert_true(w.control->n_images > 5);
        for (size_t i = 0; i < PIPELINE; i++) {
                assert_in_range(w.control->seen[i], ok[i], 1);
                assert_in_range(w.control->ended[i], ok[i], 1);
        }
        world_stop(&w);
}

static void at_every_step(void (*scenario)(struct world *w, size_t cut), size_t cut)
{
        struct world w;
        uint64_t step = 1;

        for (bool crashed = true; crashed; step++) {
                world_start(&w);
                w.control->crash_at = step;
                world_serve(&w);
                scenario(&w, cut);
                crashed = w.control->n_images > 1;
                world_stop(&w);
        }
        assert_true(step > 20);
}

static void calls_survive_a_crash_at_any_step(void **state)
{
        (void)state;
        at_every_step(calls_scenario, 10);
}

static void calls_that_come_in_pieces_survive_a_crash_at_any_step(void **state)
{
        (void)state;
        at_every_step(calls_scenario, 5);
}

static void a_stream_survives_a_crash_at_any_step_or_ends(void **state)
{
        (void)state;
        at_every_step(stream_scenario, 2);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_call_that_crashes_its_handler_is_refused_and_the_rest_go_on),
                cmocka_unit_test(without_a_descriptor_a_crash_drops_a_connection_that_has_no_room),
                cmocka_unit_test(calls_survive_a_crash_at_any_step),
                cmocka_unit_test(calls_that_come_in_pieces_survive_a_crash_at_any_step),
                cmocka_unit_test(a_stream_survives_a_crash_at_any_step_or_ends),
                cmocka_unit_test(a_pipeline_survives_many_crashes),
        };

        if (argc != 2)
                return 2;
        world_set_image(argv[1]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
