/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shim/log.h"
#include "test/unit/unit.h"

struct sink {
        int fds[2];
        char text[4096];
};

static void sink_open(struct sink *s, enum log_level min)
{
        assert_int_equal(pipe2(s->fds, O_CLOEXEC | O_NONBLOCK), 0);
        log_open(s->fds[1], min, "c1", "default", "io.containerd.belay.v2");
}

static const char *sink_read(struct sink *s)
{
        ssize_t n = read(s->fds[0], s->text, sizeof(s->text) - 1);

        s->text[n > 0 ? n : 0] = '\0';
        return s->text;
}

static void sink_close(struct sink *s)
{
        log_open(-1, LOG_INFO, NULL, NULL, NULL);
        (void)close(s->fds[0]);
        (void)close(s->fds[1]);
}

static void assert_matches(const char *text, const char *pattern)
{
        regex_t re;

        assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
        if (regexec(&re, text, 0, NULL, 0) != 0)
                fail_msg("'%s' does not match '%s'", text, pattern);
        regfree(&re);
}

static void a_line_is_logrus_text_with_all_fields(void **state)
{
        struct sink s;

        (void)state;
        sink_open(&s, LOG_INFO);
        log_write(LOG_WARNING, "e1", "mount '%s': no", "/x");
        assert_matches(
                sink_read(&s),
                "^time=\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9}Z\" "
                "level=warning msg=\"mount '/x': no\" exec_id=e1 id=c1 namespace=default "
                "runtime=io.containerd.belay.v2\n$");
        log_info("no exec");
        assert_matches(sink_read(&s), "msg=\"no exec\" id=c1 namespace");
        sink_close(&s);
}

static void what_could_break_a_line_is_escaped(void **state)
{
        struct sink s;

        (void)state;
        sink_open(&s, LOG_INFO);
        log_write(LOG_INFO, "a b", "%s", "x\ny\t\"z\\\x1b\xff");
        assert_matches(sink_read(&s),
                       "msg=\"x\\\\ny\\\\t\\\\\"z\\\\\\\\\\\\x1b\\?\" exec_id=\"a b\" id=c1");
        sink_close(&s);
}

static void lines_below_the_level_are_dropped(void **state)
{
        struct sink s;

        (void)state;
        sink_open(&s, LOG_INFO);
        log_debug("hidden");
        assert_string_equal(sink_read(&s), "");
        log_error("seen");
        assert_matches(sink_read(&s), "level=error msg=\"seen\"");
        sink_close(&s);
        sink_open(&s, LOG_DEBUG);
        log_debug("shown");
        assert_matches(sink_read(&s), "level=debug msg=\"shown\"");
        sink_close(&s);
}

static void a_full_pipe_costs_lines_and_the_next_one_says_how_many(void **state)
{
        static char block[4096];
        struct sink s;

        (void)state;
        memset(block, 'x', sizeof(block));
        sink_open(&s, LOG_INFO);
        while (write(s.fds[1], block, sizeof(block)) > 0)
                ;
        log_info("lost 1");
        log_info("lost 2");
        while (strlen(sink_read(&s)) > 0)
                ;
        log_info("back");
        assert_matches(sink_read(&s), "msg=\"back\" dropped_lines=2 id=c1");
        log_info("quiet");
        assert_null(strstr(sink_read(&s), "dropped"));
        sink_close(&s);
}

static void a_reader_that_is_gone_is_no_harm(void **state)
{
        struct sink s;

        (void)state;
        (void)signal(SIGPIPE, SIG_IGN);
        sink_open(&s, LOG_INFO);
        (void)close(s.fds[0]);
        log_info("nobody");
        s.fds[0] = -1;
        sink_close(&s);
}

static void a_text_that_is_too_long_is_cut_and_the_line_ends(void **state)
{
        static char text[5000];
        struct sink s;
        const char *got;

        (void)state;
        memset(text, '"', sizeof(text)); /* each takes two bytes */
        text[sizeof(text) - 1] = '\0';
        sink_open(&s, LOG_INFO);
        log_info("%s", text);
        got = sink_read(&s);
        assert_true(strlen(got) <= 4096);
        assert_true(strlen(got) > 1000);
        assert_int_equal(got[strlen(got) - 1], '\n');
        assert_ptr_equal(strchr(got, '\n'), got + strlen(got) - 1);
        sink_close(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_line_is_logrus_text_with_all_fields),
                cmocka_unit_test(what_could_break_a_line_is_escaped),
                cmocka_unit_test(lines_below_the_level_are_dropped),
                cmocka_unit_test(a_full_pipe_costs_lines_and_the_next_one_says_how_many),
                cmocka_unit_test(a_reader_that_is_gone_is_no_harm),
                cmocka_unit_test(a_text_that_is_too_long_is_cut_and_the_line_ends),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
