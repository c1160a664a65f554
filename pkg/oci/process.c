/* SPDX-License-Identifier: Apache-2.0
 *
 * The process: who it is, what it runs, what it may (runtime-spec, config.md "Process" and
 * "POSIX process"). The same parser serves config.json and the process of an exec.
 *
 * Invariant: a process has at least one argument and an absolute cwd; ids come only from JSON
 * integers of 32 bits (crun's CVE-2026-30892 was a uid parsed from text).
 */
#include <string.h>
#include <sys/resource.h>

#include "pkg/oci/parse.h"

static int parse_user(const struct json_at *process, struct oci_user *ret)
{
        struct json_at user;
        struct json_at groups;
        size_t n = 0;

        if (json_get_object(process, "user", &user) < 0 ||
            json_get_u32(&user, "uid", ID_MAX, NULL, &ret->uid) < 0 ||
            json_get_u32(&user, "gid", ID_MAX, NULL, &ret->gid) < 0 ||
            json_get_u32(&user, "umask", 0777, &ret->has_umask, &ret->umask) < 0 ||
            json_get_list(&user, "additionalGids", &groups, &n) < 0 ||
            json_alloc(&user, n, sizeof(*ret->additional_gids), &ret->additional_gids) < 0)
                return -1;
        ret->has_additional_gids = groups.value != NULL;
        ret->n_additional_gids = n;
        for (size_t i = 0; i < n; i++)
                if (json_item_u32(&groups, i, ID_MAX, &ret->additional_gids[i]) < 0)
                        return -1;
        return 0;
}

/* Their place is their number in linux/capability.h. */
static const char *const capability_names[] = {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
};

/* A capability that this table lacks cannot be granted; the runtime-spec wants it ignored. */
static int parse_capability_set(const struct json_at *at, const char *key, uint64_t *ret)
{
        struct oci_strings names = {0};
        uint64_t set = 0;

        if (json_get_strings(at, key, &names) < 0)
                return -1;
        for (size_t i = 0; i < names.n; i++)
                for (size_t bit = 0; bit < WORD_COUNT(capability_names); bit++)
                        if (strcmp(names.items[i], capability_names[bit]) == 0)
                                set |= UINT64_C(1) << bit;
        *ret = set;
        return 0;
}

static int parse_capabilities(const struct json_at *process, struct oci_process *ret)
{
        struct oci_capabilities *caps = &ret->capabilities;
        struct json_at at;

        if (json_get_object(process, "capabilities", &at) < 0 ||
            parse_capability_set(&at, "bounding", &caps->bounding) < 0 ||
            parse_capability_set(&at, "effective", &caps->effective) < 0 ||
            parse_capability_set(&at, "inheritable", &caps->inheritable) < 0 ||
            parse_capability_set(&at, "permitted", &caps->permitted) < 0 ||
            parse_capability_set(&at, "ambient", &caps->ambient) < 0)
                return -1;
        ret->has_capabilities = at.value != NULL;
        return 0;
}

