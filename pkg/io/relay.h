/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay of a terminal: pty master -> output, input -> pty master. It never blocks, holds at
 * most one buffer for each direction and only while something is pending, and it stops
 * reading where it cannot write, so a slow reader slows the process down and nobody else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkg/base/error.h"
#include "pkg/io/ring.h"
#include "pkg/loop/loop.h"

#include "belay/state/v1/io.pb-c.h"

struct io_relay;

/*
 * Takes the descriptors on success; master, input and output are nonblocking. input and output may
 * be -1: then there is no input, and output is read and thrown away. fn runs from a callback of the
 * loop or from inside io_relay_process_exited(), when the relay has ended and has closed all three;
 * the relay may not be freed from inside it.
 */
int io_relay_new_take(struct io_relay **ret, struct loop *loop, int master, int input, int output,
                      void (*fn)(void *userdata), void *userdata, struct error *err);
struct io_relay *io_relay_free(struct io_relay *relay);

/* fn, with the userdata of above, runs when io_relay_save() would say something else; from a
 * callback of the loop. What is on its way is no part of that: it is in memory that goes along. */
void io_relay_on_change(struct io_relay *relay, void (*fn)(void *userdata));

/* For another image of this process. fn does not run for a relay that had ended by then, be it
 * since it was saved. */
void io_relay_save(const struct io_relay *relay, Belay__State__V1__Relay *ret);
int io_relay_restore(struct io_relay **ret, struct loop *loop, const Belay__State__V1__Relay *m,
                     void (*fn)(void *userdata), void *userdata, struct error *err);

/* What is read of the terminal is written there, too; borrowed, and must outlive the relay. */
void io_relay_set_ring(struct io_relay *relay, struct io_ring *ring);

bool io_relay_has_ended(const struct io_relay *relay);

/* No more input; what the process has written so far is still relayed, and then it is over. */
void io_relay_process_exited(struct io_relay *relay);

/* What the output has not taken: that of a full disk, for example. The relay goes on and tries with
 * what comes next. */
struct io_relay_lost {
        uint64_t bytes;
        uint64_t n_failures;
        int last_errno;
};
struct io_relay_lost io_relay_lost(const struct io_relay *relay);

/* 0, also when the master is closed already. */
int io_relay_resize(struct io_relay *relay, uint16_t width, uint16_t height, struct error *err);
