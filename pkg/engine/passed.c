/* SPDX-License-Identifier: Apache-2.0
 *
 * See passed.h.
 */
#include "pkg/engine/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/limits.h"

enum { FIRST = STDERR_FILENO + 1 };

int passed_take(const struct engine_passed *from, struct arena *arena, struct passed *ret,
                struct error *err)
{
        size_t n = from->map ? strlen(from->map) : 0;
        int *fds = arena_calloc(arena, n, sizeof(*fds));

        *ret = (struct passed){.fds = fds, .n = n, .n_listen = from->n_listen};
        if (n > LIMIT_PASSED_FDS || from->n_listen > n)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "%zu descriptors to pass on, at most %d are possible", n,
                                 LIMIT_PASSED_FDS);
        if (!fds)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "pass descriptors on: no memory");
        for (size_t i = 0; i < n; i++) {
                _cleanup_close_ int fd = -1;

                fds[i] = -1;
                if (from->map[i] != '1')
                        continue;
                fd = pidfd_getfd(from->pidfd, FIRST + (int)i, 0);
                if (fd >= 0)
                        fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, FIRST + (int)n);
                if (fds[i] < 0)
                        return error_errno(err, errno, "pass descriptor %d on", FIRST + (int)i);
        }
        return 0;
}

int passed_make_way(const struct passed *passed, int *fd, struct error *err)
{
        int moved;

        if (*fd >= FIRST + (int)passed->n)
                return 0;
        moved = fcntl(*fd, F_DUPFD_CLOEXEC, FIRST + (int)passed->n);
        if (moved < 0)
                return error_errno(err, errno, "make room for descriptors to pass on");
        fd_close(*fd);
        *fd = moved;
        return 0;
}

int passed_place(const struct passed *passed, struct error *err)
{
        for (size_t i = 0; i < passed->n; i++) {
                if (passed->fds[i] < 0)
                        (void)close(FIRST + (int)i); /* mostly nothing */
                else if (dup3(passed->fds[i], FIRST + (int)i, O_CLOEXEC) < 0)
                        return error_errno(err, errno, "pass descriptor %d on", FIRST + (int)i);
        }
        return 0;
}

int passed_release(const struct passed *passed, struct error *err)
{
        for (size_t i = 0; i < passed->n; i++) {
                if (passed->fds[i] >= 0 && fcntl(FIRST + (int)i, F_SETFD, 0) < 0)
                        return error_errno(err, errno, "pass descriptor %d on", FIRST + (int)i);
        }
        return 0;
}
