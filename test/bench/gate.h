/* SPDX-License-Identifier: Apache-2.0
 *
 * A gate that the payload of the stream benchmark passes: two FIFOs in its root folder. Every byte
 * in `go` lets it move another MiB, so that the bench decides when it begins and how far it runs
 * ahead; when it has moved all it writes to `done` when it began and ended, and waits for one byte
 * more. Thus all processes are alive when the bench looks at what they have used.
 */
#pragma once

#include <stdint.h>

struct gate {
        int go;
        int done;
        uint64_t passes;   /* still to be given */
        uint64_t begin_ns; /* CLOCK_REALTIME, of the payload, after gate_await_done() */
        uint64_t end_ns;
};

/* bytes: what the payload will move. */
void gate_init(struct gate *g, const char *folder, uint64_t bytes);
void gate_deinit(struct gate *g);

/* Up to n MiB more. */
void gate_pass(struct gate *g, uint64_t n);
void gate_pass_all(struct gate *g);

/* Waits until the payload has moved all. */
void gate_await_done(struct gate *g);
void gate_let_end(struct gate *g);
