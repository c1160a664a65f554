/* SPDX-License-Identifier: Apache-2.0
 *
 * A process through an execve(2): see reaper.h. An exit that an image has noted (notes.c) is found
 * by whoever watches; so a child that is gone without a note was reaped by somebody else, or by a
 * version that had no notes, and its pidfd is all that may know of its end.
 */
#include "pkg/base/clock.h"
#include "pkg/base/kept.h"
#include "pkg/reaper/reaper.h"

struct reaper_saved reaper_save(pid_t pid, int pidfd, bool is_orphan,
                                const struct reaper_exit *exit)
{
        struct reaper_saved saved = {
                .pid = pid,
                .pidfd = kept_number(pidfd),
                .is_orphan = is_orphan,
                .has_exited = exit != NULL,
        };

        if (exit) {
                saved.code = exit->code;
                saved.status = exit->status;
                saved.at_ns = (int64_t)clock_timespec_ns(&exit->at);
        }
        return saved;
}

int reaper_look_at_saved(const struct reaper *reaper, const struct reaper_saved *saved,
                         int *ret_pidfd, struct reaper_exit *ret_exit, struct error *err)
{
        int pidfd;

        if (saved->pid <= 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "no pid");
        if (kept_look_pidfd(saved->pidfd, saved->pid, "pidfd", &pidfd, err) < 0)
                return -1;
        *ret_pidfd = pidfd;
        if (saved->has_exited) {
                *ret_exit = (struct reaper_exit){
                        .pid = saved->pid,
                        .code = saved->code,
                        .status = saved->status,
                        .at = clock_ns_timespec((uint64_t)saved->at_ns),
                };
                return 1;
        }
        if (saved->is_orphan || reaper_find(reaper, saved->pid) != REAPER_STRANGER)
                return 0;
        (void)reaper_read_exit(saved->pid, pidfd, ret_exit);
        return 1;
}
