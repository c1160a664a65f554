/* SPDX-License-Identifier: Apache-2.0
 *
 * A container's runtime, the verbs that make no process, and the texts of their failures.
 */
#include "pkg/runc/runc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/runc/internal.h"

#include "belay/state/v1/runc.pb-c.h"

CLEANUP_DEFINE(struct runc, runc_free)

int runc_new(struct runc **ret, const struct runc_options *options, struct error *err)
{
        _cleanup_(runc_free_p) struct runc *r = calloc(1, sizeof(*r));
        const char *root = str_is_empty(options->root) ? RUNC_ROOT_DEFAULT : options->root;

        if (!r)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "runtime: no memory");
        if (root[0] != '/')
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "options.root '%s' is not an absolute path", root);
        r->loop = options->loop;
        r->reaper = options->reaper;
        r->binary = strdup(options->binary);
        r->root_option = strdup(options->root ? options->root : "");
        r->root = str_printf("%s/%s", root, options->runtime_namespace);
        r->bundle = strdup(options->bundle);
        r->state_dir = strdup(options->state_dir);
        r->id = strdup(options->id);
        r->log = str_printf("%s/log.json", options->state_dir);
        r->systemd_cgroup = options->systemd_cgroup;
        r->no_pivot_root = options->no_pivot_root;
        r->no_new_keyring = options->no_new_keyring;
        if (!r->binary || !r->root_option || !r->root || !r->bundle || !r->state_dir || !r->id ||
            !r->log)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "runtime: no memory");
        *ret = TAKE_PTR(r);
        return 0;
}

struct runc *runc_free(struct runc *r)
{
        if (!r)
                return NULL;
        free(r->binary);
        free(r->root_option);
        free(r->root);
        free(r->bundle);
        free(r->state_dir);
        free(r->id);
        free(r->log);
        free(r);
        return NULL;
}

bool runc_has_state(const struct runc *r)
{
        _cleanup_free_ char *path = str_printf("%s/%s", r->root, r->id);

        return !path || access(path, F_OK) == 0 || errno != ENOENT;
}

bool runc_is_created(const struct runc *r)
{
        _cleanup_free_ char *path = str_printf("%s/%s/exec.fifo", r->root, r->id);

        return path && access(path, F_OK) == 0;
}

/* ---- Another image of the process ---- */

void runc_save(const struct runc *r, Belay__State__V1__RuncContainer *ret)
{
        belay__state__v1__runc_container__init(ret);
        ret->id = r->id;
        ret->bundle = r->bundle;
        ret->state_dir = r->state_dir;
        ret->binary = r->binary;
        ret->root = r->root_option;
        ret->runtime_namespace = strrchr(r->root, '/') + 1;
        ret->systemd_cgroup = r->systemd_cgroup;
        ret->no_pivot_root = r->no_pivot_root;
        ret->no_new_keyring = r->no_new_keyring;
}

int runc_restore(struct runc **ret, struct loop *loop, struct reaper *reaper,
                 const Belay__State__V1__RuncContainer *msg, struct error *err)
{
        const struct runc_options options = {
                .loop = loop,
                .reaper = reaper,
                .binary = msg->binary,
                .root = msg->root,
                .runtime_namespace = msg->runtime_namespace,
                .bundle = msg->bundle,
                .state_dir = msg->state_dir,
                .id = msg->id,
                .systemd_cgroup = msg->systemd_cgroup,
                .no_pivot_root = msg->no_pivot_root,
                .no_new_keyring = msg->no_new_keyring,
        };

        if (!id_is_valid(msg->id) || !id_is_valid(msg->runtime_namespace))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "restore container: id '%s' in namespace '%s' is not valid",
                                 msg->id, msg->runtime_namespace);
        if (msg->bundle[0] != '/' || msg->state_dir[0] != '/' || msg->binary[0] != '/')
                return error_set(
                        err, STATUS_INVALID_ARGUMENT,
                        "restore container: bundle '%s', state '%s', binary '%s': not absolute",
                        msg->bundle, msg->state_dir, msg->binary);
        return runc_new(ret, &options, err) < 0 ? error_prefix(err, "restore container") : 0;
}

/* ---- Verbs with nothing but a result ---- */

struct verb {
        struct runc_job cmd;
        int (*judge)(const struct error *why, struct error *err); /* NULL: as it is */
        runc_done_fn fn;
        void *userdata;
};

