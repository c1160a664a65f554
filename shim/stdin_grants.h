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
#include "pkg/ttrpc/ttrpc.h"

#include "belay/state/v1/streams.pb-c.h"

struct stdin_grants_ops {
        /* Tells the peer of a grant; false: no room now. */
        bool (*send)(size_t n, void *userdata);

        /* All that was held has been taken. */
        void (*on_empty)(void *userdata);

        /* The peer's call, which is entered around all that is done from the loop; NULL: it is
         * gone. */
        struct ttrpc_call *(*call)(void *userdata);
};

struct stdin_grants {
        struct io_sink *sink; /* NULL: the peer has no stdin */
        size_t allowed;
        size_t owed;
        const struct stdin_grants_ops *ops;
        void *userdata;
};

/* Takes fd on success. No callback runs from inside, and the grants may not be closed from inside
 * of one. */
int stdin_grants_open_take(struct stdin_grants *g, struct loop *loop, int fd,
                           const struct stdin_grants_ops *ops, void *userdata, struct error *err);

/* For another image of this process; ret_sink is a part of *ret. Without a stdin there is nothing
 * to be saved: false. */
bool stdin_grants_save(const struct stdin_grants *g, Belay__State__V1__StdinGrants *ret,
                       Belay__State__V1__Sink *ret_sink);
int stdin_grants_restore(struct stdin_grants *g, struct loop *loop,
                         const Belay__State__V1__StdinGrants *m, const struct stdin_grants_ops *ops,
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
