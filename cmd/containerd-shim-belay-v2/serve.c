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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/fd.h"
#include "pkg/base/str.h"
#include "pkg/engine/engine.h"
#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"
#include "pkg/state/vault.h"

#include "cmd/containerd-shim-belay-v2/actions.h"
#include "cmd/containerd-shim-belay-v2/crash.h"
#include "cmd/containerd-shim-belay-v2/memory.h"
#include "cmd/containerd-shim-belay-v2/reexec.h"
#include "cmd/containerd-shim-belay-v2/self.h"
#include "cmd/containerd-shim-belay-v2/signals.h"
#include "cmd/containerd-shim-belay-v2/socket.h"
#include "cmd/containerd-shim-belay-v2/spawn.h"
#include "cmd/containerd-shim-belay-v2/upgrade.h"
#include "shim/executor_engine.h"
#include "shim/executor_runc.h"
#include "shim/log.h"
#include "shim/server.h"
#include "version.h"

#define LOG_FILE "log"

#define SYSTEMD_HELPER "belay-systemd"

/* The field `runtime` of every line: what operators search for. */
#define LOG_RUNTIME "io.containerd.belay.v2"

/* Rest after which memory is given back: longer than between the calls of one operation. */
#define IDLE_NS NSEC_PER_SEC

/* Everything that lives as long as the daemon. */
struct daemon {
        char *bundle;
        int bundle_fd;
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
        struct loop_signal *sighup;
        struct vault *vault;
        struct reexec reexec;
        struct upgrader upgrader;
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
        else if (signo == SIGHUP)
                shim_server_upgrade(d->server);
        else
                shim_server_stop(d->server, signo == SIGINT ? "SIGINT" : "SIGTERM");
}

static int daemon_watch_signals(struct daemon *d, struct error *err)
{
        if (loop_signal_new(d->loop, SIGTERM, LOOP_PRIORITY_EXIT, on_signal, d, &d->sigterm, err) <
                    0 ||
            loop_signal_new(d->loop, SIGINT, LOOP_PRIORITY_EXIT, on_signal, d, &d->sigint, err) <
                    0 ||
            loop_signal_new(d->loop, SIGHUP, LOOP_PRIORITY_EXIT, on_signal, d, &d->sighup, err) < 0)
                return -1;
        return loop_signal_new(d->loop, SIGUSR1, LOOP_PRIORITY_EXIT, on_signal, d, &d->sigusr1,
                               err);
}

static int check_binary(const char *path, void (*fn)(const struct error *err, void *userdata),
                        void *userdata, void *owner, struct error *err)
{
        struct daemon *d = owner;

        return upgrader_check(&d->upgrader, path, fn, userdata, err);
}

static void execute_binary(const char *path, void *owner, struct error *err)
{
        struct daemon *d = owner;

        (void)path;
        upgrader_execute(&d->upgrader, err);
}

static const struct shim_upgrade_ops upgrade_ops = {
        .check = check_binary,
        .execute = execute_binary,
};

/* A new vault, or that of the process image before. */
static int open_vault(struct daemon *d, const struct options *options, struct error *err)
{
        int fd = -1;

        if (!*options->state)
                return vault_new(&d->vault, err);
        fd = reexec_parse_fd(options->state);
        if (fd < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "-state '%s' is no descriptor",
                                 options->state);
        return vault_open_take(&d->vault, fd, err);
}

static int make_executors(struct daemon *d, const struct options *options, struct error *err)
{
        if (engine_new(&d->engine, d->loop, d->reaper, err) < 0)
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
        return 0;
}

/* Everything but what it serves. */
static int daemon_init(struct daemon *d, const struct options *options, bool dry_run,
                       struct error *err)
{
        struct shim_server_options server = {
                .executor = &d->executor,
                .binary_executor = &d->binary_executor,
                .runtime_namespace = options->runtime_namespace,
                .id = options->id,
                .ttrpc_address = getenv("TTRPC_ADDRESS"),
                .version = BELAY_VERSION " " BELAY_REVISION,
                .upgrade_ops = &upgrade_ops,
                .dry_run = dry_run,
                .on_closing = on_closing,
                .on_finished = on_finished,
                .userdata = d,
        };
        size_t size = 0;
        void *notes;

        upgrader_init(&d->upgrader);
        /* Of a bundle that was removed, an earlier process of this shim knows the path. */
        d->bundle = getcwd(NULL, 0);
        if (!d->bundle && !*options->state)
                return error_errno(err, errno, "find the working directory");
        d->bundle_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (d->bundle_fd < 0)
                return error_errno(err, errno, "open the working directory");
        if (open_vault(d, options, err) < 0 || loop_new(&d->loop, err) < 0 ||
            reaper_new(&d->reaper, d->loop, err) < 0)
                return -1;
        notes = vault_region(d->vault, VAULT_EXITS, &size);
        if (reaper_set_notes(d->reaper, notes, size, err) < 0 ||
            make_executors(d, options, err) < 0)
                return -1;
        server.loop = d->loop;
        server.reaper = d->reaper;
        server.vault = d->vault;
        server.bundle = d->bundle ? d->bundle : "/";
        server.bundle_fd = d->bundle_fd;
        return shim_server_new(&d->server, &server, err);
}

