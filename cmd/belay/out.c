/* SPDX-License-Identifier: Apache-2.0
 *
 * See out.h. json-c does the quoting.
 */
#include "cmd/belay/out.h"

#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

void out_format_time(char buf[static OUT_TIME_BYTES], int64_t seconds, int32_t nanos)
{
        char text[CLOCK_TEXT_MAX];

        buf[0] = '\0';
        if (seconds <= 0)
                return;
        clock_format(seconds, nanos, text);
        (void)snprintf(buf, OUT_TIME_BYTES, "%.*sZ", (int)strlen("2006-01-02T15:04:05.000"), text);
}

static void add_string(struct json_object *object, const char *key, const char *value)
{
        json_object_object_add(object, key, json_object_new_string(value ? value : ""));
}

static void add_time(struct json_object *object, const char *key, int64_t seconds, int32_t nanos)
{
        char text[OUT_TIME_BYTES];

        out_format_time(text, seconds, nanos);
        add_string(object, key, text);
}

static void print(struct json_object *object)
{
        puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                            JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(object);
}

static void line(const char *name, const char *value)
{
        if (!str_is_empty(value))
                printf("%-12s %s\n", name, value);
}

static void io_lines(const struct view_io *io)
{
        bool is_log = str_equal(io->kind, "log");

        if (!is_log && !str_equal(io->kind, "logger"))
                return;
        printf("%-12s %s\n", "drained", io->drained ? "yes" : "no");
        if (is_log)
                printf("%-12s %" PRIu64 ", and %" PRIu64 " rotations\n", "bytes", io->bytes,
                       io->rotations);
        if (io->bytes_dropped > 0)
                printf("%-12s %" PRIu64 " bytes\n", "dropped", io->bytes_dropped);
        if (io->write_errors > 0)
                printf("%-12s %" PRIu64 ", the last: %s\n", "write errors", io->write_errors,
                       io->last_error);
        if (io->logger_restarts > 0)
                printf("%-12s %" PRIu32 "\n", "restarts", io->logger_restarts);
}

void out_state(const struct view *view)
{
        char time_text[OUT_TIME_BYTES];

        line("id", view->id);
        line("exec", view->exec_id);
        line("status", view->status);
        if (view->state.pid)
                printf("%-12s %u\n", "pid", view->state.pid);
        if (view->shim_pid)
                printf("%-12s %u\n", "shim", view->shim_pid);
        if (view->exited) {
                out_format_time(time_text, view->state.exited_at, view->state.exited_at_nanos);
                printf("%-12s %u\n", "exit status", view->state.exit_status);
                line("exited at", time_text);
        }
        line("reason", view->reason);
        if (view->oom_level && view->oom_up > 0)
                printf("%-12s %s, %u up\n", "limit of", view->oom_level, view->oom_up);
        else
                line("limit of", view->oom_level);
        line("bundle", view->state.bundle);
        line("terminal", view->state.terminal ? "yes" : "no");
        line("stdin", view->state.in);
        line("stdout", view->state.out);
        line("stderr", view->state.err);
        io_lines(&view->io);
}

void out_exit(const struct task_state *state, bool json)
{
        struct json_object *object;

        if (!json) {
                printf("%u\n", state->exit_status);
                return;
        }
        object = json_object_new_object();
        json_object_object_add(object, "exit_status", json_object_new_int64(state->exit_status));
        add_time(object, "exited_at", state->exited_at, state->exited_at_nanos);
        print(object);
}

static void list_json(const struct out_row *rows, size_t n)
{
        struct json_object *array = json_object_new_array();

        for (size_t i = 0; i < n; i++) {
                struct json_object *row = json_object_new_object();

                add_string(row, "id", rows[i].id);
                json_object_object_add(row, "pid", json_object_new_int64(rows[i].pid));
                add_string(row, "status", rows[i].status);
                if (rows[i].exited)
                        json_object_object_add(row, "exit_status",
                                               json_object_new_int64(rows[i].exit_status));
                add_string(row, "bundle", rows[i].bundle);
                add_time(row, "created_at", rows[i].created_at.tv_sec,
                         (int32_t)rows[i].created_at.tv_nsec);
                json_object_array_add(array, row);
        }
        print(array);
}

void out_list(const struct out_row *rows, size_t n, bool json)
{
        int width = 2;

        if (json) {
                list_json(rows, n);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                int len = (int)strlen(rows[i].id);

                width = len > width ? len : width;
        }
        printf("%-*s  %-7s  %-12s  %-24s  %s\n", width, "ID", "PID", "STATUS", "CREATED", "BUNDLE");
        for (size_t i = 0; i < n; i++) {
                char created[OUT_TIME_BYTES];
                char status[32];
                char pid[16] = "-";

                out_format_time(created, rows[i].created_at.tv_sec,
                                (int32_t)rows[i].created_at.tv_nsec);
                (void)snprintf(status, sizeof(status), rows[i].exited ? "%s (%u)" : "%s",
                               rows[i].status, rows[i].exit_status);
                if (rows[i].pid)
                        (void)snprintf(pid, sizeof(pid), "%u", rows[i].pid);
                printf("%-*s  %-7s  %-12s  %-24s  %s\n", width, rows[i].id, pid, status, created,
                       rows[i].bundle);
        }
}

void out_id(const char *key, const char *id, bool json)
{
        struct json_object *object;

        if (!json) {
                puts(id);
                return;
        }
        object = json_object_new_object();
        add_string(object, key, id);
        print(object);
}

void out_upgrades_json(const struct out_upgrade *rows, size_t n)
{
        static const char *const results[] = {
                [OUT_UPGRADED] = "upgraded",
                [OUT_FAILED] = "failed",
                [OUT_SKIPPED] = "skipped",
        };
        struct json_object *array = json_object_new_array();

        for (size_t i = 0; i < n; i++) {
                struct json_object *row = json_object_new_object();

                add_string(row, "id", rows[i].id);
                add_string(row, "namespace", rows[i].runtime_namespace);
                add_string(row, "result", results[rows[i].result]);
                if (rows[i].result == OUT_UPGRADED) {
                        add_string(row, "previous", rows[i].previous);
                        add_string(row, "version", rows[i].version);
                } else {
                        add_string(row, "reason", rows[i].why.msg);
                }
                json_object_array_add(array, row);
        }
        print(array);
}

void out_upgrade(const struct out_upgrade *row)
{
        if (row->result == OUT_UPGRADED)
                printf("%s: %s -> %s\n", row->id, row->previous, row->version);
        else
                printf("%s: %s: %s\n", row->id,
                       row->result == OUT_FAILED ? "not upgraded" : "passed over", row->why.msg);
        (void)fflush(stdout);
}

void out_log_error(const char *path, const char *format, const char *msg)
{
        _cleanup_close_ int fd =
                open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC, 0644);
        struct json_object *object = json_object_new_object();
        struct timespec now = clock_realtime();

        add_string(object, "level", "error");
        add_string(object, "msg", msg);
        add_time(object, "time", now.tv_sec, (int32_t)now.tv_nsec);
        if (fd >= 0 && str_equal(format, "json"))
                dprintf(fd, "%s\n",
                        json_object_to_json_string_ext(object, JSON_C_TO_STRING_NOSLASHESCAPE));
        else if (fd >= 0)
                dprintf(fd, "time=%s level=error msg=%s\n",
                        json_object_to_json_string(json_object_object_get(object, "time")),
                        json_object_to_json_string_ext(json_object_object_get(object, "msg"),
                                                       JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(object);
}
