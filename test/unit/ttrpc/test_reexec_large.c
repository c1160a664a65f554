/* SPDX-License-Identifier: Apache-2.0
 *
 * What is too large for a connection's area when the server is left by an execve() of itself, as
 * planned or at any step: frames that are half read, answers that nobody reads, and calls whose
 * requests are large.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "pkg/ttrpc/keep.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/out.h"

#include "test/unit/ttrpc/world.h"

enum { LARGE = 3 << 20, MEDIUM = 200000 };

static struct answer answer;

static void begin(struct world *w)
{
        world_start(w);
        world_serve(w);
}

/* As many zeros as were sent, or what Grow makes. */
static void expect_data(struct peer *p, uint32_t id, size_t n, bool is_pattern)
{
        Test__Ttrpc__EchoResponse *response;
        size_t n_wrong = 0;

        peer_read(p, &answer);
        assert_int_equal(answer.frame.stream_id, id);
        assert_int_equal(answer.code, STATUS_OK);
        response = test__ttrpc__echo_response__unpack(NULL, answer.n_payload, answer.payload);
        assert_non_null(response);
        assert_int_equal(response->data.len, n);
        for (size_t i = 0; i < n; i++)
                n_wrong += response->data.data[i] != (is_pattern ? (uint8_t)(i * 7 + i / 251) : 0);
        assert_int_equal(n_wrong, 0);
        test__ttrpc__echo_response__free_unpacked(response, NULL);
}

/* A frame of a Talk with a large message. */
static void talk_write(struct peer *p, uint32_t id, const char *text, size_t n, bool opens)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        struct ttrpc_out *out = NULL;
        uint8_t *data = calloc(1, n);

        request.text = (char *)text;
        request.data = (ProtobufCBinaryData){.data = data, .len = n};
        if (opens)
                assert_int_equal(ttrpc_out_request(&out, id, TTRPC_FLAG_REMOTE_OPEN,
                                                   "test.ttrpc.Chat", "Talk", &request.base, NULL,
                                                   NULL),
                                 0);
        else
                assert_int_equal(ttrpc_out_data(&out, NULL, id, &request.base, NULL), 0);
        peer_write(p, out->data, out->len);
        ttrpc_out_free(out);
        free(data);
}

static void a_large_request_is_whole_in_whatever_image_its_end_comes(void **state)
{
        static const size_t cuts[] = {9, 10, 11, 48 << 10, 49 << 10, 100000, 1 << 20, LARGE};
        struct world w;
        size_t len = 0;
        size_t at = 0;
        uint8_t *frame = echo_frame(1, "Echo", "large", 1, LARGE, &len);

        (void)state;
        begin(&w);
        for (size_t i = 0; i < UNIT_COUNT(cuts); i++) {
                peer_write(&w.peer, frame + at, cuts[i] - at);
                at = cuts[i];
                world_wait_taken(&w, &w.peer);
                world_reexec(&w);
        }
        peer_write(&w.peer, frame + at, len - at);
        expect_data(&w.peer, 1, LARGE, false);
        world_reexec(&w);
        peer_call(&w.peer, 3, "Echo", "after it", 2);
        peer_expect_echo(&w.peer, 3, "after it");
        assert_int_equal(w.control->seen[1], 1);
        assert_int_equal(w.control->n_dropped, 0);
        assert_int_equal(w.control->n_not_quiet, 0);
        free(frame);
        world_stop(&w);
}

