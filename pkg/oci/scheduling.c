/* SPDX-License-Identifier: Apache-2.0
 *
 * When, where and by which clock a process runs: scheduler, I/O priority, CPU affinity, NUMA memory
 * policy, personality, time offsets (runtime-spec, config.md "process" and config-linux.md).
 *
 * Invariant: what the kernel would refuse with a bare EINVAL is refused here by name, as far as it
 * does not depend on the machine.
 */
#include <errno.h>
#include <json-c/json.h>
#include <linux/ioprio.h>
#include <linux/mempolicy.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/personality.h>

#include "pkg/base/limits.h"
#include "pkg/oci/parse.h"

#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6 /* Linux 6.9 */
#endif

enum {
        SCHED_ISO = 4, /* reserved by Linux, never implemented */
        NICE_MIN = -20,
        NICE_MAX = 19,
        RT_PRIORITY_MIN = 1, /* sched(7) */
        RT_PRIORITY_MAX = 99,
        NANOSECONDS = 1000000000,
};

/* ---- scheduler ---- */

static const struct json_word policy_words[] = {
        {"SCHED_OTHER", SCHED_NORMAL},      {"SCHED_FIFO", SCHED_FIFO}, {"SCHED_RR", SCHED_RR},
        {"SCHED_BATCH", SCHED_BATCH},       {"SCHED_ISO", SCHED_ISO},   {"SCHED_IDLE", SCHED_IDLE},
        {"SCHED_DEADLINE", SCHED_DEADLINE},
};

