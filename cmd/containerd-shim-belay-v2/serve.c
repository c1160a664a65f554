/* SPDX-License-Identifier: Apache-2.0
 *
 * The actions of the daemon: `serve`, which ends when the service says that nothing is left to
 * serve, and `check-state`, which does as much of a take-over as has no effect.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "cmd/containerd-shim-belay-v2/actions.h"
#include "cmd/containerd-shim-belay-v2/daemon.h"
#include "cmd/containerd-shim-belay-v2/memory.h"
#include "cmd/containerd-shim-belay-v2/signals.h"
#include "shim/log.h"
#include "version.h"

#define LOG_FILE "log"

/* Rest after which memory is given back: longer than between the calls of one operation. */
#define IDLE_NS NSEC_PER_SEC

/*
 * stderr becomes containerd's log, so that the last words of a crash arrive there. A FIFO is opened
 * for reading, too: then the open succeeds, and lines are kept, while containerd is away. Lines for
 * which there is no room are dropped by the logger.
 */
static void open_log(const struct options *options)
{
        _cleanup_close_ int fd = open(LOG_FILE, O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC);

        if (fd >= 0)
                (void)dup2(fd, STDERR_FILENO);
        log_open(STDERR_FILENO, options->debug ? LOG_DEBUG : LOG_INFO, options->id,
                 options->runtime_namespace, LOG_RUNTIME);
}

/* The listening socket: one of our own for -socket, otherwise what `start` has left on 3. */
static int take_socket(const struct options *options, int *ret_fd, struct error *err)
{
        int listening = 0;
        socklen_t len = sizeof(listening);

        if (*options->socket) {
                if (socket_listen(options->socket, ret_fd, err) < 0)
                        return -1;
                if (*ret_fd < 0)
                        return error_set(err, STATUS_ALREADY_EXISTS, "'%s' is being served",
                                         options->socket);
                return 0;
        }
        if (getsockopt(SPAWN_SOCKET_FD, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 ||
            !listening)
                return error_set(err, STATUS_FAILED_PRECONDITION,
                                 "no listening socket on descriptor %d: run by containerd?",
                                 SPAWN_SOCKET_FD);
        if (fcntl(SPAWN_SOCKET_FD, F_SETFD, FD_CLOEXEC) < 0)
                return error_errno(err, errno, "descriptor %d", SPAWN_SOCKET_FD);
        *ret_fd = SPAWN_SOCKET_FD;
        return 0;
}

static void on_idle(void *userdata)
{
        (void)userdata;
        memory_trim();
}

static int daemon_listen(struct daemon *d, struct error *err)
{
        int fd = -1;

        if (take_socket(d->options, &fd, err) < 0)
                return -1;
        socket_name_init(&d->socket_name, fd);
        if (shim_server_listen_take(d->server, fd, err) < 0) {
                fd_close(fd);
                return -1;
        }
        reaper_restored(d->reaper); /* there was nothing to be restored */
        daemon_spare(d);
        return 0;
}

/* From here on these wait for their signalfds. */
static void block_signals(void)
{
        sigset_t mask;

        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGTERM);
        (void)sigaddset(&mask, SIGINT);
        (void)sigaddset(&mask, SIGUSR1);
        (void)sigaddset(&mask, SIGHUP);
        (void)sigaddset(&mask, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL);
        signals_ignore_others();
}

int action_serve(const struct options *options, struct error *err)
{
        struct daemon d;
        int r;

        block_signals();
        memory_tune();
        open_log(options);
        daemon_init(&d, options);
        r = daemon_arm(&d, err);
        if (r == 0)
                r = daemon_open(&d, err);
        if (r == 0)
                r = daemon_watch(&d, err);
        if (r == 0)
                r = daemon_make(&d, err);
        if (r == 0)
                r = *options->state ? daemon_take_over(&d, err) : daemon_listen(&d, err);
        if (r < 0)
                daemon_fall_back(&d, err);
        if (r == 0) {
                loop_on_idle(d.loop, IDLE_NS, on_idle, NULL);
                r = loop_run(d.loop, err);
        }
        if (r < 0)
                log_error("shim ends: %s", err->msg);
        daemon_deinit(&d);
        return r;
}

int action_check_state(const struct options *options, struct error *err)
{
        struct daemon d;
        int r;

        block_signals();
        log_open(STDERR_FILENO, LOG_ERROR, options->id, options->runtime_namespace, LOG_RUNTIME);
        if (!*options->state)
                return error_set(err, STATUS_INVALID_ARGUMENT, "-state is missing");
        daemon_init(&d, options);
        r = daemon_open(&d, err);
        if (r == 0)
                r = daemon_make(&d, err);
        if (r == 0)
                r = shim_server_restore(d.server, err);
        if (r < 0)
                (void)printf("%s\n", err->msg);
        else
                (void)printf(CHECK_STATE_PASSED BELAY_VERSION " " BELAY_REVISION "\n");
        (void)fflush(stdout);
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS); /* nothing of it is ours to take apart */
}
