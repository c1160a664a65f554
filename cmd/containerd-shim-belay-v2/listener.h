/* SPDX-License-Identifier: Apache-2.0
 *
 * Who makes a unix socket listen: the process that has called listen(2) last, which may be another
 * one than those that have a copy of it. A socket without that process serves nobody.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Of a socket that listens, or of a connection to it (SO_PEERCRED, unix(7)). True as well where
 * that is not known, as of a process in another pid namespace. */
bool listener_is_alive(int fd);

enum listener {
        LISTENER_UNKNOWN, /* nobody is seen who has it, or time is up */
        LISTENER_DEAD,    /* whoever has it, has a copy */
        LISTENER_ALIVE,
};

/*
 * Of the sockets that listen at an absolute path, for want of a connection, or because the process
 * that has called listen(2) is dead: in versions that did not call it in the shim that was `start`.
 * Then it is alive if a shim has it, which is told from its stages by its being the leader of its
 * process group. Nobody is waited for: a shim that is stopped, frozen or slow is alive. It looks
 * through all processes until deadline_ns (CLOCK_MONOTONIC), by the socket that each has
 * (pidfd_getfd(2)); without CAP_SYS_PTRACE, or in another network namespace, it sees none.
 */
enum listener listener_of_path(const char *path, uint64_t deadline_ns);
