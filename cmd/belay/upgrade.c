/* SPDX-License-Identifier: Apache-2.0
 *
 * belay upgrade: shims go on as another binary, and nobody else notices. Of several that are found
 * by themselves, those that cannot be meant (no shim runs, or it is not belay's) are passed over;
 * one that was named and cannot be upgraded is a failure. Several are asked at once, and one that
 * hangs holds up none.
 */
#include <belay/v1/belay.pb-c.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/out.h"
#include "cmd/belay/store.h"
#include "cmd/belay/verbs.h"

/* A trial of the binary, and then a moment without a job under way: ten seconds each at most. */
#define TIMEOUT_NS (UINT64_C(30) * 1000000000)

/* Where a containerd keeps the bundles of its tasks: <state>/<this>/<namespace>/<id>. */
#define CONTAINERD_TASKS "io.containerd.runtime.v2.task"

/*
 * An upgrade is a few processes and some 20 ms of a CPU, so not all are begun at once. A shim that
 * has not answered for so long hangs, or waits for something: it is still waited for, but no longer
 * kept count of, so that it does not stand in the way of others.
 */
enum { AT_ONCE_MAX = 16 };
#define OVERDUE_NS (UINT64_C(1) * 1000000000)

/* One shim that is asked. */
struct ask {
        struct upgrades *all;
        struct out_upgrade *row;
        char *bundle;    /* NULL: as the command line says */
        bool is_named;   /* somebody has asked for this one */
        bool is_counted; /* in n_at_once */
        struct container c;
        struct loop_timer *overdue;
};

struct upgrades {
        const struct args *args;
        struct loop *loop;
        struct out_upgrade *rows; /* of the asks, in their order */
        struct ask *asks;
        size_t n;
        size_t room;
        size_t n_begun; /* the first ones */
        size_t n_open;  /* of them, that have no end yet */
        size_t n_at_once;
        char *binary; /* absolute; NULL: the one that a shim was started from */
};

static void upgrades_deinit(struct upgrades *u)
{
        for (size_t i = 0; i < u->n; i++) {
                free(u->rows[i].id);
                free(u->rows[i].runtime_namespace);
                free(u->rows[i].version);
                free(u->rows[i].previous);
                free(u->asks[i].bundle);
        }
        free(u->rows);
        free(u->asks);
        free(u->binary);
        loop_free(u->loop);
}

static int grow(struct upgrades *u)
{
        size_t room = u->room ? 2 * u->room : 16;
        struct out_upgrade *rows = reallocarray(u->rows, room, sizeof(*rows));
        struct ask *asks;

        if (!rows)
                return -1;
        u->rows = rows;
        asks = reallocarray(u->asks, room, sizeof(*asks));
        if (!asks)
                return -1;
        u->asks = asks;
        u->room = room;
        return 0;
}

/* bundle is copied, or NULL. */
static int add(struct upgrades *u, const char *runtime_namespace, const char *id,
               const char *bundle, bool is_named, struct error *err)
{
        struct out_upgrade *row;
        struct ask *ask;

        if (u->n == u->room && grow(u) < 0)
                return error_errno(err, ENOMEM, "upgrade");
        row = &u->rows[u->n];
        ask = &u->asks[u->n];
        *row = (struct out_upgrade){.id = strdup(id),
                                    .runtime_namespace = strdup(runtime_namespace)};
        *ask = (struct ask){.is_named = is_named, .bundle = bundle ? strdup(bundle) : NULL};
        u->n++;
        if (!row->id || !row->runtime_namespace || (bundle && !ask->bundle))
                return error_errno(err, ENOMEM, "upgrade");
        return 0;
}

/* ---- Asking them ---- */

static void stop_counting(struct ask *ask)
{
        ask->all->n_at_once -= ask->is_counted;
        ask->is_counted = false;
}

