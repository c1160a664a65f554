/* SPDX-License-Identifier: Apache-2.0
 *
 * Records on disk: see record.h. Written and read by hand, since the shim has no JSON library and
 * this needs none: a flat object of numbers, booleans and strings that are ids. An id needs no
 * escape, but the writer escapes and the reader unescapes all the same, so that the file is JSON
 * whatever an id may one day be.
 */
#include "shim/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"

enum {
        RECORD_BYTES_MAX = 2048, /* a record with two ids of the longest kind has below 700 */
        FILE_NAME_BYTES = LIMIT_ID_LENGTH + 16,
        STAT_BYTES_MAX = 1024,
        STAT_START_FIELD = 22, /* proc_pid_stat(5) */
};

static const char *const reason_names[_RECORD_REASON_MAX] = {
        [RECORD_EXITED] = "exited",         [RECORD_SIGNAL] = "signal",
        [RECORD_OOM_KILLED] = "oom_killed", [RECORD_RUNTIME_ERROR] = "runtime_error",
        [RECORD_UNKNOWN] = "unknown",
};

const char *record_reason_name(enum record_reason reason)
{
        return reason_names[reason];
}

/* False when the id could not be a part of a file name. */
static bool file_name(char name[FILE_NAME_BYTES], const char *exec_id)
{
        if (str_is_empty(exec_id)) {
                (void)snprintf(name, FILE_NAME_BYTES, "init.json");
                return true;
        }
        if (!id_is_valid(exec_id))
                return false;
        (void)snprintf(name, FILE_NAME_BYTES, "exec-%s.json", exec_id);
        return true;
}

/* ---- Writing ---- */

struct text {
        char bytes[RECORD_BYTES_MAX];
        size_t len;
};

__attribute__((format(printf, 2, 3))) static void text_add(struct text *t, const char *fmt, ...)
{
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vsnprintf(t->bytes + t->len, sizeof(t->bytes) - t->len, fmt, ap);
        va_end(ap);
        if (n > 0)
                t->len += (size_t)n;
        if (t->len >= sizeof(t->bytes))
                t->len = sizeof(t->bytes) - 1;
}

static void text_add_string(struct text *t, const char *key, const char *value)
{
        text_add(t, "\"%s\":\"", key);
        for (; *value; value++) {
                unsigned char c = (unsigned char)*value;

                if (c == '"' || c == '\\')
                        text_add(t, "\\%c", c);
                else if (c < 0x20)
                        text_add(t, "\\u%04x", c);
                else
                        text_add(t, "%c", c);
        }
        text_add(t, "\"");
}

static void text_add_time(struct text *t, const char *key, const struct timespec *at)
{
        text_add(t, ",\"%s_sec\":%" PRId64 ",\"%s_nsec\":%ld", key, (int64_t)at->tv_sec, key,
                 at->tv_nsec);
}

int shim_record_write(int bundle_fd, const struct shim_record *record, struct error *err)
{
        char name[FILE_NAME_BYTES];
        struct text t = {.len = 0};
        int r;

        if (!file_name(name, record->exec_id))
                return error_set(err, STATUS_INVALID_ARGUMENT, "write record of '%s': bad id",
                                 record->exec_id);
        text_add(&t, "{");
        text_add_string(&t, "id", record->id);
        text_add(&t, ",");
        text_add_string(&t, "exec_id", record->exec_id);
        text_add(&t, ",\"pid\":%d,\"start_ticks\":%" PRIu64, (int)record->pid, record->start_ticks);
        text_add_time(&t, "started_at", &record->started_at);
        if (record->paused)
                text_add(&t, ",\"paused\":true");
        text_add(&t, ",\"exited\":%s", record->exited ? "true" : "false");
        if (record->exited) {
                text_add(&t, ",\"exit_status\":%" PRIu32 ",\"signal\":%d", record->exit_status,
                         record->signal);
                text_add(&t, ",\"core_dumped\":%s", record->core_dumped ? "true" : "false");
                text_add(&t, ",\"oom_killed\":%s,", record->oom_killed ? "true" : "false");
                if (record->oom_killed) {
                        text_add_string(&t, "oom_level", cgroup_oom_level_name(record->oom_level));
                        text_add(&t, ",\"oom_up\":%u,", record->oom_up);
                }
                text_add_string(&t, "reason", record_reason_name(record->reason));
                text_add_time(&t, "exited_at", &record->exited_at);
                if (record->drain_known)
                        text_add(&t, ",\"drained\":%s", record->drained ? "true" : "false");
        }
        text_add(&t, "}\n");
        r = file_write_atomic(bundle_fd, name, t.bytes, t.len, 0600);
        if (r < 0)
                return error_errno(err, -r, "write record '%s'", name);
        return 0;
}

/* ---- Reading ---- */

int shim_record_read(int bundle_fd, const char *exec_id, struct shim_record *ret, struct error *err)
{
        struct shim_record rec = {.pid = 0};
        char name[FILE_NAME_BYTES];
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int r;

        if (!file_name(name, exec_id))
                return error_set(err, STATUS_INVALID_ARGUMENT, "read record of '%s': bad id",
                                 exec_id);
        r = file_read(bundle_fd, name, RECORD_BYTES_MAX, &text, &len);
        if (r == -ENOENT)
                return error_set(err, STATUS_NOT_FOUND, "read record '%s': not found", name);
        if (r < 0)
                return error_errno(err, -r, "read record '%s'", name);
        if (!shim_record_parse(text, len, &rec))
                return error_set(err, STATUS_DATA_LOSS, "read record '%s': not a record", name);
        if (!str_equal(rec.exec_id, exec_id))
                return error_set(err, STATUS_DATA_LOSS, "read record '%s': it is that of '%s'",
                                 name, rec.exec_id);
        *ret = rec;
        return 0;
}

void shim_record_remove(int bundle_fd, const char *exec_id)
{
        char name[FILE_NAME_BYTES];

        if (!str_is_empty(exec_id) && file_name(name, exec_id))
                (void)unlinkat(bundle_fd, name, 0);
}

void shim_record_unlink_init(int bundle_fd)
{
        (void)unlinkat(bundle_fd, "init.json", 0);
}

/* ---- The start time ---- */

uint64_t process_start_ticks(pid_t pid)
{
        _cleanup_free_ char *text = NULL;
        char path[32];
        const char *p;
        uint64_t ticks = 0;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        if (pid <= 0 || file_read(AT_FDCWD, path, STAT_BYTES_MAX, &text, NULL) < 0)
                return 0;
        /* The name in parentheses may hold anything, so fields are counted after the last one. */
        p = strrchr(text, ')');
        for (int field = 2; p && field < STAT_START_FIELD; field++) {
                p = strchr(p, ' ');
                p = p ? p + 1 : NULL;
        }
        while (p && *p >= '0' && *p <= '9')
                ticks = ticks * 10 + (uint64_t)(*p++ - '0');
        return ticks;
}
