/* SPDX-License-Identifier: Apache-2.0
 *
 * See passed.h.
 */
#include "cmd/belay/passed.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "pkg/base/str.h"

#include "shim/passed.h"

enum { FIRST = STDERR_FILENO + 1 };

static int count(const char *name, const char *text, uint64_t *ret, struct error *err)
{
        *ret = 0;
        if (!text || (str_to_u64(text, ret) == 0 && *ret <= LIMIT_PASSED_FDS))
                return 0;
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: '%s' is not a number up to %d", name,
                         text, LIMIT_PASSED_FDS);
}

int passed_check(const struct args *args, struct error *err)
{
        uint64_t n;

        return count("--preserve-fds", args->preserve_fds, &n, err);
}

static int count_listen_fds(uint64_t *ret, struct error *err)
{
        const char *pid = getenv("LISTEN_PID");
        uint64_t value = 0;

        *ret = 0;
        if (pid && (str_to_u64(pid, &value) < 0 || value != (uint64_t)getpid()))
                return 0;
        return count("LISTEN_FDS", getenv("LISTEN_FDS"), ret, err);
}

/* Our own are CLOEXEC from their birth; what is inherited cannot be. */
static bool is_inherited(int fd)
{
        int flags = fcntl(fd, F_GETFD);

        return flags >= 0 && !(flags & FD_CLOEXEC);
}

int passed_option_init(struct passed_option *ret, const struct args *args, struct error *err)
{
        uint64_t n = 0;
        uint64_t n_listen = 0;
        size_t len;

        *ret = (struct passed_option){.metadata = {.key = PASSED_KEY, .value = ret->value}};
        if (count("--preserve-fds", args->preserve_fds, &n, err) < 0 ||
            count_listen_fds(&n_listen, err) < 0)
                return -1;
        n += n_listen;
        if (n > LIMIT_PASSED_FDS)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--preserve-fds and LISTEN_FDS: more than %d descriptors",
                                 LIMIT_PASSED_FDS);
        if (n == 0)
                return 0;
        (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* as for the standard streams */
        (void)snprintf(ret->value, sizeof(ret->value), "%d/%u/", (int)getpid(), (unsigned)n_listen);
        len = strlen(ret->value);
        for (size_t i = 0; i < n; i++)
                ret->value[len + i] = is_inherited(FIRST + (int)i) ? '1' : '0';
        ret->options = (struct ttrpc_call_options){.metadata = &ret->metadata, .n_metadata = 1};
        return 0;
}
