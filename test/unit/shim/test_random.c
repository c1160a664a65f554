/* SPDX-License-Identifier: Apache-2.0
 *
 * Random calls, jobs that hang or fail, exits, deadlines and connections that drop, in any order.
 * Whatever has happened: once nothing hangs any more, every call has been answered, the events are
 * in order, and the shim serves a new container. A failure names its seed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/clock.h"

#include "test/unit/shim/harness.h"

enum { SEEDS = 400, STEPS = 60, CALLS_MAX = STEPS, EXECS = 3 };

static const char *const exec_ids[EXECS] = {"e0", "e1", "e2"};

struct run {
        struct harness *h;
        uint64_t random;
        struct reply *calls[CALLS_MAX];
        bool is_wait[CALLS_MAX];
        size_t n_calls;
        bool shut_down;
        bool execs_first; /* init's exit is not told before those of execs, however late they are */
};

static unsigned pick(struct run *r, unsigned n)
{
        r->random = r->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned)(r->random >> 33) % n;
}

/* ---- Steps ---- */

static void call(struct run *r, const char *method, const ProtobufCMessage *request)
{
        uint64_t timeout = pick(r, 8) == 0 ? NSEC_PER_MSEC : 0;

        assert_true(r->n_calls < CALLS_MAX);
        r->calls[r->n_calls++] =
                call_begin(r->h, r->h->client, &containerd__task__v2__task__descriptor, method,
                           request, timeout);
}

static void call_process(struct run *r, const char *exec_id)
{
        static const char *const methods[] = {"State",   "Start",  "Start",    "Start",
                                              "Delete",  "Delete", "Wait",     "Wait",
                                              "CloseIO", "Kill",   "ResizePty"};
        const char *method = methods[pick(r, UNIT_COUNT(methods))];
        Containerd__Task__V2__KillRequest kill = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
        Containerd__Task__V2__ResizePtyRequest size =
                CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;

        if (strcmp(method, "Kill") == 0) {
                kill.id = (char *)"c1";
                kill.exec_id = (char *)exec_id;
                kill.signal = pick(r, 2) ? SIGKILL : SIGTERM;
                kill.all = pick(r, 2);
                call(r, method, &kill.base);
        } else if (strcmp(method, "ResizePty") == 0) {
                size.id = (char *)"c1";
                size.exec_id = (char *)exec_id;
                size.width = pick(r, 100);
                call(r, method, &size.base);
        } else {
                r->is_wait[r->n_calls] = strcmp(method, "Wait") == 0;
                r->calls[r->n_calls++] = rpc_begin(r->h, method, exec_id);
        }
}

static void call_exec(struct run *r, const char *exec_id)
{
        Containerd__Task__V2__ExecProcessRequest m =
                CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;

        spec.value.data = (uint8_t *)"{}";
        spec.value.len = 2;
        m.id = (char *)"c1";
        m.exec_id = (char *)exec_id;
        m.spec = &spec;
        m.terminal = pick(r, 4) == 0;
        call(r, "Exec", &m.base);
}

static void call_container(struct run *r)
{
        Containerd__Task__V2__UpdateTaskRequest m = CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
        Google__Protobuf__Any resources = GOOGLE__PROTOBUF__ANY__INIT;

        switch (pick(r, 5)) {
        case 0:
        case 1:
                r->calls[r->n_calls++] = rpc_begin(r->h, "Pause", NULL);
                break;
        case 2:
        case 3:
                r->calls[r->n_calls++] = rpc_begin(r->h, "Resume", NULL);
                break;
        default:
                resources.value.data = (uint8_t *)"{}";
                resources.value.len = 2;
                m.id = (char *)"c1";
                m.resources = &resources;
                call(r, "Update", &m.base);
                break;
        }
}

static void end_one(struct run *r)
{
        struct fake_process *p = fake_live(&r->h->fake, pick(r, EXECS + 1));

        if (p)
                fake_exit(p, pick(r, 2) ? CLD_KILLED : CLD_EXITED, (int)pick(r, 20) + 1);
}

static void reconnect(struct run *r)
{
        ttrpc_client_free(r->h->client);
        r->h->client = harness_connect(r->h);
}

static void step(struct run *r)
{
        struct fake *fake = &r->h->fake;
        unsigned job = pick(r, _FAKE_JOB_MAX);

        switch (pick(r, 22)) {
        case 0:
        case 1:
                r->h->terminal = pick(r, 4) == 0;
                r->calls[r->n_calls++] = rpc_begin(r->h, "Create", NULL);
                break;
        case 2:
        case 3:
        case 4:
                call_process(r, "");
                break;
        case 5:
        case 6:
        case 7:
                call_process(r, exec_ids[pick(r, EXECS)]);
                break;
        case 8:
        case 9:
                call_exec(r, exec_ids[pick(r, EXECS)]);
                break;
        case 10:
                fake->hold[job] = !fake->hold[job];
                break;
        case 11:
                fake->fail[job] = fake->fail[job] || pick(r, 2) ? NULL : "no";
                break;
        case 12:
                fake->refuse[job] = !fake->refuse[job] && pick(r, 2);
                break;
        case 13:
                fake_release(fake, job);
                break;
        case 14:
        case 15:
                end_one(r);
                break;
        case 16:
                if (pick(r, 4) == 0)
                        reconnect(r);
                fake->bad_terminal = pick(r, 4) == 0;
                break;
        case 17:
                if (pick(r, 10) == 0) {
                        r->calls[r->n_calls++] = rpc_begin(r->h, "Shutdown", NULL);
                        r->shut_down = true;
                }
                break;
        case 18:
                r->calls[r->n_calls++] = rpc_begin(r->h, pick(r, 2) ? "Pids" : "Connect", NULL);
                break;
        case 19:
        case 20:
                call_container(r);
                break;
        default:
                harness_settle(r->h);
                break;
        }
}

