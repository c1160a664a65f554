/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `belay`: options anywhere before the container's own arguments, a verb, an
 * id, and what the verb takes besides.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/error.h"

#define BELAY_ROOT_DEFAULT      "/run/belay"
#define BELAY_NAMESPACE_DEFAULT "belay"

enum { ARGS_ENV_MAX = 128, ARGS_CAPS_MAX = 48, ARGS_GIDS_MAX = 48, ARGS_CGROUPS_MAX = 16 };

/* Bits, for the set of options that a verb takes. */
enum arg_flag {
        ARG_RM,
        ARG_DETACH,
        ARG_TERMINAL,
        ARG_ROOTFS,
        ARG_ENV,
        ARG_CWD,
        ARG_USER,
        ARG_OUTPUT,
        ARG_KEEP,
        ARG_CONSOLE_SOCKET,
        ARG_PID_FILE,
        ARG_PRESERVE_FDS,
        ARG_NO_PIVOT,
        ARG_NO_NEW_KEYRING,
        ARG_NO_SUBREAPER,
        ARG_PROCESS,
        ARG_CAP,
        ARG_ADDITIONAL_GIDS,
        ARG_NO_NEW_PRIVS,
        ARG_APPARMOR,
        ARG_PROCESS_LABEL,
        ARG_IGNORE_PAUSED,
        ARG_CGROUP,
        ARG_FORMAT,
        ARG_QUIET,
        ARG_RESOURCES,
        ARG_STATS,
        ARG_INTERVAL,
        ARG_NO_STREAM,
        ARG_SPEC_ROOTLESS,
        ARG_EXEC,
        ARG_ALL,
        ARG_FORCE,
        ARG_INTERACTIVE,
        ARG_CONTAINER_LOG,
        ARG_NO_STDIN,
        ARG_CLOSE_STDIN,
        ARG_REPLAY,
        ARG_DETACH_KEYS,
        ARG_FOLLOW,
        ARG_TAIL,
        ARG_SINCE,
        ARG_UNTIL,
        ARG_TIMESTAMPS,
        ARG_STDOUT,
        ARG_STDERR,
        ARG_UPGRADE_ALL,
        ARG_CONTAINERD,
        ARG_BINARY,
        /* Of all verbs: */
        ARG_ROOT,
        ARG_JSON,
        ARG_ADDRESS,
        ARG_BUNDLE,
        ARG_NAMESPACE,
        ARG_SHIM,
        ARG_LOG,
        ARG_LOG_FORMAT,
        ARG_DEBUG,
        ARG_SYSTEMD_CGROUP,
        ARG_CGROUP_MANAGER,
        ARG_ROOTLESS,
        ARG_CRIU,
        ARG_HELP,
        ARG_VERSION,
        _ARG_FLAG_MAX
};

#define ARG_BIT(flag) (UINT64_C(1) << (flag))

/* The limits that update takes one by one, all behind ARG_RESOURCES. */
enum arg_limit {
        LIMIT_BLKIO_WEIGHT,
        LIMIT_CPU_PERIOD,
        LIMIT_CPU_QUOTA,
        LIMIT_CPU_BURST,
        LIMIT_CPU_SHARE,
        LIMIT_CPU_RT_PERIOD,
        LIMIT_CPU_RT_RUNTIME,
        LIMIT_CPU_IDLE,
        LIMIT_CPUSET_CPUS,
        LIMIT_CPUSET_MEMS,
        LIMIT_MEMORY,
        LIMIT_MEMORY_RESERVATION,
        LIMIT_MEMORY_SWAP,
        LIMIT_KERNEL_MEMORY,
        LIMIT_KERNEL_MEMORY_TCP,
        LIMIT_PIDS_LIMIT,
        LIMIT_L3_CACHE_SCHEMA,
        LIMIT_MEM_BW_SCHEMA,
        _ARG_LIMIT_MAX
};

/* Strings point into argv; NULL when not given, unless a default is named. */
struct args {
        const char *root;              /* BELAY_ROOT_DEFAULT */
        const char *runtime_namespace; /* BELAY_NAMESPACE_DEFAULT */
        const char *address;
        const char *bundle;
        const char *shim;
        const char *rootfs;
        const char *cwd;
        const char *user;
        const char *output;
        const char *console_socket;
        const char *pid_file;
        const char *preserve_fds;
        const char *process;
        const char *apparmor;
        const char *process_label;
        const char *format;
        const char *resources;
        const char *interval;
        const char *limits[_ARG_LIMIT_MAX];
        const char *container_log;
        const char *replay;
        const char *detach_keys;
        const char *tail;
        const char *since;
        const char *until;
        const char *containerd;
        const char *binary;
        const char *log;
        const char *log_format; /* "text" */
        const char *cgroup_manager;
        const char *ignored_text;
        const char *exec_id; /* "" */
        const char *env[ARGS_ENV_MAX];
        size_t n_env;
        const char *caps[ARGS_CAPS_MAX];
        size_t n_caps;
        const char *gids[ARGS_GIDS_MAX];
        size_t n_gids;
        const char *cgroups[ARGS_CGROUPS_MAX];
        size_t n_cgroups;
        bool rm;
        bool detach;
        bool terminal;
        bool all;
        bool force;
        bool upgrade_all;
        bool interactive;
        bool no_stdin;
        bool close_stdin;
        bool follow;
        bool timestamps;
        bool only_stdout;
        bool only_stderr;
        bool ignored_flag;
        bool keep;
        bool no_pivot;
        bool no_new_keyring;
        bool no_new_privs;
        bool quiet;
        bool stats;
        bool no_stream;
        bool rootless;
        bool ignore_paused;
        bool debug;
        bool systemd_cgroup;
        bool json;
        bool help;
        bool version;

        bool orphans; /* not an option: a shim that is started leaves reaping to our caller */

        const char *id;           /* the first word behind the verb, if the verb takes an id */
        const char *const *words; /* what follows the id, NULL-terminated */
        size_t n_words;
};

struct verb {
        const char *name;
        const char *synopsis;
        const char *summary; /* one line */
        const char *details; /* paragraphs, or NULL */
        uint64_t flags;      /* ARG_BIT()s besides those of all verbs */
        bool takes_id;
        size_t words_max;
        int failure; /* exit status when belay itself fails */

        /* Pure: what this verb's options and words must agree in; may be NULL. */
        int (*check)(const struct args *args, struct error *err);

        /* 0 and an exit status, or -1 and a text. */
        int (*run)(const struct args *args, int *ret_status, struct error *err);
};

/*
 * Pure. *ret_verb is NULL when there is no verb on the line (only --help or --version make sense
 * then). Errors are STATUS_INVALID_ARGUMENT; *ret_verb is set if it was found before the mistake.
 */
int args_parse(int argc, const char *const *argv, const struct verb *verbs, size_t n_verbs,
               struct args *ret, const struct verb **ret_verb, struct error *err);

/* To standard output. */
void args_print_overview(const struct verb *verbs, size_t n_verbs);
void args_print_help(const struct verb *verb);
