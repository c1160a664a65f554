/* SPDX-License-Identifier: Apache-2.0
 *
 * See harness.h.
 */
#include "test/unit/shim/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"

#include "containerd/services/events/ttrpc/v1/events.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "shim/state.h"
#include "test/unit/shim/kept.h"

#define GUARD_NS (10 * NSEC_PER_SEC)

/* ---- Events ---- */

static void on_forgotten(struct ttrpc_call *call, void *userdata)
{
        (void)call;
        (void)userdata;
}

static void on_forward(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
        const Containerd__Services__Events__Ttrpc__V1__ForwardRequest *request =
                (const void *)message;
        const Containerd__Types__Envelope *e = request->envelope;
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
        struct events_server *s = userdata;
        struct seen_event *seen = &s->events[s->n];
        const char *header = ttrpc_call_metadata(call, "containerd-namespace-ttrpc");

        loop_quit(s->loop);
        s->n_attempts++;
        s->last_attempt_seconds = e->timestamp->seconds;
        s->last_attempt_nanos = e->timestamp->nanos;
        if (s->mute) {
                ttrpc_call_on_cancel(call, on_forgotten, s);
                return;
        }
        if (s->refuse) {
                ttrpc_call_fail(call, s->refuse, "refused");
                return;
        }
        assert_true(s->n < EVENTS_MAX);
        (void)snprintf(seen->topic, sizeof(seen->topic), "%s", e->topic);
        (void)snprintf(seen->runtime_namespace, sizeof(seen->runtime_namespace), "%s",
                       e->namespace_);
        (void)snprintf(seen->header_namespace, sizeof(seen->header_namespace), "%s",
                       header ? header : "");
        (void)snprintf(seen->type_url, sizeof(seen->type_url), "%s", e->event->type_url);
        seen->seconds = e->timestamp->seconds;
        seen->len =
                e->event->value.len < sizeof(seen->data) ? e->event->value.len : sizeof(seen->data);
        memcpy(seen->data, e->event->value.data, seen->len);
        s->n++;
        ttrpc_call_reply(call, &empty.base);
}

static const ttrpc_handler events_handlers[] = {on_forward};

void events_server_init(struct events_server *s, struct loop *loop, const char *dir)
{
        *s = (struct events_server){.loop = loop};
        (void)snprintf(s->path, sizeof(s->path), "%s/events.sock", dir);
}

void events_server_come(struct events_server *s)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_null(s->server);
        assert_true(fd >= 0);
        (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", s->path);
        (void)unlink(s->path);
        assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
        assert_int_equal(listen(fd, 8), 0);
        assert_int_equal(ttrpc_server_new(&s->server, s->loop, NULL, NULL), 0);
        assert_int_equal(
                ttrpc_server_register(s->server,
                                      &containerd__services__events__ttrpc__v1__events__descriptor,
                                      events_handlers, s, NULL),
                0);
        assert_int_equal(ttrpc_server_listen_take(s->server, fd, NULL), 0);
}

void events_server_go(struct events_server *s)
{
        s->server = ttrpc_server_free(s->server);
        (void)unlink(s->path);
}

const char *events_topics(const struct events_server *s)
{
        static char text[1024];
        size_t len = 0;

        text[0] = '\0';
        for (size_t i = 0; i < s->n; i++)
                len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "",
                                        s->events[i].topic + strlen("/tasks/"));
        return text;
}

/* ---- The server ---- */

static void on_finished(void *userdata)
{
        struct harness *h = userdata;

        assert_false(h->finished);
        h->finished = true;
        loop_quit(h->loop);
}

static void on_guard(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        (void)userdata;
        fail_msg("nothing has happened for %d s", (int)(GUARD_NS / NSEC_PER_SEC));
}

struct poll {
        struct loop_deferred deferred;
        struct loop *loop;
        int rounds;
};

/* Runs at the end of each round, and keeps rounds coming for settle(). */
static void on_poll(struct loop_deferred *deferred)
{
        struct poll *poll = container_of(deferred, struct poll, deferred);

        if (--poll->rounds <= 0)
                loop_quit(poll->loop);
        else
                loop_defer(poll->loop, deferred);
}

void harness_settle(struct harness *h)
{
        struct poll poll = {.loop = h->loop, .rounds = 30};

        loop_deferred_init(&poll.deferred, on_poll);
        loop_defer(h->loop, &poll.deferred);
        while (poll.rounds > 0)
                assert_int_equal(loop_run(h->loop, NULL), 0);
        kept_check(h);
}

