/* SPDX-License-Identifier: Apache-2.0
 *
 * belay attach: one more terminal for a process that runs. Whatever becomes of it, the process goes
 * on; only --close-stdin ends something of the process's.
 */
#include <belay/v1/belay.pb-c.h>
#include <stdio.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/dialog.h"
#include "cmd/belay/resources.h"
#include "cmd/belay/verbs.h"

static int parse(const struct args *args, struct detach_keys *keys, int64_t *ret_replay,
                 struct error *err)
{
        *ret_replay = 0;
        if (detach_keys_parse(args->detach_keys ? args->detach_keys : DETACH_KEYS_DEFAULT, keys,
                              err) < 0)
                return -1;
        if (args->replay &&
            (resources_parse_bytes(args->replay, ret_replay, err) < 0 || *ret_replay < 0))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--replay '%s' is not a number of bytes", args->replay);
        if (args->no_stdin && args->close_stdin)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "attach takes either --no-stdin or --close-stdin");
        return 0;
}

int verb_attach_check(const struct args *args, struct error *err)
{
        struct detach_keys keys;
        int64_t replay;

        return parse(args, &keys, &replay, err);
}

/* The id stays visible below what the container has printed last. */
static void say_detached(const struct args *args)
{
        if (isatty(STDERR_FILENO))
                (void)fprintf(stderr, "\nbelay: detached from %s\n", args->id);
}

/* Whether the process's input is one that the shim may write to: nobody else's, and there. */
static int find_input(const struct args *args, const struct container *c, const char *exec_id,
                      bool *ret, struct error *err)
{
        struct task_state state;

        *ret = false;
        if (args->no_stdin)
                return 0;
        if (task_state(c->task, args->id, exec_id, &state, err) < 0)
                return -1;
        *ret = str_has_prefix(state.in, "attach:") || str_has_prefix(state.in, "/") ||
               str_has_prefix(state.in, "fifo:");
        task_state_deinit(&state);
        if (!*ret && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
                (void)fprintf(stderr, "belay: %s takes no input; ^C leaves it\n", args->id);
        return 0;
}

int verb_attach(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        Belay__V1__AttachRequest request = BELAY__V1__ATTACH_REQUEST__INIT;
        Belay__V1__AttachStart start = BELAY__V1__ATTACH_START__INIT;
        struct dialog_config config = {.wire = &dialog_wire_attach, .start = &request.base};
        const char *exec_id = args->n_words > 0 ? args->words[0] : args->exec_id;
        struct detach_keys keys;
        struct dialog_end end;
        int64_t replay;

        if (parse(args, &keys, &replay, err) < 0 || container_open(&c, args, NULL, err) < 0 ||
            find_input(args, &c, exec_id, &config.input, err) < 0)
                return -1;
        start.id = (char *)args->id;
        start.exec_id = (char *)exec_id;
        start.stdin = config.input;
        start.replay_bytes = (uint64_t)replay;
        request.request_case = BELAY__V1__ATTACH_REQUEST__REQUEST_START;
        request.start = &start;
        config.loop = c.loop;
        config.task = c.task;
        config.keys = &keys;
        config.ends_input = args->close_stdin;
        if (dialog_run(&config, &end, err) < 0)
                return -1;
        if (end.how == DIALOG_DETACHED)
                say_detached(args);
        *ret_status = end.how == DIALOG_DETACHED ? 0 : end.status;
        return 0;
}
