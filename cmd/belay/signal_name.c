/* SPDX-License-Identifier: Apache-2.0
 *
 * libc has names for its signals (sigabbrev_np), but no way from a name to its number.
 */
#include "cmd/belay/signal_name.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "pkg/base/str.h"

enum { SIGNAL_MAX = 64 };

/* Old names that sigabbrev_np() does not know. */
static const struct {
        const char *name;
        int signo;
} aliases[] = {{"IOT", SIGIOT}, {"CLD", SIGCHLD}, {"POLL", SIGPOLL}, {"IO", SIGIO}};

/* "RTMIN", "RTMIN+n", "RTMAX-n"; 0 for anything else. */
static int realtime_parse(const char *name)
{
        uint64_t n = 0;
        int base;
        char sign;

        if (strncasecmp(name, "RTMIN", 5) == 0) {
                base = SIGRTMIN;
                sign = '+';
        } else if (strncasecmp(name, "RTMAX", 5) == 0) {
                base = SIGRTMAX;
                sign = '-';
        } else {
                return 0;
        }
        name += 5;
        if (*name == '\0')
                return base;
        if (*name != sign || str_to_u64(name + 1, &n) < 0 || n > (uint64_t)(SIGRTMAX - SIGRTMIN))
                return 0;
        return sign == '+' ? base + (int)n : base - (int)n;
}

static int name_parse(const char *name)
{
        if (strncasecmp(name, "SIG", 3) == 0)
                name += 3;
        for (int signo = 1; signo < SIGRTMIN; signo++) {
                const char *known = sigabbrev_np(signo);

                if (known && strcasecmp(known, name) == 0)
                        return signo;
        }
        for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
                if (strcasecmp(aliases[i].name, name) == 0)
                        return aliases[i].signo;
        }
        return realtime_parse(name);
}

int signal_parse(const char *text, int *ret, struct error *err)
{
        uint64_t number = 0;
        int signo;

        if (str_to_u64(text, &number) == 0) {
                if (number > SIGNAL_MAX)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "signal %s is not between 0 and %d", text, SIGNAL_MAX);
                *ret = (int)number;
                return 0;
        }
        signo = name_parse(text);
        if (signo == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not the name of a signal",
                                 text);
        *ret = signo;
        return 0;
}
