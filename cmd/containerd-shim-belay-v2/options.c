/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of flags and a small reader for Go's flag syntax (package flag of Go's library), since
 * getopt(3) reads `-id x` as `-i d x`. Unknown flags are errors, so that a caller who relies on one
 * hears of it.
 */
#include "cmd/containerd-shim-belay-v2/options.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/str.h"

enum flag_kind { FLAG_STRING, FLAG_BOOL };

struct flag {
        const char *name;
        enum flag_kind kind;
        size_t offset;
        const char *help;
};

#define STRING_FLAG(name, field, help)                                   \
        {                                                                \
                name, FLAG_STRING, offsetof(struct options, field), help \
        }
#define BOOL_FLAG(name, field, help)                                   \
        {                                                              \
                name, FLAG_BOOL, offsetof(struct options, field), help \
        }

static const struct flag flags[] = {
        STRING_FLAG("address", address, "containerd's gRPC socket"),
        STRING_FLAG("bundle", bundle, "bundle to clean up (delete)"),
        BOOL_FLAG("debug", debug, "log more"),
        STRING_FLAG("debug-socket", debug_socket, "accepted and ignored"),
        STRING_FLAG("fallback", fallback, "used by the shim itself, for an upgrade"),
        STRING_FLAG("id", id, "id of the container"),
        BOOL_FLAG("info", info, "print the runtime's description (protobuf) and exit"),
        STRING_FLAG("namespace", runtime_namespace, "namespace that owns the container"),
        BOOL_FLAG("orphans", orphans, "leave the container's processes to the caller to reap"),
        STRING_FLAG("publish-binary", publish_binary, "accepted and ignored"),
        BOOL_FLAG("same-oom-score", same_oom_score, "keep the caller's OOM score; else one more"),
        STRING_FLAG("socket", socket, "socket to serve on, instead of descriptor 3"),
        STRING_FLAG("state", state, "used by the shim itself, for an upgrade or after a crash"),
        BOOL_FLAG("v", version, "print the version and exit"),
        BOOL_FLAG("version", version, "print the version and exit"),
        /* Go's package knows these two by itself. */
        BOOL_FLAG("h", help, "print this text and exit"),
        BOOL_FLAG("help", help, "print this text and exit"),
};

enum { N_FLAGS = sizeof(flags) / sizeof(flags[0]) };

static const struct flag *flag_find(const char *name, size_t len)
{
        for (size_t i = 0; i < N_FLAGS; i++) {
                if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
                        return &flags[i];
        }
        return NULL;
}

/* Go's strconv.ParseBool. */
static int bool_parse(const char *text, bool *ret)
{
        static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
        static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};

        for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
                if (strcmp(text, yes[i]) == 0) {
                        *ret = true;
                        return 0;
                }
                if (strcmp(text, no[i]) == 0) {
                        *ret = false;
                        return 0;
                }
        }
        return -1;
}

/* One flag: word is argv[*i]. Moves *i on when its value is the next word. */
static int flag_read(struct options *options, int argc, const char *const *argv, int *i,
                     struct error *err)
{
        const char *word = argv[*i];
        const char *name = word + (word[1] == '-' ? 2 : 1);
        size_t len = strcspn(name, "=");
        const char *value = name[len] == '=' ? name + len + 1 : NULL;
        const struct flag *flag;
        char *field;

        if (len == 0 || *name == '-')
                return error_set(err, STATUS_INVALID_ARGUMENT, "bad flag syntax: %s", word);
        flag = flag_find(name, len);
        if (!flag)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "flag provided but not defined: -%.*s", (int)len, name);
        field = (char *)options + flag->offset;
        if (flag->kind == FLAG_BOOL) {
                bool on = true;

                if (value && bool_parse(value, &on) < 0)
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "invalid boolean value \"%s\" for -%s: parse error", value,
                                         flag->name);
                *(bool *)field = on;
                return 0;
        }
        if (!value && *i + 1 < argc)
                value = argv[++*i];
        if (!value)
                return error_set(err, STATUS_INVALID_ARGUMENT, "flag needs an argument: -%s",
                                 flag->name);
        *(const char **)field = value;
        return 0;
}

int options_parse(int argc, const char *const *argv, struct options *ret, struct error *err)
{
        struct options options = {
                .runtime_namespace = "",
                .id = "",
                .address = "",
                .publish_binary = "",
                .socket = "",
                .state = "",
                .fallback = "",
                .debug_socket = "",
                .bundle = "",
                .program = argc > 0 ? argv[0] : "",
                .action = "",
        };
        int i = 1;

        for (; i < argc; i++) {
                if (argv[i][0] != '-' || argv[i][1] == '\0')
                        break;
                if (strcmp(argv[i], "--") == 0) {
                        i++;
                        break;
                }
                if (flag_read(&options, argc, argv, &i, err) < 0)
                        return -1;
        }
        if (i < argc)
                options.action = argv[i];
        *ret = options;
        return 0;
}

void options_print_usage(int fd, const char *name)
{
        dprintf(fd,
                "Usage of %s:\n"
                "  %s [flags] start|delete\n"
                "containerd runs this program; `belay` is the command line for people.\n",
                name, name);
        for (size_t i = 0; i < N_FLAGS; i++)
                dprintf(fd, "  -%s%s\n        %s\n", flags[i].name,
                        flags[i].kind == FLAG_STRING ? " string" : "", flags[i].help);
}
