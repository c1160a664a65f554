/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals as people write them.
 */
#pragma once

#include "pkg/base/error.h"

/*
 * "TERM", "SIGTERM", "sigterm", "15", "RTMIN", "RTMIN+3", "SIGRTMAX-1". Numbers from 0 (a test
 * whether the process is there) to 64. RTMIN is the kernel's 34 as libc counts, which is what
 * kill(1) means, too.
 */
int signal_parse(const char *text, int *ret, struct error *err);
