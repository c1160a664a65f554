/* SPDX-License-Identifier: Apache-2.0
 *
 * The command lines: those that containerd's stock shim uses, since every runtime that is used with
 * containerd knows them.
 */
#include <assert.h>
#include <string.h>

#include "pkg/runc/internal.h"

static void add(struct args *args, const char *word)
{
        assert(args->n < ARGS_MAX);
        args->items[args->n++] = word;
        args->items[args->n] = NULL;
}

static void add_option(struct args *args, const char *name, const char *value)
{
        if (!value)
                return;
        add(args, name);
        add(args, value);
}

static void begin(struct args *args, const struct runc *r, const char *verb)
{
        args->n = 0;
        add(args, r->binary);
        add_option(args, "--root", r->root);
        add_option(args, "--log", r->log);
        add_option(args, "--log-format", "json");
        if (r->systemd_cgroup)
                add(args, "--systemd-cgroup");
        add(args, verb);
}

void args_create(struct args *args, const struct runc *r, const char *pid_file, const char *console)
{
        begin(args, r, "create");
        add_option(args, "--bundle", r->bundle);
        add_option(args, "--pid-file", pid_file);
        add_option(args, "--console-socket", console);
        if (r->no_pivot_root)
                add(args, "--no-pivot");
        if (r->no_new_keyring)
                add(args, "--no-new-keyring");
        add(args, r->id);
}

void args_exec(struct args *args, const struct runc *r, const struct args_of_exec *exec)
{
        char *save = NULL;

        begin(args, r, "exec");
        add_option(args, "--process", exec->spec);
        add_option(args, "--console-socket", exec->console);
        add(args, "--detach");
        add_option(args, "--pid-file", exec->pid_file);
        if (exec->ignore_paused)
                add(args, "--ignore-paused");
        if (exec->cgroups) {
                for (const char *line = strtok_r(exec->cgroups, "\n", &save); line;
                     line = strtok_r(NULL, "\n", &save))
                        add_option(args, "--cgroup", line);
        }
        add(args, r->id);
}

void args_start(struct args *args, const struct runc *r)
{
        begin(args, r, "start");
        add(args, r->id);
}

void args_pause(struct args *args, const struct runc *r)
{
        begin(args, r, "pause");
        add(args, r->id);
}

void args_resume(struct args *args, const struct runc *r)
{
        begin(args, r, "resume");
        add(args, r->id);
}

/* From its stdin. */
void args_update(struct args *args, const struct runc *r)
{
        begin(args, r, "update");
        add_option(args, "--resources", "-");
        add(args, r->id);
}

void args_kill_all(struct args *args, const struct runc *r, const char *signo)
{
        begin(args, r, "kill");
        add(args, "--all");
        add(args, r->id);
        add(args, signo);
}

void args_delete(struct args *args, const struct runc *r, bool force)
{
        begin(args, r, "delete");
        if (force)
                add(args, "--force");
        add(args, r->id);
}
