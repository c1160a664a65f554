/* SPDX-License-Identifier: Apache-2.0
 *
 * One process image takes over from another: after an upgrade, on trial, or after a crash. Up to
 * one point nothing that it does has an effect outside of its own memory, and descriptors that it
 * closes are held (held.h). So whatever fails until then, the image before can be executed again
 * and finds all as it was. Behind that point nothing fails.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "pkg/base/cleanup.h"

#include "cmd/containerd-shim-belay-v2/daemon.h"
#include "shim/log.h"
#include "version.h"

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

static void clean_up_after_crash(struct daemon *d)
{
        struct error err = ERROR_INIT;
        bool killed;
        pid_t pid;

        kill_leftovers(d);
        if (!shim_server_has_container(d->server) &&
            engine_cleanup(d->bundle ? d->bundle : ".", d->options->id, &pid, &killed, &err) < 0)
                log_error("clean up after the crash: %s", err.msg);
}

/* Of an image that has passed its trial there is none; else it is why this one runs. */
static void tell_reason(const struct daemon *d)
{
        char reason[VAULT_REASON_MAX];

        vault_reason(d->vault, reason);
        if (*reason)
                log_error("%s", reason);
}

int daemon_take_over(struct daemon *d, struct error *err)
{
        if (shim_server_restore(d->server, err) < 0)
                return -1;
        /* From here on there is no way back. */
        if (reexec_is_on_trial(&d->reexec))
                vault_set_reason(d->vault, "");
        reexec_passed(&d->reexec);
        tell_reason(d);
        shim_server_resume(d->server);
        socket_name_init(&d->socket_name, shim_server_listener(d->server));
        reexec_close_unclaimed();
        reaper_restored(d->reaper);
        if (!shim_server_was_upgraded(d->server))
                clean_up_after_crash(d);
        reaper_poll(d->reaper);
        log_info("this is image %llu of the shim, " BELAY_VERSION " " BELAY_REVISION,
                 (unsigned long long)vault_generation(d->vault));
        return 0;
}

void daemon_fall_back(struct daemon *d, const struct error *why)
{
        int errnum;

        if (!reexec_is_on_trial(&d->reexec))
                return;
        log_error("take over: %s; the binary before goes on", why->msg);
        if (d->vault)
                vault_set_reason(d->vault, why->msg);
        errnum = reexec_again(&d->reexec);
        log_error("execute the binary before: %s", strerror(errnum));
}
