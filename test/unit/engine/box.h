/* SPDX-License-Identifier: Apache-2.0
 *
 * A container for tests of the child's side: a bundle with a busybox in a temporary directory, and
 * a run that does what stage and init do around the calls of child.h, without messages and gate.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "pkg/engine/child.h"

enum { BOX_KEPT_FD = 40 }; /* the descriptor that child_drop() is told to keep */

struct box {
        char dir[64]; /* the bundle */
        char id[64];  /* no other test has it: keyrings are seen across containers */
        char rootfs[80];
        char outside[80]; /* a directory that no container may reach; it holds a file "secret" */
};

/* What differs from a plain container. Texts are JSON; NULL takes the default. */
struct box_config {
        const char *script;     /* for /bin/sh -c; instead of args */
        const char *args;       /* "[…]" */
        const char *process;    /* more properties of process, each with a comma before it */
        const char *cwd;        /* "/" */
        const char *user;       /* "{…}" */
        const char *env;        /* "[…]" */
        const char *root;       /* more properties of root, the same way */
        const char *mounts;     /* "[…]" */
        const char *namespaces; /* "[…]" */
        const char *linux_;     /* more properties of linux, the same way */
        const char *top;        /* more properties of the document, the same way */
        bool terminal;
        bool no_pivot_root;
        const struct cgroup *cgroup;
        void (*in_child)(void *userdata); /* before child_prepare() */
        child_hooks_fn hooks;
        /* in the stage, while the program runs; whatever it writes to output is in the result */
        void (*while_running)(pid_t pid, int output, void *userdata);
        void *userdata;
};

struct box_result {
        const char *failed_at; /* "parse", "plan", "prepare", "enter", "drop", "exec", or NULL */
        struct error err;
        int status;      /* of waitpid */
        char out[16384]; /* stdout and stderr, or what came over the terminal */
        size_t out_len;
};

#define BOX_DEFAULT_MOUNTS                                                                        \
        "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"                      \
        "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":"          \
        "[\"nosuid\",\"strictatime\",\"mode=755\",\"size=65536k\"]},"                             \
        "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":"    \
        "[\"nosuid\",\"noexec\",\"newinstance\",\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"     \
        "{\"destination\":\"/dev/shm\",\"type\":\"tmpfs\",\"source\":\"shm\",\"options\":"        \
        "[\"nosuid\",\"noexec\",\"nodev\",\"mode=1777\",\"size=65536k\"]},"                       \
        "{\"destination\":\"/dev/mqueue\",\"type\":\"mqueue\",\"source\":\"mqueue\",\"options\":" \
        "[\"nosuid\",\"noexec\",\"nodev\"]},"                                                     \
        "{\"destination\":\"/sys\",\"type\":\"sysfs\",\"source\":\"sysfs\",\"options\":"          \
        "[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]}"

/* A mount namespace of the test's own, once, from main(); returns false when not root. */
bool box_private_mounts(void);

void box_make(struct box *box);
void box_remove(struct box *box);

/* sh -c on the host, in the bundle's directory; the test fails if it fails. */
void box_host(const struct box *box, const char *script);

/* config.json for it, on the heap. */
char *box_document(const struct box_config *config);

void box_run(const struct box *box, const struct box_config *config, struct box_result *ret);

/* The same, and the test fails unless the program ended with 0. */
void box_run_ok(const struct box *box, const struct box_config *config, struct box_result *ret);
