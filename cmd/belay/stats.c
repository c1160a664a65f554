/* SPDX-License-Identifier: Apache-2.0
 *
 * belay stats: a table for people, or lines for programs. Every look asks each container anew, so
 * that with no ids on the command line those that come and go do so in the table, too.
 */
#include <containerd/v1/types/task.pb-c.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#include "cmd/belay/container.h"
#include "cmd/belay/duration.h"
#include "cmd/belay/metrics.h"
#include "cmd/belay/store.h"
#include "cmd/belay/verbs.h"

#define INTERVAL_DEFAULT "1s"

#define CURSOR_HOME    "\033[H"
#define CLEAR_TO_END   "\033[J"
#define CLEAR_LINE_END "\033[K"
#define CLEAR_ALL      "\033[2J"

/* What one look has found. */
struct sample {
        char *id;
        uint64_t at_ns;
        struct metrics_summary summary;
};

struct samples {
        struct sample *items;
        size_t n;
};

static void samples_deinit(struct samples *samples)
{
        for (size_t i = 0; i < samples->n; i++)
                free(samples->items[i].id);
        free(samples->items);
        *samples = (struct samples){NULL};
}

int verb_stats_check(const struct args *args, struct error *err)
{
        uint64_t interval;

        for (size_t i = 0; i < args->n_words; i++) {
                if (!id_is_valid(args->words[i]))
                        return error_set(err, STATUS_INVALID_ARGUMENT, "'%s' is not an id",
                                         args->words[i]);
        }
        if ((args->bundle || args->address) && args->n_words != 1)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "--bundle and --address are of one container: which?");
        if (args->interval && duration_parse(args->interval, &interval, err) < 0)
                return error_prefix(err, "--interval");
        return 0;
}

/* Without names on the command line what has ended is passed over. */
static int check_runs(struct task *task, const char *id, struct error *err)
{
        _cleanup_(task_state_deinit) struct task_state state = {0};

        if (task_state(task, id, "", &state, err) < 0)
                return -1;
        if (state.status == CONTAINERD__V1__TYPES__STATUS__STOPPED)
                return error_set(err, STATUS_FAILED_PRECONDITION, "has ended");
        return 0;
}

static int ask(const struct args *args, const char *id, struct sample *ret, struct error *err)
{
        _cleanup_(container_close) struct container c = {0};
        _cleanup_(metrics_deinit) struct metrics metrics = {NULL};
        struct args one = *args;
        char *copy;

        one.id = id;
        if (container_open(&c, &one, NULL, err) < 0 ||
            (args->n_words == 0 && check_runs(c.task, id, err) < 0) ||
            task_stats(c.task, id, &metrics, err) < 0)
                return -1;
        copy = strdup(id);
        if (!copy)
                return error_errno(err, ENOMEM, "stats");
        *ret = (struct sample){.id = copy, .at_ns = clock_monotonic_ns()};
        metrics_summarize(&metrics, &ret->summary);
        return 0;
}

/* strict: those that cannot be asked are an error; else they are left out. */
static int look_at(const struct args *args, const char *const *ids, size_t n, bool strict,
                   struct samples *ret, struct error *err)
{
        struct samples samples = {.items = calloc(n + 1, sizeof(*samples.items))};

        if (!samples.items)
                return error_errno(err, ENOMEM, "stats");
        for (size_t i = 0; i < n; i++) {
                struct error why = ERROR_INIT;

                if (ask(args, ids[i], &samples.items[samples.n], &why) == 0) {
                        samples.n++;
                } else if (strict) {
                        samples_deinit(&samples);
                        *err = why;
                        return error_prefix(err, "%s", ids[i]);
                }
        }
        *ret = samples;
        return 0;
}

static int look(const struct args *args, bool first, struct samples *ret, struct error *err)
{
        char **ids = NULL;
        size_t n = 0;
        int r;

        if (args->n_words > 0)
                return look_at(args, args->words, args->n_words, first, ret, err);
        if (store_list(args->root, &ids, &n, err) < 0)
                return -1;
        r = look_at(args, (const char *const *)ids, n, false, ret, err);
        store_list_free(ids, n);
        return r;
}

static const struct sample *find(const struct samples *samples, const char *id)
{
        for (size_t i = 0; i < samples->n; i++) {
                if (str_equal(samples->items[i].id, id))
                        return &samples->items[i];
        }
        return NULL;
}

static int print_json(const struct metrics_row *rows, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *line = metrics_row_json(&rows[i]);

                if (!line)
                        return -1;
                puts(line);
        }
        return 0;
}

static int print_table(const struct metrics_row *rows, size_t n, bool terminal)
{
        _cleanup_free_ char *table = metrics_table(rows, n, terminal ? CLEAR_LINE_END "\n" : "\n");

        if (!table)
                return -1;
        if (terminal)
                printf(CURSOR_HOME "%s" CLEAR_TO_END, table);
        else
                (void)fputs(table, stdout);
        return 0;
}

static int print(const struct args *args, const struct samples *now, const struct samples *before,
                 bool terminal, struct error *err)
{
        _cleanup_free_ struct metrics_row *rows = calloc(now->n + 1, sizeof(*rows));
        int r;

        if (!rows)
                return error_errno(err, ENOMEM, "stats");
        for (size_t i = 0; i < now->n; i++) {
                const struct sample *sample = &now->items[i];
                const struct sample *earlier = find(before, sample->id);

                rows[i] = (struct metrics_row){.id = sample->id, .now = sample->summary};
                if (earlier) {
                        rows[i].before = earlier->summary;
                        rows[i].elapsed_ns = sample->at_ns - earlier->at_ns;
                }
        }
        r = args->json ? print_json(rows, now->n) : print_table(rows, now->n, terminal);
        if (r < 0)
                return error_errno(err, ENOMEM, "stats");
        if (fflush(stdout) != 0)
                return error_errno(err, errno, "write to standard output");
        return 0;
}

static void sleep_ns(uint64_t ns)
{
        struct timespec left = {.tv_sec = (time_t)(ns / NSEC_PER_SEC),
                                .tv_nsec = (long)(ns % NSEC_PER_SEC)};

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                ;
}

/* CPU time is of an interval, so even what is printed once is printed after one. */
int verb_stats(const struct args *args, int *ret_status, struct error *err)
{
        bool terminal = !args->json && !args->no_stream && isatty(STDOUT_FILENO);
        _cleanup_(samples_deinit) struct samples before = {NULL};
        uint64_t interval = 0;
        int r;

        *ret_status = 0;
        if (duration_parse(args->interval ? args->interval : INTERVAL_DEFAULT, &interval, err) <
                    0 ||
            look(args, true, &before, err) < 0)
                return -1;
        if (terminal)
                (void)fputs(CLEAR_ALL, stdout);
        if (terminal && print(args, &before, &(struct samples){NULL}, true, err) < 0)
                return -1;
        do {
                struct samples now = {NULL};

                sleep_ns(interval);
                r = look(args, false, &now, err);
                if (r == 0)
                        r = print(args, &now, &before, terminal, err);
                samples_deinit(&before);
                before = now;
                if (args->n_words > 0 && now.n == 0)
                        break; /* all that were named are gone */
        } while (r == 0 && !args->no_stream);
        return r;
}
