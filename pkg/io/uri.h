/* SPDX-License-Identifier: Apache-2.0
 *
 * What the text of a stdio field means. Clients of the task API send a path, nothing, or a URI
 * whose scheme selects a way of logging; see docs of containerd's runtime v2, "logging". Pure.
 */
#pragma once

#include <stddef.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"

enum io_target {
        IO_TARGET_NULL,      /* no text */
        IO_TARGET_PATH,      /* a FIFO, or a regular file, that exists */
        IO_TARGET_FILE,      /* file://: made if need be, appended to */
        IO_TARGET_FD,        /* fd:///PID/N: descriptor N of process PID, whatever it is */
        IO_TARGET_CONSOLE,   /* console://: a socket that is sent the terminal's master */
        IO_TARGET_BINARY,    /* binary://: a program that reads the streams, with arguments */
        IO_TARGET_BINARY_V2, /* binary-v2://: the same; it must say when it is ready */
        IO_TARGET_LOG,       /* log://: a file that the shim's own log writer keeps */
        IO_TARGET_ATTACH,    /* attach:///: a pipe whose other end the shim holds */
};

struct io_uri_param {
        char *key;
        char *value; /* "" when there is none */
};

struct io_uri {
        enum io_target target;
        char *path; /* absolute; NULL for IO_TARGET_NULL */

        /* The query of a scheme that has one, in its order; of a key that comes twice the first. */
        struct io_uri_param *params;
        size_t n_params;
};

/*
 * A path without scheme is taken as it is; a URI's path and parameters are percent-decoded, and a
 * query that the scheme has no use for is cut off. On failure *ret is empty. Errors as
 * io_stdio_open() has them, without the name of the stream.
 */
int io_uri_parse(const char *text, struct io_uri *ret, struct error *err);
void io_uri_clear(struct io_uri *uri);

static inline void io_uri_clear_p(struct io_uri *uri)
{
        io_uri_clear(uri);
}
