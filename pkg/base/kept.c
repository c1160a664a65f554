/* SPDX-License-Identifier: Apache-2.0
 *
 * See kept.h. A pidfd is told by the line "Pid:" of /proc/self/fdinfo/N (proc_pid_fdinfo(5)), which
 * holds -1 when the process has been reaped.
 */
#include "pkg/base/kept.h"

#include <assert.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

/* Of 64 descriptors in a row, one bit for each. */
struct word {
        uint64_t marked;
        uint64_t late;
};

/* Descriptors are the process's, and so is this. Only the words that are in use cost memory: the
 * kernel gives a page when it is written to. */
static struct {
        pid_t owner; /* 0: nothing is put off */
        void (*fn)(void *userdata);
        void *userdata;
        unsigned n_late;
        size_t n_words; /* in use: there is no bit behind them */
        struct word words[LIMIT_KEPT_LATE / 64];
} put_off;

static bool can_be_put_off(int fd)
{
        return put_off.owner != 0 && fd >= 0 && fd < LIMIT_KEPT_LATE;
}

static struct word *word_of(int fd)
{
        return &put_off.words[fd / 64];
}

static uint64_t bit_of(int fd)
{
        return UINT64_C(1) << (fd % 64);
}

static void mark(int fd)
{
        if (!can_be_put_off(fd))
                return;
        word_of(fd)->marked |= bit_of(fd);
        if (put_off.n_words <= (size_t)fd / 64)
                put_off.n_words = (size_t)fd / 64 + 1;
}

static bool is_marked(int fd)
{
        return (size_t)fd / 64 < put_off.n_words && word_of(fd)->marked & bit_of(fd);
}

uint32_t kept_number(int fd)
{
        mark(fd);
        return (uint32_t)(fd + 1);
}

void kept_late_begin(void (*fn)(void *userdata), void *userdata)
{
        put_off.owner = getpid();
        put_off.fn = fn;
        put_off.userdata = userdata;
}

bool kept_late_close(int fd)
{
        if (!can_be_put_off(fd) || !is_marked(fd) || put_off.owner != getpid())
                return false;
        assert(!(word_of(fd)->late & bit_of(fd))); /* closed twice */
        word_of(fd)->late |= bit_of(fd);
        if (put_off.n_late++ == 0)
                put_off.fn(put_off.userdata);
        return true;
}

int kept_close_now(int fd)
{
        if (can_be_put_off(fd) && is_marked(fd))
                (void)dup3(STDIN_FILENO, fd, O_CLOEXEC);
        return fd_close(fd);
}

void kept_late_settle(void)
{
        for (size_t i = 0; put_off.n_late > 0 && i < put_off.n_words; i++) {
                struct word *word = &put_off.words[i];

                while (word->late != 0) {
                        int bit = __builtin_ctzll(word->late);

                        word->late &= ~(UINT64_C(1) << bit);
                        word->marked &= ~(UINT64_C(1) << bit);
                        put_off.n_late--;
                        (void)close((int)i * 64 + bit);
                }
        }
}

void kept_late_end(void)
{
        kept_late_settle();
        memset(put_off.words, 0, put_off.n_words * sizeof(put_off.words[0]));
        put_off.n_words = 0;
        put_off.owner = 0;
}

static bool is_of_kind(int fd, enum kept_kind kind)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return false;
        switch (kind) {
        case KEPT_ANY:
                return true;
        case KEPT_SOCKET:
                return S_ISSOCK(st.st_mode);
        case KEPT_PIPE:
                return S_ISFIFO(st.st_mode);
        case KEPT_FILE:
                return S_ISREG(st.st_mode);
        case KEPT_TERMINAL:
                return S_ISCHR(st.st_mode) && isatty(fd);
        }
        return false;
}

static const char *kind_name(enum kept_kind kind)
{
        switch (kind) {
        case KEPT_ANY:
                break;
        case KEPT_SOCKET:
                return "a socket";
        case KEPT_PIPE:
                return "a pipe";
        case KEPT_FILE:
                return "a file";
        case KEPT_TERMINAL:
                return "a terminal";
        }
        return "anything";
}

int kept_look(uint32_t number, enum kept_kind kind, const char *what, int *ret, struct error *err)
{
        int fd = (int)(number - 1);
        int flags;

        *ret = -1;
        if (number == 0)
                return 0;
        flags = fd < 0 ? -1 : fcntl(fd, F_GETFD);
        if (flags < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: descriptor %d is not open",
                                 what, fd);
        if (flags & FD_CLOEXEC)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "%s: descriptor %d is not from before the execve, or another's",
                                 what, fd);
        if (!is_of_kind(fd, kind))
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: descriptor %d is not %s", what,
                                 fd, kind_name(kind));
        *ret = fd;
        return 0;
}

pid_t kept_pid(int fd)
{
        _cleanup_free_ char *text = NULL;
        char path[40];
        const char *line;

        (void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
        if (file_read(AT_FDCWD, path, LIMIT_PROC_BYTES, &text, NULL) < 0)
                return 0;
        line = strstr(text, "\nPid:\t");
        if (!line)
                return 0;
        return (pid_t)strtol(line + strlen("\nPid:\t"), NULL, 10);
}

int kept_look_pidfd(uint32_t number, pid_t pid, const char *what, int *ret, struct error *err)
{
        pid_t found;
        int fd;

        *ret = -1;
        if (kept_look(number, KEPT_ANY, what, &fd, err) < 0)
                return -1;
        if (fd < 0)
                return 0;
        found = kept_pid(fd);
        if (found == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: descriptor %d is not a pidfd",
                                 what, fd);
        if (found != pid && found != -1)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "%s: descriptor %d is the pidfd of process %d, not of %d", what,
                                 fd, (int)found, (int)pid);
        *ret = fd;
        return 0;
}

void kept_claim(int fd)
{
        if (fd >= 0)
                (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        mark(fd);
}

int kept_take(uint32_t number, enum kept_kind kind, const char *what, int *ret, struct error *err)
{
        if (kept_look(number, kind, what, ret, err) < 0)
                return -1;
        kept_claim(*ret);
        return 0;
}
