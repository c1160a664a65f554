/* SPDX-License-Identifier: Apache-2.0
 *
 * The console socket of OCI command lines: whoever called create or exec listens on it and gets the
 * terminal's master, and with it the duty to relay.
 */
#pragma once

#include "pkg/base/error.h"

/*
 * Connects to the unix socket at path and sends master (SCM_RIGHTS, with a name as payload, as runc
 * does). master stays the caller's. Never waits: a listener whose queue is full is an error.
 */
int io_console_send(const char *path, int master, struct error *err);
