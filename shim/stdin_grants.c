/* SPDX-License-Identifier: Apache-2.0
 *
 * Grants of stdin: see stdin_grants.h. They are told in steps of half of all, so that typing costs
 * no message for each key.
 */
#include "shim/stdin_grants.h"

#include "pkg/base/limits.h"

enum { STEP = LIMIT_STDIN_GRANT / 2 };

static void on_taken(size_t n, void *userdata)
{
        struct stdin_grants *g = userdata;

        g->owed += n;
        stdin_grants_offer(g);
        if (stdin_grants_is_empty(g))
                g->ops->on_empty(g->userdata);
}

static void *on_enter(void *userdata)
{
        const struct stdin_grants *g = userdata;
        struct ttrpc_call *call = g->ops->call(g->userdata);

        if (call)
                ttrpc_call_enter(call);
        return call;
}

static void on_leave(void *entered)
{
        if (entered)
                ttrpc_call_leave(entered);
}

static const struct io_sink_ops sink_ops = {
        .on_taken = on_taken,
        .enter = on_enter,
        .leave = on_leave,
};

int stdin_grants_open_take(struct stdin_grants *g, struct loop *loop, int fd,
                           const struct stdin_grants_ops *ops, void *userdata, struct error *err)
{
        if (io_sink_new_take(&g->sink, loop, fd, LIMIT_STDIN_GRANT, &sink_ops, g, err) < 0)
                return -1;
        g->allowed = 0;
        g->owed = LIMIT_STDIN_GRANT;
        g->ops = ops;
        g->userdata = userdata;
        return 0;
}

bool stdin_grants_save(const struct stdin_grants *g, Belay__State__V1__StdinGrants *ret,
                       Belay__State__V1__Sink *ret_sink)
{
        if (!g->sink)
                return false;
        belay__state__v1__stdin_grants__init(ret);
        io_sink_save(g->sink, ret_sink);
        ret->sink = ret_sink;
        ret->allowed = g->allowed;
        ret->owed = g->owed;
        return true;
}

int stdin_grants_restore(struct stdin_grants *g, struct loop *loop,
                         const Belay__State__V1__StdinGrants *m, const struct stdin_grants_ops *ops,
                         void *userdata, struct error *err)
{
        if (!m->sink || m->allowed > LIMIT_STDIN_GRANT || m->owed > LIMIT_STDIN_GRANT ||
            m->allowed + m->owed + m->sink->length != LIMIT_STDIN_GRANT)
                return error_set(err, STATUS_INVALID_ARGUMENT, "stdin: grants that do not add up");
        g->ops = ops;
        g->userdata = userdata;
        if (io_sink_restore(&g->sink, loop, m->sink, LIMIT_STDIN_GRANT, &sink_ops, g, err) < 0)
                return -1;
        g->allowed = m->allowed;
        g->owed = m->owed;
        return 0;
}

void stdin_grants_offer(struct stdin_grants *g)
{
        if (!g->sink || g->owed < STEP || !g->ops->send(g->owed, g->userdata))
                return;
        g->allowed += g->owed;
        g->owed = 0;
}

int stdin_grants_take(struct stdin_grants *g, const void *data, size_t len, struct error *err)
{
        ssize_t n;

        if (len > g->allowed)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "%zu bytes of stdin, and %zu are granted", len, g->allowed);
        if (len == 0)
                return 0;
        n = io_sink_write(g->sink, data, len);
        if (n < 0)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "stdin: no memory");
        g->allowed -= len;
        g->owed += (size_t)n;
        stdin_grants_offer(g);
        return 0;
}

void stdin_grants_end(struct stdin_grants *g)
{
        if (g->sink)
                io_sink_end(g->sink);
}

bool stdin_grants_is_empty(const struct stdin_grants *g)
{
        return !g->sink || io_sink_held(g->sink) == 0;
}

void stdin_grants_close(struct stdin_grants *g)
{
        g->sink = io_sink_free(g->sink);
        g->allowed = 0;
}
