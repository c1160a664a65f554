/* SPDX-License-Identifier: Apache-2.0
 *
 * The events of a task (containerd.events) as containerd's event service wants them: a topic and a
 * packed message. An event is packed when the thing happens, so that the queue holds a few hundred
 * bytes per event and nothing that could still change.
 *
 * Every function that makes an event returns NULL without memory. The one event that must not fail
 * is the exit: its room is reserved while the process is being made.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "pkg/base/list.h"

#include "containerd/task/v2/task.pb-c.h"

/* Where else an event is. */
enum event_place {
        EVENT_NOWHERE,
        EVENT_IN_FILE,
        EVENT_IN_MEMORY, /* that outlives the process image */
        EVENT_IS_NOTED,  /* there, too, but only that there is one: it had no room */
};

struct task_event {
        struct list node;
        const char *topic; /* this and the next one are static, or lie in the room */
        const char *type_url;
        struct timespec at; /* CLOCK_REALTIME of the moment it was published */
        uint64_t seq;       /* this and the next three are the store's; 0: not numbered yet */
        enum event_place place;
        uint64_t stored_at;
        size_t stored_len;
        size_t room;
        size_t len;
        uint8_t data[];
};

/* An empty one with room for so many bytes. */
struct task_event *task_event_new(size_t room);
struct task_event *task_event_free(struct task_event *event);

struct task_event *task_event_create(const Containerd__Task__V2__CreateTaskRequest *request,
                                     pid_t pid);
struct task_event *task_event_start(const char *container_id, pid_t pid);
struct task_event *task_event_delete(const char *container_id, pid_t pid, uint32_t exit_status,
                                     const struct timespec *exited_at);
struct task_event *task_event_oom(const char *container_id);
struct task_event *task_event_paused(const char *container_id);
struct task_event *task_event_resumed(const char *container_id);
struct task_event *task_event_exec_added(const char *container_id, const char *exec_id);
struct task_event *task_event_exec_started(const char *container_id, const char *exec_id,
                                           pid_t pid);

/* Room for an exit of any process; filled in later without allocating. process_id is the
 * container's id for the init. */
struct task_event *task_event_exit_reserve(void);
void task_event_exit_fill(struct task_event *event, const char *container_id,
                          const char *process_id, pid_t pid, uint32_t exit_status,
                          const struct timespec *exited_at);
