/* SPDX-License-Identifier: Apache-2.0
 *
 * One table of options for parser and help text. getopt_long(3) is not used: it moves words around
 * unless told not to, and then stops at the id.
 */
#include "cmd/belay/args.h"

#include <stdio.h>
#include <string.h>

#include "pkg/base/limits.h"
#include "pkg/base/str.h"

enum kind { KIND_BOOL, KIND_STRING, KIND_ENV };

struct flag {
        const char *name;
        char letter;
        enum kind kind;
        size_t offset;
        const char *meta;
        const char *help;
};

#define FLAG_BOOL(name, letter, field, help)                                      \
        {                                                                         \
                name, letter, KIND_BOOL, offsetof(struct args, field), NULL, help \
        }
#define FLAG_STRING(name, letter, field, meta, help)                                \
        {                                                                           \
                name, letter, KIND_STRING, offsetof(struct args, field), meta, help \
        }

static const struct flag flags[_ARG_FLAG_MAX] = {
        [ARG_RM] = FLAG_BOOL("rm", 0, rm, "remove the container when it has ended"),
        [ARG_DETACH] = FLAG_BOOL("detach", 'd', detach, "print the id and leave it running"),
        [ARG_TERMINAL] = FLAG_BOOL("tty", 't', terminal, "give it a terminal"),
        [ARG_ROOTFS] = FLAG_STRING("rootfs", 0, rootfs, "DIR", "root file system to run in"),
        [ARG_ENV] = {"env", 'e', KIND_ENV, 0, "NAME=VALUE", "set a variable; may be repeated"},
        [ARG_CWD] = FLAG_STRING("cwd", 0, cwd, "DIR", "working directory inside"),
        [ARG_USER] = FLAG_STRING("user", 'u', user, "UID[:GID]", "numeric user and group"),
        [ARG_LOG] = FLAG_STRING("log", 0, log, "FILE", "with -d: append its output to FILE"),
        [ARG_EXEC] = FLAG_STRING("exec", 0, exec_id, "EXEC_ID",
                                 "the process that `belay exec -d` has named"),
        [ARG_ALL] = FLAG_BOOL("all", 'a', all, "signal every process of the container"),
        [ARG_FORCE] = FLAG_BOOL("force", 'f', force, "kill it first if it still runs"),
        [ARG_ROOT] = FLAG_STRING("root", 0, root, "DIR",
                                 "where belay keeps its containers [" BELAY_ROOT_DEFAULT "]"),
        [ARG_JSON] = FLAG_BOOL("json", 0, json, "print JSON"),
        [ARG_ADDRESS] =
                FLAG_STRING("address", 0, address, "SOCK", "talk to the shim on this socket"),
        [ARG_BUNDLE] = FLAG_STRING("bundle", 'b', bundle, "DIR",
                                   "run: OCI bundle to run; else: talk to the shim of this bundle"),
        [ARG_NAMESPACE] = FLAG_STRING("namespace", 'n', runtime_namespace, "NAME",
                                      "namespace given to the shim [" BELAY_NAMESPACE_DEFAULT "]"),
        [ARG_SHIM] =
                FLAG_STRING("shim", 0, shim, "PATH",
                            "shim to start [containerd-shim-belay-v2 beside belay, or in PATH]"),
        [ARG_HELP] = FLAG_BOOL("help", 'h', help, "print help and exit"),
        [ARG_VERSION] = FLAG_BOOL("version", 'V', version, "print the version and exit"),
};

static const uint32_t common_flags = ARG_BIT(ARG_ROOT) | ARG_BIT(ARG_JSON) | ARG_BIT(ARG_ADDRESS) |
                                     ARG_BIT(ARG_BUNDLE) | ARG_BIT(ARG_NAMESPACE) |
                                     ARG_BIT(ARG_SHIM) | ARG_BIT(ARG_HELP) | ARG_BIT(ARG_VERSION);

struct parser {
        int argc;
        const char *const *argv;
        int i;
        const struct verb *verb;
        struct args *args;
};

static const struct flag *flag_by_name(const char *name, size_t len)
{
        for (size_t i = 0; i < _ARG_FLAG_MAX; i++) {
                if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
                        return &flags[i];
        }
        return NULL;
}

static const struct flag *flag_by_letter(char letter)
{
        for (size_t i = 0; i < _ARG_FLAG_MAX; i++) {
                if (flags[i].letter == letter)
                        return &flags[i];
        }
        return NULL;
}

static bool flag_is_allowed(const struct flag *flag, const struct verb *verb)
{
        uint32_t bit = ARG_BIT((uint32_t)(flag - flags));

        return bit & (common_flags | (verb ? verb->flags : 0));
}

static int flag_set(struct parser *p, const struct flag *flag, const char *value, struct error *err)
{
        char *field = (char *)p->args + flag->offset;

        if (!flag_is_allowed(flag, p->verb))
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s does not take --%s",
                                 p->verb ? p->verb->name : "belay without a verb", flag->name);
        if (flag->kind == KIND_BOOL) {
                if (value)
                        return error_set(err, STATUS_INVALID_ARGUMENT, "--%s takes no value",
                                         flag->name);
                *(bool *)field = true;
                return 0;
        }
        if (!value && p->i + 1 < p->argc)
                value = p->argv[++p->i];
        if (!value)
                return error_set(err, STATUS_INVALID_ARGUMENT, "--%s needs a value", flag->name);
        if (flag->kind == KIND_STRING) {
                *(const char **)field = value;
                return 0;
        }
        if (p->args->n_env == ARGS_ENV_MAX)
                return error_set(err, STATUS_INVALID_ARGUMENT, "more than %d times --env",
                                 ARGS_ENV_MAX);
        p->args->env[p->args->n_env++] = value;
        return 0;
}

