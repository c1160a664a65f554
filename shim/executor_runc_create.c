/* SPDX-License-Identifier: Apache-2.0
 *
 * Create by way of a runtime binary: the engine mounts the rootfs, then the runtime makes the
 * container. One that fails is undone, but a container that was there before it, under the same id,
 * is somebody else's and is left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "shim/executor_runc_impl.h"
#include "shim/log.h"

/* A Create. */
struct making {
        struct job job;
        struct made *made;
        char *state_dir;
        bool terminal;
        int stdio[3];   /* copies: the mounts come first */
        bool had_state; /* somebody else's container has the id: nothing of it is ours */
        bool has_launched;
        bool has_mounted;
        bool makes_rootfs; /* the directory, for the mounts */
        struct error err;  /* what undoing it is for */
        executor_create_fn fn;
        void *userdata;
};

static struct making *making_free(struct making *making)
{
        if (!making)
                return NULL;
        for (int i = 0; i < 3; i++)
                fd_close(making->stdio[i]);
        made_free(making->made);
        free(making->state_dir);
        free(making);
        return NULL;
}
CLEANUP_DEFINE(struct making, making_free)

static char *rootfs_path(const char *bundle)
{
        return str_printf("%s/rootfs", bundle);
}

static bool has_rootfs(const char *bundle)
{
        _cleanup_free_ char *path = rootfs_path(bundle);

        return !path || access(path, F_OK) == 0 || errno != ENOENT;
}

/* What is there for a launch. */
static void remove_files(const struct making *making)
{
        if (making->had_state)
                return;
        runc_remove_files(making->made->runc);
        engine_foreign_forget(making->state_dir);
}

static void finish_failure(struct making *making)
{
        _cleanup_free_ char *rootfs = rootfs_path(making->made->bundle);
        executor_create_fn fn = making->fn;
        void *userdata = making->userdata;
        struct error err = making->err;

        remove_files(making);
        if (making->makes_rootfs && rootfs)
                (void)rmdir(rootfs);
        making_free(making);
        fn(&err, NULL, NULL, -1, userdata);
}

static void on_unmounted(const struct error *err, void *userdata)
{
        if (err)
                log_warning("undo create: %s", err->msg);
        finish_failure(userdata);
}

static void on_cgroup_removed(const struct error *err, void *userdata)
{
        struct making *making = userdata;
        struct made *made = making->made;
        struct error next = ERROR_INIT;

        if (err)
                log_warning("undo create: %s", err->msg);
        if (!making->has_mounted)
                finish_failure(making);
        else if (engine_rootfs_unmount(made->impl->engine, made->bundle, on_unmounted, making,
                                       &next) < 0)
                on_unmounted(&next, making);
}

/* Also when there was nothing to delete: a runtime that was killed may know of no cgroup. */
static void on_half_deleted(const struct error *err, void *userdata)
{
        struct making *making = userdata;
        struct made *made = making->made;
        struct error next = ERROR_INIT;

        if (err)
                log_warning("undo create: %s", err->msg);
        if (making->had_state || !making->has_launched)
                on_cgroup_removed(NULL, making);
        else if (engine_foreign_undo(made->impl->engine, making->state_dir, on_cgroup_removed,
                                     making, &next) < 0)
                on_cgroup_removed(&next, making);
}

/* From the loop. */
static void fail(struct making *making, const struct error *why)
{
        struct runc *runc = making->made->runc;
        struct error next = ERROR_INIT;

        making->err = *why;
        if (making->had_state || !runc_has_state(runc))
                on_half_deleted(NULL, making);
        else if (runc_delete(runc, true, on_half_deleted, making, &next) < 0)
                on_half_deleted(&next, making);
}

static void on_created(const struct error *err, struct runc_process *init, int terminal_fd,
                       void *userdata)
{
        struct making *making = userdata;
        struct made *made = making->made;
        executor_create_fn fn = making->fn;
        void *fn_userdata = making->userdata;

        making->job.runc = NULL;
        if (err) {
                fail(making, err);
                return;
        }
        engine_foreign_forget(making->state_dir);
        made->init = init;
        runc_facts_read(&made->facts, runc_process_pid(init));
        making->made = NULL;
        making_free(making);
        fn(NULL, (struct executor_container *)made, (struct executor_process *)init, terminal_fd,
           fn_userdata);
}

static int launch(struct making *making, struct error *err)
{
        const struct runc_stdio stdio = {
                .terminal = making->terminal,
                .fds = making->stdio,
        };

        if (runc_create(making->made->runc, &stdio, on_created, making, &making->job.runc, err) < 0)
                return -1;
        making->has_launched = true;
        /* From here on only the container's processes hold them. */
        for (int i = 0; i < 3; i++)
                making->stdio[i] = fd_close(making->stdio[i]);
        return 0;
}