/* For what may come: a signal, an upgrade, a crash. */
static int daemon_arm(struct daemon *d, const struct options *options, struct error *err)
{
        if (reexec_init(&d->reexec, options, err) < 0)
                return -1;
        daemon_clean_environment();
        reexec_set_state(&d->reexec, vault_fd(d->vault));
        d->upgrader.loop = d->loop;
        d->upgrader.reaper = d->reaper;
        d->upgrader.vault = d->vault;
        d->upgrader.reexec = &d->reexec;
        d->upgrader.installed = options->program;
        if (crash_arm(&d->reexec, d->vault, d->loop, err) < 0)
                return -1;
        return daemon_watch_signals(d, err);
}

static int daemon_listen(struct daemon *d, const struct options *options, struct error *err)
{
        int fd = -1;

        if (take_socket(options, &fd, err) < 0)
                return -1;
        socket_name_init(&d->socket_name, fd);
        if (shim_server_listen_take(d->server, fd, err) < 0) {
                fd_close(fd);
                return -1;
        }
        return 0;
}

static bool is_own_image(pid_t pid)
{
        char path[32];
        struct stat own;
        struct stat other;

        (void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
        return stat("/proc/self/exe", &own) == 0 && stat(path, &other) == 0 &&
               own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

/*
 * After a crash: what a job had made that nobody waits for any more. A stage, or a process on its
 * way to execve(2), runs our own image. Where the container's processes cannot become ours as
 * orphans, every child is one that was made.
 */
static void kill_leftovers(const struct daemon *d)
{
        _cleanup_free_ pid_t *pids = NULL;
        size_t n = 0;

        if (reaper_strangers(d->reaper, &pids, &n) < 0)
                return;
        for (size_t i = 0; i < n; i++) {
                if (is_own_image(pids[i]) || shim_server_owns_children(d->server))
                        (void)kill(pids[i], SIGKILL);
        }
}

static void clean_up_after_crash(struct daemon *d, const struct options *options)
{
        struct error err = ERROR_INIT;
        bool killed;
        pid_t pid;

        kill_leftovers(d);
        if (!shim_server_has_container(d->server) &&
            engine_cleanup(d->bundle ? d->bundle : ".", options->id, &pid, &killed, &err) < 0)
                log_error("clean up after the crash: %s", err.msg);
}

/* Goes on where another process image has stopped. */
static int daemon_take_over(struct daemon *d, const struct options *options, struct error *err)
{
        char reason[VAULT_REASON_MAX];

        vault_reason(d->vault, reason);
        if (*reason)
                log_error("%s", reason);
        if (shim_server_restore(d->server, err) < 0)
                return -1;
        socket_name_init(&d->socket_name, shim_server_listener(d->server));
        reexec_close_unclaimed();
        reaper_restored(d->reaper);
        if (!shim_server_was_upgraded(d->server))
                clean_up_after_crash(d, options);
        reaper_poll(d->reaper);
        log_info("this is image %llu of the shim, " BELAY_VERSION " " BELAY_REVISION,
                 (unsigned long long)vault_generation(d->vault));
        return 0;
}

static void daemon_deinit(struct daemon *d)
{
        bool busy = d->server && shim_server_is_busy(d->server);

        socket_name_remove(&d->socket_name);
        shim_server_free(d->server);
        crash_disarm();
        upgrader_deinit(&d->upgrader);
        if (!busy) {
                engine_free(d->engine);
                reaper_free(d->reaper);
                loop_signal_free(d->sigusr1);
                loop_signal_free(d->sighup);
                loop_signal_free(d->sigint);
                loop_signal_free(d->sigterm);
                loop_free(d->loop);
        }
        vault_free(d->vault);
        reexec_deinit(&d->reexec);
        free(d->systemd_helper);
        fd_close(d->bundle_fd);
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
        (void)sigaddset(&mask, SIGHUP);
        (void)sigaddset(&mask, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &mask, NULL);
        signal_ignore(SIGPIPE);
}

/* The present binary cannot take over: the one before goes on, and says why. Does not return. */
static void fall_back(const struct options *options, const struct daemon *d,
                      const struct error *why)
{
        struct reexec reexec;
        struct error err = ERROR_INIT;
        int image_fd = reexec_parse_fd(options->fallback);

        log_error("take over: %s; the binary before goes on", why->msg);
        vault_set_reason(d->vault, why->msg);
        if (image_fd >= 0 && reexec_init(&reexec, options, &err) == 0) {
                reexec_set_state(&reexec, vault_fd(d->vault));
                (void)reexec_now(&reexec, image_fd, false);
        }
        log_error("execute the binary before: %s", strerror(errno));
}

int action_serve(const struct options *options, struct error *err)
{
        struct daemon d = {.bundle_fd = -1};
        int r;

        block_signals();
        memory_tune();
        open_log(options);
        r = daemon_init(&d, options, false, err);
        if (r == 0)
                r = daemon_arm(&d, options, err);
        if (r == 0)
                r = *options->state ? daemon_take_over(&d, options, err)
                                    : daemon_listen(&d, options, err);
        if (r < 0 && *options->fallback && d.vault)
                fall_back(options, &d, err);
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
        struct daemon d = {.bundle_fd = -1};
        int r;

        block_signals();
        log_open(STDERR_FILENO, LOG_ERROR, options->id, options->runtime_namespace, LOG_RUNTIME);
        if (!*options->state)
                return error_set(err, STATUS_INVALID_ARGUMENT, "-state is missing");
        r = daemon_init(&d, options, true, err);
        if (r == 0)
                r = shim_server_restore(d.server, err);
        if (r < 0)
                (void)printf("%s\n", err->msg);
        (void)fflush(stdout);
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS); /* nothing of it is ours to take apart */
}
