/* SPDX-License-Identifier: Apache-2.0
 *
 * See client.h.
 */
#include "test/bench/client.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/fd.h"

#include "containerd/services/events/ttrpc/v1/events.pb-c.h"
#include "containerd/task/v2/task.pb-c.h"

#define CALL_TIMEOUT_NS (60 * NSEC_PER_SEC)

void fail(const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        (void)fputs("bench: ", stderr);
        (void)vfprintf(stderr, fmt, ap);
        (void)fputs("\n", stderr);
        va_end(ap);
        exit(1);
}

static void on_forward(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
        struct client *c = userdata;
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

        (void)request;
        c->n_events++;
        ttrpc_call_reply(call, &empty.base);
}

static void serve_events(struct client *c)
{
        static const ttrpc_handler handlers[] = {on_forward};
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        struct ttrpc_server_options options = {.check_peer = true};
        struct error err = ERROR_INIT;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void)snprintf(c->events_address, sizeof(c->events_address), "%s/../events.%d.sock",
                       c->bundle, (int)getpid());
        (void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", c->events_address);
        (void)unlink(sun.sun_path);
        if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 16) < 0)
                fail("bind %s: %s", sun.sun_path, strerror(errno));
        if (ttrpc_server_new(&c->events, c->loop, &options, &err) < 0 ||
            ttrpc_server_register(c->events,
                                  &containerd__services__events__ttrpc__v1__events__descriptor,
                                  handlers, c, &err) < 0 ||
            ttrpc_server_listen_take(c->events, fd, &err) < 0)
                fail("serve events: %s", err.msg);
}

/* The `log` FIFO in the bundle, which containerd makes and reads; here its text goes nowhere. */
static void on_log(struct loop_io *io, int fd, int what, void *userdata)
{
        char text[4096];

        (void)io;
        (void)what;
        (void)userdata;
        (void)!read(fd, text, sizeof(text));
}

static void open_log(struct client *c)
{
        char path[256];

        (void)snprintf(path, sizeof(path), "%s/log", c->bundle);
        if (mkfifo(path, 0700) < 0)
                fail("mkfifo %s: %s", path, strerror(errno));
        c->log_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        c->log = loop_io_new(c->loop, c->log_fd, LOOP_PRIORITY_RELAY, on_log, NULL);
        if (c->log_fd < 0 || !c->log || loop_io_want(c->log, LOOP_READ) < 0)
                fail("open %s: %s", path, strerror(errno));
}

void client_deinit(struct client *c)
{
        c->log = loop_io_free(c->log);
        fd_close(c->log_fd);
        c->events = ttrpc_server_free(c->events);
        c->loop = loop_free(c->loop);
        (void)unlink(c->events_address);
}

void client_init(struct client *c, const char *shim, const char *bundle, const char *id)
{
        struct error err = ERROR_INIT;

        memset(c, 0, sizeof(*c));
        c->shim = shim;
        c->bundle = bundle;
        c->id = id;
        if (loop_new(&c->loop, &err) < 0)
                fail("%s", err.msg);
        serve_events(c);
        open_log(c);
        if (setenv("TTRPC_ADDRESS", c->events_address, 1) < 0)
                fail("setenv: %s", strerror(errno));
        if (chdir(bundle) < 0)
                fail("chdir %s: %s", bundle, strerror(errno));
}

