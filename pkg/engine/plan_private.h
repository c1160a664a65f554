/* SPDX-License-Identifier: Apache-2.0
 *
 * What plan*.c decide and child_*.c do, and nobody else needs to see. The lists are made in the
 * stage; the fields below "child" are the notes of the one process that carries the plan out, in
 * buffers that were made beforehand, so that the child needs no heap.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pkg/cgroup/cgroup.h"
#include "pkg/engine/child.h"
#include "pkg/engine/idmap.h"
#include "pkg/oci/mount_options.h"

/* Twice what xattr(7) allows for the names, or the value, of extended attributes. */
enum { COPY_ROOM_BYTES = 2 * (64 << 10) };

enum plan_mount_kind {
        PLAN_MOUNT_FRESH,   /* a new instance of a file system */
        PLAN_MOUNT_BIND,    /* a tree that the stage clones */
        PLAN_MOUNT_CGROUP,  /* the container's own control groups */
        PLAN_MOUNT_REMOUNT, /* new flags for what is there */
};

struct plan_mount {
        enum plan_mount_kind kind;
        const char *type;
        const char *source;
        const char *destination; /* absolute and lexically clean, as the container sees it */
        struct oci_mount_options options;
        uint64_t attr_set; /* MOUNT_ATTR_* of this mount alone */
        uint64_t attr_clear;
        bool is_directory;             /* a bind's source */
        bool on_procfs;                /* the destination may lie on procfs (the allow-list) */
        bool readonly_later;           /* tmpfs and /dev take mountpoints and nodes first */
        bool private_superblock_flags; /* "ro" and so on are the file system's, too */
        int source_fd; /* what a bind's source is, in the stage's mount namespace; else -1 */
        int tree_fd;   /* a detached tree, while child_mount_all() has one; then the mount; -1 */
};

struct plan_device {
        const char *path; /* absolute and clean */
        mode_t mode;      /* with the type */
        dev_t rdev;
        uid_t uid;
        gid_t gid;
        int tree_fd; /* in a user namespace: the host's node, detached; else -1 */
};

/* One directory below the container's /sys/fs/cgroup. */
struct plan_cgroup_dir {
        const char *name;  /* "cpu,cpuacct"; "systemd"; "unified" */
        const char *links; /* what else it is called, comma-separated: "cpu,cpuacct" */
        const char *path;  /* on the host */
        int tree_fd;       /* as plan_mount.tree_fd */
};

struct plan_sysctl {
        const char *key;
        const char *path; /* below procfs: "sys/net/ipv4/ip_forward" */
        const char *value;
        enum oci_namespace_type type; /* whose it is */
};

#define LISTEN_PID_FORMAT "LISTEN_PID=%d"

struct plan_private {
        struct arena *arena;

        /* the rootfs on the host: what the tree is mounted on */
        const char *rootfs_path;
        dev_t rootfs_dev;
        ino_t rootfs_ino;
        unsigned root_propagation; /* MS_SHARED, … of "/" in the end */
        bool root_propagation_recursive;

        bool has_mount_namespace;
        bool is_own[_OCI_NS_MAX]; /* to be joined, but the runtime itself is in it */
        bool has_user_namespace;  /* a new one or one to join */
        bool new_cgroup_namespace;
        bool new_ipc_namespace; /* to be made by the child, in its user namespace */
        bool has_cgroup_namespace;
        bool bring_up_loopback;
        bool make_dev; /* /dev is the container's own: default nodes and links */
        bool has_kcore;
        bool selinux;

        struct plan_mount *mounts;
        size_t n_mounts;
        struct idmap idmap; /* of the last idmapped mount: they are mostly the same */
        int idmap_fd;       /* its user namespace, or -1 */
        char *copy_room;    /* COPY_ROOM_BYTES for child_copyup.c; NULL: nothing is to be copied */
        struct plan_device *devices;
        size_t n_devices;
        struct plan_sysctl *sysctl;
        size_t n_sysctl;

        struct plan_cgroup_dir cgroup_dirs[CGROUP_HIERARCHIES_MAX];
        size_t n_cgroup_dirs;
        bool cgroup_is_unified;
        bool wants_cgroup;

        const char **hide_paths; /* without pivot_root: the host's own proc and sysfs mounts */
        size_t n_hide_paths;

        const char *keyring;          /* NULL: keep the session keyring */
        const char *apparmor_profile; /* NULL: none */
        const char *selinux_label;
        const char *mount_label; /* for new file systems; NULL: none, or SELinux is off */
        struct oci_capabilities capabilities;
        const struct oci_personality *personality; /* may be NULL, or not present */
        const struct oci_memory_policy *memory_policy;
        bool make_time_namespace; /* before the clone, with offsets */

        char **envp; /* process.env and room for HOME, LISTEN_FDS and LISTEN_PID */
        size_t n_env;
        bool has_home; /* HOME is there already */
        size_t home_slot;
        char *listen_pid;        /* in envp, with room for the number; NULL: not asked for */
        const char *search_path; /* PATH of process.env */

        /* child */
        child_trees_fn trees; /* as child_prepare() was given them */
        void *trees_userdata;
        bool trees_follow; /* the next have been asked for */
        int root_fd;       /* the root of the container; -1 when it is "/" */
        int proc_mount;    /* what is mounted on /proc and /sys, where that is new; else -1 */
        int sys_mount;
        char path[PATH_MAX]; /* scratch of child_fs.c */
        char path2[PATH_MAX];
        char home[PATH_MAX + 8];
        char exec_path[PATH_MAX];
};

/* plan_check.c: what the runtime-spec demands across fields. Pure. */
int plan_check(const struct oci_spec *spec, const struct plan_options *options, struct error *err);
int plan_check_process(const struct oci_process *process, struct error *err);

/* plan_env.c: the entries without those that a later one of the same name takes the place of, in
 * their order; ret has room for all and a NULL. Returns how many; SIZE_MAX: no memory. */
size_t plan_unique_env(const struct oci_strings *env, char **ret, struct arena *arena);

/* plan_sysctl.c: the path below /proc/sys of a key and the namespace that it belongs to, if the
 * container's namespaces make it its own. Pure. */
int plan_sysctl_path(const struct oci_spec *spec, const char *key, struct arena *arena,
                     const char **ret, enum oci_namespace_type *ret_type, struct error *err);

/* plan_userns.c: what linux.uidMappings and gidMappings say. */
struct idmap plan_own_idmap(const struct plan *plan);

/* plan_idmap.c: whether ids may be mapped as the entry or its options ask for it, and for a bind's
 * tree it is done. */
int plan_check_idmap(const struct plan *plan, const struct plan_mount *m, size_t index,
                     struct error *err);
int plan_idmap_tree(const struct plan *plan, const struct plan_mount *m, int tree_fd, size_t index,
                    struct error *err);

/* plan_mounts.c: decides and opens what mounts[] and the rootfs ask for. */
int plan_open_rootfs(struct plan *plan, struct error *err);
int plan_add_mounts(struct plan *plan, struct error *err);
int plan_parse_propagation(const char *text, unsigned *ret_type, bool *ret_recursive);

/* plan_devices.c */
int plan_add_devices(struct plan *plan, struct error *err);

/* plan_namespaces.c */
int plan_add_namespaces(struct plan *plan, struct error *err);

/* The text in the arena, or -1 with STATUS_RESOURCE_EXHAUSTED. */
int plan_no_memory(struct error *err);

/* A destination as the container sees it: absolute, `.`, `..` and `//` resolved lexically; NULL
 * without memory. */
const char *plan_clean_path(struct arena *arena, const char *path);
