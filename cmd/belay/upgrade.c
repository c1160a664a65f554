/* SPDX-License-Identifier: Apache-2.0
 *
 * belay upgrade: shims go on as another binary, one after the other, and nobody else notices. Of
 * several that are found by themselves, those that cannot be meant (no shim runs, or it is not
 * belay's) are passed over; one that was named and cannot be upgraded is a failure.
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

struct upgrades {
        struct out_upgrade *rows;
        size_t n;
        size_t room;
        char *binary; /* absolute; NULL: the one that a shim was started from */
};

static void upgrades_deinit(struct upgrades *u)
{
        for (size_t i = 0; i < u->n; i++) {
                free(u->rows[i].id);
                free(u->rows[i].runtime_namespace);
                free(u->rows[i].version);
                free(u->rows[i].previous);
        }
        free(u->rows);
        free(u->binary);
}

static struct out_upgrade *row_add(struct upgrades *u, const char *runtime_namespace,
                                   const char *id)
{
        struct out_upgrade *row;

        if (u->n == u->room) {
                size_t room = u->room ? 2 * u->room : 16;
                struct out_upgrade *grown = reallocarray(u->rows, room, sizeof(*grown));

                if (!grown)
                        return NULL;
                u->rows = grown;
                u->room = room;
        }
        row = &u->rows[u->n];
        *row = (struct out_upgrade){.id = strdup(id),
                                    .runtime_namespace = strdup(runtime_namespace)};
        u->n++;
        return row->id && row->runtime_namespace ? row : NULL;
}

static int ask(struct container *c, const char *binary, struct out_upgrade *row, struct error *err)
{
        Belay__V1__UpgradeRequest request = BELAY__V1__UPGRADE_REQUEST__INIT;
        const Belay__V1__UpgradeResponse *response;
        ProtobufCMessage *message = NULL;

        if (binary)
                request.path = (char *)binary;
        if (task_call_belay(c->task, "Upgrade", &request.base, TIMEOUT_NS, &message, err) < 0)
                return -1;
        response = (const Belay__V1__UpgradeResponse *)message;
        row->version = strdup(response->version);
        row->previous = strdup(response->previous);
        protobuf_c_message_free_unpacked(message, NULL);
        return 0;
}

/* named: somebody has asked for this one. */
static int upgrade_one(struct upgrades *u, const struct args *args, bool named, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        struct out_upgrade *row = row_add(u, args->runtime_namespace, args->id);
        struct error lost = ERROR_INIT;

        if (!row)
                return error_errno(err, ENOMEM, "upgrade");
        if (container_open(&c, args, &lost, &row->why) < 0 || !c.task) {
                if (lost.code != STATUS_OK)
                        row->why = lost;
                (void)error_prefix(&row->why, "no shim");
                row->result = named ? OUT_FAILED : OUT_SKIPPED;
        } else if (ask(&c, u->binary, row, &row->why) < 0) {
                bool other = row->why.code == STATUS_UNIMPLEMENTED;

                if (other)
                        (void)error_prefix(&row->why, "not a shim that can be upgraded");
                row->result = other && !named ? OUT_SKIPPED : OUT_FAILED;
        }
        return 0;
}

static int upgrade_all(struct upgrades *u, const struct args *args, struct error *err)
{
        char **ids = NULL;
        size_t n = 0;
        int r = store_list(args->root, &ids, &n, err);

        for (size_t i = 0; r == 0 && i < n; i++) {
                struct args one = *args;

                one.id = ids[i];
                r = upgrade_one(u, &one, false, err);
        }
        store_list_free(ids, n);
        return r;
}

/* One namespace of a containerd. */
static int upgrade_namespace(struct upgrades *u, const struct args *args, const char *tasks,
                             const char *name, struct error *err)
{
        _cleanup_free_ char *dir = str_printf("%s/%s", tasks, name);
        char **ids = NULL;
        size_t n = 0;
        int r = dir ? store_list(dir, &ids, &n, err) : error_errno(err, ENOMEM, "upgrade");

        for (size_t i = 0; r == 0 && i < n; i++) {
                _cleanup_free_ char *bundle = str_printf("%s/%s", dir, ids[i]);
                struct args one = *args;

                if (!bundle)
                        r = error_errno(err, ENOMEM, "upgrade");
                one.id = ids[i];
                one.bundle = bundle;
                one.runtime_namespace = name;
                if (r == 0)
                        r = upgrade_one(u, &one, false, err);
        }
        store_list_free(ids, n);
        return r;
}

static int upgrade_containerd(struct upgrades *u, const struct args *args, struct error *err)
{
        _cleanup_free_ char *tasks = str_printf("%s/" CONTAINERD_TASKS, args->containerd);
        _cleanup_closedir_ DIR *dir = tasks ? opendir(tasks) : NULL;
        const struct dirent *entry;

        if (!dir)
                return error_errno(err, errno, "containerd's tasks in '%s'", args->containerd);
        while ((entry = readdir(dir))) {
                if (id_is_valid(entry->d_name) &&
                    upgrade_namespace(u, args, tasks, entry->d_name, err) < 0)
                        return -1;
        }
        return 0;
}

static int upgrade_named(struct upgrades *u, const struct args *args, struct error *err)
{
        for (size_t i = 0; i < args->n_words; i++) {
                struct args one = *args;

                one.id = args->words[i];
                if (upgrade_one(u, &one, true, err) < 0)
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
        _cleanup_(upgrades_deinit) struct upgrades u = {.rows = NULL};

        if (args->binary) {
                u.binary = realpath(args->binary, NULL);
                if (!u.binary)
                        return error_errno(err, errno, "binary '%s'", args->binary);
        }
        if (upgrade_named(&u, args, err) < 0 ||
            (args->upgrade_all && upgrade_all(&u, args, err) < 0) ||
            (args->containerd && upgrade_containerd(&u, args, err) < 0))
                return -1;
        out_upgrades(u.rows, u.n, args->json);
        *ret_status = 0;
        for (size_t i = 0; i < u.n; i++) {
                if (u.rows[i].result == OUT_FAILED)
                        *ret_status = EXIT_FAILURE;
        }
        return 0;
}
