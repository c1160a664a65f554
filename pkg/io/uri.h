/* SPDX-License-Identifier: Apache-2.0
 *
 * What the text of a stdio field means. Clients of the task API send a path, nothing, or a URI
 * whose scheme selects a way of logging; see docs of containerd's runtime v2, "logging". Pure.
 */
#pragma once

#include "pkg/base/error.h"

enum io_target {
        IO_TARGET_NULL,    /* no text */
        IO_TARGET_PATH,    /* a FIFO, or a regular file, that exists */
        IO_TARGET_FILE,    /* file://: made if need be, appended to */
        IO_TARGET_FD,      /* fd:///PID/N: descriptor N of process PID, whatever it is */
        IO_TARGET_CONSOLE, /* console://: a socket that is sent the terminal's master */
};

/*
 * *ret_path is absolute and on the heap (NULL for IO_TARGET_NULL). A path without scheme is taken
 * as it is; a URI's path is percent-decoded and its query cut off. Errors as io_stdio_open() has
 * them, without the name of the stream.
 */
int io_uri_parse(const char *text, enum io_target *ret_target, char **ret_path, struct error *err);
