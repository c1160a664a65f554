/* SPDX-License-Identifier: Apache-2.0
 *
 * See passed.h.
 */
#include "shim/passed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

static int malformed(const char *text, struct error *err)
{
        return error_set(err, STATUS_INVALID_ARGUMENT, PASSED_KEY ": '%.80s' is not PID/N/MAP",
                         text);
}

int passed_parse(struct passed *ret, const char *text, struct error *err)
{
        _cleanup_free_ char *copy = strdup(text);
        _cleanup_free_ char *map = NULL;
        uint64_t numbers[2];
        char *at = copy;
        int pidfd;

        if (!copy)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, PASSED_KEY ": no memory");
        for (size_t i = 0; i < 2; i++) {
                char *slash = strchr(at, '/');

                if (!slash)
                        return malformed(text, err);
                *slash = '\0';
                if (str_to_u64(at, &numbers[i]) < 0)
                        return malformed(text, err);
                at = slash + 1;
        }
        if (numbers[0] == 0 || numbers[0] > INT32_MAX || at[strspn(at, "01")] != '\0' || !*at ||
            strlen(at) > LIMIT_PASSED_FDS || numbers[1] > strlen(at))
                return malformed(text, err);
        map = strdup(at);
        if (!map)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, PASSED_KEY ": no memory");
        pidfd = pidfd_open((pid_t)numbers[0], 0);
        if (pidfd < 0)
                return error_errno(err, errno, PASSED_KEY ": process %d", (int)numbers[0]);
        *ret = (struct passed){
                .pidfd = pidfd, .n_listen = (unsigned)numbers[1], .map = TAKE_PTR(map)};
        return 0;
}

int passed_of_call(struct passed *ret, const struct ttrpc_call *call, struct error *err)
{
        const char *text = ttrpc_call_metadata(call, PASSED_KEY);

        return text ? passed_parse(ret, text, err) : 0;
}

struct executor_passed passed_for_executor(const struct passed *passed)
{
        return (struct executor_passed){passed->pidfd, passed->n_listen, passed->map};
}

void passed_deinit(struct passed *passed)
{
        if (!passed->map)
                return;
        fd_close(passed->pidfd);
        free(passed->map);
        *passed = (struct passed){.map = NULL};
}