static void ask_end(struct ask *ask)
{
        stop_counting(ask);
        ask->overdue = loop_timer_free(ask->overdue);
        container_close(&ask->c);
        ask->all->n_open--;
        if (!ask->all->args->json)
                out_upgrade(ask->row);
}

/* Whether nobody is there to be upgraded; else it is only that we cannot ask. */
static bool is_no_shim(const struct error *why)
{
        return why->errnum == 0 || why->errnum == ENOENT || why->errnum == ECONNREFUSED;
}

static void fail_connect(struct ask *ask, const struct error *why)
{
        ask->row->why = *why;
        ask->row->result = OUT_FAILED;
        if (!is_no_shim(why))
                return;
        (void)error_prefix(&ask->row->why, "no shim");
        if (!ask->is_named)
                ask->row->result = OUT_SKIPPED;
}

static void fail_call(struct ask *ask, const struct error *why)
{
        struct out_upgrade *row = ask->row;

        row->why = *why;
        row->result = OUT_FAILED;
        if (why->code == STATUS_DEADLINE_EXCEEDED)
                (void)error_set(&row->why, why->code,
                                "the shim has not answered within %llu s: is it stopped?",
                                (unsigned long long)(TIMEOUT_NS / 1000000000));
        if (why->code != STATUS_UNIMPLEMENTED)
                return;
        (void)error_prefix(&row->why, "not a shim that can be upgraded");
        if (!ask->is_named)
                row->result = OUT_SKIPPED;
}

static void begin_more(struct upgrades *u);

static void on_answer(const struct error *err, const ProtobufCMessage *response, void *userdata)
{
        const Belay__V1__UpgradeResponse *answer = (const void *)response;
        struct ask *ask = userdata;

        if (err) {
                fail_call(ask, err);
        } else {
                ask->row->version = strdup(answer->version);
                ask->row->previous = strdup(answer->previous);
        }
        ask_end(ask);
        begin_more(ask->all);
}

static void on_overdue(struct loop_timer *timer, void *userdata)
{
        struct ask *ask = userdata;

        (void)timer;
        stop_counting(ask);
        begin_more(ask->all);
}

static void ask_begin(struct ask *ask)
{
        Belay__V1__UpgradeRequest request = BELAY__V1__UPGRADE_REQUEST__INIT;
        struct upgrades *u = ask->all;
        struct args args = *u->args;
        struct error lost = ERROR_INIT;
        struct error err = ERROR_INIT;

        args.id = ask->row->id;
        args.runtime_namespace = ask->row->runtime_namespace;
        if (ask->bundle)
                args.bundle = ask->bundle;
        if (u->binary)
                request.path = u->binary;
        u->n_open++;
        u->n_at_once++;
        ask->is_counted = true;
        ask->overdue = loop_timer_new(u->loop, on_overdue, ask);
        if (container_open_on(u->loop, &ask->c, &args, &lost, &err) < 0 || !ask->c.task) {
                fail_connect(ask, lost.code != STATUS_OK ? &lost : &err);
                ask_end(ask);
        } else if (!ask->overdue || loop_timer_set(ask->overdue, OVERDUE_NS) < 0 ||
                   task_send_belay(ask->c.task, "Upgrade", &request.base, TIMEOUT_NS, on_answer,
                                   ask, &err) < 0) {
                if (err.code == STATUS_OK)
                        (void)error_errno(&err, ENOMEM, "ask the shim");
                fail_call(ask, &err);
                ask_end(ask);
        }
}

static void begin_more(struct upgrades *u)
{
        while (u->n_begun < u->n && u->n_at_once < AT_ONCE_MAX)
                ask_begin(&u->asks[u->n_begun++]);
        if (u->n_open == 0)
                loop_quit(u->loop);
}

