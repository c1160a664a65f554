/* SPDX-License-Identifier: Apache-2.0
 *
 * One table of options for parser and help text. getopt_long(3) is not used: it moves words around
 * unless told not to, and then stops at the id.
 */
#include "cmd/belay/args.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/limits.h"
#include "pkg/base/str.h"

#include "cmd/belay/detach_keys.h"

enum kind { KIND_BOOL, KIND_STRING, KIND_LIST };

struct flag {
        const char *name;
        char letter;
        enum kind kind;
        size_t offset;
        size_t count_offset; /* of a list */
        size_t max;          /* likewise */
        const char *meta;
        const char *help;
};

#define FLAG_BOOL(name, letter, field, help)                                            \
        {                                                                               \
                name, letter, KIND_BOOL, offsetof(struct args, field), 0, 0, NULL, help \
        }
#define FLAG_STRING(name, letter, field, meta, help)                                      \
        {                                                                                 \
                name, letter, KIND_STRING, offsetof(struct args, field), 0, 0, meta, help \
        }
#define FLAG_LIST(name, letter, field, max, meta, help)                   \
        {                                                                 \
                name, letter, KIND_LIST, offsetof(struct args, field),    \
                        offsetof(struct args, n_##field), max, meta, help \
        }
/* What runc takes and belay has no use for. */
#define IGNORED "taken for runc's sake, and ignored"

#define FLAG_LIMIT(limit, name, meta, help) \
        [_ARG_FLAG_MAX + (limit)] = FLAG_STRING(name, 0, limits[limit], meta, help)

enum { N_FLAGS = _ARG_FLAG_MAX + _ARG_LIMIT_MAX };
static_assert(_ARG_FLAG_MAX <= 64, "the bits of a set");

static const struct flag flags[N_FLAGS] = {
        [ARG_RM] = FLAG_BOOL("rm", 0, rm, "remove the container when it has ended"),
        [ARG_DETACH] = FLAG_BOOL("detach", 'd', detach, "print the id and leave it running"),
        [ARG_TERMINAL] = FLAG_BOOL("tty", 't', terminal, "give it a terminal"),
        [ARG_ROOTFS] = FLAG_STRING("rootfs", 0, rootfs, "DIR", "root file system to run in"),
        [ARG_ENV] = FLAG_LIST("env", 'e', env, ARGS_ENV_MAX, "NAME=VALUE",
                              "set a variable; may be repeated"),
        [ARG_CWD] = FLAG_STRING("cwd", 0, cwd, "DIR", "working directory inside"),
        [ARG_USER] = FLAG_STRING("user", 'u', user, "UID[:GID]", "numeric user and group"),
        [ARG_OUTPUT] = FLAG_STRING("output", 0, output, "FILE",
                                   "with -d and --rootfs: append its output to FILE"),
        [ARG_KEEP] = FLAG_BOOL("keep", 0, keep, "with --bundle: keep the ended container"),
        [ARG_CONSOLE_SOCKET] = FLAG_STRING("console-socket", 0, console_socket, "SOCK",
                                           "send the terminal's master to this socket"),
        [ARG_PID_FILE] = FLAG_STRING("pid-file", 0, pid_file, "FILE", "write its pid to FILE"),
        [ARG_PRESERVE_FDS] = FLAG_STRING("preserve-fds", 0, preserve_fds, "N",
                                         "pass descriptors 3 to N+2 on, and LISTEN_FDS"),
        [ARG_NO_PIVOT] = FLAG_BOOL("no-pivot", 0, no_pivot, "do not use pivot_root"),
        [ARG_NO_NEW_KEYRING] = FLAG_BOOL("no-new-keyring", 0, no_new_keyring,
                                         "do not give it a session keyring of its own"),
        [ARG_NO_SUBREAPER] = FLAG_BOOL("no-subreaper", 0, ignored_flag, IGNORED),
        [ARG_PROCESS] = FLAG_STRING("process", 'p', process, "FILE",
                                    "the process as JSON of the runtime-spec"),
        [ARG_CAP] = FLAG_LIST("cap", 'c', caps, ARGS_CAPS_MAX, "CAP",
                              "a further capability; may be repeated"),
        [ARG_ADDITIONAL_GIDS] = FLAG_LIST("additional-gids", 'g', gids, ARGS_GIDS_MAX, "GID",
                                          "a further group; may be repeated"),
        [ARG_NO_NEW_PRIVS] = FLAG_BOOL("no-new-privs", 0, no_new_privs, "set no_new_privs"),
        [ARG_APPARMOR] = FLAG_STRING("apparmor", 0, apparmor, "PROFILE", "its AppArmor profile"),
        [ARG_PROCESS_LABEL] =
                FLAG_STRING("process-label", 0, process_label, "LABEL", "its SELinux label"),
        [ARG_IGNORE_PAUSED] = FLAG_BOOL("ignore-paused", 0, ignore_paused,
                                        "into a paused container, too: wait until it is resumed"),
        [ARG_CGROUP] = FLAG_LIST("cgroup", 0, cgroups, ARGS_CGROUPS_MAX, "PATH",
                                 "a cgroup below the container's; v1: CONTROLLERS:PATH, repeated"),
        [ARG_FORMAT] = FLAG_STRING("format", 'f', format, "FORMAT", "json or table"),
        [ARG_QUIET] = FLAG_BOOL("quiet", 'q', quiet, "print ids only"),
        [ARG_RESOURCES] = FLAG_STRING("resources", 'r', resources, "FILE",
                                      "limits as JSON of the runtime-spec; - is standard input"),
        [ARG_STATS] = FLAG_BOOL("stats", 0, stats, "print statistics once"),
        [ARG_INTERVAL] =
                FLAG_STRING("interval", 0, interval, "TIME", "between two looks: 500ms, 5s, 1m"),
        [ARG_NO_STREAM] = FLAG_BOOL("no-stream", 0, no_stream, "print once and end"),
        [ARG_SPEC_ROOTLESS] = FLAG_BOOL("rootless", 0, rootless, "for a user namespace"),
        [ARG_EXEC] = FLAG_STRING("exec", 0, exec_id, "EXEC_ID",
                                 "the process that `belay exec -d` has named"),
        [ARG_ALL] = FLAG_BOOL("all", 'a', all, "signal every process of the container"),
        [ARG_FORCE] = FLAG_BOOL("force", 'f', force, "kill it first if it still runs"),
        [ARG_INTERACTIVE] = FLAG_BOOL("interactive", 'i', interactive,
                                      "with -d: keep its input open for `belay attach`"),
        [ARG_CONTAINER_LOG] = FLAG_STRING("log", 0, container_log, "URI",
                                          "where its output goes: log:///PATH and others"),
        [ARG_NO_STDIN] = FLAG_BOOL("no-stdin", 0, no_stdin, "watch only"),
        [ARG_CLOSE_STDIN] = FLAG_BOOL("close-stdin", 0, close_stdin,
                                      "the end of our input ends the process's, too"),
        [ARG_REPLAY] = FLAG_STRING("replay", 0, replay, "BYTES",
                                   "begin with so much of the last output [0]"),
        [ARG_DETACH_KEYS] = FLAG_STRING("detach-keys", 0, detach_keys, "KEYS",
                                        "keys to leave with, or none [" DETACH_KEYS_DEFAULT "]"),
        [ARG_FOLLOW] = FLAG_BOOL("follow", 'f', follow, "go on until the log ends"),
        [ARG_TAIL] = FLAG_STRING("tail", 0, tail, "N", "the last N lines; all [all]"),
        [ARG_SINCE] = FLAG_STRING("since", 0, since, "TIME", "at that time and later"),
        [ARG_UNTIL] = FLAG_STRING("until", 0, until, "TIME", "before that time"),
        [ARG_TIMESTAMPS] = FLAG_BOOL("timestamps", 't', timestamps, "a time before each line"),
        [ARG_STDOUT] = FLAG_BOOL("stdout", 0, only_stdout, "only what went to standard output"),
        [ARG_STDERR] = FLAG_BOOL("stderr", 0, only_stderr, "only what went to standard error"),
        [ARG_UPGRADE_ALL] = FLAG_BOOL("all", 'a', upgrade_all, "every container below --root"),
        [ARG_CONTAINERD] =
                FLAG_STRING("containerd", 0, containerd, "DIR",
                            "every belay shim of the containerd with this state directory"),
        [ARG_BINARY] = FLAG_STRING("binary", 0, binary, "PATH",
                                   "go on as this one, not the one it was started from"),
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
        [ARG_LOG] = FLAG_STRING("log", 0, log, "FILE", "append belay's own errors to FILE"),
        [ARG_LOG_FORMAT] = FLAG_STRING("log-format", 0, log_format, "FORMAT", "text or json"),
        [ARG_DEBUG] = FLAG_BOOL("debug", 0, debug, "have the shim log more"),
        [ARG_SYSTEMD_CGROUP] =
                FLAG_BOOL("systemd-cgroup", 0, systemd_cgroup,
                          "have systemd make the cgroup: cgroupsPath is slice:prefix:name"),
        [ARG_CGROUP_MANAGER] = FLAG_STRING("cgroup-manager", 0, cgroup_manager, "NAME",
                                           "cgroupfs; systemd is --systemd-cgroup"),
        [ARG_ROOTLESS] = FLAG_STRING("rootless", 0, ignored_text, "VALUE", IGNORED),
        [ARG_CRIU] = FLAG_STRING("criu", 0, ignored_text, "PATH", IGNORED),
        [ARG_HELP] = FLAG_BOOL("help", 'h', help, "print help and exit"),
        [ARG_VERSION] = FLAG_BOOL("version", 'V', version, "print the version and exit"),
        FLAG_LIMIT(LIMIT_BLKIO_WEIGHT, "blkio-weight", "N", "weight of block I/O, 10 to 1000"),
        FLAG_LIMIT(LIMIT_CPU_PERIOD, "cpu-period", "USEC", "CFS period"),
        FLAG_LIMIT(LIMIT_CPU_QUOTA, "cpu-quota", "USEC", "CPU time in a period; -1: no limit"),
        FLAG_LIMIT(LIMIT_CPU_BURST, "cpu-burst", "USEC", "CPU time that may be saved up"),
        FLAG_LIMIT(LIMIT_CPU_SHARE, "cpu-share", "N", "weight among other containers"),
        FLAG_LIMIT(LIMIT_CPU_RT_PERIOD, "cpu-rt-period", "USEC", "period of realtime processes"),
        FLAG_LIMIT(LIMIT_CPU_RT_RUNTIME, "cpu-rt-runtime", "USEC", "their time in a period"),
        FLAG_LIMIT(LIMIT_CPU_IDLE, "cpu-idle", "0|1", "1: only what others leave over"),
        FLAG_LIMIT(LIMIT_CPUSET_CPUS, "cpuset-cpus", "LIST", "CPUs to run on, as 0-3,7"),
        FLAG_LIMIT(LIMIT_CPUSET_MEMS, "cpuset-mems", "LIST", "memory nodes to use"),
        FLAG_LIMIT(LIMIT_MEMORY, "memory", "BYTES", "memory; 64m, 2g; -1: no limit"),
        FLAG_LIMIT(LIMIT_MEMORY_RESERVATION, "memory-reservation", "BYTES", "soft limit"),
        FLAG_LIMIT(LIMIT_MEMORY_SWAP, "memory-swap", "BYTES", "memory and swap; -1: no limit"),
        FLAG_LIMIT(LIMIT_KERNEL_MEMORY, "kernel-memory", "BYTES", IGNORED),
        FLAG_LIMIT(LIMIT_KERNEL_MEMORY_TCP, "kernel-memory-tcp", "BYTES", IGNORED),
        FLAG_LIMIT(LIMIT_PIDS_LIMIT, "pids-limit", "N", "processes; -1: no limit"),
        FLAG_LIMIT(LIMIT_L3_CACHE_SCHEMA, "l3-cache-schema", "TEXT", "refused: no Intel RDT"),
        FLAG_LIMIT(LIMIT_MEM_BW_SCHEMA, "mem-bw-schema", "TEXT", "refused: no Intel RDT"),
};

static const uint64_t common_flags =
        ARG_BIT(ARG_ROOT) | ARG_BIT(ARG_JSON) | ARG_BIT(ARG_ADDRESS) | ARG_BIT(ARG_BUNDLE) |
        ARG_BIT(ARG_NAMESPACE) | ARG_BIT(ARG_SHIM) | ARG_BIT(ARG_LOG) | ARG_BIT(ARG_LOG_FORMAT) |
        ARG_BIT(ARG_DEBUG) | ARG_BIT(ARG_SYSTEMD_CGROUP) | ARG_BIT(ARG_CGROUP_MANAGER) |
        ARG_BIT(ARG_ROOTLESS) | ARG_BIT(ARG_CRIU) | ARG_BIT(ARG_HELP) | ARG_BIT(ARG_VERSION);

struct parser {
        int argc;
        const char *const *argv;
        int i;
        const struct verb *verb;
        struct args *args;
};

static bool flag_is_in(const struct flag *flag, uint64_t set)
{
        size_t i = (size_t)(flag - flags);

        return set & ARG_BIT(i < _ARG_FLAG_MAX ? i : ARG_RESOURCES);
}

static bool flag_is_allowed(const struct flag *flag, const struct verb *verb)
{
        return flag_is_in(flag, common_flags | (verb ? verb->flags : 0));
}

static bool flag_is_called(const struct flag *flag, const char *name, size_t len, char letter)
{
        if (letter)
                return flag->letter == letter;
        return strlen(flag->name) == len && memcmp(flag->name, name, len) == 0;
}

/* By name or letter. Of several those of the verb come first, then those of all verbs. */
static const struct flag *flag_find(const struct verb *verb, const char *name, size_t len,
                                    char letter)
{
        const struct flag *found = NULL;

        for (size_t i = 0; i < N_FLAGS; i++) {
                const struct flag *flag = &flags[i];

                if (!flag_is_called(flag, name, len, letter))
                        continue;
                if (verb && flag_is_in(flag, verb->flags))
                        return flag;
                if (!found || !flag_is_allowed(found, verb))
                        found = flag;
        }
        return found;
}

static int list_add(struct args *args, const struct flag *flag, const char *value,
                    struct error *err)
{
        const char **items = (const char **)((char *)args + flag->offset);
        size_t *n = (size_t *)((char *)args + flag->count_offset);

        if (*n == flag->max)
                return error_set(err, STATUS_INVALID_ARGUMENT, "more than %zu times --%s",
                                 flag->max, flag->name);
        items[(*n)++] = value;
        return 0;
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
        return list_add(p->args, flag, value, err);
}

static int read_long(struct parser *p, const char *name, struct error *err)
{
        size_t len = strcspn(name, "=");
        const struct flag *flag = flag_find(p->verb, name, len, 0);

        if (!flag)
                return error_set(err, STATUS_INVALID_ARGUMENT, "unknown option --%.*s", (int)len,
                                 name);
        return flag_set(p, flag, name[len] ? name + len + 1 : NULL, err);
}

/* "-dt", "-e NAME=VALUE" or "-eNAME=VALUE". */
static int read_letters(struct parser *p, const char *letters, struct error *err)
{
        for (; *letters; letters++) {
                const struct flag *flag = flag_find(p->verb, NULL, 0, *letters);

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
                                 "'%s' is not an id: letters, digits and '_', behind the first "
                                 "one '.', '+' and '-', too, at most %d characters",
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
                .log_format = "text",
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

static void print_flags(uint64_t set)
{
        for (size_t i = 0; i < N_FLAGS; i++) {
                if (flag_is_in(&flags[i], set))
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
