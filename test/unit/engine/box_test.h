/* SPDX-License-Identifier: Apache-2.0
 *
 * The beginning that test_child*.c have in common: one box for each test, runs of it with what
 * differs from a plain container, and the last run's result, which is too large for a stack.
 */
#pragma once

#include <string.h>

#include "test/unit/engine/box.h"
#include "test/unit/unit.h"

static struct box_result r;

#define run_ok(...) box_run_ok(*state, &(struct box_config){__VA_ARGS__}, &r)
#define run(...)    box_run(*state, &(struct box_config){__VA_ARGS__}, &r)
#define boxed(name) cmocka_unit_test_setup_teardown(name, make, destroy)

#define PROC "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}"

#define USERNS                                                                            \
        "[{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},{\"type\":\"uts\"}," \
        "{\"type\":\"network\"},{\"type\":\"user\"},{\"type\":\"cgroup\"}]"
#define MAPS                                                                       \
        ",\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":65536}]," \
        "\"gidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}]"

static inline int make(void **state)
{
        static struct box box;

        box_make(&box);
        *state = &box;
        return 0;
}

static inline int destroy(void **state)
{
        box_remove(*state);
        return 0;
}

static inline void assert_out_has(const char *text)
{
        if (!strstr(r.out, text))
                fail_msg("'%s' is not in:\n%s", text, r.out);
}

static inline void assert_failed(const char *at, const char *text)
{
        if (!r.failed_at || strcmp(r.failed_at, at) != 0 || !strstr(r.err.msg, text))
                fail_msg("wanted '%s' at %s, got '%s' at %s\n%s", text, at, r.err.msg,
                         r.failed_at ? r.failed_at : "(none)", r.out);
}