static int read_long(struct parser *p, const char *name, struct error *err)
{
        size_t len = strcspn(name, "=");
        const struct flag *flag = flag_by_name(name, len);

        if (!flag)
                return error_set(err, STATUS_INVALID_ARGUMENT, "unknown option --%.*s", (int)len,
                                 name);
        return flag_set(p, flag, name[len] ? name + len + 1 : NULL, err);
}

/* "-dt", "-e NAME=VALUE" or "-eNAME=VALUE". */
static int read_letters(struct parser *p, const char *letters, struct error *err)
{
        for (; *letters; letters++) {
                const struct flag *flag = flag_by_letter(*letters);

                if (!flag)
                        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown option -%c",
                                         *letters);
                if (flag->kind != KIND_BOOL)
                        return flag_set(p, flag, letters[1] ? letters + 1 : NULL, err);
                if (flag_set(p, flag, NULL, err) < 0)
                        return -1;
        }
        return 0;
}

static int read_verb(struct parser *p, const struct verb *verbs, size_t n_verbs, struct error *err)
{
        for (size_t i = 0; i < n_verbs; i++) {
                if (str_equal(verbs[i].name, p->argv[p->i])) {
                        p->verb = &verbs[i];
                        return 0;
                }
        }
        return error_set(err, STATUS_INVALID_ARGUMENT, "unknown verb '%s'", p->argv[p->i]);
}

static int check(const struct parser *p, struct error *err)
{
        const struct args *args = p->args;

        if (!p->verb || args->help || args->version)
                return 0;
        if (p->verb->takes_id && !args->id)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: which container?",
                                 p->verb->name);
        if (args->id && !id_is_valid(args->id))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "'%s' is not an id: letters and digits with single '.', '_' or "
                                 "'-' between, at most %d characters",
                                 args->id, LIMIT_ID_LENGTH);
        if (args->n_words > p->verb->words_max)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s: what is '%s'?", p->verb->name,
                                 args->words[p->verb->words_max]);
        return p->verb->check ? p->verb->check(args, err) : 0;
}

int args_parse(int argc, const char *const *argv, const struct verb *verbs, size_t n_verbs,
               struct args *ret, const struct verb **ret_verb, struct error *err)
{
        struct parser p = {.argc = argc, .argv = argv, .args = ret};
        bool words = false;
        int r = 0;

        *ret = (struct args){
                .root = BELAY_ROOT_DEFAULT,
                .runtime_namespace = BELAY_NAMESPACE_DEFAULT,
                .exec_id = "",
        };
        for (p.i = 1; p.i < argc && !words && r == 0; p.i++) {
                const char *word = argv[p.i];

                if (str_equal(word, "--") && p.verb)
                        words = true;
                else if (str_has_prefix(word, "--") && word[2])
                        r = read_long(&p, word + 2, err);
                else if (word[0] == '-' && word[1])
                        r = read_letters(&p, word + 1, err);
                else if (!p.verb)
                        r = read_verb(&p, verbs, n_verbs, err);
                else if (p.verb->takes_id && !ret->id)
                        ret->id = word;
                else
                        break;
        }
        ret->words = argv + p.i;
        ret->n_words = (size_t)(argc - p.i);
        *ret_verb = p.verb;
        return r < 0 ? -1 : check(&p, err);
}

static void print_flag(const struct flag *flag)
{
        char left[40];

        (void)snprintf(left, sizeof(left), "%c%c%s--%s%s%s", flag->letter ? '-' : ' ',
                       flag->letter ? flag->letter : ' ', flag->letter ? ", " : "  ", flag->name,
                       flag->meta ? " " : "", flag->meta ? flag->meta : "");
        printf("  %-26s  %s\n", left, flag->help);
}

static void print_flags(uint32_t set)
{
        for (uint32_t i = 0; i < _ARG_FLAG_MAX; i++) {
                if (set & ARG_BIT(i))
                        print_flag(&flags[i]);
        }
}

void args_print_overview(const struct verb *verbs, size_t n_verbs)
{
        printf("belay: runs containers, each under a shim of its own, without a daemon\n\n"
               "Usage: belay [OPTION...] VERB [ARGUMENT...]\n\nVerbs:\n");
        for (size_t i = 0; i < n_verbs; i++)
                printf("  %-8s  %s\n", verbs[i].name, verbs[i].summary);
        printf("\nOptions of all verbs:\n");
        print_flags(common_flags);
        printf("\nExit status: the container's own for run, exec and wait, and 125 when belay "
               "itself fails there;\notherwise 0, or 1 for a failure. 2 for a wrong command line.\n"
               "`belay VERB --help` says more.\n");
}

void args_print_help(const struct verb *verb)
{
        printf("Usage: belay %s %s\n\n%s.\n", verb->name, verb->synopsis, verb->summary);
        if (verb->details)
                printf("\n%s\n", verb->details);
        if (verb->flags) {
                printf("\nOptions:\n");
                print_flags(verb->flags);
        }
        printf("\nOptions of all verbs:\n");
        print_flags(common_flags);
}
