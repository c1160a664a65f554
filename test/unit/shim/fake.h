/* SPDX-License-Identifier: Apache-2.0
 *
 * An executor that runs nothing: a test decides when each of its jobs ends and how each of its
 * processes does. Completions run from the loop, as the interface demands.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/cgroup/cgroup.h"
#include "pkg/loop/loop.h"

#include "shim/executor.h"

struct fake_process;

enum fake_job {
        FAKE_CREATE,
        FAKE_START,
        FAKE_EXEC,
        FAKE_PAUSE,
        FAKE_RESUME,
        FAKE_UPDATE,
        FAKE_KILL_ALL,
        FAKE_REMOVE,
        FAKE_LIST_PIDS, /* the pid 1 and that of the test itself */
        _FAKE_JOB_MAX
};

struct fake {
        struct executor executor;
        struct loop *loop;
        struct list jobs;
        struct list processes;
        char events_dir[64]; /* that of its cgroup's memory.events; "": it has none */
        struct cgroup cgroup;

        /* What the test sets. */
        bool hold[_FAKE_JOB_MAX];        /* jobs of this kind end only by fake_release() */
        const char *fail[_FAKE_JOB_MAX]; /* jobs of this kind fail with this text */
        int fail_code;                   /* with this code; 0: UNKNOWN */
        bool refuse[_FAKE_JOB_MAX];      /* the call itself fails */
        bool private_pid_namespace;
        bool is_created;         /* of a container that is restored: its init still waits */
        bool exec_exits_at_once; /* status 0, before the completion has run */
        bool abort_is_late;      /* an aborted job succeeds nevertheless */
        bool bad_terminal;       /* give a descriptor that is no terminal's */

        /* What it can look at. */
        int n_calls[_FAKE_JOB_MAX];
        int last_signal;   /* of process_signal() */
        int last_kill_all; /* signal of kill_all() */
        int n_containers;  /* that were not freed */
        int n_processes;   /* likewise */
        int n_aborted;
        char last_spec[256]; /* of exec() and update() */
        int slave;           /* of the last terminal; -1: none */
        struct fake_process *init;
        struct fake_process *exec; /* the last one */
};

void fake_init(struct fake *fake, struct loop *loop);
void fake_deinit(struct fake *fake);

/* Ends the held jobs of a kind, from the loop. */
void fake_release(struct fake *fake, enum fake_job job);

/* Tells of the init of a held Create, which is not ready yet; 0: there is none. */
pid_t fake_show_init(struct fake *fake);

/* From the next Create on its container has a cgroup, with memory, in this directory, which is the
 * test's. The counters are set by fake_oom(): of OOMs at the container's own level, and of kills.
 */
void fake_cgroup(struct fake *fake, const char *dir);

/* A freezer is in that directory, too, and says that it is to be frozen: has it been told
 * otherwise? */
bool fake_is_thawed(const struct fake *fake);

/* What is in the cgroup, by its own list: "1\n2\n". */
void fake_procs(const struct fake *fake, const char *text);
void fake_oom(const struct fake *fake, unsigned hits, unsigned kills);

/* The process ends now: as waitid(2) would say it. */
void fake_exit(struct fake_process *process, int code, int status);

/* The nth one that has not ended, or the last of them; NULL when all have. */
struct fake_process *fake_live(const struct fake *fake, unsigned n);

/* Signals end a process of the fake only by this. */
pid_t fake_pid(const struct fake_process *process);
