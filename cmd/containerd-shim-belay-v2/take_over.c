/* SPDX-License-Identifier: Apache-2.0
 *
 * One process image takes over from another: after an upgrade, on trial, or after a crash. Up to
 * one point nothing that it does has an effect outside of its own memory, and descriptors that it
 * closes are held (held.h). So whatever fails until then, the image before can be executed again
 * and finds all as it was. Behind that point nothing fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/chaos.h"
#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"

#include "cmd/containerd-shim-belay-v2/crash.h"
#include "cmd/containerd-shim-belay-v2/daemon.h"
#include "cmd/containerd-shim-belay-v2/fds.h"
#include "cmd/containerd-shim-belay-v2/leftovers.h"
#include "shim/clean_up.h"
#include "shim/log.h"
#include "version.h"

/* How long a runtime binary may take for its part. */
enum { RUNTIME_CLEANUP_MS = 3000 };

/* Whoever was making it: a Create that is made again must find nothing. */
static void undo_create(const struct daemon *d)
{
        const char *dir = d->bundle ? d->bundle : ".";
        uint64_t deadline_ns = clock_monotonic_ns() + RUNTIME_CLEANUP_MS * NSEC_PER_MSEC;
        struct error err = ERROR_INIT;
        bool killed;
        pid_t pid;

        if (!shim_server_had_container(d->server) &&
            shim_clean_up_runtime(dir, d->options->runtime_namespace, d->options->id, deadline_ns,
                                  &err) < 0)
                log_error("clean up after the crash: %s", err.msg);
        if (engine_cleanup(dir, d->options->id, NULL, &pid, &killed, &err) < 0)
                log_error("clean up after the crash: %s", err.msg);
        shim_server_forget_create(d->server);
}

static void clean_up_after_crash(struct daemon *d, struct leftovers *leftovers)
{
        leftovers_kill(leftovers, d->reaper, shim_server_owns_children(d->server));
        shim_server_let_go(d->server);
        if (!shim_server_has_container(d->server))
                undo_create(d);
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
        _cleanup_(leftovers_deinit) struct leftovers leftovers = {.n = 0};

        if (shim_server_restore(d->server, err) < 0)
                return -1;
        /* From here on there is no way back. */
        if (reexec_is_on_trial(&d->reexec)) {
                (void)crash_watch_trial(0, NULL);
                vault_set_reason(d->vault, "");
        }
        reexec_passed(&d->reexec);
        vault_own(d->vault);
        tell_reason(d);
        /* It may be stopping, and then the name goes at once. */
        socket_name_init(&d->socket_name, shim_server_listener(d->server));
        (void)socket_own(shim_server_listener(d->server)); /* an older version has not said so */
        shim_server_resume(d->server);
        if (!shim_server_was_upgraded(d->server))
                leftovers_claim(&leftovers);
        reexec_close_unclaimed();
        reaper_restored(d->reaper);
        if (!shim_server_was_upgraded(d->server))
                clean_up_after_crash(d, &leftovers);
        CHAOS_POINT("cleaned-up");
        shim_server_hear(d->server);
        daemon_spare_later(d);
        CHAOS_POINT("heard");
        reaper_poll(d->reaper);
        log_info("this is image %llu of the shim, " BELAY_VERSION " " BELAY_REVISION,
                 (unsigned long long)vault_generation(d->vault));
        return 0;
}

/* For the image before, and its caller. The vault may not have been opened yet. */
static void leave_reason(struct daemon *d, const char *reason)
{
        int fd = parse_fd(d->options->state);

        if (!d->vault && vault_open_take(&d->vault, fd, NULL) < 0)
                return;
        vault_set_reason(d->vault, reason);
}

/* After a crash, and so many re-execs: what there is none of now may be there a little later. The
 * last of five begins 1.5 s after the first has failed. */
static void pause_before_try(unsigned n_reexecs)
{
        enum { FIRST_MS = 100 };

        (void)poll(NULL, 0, (FIRST_MS << n_reexecs) / 4);
}

/*
 * What this image lacks after a crash the next one may find, and it is followed as a crash is, as
 * often. The vault's reason stays that of the crash; this one's own is in the log. Returns what
 * number of re-exec this one is, or 0 if it may not be.
 */
static unsigned count_try(const struct daemon *d)
{
        int fd = parse_fd(d->options->state);

        return fd >= 0 ? vault_count_reexec_of(fd, clock_monotonic_ns()) : 0;
}

void daemon_fall_back(struct daemon *d, const struct error *why)
{
        bool is_on_trial = reexec_is_on_trial(&d->reexec);
        unsigned n = is_on_trial ? 0 : count_try(d);
        int errnum;

        if (!is_on_trial && n == 0)
                return;
        log_error("take over: %s; %s", why->msg,
                  is_on_trial ? "the binary before goes on" : "trying again");
        if (is_on_trial)
                leave_reason(d, why->msg);
        else
                pause_before_try(n);
        /* The vault goes along, also where this image could not even list what it came with. */
        (void)fcntl(parse_fd(d->options->state), F_SETFD, 0);
        errnum = reexec_again(&d->reexec);
        log_error("execute the binary %s: %s", is_on_trial ? "before" : "again", strerror(errnum));
}