/* Whatever a test waits for ends the loop's run when it happens. */
void harness_run_until(struct harness *h, const bool *flag)
{
        (void)loop_timer_set(h->guard, GUARD_NS);
        while (!*flag)
                assert_int_equal(loop_run(h->loop, NULL), 0);
        loop_timer_clear(h->guard);
}

void harness_await_events(struct harness *h, size_t n)
{
        (void)loop_timer_set(h->guard, GUARD_NS);
        while (h->events.n < n)
                assert_int_equal(loop_run(h->loop, NULL), 0);
        loop_timer_clear(h->guard);
}

struct ttrpc_client *harness_connect(struct harness *h)
{
        struct ttrpc_client *client = NULL;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        assert_int_equal(shim_server_adopt_consume(h->server, fds[0], NULL), 0);
        assert_int_equal(ttrpc_client_new_take(&client, h->loop, fds[1], NULL), 0);
        return client;
}

static int server_new(struct harness *h, struct error *err)
{
        const struct shim_server_options options = {
                .loop = h->loop,
                .reaper = h->reaper,
                .vault = h->vault,
                .executor = &h->fake.executor,
                .runtime_namespace = "testing",
                .id = "c1",
                .bundle = h->dir,
                .ttrpc_address = h->events.path,
                .times = h->times,
                .on_finished = on_finished,
                .userdata = h,
        };

        return shim_server_new(&h->server, &options, err);
}

struct harness *harness_new(const struct shim_times *times)
{
        struct harness *h = calloc(1, sizeof(*h));
        struct error err = ERROR_INIT;

        assert_non_null(h);
        h->times = (struct shim_times){.backoff_min_ns = NSEC_PER_MSEC,
                                       .backoff_max_ns = 4 * NSEC_PER_MSEC};
        if (times)
                h->times = *times;
        assert_int_equal(loop_new(&h->loop, NULL), 0);
        assert_int_equal(reaper_new(&h->reaper, h->loop, NULL), 0);
        assert_int_equal(vault_new(&h->vault, NULL), 0);
        (void)snprintf(h->dir, sizeof(h->dir), "/tmp/shim-unit-XXXXXX");
        assert_non_null(mkdtemp(h->dir));
        h->guard = loop_timer_new(h->loop, on_guard, h);
        fake_init(&h->fake, h->loop);
        events_server_init(&h->events, h->loop, h->dir);
        events_server_come(&h->events);
        if (server_new(h, &err) < 0)
                fail_msg("%s", err.msg);
        state_commit(h->server);
        h->client = harness_connect(h);
        return h;
}

int harness_restart(struct harness *h, struct error *err)
{
        h->client = ttrpc_client_free(h->client);
        h->server = shim_server_free(h->server);
        if (server_new(h, err) < 0)
                return -1;
        if (shim_server_restore(h->server, err) < 0) {
                h->server = shim_server_free(h->server);
                return -1;
        }
        shim_server_resume(h->server);
        shim_server_let_go(h->server);
        shim_server_hear(h->server);
        h->client = harness_connect(h);
        return 0;
}

int harness_remember(const struct harness *h)
{
        int fd = -1;

        assert_int_equal(vault_copy(h->vault, &fd, NULL), 0);
        return fd;
}

int harness_restart_from(struct harness *h, int vault_fd, struct error *err)
{
        struct vault *vault = NULL;
        size_t size;

        h->client = ttrpc_client_free(h->client);
        h->server = shim_server_free(h->server);
        assert_int_equal(vault_open_take(&vault, vault_fd, NULL), 0);
        vault_free(h->vault);
        h->vault = vault;
        /* The clients of then are closed by now, and in this process nothing else keeps them. */
        memset(vault_region(vault, VAULT_CONNS, &size), 0, 4096);
        memset(vault_region(vault, VAULT_EVENTS, &size), 0, 4096);
        return harness_restart(h, err);
}

