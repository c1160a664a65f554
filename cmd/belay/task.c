/* SPDX-License-Identifier: Apache-2.0
 *
 * See task.h. A response lives only until its callback returns, so that a waiting call takes a copy
 * by packing it again.
 */
#include "cmd/belay/task.h"

#include <belay/v1/belay.pb-c.h>
#include <containerd/task/v2/task.pb-c.h>
#include <errno.h>
#include <google/protobuf/timestamp.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "cmd/belay/metrics.h"

#define KILL_TIMEOUT_NS     (UINT64_C(10) * 1000000000)
#define SHUTDOWN_TIMEOUT_NS (UINT64_C(3) * 1000000000)

struct task {
        struct loop *loop;
        struct ttrpc_client *client;
        bool closed;
        bool awaiting_close;
};

/* One call that waits: lives on its caller's stack, since the callback runs before that returns. */
struct pending {
        struct loop *loop;
        bool done;
        bool failed;
        struct error err;
        ProtobufCMessage *response;
};

static const ProtobufCServiceDescriptor *const task_service =
        &containerd__task__v2__task__descriptor;
static const ProtobufCServiceDescriptor *const belay_service = &belay__v1__belay__descriptor;

static void on_close(struct ttrpc_client *client, const struct error *err, void *userdata)
{
        struct task *task = userdata;

        (void)client;
        (void)err;
        task->closed = true;
        if (task->awaiting_close)
                loop_quit(task->loop);
}

int task_open(struct task **ret, struct loop *loop, const char *address, struct error *err)
{
        struct task *task = calloc(1, sizeof(*task));

        if (!task)
                return error_errno(err, ENOMEM, "connect to the shim");
        task->loop = loop;
        if (ttrpc_client_connect(&task->client, loop, address, err) < 0) {
                free(task);
                return error_prefix(err, "connect to the shim");
        }
        ttrpc_client_on_close(task->client, on_close, task);
        *ret = task;
        return 0;
}

struct task *task_close(struct task *task)
{
        if (!task)
                return NULL;
        ttrpc_client_free(task->client);
        free(task);
        return NULL;
}

void task_disconnect(struct task *task)
{
        task->client = ttrpc_client_free(task->client);
        task->closed = true;
}

/* The index of a method; that it exists is our own affair. */
static unsigned method_index(const ProtobufCServiceDescriptor *service, const char *name)
{
        for (unsigned i = 0; i < service->n_methods; i++) {
                if (str_equal(service->methods[i].name, name))
                        return i;
        }
        abort();
}

static ProtobufCMessage *message_copy(const ProtobufCMessage *message)
{
        size_t len = protobuf_c_message_get_packed_size(message);
        _cleanup_free_ uint8_t *data = malloc(len + 1);

        if (!data)
                return NULL;
        protobuf_c_message_pack(message, data);
        return protobuf_c_message_unpack(message->descriptor, NULL, len, data);
}

static void on_response(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        struct pending *pending = userdata;

        pending->done = true;
        loop_quit(pending->loop);
        if (err) {
                pending->failed = true;
                pending->err = *err;
                return;
        }
        pending->response = message_copy(response);
        if (!pending->response) {
                pending->failed = true;
                (void)error_errno(&pending->err, ENOMEM, "read the answer");
        }
}

int task_call(struct task *task, const char *method, const ProtobufCMessage *request,
              uint64_t timeout_ns, ProtobufCMessage **ret, struct error *err)
{
        const struct ttrpc_call_options options = {.timeout_ns = timeout_ns};

        return task_call_with(task, method, request, &options, ret, err);
}

static int call(struct task *task, const ProtobufCServiceDescriptor *service, const char *method,
                const ProtobufCMessage *request, const struct ttrpc_call_options *options,
                ProtobufCMessage **ret, struct error *err)
{
        struct pending pending = {.loop = task->loop, .err = ERROR_INIT};

        if (!task->client)
                return error_set(err, STATUS_UNAVAILABLE, "the shim is gone");
        if (ttrpc_client_call(task->client, service, method_index(service, method), request,
                              options, on_response, &pending, err) < 0)
                return -1;
        /* Others quit the loop, too. */
        while (!pending.done) {
                if (loop_run(task->loop, err) < 0)
                        abort(); /* the call would be answered into a stack that is gone */
        }
        if (pending.failed) {
                if (err)
                        *err = pending.err;
                return -1;
        }
        if (ret)
                *ret = pending.response;
        else
                protobuf_c_message_free_unpacked(pending.response, NULL);
        return 0;
}

