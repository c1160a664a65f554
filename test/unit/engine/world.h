/* SPDX-License-Identifier: Apache-2.0
 *
 * A loop, a reaper, an engine and a busybox bundle (box.h), for tests of the engine as the shim
 * uses it. The end of a test checks that nothing is left: no descriptor, no child, no cgroup of the
 * test's, no mount in the bundle.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/engine/engine.h"

#include "test/unit/engine/box.h"

enum { WORLD_SKIP = 77 };

struct world_exit {
        bool has_come;
        unsigned order; /* among all that the engine has told */
        struct reaper_exit exit;
};

struct world_result {
        bool has_come;
        unsigned order;
        struct error err;
};

struct world {
        struct loop *loop;
        struct reaper *reaper;
        struct engine *engine;
        struct box box;
        char cgroup[64]; /* linux.cgroupsPath */
        char scope[64];  /* with systemd_cgroup: the path of its cgroup */
        char helper[80]; /* its path, which the engine keeps a pointer to */
        bool systemd_cgroup;
        unsigned order;
        int n_fds; /* open before the engine did anything */
        int out;   /* a file: stdout and stderr of containers */
        int null;
        int stdio[3];

        struct engine_mount *mounts; /* for the next create */
        size_t n_mounts;

        struct engine_job *job;
        struct engine_container *container;
        struct engine_process *init;
        struct engine_process *exec;
        int terminal;
        struct world_result created, started, execed, killed, updated, deleted;
        struct world_exit init_exit, exec_exit;
        char warning[ERROR_TEXT_MAX]; /* the last one */
        bool hook_runs;               /* something has been written to the bundle's FIFO */
};

/* From main(): false if these tests cannot run here. */
bool world_possible(void);

int world_set_up(void **state);
int world_tear_down(void **state);

/* Its part: the loop, the reaper and the engine, and how many descriptors are open then. */
void world_open(struct world *w);

/* Has the exit of w->init, or w->exec, told to the world; world_create() and world_try_exec() do.
 */
void world_await_init(struct world *w);
void world_await_exec(struct world *w);

/* Runs the loop until *flag. */
void world_await(struct world *w, const bool *flag);

/* Writes config.json (config->linux_ is completed by the cgroup) and starts a create. */
void world_begin_create(struct world *w, const struct box_config *config);

/* To the end, which must be a success. */
void world_create(struct world *w, const struct box_config *config);
void world_start(struct world *w);
void world_delete(struct world *w);

/* Waits for it; *err is its result. */
void world_update(struct world *w, const char *json, struct error *err);

/* To the end, whatever it is; the text, "" for success. */
const char *world_try_create(struct world *w, const struct box_config *config);
void world_begin_start(struct world *w);
const char *world_try_start(struct world *w);
void world_begin_exec(struct world *w, const struct engine_exec *args);
const char *world_try_exec(struct world *w, const char *process_json, bool terminal);

/* create, start, wait for init's exit; returns its exit status, or 128 + signal. */
int world_run(struct world *w, const struct box_config *config);
int world_exit_status(const struct world_exit *e);

void world_free_exec(struct world *w);

/* What has been written to stdout and stderr so far, or a file of the bundle; on the heap. */
char *world_output(struct world *w);
char *world_file(struct world *w, const char *name);

/* Makes the FIFO "hook" in the bundle, and waits until something is written to it. */
void world_make_hook_fifo(struct world *w);

bool world_has_cgroup(const struct world *w);
bool world_has_mount(const struct world *w);
bool world_has_state(const struct world *w);
