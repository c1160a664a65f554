/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.seccomp (runtime-spec, config-linux.md "Seccomp"). The words are checked here, where the
 * path is known; what they mean to libseccomp is pkg/engine's matter.
 *
 * Invariant: every action, operator, architecture and flag is one that the runtime-spec knows.
 */
#include <string.h>

#include "pkg/oci/parse.h"

enum {
        ACTION_PLAIN,
        ACTION_WITH_DATA, /* takes an errnoRet */
        ACTION_NOTIFY,
};

static const struct json_word action_words[] = {
        {"SCMP_ACT_KILL", ACTION_PLAIN},        {"SCMP_ACT_KILL_PROCESS", ACTION_PLAIN},
        {"SCMP_ACT_KILL_THREAD", ACTION_PLAIN}, {"SCMP_ACT_TRAP", ACTION_PLAIN},
        {"SCMP_ACT_ERRNO", ACTION_WITH_DATA},   {"SCMP_ACT_TRACE", ACTION_WITH_DATA},
        {"SCMP_ACT_ALLOW", ACTION_PLAIN},       {"SCMP_ACT_LOG", ACTION_PLAIN},
        {"SCMP_ACT_NOTIFY", ACTION_NOTIFY},
};

static const struct json_word operator_words[] = {
        {"SCMP_CMP_NE", 0}, {"SCMP_CMP_LT", 0}, {"SCMP_CMP_LE", 0},        {"SCMP_CMP_EQ", 0},
        {"SCMP_CMP_GE", 0}, {"SCMP_CMP_GT", 0}, {"SCMP_CMP_MASKED_EQ", 0},
};

static const struct json_word architecture_words[] = {
        {"SCMP_ARCH_X86", 0},      {"SCMP_ARCH_X86_64", 0},      {"SCMP_ARCH_X32", 0},
        {"SCMP_ARCH_ARM", 0},      {"SCMP_ARCH_AARCH64", 0},     {"SCMP_ARCH_MIPS", 0},
        {"SCMP_ARCH_MIPS64", 0},   {"SCMP_ARCH_MIPS64N32", 0},   {"SCMP_ARCH_MIPSEL", 0},
        {"SCMP_ARCH_MIPSEL64", 0}, {"SCMP_ARCH_MIPSEL64N32", 0}, {"SCMP_ARCH_PPC", 0},
        {"SCMP_ARCH_PPC64", 0},    {"SCMP_ARCH_PPC64LE", 0},     {"SCMP_ARCH_S390", 0},
        {"SCMP_ARCH_S390X", 0},    {"SCMP_ARCH_PARISC", 0},      {"SCMP_ARCH_PARISC64", 0},
        {"SCMP_ARCH_RISCV64", 0},  {"SCMP_ARCH_LOONGARCH64", 0}, {"SCMP_ARCH_M68K", 0},
        {"SCMP_ARCH_SH", 0},       {"SCMP_ARCH_SHEB", 0},
};

static const struct json_word flag_words[] = {
        {"SECCOMP_FILTER_FLAG_TSYNC", 0},
        {"SECCOMP_FILTER_FLAG_LOG", 0},
        {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", 0},
        {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 0},
};

/* A list of words, each from the table. */
static int get_words(const struct json_at *at, const char *key, const struct json_word *words,
                     size_t n_words, struct oci_strings *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_strings(at, key, ret) < 0 || json_get_list(at, key, &list, &n) < 0)
                return -1;
        for (size_t i = 0; i < ret->n; i++) {
                struct json_at item = json_item(&list, i);

                if (!json_word_find(words, n_words, ret->items[i]))
                        return json_unknown_value(&item, NULL, ret->items[i]);
        }
        return 0;
}

/* An action and the errno that may go with it. */
static int get_action(const struct json_at *at, const char *key, const char *errno_key, char **ret,
                      bool *ret_has_errno, uint32_t *ret_errno)
{
        const struct json_word *word = NULL;

        /* 16 bits: SECCOMP_RET_DATA in seccomp(2) */
        if (json_require(at, key) < 0 || json_get_string(at, key, ret) < 0 ||
            json_get_word(at, key, action_words, WORD_COUNT(action_words), &word) < 0 ||
            json_get_u32(at, errno_key, UINT16_MAX, ret_has_errno, ret_errno) < 0)
                return -1;
        if (*ret_has_errno && word->value != ACTION_WITH_DATA)
                return json_fail(at, errno_key, "%s has no use for it", word->word);
        return 0;
}