int task_call_with(struct task *task, const char *method, const ProtobufCMessage *request,
                   const struct ttrpc_call_options *options, ProtobufCMessage **ret,
                   struct error *err)
{
        return call(task, task_service, method, request, options, ret, err);
}

int task_call_belay(struct task *task, const char *method, const ProtobufCMessage *request,
                    uint64_t timeout_ns, ProtobufCMessage **ret, struct error *err)
{
        const struct ttrpc_call_options options = {.timeout_ns = timeout_ns};

        return call(task, belay_service, method, request, &options, ret, err);
}

int task_stream(struct task *task, const char *method, enum ttrpc_kind kind,
                const ProtobufCMessage *request, const struct ttrpc_call_options *options,
                const struct ttrpc_client_stream_ops *ops, void *userdata,
                struct ttrpc_client_stream **ret, struct error *err)
{
        if (!task->client)
                return error_set(err, STATUS_UNAVAILABLE, "the shim is gone");
        return ttrpc_client_stream_open(ret, task->client, belay_service,
                                        method_index(belay_service, method), kind, request, options,
                                        ops, userdata, err);
}

void task_pause(struct task *task, bool paused)
{
        if (task->client)
                ttrpc_client_pause(task->client, paused);
}

int task_send(struct task *task, const char *method, const ProtobufCMessage *request,
              ttrpc_response_fn fn, void *userdata, struct error *err)
{
        if (!task->client)
                return error_set(err, STATUS_UNAVAILABLE, "the shim is gone");
        return ttrpc_client_call(task->client, task_service, method_index(task_service, method),
                                 request, NULL, fn, userdata, err);
}

int task_send_belay(struct task *task, const char *method, const ProtobufCMessage *request,
                    uint64_t timeout_ns, ttrpc_response_fn fn, void *userdata, struct error *err)
{
        const struct ttrpc_call_options options = {.timeout_ns = timeout_ns};

        if (!task->client)
                return error_set(err, STATUS_UNAVAILABLE, "the shim is gone");
        return ttrpc_client_call(task->client, belay_service, method_index(belay_service, method),
                                 request, &options, fn, userdata, err);
}

static void on_timeout(struct loop_timer *timer, void *userdata)
{
        struct task *task = userdata;

        (void)timer;
        task->awaiting_close = false;
        loop_quit(task->loop);
}

bool task_await_close(struct task *task, uint64_t timeout_ns)
{
        struct loop_timer *timer = loop_timer_new(task->loop, on_timeout, task);

        if (!timer || loop_timer_set(timer, timeout_ns) < 0) {
                loop_timer_free(timer);
                return task->closed;
        }
        task->awaiting_close = true;
        while (task->awaiting_close && !task->closed) {
                if (loop_run(task->loop, NULL) < 0)
                        break;
        }
        task->awaiting_close = false;
        loop_timer_free(timer);
        return task->closed;
}

/* Protobuf strings of requests are not const, but nothing writes to them. */
static char *text(const char *s)
{
        return (char *)s;
}

int task_state(struct task *task, const char *id, const char *exec_id, struct task_state *ret,
               struct error *err)
{
        Containerd__Task__V2__StateRequest request = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        Containerd__Task__V2__StateResponse *response;
        ProtobufCMessage *message = NULL;
        struct task_state state = {0};

        request.id = text(id);
        request.exec_id = text(exec_id);
        if (task_call(task, "State", &request.base, TASK_QUICK_NS, &message, err) < 0)
                return -1;
        response = (Containerd__Task__V2__StateResponse *)message;
        /* The copy is ours: take its strings. */
        state.bundle = strdup(response->bundle);
        state.in = strdup(response->stdin);
        state.out = strdup(response->stdout);
        state.err = strdup(response->stderr);
        state.terminal = response->terminal;
        state.pid = response->pid;
        state.status = (int)response->status;
        state.exit_status = response->exit_status;
        if (response->exited_at) {
                state.exited_at = response->exited_at->seconds;
                state.exited_at_nanos = response->exited_at->nanos;
        }
        protobuf_c_message_free_unpacked(message, NULL);
        if (!state.bundle || !state.in || !state.out || !state.err) {
                task_state_deinit(&state);
                return error_errno(err, ENOMEM, "read the state");
        }
        *ret = state;
        return 0;
}

