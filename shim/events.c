/* SPDX-License-Identifier: Apache-2.0
 *
 * Packing of events: see events.h.
 */
#include "shim/events.h"

#include <assert.h>
#include <stdlib.h>

#include "pkg/base/limits.h"

#include "containerd/events/task.pb-c.h"

/* Two ids, a pid, a status and a time, with their tags: 2 * (76 + 2) + 6 + 6 + 2 + 17, rounded up.
 */
enum { EXIT_BYTES = 2 * (LIMIT_ID_LENGTH + 2) + 64 };

struct task_event *task_event_new(size_t room)
{
        struct task_event *event = malloc(sizeof(*event) + room);

        if (!event)
                return NULL;
        *event = (struct task_event){.room = room};
        list_init(&event->node);
        return event;
}

struct task_event *task_event_free(struct task_event *event)
{
        if (event)
                list_remove(&event->node);
        free(event);
        return NULL;
}

static void task_event_fill(struct task_event *event, const char *topic,
                            const ProtobufCMessage *message)
{
        event->topic = topic;
        event->type_url = message->descriptor->name;
        event->len = protobuf_c_message_get_packed_size(message);
        assert(event->len <= event->room);
        (void)protobuf_c_message_pack(message, event->data);
}

static struct task_event *task_event_pack(const char *topic, const ProtobufCMessage *message)
{
        struct task_event *event = task_event_new(protobuf_c_message_get_packed_size(message));

        if (event)
                task_event_fill(event, topic, message);
        return event;
}

static Google__Protobuf__Timestamp timestamp(const struct timespec *at)
{
        Google__Protobuf__Timestamp ts = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

        ts.seconds = at->tv_sec;
        ts.nanos = (int32_t)at->tv_nsec;
        return ts;
}

struct task_event *task_event_create(const Containerd__Task__V2__CreateTaskRequest *request,
                                     pid_t pid)
{
        Containerd__Events__TaskCreate m = CONTAINERD__EVENTS__TASK_CREATE__INIT;
        Containerd__Events__TaskIO io = CONTAINERD__EVENTS__TASK_IO__INIT;

        io.stdin = request->stdin;
        io.stdout = request->stdout;
        io.stderr = request->stderr;
        io.terminal = request->terminal;
        m.container_id = request->id;
        m.bundle = request->bundle;
        m.n_rootfs = request->n_rootfs;
        m.rootfs = request->rootfs;
        m.io = &io;
        m.checkpoint = request->checkpoint;
        m.pid = (uint32_t)pid;
        return task_event_pack("/tasks/create", &m.base);
}

struct task_event *task_event_start(const char *container_id, pid_t pid)
{
        Containerd__Events__TaskStart m = CONTAINERD__EVENTS__TASK_START__INIT;

        m.container_id = (char *)container_id;
        m.pid = (uint32_t)pid;
        return task_event_pack("/tasks/start", &m.base);
}

struct task_event *task_event_delete(const char *container_id, pid_t pid, uint32_t exit_status,
                                     const struct timespec *exited_at)
{
        Containerd__Events__TaskDelete m = CONTAINERD__EVENTS__TASK_DELETE__INIT;
        Google__Protobuf__Timestamp at = timestamp(exited_at);

        m.container_id = (char *)container_id;
        m.pid = (uint32_t)pid;
        m.exit_status = exit_status;
        m.exited_at = &at;
        return task_event_pack("/tasks/delete", &m.base);
}

struct task_event *task_event_oom(const char *container_id)
{
        Containerd__Events__TaskOOM m = CONTAINERD__EVENTS__TASK_OOM__INIT;

        m.container_id = (char *)container_id;
        return task_event_pack("/tasks/oom", &m.base);
}

struct task_event *task_event_paused(const char *container_id)
{
        Containerd__Events__TaskPaused m = CONTAINERD__EVENTS__TASK_PAUSED__INIT;

        m.container_id = (char *)container_id;
        return task_event_pack("/tasks/paused", &m.base);
}

struct task_event *task_event_resumed(const char *container_id)
{
        Containerd__Events__TaskResumed m = CONTAINERD__EVENTS__TASK_RESUMED__INIT;

        m.container_id = (char *)container_id;
        return task_event_pack("/tasks/resumed", &m.base);
}

struct task_event *task_event_exec_added(const char *container_id, const char *exec_id)
{
        Containerd__Events__TaskExecAdded m = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;

        m.container_id = (char *)container_id;
        m.exec_id = (char *)exec_id;
        return task_event_pack("/tasks/exec-added", &m.base);
}

struct task_event *task_event_exec_started(const char *container_id, const char *exec_id, pid_t pid)
{
        Containerd__Events__TaskExecStarted m = CONTAINERD__EVENTS__TASK_EXEC_STARTED__INIT;

        m.container_id = (char *)container_id;
        m.exec_id = (char *)exec_id;
        m.pid = (uint32_t)pid;
        return task_event_pack("/tasks/exec-started", &m.base);
}

struct task_event *task_event_exit_reserve(void)
{
        return task_event_new(EXIT_BYTES);
}

void task_event_exit_fill(struct task_event *event, const char *container_id,
                          const char *process_id, pid_t pid, uint32_t exit_status,
                          const struct timespec *exited_at)
{
        Containerd__Events__TaskExit m = CONTAINERD__EVENTS__TASK_EXIT__INIT;
        Google__Protobuf__Timestamp at = timestamp(exited_at);

        m.container_id = (char *)container_id;
        m.id = (char *)process_id;
        m.pid = (uint32_t)pid;
        m.exit_status = exit_status;
        m.exited_at = &at;
        task_event_fill(event, "/tasks/exit", &m.base);
}
