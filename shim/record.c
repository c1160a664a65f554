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
#include "pkg/base/clock.h"
#include "pkg/base/str.h"

enum {
        RECORD_BYTES_MAX = 2048, /* a record with two ids of the longest kind has below 700 */
        FILE_NAME_BYTES = LIMIT_ID_LENGTH + 16,
        STAT_BYTES_MAX = 1024,
        STAT_START_FIELD = 22, /* proc_pid_stat(5) */
};

static const char *const reason_names[_RECORD_REASON_MAX] = {
        [RECORD_EXITED] = "exited",
        [RECORD_SIGNAL] = "signal",
        [RECORD_OOM_KILLED] = "oom_killed",
        [RECORD_RUNTIME_ERROR] = "runtime_error",
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
        text_add(&t, ",\"exited\":%s", record->exited ? "true" : "false");
        if (record->exited) {
                text_add(&t, ",\"exit_status\":%" PRIu32 ",\"signal\":%d", record->exit_status,
                         record->signal);
                text_add(&t, ",\"core_dumped\":%s", record->core_dumped ? "true" : "false");
                text_add(&t, ",\"oom_killed\":%s,", record->oom_killed ? "true" : "false");
                text_add_string(&t, "reason", record_reason_name(record->reason));
                text_add_time(&t, "exited_at", &record->exited_at);
        }
        text_add(&t, "}\n");
        r = file_write_atomic(bundle_fd, name, t.bytes, t.len, 0600);
        if (r < 0)
                return error_errno(err, -r, "write record '%s'", name);
        return 0;
}

/* ---- Reading ---- */

struct reader {
        const char *p;
        const char *end;
};

/* One value of the object; which member holds depends on kind. */
struct value {
        enum { VALUE_STRING, VALUE_NUMBER, VALUE_BOOL } kind;
        char string[LIMIT_ID_LENGTH + 1];
        int64_t number;
        bool boolean;
};

static bool take_char(struct reader *r, char c)
{
        if (r->p == r->end || *r->p != c)
                return false;
        r->p++;
        return true;
}

static bool take_word(struct reader *r, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
                return false;
        r->p += n;
        return true;
}

/* The four digits after \u; only what the writer makes: control characters other than NUL. */
static bool take_unicode(struct reader *r, char *ret)
{
        unsigned value = 0;

        for (int i = 0; i < 4; i++) {
                static const char digits[] = "0123456789abcdef";
                const char *d;

                if (r->p == r->end || !*r->p || !(d = strchr(digits, *r->p)))
                        return false;
                value = value * 16 + (unsigned)(d - digits);
                r->p++;
        }
        *ret = (char)value;
        return value > 0 && value < 0x20;
}

static bool take_string(struct reader *r, char *out, size_t room)
{
        size_t n = 0;

        if (!take_char(r, '"'))
                return false;
        while (!take_char(r, '"')) {
                char c;

                if (r->p == r->end)
                        return false;
                c = *r->p++;
                if ((unsigned char)c < 0x20)
                        return false;
                if (c == '\\') {
                        if (take_char(r, 'u')) {
                                if (!take_unicode(r, &c))
                                        return false;
                        } else if (take_char(r, '"')) {
                                c = '"';
                        } else if (!take_char(r, '\\')) {
                                return false;
                        }
                }
                if (n + 1 >= room)
                        return false;
                out[n++] = c;
        }
        out[n] = '\0';
        return true;
}

static bool take_number(struct reader *r, int64_t *ret)
{
        bool negative = take_char(r, '-');
        const char *start = r->p;
        int64_t value = 0;

        while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
                if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
                    __builtin_add_overflow(value, (int64_t)(*r->p - '0'), &value))
                        return false;
                r->p++;
        }
        if (r->p == start || (*start == '0' && r->p - start > 1))
                return false;
        *ret = negative ? -value : value;
        return true;
}

static bool take_value(struct reader *r, struct value *v)
{
        if (r->p < r->end && *r->p == '"') {
                v->kind = VALUE_STRING;
                return take_string(r, v->string, sizeof(v->string));
        }
        v->boolean = take_word(r, "true");
        if (v->boolean || take_word(r, "false")) {
                v->kind = VALUE_BOOL;
                return true;
        }
        v->kind = VALUE_NUMBER;
        return take_number(r, &v->number);
}

enum field {
        FIELD_ID,
        FIELD_EXEC_ID,
        FIELD_PID,
        FIELD_START_TICKS,
        FIELD_STARTED_SEC,
        FIELD_STARTED_NSEC,
        FIELD_EXITED,
        FIELD_EXIT_STATUS,
        FIELD_SIGNAL,
        FIELD_CORE_DUMPED,
        FIELD_OOM_KILLED,
        FIELD_REASON,
        FIELD_EXITED_SEC,
        FIELD_EXITED_NSEC,
        _FIELD_MAX
};