static const struct json_word scheduler_flag_words[] = {
        {"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
        {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
        {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
        {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
        {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
        {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
        {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX},
};

/* A list of words as the sum of their bits. */
static int get_flags(const struct json_at *at, const struct json_word *words, size_t n_words,
                     uint64_t *ret)
{
        struct oci_strings names = {0};
        struct json_at list;
        size_t n = 0;

        if (json_get_strings(at, "flags", &names) < 0 || json_get_list(at, "flags", &list, &n) < 0)
                return -1;
        for (size_t i = 0; i < names.n; i++) {
                const struct json_word *word = json_word_find(words, n_words, names.items[i]);
                struct json_at item = json_item(&list, i);

                if (!word)
                        return json_unknown_value(&item, NULL, names.items[i]);
                *ret |= (uint64_t)word->value;
        }
        return 0;
}

static int check_scheduler(const struct json_at *at, const struct oci_scheduler *s)
{
        bool is_realtime = s->policy == SCHED_FIFO || s->policy == SCHED_RR;
        bool has_times = s->runtime > 0 || s->deadline > 0 || s->period > 0;

        if (s->policy == SCHED_ISO)
                return json_not_supported(at, "policy", "SCHED_ISO");
        /* config.json has no place for the values that would go with them */
        if (s->flags & (SCHED_FLAG_UTIL_CLAMP_MIN | SCHED_FLAG_UTIL_CLAMP_MAX))
                return json_not_supported(at, "flags", "SCHED_FLAG_UTIL_CLAMP_MIN and _MAX");
        if (s->nice != 0 && s->policy != SCHED_NORMAL && s->policy != SCHED_BATCH)
                return json_fail(at, "nice", "only for SCHED_OTHER and SCHED_BATCH");
        if (is_realtime && s->priority < RT_PRIORITY_MIN)
                return json_fail(at, "priority", "%s needs one of %d to %d", s->policy_name,
                                 RT_PRIORITY_MIN, RT_PRIORITY_MAX);
        if (!is_realtime && s->priority != 0)
                return json_fail(at, "priority", "only for SCHED_FIFO and SCHED_RR");
        if (s->policy != SCHED_DEADLINE && has_times)
                return json_fail(at,
                                 s->runtime > 0    ? "runtime"
                                 : s->deadline > 0 ? "deadline"
                                                   : "period",
                                 "only for SCHED_DEADLINE");
        if (s->policy == SCHED_DEADLINE && (s->runtime == 0 || s->runtime > s->deadline ||
                                            (s->period != 0 && s->deadline > s->period)))
                return json_fail(at, "runtime",
                                 "SCHED_DEADLINE needs 0 < runtime <= deadline <= period");
        return 0;
}

static int parse_scheduler(const struct json_at *process, struct oci_scheduler *ret)
{
        const struct json_word *word = NULL;
        struct json_at at;
        char *policy = NULL;
        int64_t nice = 0;
        int64_t priority = 0;

        if (json_get_object(process, "scheduler", &at) < 0)
                return -1;
        if (json_says_nothing(process, "scheduler"))
                return 0;
        if (json_get_text(&at, "policy", &policy) < 0)
                return -1;
        if (!policy)
                return json_fail(&at, "policy", "missing");
        if (json_get_word(&at, "policy", policy_words, WORD_COUNT(policy_words), &word) < 0 ||
            json_get_i64(&at, "nice", NICE_MIN, NICE_MAX, NULL, &nice) < 0 ||
            json_get_i64(&at, "priority", 0, RT_PRIORITY_MAX, NULL, &priority) < 0 ||
            get_flags(&at, scheduler_flag_words, WORD_COUNT(scheduler_flag_words), &ret->flags) <
                    0 ||
            json_get_u64(&at, "runtime", INT64_MAX, NULL, &ret->runtime) < 0 ||
            json_get_u64(&at, "deadline", INT64_MAX, NULL, &ret->deadline) < 0 ||
            json_get_u64(&at, "period", INT64_MAX, NULL, &ret->period) < 0)
                return -1;
        ret->present = true;
        ret->policy = (uint32_t)word->value;
        ret->policy_name = word->word;
        ret->nice = (int32_t)nice;
        ret->priority = (uint32_t)priority;
        return check_scheduler(&at, ret);
}

/* ---- I/O priority ---- */

static const struct json_word io_class_words[] = {
        {"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
        {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
        {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
};

static int parse_io_priority(const struct json_at *process, struct oci_io_priority *ret)
{
        const struct json_word *word = NULL;
        struct json_at at;
        char *class_name = NULL;
        int64_t level = 0;

        if (json_get_object(process, "ioPriority", &at) < 0)
                return -1;
        if (json_says_nothing(process, "ioPriority"))
                return 0;
        if (json_get_text(&at, "class", &class_name) < 0)
                return -1;
        if (!class_name)
                return json_fail(&at, "class", "missing");
        if (json_get_word(&at, "class", io_class_words, WORD_COUNT(io_class_words), &word) < 0 ||
            json_get_i64(&at, "priority", 0, IOPRIO_NR_LEVELS - 1, NULL, &level) < 0)
                return -1;
        ret->present = true;
        ret->class_name = word->word;
        ret->value = (uint32_t)IOPRIO_PRIO_VALUE(word->value, level);
        return 0;
}

/* ---- lists of CPUs and of memory nodes: "0-3,7" ---- */

static int parse_number(const char **s, unsigned long *ret)
{
        const char *start = *s;

        *ret = 0;
        for (; **s >= '0' && **s <= '9'; (*s)++) {
                *ret = *ret * 10 + (unsigned long)(**s - '0');
                if (*ret > INT32_MAX)
                        return -1;
        }
        return *s > start ? 0 : -1;
}

/* Bits of n_words words. */
static int parse_list(const struct json_at *at, const char *key, const char *text, uint64_t *words,
                      size_t n_words)
{
        const unsigned long max = n_words * 64 - 1;

        for (const char *s = text;; s++) {
                unsigned long first = 0;
                unsigned long last = 0;

                if (parse_number(&s, &first) < 0)
                        return json_fail(at, key, "'%.64s' is not a list like 0-3,7", text);
                last = first;
                if (*s == '-') {
                        s++;
                        if (parse_number(&s, &last) < 0 || last < first)
                                return json_fail(at, key, "'%.64s' is not a list like 0-3,7", text);
                }
                if (last > max)
                        return json_fail(at, key, "%lu is above %lu", last, max);
                for (; first <= last; first++)
                        words[first / 64] |= UINT64_C(1) << first % 64;
                if (!*s)
                        return 0;
                if (*s != ',')
                        return json_fail(at, key, "'%.64s' is not a list like 0-3,7", text);
        }
}

static int parse_cpus(const struct json_at *at, const char *key, uint64_t **ret)
{
        char *text = NULL;

        if (json_get_text(at, key, &text) < 0)
                return -1;
        if (!text)
                return 0;
        if (json_alloc(at, OCI_CPU_WORDS, sizeof(**ret), ret) < 0)
                return -1;
        return parse_list(at, key, text, *ret, OCI_CPU_WORDS);
}

int parse_scheduling(const struct json_at *process, struct oci_process *ret)
{
        struct json_at affinity;

        if (parse_scheduler(process, &ret->scheduler) < 0 ||
            parse_io_priority(process, &ret->io_priority) < 0 ||
            json_get_object(process, "execCPUAffinity", &affinity) < 0 ||
            parse_cpus(&affinity, "initial", &ret->exec_cpus_initial) < 0)
                return -1;
        return parse_cpus(&affinity, "final", &ret->exec_cpus_final);
}

/* ---- memory policy ---- */

static const struct json_word memory_mode_words[] = {
        {"MPOL_DEFAULT", MPOL_DEFAULT},
        {"MPOL_PREFERRED", MPOL_PREFERRED},
        {"MPOL_BIND", MPOL_BIND},
        {"MPOL_INTERLEAVE", MPOL_INTERLEAVE},
        {"MPOL_LOCAL", MPOL_LOCAL},
        {"MPOL_PREFERRED_MANY", MPOL_PREFERRED_MANY},
        {"MPOL_WEIGHTED_INTERLEAVE", MPOL_WEIGHTED_INTERLEAVE},
};

static const struct json_word memory_flag_words[] = {
        {"MPOL_F_STATIC_NODES", MPOL_F_STATIC_NODES},
        {"MPOL_F_RELATIVE_NODES", MPOL_F_RELATIVE_NODES},
        {"MPOL_F_NUMA_BALANCING", MPOL_F_NUMA_BALANCING},
};

/* set_mempolicy(2) */
static int check_memory_policy(const struct json_at *at, const struct oci_memory_policy *p,
                               bool has_nodes)
{
        const unsigned both = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES;

        if ((p->flags & both) == both)
                return json_fail(
                        at, "flags",
                        "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
        if (p->mode == MPOL_DEFAULT || p->mode == MPOL_LOCAL) {
                if (has_nodes)
                        return json_fail(at, "nodes", "%s takes none", p->mode_name);
                if (p->flags != 0)
                        return json_fail(at, "flags", "%s takes none", p->mode_name);
                return 0;
        }
        if (!has_nodes && (p->mode != MPOL_PREFERRED || p->flags != 0))
                return json_fail(at, "nodes", "%s needs some", p->mode_name);
        return 0;
}

int parse_memory_policy(const struct json_at *linux_at, struct oci_memory_policy *ret)
{
        const struct json_word *word = NULL;
        struct json_at at;
        char *mode = NULL;
        char *nodes = NULL;
        uint64_t flags = 0;

        if (json_get_object(linux_at, "memoryPolicy", &at) < 0)
                return -1;
        if (json_says_nothing(linux_at, "memoryPolicy"))
                return 0;
        if (json_get_text(&at, "mode", &mode) < 0)
                return -1;
        if (!mode)
                return json_fail(&at, "mode", "missing");
        if (json_get_word(&at, "mode", memory_mode_words, WORD_COUNT(memory_mode_words), &word) <
                    0 ||
            json_get_text(&at, "nodes", &nodes) < 0 ||
            get_flags(&at, memory_flag_words, WORD_COUNT(memory_flag_words), &flags) < 0 ||
            (nodes && parse_list(&at, "nodes", nodes, ret->nodes, OCI_NODE_WORDS) < 0))
                return -1;
        ret->present = true;
        ret->mode = word->value;
        ret->mode_name = word->word;
        ret->flags = (unsigned)flags;
        return check_memory_policy(&at, ret, nodes != NULL);
}

/* The two lists as the features document names them. */
const char *oci_memory_mode_name(size_t i)
{
        return i < WORD_COUNT(memory_mode_words) ? memory_mode_words[i].word : NULL;
}

int oci_memory_mode_find(const char *name, int *ret, const char **ret_name)
{
        for (size_t i = 0; i < WORD_COUNT(memory_mode_words); i++) {
                if (strcmp(memory_mode_words[i].word, name) == 0) {
                        *ret = memory_mode_words[i].value;
                        *ret_name = memory_mode_words[i].word;
                        return 0;
                }
        }
        return -ENOENT;
}

const char *oci_memory_flag_name(size_t i)
{
        return i < WORD_COUNT(memory_flag_words) ? memory_flag_words[i].word : NULL;
}

/* ---- personality ---- */

static const struct json_word domain_words[] = {{"LINUX", PER_LINUX}, {"LINUX32", PER_LINUX32}};

int parse_personality(const struct json_at *linux_at, struct oci_personality *ret)
{
        const struct json_word *word = NULL;
        struct json_at at;
        char *domain = NULL;

        if (json_get_object(linux_at, "personality", &at) < 0 || json_refuse(&at, "flags") < 0 ||
            json_get_text(&at, "domain", &domain) < 0)
                return -1;
        if (!domain)
                return 0;
        if (json_get_word(&at, "domain", domain_words, WORD_COUNT(domain_words), &word) < 0)
                return -1;
        ret->present = true;
        ret->domain = (uint32_t)word->value;
        return 0;
}

/* ---- time offsets ---- */

static int parse_offset(const struct json_at *offsets, const char *clock,
                        struct oci_time_offset *ret, int *n_known)
{
        struct json_at at;

        if (json_get_object(offsets, clock, &at) < 0 ||
            json_get_i64(&at, "secs", INT64_MIN, INT64_MAX, NULL, &ret->secs) < 0 ||
            json_get_u32(&at, "nanosecs", NANOSECONDS - 1, NULL, &ret->nanosecs) < 0)
                return -1;
        *n_known += json_has(offsets, clock);
        return 0;
}

int parse_time_offsets(const struct json_at *linux_at, struct oci_linux *ret)
{
        struct json_at at;
        int n_known = 0;

        if (json_get_object(linux_at, "timeOffsets", &at) < 0 ||
            parse_offset(&at, "monotonic", &ret->monotonic, &n_known) < 0 ||
            parse_offset(&at, "boottime", &ret->boottime, &n_known) < 0)
                return -1;
        /* time_namespaces(7) */
        if (at.value && json_object_object_length(at.value) > n_known &&
            !json_says_nothing(linux_at, "timeOffsets"))
                return json_fail(linux_at, "timeOffsets",
                                 "only monotonic and boottime have an offset");
        ret->has_time_offsets = ret->monotonic.secs != 0 || ret->monotonic.nanosecs != 0 ||
                                ret->boottime.secs != 0 || ret->boottime.nanosecs != 0;
        return 0;
}