/* ---- What must be true then ---- */

static void let_all_end(struct run *r)
{
        struct fake *fake = &r->h->fake;
        struct fake_process *p;

        fake->bad_terminal = false;
        for (int i = 0; i < _FAKE_JOB_MAX; i++) {
                fake->hold[i] = false;
                fake->fail[i] = NULL;
                fake->refuse[i] = false;
        }
        for (int i = 0; i < 4; i++) {
                for (int job = 0; job < _FAKE_JOB_MAX; job++)
                        fake_release(fake, job);
                harness_settle(r->h);
                while ((p = fake_live(fake, 0)))
                        fake_exit(p, CLD_EXITED, 0);
                harness_settle(r->h);
        }
}

static void check_order(const struct run *r)
{
        const struct events_server *s = &r->h->events;
        bool exists = false;
        bool ended = false;
        bool paused = false;
        int live_execs = 0;

        for (size_t i = 0; i < s->n; i++) {
                const char *topic = s->events[i].topic + strlen("/tasks/");
                Containerd__Events__TaskExit *e;

                if (strcmp(topic, "create") == 0) {
                        assert_false(exists);
                        exists = true;
                        ended = false;
                        paused = false;
                        live_execs = 0;
                } else if (strcmp(topic, "delete") == 0) {
                        assert_true(exists && ended);
                        exists = false;
                } else if (strcmp(topic, "exit") == 0) {
                        e = containerd__events__task_exit__unpack(NULL, s->events[i].len,
                                                                  s->events[i].data);
                        assert_true(exists && e->exited_at->seconds > 1600000000 && e->pid > 0);
                        if (strcmp(e->id, "c1") == 0) {
                                assert_false(ended);
                                assert_true(!r->execs_first || live_execs == 0);
                                ended = true;
                        } else {
                                assert_true(live_execs > 0);
                                live_execs--;
                        }
                        containerd__events__task_exit__free_unpacked(e, NULL);
                } else if (strcmp(topic, "paused") == 0) {
                        /* What ends, or is killed, is let go without an event. */
                        assert_true(exists && !ended);
                        paused = true;
                } else if (strcmp(topic, "resumed") == 0) {
                        assert_true(exists && !ended && paused);
                        paused = false;
                } else {
                        assert_true(exists);
                        live_execs += strcmp(topic, "exec-started") == 0;
                }
        }
}

static void check_all_answered(struct run *r)
{
        for (size_t i = 0; i < r->n_calls; i++) {
                assert_true(r->calls[i]->done);
                reply_free(r->calls[i]);
        }
}

static void check_serves(struct run *r)
{
        struct harness *h = r->h;
        int code;

        /* Only who waits for an exec that was never started waits on. */
        for (size_t i = 0; i < r->n_calls; i++)
                assert_true(r->calls[i]->done || r->is_wait[i]);
        for (int i = 0; i < EXECS; i++)
                (void)rpc_do(h, "Delete", exec_ids[i]);
        code = rpc_do(h, "Delete", NULL).code;
        assert_true(code == 0 || code == STATUS_NOT_FOUND);
        harness_settle(h);
        check_all_answered(r);
        assert_int_equal(rpc_do(h, "State", NULL).code, STATUS_NOT_FOUND);
        h->terminal = false;
        harness_run(h);
        fake_exit(h->fake.init, CLD_EXITED, 5);
        assert_int_equal(rpc_do(h, "Wait", NULL).exit_status, 5);
        assert_int_equal(rpc_do(h, "Delete", NULL).exit_status, 5);
        assert_int_equal(rpc_do(h, "Shutdown", NULL).code, 0);
        harness_run_until(h, &h->finished);
        check_order(r);
}

static void run_seed(unsigned seed)
{
        const struct shim_times times = {
                .execs_ns = seed % 2 ? NSEC_PER_MSEC : 0,
                .drain_ns = NSEC_PER_MSEC,
                .backoff_min_ns = NSEC_PER_MSEC,
                .backoff_max_ns = NSEC_PER_MSEC,
        };
        struct run r = {.random = seed, .execs_first = seed % 2 == 0};

        r.h = harness_new(&times);
        r.h->fake.private_pid_namespace = pick(&r, 2);
        for (int i = 0; i < STEPS && !r.shut_down; i++)
                step(&r);
        let_all_end(&r);
        if (!r.shut_down)
                check_serves(&r);
        harness_free(r.h);
        if (r.shut_down)
                check_all_answered(&r); /* by the loss of their connection at the latest */
}

static void whatever_happens_every_call_is_answered_and_the_shim_goes_on(void **state)
{
        const char *only = getenv("SEED");

        (void)state;
        for (unsigned seed = 1; seed <= SEEDS; seed++) {
                if (only && seed != (unsigned)atoi(only))
                        continue;
                print_message("seed %u\n", seed);
                run_seed(seed);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(whatever_happens_every_call_is_answered_and_the_shim_goes_on),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