static const struct {
        const char *key;
        int kind;
        int64_t min;
        int64_t max;
} fields[_FIELD_MAX] = {
        [FIELD_ID] = {"id", VALUE_STRING},
        [FIELD_EXEC_ID] = {"exec_id", VALUE_STRING},
        [FIELD_PID] = {"pid", VALUE_NUMBER, 0, INT32_MAX},
        [FIELD_START_TICKS] = {"start_ticks", VALUE_NUMBER, 0, INT64_MAX},
        [FIELD_STARTED_SEC] = {"started_at_sec", VALUE_NUMBER, INT64_MIN, INT64_MAX},
        [FIELD_STARTED_NSEC] = {"started_at_nsec", VALUE_NUMBER, 0, NSEC_PER_SEC - 1},
        [FIELD_EXITED] = {"exited", VALUE_BOOL},
        [FIELD_EXIT_STATUS] = {"exit_status", VALUE_NUMBER, 0, UINT32_MAX},
        [FIELD_SIGNAL] = {"signal", VALUE_NUMBER, 0, 64},
        [FIELD_CORE_DUMPED] = {"core_dumped", VALUE_BOOL},
        [FIELD_OOM_KILLED] = {"oom_killed", VALUE_BOOL},
        [FIELD_REASON] = {"reason", VALUE_STRING},
        [FIELD_EXITED_SEC] = {"exited_at_sec", VALUE_NUMBER, INT64_MIN, INT64_MAX},
        [FIELD_EXITED_NSEC] = {"exited_at_nsec", VALUE_NUMBER, 0, NSEC_PER_SEC - 1},
};

static bool reason_parse(const char *name, enum record_reason *ret)
{
        for (int i = 0; i < _RECORD_REASON_MAX; i++) {
                if (strcmp(reason_names[i], name) == 0) {
                        *ret = (enum record_reason)i;
                        return true;
                }
        }
        return false;
}

static bool field_store(enum field field, const struct value *v, struct shim_record *rec)
{
        switch (field) {
        case FIELD_ID:
                memcpy(rec->id, v->string, sizeof(rec->id));
                return true;
        case FIELD_EXEC_ID:
                memcpy(rec->exec_id, v->string, sizeof(rec->exec_id));
                return true;
        case FIELD_PID:
                rec->pid = (pid_t)v->number;
                return true;
        case FIELD_START_TICKS:
                rec->start_ticks = (uint64_t)v->number;
                return true;
        case FIELD_STARTED_SEC:
                rec->started_at.tv_sec = (time_t)v->number;
                return true;
        case FIELD_STARTED_NSEC:
                rec->started_at.tv_nsec = (long)v->number;
                return true;
        case FIELD_EXITED:
                rec->exited = v->boolean;
                return true;
        case FIELD_EXIT_STATUS:
                rec->exit_status = (uint32_t)v->number;
                return true;
        case FIELD_SIGNAL:
                rec->signal = (int)v->number;
                return true;
        case FIELD_CORE_DUMPED:
                rec->core_dumped = v->boolean;
                return true;
        case FIELD_OOM_KILLED:
                rec->oom_killed = v->boolean;
                return true;
        case FIELD_REASON:
                return reason_parse(v->string, &rec->reason);
        case FIELD_EXITED_SEC:
                rec->exited_at.tv_sec = (time_t)v->number;
                return true;
        case FIELD_EXITED_NSEC:
                rec->exited_at.tv_nsec = (long)v->number;
                return true;
        case _FIELD_MAX:
                break;
        }
        return false;
}

/* One `"key":value` of the object; seen has a bit for each field that was there. */
static bool take_member(struct reader *r, struct shim_record *rec, unsigned *seen)
{
        struct value v = {.kind = VALUE_STRING};
        char key[32];

        if (!take_string(r, key, sizeof(key)) || !take_char(r, ':') || !take_value(r, &v))
                return false;
        for (int i = 0; i < _FIELD_MAX; i++) {
                if (strcmp(fields[i].key, key) != 0)
                        continue;
                if ((int)v.kind != fields[i].kind || (*seen & 1u << i))
                        return false;
                if (v.kind == VALUE_NUMBER &&
                    (v.number < fields[i].min || v.number > fields[i].max))
                        return false;
                *seen |= 1u << i;
                return field_store((enum field)i, &v, rec);
        }
        return false;
}

static bool record_parse(const char *text, size_t len, struct shim_record *rec)
{
        const unsigned when_running = (1u << (FIELD_EXITED + 1)) - 1;
        const unsigned when_exited = (1u << _FIELD_MAX) - 1;
        struct reader r = {.p = text, .end = text + len};
        unsigned seen = 0;

        if (!take_char(&r, '{'))
                return false;
        do {
                if (!take_member(&r, rec, &seen))
                        return false;
        } while (take_char(&r, ','));
        if (!take_char(&r, '}') || !take_char(&r, '\n') || r.p != r.end)
                return false;
        return seen == (rec->exited ? when_exited : when_running);
}

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
        if (!record_parse(text, len, &rec))
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
