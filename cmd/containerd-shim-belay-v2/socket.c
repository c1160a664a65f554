/* SPDX-License-Identifier: Apache-2.0
 *
 * The name of a shim's socket is a hash, so that its length does not depend on the id's, and equal
 * to the stock shim's, so that containerd's tools and tests find it. Only `start` binds; only a
 * socket that is not live is ever unlinked by another process than its own.
 *
 * A stage that has just been forked has a copy of the shim's socket for a moment, also when the
 * shim is killed in it. So it does not say that somebody serves that a connect(2) succeeds: the
 * process that makes it listen must be alive, or a shim have it (listener.h). That nobody answers
 * does not say either that it is dead: who took its name would have its container killed.
 *
 * Between bind(2) and listen(2) a socket refuses connections although it is no stale one, so these
 * two and every removal of another's socket are done under a lock on the directory. It is held for
 * some microseconds, and for a look through all processes where the one that listens is dead.
 */
#include "cmd/containerd-shim-belay-v2/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sha2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/listener.h"

/* Go's limit for a socket's path on Linux: sun_path without the NUL and one byte to spare. */
enum { SOCKET_PATH_MAX = 106 };

int socket_path(const char *dir, const char *address, const char *runtime_namespace, const char *id,
                char **ret_path, struct error *err)
{
        const char *parts[] = {address, runtime_namespace, id};
        _cleanup_free_ char *joined = path_join_clean(parts, 3);
        _cleanup_free_ char *path = NULL;
        char hash[SHA256_DIGEST_STRING_LENGTH];

        if (!joined)
                return error_errno(err, ENOMEM, "name the socket");
        (void)SHA256Data((const uint8_t *)joined, strlen(joined), hash);
        path = str_printf("%s/%s", dir ? dir : SOCKET_DIR_DEFAULT, hash);
        if (!path)
                return error_errno(err, ENOMEM, "name the socket");
        if (strlen(path) > SOCKET_PATH_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "socket path '%s' is longer than %d bytes", path, SOCKET_PATH_MAX);
        *ret_path = TAKE_PTR(path);
        return 0;
}

/* False for a path that no unix socket can have. */
static bool socket_address(const char *path, struct sockaddr_un *ret)
{
        size_t len = strlen(path);

        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        if (len == 0 || len > SOCKET_PATH_MAX)
                return false;
        memcpy(ret->sun_path, path, len);
        return true;
}

/* A connection, or -1 with errno; EAGAIN: the backlog is full. */
static int connect_now(const char *path)
{
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un sa;

        if (fd < 0 || !socket_address(path, &sa) ||
            connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
                return -1;
        return TAKE_FD(fd);
}

bool socket_is_live(const char *path)
{
        _cleanup_close_ int fd = connect_now(path);
        _cleanup_close_ int again = -1;
        enum listener who;

        if (fd < 0 && errno != EAGAIN)
                return false;
        if (fd >= 0 && listener_is_alive(fd))
                return true;
        who = listener_of_path(path);
        if (who != LISTENER_UNKNOWN)
                return who == LISTENER_ALIVE;
        /* Who had it may have let go of it; or nobody can be seen, and it is left alone. */
        again = connect_now(path);
        return again >= 0 || errno == EAGAIN;
}

int socket_own(int fd)
{
        return listen(fd, SOMAXCONN) < 0 ? -errno : 0;
}

/* The lock goes with the descriptor; -1 without one. */
static int lock_directory(const char *path)
{
        char dir[SOCKET_PATH_MAX + 1] = ".";
        const char *slash = strrchr(path, '/');
        size_t len = slash && slash != path ? (size_t)(slash - path) : 1;
        _cleanup_close_ int fd = -1;

        if (len > SOCKET_PATH_MAX)
                return -1;
        if (slash)
                memcpy(dir, path, len);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || flock(fd, LOCK_EX) < 0)
                return -1;
        return TAKE_FD(fd);
}

/* False if it is live. */
static bool remove_stale_locked(const char *path)
{
        struct stat st;

        if (socket_is_live(path))
                return false;
        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                (void)unlink(path);
        return true;
}

void socket_remove_stale(const char *path)
{
        _cleanup_close_ int lock = lock_directory(path);

        if (lock >= 0)
                (void)remove_stale_locked(path);
}

/* mkdir -p of the directory of path. */
static int make_parents(const char *path, struct error *err)
{
        char dir[SOCKET_PATH_MAX + 1];

        for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
                memcpy(dir, path, (size_t)(p - path));
                dir[p - path] = '\0';
                if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "mkdir '%s'", dir);
        }
        return 0;
}

int socket_listen(const char *path, int *ret_fd, struct error *err)
{
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        _cleanup_close_ int lock = -1;
        struct sockaddr_un sa;
        int r;

        if (!socket_address(path, &sa))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s' cannot be the path of a socket", path);
        if (fd < 0)
                return error_errno(err, errno, "make a socket");
        if (make_parents(path, err) < 0)
                return -1;
        lock = lock_directory(path);
        if (lock < 0)
                return error_errno(err, errno, "lock the directory of '%s'", path);
        /* Linux gives the name the mode of the unbound socket (unix_bind_bsd), so there is no
         * moment in which it is wider. */
        if (fchmod(fd, 0600) < 0)
                return error_errno(err, errno, "chmod the socket");
        r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
        if (r < 0 && errno == EADDRINUSE) {
                if (!remove_stale_locked(path)) {
                        *ret_fd = -1;
                        return 0;
                }
                r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
        }
        if (r < 0)
                return error_errno(err, errno, "bind '%s'", path);
        r = socket_own(fd);
        if (r < 0) {
                error_errno(err, -r, "listen on '%s'", path);
                (void)unlink(path);
                return -1;
        }
        *ret_fd = TAKE_FD(fd);
        return 0;
}

void socket_name_init(struct socket_name *name, int fd)
{
        struct sockaddr_un sa = {0};
        socklen_t len = sizeof(sa) - 1; /* so that sun_path is terminated */
        struct stat st;

        *name = (struct socket_name){.path = NULL};
        if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0 || sa.sun_path[0] != '/' ||
            lstat(sa.sun_path, &st) < 0)
                return;
        name->path = strdup(sa.sun_path);
        name->dev = st.st_dev;
        name->ino = st.st_ino;
}

void socket_name_remove(struct socket_name *name)
{
        struct stat st;

        if (name->path && lstat(name->path, &st) == 0 && st.st_dev == name->dev &&
            st.st_ino == name->ino)
                (void)unlink(name->path);
        socket_name_deinit(name);
}

void socket_name_deinit(struct socket_name *name)
{
        free(name->path);
        name->path = NULL;
}