static void every_connection_may_be_amid_a_large_request(void **state)
{
        struct peer others[IMAGE_CONNS - 1];
        struct peer *peers[IMAGE_CONNS];
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(1, "Echo", "large", 1, MEDIUM, &len);

        (void)state;
        begin(&w);
        peers[0] = &w.peer;
        for (size_t i = 0; i < IMAGE_CONNS; i++) {
                if (i > 0) {
                        peers[i] = &others[i - 1];
                        world_connect(&w, peers[i]);
                }
                peer_write(peers[i], frame, 60000 + 10000 * i);
                world_wait_taken(&w, peers[i]);
        }
        world_reexec(&w);
        world_reexec(&w);
        for (size_t i = 0; i < IMAGE_CONNS; i++) {
                peer_write(peers[i], frame + 60000 + 10000 * i, len - 60000 - 10000 * i);
                expect_data(peers[i], 1, MEDIUM, false);
        }
        assert_int_equal(w.control->n_dropped, 0);
        for (size_t i = 1; i < IMAGE_CONNS; i++)
                peer_deinit(peers[i]);
        free(frame);
        world_stop(&w);
}

static void large_answers_that_nobody_reads_go_on_where_they_were(void **state)
{
        enum { N = 7, BIG = 1 << 20 };
        struct world w;

        (void)state;
        begin(&w);
        peer_pause(&w.peer, true);
        for (uint32_t i = 0; i < N; i++) {
                peer_call(&w.peer, 4 * i + 1, "Grow", "", BIG);
                peer_call(&w.peer, 4 * i + 3, "Echo", "behind it", i);
                world_wait_seen(&w, i, 1);
                world_reexec(&w);
        }
        peer_pause(&w.peer, false);
        for (uint32_t i = 0; i < N; i++) {
                expect_data(&w.peer, 4 * i + 1, BIG, true);
                peer_expect_echo(&w.peer, 4 * i + 3, "behind it");
                if (i == N / 2)
                        world_reexec(&w);
        }
        assert_int_equal(w.control->n_dropped, 0);
        assert_int_equal(w.control->n_not_quiet, 0);
        world_stop(&w);
}

static void a_stream_goes_on_however_large_its_beginning_was(void **state)
{
        struct world w;

        (void)state;
        begin(&w);
        talk_write(&w.peer, 1, "large", LARGE, true);
        talk_expect(&w.peer, 1, "large");
        world_reexec(&w);
        talk_write(&w.peer, 1, "one more", MEDIUM, false);
        talk_expect(&w.peer, 1, "one more");
        world_reexec(&w);
        talk_say(&w.peer, 1, "end", 3);
        talk_expect(&w.peer, 1, "end");
        assert_int_equal(w.control->n_not_quiet, 0);
        assert_int_equal(w.control->n_dropped, 0);
        assert_int_equal(w.control->n_talked, 3);
        world_stop(&w);
}

static void a_large_request_that_has_no_answer_yet_is_refused_and_the_rest_go_on(void **state)
{
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(3, "Keep", "large", 1, LARGE, &len);

        (void)state;
        begin(&w);
        peer_call(&w.peer, 1, "Keep", "", 2);
        peer_write(&w.peer, frame, len);
        world_wait_seen(&w, 1, 1);
        world_reexec(&w);
        peer_expect_status(&w.peer, 3, STATUS_UNAVAILABLE,
                           "ttrpc: the server was restarted while a large request was under way");
        peer_call(&w.peer, 5, "Hook", "go", 3);
        peer_expect_echo(&w.peer, 1, "let go");
        peer_expect_echo(&w.peer, 5, "go");
        free(frame);
        world_stop(&w);
}

/* Half a dozen fill what a connection has for large ones. */
static void requests_that_have_no_room_any_more_lose_their_payload_only(void **state)
{
        enum { N = 40 };
        struct world w;
        size_t n_refused = 0;

        (void)state;
        begin(&w);
        for (uint32_t i = 0; i < N; i++) {
                size_t len = 0;
                uint8_t *frame = echo_frame(2 * i + 1, "Keep", "", 1, 40000, &len);

                peer_write(&w.peer, frame, len);
                free(frame);
        }
        world_wait_seen(&w, 1, N);
        world_reexec(&w);
        peer_call(&w.peer, 2 * N + 1, "Hook", "go", 3);
        for (;;) {
                peer_read(&w.peer, &answer);
                if (answer.frame.stream_id == 2 * N + 1)
                        break;
                n_refused += answer.code == STATUS_UNAVAILABLE;
        }
        assert_in_range(n_refused, 1, N - 6);
        assert_int_equal(w.control->n_dropped, 0);
        world_stop(&w);
}

