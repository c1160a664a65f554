/* SPDX-License-Identifier: Apache-2.0
 *
 * See session.h. The end comes in two parts, in any order: the answer to Wait, and the end of the
 * output. Whoever has inherited the streams and lives on may hold the second back, but not for
 * ever.
 */
#include "cmd/belay/session.h"

#include <containerd/task/v2/task.pb-c.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>

#include "cmd/belay/launch.h"
#include "cmd/belay/terminal.h"

/* As long as the stock shim waits for output, in Delete. */
#define DRAIN_TIMEOUT_NS (UINT64_C(10) * 1000000000)

/* A program that runs as pid 1 ignores SIGINT unless it asks for it. */
enum { INTERRUPTS_UNTIL_KILL = 3 };

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};

enum { N_FORWARDED = sizeof(forwarded) / sizeof(forwarded[0]) };

struct session {
        const struct session_target *target;
        struct loop_signal *signals[N_FORWARDED];
        struct loop_timer *drain_timer;
        struct terminal terminal;
        int n_interrupts;
        bool waiting; /* Wait is on its way, and will call back */
        bool exited;
        bool given_up; /* on output */
        bool failed;
        struct error err;
        uint32_t status;
};

/* Answers that change nothing: the process may be gone, which Wait tells. */
static void ignore_response(const struct error *err, const ProtobufCMessage *response,
                            void *userdata)
{
        (void)err;
        (void)response;
        (void)userdata;
}

static void send_resize(const struct session_target *t)
{
        Containerd__Task__V2__ResizePtyRequest request =
                CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;
        uint16_t width = 0;
        uint16_t height = 0;

        if (!t->terminal || !t->streams || !terminal_size(&width, &height))
                return;
        request.id = (char *)t->id;
        request.exec_id = (char *)t->exec_id;
        request.width = width;
        request.height = height;
        (void)task_send(t->task, "ResizePty", &request.base, ignore_response, NULL, NULL);
}

static void on_signal(int signo, void *userdata)
{
        Containerd__Task__V2__KillRequest request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
        struct session *s = userdata;

        if (signo == SIGWINCH) {
                send_resize(s->target);
                return;
        }
        request.id = (char *)s->target->id;
        request.exec_id = (char *)s->target->exec_id;
        request.signal = (uint32_t)signo;
        if (signo == SIGINT && ++s->n_interrupts >= INTERRUPTS_UNTIL_KILL)
                request.signal = SIGKILL;
        (void)task_send(s->target->task, "Kill", &request.base, ignore_response, NULL, NULL);
}

static void on_input_end(void *userdata)
{
        Containerd__Task__V2__CloseIORequest request = CONTAINERD__TASK__V2__CLOSE_IOREQUEST__INIT;
        const struct session_target *t = userdata;

        request.id = (char *)t->id;
        request.exec_id = (char *)t->exec_id;
        request.stdin = true;
        (void)task_send(t->task, "CloseIO", &request.base, ignore_response, NULL, NULL);
}

static void on_drained(void *userdata)
{
        const struct session *s = userdata;

        loop_quit(s->target->loop);
}

static void on_drain_timeout(struct loop_timer *timer, void *userdata)
{
        struct session *s = userdata;

        (void)timer;
        s->given_up = true;
        loop_quit(s->target->loop);
}

static void on_exit_status(const struct error *err, const ProtobufCMessage *response,
                           void *userdata)
{
        struct session *s = userdata;

        if (err) {
                s->failed = true;
                s->err = *err;
        } else {
                s->status = ((const Containerd__Task__V2__WaitResponse *)response)->exit_status;
                (void)loop_timer_set(s->drain_timer, DRAIN_TIMEOUT_NS);
        }
        s->exited = true;
        loop_quit(s->target->loop);
}

static int session_start(struct session *s, struct error *err)
{
        Containerd__Task__V2__StartRequest start = CONTAINERD__TASK__V2__START_REQUEST__INIT;
        Containerd__Task__V2__WaitRequest wait = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        const struct session_target *t = s->target;
        ProtobufCMessage *response = NULL;
        uint32_t pid;

        send_resize(t);
        start.id = (char *)t->id;
        start.exec_id = (char *)t->exec_id;
        if (task_call(t->task, "Start", &start.base, 0, &response, err) < 0)
                return -1;
        pid = ((const Containerd__Task__V2__StartResponse *)response)->pid;
        protobuf_c_message_free_unpacked(response, NULL);
        if (t->pid_file && launch_write_pid(t->pid_file, pid, err) < 0)
                return -1;
        /* The terminal of an exec is there only now. */
        if (*t->exec_id)
                send_resize(t);
        if (t->streams && streams_start_input(t->streams, on_input_end, (void *)t, err) < 0)
                return -1;
        wait.id = (char *)t->id;
        wait.exec_id = (char *)t->exec_id;
        if (task_send(t->task, "Wait", &wait.base, on_exit_status, s, err) < 0)
                return -1;
        s->waiting = true;
        return 0;
}

static int session_follow(struct session *s, struct error *err)
{
        const struct session_target *t = s->target;
        int r = session_start(s, err);

        while (r == 0 && !s->failed && !s->given_up &&
               !(s->exited && (!t->streams || streams_are_drained(t->streams))))
                r = loop_run(t->loop, err);
        return r;
}

int session_run(const struct session_target *target, int *ret_status, struct error *err)
{
        struct session s = {.target = target, .err = ERROR_INIT};
        int r = 0;

        s.drain_timer = loop_timer_new(target->loop, on_drain_timeout, &s);
        if (!s.drain_timer)
                return error_errno(err, ENOMEM, "follow the container");
        for (size_t i = 0; i < N_FORWARDED && r == 0; i++)
                r = loop_signal_new(target->loop, forwarded[i], LOOP_PRIORITY_RPC, on_signal, &s,
                                    &s.signals[i], err);
        if (target->streams)
                streams_on_drained(target->streams, on_drained, &s);
        if (target->terminal && target->streams)
                terminal_set_raw(&s.terminal);
        if (r == 0)
                r = session_follow(&s, err);
        terminal_restore(&s.terminal);
        /* Wait's answer must not find a session that is gone. */
        if (s.waiting && !s.exited)
                task_disconnect(target->task);
        if (target->streams)
                streams_on_drained(target->streams, NULL, NULL);
        for (size_t i = 0; i < N_FORWARDED; i++)
                loop_signal_free(s.signals[i]);
        loop_timer_free(s.drain_timer);
        if (s.failed) {
                *err = s.err;
                return error_prefix(err, "lost the container");
        }
        *ret_status = (int)s.status;
        return r;
}
