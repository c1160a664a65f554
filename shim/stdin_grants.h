/* SPDX-License-Identifier: Apache-2.0
 *
 * stdin of a streaming call. ttrpc has no flow control, so the peer sends no more than it was
 * granted, and what was granted always has a place here: a process that does not read costs at most
 * LIMIT_STDIN_GRANT bytes. At every moment
 *
 *     what may still be sent + what is held + what is to be granted = LIMIT_STDIN_GRANT
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/base/error.h"
#include "pkg/io/pump.h"
#include "pkg/loop/loop.h"

struct stdin_grants {
        struct io_sink *sink; /* NULL: the peer has no stdin */
        size_t allowed;
        size_t owed;
        bool (*send)(size_t n, void *userdata); /* false: no room now */
        void (*on_empty)(void *userdata);
        void *userdata;
};

/* Takes fd on success. send tells the peer of a grant; on_empty runs when all that was held has
 * been taken. Neither runs from inside, and the grants may not be closed from inside of either. */
int stdin_grants_open_take(struct stdin_grants *g, struct loop *loop, int fd,
                           bool (*send)(size_t n, void *userdata), void (*on_empty)(void *userdata),
                           void *userdata, struct error *err);

/* Tells the peer what is owed, if it is enough to be told. To be called at the beginning, and when
 * the stream has room again. */
void stdin_grants_offer(struct stdin_grants *g);

/* Bytes that have come. INVALID_ARGUMENT when they are more than was granted, or none was. */
int stdin_grants_take(struct stdin_grants *g, const void *data, size_t len, struct error *err);

/* No more: stdin is let go when the process has what is held. Later bytes are thrown away. */
void stdin_grants_end(struct stdin_grants *g);

bool stdin_grants_is_empty(const struct stdin_grants *g);
void stdin_grants_close(struct stdin_grants *g);