static void what_is_thrown_away_is_so_in_whatever_image_it_comes(void **state)
{
        const size_t n = (size_t)TTRPC_MESSAGE_MAX + 1000;
        uint8_t *bytes = calloc(1, n);
        struct ttrpc_frame frame = {
                .length = (uint32_t)n, .stream_id = 1, .type = TTRPC_FRAME_REQUEST};
        uint8_t header[TTRPC_HEADER_SIZE];
        struct world w;

        (void)state;
        begin(&w);
        ttrpc_frame_encode(&frame, header);
        peer_write(&w.peer, header, sizeof(header));
        peer_write(&w.peer, bytes, 70000);
        world_wait_taken(&w, &w.peer);
        world_reexec(&w);
        peer_write(&w.peer, bytes, n - 70000 - 1);
        world_wait_taken(&w, &w.peer);
        world_reexec(&w);
        peer_write(&w.peer, bytes, 1);
        peer_expect_status(&w.peer, 1, STATUS_RESOURCE_EXHAUSTED,
                           "message length 4195304 exceed maximum message size of 4194304");
        peer_call(&w.peer, 3, "Echo", "after it", 5);
        peer_expect_echo(&w.peer, 3, "after it");
        assert_int_equal(w.control->n_not_quiet, 0);
        free(bytes);
        world_stop(&w);
}

static void wait_for_layout(const struct world *w, const struct keep_head *head, uint32_t layout)
{
        while (atomic_load(&head->layout) != layout) {
                world_assert_alive(w);
                loop_settle(w->loop);
        }
}

/* It knows another number, and is left with the reason; the connections go on. */
static void a_version_without_annexes_does_not_take_over_while_something_is_in_one(void **state)
{
        struct keep_head *head;
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(1, "Echo", "large", 1, MEDIUM, &len);

        (void)state;
        begin(&w);
        head = mmap(NULL, TTRPC_KEEP_BYTES(IMAGE_CONNS), PROT_READ, MAP_SHARED, w.memory_fd, 0);
        assert_ptr_not_equal(head, MAP_FAILED);
        assert_int_equal(atomic_load(&head->layout), KEEP_LAYOUT);
        peer_write(&w.peer, frame, len - 1);
        world_wait_taken(&w, &w.peer);
        wait_for_layout(&w, head, KEEP_LAYOUT_ANNEXES);
        world_reexec(&w);
        assert_int_equal(atomic_load(&head->layout), KEEP_LAYOUT_ANNEXES);
        peer_write(&w.peer, frame + len - 1, 1);
        expect_data(&w.peer, 1, MEDIUM, false);
        wait_for_layout(&w, head, KEEP_LAYOUT);
        (void)munmap(head, TTRPC_KEEP_BYTES(IMAGE_CONNS));
        free(frame);
        world_stop(&w);
}

/* What it would dispatch again is not what was asked for. */
static void nor_does_it_while_a_call_waits_whose_payload_is_not_kept(void **state)
{
        struct keep_head *head;
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(1, "Keep", "large", 1, MEDIUM, &len);

        (void)state;
        begin(&w);
        head = mmap(NULL, TTRPC_KEEP_BYTES(IMAGE_CONNS), PROT_READ, MAP_SHARED, w.memory_fd, 0);
        assert_ptr_not_equal(head, MAP_FAILED);
        peer_write(&w.peer, frame, len);
        world_wait_seen(&w, 1, 1);
        wait_for_layout(&w, head, KEEP_LAYOUT_ANNEXES);
        peer_call(&w.peer, 3, "Echo", "the annex is free", 2);
        peer_expect_echo(&w.peer, 3, "the annex is free");
        assert_int_equal(atomic_load(&head->layout), KEEP_LAYOUT_ANNEXES);
        peer_call(&w.peer, 5, "Hook", "go", 3);
        peer_expect_echo(&w.peer, 1, "let go");
        peer_expect_echo(&w.peer, 5, "go");
        wait_for_layout(&w, head, KEEP_LAYOUT);
        (void)munmap(head, TTRPC_KEEP_BYTES(IMAGE_CONNS));
        free(frame);
        world_stop(&w);
}

