/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of records: see record.h. A pure function over bytes that may be anything, since a
 * bundle outlives the shim that wrote into it. No nesting, no allocation: each value goes straight
 * into its field, once.
 */
#include <string.h>

#include "pkg/base/clock.h"

#include "shim/record.h"

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
        FIELD_PAUSED, /* is there only when true */
        FIELD_EXITED,
        FIELD_EXIT_STATUS,
        FIELD_SIGNAL,
        FIELD_CORE_DUMPED,
        FIELD_OOM_KILLED,
        FIELD_REASON,
        FIELD_EXITED_SEC,
        FIELD_EXITED_NSEC,
        FIELD_OOM_LEVEL, /* these two only with oom_killed */
        FIELD_OOM_UP,
        FIELD_DRAINED, /* only when exited, and Delete has waited */
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
        [FIELD_PAUSED] = {"paused", VALUE_BOOL},
        [FIELD_EXITED] = {"exited", VALUE_BOOL},
        [FIELD_EXIT_STATUS] = {"exit_status", VALUE_NUMBER, 0, UINT32_MAX},
        [FIELD_SIGNAL] = {"signal", VALUE_NUMBER, 0, 64},
        [FIELD_CORE_DUMPED] = {"core_dumped", VALUE_BOOL},
        [FIELD_OOM_KILLED] = {"oom_killed", VALUE_BOOL},
        [FIELD_REASON] = {"reason", VALUE_STRING},
        [FIELD_EXITED_SEC] = {"exited_at_sec", VALUE_NUMBER, INT64_MIN, INT64_MAX},
        [FIELD_EXITED_NSEC] = {"exited_at_nsec", VALUE_NUMBER, 0, NSEC_PER_SEC - 1},
        [FIELD_OOM_LEVEL] = {"oom_level", VALUE_STRING},
        [FIELD_OOM_UP] = {"oom_up", VALUE_NUMBER, 0, LIMIT_OOM_LEVELS},
        [FIELD_DRAINED] = {"drained", VALUE_BOOL},
};

static bool reason_parse(const char *name, enum record_reason *ret)
{
        for (int i = 0; i < _RECORD_REASON_MAX; i++) {
                if (strcmp(record_reason_name((enum record_reason)i), name) == 0) {
                        *ret = (enum record_reason)i;
                        return true;
                }
        }
        return false;
}

static bool oom_level_parse(const char *name, enum cgroup_oom_level *ret)
{
        for (int i = 0; i < _CGROUP_OOM_LEVEL_MAX; i++) {
                if (strcmp(cgroup_oom_level_name((enum cgroup_oom_level)i), name) == 0) {
                        *ret = (enum cgroup_oom_level)i;
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
        case FIELD_PAUSED:
                rec->paused = v->boolean;
                return rec->paused;
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
        case FIELD_OOM_LEVEL:
                return oom_level_parse(v->string, &rec->oom_level);
        case FIELD_OOM_UP:
                rec->oom_up = (unsigned)v->number;
                return true;
        case FIELD_DRAINED:
                rec->drain_known = true;
                rec->drained = v->boolean;
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

bool shim_record_parse(const char *text, size_t len, struct shim_record *ret)
{
        const unsigned when_running = (1u << (FIELD_EXITED + 1)) - 1;
        const unsigned when_exited = (1u << FIELD_OOM_LEVEL) - 1;
        const unsigned when_oom_killed = (1u << FIELD_DRAINED) - 1;
        struct reader r = {.p = text, .end = text + len};
        unsigned seen = 0;

        *ret = (struct shim_record){.pid = 0};
        if (!take_char(&r, '{'))
                return false;
        do {
                if (!take_member(&r, ret, &seen))
                        return false;
        } while (take_char(&r, ','));
        if (!take_char(&r, '}') || !take_char(&r, '\n') || r.p != r.end)
                return false;
        if (ret->paused && ret->exited)
                return false;
        seen |= 1u << FIELD_PAUSED;
        if (!ret->exited)
                return seen == when_running;
        seen &= ~(1u << FIELD_DRAINED);
        return seen == (ret->oom_killed ? when_oom_killed : when_exited);
}
