/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon: one loop that owns the reaper, the engine and the task service, made in that order
 * and freed in the reverse one. It ends when the service says that nothing is left to serve.
 *
 * The working directory is the bundle, which may be removed before we end: its path is absolute
 * from here on, and so is the socket's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/engine/engine.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"

#include "cmd/containerd-shim-belay-v2/actions.h"
#include "cmd/containerd-shim-belay-v2/memory.h"
#include "cmd/containerd-shim-belay-v2/self.h"
#include "cmd/containerd-shim-belay-v2/signals.h"
#include "cmd/containerd-shim-belay-v2/socket.h"
#include "cmd/containerd-shim-belay-v2/spawn.h"
#include "shim/executor_engine.h"
#include "shim/executor_runc.h"
#include "shim/log.h"
#include "shim/server.h"

#define LOG_FILE "log"

#define SYSTEMD_HELPER "belay-systemd"

/* The field `runtime` of every line: what operators search for. */
#define LOG_RUNTIME "io.containerd.belay.v2"

/* Rest after which memory is given back: longer than between the calls of one operation. */
#define IDLE_NS NSEC_PER_SEC

/* Everything that lives as long as the daemon. */
struct daemon {
        char *bundle;
        char *systemd_helper;
        struct socket_name socket_name;
        struct loop *loop;
        struct reaper *reaper;
        struct engine *engine;
        struct executor executor;
        struct executor_runc runc;
        struct executor binary_executor;
        struct shim_server *server;
        struct loop_signal *sigterm;
        struct loop_signal *sigint;
        struct loop_signal *sigusr1;
};

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

static void on_closing(void *userdata)
{
        struct daemon *d = userdata;

        socket_name_remove(&d->socket_name);
}

static void on_finished(void *userdata)
{
        struct daemon *d = userdata;

        loop_quit(d->loop);
}

static void on_idle(void *userdata)
{
        (void)userdata;
        memory_trim();
}

static void on_signal(int signo, void *userdata)
{
        struct daemon *d = userdata;

        if (signo == SIGUSR1)
                shim_server_dump(d->server);
        else
                shim_server_stop(d->server, signo == SIGINT ? "SIGINT" : "SIGTERM");
}

static int daemon_watch_signals(struct daemon *d, struct error *err)
{
        if (loop_signal_new(d->loop, SIGTERM, LOOP_PRIORITY_EXIT, on_signal, d, &d->sigterm, err) <
                    0 ||
            loop_signal_new(d->loop, SIGINT, LOOP_PRIORITY_EXIT, on_signal, d, &d->sigint, err) < 0)
                return -1;
        return loop_signal_new(d->loop, SIGUSR1, LOOP_PRIORITY_EXIT, on_signal, d, &d->sigusr1,
                               err);
}

static int daemon_init(struct daemon *d, const struct options *options, struct error *err)
{
        struct shim_server_options server = {
                .executor = &d->executor,
                .binary_executor = &d->binary_executor,
                .runtime_namespace = options->runtime_namespace,
                .id = options->id,
                .ttrpc_address = getenv("TTRPC_ADDRESS"),
                .on_closing = on_closing,
                .on_finished = on_finished,
                .userdata = d,
        };
        _cleanup_close_ int fd = -1;

        d->bundle = getcwd(NULL, 0);
        if (!d->bundle)
                return error_errno(err, errno, "find the working directory");
        if (loop_new(&d->loop, err) < 0 || reaper_new(&d->reaper, d->loop, err) < 0 ||
            engine_new(&d->engine, d->loop, d->reaper, err) < 0)
                return -1;
        if (options->orphans && (prctl(PR_SET_CHILD_SUBREAPER, 0) < 0))
                return error_errno(err, errno, "leave orphans to others");
        if (options->orphans)
                engine_set_orphans(d->engine);
        d->systemd_helper = self_sibling(options->program, SYSTEMD_HELPER);
        engine_set_systemd_helper(d->engine, d->systemd_helper);
        executor_engine_init(&d->executor, d->engine);
        d->runc = (struct executor_runc){
                .loop = d->loop,
                .reaper = d->reaper,
                .engine = d->engine,
        };
        executor_runc_init(&d->binary_executor, &d->runc);
        server.loop = d->loop;
        server.reaper = d->reaper;
        server.bundle = d->bundle;
        if (shim_server_new(&d->server, &server, err) < 0 || daemon_watch_signals(d, err) < 0)
                return -1;
        if (take_socket(options, &fd, err) < 0)
                return -1;
        socket_name_init(&d->socket_name, fd);
        if (shim_server_listen_take(d->server, fd, err) < 0)
                return -1;
        fd = -1;
        return 0;
}

static void daemon_deinit(struct daemon *d)
{
        bool busy = d->server && shim_server_is_busy(d->server);

        socket_name_remove(&d->socket_name);
        shim_server_free(d->server);
        if (!busy) {
                engine_free(d->engine);
                reaper_free(d->reaper);
                loop_signal_free(d->sigusr1);
                loop_signal_free(d->sigint);
                loop_signal_free(d->sigterm);
                loop_free(d->loop);
        }
        free(d->systemd_helper);
        free(d->bundle);
}

/* From here on these wait for their signalfds. */
static void block_signals(void)
{
        sigset_t mask;

        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGTERM);
        (void)sigaddset(&mask, SIGINT);
        (void)sigaddset(&mask, SIGUSR1);
        (void)sigaddset(&mask, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL);
        signal_ignore(SIGPIPE);
}

int action_serve(const struct options *options, struct error *err)
{
        struct daemon d = {0};
        int r;

        block_signals();
        memory_tune();
        daemon_clean_environment();
        open_log(options);
        r = daemon_init(&d, options, err);
        if (r == 0) {
                loop_on_idle(d.loop, IDLE_NS, on_idle, NULL);
                r = loop_run(d.loop, err);
        }
        if (r < 0)
                log_error("shim ends: %s", err->msg);
        daemon_deinit(&d);
        return r;
}
