/* SPDX-License-Identifier: Apache-2.0
 *
 * A server without memory takes over from that of a process image before. It fails, and has changed
 * nothing: the next one has every connection, and every call. The image before is this process,
 * those that follow are a fork of it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/unit/ttrpc/harness.h"
#include "test/unit/unit.h"

enum { CONNS = 3, ALLOCATIONS_MAX = 100, GUARD_SECONDS = 20 };

/* The allocation that fails, counted from now; 0: none. */
static int fails_in;

static bool fails(void)
{
        return fails_in > 0 && --fails_in == 0;
}

/* The linker puts these in libc's place. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_malloc(size_t size)
{
        return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return fails() ? NULL : __real_calloc(n, size);
}

static void handle(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Test__Ttrpc__EchoRequest *request = (const void *)message;
        Test__Ttrpc__EchoResponse response = TEST__TTRPC__ECHO_RESPONSE__INIT;

        (void)userdata;
        response.text = request->text;
        ttrpc_call_reply(call, &response.base);
}

static struct ttrpc_server *server_of(struct loop *loop, void *keep)
{
        static const ttrpc_handler handlers[] = {handle, handle, handle, handle, handle, handle};
        const struct ttrpc_server_options options = {
                .keep = keep,
                .keep_size = TTRPC_KEEP_BYTES(CONNS),
        };
        struct ttrpc_server *server = NULL;

        assert_int_equal(ttrpc_server_new(&server, loop, &options, NULL), 0);
        assert_int_equal(
                ttrpc_server_register(server, &test__ttrpc__echo__descriptor, handlers, NULL, NULL),
                0);
        return server;
}

/* Tries until nothing fails, and goes on in that one. Who has failed is left as an execve(2) would
 * leave him, but for his descriptors. */
static struct ttrpc_server *take_over(void *keep, struct loop **ret_loop, int *ret_n_failed)
{
        uint8_t *before = malloc(TTRPC_KEEP_BYTES(CONNS));

        assert_non_null(before);
        memcpy(before, keep, TTRPC_KEEP_BYTES(CONNS));
        for (int at = 1; at < ALLOCATIONS_MAX; at++) {
                struct ttrpc_server *server;
                int r;

                assert_int_equal(loop_new(ret_loop, NULL), 0);
                server = server_of(*ret_loop, keep);
                fails_in = at;
                r = ttrpc_server_restore(server, NULL);
                assert_memory_equal(keep, before, TTRPC_KEEP_BYTES(CONNS));
                if (fails_in > 0) {
                        fails_in = 0;
                        assert_int_equal(r, 0);
                        *ret_n_failed = at - 1;
                        free(before);
                        return server;
                }
                if (r == 0)
                        fail_msg("restored without allocation %d", at);
        }
        fail_msg("more than %d allocations", ALLOCATIONS_MAX);
        return NULL;
}

static const char *refuse_none(const struct ttrpc_restored_call *call, void *userdata)
{
        (void)call;
        (void)userdata;
        return NULL;
}

static void go_on(void *keep)
{
        const struct ttrpc_restore how = {.refuse = refuse_none};
        struct ttrpc_server *server;
        struct loop *loop = NULL;
        int n_failed = 0;

        (void)alarm(GUARD_SECONDS);
        server = take_over(keep, &loop, &n_failed);
        assert_in_range(n_failed, 2 * CONNS, ALLOCATIONS_MAX);
        assert_int_equal(ttrpc_server_n_connections(server), CONNS);
        assert_int_equal(ttrpc_server_resume(server, &how), 0);
        ttrpc_server_hear(server);
        loop_settle(loop);
}

static void whatever_there_is_no_memory_for_is_left_as_it_was(void **state)
{
        void *keep = mmap(NULL, TTRPC_KEEP_BYTES(CONNS), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        const struct ttrpc_server_options options = {
                .keep = keep,
                .keep_size = TTRPC_KEEP_BYTES(CONNS),
        };
        static struct harness h;
        struct peer others[CONNS - 1];
        int status = -1;
        pid_t pid;

        (void)state;
        assert_ptr_not_equal(keep, MAP_FAILED);
        harness_init(&h, &options);
        for (int i = 0; i < CONNS - 1; i++)
                peer_init(&others[i], &h);
        peer_call(&h.peer, 1, "Keep", "the first", 0);
        peer_call(&others[0], 1, "Keep", "another", 0);
        harness_settle(&h);
        assert_int_equal(h.n_kept, 2);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                go_on(keep);
                _exit(EXIT_SUCCESS);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
                fail_msg("wait status 0x%x", (unsigned)status);
        peer_expect_echo(&h.peer, 1, "the first");
        peer_expect_echo(&others[0], 1, "another");
        for (int i = 0; i < CONNS - 1; i++)
                peer_deinit(&others[i]);
        harness_deinit(&h);
        (void)munmap(keep, TTRPC_KEEP_BYTES(CONNS));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whatever_there_is_no_memory_for_is_left_as_it_was),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