static void on_done(struct runc_job *cmd, const struct error *why)
{
        struct verb *verb = container_of(cmd, struct verb, cmd);
        runc_done_fn fn = verb->fn;
        void *userdata = verb->userdata;
        struct error err = ERROR_INIT;

        if (why && (!verb->judge || verb->judge(why, &err) < 0)) {
                if (err.code == STATUS_OK)
                        err = *why;
        }
        free(verb);
        fn(err.code != STATUS_OK ? &err : NULL, userdata);
}

/* stdio: as for command_start(). */
static int run(struct runc *r, const struct args *args, const int *stdio,
               int (*judge)(const struct error *why, struct error *err), runc_done_fn fn,
               void *userdata, struct runc_job **ret, struct error *err)
{
        struct verb *verb = calloc(1, sizeof(*verb));

        if (!verb)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "run '%s': no memory", r->binary);
        verb->judge = judge;
        verb->fn = fn;
        verb->userdata = userdata;
        if (command_start(&verb->cmd, r, args, stdio, on_done, err) < 0) {
                free(verb);
                return -1;
        }
        if (ret)
                *ret = &verb->cmd;
        return 0;
}

int runc_start(struct runc *r, runc_done_fn fn, void *userdata, struct runc_job **ret,
               struct error *err)
{
        struct args args;

        args_start(&args, r);
        return run(r, &args, NULL, NULL, fn, userdata, ret, err);
}

int runc_pause(struct runc *r, runc_done_fn fn, void *userdata, struct runc_job **ret,
               struct error *err)
{
        struct args args;

        args_pause(&args, r);
        return run(r, &args, NULL, NULL, fn, userdata, ret, err);
}

/* Somebody else has been here before. */
static int judge_resume(const struct error *why, struct error *err)
{
        if (strcasestr(why->msg, "not paused"))
                return 0;
        *err = *why;
        return -1;
}

int runc_resume(struct runc *r, runc_done_fn fn, void *userdata, struct runc_job **ret,
                struct error *err)
{
        struct args args;

        args_resume(&args, r);
        return run(r, &args, NULL, judge_resume, fn, userdata, ret, err);
}

/* A file that holds the data, at its beginning; -1 with err. */
static int make_input(const char *data, size_t len, struct error *err)
{
        _cleanup_close_ int fd = memfd_create("belay-resources", MFD_CLOEXEC);
        int r;

        if (fd < 0)
                return error_errno(err, errno, "update: memfd_create");
        r = fd_write_all(fd, data, len);
        if (r < 0)
                return error_errno(err, -r, "update: write the resources");
        if (lseek(fd, 0, SEEK_SET) < 0)
                return error_errno(err, errno, "update: lseek");
        return TAKE_FD(fd);
}

int runc_update(struct runc *r, const char *json, size_t len, runc_done_fn fn, void *userdata,
                struct runc_job **ret, struct error *err)
{
        _cleanup_close_ int input = make_input(json, len, err);
        const int stdio[3] = {input, -1, -1};
        struct args args;

        if (input < 0)
                return -1;
        args_update(&args, r);
        return run(r, &args, stdio, NULL, fn, userdata, ret, err);
}

/* runc, crun and others say it in many ways. */
static int judge_kill(const struct error *why, struct error *err)
{
        static const char *const over[] = {"process already finished", "container not running",
                                           "no such process", "is not running"};

        for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
                if (strcasestr(why->msg, over[i]))
                        return error_set(err, STATUS_NOT_FOUND, "process already finished");
        }
        if (strcasestr(why->msg, "does not exist"))
                return error_set(err, STATUS_NOT_FOUND, "no such container");
        return error_set(err, why->code, "unknown error after kill: %s", why->msg);
}

int runc_kill_all(struct runc *r, int signo, runc_done_fn fn, void *userdata, struct error *err)
{
        char text[16];
        struct args args;

        (void)snprintf(text, sizeof(text), "%d", signo);
        args_kill_all(&args, r, text);
        return run(r, &args, NULL, judge_kill, fn, userdata, NULL, err);
}

/* By runc's words, and by crun's. */
static int judge_delete(const struct error *why, struct error *err)
{
        if (strcasestr(why->msg, "does not exist") ||
            (strcasestr(why->msg, "cannot open directory") &&
             strcasestr(why->msg, "no such file or directory")))
                return 0;
        *err = *why;
        return -1;
}

int runc_delete(struct runc *r, bool force, runc_done_fn fn, void *userdata, struct error *err)
{
        struct args args;

        args_delete(&args, r, force);
        return run(r, &args, NULL, judge_delete, fn, userdata, NULL, err);
}