static void remove_dir(const char *dir)
{
        _cleanup_closedir_ DIR *d = opendir(dir);

        for (struct dirent *e; d && (e = readdir(d));) {
                if (unlinkat(dirfd(d), e->d_name, 0) < 0)
                        (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
        assert_int_equal(rmdir(dir), 0);
}

void harness_free(struct harness *h)
{
        bool busy = h->server && shim_server_is_busy(h->server);

        ttrpc_client_free(h->client);
        shim_server_free(h->server);
        events_server_go(&h->events);
        fake_deinit(&h->fake);
        loop_timer_free(h->guard);
        reaper_free(h->reaper);
        vault_free(h->vault);
        loop_free(h->loop);
        assert_int_equal(h->fake.n_processes, 0);
        if (!busy)
                assert_int_equal(h->fake.n_containers, 0);
        remove_dir(h->dir);
        free(h);
}

int harness_setup(void **state)
{
        *state = harness_new(NULL);
        return 0;
}

int harness_teardown(void **state)
{
        harness_free(*state);
        return 0;
}

/* ---- Calls ---- */

struct pending_reply {
        struct reply reply;
        struct loop *loop;
        const ProtobufCMessageDescriptor *output;
};

static void on_response(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        struct pending_reply *p = userdata;

        p->reply.done = true;
        loop_quit(p->loop);
        if (err) {
                p->reply.err = *err;
        } else {
                size_t len = protobuf_c_message_get_packed_size(response);
                uint8_t *data = malloc(len + 1);

                assert_non_null(data);
                (void)protobuf_c_message_pack(response, data);
                p->reply.message = protobuf_c_message_unpack(p->output, NULL, len, data);
                assert_non_null(p->reply.message);
                free(data);
        }
}

struct reply *call_begin(struct harness *h, struct ttrpc_client *client,
                         const ProtobufCServiceDescriptor *service, const char *method,
                         const ProtobufCMessage *request, uint64_t timeout_ns)
{
        const struct ttrpc_call_options options = {.timeout_ns = timeout_ns};
        struct pending_reply *p = calloc(1, sizeof(*p));
        struct error err = ERROR_INIT;

        assert_non_null(p);
        p->loop = h->loop;
        for (unsigned i = 0; i < service->n_methods; i++) {
                if (strcmp(service->methods[i].name, method) != 0)
                        continue;
                p->output = service->methods[i].output;
                if (ttrpc_client_call(client, service, i, request, &options, on_response, p, &err) <
                    0)
                        fail_msg("%s", err.msg);
                return &p->reply;
        }
        fail_msg("no method %s", method);
        return NULL;
}

void reply_free(struct reply *reply)
{
        if (reply->message)
                protobuf_c_message_free_unpacked(reply->message, NULL);
        free(reply);
}

static struct reply *task_call(struct harness *h, const char *method, const ProtobufCMessage *m)
{
        return call_begin(h, h->client, &containerd__task__v2__task__descriptor, method, m, 0);
}

/* All requests that consist of id and exec_id have the same shape. */
struct reply *rpc_begin(struct harness *h, const char *method, const char *exec_id)
{
        const ProtobufCServiceDescriptor *service = &containerd__task__v2__task__descriptor;
        union {
                ProtobufCMessage base;
                Containerd__Task__V2__StateRequest state;
                Containerd__Task__V2__StartRequest start;
                Containerd__Task__V2__DeleteRequest delete;
                Containerd__Task__V2__WaitRequest wait;
                Containerd__Task__V2__CloseIORequest close_io;
                Containerd__Task__V2__PidsRequest pids;
                Containerd__Task__V2__ConnectRequest connect;
                Containerd__Task__V2__ShutdownRequest shutdown;
                Containerd__Task__V2__CreateTaskRequest create;
                Containerd__Task__V2__CheckpointTaskRequest largest;
                uint8_t room[512];
        } request;

        for (unsigned i = 0; i < service->n_methods; i++) {
                if (strcmp(service->methods[i].name, method) == 0) {
                        assert_true(service->methods[i].input->sizeof_message <= sizeof(request));
                        protobuf_c_message_init(service->methods[i].input, &request.base);
                }
        }
        if (strcmp(method, "Create") == 0) {
                request.create.id = (char *)"c1";
                request.create.bundle = h->dir;
                request.create.terminal = h->terminal;
                if (h->stdout_path)
                        request.create.stdout = (char *)h->stdout_path;
                return task_call(h, method, &request.base);
        }
        request.state.id = (char *)"c1";
        if (exec_id)
                request.state.exec_id = (char *)exec_id;
        return task_call(h, method, &request.base);
}

struct reply *rpc_begin_held(struct harness *h, const char *method, const char *exec_id,
                             enum fake_job job)
{
        struct reply *r;

        h->fake.hold[job] = true;
        r = rpc_begin(h, method, exec_id);
        harness_settle(h);
        assert_false(r->done);
        return r;
}

struct answer rpc_end(struct harness *h, struct reply *reply)
{
        struct answer a = {.code = 0};
        const char *name;

        harness_run_until(h, &reply->done);
        a.code = reply->err.code;
        memcpy(a.text, reply->err.msg, sizeof(a.text));
        name = reply->message ? ((ProtobufCMessage *)reply->message)->descriptor->short_name : "";
        if (strcmp(name, "StateResponse") == 0) {
                const Containerd__Task__V2__StateResponse *m = reply->message;

                a.pid = m->pid;
                a.status = m->status;
                a.exit_status = m->exit_status;
                a.seconds = m->exited_at->seconds;
        } else if (strcmp(name, "WaitResponse") == 0) {
                const Containerd__Task__V2__WaitResponse *m = reply->message;

                a.exit_status = m->exit_status;
                a.seconds = m->exited_at->seconds;
        } else if (strcmp(name, "DeleteResponse") == 0) {
                const Containerd__Task__V2__DeleteResponse *m = reply->message;

                a.pid = m->pid;
                a.exit_status = m->exit_status;
                a.seconds = m->exited_at->seconds;
        } else if (strcmp(name, "StartResponse") == 0) {
                a.pid = ((const Containerd__Task__V2__StartResponse *)reply->message)->pid;
        } else if (strcmp(name, "CreateTaskResponse") == 0) {
                a.pid = ((const Containerd__Task__V2__CreateTaskResponse *)reply->message)->pid;
        } else if (strcmp(name, "ConnectResponse") == 0) {
                const Containerd__Task__V2__ConnectResponse *m = reply->message;

                a.pid = m->task_pid;
                a.status = m->shim_pid;
        }
        reply_free(reply);
        return a;
}

struct answer rpc_do(struct harness *h, const char *method, const char *exec_id)
{
        return rpc_end(h, rpc_begin(h, method, exec_id));
}

struct answer rpc_kill_do(struct harness *h, const char *exec_id, uint32_t signo, bool all)
{
        Containerd__Task__V2__KillRequest m = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;

        m.id = (char *)"c1";
        m.exec_id = (char *)exec_id;
        m.signal = signo;
        m.all = all;
        return rpc_end(h, task_call(h, "Kill", &m.base));
}

struct answer rpc_resize_do(struct harness *h, const char *exec_id, uint32_t width, uint32_t height)
{
        Containerd__Task__V2__ResizePtyRequest m = CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;

        m.id = (char *)"c1";
        m.exec_id = (char *)exec_id;
        m.width = width;
        m.height = height;
        return rpc_end(h, task_call(h, "ResizePty", &m.base));
}

struct answer rpc_exec_do(struct harness *h, const char *exec_id)
{
        Containerd__Task__V2__ExecProcessRequest m =
                CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;

        spec.value.data = (uint8_t *)"{\"args\":[\"sh\"]}";
        spec.value.len = strlen((char *)spec.value.data);
        m.id = (char *)"c1";
        m.exec_id = (char *)exec_id;
        m.spec = &spec;
        m.terminal = h->terminal;
        if (h->stdout_path)
                m.stdout = (char *)h->stdout_path;
        return rpc_end(h, task_call(h, "Exec", &m.base));
}

void harness_create(struct harness *h)
{
        struct answer a = rpc_do(h, "Create", NULL);

        if (a.code)
                fail_msg("Create: %s", a.text);
        assert_true(a.pid > 0);
        assert_int_equal(a.pid, fake_pid(h->fake.init));
}

void harness_run(struct harness *h)
{
        struct answer a;

        harness_create(h);
        a = rpc_do(h, "Start", NULL);
        if (a.code)
                fail_msg("Start: %s", a.text);
        assert_int_equal(a.pid, fake_pid(h->fake.init));
}

void harness_exec(struct harness *h, const char *exec_id)
{
        struct answer a = rpc_exec_do(h, exec_id);

        if (a.code)
                fail_msg("Exec: %s", a.text);
        a = rpc_do(h, "Start", exec_id);
        if (a.code)
                fail_msg("Start: %s", a.text);
        assert_int_equal(a.pid, fake_pid(h->fake.exec));
}

struct shim_record harness_record(const struct harness *h, const char *exec_id)
{
        _cleanup_close_ int fd = open(h->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct shim_record record = {.pid = 0};
        struct error err = ERROR_INIT;

        if (shim_record_read(fd, exec_id, &record, &err) < 0)
                fail_msg("%s", err.msg);
        return record;
}
