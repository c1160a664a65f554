/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a container's process before its execve: see init.h.
 */
#include "pkg/engine/init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/hooks.h"
#include "pkg/engine/message.h"

struct init {
        const struct init_args *args;
        bool early_seccomp; /* a filter is on from child_drop() on */
        bool has_dropped;
};

static _Noreturn void fail(const struct init *init, const struct error *err)
{
        struct message msg = {.type = MESSAGE_ERROR, .code = err->code, .errnum = err->errnum};

        memcpy(msg.text, err->msg, sizeof(err->msg));
        (void)message_write(init->args->gate, &msg);
        _exit(EXIT_FAILURE);
}

static void say(const struct init *init, enum message_type type)
{
        struct message msg = {.type = type};

        if (message_write(init->args->gate, &msg) < 0)
                _exit(EXIT_FAILURE);
}

/* EOF: whoever would open the gate is gone, which is the end that PR_SET_PDEATHSIG brings, too. */
static void wait_go(const struct init *init)
{
        struct message msg;

        if (message_read(init->args->gate, &msg) <= 0 || msg.type != MESSAGE_GO)
                _exit(128 + SIGKILL);
}

/* An orphan's parent is the stage, which ends before init starts; the gate's EOF tells of the
 * shim's end. */
static void set_parent_death(const struct init_args *args, int signo)
{
        if (!args->orphan)
                (void)prctl(PR_SET_PDEATHSIG, signo);
}

/* The kernel discards a signal to pid 1 that has the default disposition, but a container that has
 * not been started should end at SIGTERM. execve resets the handlers. */
static void on_fatal_signal(int signo)
{
        _exit(128 + signo);
}

static void catch_fatal_signals(void)
{
        static const int fatal[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,
                                    SIGUSR1, SIGUSR2, SIGALRM, SIGABRT};
        struct sigaction action = {.sa_handler = on_fatal_signal};

        for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
                (void)sigaction(fatal[i], &action, NULL);
}

/* "0" means the writer; what counts is who opened the file. The child is single-threaded, so the
 * file may be `tasks`, which is many times cheaper than cgroup.procs. */
int init_join_cgroups(const struct init_args *a, struct error *err)
{
        for (size_t i = 0; i < a->n_tasks; i++) {
                int r = fd_write_all(a->tasks[i], "0", 1);

                if (r < 0)
                        return error_errno(err, -r, "join cgroup");
        }
        return 0;
}

int init_set_stdio(const struct init_args *a, struct error *err)
{
        for (int i = 0; a->stdio && i < 3; i++) {
                if (dup2(a->stdio[i], i) < 0)
                        return error_errno(err, errno, "set up stdio %d", i);
        }
        return 0;
}

static struct init begin(const struct init_args *args)
{
        const struct plan *plan = args->plan;

        set_parent_death(args, SIGKILL);
        for (size_t i = 0; i < args->n_others; i++)
                fd_close(args->others[i]);
        return (struct init){
                .args = args,
                .early_seccomp = plan_loads_seccomp_early(plan),
        };
}

static void send_terminal(const struct init *init, int terminal)
{
        struct message msg = {.type = MESSAGE_TERMINAL};

        if (terminal < 0)
                return;
        if (message_send(init->args->gate, &msg, &terminal, 1) < 0)
                _exit(EXIT_FAILURE);
        fd_close(terminal);
}

/* child_trees_fn. EOF, or too few: the stage has failed and says why. */
static int get_trees(size_t first, bool follow, int *fds, size_t n, void *userdata,
                     struct error *err)
{
        const struct init *init = userdata;
        struct message msg = {.type = MESSAGE_TREES, .value = (int)first};
        size_t n_fds = n;

        (void)err;
        if ((!follow && message_write(init->args->gate, &msg) < 0) ||
            message_recv(init->args->gate, &msg, fds, &n_fds) <= 0 || msg.type != MESSAGE_TREES ||
            n_fds != n)
                _exit(EXIT_FAILURE);
        return 0;
}

