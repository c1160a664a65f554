/* SPDX-License-Identifier: Apache-2.0
 *
 * See reader.h.
 */
#include "test/unit/log/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/fd.h"

#include "test/unit/unit.h"

enum { TEST_LIMIT_S = 40 };

int reader_set_up(void **state)
{
        struct fixture *f = calloc(1, sizeof(*f));

        (void)alarm(TEST_LIMIT_S);
        assert_non_null(f);
        strcpy(f->dir, "/tmp/belay-read-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
        log_config_init(&f->config, f->path);
        f->fd = -1;
        f->hold = -1;
        *state = f;
        return 0;
}

void reader_end(struct fixture *f)
{
        fd_close(f->fd);
        fd_close(f->hold);
        f->fd = -1;
        f->hold = -1;
        if (f->pid > 0)
                assert_int_equal(waitpid(f->pid, NULL, 0), f->pid);
        f->pid = 0;
        f->n_input = 0;
        f->n_text = 0;
        f->text[0] = '\0';
}

int reader_tear_down(void **state)
{
        struct fixture *f = *state;
        char pattern[160];
        glob_t found;

        reader_end(f);
        snprintf(pattern, sizeof(pattern), "%s/*", f->dir);
        if (glob(pattern, 0, NULL, &found) == 0) {
                for (size_t i = 0; i < found.gl_pathc; i++)
                        (void)unlink(found.gl_pathv[i]);
                globfree(&found);
        }
        assert_int_equal(rmdir(f->dir), 0);
        free(f);
        return 0;
}

/* number: of a file that was rotated away; 0: the log. */
void reader_put(struct fixture *f, int number, const char *text)
{
        char path[160];
        int fd;

        if (number == 0)
                snprintf(path, sizeof(path), "%s", f->path);
        else
                snprintf(path, sizeof(path), "%s.%d", f->path, number);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        assert_true(fd >= 0);
        assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
        fd_close(fd);
}

/* has_ended: nobody writes the log any more. */
void reader_start(struct fixture *f, bool has_ended)
{
        struct error err = ERROR_INIT;

        f->query.has_ended = has_ended;
        f->pid = log_reader_start(&f->config, &f->query, &f->fd, &f->hold, &err);
        assert_true(f->pid > 0);
}

/* One more frame. */
void reader_next(struct fixture *f)
{
        for (;;) {
                const char *text;
                ssize_t size = log_frame_parse(f->input, f->n_input, &f->last, &text);
                struct pollfd p = {.fd = f->fd, .events = POLLIN};
                ssize_t n;

                assert_true(size >= 0);
                if (size > 0) {
                        memcpy(f->last_text, text, f->last.n);
                        f->last_text[f->last.n] = '\0';
                        f->n_input -= (size_t)size;
                        memmove(f->input, f->input + size, f->n_input);
                        return;
                }
                assert_int_equal(poll(&p, 1, -1), 1);
                assert_int_equal(f->n_input, 0); /* a message is of whole frames */
                n = log_message_look(f->fd, f->input);
                assert_true(n > 0);
                log_message_drop(f->fd);
                f->n_input = (size_t)n;
        }
}

/* All of the entries, up to the end. */
const char *reader_rest(struct fixture *f)
{
        for (reader_next(f); f->last.kind == LOG_FRAME_ENTRY; reader_next(f)) {
                assert_true(f->n_text + f->last.n + 2 < sizeof(f->text));
                f->n_text += (size_t)snprintf(f->text + f->n_text, sizeof(f->text) - f->n_text,
                                              "%s%s", f->last_text, f->last.is_partial ? "|" : "");
        }
        assert_int_equal(f->last.kind, LOG_FRAME_END);
        return f->text;
}

const char *reader_all(struct fixture *f, bool has_ended)
{
        reader_end(f);
        reader_start(f, has_ended);
        return reader_rest(f);
}
