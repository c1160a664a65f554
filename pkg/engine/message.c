/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages between shim, stage and init: see message.h.
 */
#include "pkg/engine/message.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/chaos.h"
#include "pkg/base/fd.h"

_Static_assert((int)MESSAGE_TEXT_MAX > (int)ERROR_TEXT_MAX, "an error's text fits into a message");

int message_send(int sock, const struct message *msg, const int *fds, size_t n_fds)
{
        CHAOS_POINT("message");
        return fd_send(sock, msg, sizeof(*msg), fds, n_fds);
}

int message_send_simple(int sock, enum message_type type, int value)
{
        struct message msg = {.type = type, .value = value};

        return message_send(sock, &msg, NULL, 0);
}

int message_send_error(int sock, enum message_type type, const struct error *err)
{
        struct message msg = {.type = type, .code = err->code, .errnum = err->errnum};

        memcpy(msg.text, err->msg, sizeof(err->msg));
        return message_send(sock, &msg, NULL, 0);
}

void message_get_error(const struct message *msg, struct error *ret)
{
        ret->code = msg->code != STATUS_OK ? msg->code : STATUS_UNKNOWN;
        ret->errnum = msg->errnum;
        memcpy(ret->msg, msg->text, sizeof(ret->msg) - 1);
        ret->msg[sizeof(ret->msg) - 1] = '\0';
}

static int message_check(const struct message *msg, ssize_t n)
{
        if (n < 0)
                return (int)n;
        if (n == 0)
                return 0;
        if ((size_t)n != sizeof(*msg) || msg->type == 0 || msg->type >= _MESSAGE_TYPE_MAX)
                return -EBADMSG;
        return 1;
}

static bool lacks_memory(int r)
{
        return r == -ENOMEM || r == -ENOBUFS;
}

bool message_is_later(struct loop_io *io, int r)
{
        if (lacks_memory(r))
                loop_io_rest(io);
        return r == -EAGAIN || lacks_memory(r);
}

int message_recv(int sock, struct message *ret, int *fds, size_t *n_fds)
{
        ssize_t n = fd_recv(sock, ret, sizeof(*ret), fds, n_fds);
        int r;

        /* Said once, before what is still queued, when the peer has closed without having read all:
         * unix(7) sockets. What comes next is the peer's last words, or EOF. */
        if (n == -ECONNRESET)
                n = fd_recv(sock, ret, sizeof(*ret), fds, n_fds);
        r = message_check(ret, n);

        if (r < 0 && n >= 0 && n_fds) {
                while (*n_fds > 0)
                        fd_close(fds[--*n_fds]);
        }
        return r;
}

int message_write(int sock, const struct message *msg)
{
        ssize_t n;

        CHAOS_POINT("message-of-init");
        do {
                n = write(sock, msg, sizeof(*msg));
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

/* Who waits at the gate has nobody to tell that there was no memory, and cannot rest: a profile may
 * forbid that. */
int message_read(int sock, struct message *ret)
{
        int n_tries = 100;
        ssize_t n;

        do {
                n = read(sock, ret, sizeof(*ret));
        } while (n < 0 && (errno == EINTR || (lacks_memory(-errno) && --n_tries > 0)));
        return message_check(ret, n < 0 ? -errno : n);
}
