/* SPDX-License-Identifier: Apache-2.0
 *
 * See gate.h.
 */
#include "test/bench/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/fd.h"

#include "test/bench/client.h"

enum { PATIENCE_MS = 120 * 1000 };

/* Read-write, so that neither side ever waits in an open. */
static int open_fifo(const char *folder, const char *name)
{
        char path[512];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
        if (mkfifo(path, 0600) < 0)
                fail("mkfifo %s: %s", path, strerror(errno));
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                fail("open %s: %s", path, strerror(errno));
        return fd;
}

void gate_init(struct gate *g, const char *folder, uint64_t bytes)
{
        *g = (struct gate){.passes = (bytes + (1 << 20) - 1) >> 20};
        g->go = open_fifo(folder, "go");
        g->done = open_fifo(folder, "done");
}

void gate_deinit(struct gate *g)
{
        fd_close(g->go);
        fd_close(g->done);
}

static void give(struct gate *g, uint64_t n)
{
        static const char bytes[4096];

        if (n > sizeof(bytes) || fd_write_all(g->go, bytes, (size_t)n) < 0)
                fail("the gate: %s", strerror(errno));
}

void gate_pass(struct gate *g, uint64_t n)
{
        n = n < g->passes ? n : g->passes;
        g->passes -= n;
        give(g, n);
}

void gate_pass_all(struct gate *g)
{
        gate_pass(g, g->passes);
}

void gate_await_done(struct gate *g)
{
        struct pollfd p = {.fd = g->done, .events = POLLIN};
        uint64_t times[2];

        if (poll(&p, 1, PATIENCE_MS) != 1)
                fail("the payload has not moved its bytes within %d s", PATIENCE_MS / 1000);
        if (read(g->done, times, sizeof(times)) != (ssize_t)sizeof(times))
                fail("the payload told no times");
        g->begin_ns = times[0];
        g->end_ns = times[1];
}

void gate_let_end(struct gate *g)
{
        give(g, 1);
}
