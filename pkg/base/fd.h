/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptors and small files. A descriptor is an int >= 0 or exactly -1, and CLOEXEC from birth.
 * These are leaf helpers: they return 0 or a negative errno and no text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { FD_PASS_MAX = 64 }; /* descriptors in one SCM_RIGHTS message */

/* Closes fd if it is not -1 and keeps errno; returns -1, so that `fd = fd_close(fd)` works. */
int fd_close(int fd);

int fd_set_nonblock(int fd, int on);

/* False for regular files, /dev/null and their like: they are always ready, and epoll refuses them.
 */
bool fd_is_pollable(int fd);

/* Writes all of buf to a blocking descriptor, resuming after EINTR and short writes. */
int fd_write_all(int fd, const void *buf, size_t len);

/*
 * Reads a whole file, opened relative to dirfd (or AT_FDCWD) with O_NOFOLLOW | O_NONBLOCK; it must
 * be a regular file (procfs and cgroupfs count). The text is NUL-terminated on the heap, owned by
 * the caller. -EFBIG if it is longer than max, -EINVAL if not regular.
 */
int file_read(int dirfd, const char *path, size_t max, char **ret_text, size_t *ret_len);

/* The same, from a descriptor at its current offset until EOF, whatever kind it is. */
int fd_read_all(int fd, size_t max, char **ret_text, size_t *ret_len);

/* Writes the text in one write(2) to an existing file, as procfs and cgroupfs want it. */
int file_write(int dirfd, const char *path, const char *text);

/*
 * Replaces the file `name` below dirfd by temp file and rename(2): a reader sees the old or the new
 * text, never a part. No fsync: what is written so must survive this process, not the host, whose
 * containers do not survive either. A writer that is killed leaves its temp file: FD_TEMP_FORMAT
 * with the name and its pid.
 */
#define FD_TEMP_FORMAT ".%s.%d.tmp"
int file_write_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

/*
 * One message over a SEQPACKET or STREAM unix socket, with up to FD_PASS_MAX descriptors beside it.
 * Received descriptors are CLOEXEC and belong to the caller; surplus or cut ones are closed and
 * give -EMSGSIZE. fd_recv returns the number of bytes (0 at EOF) or a negative errno; *n_fds holds
 * the capacity of fds on entry and the number received on return (NULL: any descriptor is an
 * error).
 */
int fd_send(int sock, const void *buf, size_t len, const int *fds, size_t n_fds);
ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, size_t *n_fds);
