/* SPDX-License-Identifier: Apache-2.0
 *
 * See container.h. The record in the bundle is read only when there is no shim to ask: as long as
 * there is one, it knows better.
 */
#include "cmd/belay/container.h"

#include <belay/v1/belay.pb-c.h>
#include <containerd/v1/types/task.pb-c.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "cmd/belay/store.h"
#include "shim/record.h"

static int find_bundle(struct container *c, const struct args *args, struct error *err)
{
        if (args->bundle) {
                c->bundle = realpath(args->bundle, NULL);
                return c->bundle ? 0 : error_errno(err, errno, "bundle '%s'", args->bundle);
        }
        c->own = true;
        return store_path(args->root, args->id, &c->bundle, err);
}

static int connect_shim(struct container *c, const struct args *args, struct error *err)
{
        _cleanup_free_ char *address = NULL;

        if (!args->address) {
                if (find_bundle(c, args, err) < 0 || store_address(c->bundle, &address, err) < 0)
                        return -1;
        }
        return task_open(&c->task, c->loop, args->address ? args->address : address, err);
}

/* c has its loop already; it is closed when this fails. */
static int open_here(struct container *c, const struct args *args, struct error *ret_lost,
                     struct error *err)
{
        struct error why = ERROR_INIT;

        if (connect_shim(c, args, &why) == 0)
                return 0;
        if (why.code == STATUS_NOT_FOUND && c->own)
                (void)error_set(&why, STATUS_NOT_FOUND,
                                "container does not exist: no container '%s' in '%s'", args->id,
                                args->root);
        if (why.code == STATUS_NOT_FOUND || !c->bundle || !ret_lost) {
                container_close(c);
                if (err)
                        *err = why;
                return -1;
        }
        *ret_lost = why;
        return 0;
}

int container_open(struct container *ret, const struct args *args, struct error *ret_lost,
                   struct error *err)
{
        struct container c = {0};

        if (loop_new(&c.loop, err) < 0 || open_here(&c, args, ret_lost, err) < 0)
                return -1;
        *ret = c;
        return 0;
}

int container_open_on(struct loop *loop, struct container *ret, const struct args *args,
                      struct error *ret_lost, struct error *err)
{
        struct container c = {.loop = loop, .is_guest = true};

        if (open_here(&c, args, ret_lost, err) < 0)
                return -1;
        *ret = c;
        return 0;
}

void container_close(struct container *c)
{
        c->task = task_close(c->task);
        if (!c->is_guest)
                loop_free(c->loop);
        c->loop = NULL;
        free(c->bundle);
        c->bundle = NULL;
}

static void view_end(struct view *view, const struct shim_record *record)
{
        view->reason = record_reason_name(record->reason);
        if (!record->oom_killed)
                return;
        view->oom_level = cgroup_oom_level_name(record->oom_level);
        view->oom_up = record->oom_up;
}

/* No shim: what its record says. */
static int view_record(const struct container *c, const char *exec_id, struct view *view,
                       struct error *err)
{
        _cleanup_close_ int fd = open(c->bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct shim_record record;
        struct error why = ERROR_INIT;

        if (fd < 0)
                return error_errno(err, errno, "open '%s'", c->bundle);
        view->status = "lost";
        view->state.bundle = strdup(c->bundle);
        if (shim_record_read(fd, exec_id, &record, &why) < 0) {
                if (why.code == STATUS_NOT_FOUND && str_is_empty(exec_id))
                        return 0;
                if (err)
                        *err = why;
                return -1;
        }
        view->state.pid = (uint32_t)record.pid;
        if (!record.exited)
                return 0;
        view->status = "stopped";
        view->exited = true;
        view_end(view, &record);
        view->state.exit_status = record.exit_status;
        view->state.exited_at = record.exited_at.tv_sec;
        view->state.exited_at_nanos = (int32_t)record.exited_at.tv_nsec;
        return 0;
}

/* The task API has no word for how a process ended; the shim's record in the bundle has. */
static void view_reason(const struct container *c, struct view *view)
{
        const char *dir = c->bundle ? c->bundle : view->state.bundle;
        _cleanup_close_ int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct shim_record record;

        if (fd >= 0 && shim_record_read(fd, view->exec_id, &record, NULL) == 0 && record.exited)
                view_end(view, &record);
}

/* The shim is there: what it says. */
static int view_task(const struct container *c, const struct args *args, struct view *view,
                     struct error *err)
{
        if (task_state(c->task, args->id, args->exec_id, &view->state, err) < 0 ||
            task_shim_pid(c->task, args->id, &view->shim_pid, err) < 0)
                return -1;
        view->status = task_status_name(view->state.status);
        view->exited = view->state.status == CONTAINERD__V1__TYPES__STATUS__STOPPED;
        if (view->exited)
                view_reason(c, view);
        return 0;
}

int container_view(struct container *c, const struct args *args, struct view *ret,
                   struct error *err)
{
        struct view view = {.id = args->id, .exec_id = args->exec_id};
        int r = c->task ? view_task(c, args, &view, err)
                        : view_record(c, args->exec_id, &view, err);

        if (r < 0) {
                view_deinit(&view);
                return -1;
        }
        *ret = view;
        return 0;
}

void container_view_io(struct container *c, const struct args *args, struct view *view)
{
        Belay__V1__StatusRequest request = BELAY__V1__STATUS_REQUEST__INIT;
        const Belay__V1__IOStatus *io;
        ProtobufCMessage *message = NULL;

        request.id = (char *)args->id;
        request.exec_id = (char *)args->exec_id;
        if (!c->task ||
            task_call_belay(c->task, "Status", &request.base, TASK_QUICK_NS, &message, NULL) < 0)
                return;
        io = ((const Belay__V1__StatusResponse *)message)->io;
        if (io) {
                view->io = (struct view_io){
                        .drained = io->drained,
                        .bytes = io->bytes,
                        .bytes_dropped = io->bytes_dropped,
                        .bytes_waiting = io->bytes_waiting,
                        .rotations = io->rotations,
                        .write_errors = io->write_errors,
                        .logger_restarts = io->logger_restarts,
                };
                (void)snprintf(view->io.kind, sizeof(view->io.kind), "%s", io->kind);
                (void)snprintf(view->io.last_error, sizeof(view->io.last_error), "%s",
                               io->last_error);
        }
        protobuf_c_message_free_unpacked(message, NULL);
}

void view_deinit(struct view *view)
{
        task_state_deinit(&view->state);
}
