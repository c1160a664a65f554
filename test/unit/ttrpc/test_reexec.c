/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that is left by an execve() of itself, as planned or as a crash, and goes on: nobody who
 * talks to it can tell. The program that serves is image.c, whose path is the argument; the peers
 * are the harness's, here without a server.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/ttrpc/limits.h"
#include "pkg/ttrpc/out.h"

#include "test/unit/ttrpc/harness.h"
#include "test/unit/ttrpc/image.h"
#include "test/unit/unit.h"

enum { GUARD_SECONDS = 60, PIPELINE = 300 };

static const char *image_path;

struct world {
        struct loop *loop;
        struct loop_timer *guard;
        struct sockaddr_un address;
        socklen_t n_address;
        int listener;
        int memory_fd;
        int control_fd;
        volatile struct control *control;
        pid_t pid;
        struct peer peer;
};

static void guard_fired(struct loop_timer *timer, void *userdata)
{
        fail_msg("waited %d s for nothing", GUARD_SECONDS);
}

/* ---- The server's process ---- */

static void run_image(const struct world *w)
{
        char fds[3][16];
        char *argv[] = {(char *)image_path, fds[0], fds[1], fds[2], NULL};
        const int numbers[] = {w->listener, w->memory_fd, w->control_fd};

        for (int i = 0; i < 3; i++) {
                (void)snprintf(fds[i], sizeof(fds[i]), "%d", numbers[i]);
                (void)fcntl(numbers[i], F_SETFD, 0);
        }
        (void)execv(image_path, argv);
        _exit(99);
}

static void connect_peer(struct world *w, struct peer *p)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(connect(fd, (struct sockaddr *)&w->address, w->n_address), 0);
        peer_init_fd(p, w->loop, fd);
}

static void start(struct world *w)
{
        memset(w, 0, sizeof(*w));
        assert_int_equal(loop_new(&w->loop, NULL), 0);
        w->guard = loop_timer_new(w->loop, guard_fired, w);
        assert_int_equal(loop_timer_set(w->guard, GUARD_SECONDS * NSEC_PER_SEC), 0);
        w->memory_fd = memfd_create("kept", MFD_CLOEXEC);
        assert_int_equal(ftruncate(w->memory_fd, (off_t)TTRPC_KEEP_BYTES(IMAGE_CONNS)), 0);
        w->control_fd = memfd_create("control", MFD_CLOEXEC);
        assert_int_equal(ftruncate(w->control_fd, sizeof(*w->control)), 0);
        w->control = mmap(NULL, sizeof(*w->control), PROT_READ | PROT_WRITE, MAP_SHARED,
                          w->control_fd, 0);
        assert_ptr_not_equal(w->control, MAP_FAILED);
        /* The kernel finds a name that nobody has. */
        w->address.sun_family = AF_UNIX;
        w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(w->listener, (struct sockaddr *)&w->address, sizeof(sa_family_t)), 0);
        w->n_address = sizeof(w->address);
        assert_int_equal(getsockname(w->listener, (struct sockaddr *)&w->address, &w->n_address),
                         0);
        assert_int_equal(listen(w->listener, 16), 0);
}

static void assert_alive(const struct world *w)
{
        if (waitpid(w->pid, NULL, WNOHANG) != 0)
                fail_msg("the server is gone");
}