/* From here on nothing is added. */
static int ask_all(struct upgrades *u, struct error *err)
{
        if (loop_new(&u->loop, err) < 0)
                return -1;
        for (size_t i = 0; i < u->n; i++) {
                u->asks[i].all = u;
                u->asks[i].row = &u->rows[i];
        }
        begin_more(u);
        while (u->n_open > 0) {
                if (loop_run(u->loop, err) < 0)
                        abort(); /* answers would come to what is gone */
        }
        return 0;
}

/* ---- Finding them ---- */

static int find_all(struct upgrades *u, struct error *err)
{
        char **ids = NULL;
        size_t n = 0;
        int r = store_list(u->args->root, &ids, &n, err);

        for (size_t i = 0; r == 0 && i < n; i++)
                r = add(u, u->args->runtime_namespace, ids[i], NULL, false, err);
        store_list_free(ids, n);
        return r;
}

/* One namespace of a containerd. */
static int find_in_namespace(struct upgrades *u, const char *tasks, const char *name,
                             struct error *err)
{
        _cleanup_free_ char *dir = str_printf("%s/%s", tasks, name);
        char **ids = NULL;
        size_t n = 0;
        int r = dir ? store_list(dir, &ids, &n, err) : error_errno(err, ENOMEM, "upgrade");

        for (size_t i = 0; r == 0 && i < n; i++) {
                _cleanup_free_ char *bundle = str_printf("%s/%s", dir, ids[i]);

                r = bundle ? add(u, name, ids[i], bundle, false, err)
                           : error_errno(err, ENOMEM, "upgrade");
        }
        store_list_free(ids, n);
        return r;
}

static int find_in_containerd(struct upgrades *u, struct error *err)
{
        const char *state = u->args->containerd;
        _cleanup_free_ char *tasks = str_printf("%s/" CONTAINERD_TASKS, state);
        _cleanup_closedir_ DIR *dir = tasks ? opendir(tasks) : NULL;
        const struct dirent *entry;

        if (!dir)
                return error_errno(err, errno, "containerd's tasks in '%s'", state);
        while ((entry = readdir(dir))) {
                if (id_is_valid(entry->d_name) &&
                    find_in_namespace(u, tasks, entry->d_name, err) < 0)
                        return -1;
        }
        return 0;
}

static int find_named(struct upgrades *u, struct error *err)
{
        for (size_t i = 0; i < u->args->n_words; i++) {
                if (add(u, u->args->runtime_namespace, u->args->words[i], NULL, true, err) < 0)
                        return -1;
        }
        return 0;
}

int verb_upgrade_check(const struct args *args, struct error *err)
{
        bool several = args->upgrade_all || args->containerd;

        if (several && args->n_words > 0)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "upgrade: containers are named, or found by --all and "
                                 "--containerd");
        if (!several && args->n_words == 0)
                return error_set(err, STATUS_INVALID_ARGUMENT, "upgrade: which containers?");
        if ((args->address || args->bundle) && args->n_words != 1)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "upgrade: --address and --bundle are of one container");
        for (size_t i = 0; i < args->n_words; i++) {
                if (!id_is_valid(args->words[i]))
                        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not an id",
                                         args->words[i]);
        }
        return 0;
}

int verb_upgrade(const struct args *args, int *ret_status, struct error *err)
{
        _cleanup_(upgrades_deinit) struct upgrades u = {.args = args};

        if (args->binary) {
                u.binary = realpath(args->binary, NULL);
                if (!u.binary)
                        return error_errno(err, errno, "binary '%s'", args->binary);
        }
        if (find_named(&u, err) < 0 || (args->upgrade_all && find_all(&u, err) < 0) ||
            (args->containerd && find_in_containerd(&u, err) < 0) || ask_all(&u, err) < 0)
                return -1;
        if (args->json)
                out_upgrades_json(u.rows, u.n);
        *ret_status = 0;
        for (size_t i = 0; i < u.n; i++) {
                if (u.rows[i].result == OUT_FAILED)
                        *ret_status = EXIT_FAILURE;
        }
        return 0;
}
