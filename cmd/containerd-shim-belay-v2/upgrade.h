/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon does for an upgrade of the service (shim/upgrade.h): it tries a binary out in a
 * child, and executes it. The image that was tried is the one that is executed, whatever has become
 * of its path meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "pkg/loop/loop.h"
#include "pkg/reaper/reaper.h"
#include "pkg/state/vault.h"

#include "cmd/containerd-shim-belay-v2/reexec.h"
#include "shim/server.h"

enum upgrader_step {
        UPGRADER_ASKS,  /* -v */
        UPGRADER_TRIES, /* check-state */
};

struct upgrader {
        struct loop *loop;
        struct reaper *reaper;
        struct vault *vault;
        struct reexec *reexec;
        const char *installed; /* the path that the shim was started from */

        int image_fd;  /* of the binary that was tried, or is */
        int report_fd; /* what the child has to say */
        enum upgrader_step step;
        bool is_over_time; /* so the child was killed */
        pid_t pid;
        struct reaper_watch *watch;
        struct loop_timer *timer;
        void (*fn)(const struct error *err, void *userdata);
        void *userdata;
};

void upgrader_init(struct upgrader *u);
void upgrader_deinit(struct upgrader *u);

int upgrader_check(struct upgrader *u, const char *path,
                   void (*fn)(const struct error *err, void *userdata), void *userdata,
                   struct error *err);
void upgrader_execute(struct upgrader *u, struct error *err);
