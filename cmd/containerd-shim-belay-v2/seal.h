/* SPDX-License-Identifier: Apache-2.0
 *
 * A copy of this program that no container can write to through /proc/PID/exe (CVE-2019-5736).
 */
#pragma once

#include "pkg/base/error.h"

/*
 * A CLOEXEC descriptor of a binary (NULL: this process's own) for execveat(fd, "", AT_EMPTY_PATH).
 * It lies on a read-only clone of the binary's mount (Linux 5.12, CAP_SYS_ADMIN), which shares its
 * pages with the file; where that is refused, in a sealed memfd, which is a private copy.
 */
int seal_open(const char *path, int *ret_fd, struct error *err);

/* A copy in memory, of which err may be NULL. May be called from a signal handler then. */
int seal_by_copy(const char *path, int *ret_fd, struct error *err);
