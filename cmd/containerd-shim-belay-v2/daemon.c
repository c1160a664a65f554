/* SPDX-License-Identifier: Apache-2.0
 *
 * See daemon.h. The working directory is the bundle, which may be removed before we end: its path
 * is absolute from here on, and so is the socket's.
 */
#include "cmd/containerd-shim-belay-v2/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "cmd/containerd-shim-belay-v2/crash.h"
#include "cmd/containerd-shim-belay-v2/fds.h"
#include "cmd/containerd-shim-belay-v2/self.h"
#include "cmd/containerd-shim-belay-v2/spawn.h"
#include "version.h"

#define SYSTEMD_HELPER "belay-systemd"

/* The pause before descriptors for the next image are asked for, and twice as long each time that
 * there are none; the last. Calls that go on after a take-over have opened theirs by then. */
#define SPARE_NS     NSEC_PER_SEC
#define SPARE_MAX_NS (64 * NSEC_PER_SEC)

void daemon_init(struct daemon *d, const struct options *options)
{
        *d = (struct daemon){
                .options = options,
                .bundle_fd = -1,
                .reexec = {.image_fd = -1, .before_fd = -1},
        };
        upgrader_init(&d->upgrader);
}

int daemon_arm(struct daemon *d, struct error *err)
{
        if (reexec_init(&d->reexec, d->options, err) < 0 ||
            crash_arm(&d->reexec, &d->vault, err) < 0)
                return -1;
        if (crash_watch_trial(reexec_is_on_trial(&d->reexec) ? CRASH_TRIAL_SECONDS : 0, err) < 0)
                return -1;
        if (reexec_prepare(&d->reexec, err) < 0)
                return -1;
        daemon_clean_environment();
        return 0;
}

/* ---- Opening ---- */

static int open_bundle(struct daemon *d, struct error *err)
{
        d->bundle = getcwd(NULL, 0);
        if (!d->bundle && !*d->options->state)
                return error_errno(err, errno, "find the working directory");
        d->bundle_fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (d->bundle_fd < 0)
                return error_errno(err, errno, "open the working directory");
        return 0;
}

static int open_vault(struct daemon *d, struct error *err)
{
        int fd = -1;

        if (!*d->options->state)
                return vault_new(&d->vault, err);
        fd = parse_fd(d->options->state);
        if (fd < 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "-state '%s' is no descriptor",
                                 d->options->state);
        return vault_open_take(&d->vault, fd, err);
}

int daemon_open(struct daemon *d, struct error *err)
{
        if (open_vault(d, err) < 0)
                return -1;
        reexec_set_state(&d->reexec, vault_fd(d->vault));
        if (open_bundle(d, err) < 0)
                return -1;
        return loop_new(&d->loop, err);
}

/* ---- Signals and upgrades ---- */

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

int daemon_watch(struct daemon *d, struct error *err)
{
        const struct {
                int signo;
                struct loop_signal **ret;
        } signals[] = {
                {SIGTERM, &d->sigterm},
                {SIGINT, &d->sigint},
                {SIGHUP, &d->sighup},
                {SIGUSR1, &d->sigusr1},
        };

        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
                if (loop_signal_new(d->loop, signals[i].signo, LOOP_PRIORITY_EXIT, on_signal, d,
                                    signals[i].ret, err) < 0)
                        return -1;
        }
        return crash_watch(d->loop, err);
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

/* ---- Making ---- */

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

static int make_executors(struct daemon *d, struct error *err)
{
        bool orphans = d->options->orphans;

        if (engine_new(&d->engine, d->loop, d->reaper, err) < 0)
                return -1;
        if (orphans && (prctl(PR_SET_CHILD_SUBREAPER, 0) < 0))
                return error_errno(err, errno, "leave orphans to others");
        if (orphans)
                engine_set_orphans(d->engine);
        d->systemd_helper = self_sibling(d->options->program, SYSTEMD_HELPER);
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

static int make_server(struct daemon *d, struct error *err)
{
        const struct shim_server_options server = {
                .loop = d->loop,
                .reaper = d->reaper,
                .executor = &d->executor,
                .binary_executor = &d->binary_executor,
                .runtime_namespace = d->options->runtime_namespace,
                .id = d->options->id,
                .bundle = d->bundle ? d->bundle : "/",
                .bundle_fd = d->bundle_fd,
                .ttrpc_address = getenv("TTRPC_ADDRESS"),
                .version = BELAY_VERSION " " BELAY_REVISION,
                .vault = d->vault,
                .upgrade_ops = &upgrade_ops,
                .on_closing = on_closing,
                .on_finished = on_finished,
                .userdata = d,
        };

        return shim_server_new(&d->server, &server, err);
}

static void on_spare(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        daemon_spare(userdata);
}

/* Without memory for that the next image finds none. */
void daemon_spare_later(struct daemon *d)
{
        (void)loop_timer_set(d->spare, d->spare_ns);
}

void daemon_spare(struct daemon *d)
{
        if (reexec_spare(&d->reexec))
                return;
        daemon_spare_later(d);
        if (d->spare_ns < SPARE_MAX_NS)
                d->spare_ns *= 2;
}

int daemon_make(struct daemon *d, struct error *err)
{
        size_t size = 0;
        void *notes;

        if (reaper_new(&d->reaper, d->loop, err) < 0)
                return -1;
        notes = vault_region(d->vault, VAULT_EXITS, &size);
        if (reaper_set_notes(d->reaper, notes, size, err) < 0 || make_executors(d, err) < 0)
                return -1;
        d->upgrader.loop = d->loop;
        d->upgrader.reaper = d->reaper;
        d->upgrader.vault = d->vault;
        d->upgrader.reexec = &d->reexec;
        d->upgrader.installed = d->options->program;
        if (make_server(d, err) < 0)
                return -1;
        d->spare_ns = SPARE_NS;
        d->spare = loop_timer_new(d->loop, on_spare, d);
        if (!d->spare)
                return error_no_memory(err);
        reexec_note_own(&d->reexec, vault_fd(d->vault));
        return 0;
}

void daemon_deinit(struct daemon *d)
{
        bool busy = d->server && shim_server_is_busy(d->server);

        socket_name_remove(&d->socket_name);
        shim_server_free(d->server);
        crash_disarm();
        upgrader_deinit(&d->upgrader);
        if (!busy) {
                loop_timer_free(d->spare);
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
