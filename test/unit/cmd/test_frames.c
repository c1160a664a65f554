/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames as a handler finds them: each function on the way says where it will return to.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/containerd-shim-belay-v2/frames.h"
#include "test/unit/unit.h"

enum { DEPTH = 4, FRAMES_MAX = 32 };

static struct {
        sigjmp_buf back;
        uintptr_t expected[DEPTH]; /* the innermost first */
        uintptr_t found[FRAMES_MAX];
        size_t n;
        size_t max;
} seen;

static char handler_stack[64 << 10];

static void on_signal(int signo, siginfo_t *info, void *context)
{
        (void)signo;
        (void)info;
        seen.n = frames_find(context, seen.found, seen.max);
        siglongjmp(seen.back, 1);
}

static void handle(int signo)
{
        struct sigaction sa = {
                .sa_sigaction = on_signal,
                .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESETHAND,
        };
        stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof(handler_stack)};

        assert_int_equal(sigaltstack(&stack, NULL), 0);
        assert_int_equal(sigaction(signo, &sa, NULL), 0);
}

typedef void (*end_fn)(void);

/* No tail calls: each function does something after the call. */
#define NEST(name, depth, call)                                                \
        __attribute__((noinline)) static void name(end_fn end)                 \
        {                                                                      \
                seen.expected[depth] = (uintptr_t)__builtin_return_address(0); \
                call;                                                          \
                __asm__ volatile("");                                          \
        }

NEST(first, 0, end())
NEST(second, 1, first(end))
NEST(third, 2, second(end))
NEST(fourth, 3, third(end))

static volatile int *nowhere;

__attribute__((noinline, no_sanitize("undefined"))) static void end_by_fault(void)
{
        *nowhere = 1;
}

__attribute__((noinline)) static void end_in_the_c_library(void)
{
        (void)raise(SIGABRT);
        __asm__ volatile("");
}

static void run(int signo, end_fn end)
{
        handle(signo);
        seen.n = 0;
        if (sigsetjmp(seen.back, 1) == 0) {
                fourth(end);
                fail_msg("no signal has come");
        }
}

/* One behind the other, from the first of them on. */
static void assert_way_is_found(void)
{
        size_t at = 0;

        while (at < seen.n && seen.found[at] != seen.expected[0])
                at++;
        if (at + DEPTH > seen.n)
                fail_msg("the innermost is at %zu of %zu frames", at, seen.n);
        assert_memory_equal(seen.found + at, seen.expected, sizeof(seen.expected));
}

static void a_fault_in_our_text_is_told_with_the_way_there(void **state)
{
        (void)state;
        seen.max = FRAMES_MAX;
        run(SIGSEGV, end_by_fault);
        assert_way_is_found();
        assert_true(seen.found[0] >= (uintptr_t)end_by_fault &&
                    seen.found[0] < (uintptr_t)end_by_fault + 256);
}

static void a_signal_within_the_c_library_is_told_with_our_way_there(void **state)
{
        (void)state;
        seen.max = FRAMES_MAX;
        run(SIGABRT, end_in_the_c_library);
        assert_way_is_found();
}

static void no_more_is_told_than_there_is_room_for(void **state)
{
        (void)state;
        seen.max = 2;
        seen.found[2] = 42;
        run(SIGSEGV, end_by_fault);
        assert_int_equal(seen.n, 2);
        assert_int_equal(seen.found[2], 42);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_fault_in_our_text_is_told_with_the_way_there),
                cmocka_unit_test(a_signal_within_the_c_library_is_told_with_our_way_there),
                cmocka_unit_test(no_more_is_told_than_there_is_room_for),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
