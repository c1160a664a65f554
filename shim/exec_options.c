/* SPDX-License-Identifier: Apache-2.0
 *
 * See exec_options.h.
 */
#include "shim/exec_options.h"

#include <stdlib.h>
#include <string.h>

#include "pkg/base/limits.h"
#include "pkg/base/str.h"

static bool has_too_much(const char *text)
{
        size_t n = 1;

        for (const char *p = text; *p; p++)
                n += *p == '\n';
        return n > LIMIT_EXEC_CGROUPS || strlen(text) > LIMIT_EXEC_CGROUP_BYTES;
}

int exec_options_set_cgroup(struct exec_options *options, const char *text, struct error *err)
{
        if (!*text || has_too_much(text))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 EXEC_CGROUP_KEY ": nothing, more than %d lines or than %d bytes",
                                 LIMIT_EXEC_CGROUPS, LIMIT_EXEC_CGROUP_BYTES);
        options->cgroup = strdup(text);
        return options->cgroup
                       ? 0
                       : error_set(err, STATUS_RESOURCE_EXHAUSTED, EXEC_CGROUP_KEY ": no memory");
}

static bool is_on(const struct ttrpc_call *call, const char *key)
{
        return str_equal(ttrpc_call_metadata(call, key), "1");
}

int exec_options_of_call(struct exec_options *ret, const struct ttrpc_call *call, struct error *err)
{
        const char *cgroup = ttrpc_call_metadata(call, EXEC_CGROUP_KEY);

        *ret = (struct exec_options){
                .ignore_paused = is_on(call, EXEC_IGNORE_PAUSED_KEY),
                .own_child = is_on(call, EXEC_OWN_CHILD_KEY),
        };
        return cgroup ? exec_options_set_cgroup(ret, cgroup, err) : 0;
}

enum process_verb exec_options_verb(const struct exec_options *options)
{
        return options->ignore_paused ? VERB_EXEC_PAUSED : VERB_EXEC;
}

void exec_options_deinit(struct exec_options *options)
{
        free(options->cgroup);
        *options = (struct exec_options){NULL};
}
