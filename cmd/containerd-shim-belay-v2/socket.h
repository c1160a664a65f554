/* SPDX-License-Identifier: Apache-2.0
 *
 * The shim's listening socket: its name, which others compute, too, and its making. The directory
 * is 0700 and the socket 0600 from its first moment.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/base/error.h"

/* The stock shim's directory. containerd's own tests look for sockets here, so it is not
 * configurable except by the caller (BootstrapParams.socket_dir). */
#define SOCKET_DIR_DEFAULT "/run/containerd/s"

/*
 * <dir>/<sha256 of path-join(address, namespace, id)> on the heap. dir: NULL for the default. Pure,
 * except that a result too long for a unix socket is refused.
 */
int socket_path(const char *dir, const char *address, const char *runtime_namespace, const char *id,
                char **ret_path, struct error *err);

/*
 * Binds and listens. When the name is taken by a socket that is not live, that is replaced; when it
 * is, 0 and *ret_fd == -1. The descriptor is CLOEXEC and non-blocking. Of several
 * that do this at once one gets the name, and the others find it live.
 */
int socket_listen(const char *path, int *ret_fd, struct error *err);

/*
 * Makes a listening socket the caller's: it is live as long as the caller is, whoever else may have
 * a copy. For one that another process has made. 0 or a negative errno; async-signal-safe.
 */
int socket_own(int fd);

/* Whether somebody listens there now, and is alive, whether it answers or not. Nobody is waited
 * for, but a look through all processes may be needed, and again for a fifth of a second if none of
 * them has it. True where that does not tell. */
bool socket_is_live(const char *path);

/*
 * Removes the socket of a process that is gone; nothing happens if it is live, which is 1, or if
 * path is no socket. Whoever has the directory's lock is waited for, and processes are looked
 * through, until deadline_ns (CLOCK_MONOTONIC): then the socket stays, which is a failure.
 */
int socket_remove_stale(const char *path, uint64_t deadline_ns, struct error *err);

/* The name of a socket that listens, and what it names: another one may come to have the name. */
struct socket_name {
        char *path; /* NULL: it has no name */
        dev_t dev;
        ino_t ino;
};

/* Of a listening socket that nobody can have replaced yet. */
void socket_name_init(struct socket_name *name, int fd);

/* Removes the name if it is still ours; to be called while the socket still listens, since the name
 * is anybody's afterwards. Frees the path; idempotent. */
void socket_name_remove(struct socket_name *name);
void socket_name_deinit(struct socket_name *name);
