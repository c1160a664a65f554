/* SPDX-License-Identifier: Apache-2.0
 *
 * The console socket: the runtime connects and sends one message with the terminal's master. The
 * socket is in a directory that only root enters, so who connects is who was told the path.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

#define SOCKET_NAME "/pty.sock"

/* The message is the terminal's name, which nobody needs. */
enum { NAME_BYTES_MAX = 4096 };

struct console {
        struct loop *loop;
        struct sockaddr_un address;
        char *directory; /* NULL: removed */
        int listener;
        int conn;
        struct loop_io *io; /* of the one that is waited for */
        int master;
        int errnum; /* why there will be none */
        void (*on_ready)(void *userdata);
        void *userdata;
};

CLEANUP_DEFINE(struct console, console_free)

static void end(struct console *c, int errnum)
{
        c->io = loop_io_free(c->io);
        c->conn = fd_close(c->conn);
        c->listener = fd_close(c->listener);
        c->errnum = errnum;
        c->on_ready(c->userdata);
}

static void on_message(struct loop_io *io, int fd, int what, void *userdata)
{
        struct console *c = userdata;
        char name[NAME_BYTES_MAX];
        size_t n_fds = 1;
        int master = -1;
        ssize_t n = fd_recv(fd, name, sizeof(name), &master, &n_fds);

        (void)io;
        (void)what;
        if (n == -EAGAIN)
                return;
        if (n >= 0 && n_fds == 1 && isatty(master)) {
                c->master = master;
                end(c, 0);
                return;
        }
        if (n >= 0 && n_fds == 1)
                fd_close(master);
        end(c, n < 0 ? (int)-n : EBADMSG);
}

static int listen_to(struct console *c, int fd, loop_io_fn fn)
{
        c->io = loop_io_free(c->io);
        c->io = loop_io_new(c->loop, fd, LOOP_PRIORITY_RPC, fn, c);
        return c->io && loop_io_want(c->io, LOOP_READ) == 0 ? 0 : -ENOMEM;
}

static void on_connect(struct loop_io *io, int fd, int what, void *userdata)
{
        struct console *c = userdata;

        (void)io;
        (void)what;
        c->conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (c->conn < 0) {
                if (errno != EAGAIN)
                        end(c, errno);
                return;
        }
        if (listen_to(c, c->conn, on_message) < 0)
                end(c, ENOMEM);
}

/* Below $XDG_RUNTIME_DIR if there is one and the path fits into an address, else below /tmp. */
static int make_directory(struct console *c, struct error *err)
{
        const char *top = getenv("XDG_RUNTIME_DIR");
        static const char name[] = "/belay-ptyXXXXXX";

        if (!top || !*top ||
            strlen(top) + sizeof(name) + sizeof(SOCKET_NAME) > sizeof(c->address.sun_path))
                top = "/tmp";
        c->directory = str_printf("%s%s", top, name);
        if (!c->directory)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "console socket: no memory");
        if (!mkdtemp(c->directory)) {
                (void)error_errno(err, errno, "console socket: make '%s'", c->directory);
                free(TAKE_PTR(c->directory));
                return -1;
        }
        return 0;
}

static int open_listener(struct console *c, struct error *err)
{
        const char *parts[] = {c->directory, SOCKET_NAME};
        size_t len = 0;

        c->address.sun_family = AF_UNIX;
        for (int i = 0; i < 2; i++) {
                memcpy(c->address.sun_path + len, parts[i], strlen(parts[i]) + 1);
                len += strlen(parts[i]);
        }
        c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (c->listener < 0 ||
            bind(c->listener, (const struct sockaddr *)&c->address, sizeof(c->address)) < 0 ||
            listen(c->listener, 1) < 0)
                return error_errno(err, errno, "console socket '%s'", c->address.sun_path);
        if (listen_to(c, c->listener, on_connect) < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "console socket: no memory");
        return 0;
}

int console_new(struct console **ret, struct loop *loop, void (*on_ready)(void *userdata),
                void *userdata, struct error *err)
{
        _cleanup_(console_free_p) struct console *c = calloc(1, sizeof(*c));

        if (!c)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "console socket: no memory");
        c->loop = loop;
        c->on_ready = on_ready;
        c->userdata = userdata;
        c->listener = -1;
        c->conn = -1;
        c->master = -1;
        c->errnum = EAGAIN;
        if (make_directory(c, err) < 0 || open_listener(c, err) < 0)
                return -1;
        *ret = TAKE_PTR(c);
        return 0;
}

struct console *console_free(struct console *c)
{
        if (!c)
                return NULL;
        loop_io_free(c->io);
        fd_close(c->conn);
        fd_close(c->listener);
        fd_close(c->master);
        if (c->directory) {
                (void)unlink(c->address.sun_path);
                (void)rmdir(c->directory);
        }
        free(c->directory);
        free(c);
        return NULL;
}

const char *console_path(const struct console *c)
{
        return c->address.sun_path;
}

int console_take(struct console *c, struct error *err)
{
        if (c->master >= 0)
                return TAKE_FD(c->master);
        return error_errno(err, c->errnum, "receive the terminal from the runtime");
}
