/* SPDX-License-Identifier: Apache-2.0
 *
 * The start helper. It ends at once and leaves the daemon behind: the socket is bound here, so that
 * containerd can connect as soon as it has read the address, whether the daemon is ready yet or
 * not. Nothing is left behind by a failure: no process, socket or file.
 *
 * Every container gets a shim of its own; annotations that would group containers are not read.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"

#include "cmd/containerd-shim-belay-v2/actions.h"
#include "cmd/containerd-shim-belay-v2/input.h"
#include "cmd/containerd-shim-belay-v2/place.h"
#include "cmd/containerd-shim-belay-v2/signals.h"
#include "cmd/containerd-shim-belay-v2/socket.h"
#include "cmd/containerd-shim-belay-v2/spawn.h"

/* containerd 1.x reads this file when it comes back; 2.x can migrate from it. */
#define ADDRESS_FILE "address"

/* Where the socket's directory stands when the caller has chosen it. */
#define SOCKET_DIR_LINK "s"

static int write_address(const char *path, struct error *err)
{
        _cleanup_free_ char *text = str_printf("unix://%s", path);
        int r = text ? file_write_atomic(AT_FDCWD, ADDRESS_FILE, text, strlen(text), 0644)
                     : -ENOMEM;

        return r < 0 ? error_errno(err, -r, "write '" ADDRESS_FILE "'") : 0;
}

static int link_socket_dir(const char *dir, struct error *err)
{
        (void)unlink(SOCKET_DIR_LINK);
        if (symlink(dir, SOCKET_DIR_LINK) < 0)
                return error_errno(err, errno, "symlink '" SOCKET_DIR_LINK "' to '%s'", dir);
        return 0;
}

/* What the caller asked for the daemon once it has a pid. */
static int place_daemon(pid_t pid, const struct options *options, const struct input *input,
                        struct error *err)
{
        if (input->shim_cgroup && place_cgroup(pid, input->shim_cgroup, err) < 0)
                return -1;
        return options->same_oom_score ? 0 : place_oom_score(pid, err);
}

static int print_reply(const struct input *input, const char *path, struct error *err)
{
        _cleanup_free_ char *data = NULL;
        size_t len = 0;
        int r;

        if (reply_encode(input->bootstrap, path, &data, &len, err) < 0)
                return -1;
        r = fd_write_all(STDOUT_FILENO, data, len);
        return r < 0 ? error_errno(err, -r, "write the address to standard output") : 0;
}

static int start_daemon(const struct options *options, const struct input *input, int socket_fd,
                        const char *path, struct error *err)
{
        bool debug = options->debug || input->debug;
        pid_t pid = -1;

        /* The daemon sends its events to where the environment says. */
        if (input->ttrpc_address && str_is_empty(getenv("TTRPC_ADDRESS")) &&
            setenv("TTRPC_ADDRESS", input->ttrpc_address, 1) < 0)
                return error_errno(err, errno, "set TTRPC_ADDRESS");
        if (!str_is_empty(getenv("SCHED_CORE")) && place_sched_core(err) < 0)
                return -1;
        if (daemon_spawn(options, debug, socket_fd, &pid, err) < 0)
                return -1;
        if (place_daemon(pid, options, input, err) == 0 && print_reply(input, path, err) == 0)
                return 0;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return -1;
}

int action_start(const struct options *options, struct error *err)
{
        _cleanup_(input_deinit) struct input input = {0};
        _cleanup_free_ char *path = NULL;
        _cleanup_(socket_name_deinit) struct socket_name name = {.path = NULL};
        _cleanup_close_ int socket_fd = -1;

        /* To die between the fork and the answer would leave a daemon that nobody knows. */
        signal_ignore(SIGPIPE);
        signal_ignore(SIGTERM);
        signal_ignore(SIGINT);
        if (input_read(STDIN_FILENO, options, &input, err) < 0)
                return -1;
        if (socket_path(input.socket_dir, options->address, options->runtime_namespace, options->id,
                        &path, err) < 0)
                return -1;
        if (input.socket_dir && link_socket_dir(input.socket_dir, err) < 0)
                return -1;
        if (socket_listen(path, &socket_fd, err) < 0)
                return -1;
        if (socket_fd >= 0)
                socket_name_init(&name, socket_fd);
        /* Before the daemon is there: it may end, and must find what to clean up, at any time. */
        if (write_address(path, err) == 0) {
                if (socket_fd < 0)
                        return print_reply(&input, path, err); /* the shim of this id runs */
                if (start_daemon(options, &input, socket_fd, path, err) == 0)
                        return 0;
                (void)unlink(ADDRESS_FILE);
        }
        socket_name_remove(&name);
        return -1;
}