/* Runs the shim binary with an action, waits for it, and returns what it wrote to stdout. */
static size_t run_action(struct client *c, const char *const argv[], char *text, size_t room)
{
        extern char **environ;
        posix_spawn_file_actions_t actions;
        size_t len = 0;
        pid_t pid;
        int pipe_fds[2];
        int status;

        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                fail("pipe: %s", strerror(errno));
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        (void)posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
        status = posix_spawn(&pid, c->shim, &actions, NULL, (char *const *)argv, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
        if (status != 0)
                fail("spawn %s: %s", c->shim, strerror(status));
        fd_close(pipe_fds[1]);
        for (;;) {
                ssize_t n = read(pipe_fds[0], text + len, room - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                len += (size_t)n;
        }
        fd_close(pipe_fds[0]);
        if (waitpid(pid, &status, 0) != pid || status != 0)
                fail("%s: status %d: %.*s", argv[0], status, (int)len, text);
        return len;
}

void client_start_shim(struct client *c)
{
        const char *argv[] = {c->shim,
                              "-namespace",
                              "bench",
                              "-address",
                              c->events_address,
                              "-publish-binary",
                              "/bin/true",
                              "-id",
                              c->id,
                              "start",
                              NULL};
        char text[sizeof(c->address)];
        size_t len = run_action(c, argv, text, sizeof(text) - 1);

        while (len > 0 && text[len - 1] == '\n')
                len--;
        text[len] = '\0';
        (void)snprintf(c->address, sizeof(c->address), "%s", text);
}

void client_run_delete_action(struct client *c)
{
        const char *argv[] = {
                c->shim,           "-namespace", "bench", "-address", c->events_address,
                "-publish-binary", "/bin/true",  "-id",   c->id,      "-bundle",
                c->bundle,         "delete",     NULL};
        char text[512];

        (void)run_action(c, argv, text, sizeof(text));
}

void client_connect(struct client *c)
{
        struct error err = ERROR_INIT;

        if (ttrpc_client_connect(&c->task, c->loop, c->address, &err) < 0)
                fail("connect %s: %s", c->address, err.msg);
}

static void on_response(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        struct pending *p = userdata;

        p->done = true;
        p->done_ns = clock_monotonic_ns();
        if (err && !p->may_fail)
                fail("method %d: %s (status %d)", (int)p->method, err->msg, err->code);
        if (response && p->method == METHOD_CREATE)
                p->value = ((const Containerd__Task__V2__CreateTaskResponse *)response)->pid;
        else if (response && p->method == METHOD_START)
                p->value = ((const Containerd__Task__V2__StartResponse *)response)->pid;
        else if (response && p->method == METHOD_CONNECT)
                p->value = ((const Containerd__Task__V2__ConnectResponse *)response)->shim_pid;
        else if (response && p->method == METHOD_WAIT)
                p->value = ((const Containerd__Task__V2__WaitResponse *)response)->exit_status;
        else if (response && p->method == METHOD_DELETE)
                p->value = ((const Containerd__Task__V2__DeleteResponse *)response)->exit_status;
        if (p->quit_loop)
                loop_quit(p->loop);
}

void client_begin(struct client *c, enum method method, const ProtobufCMessage *request,
                  struct pending *p)
{
        struct ttrpc_call_options options = {.timeout_ns = CALL_TIMEOUT_NS};
        struct error err = ERROR_INIT;

        p->loop = c->loop;
        p->method = method;
        if (ttrpc_client_call(c->task, &containerd__task__v2__task__descriptor, (unsigned)method,
                              request, &options, on_response, p, &err) < 0)
                fail("method %d: %s", (int)method, err.msg);
}

void client_finish(struct client *c, struct pending *p)
{
        struct error err = ERROR_INIT;

        p->quit_loop = true;
        while (!p->done) {
                if (loop_run(c->loop, &err) < 0)
                        fail("%s", err.msg);
        }
}

static void on_rested(struct loop_timer *timer, void *userdata)
{
        (void)timer;
        loop_quit(userdata);
}

void client_rest(struct client *c, uint64_t ns)
{
        struct loop_timer *timer = loop_timer_new(c->loop, on_rested, c->loop);
        struct error err = ERROR_INIT;

        if (!timer || loop_timer_set(timer, ns) < 0 || loop_run(c->loop, &err) < 0)
                fail("wait: %s", err.msg);
        loop_timer_free(timer);
}

uint32_t client_call(struct client *c, enum method method, const ProtobufCMessage *request)
{
        struct pending p = {0};

        client_begin(c, method, request, &p);
        client_finish(c, &p);
        return p.value;
}

uint32_t client_create_io(struct client *c, const char *in, const char *out, bool terminal)
{
        Containerd__Task__V2__CreateTaskRequest r = CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;

        r.id = (char *)c->id;
        r.bundle = (char *)c->bundle;
        r.stdin = (char *)in;
        r.stdout = (char *)out;
        r.stderr = (char *)(terminal ? "" : out);
        r.terminal = terminal;
        return client_call(c, METHOD_CREATE, &r.base);
}

void client_create(struct client *c, const char *out)
{
        (void)client_create_io(c, "", out, false);
}

uint32_t client_start(struct client *c, const char *exec_id)
{
        Containerd__Task__V2__StartRequest r = CONTAINERD__TASK__V2__START_REQUEST__INIT;

        r.id = (char *)c->id;
        r.exec_id = (char *)exec_id;
        return client_call(c, METHOD_START, &r.base);
}

void client_wait_begin(struct client *c, const char *exec_id, struct pending *p)
{
        Containerd__Task__V2__WaitRequest r = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;

        r.id = (char *)c->id;
        r.exec_id = (char *)exec_id;
        client_begin(c, METHOD_WAIT, &r.base, p);
}

uint32_t client_delete_status(struct client *c, const char *exec_id)
{
        Containerd__Task__V2__DeleteRequest r = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;

        r.id = (char *)c->id;
        r.exec_id = (char *)exec_id;
        return client_call(c, METHOD_DELETE, &r.base);
}

void client_delete(struct client *c, const char *exec_id)
{
        (void)client_delete_status(c, exec_id);
}

void client_kill(struct client *c)
{
        Containerd__Task__V2__KillRequest r = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;

        r.id = (char *)c->id;
        r.signal = 9;
        r.all = true;
        (void)client_call(c, METHOD_KILL, &r.base);
}

void client_exec(struct client *c, const char *exec_id, const char *process_json, const char *out)
{
        Containerd__Task__V2__ExecProcessRequest r =
                CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

        any.type_url = (char *)"types.containerd.io/opencontainers/runtime-spec/1/Process";
        any.value.data = (uint8_t *)process_json;
        any.value.len = strlen(process_json);
        r.id = (char *)c->id;
        r.exec_id = (char *)exec_id;
        r.stdout = (char *)out;
        r.stderr = (char *)out;
        r.spec = &any;
        (void)client_call(c, METHOD_EXEC, &r.base);
}

void client_shutdown(struct client *c)
{
        Containerd__Task__V2__ShutdownRequest r = CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
        struct pending p = {.may_fail = true}; /* the stock shim may close before it answers */

        r.id = (char *)c->id;
        client_begin(c, METHOD_SHUTDOWN, &r.base, &p);
        client_finish(c, &p);
        c->task = ttrpc_client_free(c->task);
}

uint32_t client_shim_pid(struct client *c)
{
        Containerd__Task__V2__ConnectRequest r = CONTAINERD__TASK__V2__CONNECT_REQUEST__INIT;

        r.id = (char *)c->id;
        return client_call(c, METHOD_CONNECT, &r.base);
}
