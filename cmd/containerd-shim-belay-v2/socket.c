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
 * two and every removal of another's socket are done under a lock on the directory. All shims of
 * the host share it, so nobody who has it looks through processes: that is done without it, and
 * what is then removed is what was looked at, or nothing.
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
#include <time.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/listener.h"

enum {
        SOCKET_PATH_MAX = 106, /* Go's limit on Linux: sun_path without the NUL and one byte more */
        REST_MS = 5,           /* between two tries */
        UNSEEN_MS = 200, /* for a socket that somebody must have, and nobody is seen who has */
};

/* What one look at a name tells. */
enum look {
        LOOK_NOBODY,  /* there is no socket, or nobody listens */
        LOOK_LIVE,    /* who has called listen(2) lives */
        LOOK_UNCLEAR, /* he is dead, or the backlog is full: processes have to be looked through */
        LOOK_FAILED,  /* with errno: there is no descriptor for it, say */
};

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

static enum look look_at(const char *path)
{
        _cleanup_close_ int fd = connect_now(path);

        if (fd < 0 && (errno == ECONNREFUSED || errno == ENOENT))
                return LOOK_NOBODY;
        if (fd < 0)
                return errno == EAGAIN ? LOOK_UNCLEAR : LOOK_FAILED;
        return listener_is_alive(fd) ? LOOK_LIVE : LOOK_UNCLEAR;
}

static void rest(void)
{
        const struct timespec time = {.tv_nsec = REST_MS * (long)NSEC_PER_MSEC};

        (void)nanosleep(&time, NULL);
}

/* Whether a shim has it after all: 1, or 0, or -ETIMEDOUT. Of a process that ends nobody sees the
 * descriptors any more some time before they are closed. */
static int find_shim(const char *path, uint64_t deadline_ns)
{
        uint64_t unseen_ns = clock_monotonic_ns() + UNSEEN_MS * NSEC_PER_MSEC;

        for (;;) {
                enum listener who = listener_of_path(path, deadline_ns);
                _cleanup_close_ int again = -1;
                uint64_t now = clock_monotonic_ns();

                if (who != LISTENER_UNKNOWN)
                        return who == LISTENER_ALIVE;
                if (now >= deadline_ns)
                        return -ETIMEDOUT;
                again = connect_now(path);
                if (again < 0 && (errno == ECONNREFUSED || errno == ENOENT))
                        return 0;
                if (now >= unseen_ns)
                        return 1; /* nobody can be seen, and it is left alone */
                rest();
        }
}

bool socket_is_live(const char *path)
{
        enum look look = look_at(path);

        return look == LOOK_LIVE || (look == LOOK_UNCLEAR && find_shim(path, UINT64_MAX) > 0);
}

int socket_own(int fd)
{
        return listen(fd, SOMAXCONN) < 0 ? -errno : 0;
}

/* ---- Whoever has the name ---- */

/* Without a deadline (UINT64_MAX) in the order of asking. 0 or a negative errno. */
static int lock_within(int fd, uint64_t deadline_ns)
{
        if (deadline_ns == UINT64_MAX)
                return flock(fd, LOCK_EX) < 0 ? -errno : 0;
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return -errno;
                if (clock_monotonic_ns() >= deadline_ns)
                        return -ETIMEDOUT;
                rest();
        }
        return 0;
}

/* The lock goes with the descriptor; a negative errno without one. */
static int lock_directory(const char *path, uint64_t deadline_ns)
{
        char dir[SOCKET_PATH_MAX + 1] = ".";
        const char *slash = strrchr(path, '/');
        size_t len = slash && slash != path ? (size_t)(slash - path) : 1;
        _cleanup_close_ int fd = -1;
        int r;

        if (len > SOCKET_PATH_MAX)
                return -ENAMETOOLONG;
        if (slash)
                memcpy(dir, path, len);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = lock_within(fd, deadline_ns);
        return r < 0 ? r : TAKE_FD(fd);
}

static bool is_name_of(const char *path, int fd)
{
        struct stat name;
        struct stat file;

        return fd >= 0 && lstat(path, &name) == 0 && fstat(fd, &file) == 0 &&
               name.st_dev == file.st_dev && name.st_ino == file.st_ino;
}

static void unlink_socket(const char *path)
{
        struct stat st;

        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                (void)unlink(path);
}

/*
 * 0: no socket has the name (any more), and none gets it as long as the caller has the lock. 1: it
 * is that of a live one.
 */
static int free_name(const char *path, uint64_t deadline_ns, int *ret_lock, struct error *err)
{
        _cleanup_close_ int stale = -1; /* no shim has it; held, so that its number stays */

        for (;;) {
                _cleanup_close_ int lock = lock_directory(path, deadline_ns);
                enum look look;
                int r;

                if (lock == -ETIMEDOUT)
                        return error_set(err, STATUS_DEADLINE_EXCEEDED,
                                         "socket '%s' stays: others had its directory locked until "
                                         "time was up",
                                         path);
                if (lock < 0)
                        return error_errno(err, -lock, "lock the directory of '%s'", path);
                look = look_at(path);
                if (look == LOOK_LIVE)
                        return 1;
                if (look == LOOK_FAILED)
                        return error_errno(err, errno, "look whether '%s' is served", path);
                if (look == LOOK_NOBODY || is_name_of(path, stale)) {
                        unlink_socket(path);
                        *ret_lock = TAKE_FD(lock);
                        return 0;
                }
                fd_close(stale);
                stale = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
                lock = fd_close(lock);
                r = find_shim(path, deadline_ns);
                if (r < 0)
                        return error_set(err, STATUS_DEADLINE_EXCEEDED,
                                         "socket '%s' stays: there was no time to see whether a "
                                         "shim has it",
                                         path);
                if (r > 0)
                        return 1;
        }
}

int socket_remove_stale(const char *path, uint64_t deadline_ns, struct error *err)
{
        _cleanup_close_ int lock = -1;
        enum look look = look_at(path);
        struct stat st;

        /* Mostly there is none, and nobody has to be waited for. */
        if (look == LOOK_LIVE)
                return 1;
        if (look == LOOK_NOBODY && lstat(path, &st) < 0 && errno == ENOENT)
                return 0;
        return free_name(path, deadline_ns, &lock, err);
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
        /* Linux gives the name the mode of the unbound socket (unix_bind_bsd), so there is no
         * moment in which it is wider. */
        if (fchmod(fd, 0600) < 0)
                return error_errno(err, errno, "chmod the socket");
        r = free_name(path, UINT64_MAX, &lock, err);
        if (r != 0) {
                if (r > 0)
                        *ret_fd = -1;
                return r < 0 ? -1 : 0;
        }
        if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
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
