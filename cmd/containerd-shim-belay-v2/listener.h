/* SPDX-License-Identifier: Apache-2.0
 *
 * Who makes a unix socket listen: the process that has called listen(2) last, which may be another
 * one than those that have a copy of it. A socket without that process serves nobody.
 */
#pragma once

#include <stdbool.h>

/* Of a socket that listens, or of a connection to it (SO_PEERCRED, unix(7)). True as well where
 * that is not known, as of a process in another pid namespace. */
bool listener_is_alive(int fd);

/*
 * Of the sockets that listen at an absolute path, for want of a connection: one of them is looked
 * at through somebody who has it (pidfd_getfd(2)). Immediate, but it looks through all processes.
 * True as well where that does not tell: without CAP_SYS_PTRACE, or in another network namespace.
 */
bool listener_of_path_is_alive(const char *path);
