/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of a log as a process of its own, as the shim has it, for tests: the test is the shim,
 * and writes the log, by hand or through the real file with its rotation.
 */
#pragma once

#include "pkg/log/log.h"

enum { TEXT_ROOM = 64 << 10 };

struct fixture {
        char dir[64];
        char path[128];
        struct log_config config;
        struct log_query query;
        pid_t pid;
        int fd;
        int hold;
        size_t n_input;
        char input[LOG_MESSAGE_MAX];
        struct log_frame last;
        char last_text[LOG_READ_TEXT_MAX + 1];
        size_t n_text;
        char text[TEXT_ROOM]; /* of entries, each part with a "|" behind it */
};

int reader_set_up(void **state);
int reader_tear_down(void **state);

/* number: of a file that was rotated away; 0: the log. */
void reader_put(struct fixture *f, int number, const char *text);

/* has_ended: nobody writes the log any more. */
void reader_start(struct fixture *f, bool has_ended);
void reader_end(struct fixture *f);

/* One more frame, in f->last; or the text of all entries up to the end. */
void reader_next(struct fixture *f);
const char *reader_rest(struct fixture *f);

/* The two from a new reader. */
const char *reader_all(struct fixture *f, bool has_ended);

#define CRI(second, stream, rest) "2023-11-14T22:13:" second ".000000000Z " stream " " rest "\n"

/* 22:13:20 */
#define SECONDS(s) ((UINT64_C(1700000000) + (s)-20) * UINT64_C(1000000000))
