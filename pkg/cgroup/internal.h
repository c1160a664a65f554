/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of pkg/cgroup share. Nobody else includes this.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/cgroup/cgroup.h"

/* True if the comma-separated list has the name. */
bool controllers_have(const char *list, const char *name);

/* The container's directory for a v1 controller, NULL if it is not mounted as v1. */
const struct cgroup_dir *cgroup_find_v1(const struct cgroup *cg, const char *controller);
const struct cgroup_dir *cgroup_find_v2(const struct cgroup *cg);

/* True if the controllers are on v2: nothing of v1 is there but at most named hierarchies. */
bool cgroup_is_on_v2(const struct cgroup *cg);

/* The directories of "/a/b" (clean) below the mount of each hierarchy. Pure. */
int cgroup_place(const struct cgroup_layout *layout, const char *clean, struct arena *arena,
                 struct cgroup *ret, struct error *err);

/* An open directory, or a negative errno. */
int dir_open(int dirfd, const char *path);

/* One small file, blanks at its end cut off, on the heap; 0 or a negative errno. */
int dir_read(int dirfd, const char *file, char **ret_text);

/*
 * Walks a directory and its sub-directories, however deep: enter() for each, an upper one before
 * those in it. A negative errno from it ends the walk and is returned; directories that vanish
 * meanwhile do not disturb it. -E2BIG: it was cut short.
 */
struct walk {
        int (*enter)(int dirfd, void *userdata);
        bool is_quick; /* cut short after LIMIT_CGROUP_LOOK directories or LIMIT_CGROUP_LOOK_MS */
        void *userdata;
};
int dir_walk(const char *path, const struct walk *walk);

/* A growing set of pids. */
struct pid_list {
        pid_t *items;
        size_t n;
        size_t room;
};

void pid_list_free(struct pid_list *list);

/* The pids below one directory, sorted and without doubles; 0 or a negative errno. A directory that
 * is gone has none. `is_quick` as for dir_walk(), here and below: after -E2BIG the list has some of
 * them, in no order. */
int pid_list_read(const struct cgroup_dir *dir, bool is_quick, struct pid_list *list);
bool pid_list_has(const struct pid_list *list, pid_t pid);

/* One more descriptor to join with; above: the directory that dir is in, or -1. */
int join_add(struct cgroup_join *join, const struct cgroup_dir *dir, int above, struct error *err);

/* The pids of the whole cgroup. */
int pid_list_read_all(const struct cgroup *cg, bool is_quick, struct pid_list *list);

/* The v1 directory by which processes are listed, NULL if there is none. */
const struct cgroup_dir *cgroup_find_listing_v1(const struct cgroup *cg);

/* Sleeps for about a millisecond, longer each time; false when the deadline has passed. */
bool backoff(uint64_t deadline_ns, unsigned *round);

/* Freezes or thaws with no text; 0 or a negative errno, -ENOENT without any freezer. */
int freezer_set(const struct cgroup *cg, bool frozen, uint64_t deadline_ns);

/*
 * Stops a v1 container for a moment, for a change of several steps of which it is to see none, and
 * lets it go on. False: nothing was stopped, since it is paused already, or since a process could
 * not be stopped in time.
 */
bool freezer_hold(const struct cgroup *cg);
void freezer_release(const struct cgroup *cg);

/* Lets v1's freezer go in the whole tree, for SIGKILL does not reach what is frozen there.
 * `is_quick` as for dir_walk(). */
void freezer_thaw_tree(const struct cgroup *cg, bool is_quick);

/* ---- limits ---- */

enum { LIMIT_VALUE_MAX = 64, LIMIT_GROUP_MAX = 4 };

/* One value for one file. */
struct limit {
        const char *field; /* below linux.resources, for messages */
        const char *file;
        char value[LIMIT_VALUE_MAX];
        const char *text; /* in the place of value, for what has no bound */
        bool optional;    /* a missing file is no error */

        /* Of a file with a line for each device, see entries.h. */
        const char *entry;
        const char *key;
        const char *unset; /* the value of an entry that is not listed */
        bool only_listed;  /* the entry is there to be read; only the value is written */
};

/* What a file held before, for the way back. */
struct limit_undo {
        const struct cgroup_dir *dir;
        char *file;
        char *text; /* NULL: it could not be read */
};

struct limits {
        const struct cgroup *cg;
        struct limit_undo *journal;
        size_t n_journal;
        size_t room;
};

/* The directory in which a controller's files are, or an error that names the field. */
const struct cgroup_dir *limits_dir(struct limits *limits, const char *controller,
                                    const char *field, struct error *err);

/*
 * Writes values that depend on each other, as period and quota do: what the kernel refuses with
 * EINVAL is tried again when another one of the group has got through. items may be empty.
 */
int limits_write(struct limits *limits, const struct cgroup_dir *dir, const struct limit *items,
                 size_t n, struct error *err);

/* One value alone; `controller` as for limits_dir(). */
int limits_write_one(struct limits *limits, const char *controller, const struct limit *item,
                     struct error *err);

/* Sets back what was changed, newest first; what cannot be is added to the text of err. */
void limits_undo(struct limits *limits, struct error *err);

void limits_free(struct limits *limits);

struct limit limit_i64(const char *field, const char *file, int64_t value);
struct limit limit_u64(const char *field, const char *file, uint64_t value);
struct limit limit_max(const char *field, const char *file, int64_t value); /* negative: "max" */

/* Puts what a file holds now into the journal; 0, also where there is no such file, or -ENOMEM. */
int limits_remember(struct limits *limits, const struct cgroup_dir *dir, int fd,
                    const struct limit *item);

int resources_write_v1(struct limits *limits, const struct oci_resources *r, struct error *err);
int resources_write_v2(struct limits *limits, const struct oci_resources *r, struct error *err);

/* The same on v1 and v2. */
const char *memory_first_field(const struct oci_memory *m);
int memory_check_before_update(const struct cgroup_dir *dir, const char *usage_file, int64_t limit,
                               struct error *err);
/* An idle cgroup forgets its weight, which is in weight_file: it is remembered first. */
int idle_write(struct limits *limits, const struct oci_cpu *c, const char *weight_file,
               struct error *err);
int cpuset_write(struct limits *limits, const struct oci_cpu *c, struct error *err);
int pids_write(struct limits *limits, const struct oci_resources *r, struct error *err);
int rdma_write(struct limits *limits, const struct oci_resources *r, struct error *err);

/* resources_io.c, resources_net.c */
int block_io_write_v1(struct limits *limits, const struct oci_block_io *b, struct error *err);
int block_io_write_v2(struct limits *limits, const struct oci_block_io *b, struct error *err);
int network_write_v1(struct limits *limits, const struct oci_network *n, struct error *err);

/* "linux.resources.FIELD: cgroup v2 has no such limit" */
int v2_lacks(const char *field, struct error *err);

/* resources_hugetlb.c: on v1 and v2, and beside v1 on a v2 tree that has the controller.
 * The page size of linux.resources.hugepageLimits[index] becomes a part of file names. */
int hugepages_write(struct limits *limits, const struct oci_resources *r, struct error *err);
int hugepage_size_check(const char *size, size_t index, struct error *err);

/* Enables a controller of v2 on the way down to a directory; 0, -ENOENT without such a controller,
 * or a negative errno. */
int v2_enable(const struct cgroup_dir *dir, const char *controller);