/* Only for an init: an exec has no hooks, and its plan no spec. */
static int run_hooks(const struct oci_hook_list *hooks, void *userdata, struct error *err)
{
        const struct init *init = userdata;
        const struct plan *plan = init->args->plan;
        const struct oci_spec *spec = plan->spec;
        struct hook_state state = {
                .oci_version = spec->version,
                .id = plan->options.id,
                .status = init->has_dropped ? "created" : "creating",
                .pid = getpid(), /* as the container sees it (runtime.md, "State") */
                .bundle = plan->options.bundle,
                .annotations = spec->annotations,
                .n_annotations = spec->n_annotations,
        };
        struct hook_context context = {
                .kind = init->has_dropped ? "startContainer" : "createContainer",
                .cwd = init->has_dropped ? NULL : plan->options.bundle,
                .default_env = init->has_dropped ? plan_environment(plan) : environ,
        };
        char *json;

        if (hooks->n == 0)
                return 0;
        if (hook_state_format(&state, init->args->arena, &json, err) < 0)
                return -1;
        context.state_json = json;
        return hooks_run(hooks, &context, err);
}

static void before_exec(void *userdata)
{
        const struct init *init = userdata;

        if (!init->early_seccomp)
                set_parent_death(init->args, 0);
        say(init, MESSAGE_EXECUTING);
}

/* The stage takes it out of this process, and lets it go on. */
static int give_listener(int listener, void *userdata, struct error *err)
{
        const struct init *init = userdata;
        struct message msg = {.type = MESSAGE_LISTENER, .value = listener};

        (void)err;
        if (message_write(init->args->gate, &msg) < 0)
                _exit(EXIT_FAILURE);
        wait_go(init);
        return 0;
}

/* From the last privileges to the gate. A filter that is on from child_drop() on may forbid prctl,
 * so then the death of the shim is told by the gate alone. */
static void drop(struct init *init)
{
        struct error err = ERROR_INIT;

        catch_fatal_signals();
        if (init->early_seccomp)
                set_parent_death(init->args, 0);
        if (child_drop(init->args->plan, init->args->gate, give_listener, init, &err) < 0)
                fail(init, &err);
        if (!init->early_seccomp)
                set_parent_death(init->args, SIGKILL); /* a change of ids has cleared it */
        init->has_dropped = true;
}

static _Noreturn void execute(struct init *init, child_hooks_fn hooks)
{
        struct error err = ERROR_INIT;

        (void)child_exec(init->args->plan, hooks, init, before_exec, &err);
        fail(init, &err);
}

_Noreturn void init_main(const struct init_args *args)
{
        struct init init = begin(args);
        struct error err = ERROR_INIT;
        int terminal = -1;

        if (init_join_cgroups(args, &err) < 0 || child_set_cpus(args->plan, false, &err) < 0)
                fail(&init, &err);
        wait_go(&init);
        if (init_set_stdio(args, &err) < 0 || child_prepare(args->plan, get_trees, &init, &err) < 0)
                fail(&init, &err);
        if (args->wait_hooks) {
                say(&init, MESSAGE_PREPARED);
                wait_go(&init);
        }
        if (child_enter(args->plan, run_hooks, &init, &terminal, &err) < 0)
                fail(&init, &err);
        send_terminal(&init, terminal);
        if (!plan_has_userns(args->plan) && plan_apply_rlimits(args->plan, 0, &err) < 0)
                fail(&init, &err);
        if (args->wait_limits) {
                say(&init, MESSAGE_ENTERED);
                wait_go(&init);
        }
        drop(&init);
        say(&init, MESSAGE_READY);
        wait_go(&init);
        execute(&init, run_hooks);
}

_Noreturn void init_exec_main(const struct init_args *args)
{
        struct init init = begin(args);
        struct error err = ERROR_INIT;
        int terminal = -1;

        if (child_enter_exec(args->plan, &terminal, &err) < 0)
                fail(&init, &err);
        send_terminal(&init, terminal);
        say(&init, MESSAGE_ENTERED);
        wait_go(&init);
        drop(&init);
        execute(&init, NULL);
}
