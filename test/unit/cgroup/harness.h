/* SPDX-License-Identifier: Apache-2.0
 *
 * A real cgroup for a test, /belay-unit-<pid>/c, and children in it. Everything is killed and
 * removed by harness_tear_down(), which runs after a failed test, too. Children end by themselves
 * after half a minute.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "pkg/cgroup/cgroup.h"

enum { HARNESS_CHILDREN_MAX = 16, HARNESS_TIMEOUT_MS = 5000 };

struct harness {
        struct arena *arena;
        struct cgroup_layout layout;
        struct cgroup cg;
        char path[64];
        pid_t children[HARNESS_CHILDREN_MAX];
        size_t n_children;
};

/* True for root on a host that has its controllers on v1. */
bool harness_has_v1(void);

int harness_set_up(void **state); /* plans and creates h->cg */
int harness_tear_down(void **state);

/* Another cgroup of the same hierarchies; fails the test if it cannot be planned. */
struct cgroup harness_plan(struct harness *h, const char *path);
void harness_create(struct cgroup *cg);

/* A child that has joined cg and then runs fn (NULL: it waits to be killed); fn's value is its exit
 * status. Returns when the child has joined. */
pid_t harness_child(struct harness *h, const struct cgroup *cg, int (*fn)(void *userdata),
                    void *userdata);

/* Waits for a child's end: the exit status, or 1000 + signal. */
int harness_wait(struct harness *h, pid_t pid);
bool harness_is_alive(pid_t pid);

/* The first line of a file in the container's directory for a controller ("" for v2); on the heap.
 */
char *harness_read(const struct cgroup *cg, const char *controller, const char *file);
void assert_file(const struct cgroup *cg, const char *controller, const char *file,
                 const char *want);
const char *harness_dir(const struct cgroup *cg, const char *controller);
bool harness_exists(const char *path);

/* Limits and device rules of a new cgroup; resources may be NULL. */
int harness_apply(const struct cgroup *cg, const struct oci_resources *resources,
                  struct error *err);

/* Updates the limits of h->cg; swap may be 0 for none. */
void harness_set_memory(struct harness *h, int64_t limit, int64_t swap);

/* For harness_child(): userdata is a size_t, and as much memory is used. */
int harness_touch_memory(void *userdata);

/* The error of a call that failed has the text in it. */
#define assert_error(call, err, text)                                       \
        do {                                                                \
                (err) = ERROR_INIT;                                         \
                assert_int_equal((call), -1);                               \
                if (!strstr((err).msg, (text)))                             \
                        fail_msg("'%s' is not in '%s'", (text), (err).msg); \
        } while (0)

#define assert_ok(call, err)                       \
        do {                                       \
                (err) = ERROR_INIT;                \
                if ((call) != 0)                   \
                        fail_msg("%s", (err).msg); \
        } while (0)