static void serve(struct world *w)
{
        w->pid = fork();
        assert_true(w->pid >= 0);
        if (w->pid == 0)
                run_image(w);
        connect_peer(w, &w->peer);
        /* From then on it takes signals. */
        while (w->control->n_images == 0) {
                assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
}

static void stop(struct world *w)
{
        int status = 0;

        peer_deinit(&w->peer);
        (void)kill(w->pid, SIGKILL);
        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        if (!WIFSIGNALED(status))
                fail_msg("the server has exited with status %x", status);
        (void)munmap((void *)w->control, sizeof(*w->control));
        fd_close(w->control_fd);
        fd_close(w->memory_fd);
        fd_close(w->listener);
        loop_timer_free(w->guard);
        loop_free(w->loop);
}

/* Until the server has read all that the peer wrote. */
static void wait_taken(struct world *w, const struct peer *p)
{
        int n = 1;

        while (ioctl(p->fd, SIOCOUTQ, &n) == 0 && n > 0) {
                assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
        assert_int_equal(n, 0);
}

static void wait_seen(struct world *w, size_t number, unsigned n)
{
        while (w->control->seen[number] < n) {
                assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
}

static void reexec(struct world *w)
{
        uint64_t n = w->control->n_images;

        assert_int_equal(kill(w->pid, SIGHUP), 0);
        while (w->control->n_images == n) {
                assert_alive(w);
                (void)poll(NULL, 0, 1);
        }
}

/* ---- Frames ---- */

static uint8_t *echo_frame(uint32_t id, const char *method, const char *text, uint64_t number,
                           size_t n_data, size_t *ret_len)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        uint8_t *data = calloc(1, n_data + 1);
        uint8_t *frame;

        request.text = (char *)text;
        request.number = number;
        request.data.data = data;
        request.data.len = n_data;
        frame = request_new(id, method, &request, 0, ret_len);
        free(data);
        return frame;
}

/* Opens a Talk. */
static void talk_open(struct peer *p, uint32_t id)
{
        struct ttrpc_out *out = NULL;

        assert_int_equal(ttrpc_out_request(&out, id, TTRPC_FLAG_REMOTE_OPEN, "test.ttrpc.Chat",
                                           "Talk", NULL, NULL, NULL),
                         0);
        peer_write(p, out->data, out->len);
        ttrpc_out_free(out);
}

static void talk_say(struct peer *p, uint32_t id, const char *text, uint64_t number)
{
        Test__Ttrpc__EchoRequest request = TEST__TTRPC__ECHO_REQUEST__INIT;
        uint8_t packed[256];
        size_t n;

        request.text = (char *)text;
        request.number = number;
        n = test__ttrpc__echo_request__pack(&request, packed);
        peer_send_frame(p, id, TTRPC_FRAME_DATA, 0, packed, n);
}

static void talk_expect(struct peer *p, uint32_t id, const char *text)
{
        Test__Ttrpc__EchoResponse *response;
        struct ttrpc_frame frame;
        size_t len = 0;
        uint8_t *bytes = peer_read_bytes(p, &len);

        frame = ttrpc_frame_decode(bytes);
        assert_int_equal(frame.stream_id, id);
        assert_int_equal(frame.type, TTRPC_FRAME_DATA);
        response =
                test__ttrpc__echo_response__unpack(NULL, frame.length, bytes + TTRPC_HEADER_SIZE);
        assert_non_null(response);
        assert_string_equal(response->text, text);
        test__ttrpc__echo_response__free_unpacked(response, NULL);
        free(bytes);
}

/* ---- As planned ---- */

static void a_frame_that_is_cut_at_any_byte_is_whole_in_the_next_image(void **state)
{
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(1, "Echo", "cut", 7, 0, &len);

        (void)state;
        start(&w);
        serve(&w);
        for (size_t cut = 0; cut <= len; cut++) {
                uint32_t id = (uint32_t)(2 * cut + 1);

                free(frame);
                frame = echo_frame(id, "Echo", "cut", 7, 0, &len);
                peer_write(&w.peer, frame, cut);
                wait_taken(&w, &w.peer);
                reexec(&w);
                peer_write(&w.peer, frame + cut, len - cut);
                peer_expect_echo(&w.peer, id, "cut");
        }
        assert_int_equal(w.control->seen[7], len + 1);
        assert_int_equal(w.control->n_dropped, 0);
        free(frame);
        stop(&w);
}

static void a_call_that_waits_is_answered_two_images_later(void **state)
{
        struct world w;

        (void)state;
        start(&w);
        serve(&w);
        for (uint32_t i = 0; i < 1000; i++)
                peer_call(&w.peer, 2 * i + 1, "Keep", "", 1);
        wait_seen(&w, 1, 1000 % 256);
        peer_call(&w.peer, 2001, "Echo", "all are kept", 2);
        peer_expect_echo(&w.peer, 2001, "all are kept");
        reexec(&w);
        reexec(&w);
        peer_call(&w.peer, 2003, "Hook", "go", 3);
        for (uint32_t i = 0; i < 1000; i++)
                peer_expect_echo(&w.peer, 2 * i + 1, "let go");
        peer_expect_echo(&w.peer, 2003, "go");
        assert_int_equal(w.control->n_resumed, 2000);
        stop(&w);
}

static void a_big_answer_goes_on_where_it_was(void **state)
{
        enum { BIG = 250000 };
        static struct answer answer;
        Test__Ttrpc__EchoResponse *response;
        struct world w;

        (void)state;
        start(&w);
        serve(&w);
        peer_pause(&w.peer, true);
        peer_call(&w.peer, 1, "Grow", "", BIG);
        peer_call(&w.peer, 3, "Echo", "behind it", 4);
        wait_seen(&w, 4, 1);
        reexec(&w);
        peer_call(&w.peer, 5, "Echo", "behind both", 5);
        wait_seen(&w, 5, 1);
        reexec(&w);
        peer_pause(&w.peer, false);
        peer_read(&w.peer, &answer);
        response = test__ttrpc__echo_response__unpack(NULL, answer.n_payload, answer.payload);
        assert_non_null(response);
        assert_int_equal(response->data.len, BIG);
        for (size_t i = 0; i < BIG; i++)
                assert_int_equal(response->data.data[i], (uint8_t)(i * 7 + i / 251));
        test__ttrpc__echo_response__free_unpacked(response, NULL);
        peer_expect_echo(&w.peer, 3, "behind it");
        peer_expect_echo(&w.peer, 5, "behind both");
        stop(&w);
}

static void an_answer_that_has_no_room_makes_the_server_wait(void **state)
{
        static struct answer answer;
        struct world w;

        (void)state;
        start(&w);
        serve(&w);
        peer_pause(&w.peer, true);
        peer_call(&w.peer, 1, "Grow", "", 1 << 20);
        peer_call(&w.peer, 3, "Echo", "behind it", 4);
        wait_seen(&w, 4, 1);
        assert_int_equal(kill(w.pid, SIGHUP), 0);
        while (w.control->n_not_quiet == 0)
                assert_alive(&w);
        peer_pause(&w.peer, false);
        peer_read(&w.peer, &answer);
        peer_expect_echo(&w.peer, 3, "behind it");
        assert_int_equal(w.control->n_images, 1);
        reexec(&w);
        peer_call(&w.peer, 5, "Echo", "after it", 5);
        peer_expect_echo(&w.peer, 5, "after it");
        stop(&w);
}

static void a_large_request_that_is_half_read_makes_the_server_wait(void **state)
{
        struct world w;
        size_t len = 0;
        uint8_t *frame = echo_frame(1, "Echo", "large", 1, 200000, &len);
        static struct answer answer;

        (void)state;
        start(&w);
        serve(&w);
        peer_write(&w.peer, frame, 100000);
        wait_taken(&w, &w.peer);
        assert_int_equal(kill(w.pid, SIGHUP), 0);
        while (w.control->n_not_quiet == 0)
                assert_alive(&w);
        peer_write(&w.peer, frame + 100000, len - 100000);
        peer_read(&w.peer, &answer);
        assert_int_equal(answer.code, 0);
        reexec(&w);
        assert_int_equal(w.control->n_dropped, 0);
        peer_call(&w.peer, 3, "Echo", "after it", 5);
        peer_expect_echo(&w.peer, 3, "after it");
        free(frame);
        stop(&w);
}

static void a_deadline_is_the_same_in_the_next_image(void **state)
{
        struct world w;
        uint64_t deadline_ns;

        (void)state;
        start(&w);
        serve(&w);
        peer_call_timeout(&w.peer, 1, "Keep", "", (int64_t)(500 * NSEC_PER_MSEC));
        wait_seen(&w, 0, 1);
        deadline_ns = w.control->deadline_ns;
        w.control->deadline_ns = 0;
        reexec(&w);
        wait_seen(&w, 0, 2);
        peer_expect_status(&w.peer, 1, STATUS_DEADLINE_EXCEEDED, "context deadline exceeded");
        assert_true(deadline_ns != 0 && w.control->deadline_ns == deadline_ns);
        assert_true(clock_monotonic_ns() >= deadline_ns);
        stop(&w);
}

static void who_has_half_closed_still_gets_the_answer(void **state)
{
        struct world w;
        struct peer other;

        (void)state;
        start(&w);
        serve(&w);
        peer_call(&w.peer, 1, "Keep", "", 1);
        wait_seen(&w, 1, 1);
        assert_int_equal(shutdown(w.peer.fd, SHUT_WR), 0);
        reexec(&w);
        /* The listener goes on, too. */
        connect_peer(&w, &other);
        peer_call(&other, 1, "Hook", "go", 2);
        peer_expect_echo(&other, 1, "go");
        peer_expect_echo(&w.peer, 1, "let go");
        peer_wait_eof(&w.peer);
        peer_deinit(&other);
        stop(&w);
}

static void an_id_cannot_be_used_again_in_the_next_image(void **state)
{
        struct world w;

        (void)state;
        start(&w);
        serve(&w);
        peer_call(&w.peer, 5, "Echo", "once", 1);
        peer_expect_echo(&w.peer, 5, "once");
        reexec(&w);
        peer_call(&w.peer, 5, "Echo", "twice", 1);
        peer_expect_status(&w.peer, 5, STATUS_INVALID_ARGUMENT,
                           "StreamID cannot be re-used and must increment");
        assert_int_equal(w.control->seen[1], 1);
        stop(&w);
}

static void a_stream_that_is_refused_ends_with_unavailable(void **state)
{
        struct world w;

        (void)state;
        start(&w);
        w.control->refuse_streams = 1;
        serve(&w);
        talk_open(&w.peer, 1);
        talk_say(&w.peer, 1, "hello", 1);
        talk_expect(&w.peer, 1, "hello");
        reexec(&w);
        peer_expect_status(&w.peer, 1, STATUS_UNAVAILABLE, "restarted");
        stop(&w);
}

static void a_stream_goes_on_in_the_next_image(void **state)
{
        struct world w;

        (void)state;
        start(&w);
        serve(&w);
        talk_open(&w.peer, 1);
        talk_say(&w.peer, 1, "one", 1);
        talk_expect(&w.peer, 1, "one");
        reexec(&w);
        talk_say(&w.peer, 1, "two", 2);
        talk_expect(&w.peer, 1, "two");
        peer_send_frame(&w.peer, 1, TTRPC_FRAME_DATA, TTRPC_FLAG_REMOTE_CLOSED | TTRPC_FLAG_NO_DATA,
                        NULL, 0);
        peer_call(&w.peer, 3, "Echo", "closed", 9);
        peer_expect_echo(&w.peer, 3, "closed");
        reexec(&w);
        talk_say(&w.peer, 1, "too late", 3);
        peer_expect_status(&w.peer, 1, STATUS_INVALID_ARGUMENT,
                           "stream data after the end of the stream");
        assert_int_equal(w.control->n_resumed, 2);
        assert_int_equal(w.control->seen[1], 1);
        assert_int_equal(w.control->seen[2], 1);
        assert_int_equal(w.control->seen[3], 0);
        assert_int_equal(w.control->n_half_closed, 2);
        stop(&w);
}

/* ---- As a crash ---- */

static void a_call_that_crashes_its_handler_is_refused_and_the_rest_go_on(void **state)
{
        struct world w;

        (void)state;
        start(&w);
        serve(&w);
        peer_call(&w.peer, 1, "Keep", "", 1);
        wait_seen(&w, 1, 1);
        peer_call(&w.peer, 3, "Hook", "crash", 2);
        peer_call(&w.peer, 5, "Echo", "after it", 3);
        peer_expect_status(&w.peer, 3, STATUS_UNAVAILABLE, "restarted in its handler");
        peer_expect_echo(&w.peer, 5, "after it");
        assert_int_equal(w.control->n_images, 2);
        assert_int_equal(w.control->seen[2], 1);
        peer_call(&w.peer, 7, "Hook", "go", 4);
        peer_expect_echo(&w.peer, 1, "let go");
        peer_expect_echo(&w.peer, 7, "go");
        stop(&w);
}

static void a_crash_drops_a_connection_that_has_no_room_and_no_other(void **state)
{
        struct world w;
        struct peer other;

        (void)state;
        start(&w);
        serve(&w);
        peer_pause(&w.peer, true);
        peer_call(&w.peer, 1, "Grow", "", 1 << 20);
        peer_call(&w.peer, 3, "Echo", "", 1);
        wait_seen(&w, 1, 1);
        connect_peer(&w, &other);
        peer_call(&other, 1, "Hook", "crash", 2);
        peer_expect_status(&other, 1, STATUS_UNAVAILABLE, "restarted in its handler");
        assert_int_equal(w.control->n_dropped, 1);
        peer_pause(&w.peer, false);
        peer_wait_eof(&w.peer);
        peer_deinit(&other);
        stop(&w);
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
        wait_taken(w, &w->peer);
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
                        wait_taken(w, &w->peer);
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
        start(&w);
        w.control->crash_every = 211;
        serve(&w);
        for (uint32_t i = 0; i < PIPELINE; i++)
                peer_call(&w.peer, 2 * i + 1, "Echo", "pipeline", i);
        read_answers(&w, PIPELINE, ok);
        assert_true(w.control->n_images > 5);
        for (size_t i = 0; i < PIPELINE; i++) {
                assert_in_range(w.control->seen[i], ok[i], 1);
                assert_in_range(w.control->ended[i], ok[i], 1);
        }
        stop(&w);
}

static void at_every_step(void (*scenario)(struct world *w, size_t cut), size_t cut)
{
        struct world w;
        uint64_t step = 1;

        for (bool crashed = true; crashed; step++) {
                start(&w);
                w.control->crash_at = step;
                serve(&w);
                scenario(&w, cut);
                crashed = w.control->n_images > 1;
                stop(&w);
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
                cmocka_unit_test(a_frame_that_is_cut_at_any_byte_is_whole_in_the_next_image),
                cmocka_unit_test(a_call_that_waits_is_answered_two_images_later),
                cmocka_unit_test(a_big_answer_goes_on_where_it_was),
                cmocka_unit_test(an_answer_that_has_no_room_makes_the_server_wait),
                cmocka_unit_test(a_large_request_that_is_half_read_makes_the_server_wait),
                cmocka_unit_test(a_deadline_is_the_same_in_the_next_image),
                cmocka_unit_test(who_has_half_closed_still_gets_the_answer),
                cmocka_unit_test(an_id_cannot_be_used_again_in_the_next_image),
                cmocka_unit_test(a_stream_that_is_refused_ends_with_unavailable),
                cmocka_unit_test(a_stream_goes_on_in_the_next_image),
                cmocka_unit_test(a_call_that_crashes_its_handler_is_refused_and_the_rest_go_on),
                cmocka_unit_test(a_crash_drops_a_connection_that_has_no_room_and_no_other),
                cmocka_unit_test(calls_survive_a_crash_at_any_step),
                cmocka_unit_test(calls_that_come_in_pieces_survive_a_crash_at_any_step),
                cmocka_unit_test(a_stream_survives_a_crash_at_any_step_or_ends),
                cmocka_unit_test(a_pipeline_survives_many_crashes),
        };

        if (argc != 2)
                return 2;
        image_path = argv[1];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
