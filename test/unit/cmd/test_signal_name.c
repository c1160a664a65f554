/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals as people write them.
 */
#include <signal.h>

#include "cmd/belay/signal_name.h"
#include "test/unit/unit.h"

static int parse(const char *text)
{
        struct error err = ERROR_INIT;
        int signo = -1;

        assert_int_equal(signal_parse(text, &signo, &err), 0);
        return signo;
}

static void names_are_read_with_and_without_sig_in_any_case(void **state)
{
        (void)state;
        assert_int_equal(parse("TERM"), SIGTERM);
        assert_int_equal(parse("SIGTERM"), SIGTERM);
        assert_int_equal(parse("sigkill"), SIGKILL);
        assert_int_equal(parse("usr1"), SIGUSR1);
        assert_int_equal(parse("Winch"), SIGWINCH);
        assert_int_equal(parse("CHLD"), SIGCHLD);
        assert_int_equal(parse("STOP"), SIGSTOP);
        assert_int_equal(parse("CONT"), SIGCONT);
}

static void old_names_are_read(void **state)
{
        (void)state;
        assert_int_equal(parse("SIGCLD"), SIGCHLD);
        assert_int_equal(parse("IOT"), SIGABRT);
        assert_int_equal(parse("SIGIO"), SIGIO);
        assert_int_equal(parse("POLL"), SIGPOLL);
}

static void numbers_are_read_up_to_64(void **state)
{
        (void)state;
        assert_int_equal(parse("0"), 0);
        assert_int_equal(parse("9"), 9);
        assert_int_equal(parse("64"), 64);
}

static void realtime_signals_count_from_both_ends(void **state)
{
        (void)state;
        assert_int_equal(parse("RTMIN"), 34);
        assert_int_equal(parse("SIGRTMIN+3"), 37);
        assert_int_equal(parse("rtmin+30"), 64);
        assert_int_equal(parse("RTMAX"), 64);
        assert_int_equal(parse("RTMAX-1"), 63);
}

static void what_is_no_signal_is_refused(void **state)
{
        static const char *const texts[] = {"",        "SIG",    "NOPE",       "65",
                                            "-9",      "9 ",     "RTMIN-1",    "RTMIN+31",
                                            "RTMAX+1", "RTMIN+", "SIGSIGTERM", "TERMX"};

        (void)state;
        for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
                struct error err = ERROR_INIT;
                int signo = -1;

                assert_int_equal(signal_parse(texts[i], &signo, &err), -1);
                assert_int_equal(err.code, STATUS_INVALID_ARGUMENT);
                assert_int_equal(signo, -1);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_are_read_with_and_without_sig_in_any_case),
                cmocka_unit_test(old_names_are_read),
                cmocka_unit_test(numbers_are_read_up_to_64),
                cmocka_unit_test(realtime_signals_count_from_both_ends),
                cmocka_unit_test(what_is_no_signal_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