static const struct json_word rlimit_words[] = {
        {"RLIMIT_AS", RLIMIT_AS},
        {"RLIMIT_CORE", RLIMIT_CORE},
        {"RLIMIT_CPU", RLIMIT_CPU},
        {"RLIMIT_DATA", RLIMIT_DATA},
        {"RLIMIT_FSIZE", RLIMIT_FSIZE},
        {"RLIMIT_LOCKS", RLIMIT_LOCKS},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
        {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
        {"RLIMIT_NICE", RLIMIT_NICE},
        {"RLIMIT_NOFILE", RLIMIT_NOFILE},
        {"RLIMIT_NPROC", RLIMIT_NPROC},
        {"RLIMIT_RSS", RLIMIT_RSS},
        {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
        {"RLIMIT_RTTIME", RLIMIT_RTTIME},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
        {"RLIMIT_STACK", RLIMIT_STACK},
};

static int parse_rlimit(const struct json_at *at, struct oci_rlimit *ret)
{
        const struct json_word *word = NULL;

        if (json_require(at, "type") < 0 || json_require(at, "soft") < 0 ||
            json_require(at, "hard") < 0 ||
            json_get_word(at, "type", rlimit_words, WORD_COUNT(rlimit_words), &word) < 0 ||
            json_get_u64(at, "soft", UINT64_MAX, NULL, &ret->soft) < 0 ||
            json_get_u64(at, "hard", UINT64_MAX, NULL, &ret->hard) < 0)
                return -1;
        if (ret->soft > ret->hard)
                return json_fail(at, "soft", "larger than hard");
        ret->resource = word->value;
        ret->name = word->word;
        return 0;
}

static int parse_rlimits(const struct json_at *process, struct oci_process *ret)
{
        struct json_at list;
        uint32_t seen = 0; /* bit n: RLIMIT_* number n */
        size_t n = 0;

        if (json_get_list(process, "rlimits", &list, &n) < 0 ||
            json_alloc(process, n, sizeof(*ret->rlimits), &ret->rlimits) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct oci_rlimit *rlimit = &ret->rlimits[i];
                struct json_at at;

                if (json_item_object(&list, i, &at) < 0 || parse_rlimit(&at, rlimit) < 0)
                        return -1;
                if (seen & UINT32_C(1) << rlimit->resource)
                        return json_fail(&at, "type", "%s is given twice", rlimit->name);
                seen |= UINT32_C(1) << rlimit->resource;
        }
        ret->n_rlimits = n;
        return 0;
}

static int parse_console_size(const struct json_at *process, struct oci_process *ret)
{
        struct json_at size;
        uint32_t height = 0;
        uint32_t width = 0;

        if (json_get_object(process, "consoleSize", &size) < 0 ||
            json_get_u32(&size, "height", UINT16_MAX, NULL, &height) < 0 ||
            json_get_u32(&size, "width", UINT16_MAX, NULL, &width) < 0)
                return -1;
        ret->has_console_size = size.value != NULL;
        ret->console_height = (uint16_t)height;
        ret->console_width = (uint16_t)width;
        return 0;
}

static int parse_oom_score_adj(const struct json_at *process, struct oci_process *ret)
{
        int64_t value = 0;

        /* proc_pid_oom_score_adj(5) */
        if (json_get_i64(process, "oomScoreAdj", -1000, 1000, &ret->has_oom_score_adj, &value) < 0)
                return -1;
        ret->oom_score_adj = (int)value;
        return 0;
}

/* What is executed: args, env and cwd. */
static int parse_command(const struct json_at *process, struct oci_process *ret)
{
        if (json_get_strings(process, "args", &ret->args) < 0 ||
            json_get_strings(process, "env", &ret->env) < 0 || json_require(process, "cwd") < 0 ||
            json_get_path(process, "cwd", &ret->cwd) < 0)
                return -1;
        if (ret->args.n == 0)
                return json_fail(process, "args", "at least one is needed");
        if (!ret->cwd)
                return json_fail(process, "cwd", "empty");
        for (size_t i = 0; i < ret->env.n; i++)
                if (!ret->env.items[i][0])
                        return json_fail(process, "env", "item %zu is empty", i);
        return 0;
}

int parse_process(const struct json_at *at, struct oci_process *ret)
{
        if (json_get_bool(at, "terminal", &ret->terminal) < 0 || parse_console_size(at, ret) < 0 ||
            parse_user(at, &ret->user) < 0 || parse_command(at, ret) < 0 ||
            parse_capabilities(at, ret) < 0 || parse_rlimits(at, ret) < 0 ||
            parse_scheduling(at, ret) < 0 ||
            json_get_bool(at, "noNewPrivileges", &ret->no_new_privileges) < 0 ||
            json_get_text(at, "apparmorProfile", &ret->apparmor_profile) < 0 ||
            json_get_text(at, "selinuxLabel", &ret->selinux_label) < 0)
                return -1;
        return parse_oom_score_adj(at, ret);
}