/* write(2) is how the process tells which descriptor its listener is: nobody could answer yet. */
static int check_notify(const struct json_at *at, const struct oci_seccomp_rule *rule,
                        const struct oci_seccomp *profile)
{
        if (!profile->listener_path)
                return json_fail(at, "action", "SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath");
        for (size_t i = 0; i < rule->names.n; i++) {
                if (strcmp(rule->names.items[i], "write") == 0)
                        return json_fail(at, "names", "'write' cannot have SCMP_ACT_NOTIFY");
        }
        return 0;
}

static int parse_listener(const struct json_at *at, struct oci_seccomp *ret)
{
        if (json_get_path(at, "listenerPath", &ret->listener_path) < 0 ||
            json_get_text(at, "listenerMetadata", &ret->listener_metadata) < 0)
                return -1;
        if (ret->listener_metadata && !ret->listener_path)
                return json_fail(at, "listenerMetadata", "needs a listenerPath");
        return 0;
}

static int parse_arg(const struct json_at *at, struct oci_seccomp_arg *ret)
{
        const struct json_word *word = NULL;

        /* A system call has six arguments. */
        if (json_require(at, "index") < 0 || json_require(at, "value") < 0 ||
            json_require(at, "op") < 0 || json_get_u32(at, "index", 5, NULL, &ret->index) < 0 ||
            json_get_u64(at, "value", UINT64_MAX, NULL, &ret->value) < 0 ||
            json_get_u64(at, "valueTwo", UINT64_MAX, NULL, &ret->value_two) < 0 ||
            json_get_word(at, "op", operator_words, WORD_COUNT(operator_words), &word) < 0)
                return -1;
        return json_get_string(at, "op", &ret->op);
}

static int parse_rule(const struct json_at *at, struct oci_seccomp_rule *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_strings(at, "names", &ret->names) < 0 ||
            get_action(at, "action", "errnoRet", &ret->action, &ret->has_errno_ret,
                       &ret->errno_ret) < 0 ||
            json_get_list(at, "args", &list, &n) < 0 ||
            json_alloc(at, n, sizeof(*ret->args), &ret->args) < 0)
                return -1;
        if (ret->names.n == 0)
                return json_fail(at, "names", "at least one is needed");
        for (size_t i = 0; i < n; i++) {
                struct json_at item;

                if (json_item_object(&list, i, &item) < 0 || parse_arg(&item, &ret->args[i]) < 0)
                        return -1;
        }
        ret->n_args = n;
        return 0;
}

int parse_seccomp(const struct json_at *at, struct oci_seccomp *ret)
{
        struct json_at list;
        size_t n = 0;

        if (parse_listener(at, ret) < 0 ||
            get_action(at, "defaultAction", "defaultErrnoRet", &ret->default_action,
                       &ret->has_default_errno_ret, &ret->default_errno_ret) < 0 ||
            get_words(at, "architectures", architecture_words, WORD_COUNT(architecture_words),
                      &ret->architectures) < 0 ||
            get_words(at, "flags", flag_words, WORD_COUNT(flag_words), &ret->flags) < 0 ||
            json_get_list(at, "syscalls", &list, &n) < 0 ||
            json_alloc(at, n, sizeof(*ret->rules), &ret->rules) < 0)
                return -1;
        if (strcmp(ret->default_action, "SCMP_ACT_NOTIFY") == 0)
                return json_fail(at, "defaultAction", "SCMP_ACT_NOTIFY cannot be the default");
        for (size_t i = 0; i < n; i++) {
                struct json_at item;

                if (json_item_object(&list, i, &item) < 0 || parse_rule(&item, &ret->rules[i]) < 0)
                        return -1;
                if (strcmp(ret->rules[i].action, "SCMP_ACT_NOTIFY") != 0)
                        continue;
                ret->has_notify = true;
                if (check_notify(&item, &ret->rules[i], ret) < 0)
                        return -1;
        }
        ret->n_rules = n;
        return 0;
}
