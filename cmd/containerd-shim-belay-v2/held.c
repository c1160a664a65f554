/* SPDX-License-Identifier: Apache-2.0
 *
 * See held.h. All copies are made before anything is closed, so none of them has a number that is
 * to be put back.
 */
#include "cmd/containerd-shim-belay-v2/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "pkg/base/fd.h"

#include "cmd/containerd-shim-belay-v2/fds.h"

static bool came_along(int fd)
{
        int flags = fcntl(fd, F_GETFD);

        return flags >= 0 && !(flags & FD_CLOEXEC);
}

static void count(int fd, void *userdata)
{
        *(size_t *)userdata += came_along(fd);
}

struct filling {
        struct held *held;
        size_t room;
};

static void add(int fd, void *userdata)
{
        struct filling *filling = userdata;
        struct held *held = filling->held;

        if (came_along(fd) && held->n < filling->room)
                held->fds[held->n++] = (struct held_fd){.fd = fd, .copy = -1};
}

static int make_copies(struct held *held, struct error *err)
{
        for (size_t i = 0; i < held->n; i++) {
                held->fds[i].copy = fcntl(held->fds[i].fd, F_DUPFD_CLOEXEC, FIRST_FD);
                if (held->fds[i].copy < 0)
                        return error_errno(err, errno, "hold %zu descriptors", held->n);
        }
        return 0;
}

int held_init(struct held *held, bool copies, struct error *err)
{
        struct filling filling = {.held = held};

        *held = (struct held){.fds = NULL};
        for_each_fd(count, &filling.room);
        held->fds = calloc(filling.room + 1, sizeof(*held->fds));
        if (!held->fds)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "hold descriptors: no memory");
        for_each_fd(add, &filling);
        if (copies && make_copies(held, err) < 0) {
                held_deinit(held);
                return -1;
        }
        return 0;
}

bool held_is_copy(const struct held *held, int fd)
{
        for (size_t i = 0; i < held->n; i++) {
                if (held->fds[i].copy == fd)
                        return true;
        }
        return false;
}

void held_deinit(struct held *held)
{
        for (size_t i = 0; i < held->n; i++)
                fd_close(held->fds[i].copy);
        free(held->fds);
        *held = (struct held){.fds = NULL};
}

void held_put_back(const struct held *held)
{
        for (size_t i = 0; i < held->n; i++) {
                const struct held_fd *h = &held->fds[i];

                if (h->copy >= 0)
                        (void)dup3(h->copy, h->fd, O_CLOEXEC);
                (void)fcntl(h->fd, F_SETFD, 0);
        }
}