/* After a step, of which err is the failure. */
static void go_on(struct making *making, const struct error *err,
                  int (*next)(struct making *making, struct error *err))
{
        struct error why = ERROR_INIT;

        if (err)
                why = *err;
        else if (making->job.is_aborted)
                (void)error_set(&why, STATUS_CANCELED, "create was cancelled");
        else if (next(making, &why) == 0)
                return;
        fail(making, &why);
}

static void on_noted(const struct error *err, void *userdata)
{
        go_on(userdata, err, launch);
}

static int take_note(struct making *making, struct error *err)
{
        struct made *made = making->made;

        if (making->had_state)
                return launch(making, err);
        return engine_foreign_note(made->impl->engine, made->bundle, making->state_dir, on_noted,
                                   making, err);
}

static void on_mounted(const struct error *err, void *userdata)
{
        struct making *making = userdata;

        making->has_mounted = !err;
        go_on(making, err, take_note);
}

static int start_mounting(struct making *making, const struct executor_create *args,
                          struct error *err)
{
        _cleanup_free_ struct engine_mount *mounts = calloc(args->n_mounts, sizeof(*mounts));

        if (!mounts)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
        for (size_t i = 0; i < args->n_mounts; i++)
                mounts[i] = (struct engine_mount){
                        .type = args->mounts[i].type,
                        .source = args->mounts[i].source,
                        .target = args->mounts[i].target,
                        .options = args->mounts[i].options,
                        .n_options = args->mounts[i].n_options,
                };
        return engine_rootfs_mount(making->made->impl->engine, args->bundle, mounts, args->n_mounts,
                                   on_mounted, making, err);
}

static struct made *make(struct executor_runc *impl, const struct executor_create *args,
                         struct error *err)
{
        const struct runc_options options = {
                .loop = impl->loop,
                .reaper = impl->reaper,
                .binary = args->binary,
                .root = args->root,
                .runtime_namespace = args->runtime_namespace,
                .bundle = args->bundle,
                .state_dir = args->state_dir,
                .id = args->id,
                .systemd_cgroup = args->systemd_cgroup,
                .no_pivot_root = args->no_pivot_root,
                .no_new_keyring = args->no_new_keyring,
        };
        struct made *made = calloc(1, sizeof(*made));

        if (!made) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return NULL;
        }
        made->impl = impl;
        made->has_mounts = args->n_mounts > 0;
        made->bundle = strdup(args->bundle);
        if (!made->bundle) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return made_free(made);
        }
        if (runc_new(&made->runc, &options, err) < 0)
                return made_free(made);
        return made;
}

static struct making *making_new(struct executor_runc *impl, const struct executor_create *args,
                                 struct error *err)
{
        _cleanup_(making_free_p) struct making *making = calloc(1, sizeof(*making));

        if (!making) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return NULL;
        }
        for (int i = 0; i < 3; i++)
                making->stdio[i] = -1;
        making->made = make(impl, args, err);
        if (!making->made)
                return NULL;
        making->state_dir = strdup(args->state_dir);
        if (!making->state_dir) {
                (void)error_set(err, STATUS_RESOURCE_EXHAUSTED, "create: no memory");
                return NULL;
        }
        making->terminal = args->terminal;
        for (int i = 0; i < 3 && !args->terminal; i++) {
                making->stdio[i] = fcntl(args->stdio[i], F_DUPFD_CLOEXEC, 3);
                if (making->stdio[i] < 0) {
                        (void)error_errno(err, errno, "create: copy stdio");
                        return NULL;
                }
        }
        making->makes_rootfs = args->n_mounts > 0 && !has_rootfs(args->bundle);
        making->had_state = runc_has_state(making->made->runc);
        return TAKE_PTR(making);
}

int executor_runc_create(void *impl, const struct executor_create *args, executor_create_fn fn,
                         void *userdata, struct executor_job **ret, struct error *err)
{
        _cleanup_(making_free_p) struct making *making = NULL;
        int r;

        if (args->passed.map)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "create: descriptors cannot be passed on to a runtime binary");
        making = making_new(impl, args, err);
        if (!making)
                return -1;
        making->fn = fn;
        making->userdata = userdata;
        if (!making->had_state && runc_write_files(making->made->runc, err) < 0)
                return -1;
        r = args->n_mounts > 0 ? start_mounting(making, args, err) : take_note(making, err);
        if (r < 0) {
                remove_files(making);
                return -1;
        }
        *ret = (struct executor_job *)TAKE_PTR(making);
        return 0;
}