/* ---- A crash at every step ---- */

/* One answer to each, whatever it says; the connection is there as long. */
static void large_scenario(struct world *w)
{
        struct peer other;
        size_t len = 0;
        uint8_t *frame = echo_frame(5, "Echo", "large", 101, MEDIUM, &len);
        bool have[4] = {false};
        unsigned n_ok = 0;

        peer_pause(&w->peer, true);
        peer_call(&w->peer, 1, "Keep", "", 100);
        peer_call(&w->peer, 3, "Grow", "", 600000);
        peer_write(&w->peer, frame, 90000);
        world_wait_taken(w, &w->peer);
        peer_write(&w->peer, frame + 90000, len - 90000);
        peer_call(&w->peer, 7, "Echo", "small", 102);
        world_connect(w, &other);
        peer_call(&other, 1, "Hook", "go", 103);
        peer_pause(&w->peer, false);
        peer_read(&other, &answer);
        peer_call(&other, 3, "Hook", "go", 103);
        peer_read(&other, &answer);
        for (size_t i = 0; i < UNIT_COUNT(have); i++) {
                peer_read(&w->peer, &answer);
                assert_in_range(answer.frame.stream_id, 1, 7);
                assert_false(have[answer.frame.stream_id / 2]);
                have[answer.frame.stream_id / 2] = true;
                if (answer.frame.stream_id != 5)
                        continue;
                n_ok = answer.code == STATUS_OK;
                if (!n_ok)
                        assert_int_equal(answer.code, STATUS_UNAVAILABLE);
        }
        assert_in_range(w->control->seen[101], n_ok, 1);
        peer_call(&w->peer, 9, "Echo", "last", 104);
        peer_read(&w->peer, &answer);
        assert_int_equal(answer.frame.stream_id, 9);
        assert_int_equal(w->control->n_dropped, 0);
        peer_deinit(&other);
        free(frame);
}

static void what_is_large_survives_a_crash_at_any_step(void **state)
{
        struct world w;
        uint64_t step = 1;

        (void)state;
        for (bool crashed = true; crashed; step++) {
                world_start(&w);
                w.control->crash_at = step;
                world_serve(&w);
                large_scenario(&w);
                crashed = w.control->n_images > 1;
                world_stop(&w);
        }
        assert_true(step > 40);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_large_request_is_whole_in_whatever_image_its_end_comes),
                cmocka_unit_test(every_connection_may_be_amid_a_large_request),
                cmocka_unit_test(large_answers_that_nobody_reads_go_on_where_they_were),
                cmocka_unit_test(a_stream_goes_on_however_large_its_beginning_was),
                cmocka_unit_test(
                        a_large_request_that_has_no_answer_yet_is_refused_and_the_rest_go_on),
                cmocka_unit_test(requests_that_have_no_room_any_more_lose_their_payload_only),
                cmocka_unit_test(what_is_thrown_away_is_so_in_whatever_image_it_comes),
                cmocka_unit_test(
                        a_version_without_annexes_does_not_take_over_while_something_is_in_one),
                cmocka_unit_test(nor_does_it_while_a_call_waits_whose_payload_is_not_kept),
                cmocka_unit_test(what_is_large_survives_a_crash_at_any_step),
        };

        if (argc != 2)
                return 2;
        world_set_image(argv[1]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