void task_state_deinit(struct task_state *state)
{
        free(state->bundle);
        free(state->in);
        free(state->out);
        free(state->err);
        *state = (struct task_state){0};
}

const char *task_status_name(int status)
{
        static const char *const names[] = {
                [CONTAINERD__V1__TYPES__STATUS__CREATED] = "created",
                [CONTAINERD__V1__TYPES__STATUS__RUNNING] = "running",
                [CONTAINERD__V1__TYPES__STATUS__STOPPED] = "stopped",
                [CONTAINERD__V1__TYPES__STATUS__PAUSED] = "paused",
                [CONTAINERD__V1__TYPES__STATUS__PAUSING] = "pausing",
        };
        size_t n = sizeof(names) / sizeof(names[0]);

        return status > 0 && (size_t)status < n ? names[status] : "unknown";
}

int task_shim_pid(struct task *task, const char *id, uint32_t *ret, struct error *err)
{
        Containerd__Task__V2__ConnectRequest request = CONTAINERD__TASK__V2__CONNECT_REQUEST__INIT;
        ProtobufCMessage *response = NULL;

        request.id = (char *)id;
        if (task_call(task, "Connect", &request.base, TASK_QUICK_NS, &response, err) < 0)
                return -1;
        *ret = ((const Containerd__Task__V2__ConnectResponse *)response)->shim_pid;
        protobuf_c_message_free_unpacked(response, NULL);
        return 0;
}

int task_kill(struct task *task, const char *id, const char *exec_id, int signo, bool all,
              struct error *err)
{
        Containerd__Task__V2__KillRequest request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;

        request.id = text(id);
        request.exec_id = text(exec_id);
        request.signal = (uint32_t)signo;
        request.all = all;
        return task_call(task, "Kill", &request.base, KILL_TIMEOUT_NS, NULL, err);
}

int task_wait(struct task *task, const char *id, const char *exec_id, uint64_t timeout_ns,
              struct task_state *ret, struct error *err)
{
        Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        Containerd__Task__V2__WaitResponse *response;
        ProtobufCMessage *message = NULL;

        request.id = text(id);
        request.exec_id = text(exec_id);
        if (task_call(task, "Wait", &request.base, timeout_ns, &message, err) < 0)
                return -1;
        response = (Containerd__Task__V2__WaitResponse *)message;
        *ret = (struct task_state){
                .status = CONTAINERD__V1__TYPES__STATUS__STOPPED,
                .exit_status = response->exit_status,
                .exited_at = response->exited_at ? response->exited_at->seconds : 0,
                .exited_at_nanos = response->exited_at ? response->exited_at->nanos : 0,
        };
        protobuf_c_message_free_unpacked(message, NULL);
        return 0;
}

int task_delete(struct task *task, const char *id, const char *exec_id, struct error *err)
{
        Containerd__Task__V2__DeleteRequest request = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;

        request.id = text(id);
        request.exec_id = text(exec_id);
        return task_call(task, "Delete", &request.base, 0, NULL, err);
}

int task_stats(struct task *task, const char *id, struct metrics *ret, struct error *err)
{
        Containerd__Task__V2__StatsRequest request = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
        const Google__Protobuf__Any *any;
        ProtobufCMessage *message = NULL;
        int r = -1;

        request.id = text(id);
        if (task_call(task, "Stats", &request.base, TASK_QUICK_NS, &message, err) < 0)
                return -1;
        any = ((const Containerd__Task__V2__StatsResponse *)message)->stats;
        if (any)
                r = metrics_unpack(ret, any->type_url, any->value.data, any->value.len, err);
        else
                (void)error_set(err, STATUS_INTERNAL, "the shim has answered without statistics");
        protobuf_c_message_free_unpacked(message, NULL);
        return r;
}

void task_shutdown(struct task *task, const char *id)
{
        Containerd__Task__V2__ShutdownRequest request =
                CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;

        request.id = text(id);
        /* The shim may be gone before it has answered. */
        (void)task_call(task, "Shutdown", &request.base, SHUTDOWN_TIMEOUT_NS, NULL, NULL);
        (void)task_await_close(task, SHUTDOWN_TIMEOUT_NS);
}
