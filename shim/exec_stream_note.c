/* SPDX-License-Identifier: Apache-2.0
 *
 * ExecStreams in another process image. The process and its outputs come with the state and are
 * there first; then the call comes, or does not, and is found to be the one of that process. Until
 * that is known nothing is read of the outputs, and the exec is not deleted.
 */
#include <stdlib.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"

#include "belay/state/v1/streams.pb-c.h"
#include "shim/container.h"
#include "shim/exec_stream.h"
#include "shim/server_impl.h"

typedef Belay__State__V1__ExecStream exec_stream_message;

static void exec_stream_message_free_p(exec_stream_message **m)
{
        if (*m)
                belay__state__v1__exec_stream__free_unpacked(*m, NULL);
}

void exec_stream_save(const struct exec_stream *s, int fds[static EXEC_STREAM_OUTPUTS])
{
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++)
                fds[i] = s->outputs[i].source ? io_source_fd(s->outputs[i].source) : -1;
}

int exec_stream_restore(struct process *p, const int fds[static EXEC_STREAM_OUTPUTS],
                        struct error *err)
{
        struct exec_stream *s = exec_stream_new(NULL, p->container->server);

        if (!s || exec_stream_make_drain(s) < 0) {
                exec_stream_free(s);
                for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++)
                        fd_close(fds[i]);
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "exec stream: no memory");
        }
        s->process = p;
        s->may_resume = true;
        p->stream = s;
        for (int i = 0; i < EXEC_STREAM_OUTPUTS; i++) {
                int fd = fds[i];

                /* At a crash right after the start the stdio may still have them. */
                if (fd < 0 && p->stdio)
                        fd = io_stdio_take_output(p->stdio, i + 1);
                if (exec_stream_open_output_take(s, i, fd, err) < 0)
                        return -1;
        }
        return 0;
}

size_t exec_stream_note(const struct exec_stream *s, void *note, size_t room)
{
        Belay__State__V1__ExecStream m = BELAY__STATE__V1__EXEC_STREAM__INIT;
        Belay__State__V1__StdinGrants stdin;
        Belay__State__V1__Sink sink;

        m.format = 1;
        m.added = s->process != NULL;
        if (s->process)
                m.exec_id = s->process->exec_id;
        m.started = s->started;
        m.has_stdin = s->has_stdin;
        m.stdin_ended = s->stdin_ended;
        if (stdin_grants_save(&s->stdin, &stdin, &sink))
                m.stdin = &stdin;
        if (s->why.code)
                m.why = (char *)s->why.msg;
        return belay__state__v1__exec_stream__get_packed_size(&m) <= room
                       ? belay__state__v1__exec_stream__pack(&m, note)
                       : 0;
}

static struct exec_stream *find(const struct shim_server *server, const char *exec_id)
{
        const struct process *p =
                server->container ? container_find_exec(server->container, exec_id) : NULL;

        return p && p->stream && p->stream->may_resume ? p->stream : NULL;
}

int exec_stream_resume(struct exec_stream **ret, struct shim_server *server,
                       struct ttrpc_call *call, const void *note, size_t len, struct error *err)
{
        _cleanup_(exec_stream_message_free_p) exec_stream_message *m =
                belay__state__v1__exec_stream__unpack(NULL, len, note);
        struct exec_stream *s;

        *ret = NULL;
        if (!m || m->format != 1)
                return error_set(err, STATUS_UNAVAILABLE,
                                 "exec stream: the shim was upgraded, and knows no such stream");
        if (!m->added)
                return 0;
        s = find(server, m->exec_id);
        if (!s)
                return error_set(err, STATUS_UNAVAILABLE, "exec stream: exec '%s' is gone",
                                 m->exec_id);
        if (!m->started && !*m->why)
                return error_set(err, STATUS_UNAVAILABLE,
                                 "exec stream: the shim was restarted while the exec was started");
        s->started = m->started;
        s->has_stdin = m->has_stdin;
        s->stdin_ended = m->stdin_ended;
        if (*m->why)
                (void)error_set(&s->why, STATUS_UNKNOWN, "%s", m->why);
        if (m->stdin && stdin_grants_restore(&s->stdin, server->loop, m->stdin,
                                             &exec_stream_stdin_ops, s, err) < 0)
                return -1;
        s->call = call;
        *ret = s;
        return 0;
}
