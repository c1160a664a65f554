/* SPDX-License-Identifier: Apache-2.0
 *
 * The reading ends are open before the shim hears of the FIFOs. epoll tells of a FIFO's end only
 * after it has had a writer, so an early look is no false EOF.
 */
#include "cmd/belay/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/belay/relay.h"

struct streams {
        struct loop *loop;
        char *dir;
        char *in_path;
        char *out_path;
        char *err_path;
        int in_fd;
        int out_fd;
        int err_fd;
        struct relay *in;
        struct relay *out;
        struct relay *err;
        void (*on_input_end)(void *userdata);
        void *input_userdata;
        void (*on_drained)(void *userdata);
        void *drained_userdata;
};

/* The directory is ours alone; inside it, the FIFO must be open to the container's user, who may
 * want to open /dev/stdout again. */
static int make_fifo(const char *dir, const char *name, mode_t mode, char **ret_path,
                     struct error *err)
{
        _cleanup_free_ char *path = str_printf("%s/%s", dir, name);

        if (!path)
                return error_errno(err, ENOMEM, "make a FIFO");
        if (mkfifo(path, 0600) < 0 || chmod(path, mode) < 0)
                return error_errno(err, errno, "make FIFO '%s'", path);
        *ret_path = TAKE_PTR(path);
        return 0;
}

static void on_output_end(void *userdata)
{
        struct streams *s = userdata;

        if (s->on_drained && streams_are_drained(s))
                s->on_drained(s->drained_userdata);
}

static int relay_output(struct streams *s, const char *path, int to, int *ret_fd,
                        struct relay **ret, struct error *err)
{
        *ret_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (*ret_fd < 0)
                return error_errno(err, errno, "open FIFO '%s'", path);
        return relay_new(ret, s->loop, *ret_fd, to, on_output_end, s, err);
}

static int streams_make(struct streams *s, bool terminal, struct error *err)
{
        if (!mkdtemp(s->dir))
                return error_errno(err, errno, "make directory '%s'", s->dir);
        if (make_fifo(s->dir, "stdin", 0644, &s->in_path, err) < 0 ||
            make_fifo(s->dir, "stdout", 0622, &s->out_path, err) < 0 ||
            relay_output(s, s->out_path, STDOUT_FILENO, &s->out_fd, &s->out, err) < 0)
                return -1;
        if (terminal)
                return 0;
        if (make_fifo(s->dir, "stderr", 0622, &s->err_path, err) < 0)
                return -1;
        return relay_output(s, s->err_path, STDERR_FILENO, &s->err_fd, &s->err, err);
}

int streams_new(struct streams **ret, struct loop *loop, const char *parent, bool terminal,
                struct error *err)
{
        struct streams *s = calloc(1, sizeof(*s));

        if (!s)
                return error_errno(err, ENOMEM, "make FIFOs");
        s->loop = loop;
        s->in_fd = -1;
        s->out_fd = -1;
        s->err_fd = -1;
        s->dir = str_printf("%s/io.XXXXXX", parent);
        if (!s->dir || streams_make(s, terminal, err) < 0) {
                streams_free(s);
                return -1;
        }
        *ret = s;
        return 0;
}

static void remove_fifo(char *path)
{
        if (path)
                (void)unlink(path);
        free(path);
}

struct streams *streams_free(struct streams *s)
{
        if (!s)
                return NULL;
        relay_free(s->in);
        relay_free(s->out);
        relay_free(s->err);
        fd_close(s->in_fd);
        fd_close(s->out_fd);
        fd_close(s->err_fd);
        remove_fifo(s->in_path);
        remove_fifo(s->out_path);
        remove_fifo(s->err_path);
        if (s->dir)
                (void)rmdir(s->dir);
        free(s->dir);
        free(s);
        return NULL;
}

const char *streams_in(const struct streams *s)
{
        return s->in_path;
}

const char *streams_out(const struct streams *s)
{
        return s->out_path;
}

const char *streams_err(const struct streams *s)
{
        return s->err_path ? s->err_path : "";
}

static void on_input_end(void *userdata)
{
        struct streams *s = userdata;

        s->in_fd = fd_close(s->in_fd);
        if (s->on_input_end)
                s->on_input_end(s->input_userdata);
}

int streams_start_input(struct streams *s, void (*on_end)(void *userdata), void *userdata,
                        struct error *err)
{
        s->on_input_end = on_end;
        s->input_userdata = userdata;
        s->in_fd = open(s->in_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (s->in_fd < 0 && errno == ENXIO)
                return 0;
        if (s->in_fd < 0)
                return error_errno(err, errno, "open FIFO '%s'", s->in_path);
        return relay_new(&s->in, s->loop, STDIN_FILENO, s->in_fd, on_input_end, s, err);
}

bool streams_are_drained(const struct streams *s)
{
        return relay_is_done(s->out) && (!s->err || relay_is_done(s->err));
}

void streams_on_drained(struct streams *s, void (*fn)(void *userdata), void *userdata)
{
        s->on_drained = fn;
        s->drained_userdata = userdata;
}
