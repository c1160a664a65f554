/* SPDX-License-Identifier: Apache-2.0
 *
 * Attachments in another process image. The note is written after everything that is done for the
 * stream, when what was read of the ring has been queued to the client, and what the client has
 * typed is the process's or lies in the sink's memory: so nothing is lost and nothing comes twice.
 * What comes between, the ring keeps.
 */
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/io/ring.h"

#include "belay/state/v1/streams.pb-c.h"
#include "shim/attachments.h"
#include "shim/container.h"
#include "shim/server_impl.h"

typedef Belay__State__V1__Attach attach_message;

static void attach_message_free_p(attach_message **m)
{
        if (*m)
                belay__state__v1__attach__free_unpacked(*m, NULL);
}

size_t attachment_note(const struct attachment *a, void *note, size_t room)
{
        Belay__State__V1__Attach m = BELAY__STATE__V1__ATTACH__INIT;
        Belay__State__V1__StdinGrants stdin;
        Belay__State__V1__Sink sink;
        Belay__State__V1__Ring replay;

        m.format = 1;
        m.attached = a->process != NULL;
        m.wants_stdout = a->wants_stdout;
        m.wants_stderr = a->wants_stderr;
        m.leaving = a->leaving;
        m.place = a->place;
        m.sent = a->sent;
        if (a->process)
                m.exec_id = a->process->exec_id;
        if (a->replay) {
                io_ring_save(a->replay, &replay);
                m.replay = &replay;
        }
        if (stdin_grants_save(&a->stdin, &stdin, &sink))
                m.stdin = &stdin;
        return belay__state__v1__attach__get_packed_size(&m) <= room
                       ? belay__state__v1__attach__pack(&m, note)
                       : 0;
}

int attachment_resume(struct attachment *a, const void *note, size_t len, struct error *err)
{
        _cleanup_(attach_message_free_p) attach_message *m =
                belay__state__v1__attach__unpack(NULL, len, note);
        const struct container *c = a->server->container;
        struct process *p;

        if (!m || m->format != 1)
                return error_set(err, STATUS_UNAVAILABLE,
                                 "attach: the shim was upgraded, and knows no such stream");
        if (!m->attached)
                return 0;
        p = c ? container_find_process(c, m->exec_id) : NULL;
        if (!p)
                return error_set(err, STATUS_UNAVAILABLE, "attach: the process is gone");
        if (attachment_join(a, p, err) < 0)
                return -1;
        a->wants_stdout = m->wants_stdout;
        a->wants_stderr = m->wants_stderr;
        a->leaving = m->leaving;
        a->place = m->place;
        a->sent = (size_t)m->sent;
        if (m->replay && io_ring_restore_snapshot(&a->replay, m->replay, err) < 0)
                return -1;
        if (m->stdin && attachment_restore_stdin(a, m->stdin, err) < 0)
                return -1;
        return 1;
}
