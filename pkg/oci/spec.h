/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json of the OCI runtime-spec (1.x, Linux) as typed structs: pure data, no policy.
 *
 * Everything lives in the arena that it was parsed into. Strings that the document lacks, or that
 * are empty, are NULL; lists are empty; null is the same as absent. Numbers are range-checked by
 * the parser; `has_` flags tell "absent" from zero where it matters. Properties that the
 * runtime-spec does not know are ignored, as it asks; properties that it knows and that belay does
 * not support yet fail with STATUS_UNIMPLEMENTED and their path
 * ("linux.resources.rdma is not supported"). All other errors are STATUS_INVALID_ARGUMENT and begin
 * with the path of the property ("process.rlimits[2].type: unknown value 'RLIMIT_X'").
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pkg/base/arena.h"
#include "pkg/base/error.h"

/* A list of strings; items are never NULL. Where it becomes argv or envp it is also
 * NULL-terminated. */
struct oci_strings {
        char **items; /* items[n] == NULL */
        size_t n;
};

/* ---- process ---- */

struct oci_user {
        uint32_t uid;
        uint32_t gid;
        bool has_umask;
        uint32_t umask;
        bool has_additional_gids; /* an empty list is a list, too */
        uint32_t *additional_gids;
        size_t n_additional_gids;
};

/* Bit n is capability number n of linux/capability.h. */
struct oci_capabilities {
        uint64_t bounding;
        uint64_t effective;
        uint64_t inheritable;
        uint64_t permitted;
        uint64_t ambient;
};

struct oci_rlimit {
        int resource; /* RLIMIT_* */
        const char *name;
        uint64_t soft; /* UINT64_MAX: RLIM_INFINITY */
        uint64_t hard;
};

/* sched_setattr(2) */
struct oci_scheduler {
        bool present;
        uint32_t policy; /* SCHED_* */
        const char *policy_name;
        int32_t nice;
        uint32_t priority;
        uint64_t flags;                     /* SCHED_FLAG_* */
        uint64_t runtime, deadline, period; /* nanoseconds */
};

struct oci_io_priority {
        bool present;
        const char *class_name;
        uint32_t value; /* class and level, as ioprio_set(2) takes them */
};

/* Sets of CPUs and of memory nodes: bit n % 64 of word n / 64. */
enum {
        OCI_CPU_WORDS = 8192 / 64,  /* NR_CPUS, at most, of Linux on x86 and arm64 */
        OCI_NODE_WORDS = 1024 / 64, /* MAX_NUMNODES */
};

struct oci_process {
        bool terminal;
        bool has_console_size;
        uint16_t console_height;
        uint16_t console_width;
        struct oci_user user;
        struct oci_strings args; /* at least one */
        struct oci_strings env;
        char *cwd; /* absolute */
        bool has_capabilities;
        struct oci_capabilities capabilities;
        struct oci_rlimit *rlimits;
        size_t n_rlimits;
        bool no_new_privileges;
        char *apparmor_profile;
        char *selinux_label;
        bool has_oom_score_adj;
        int oom_score_adj;
        struct oci_scheduler scheduler;
        struct oci_io_priority io_priority;
        uint64_t *exec_cpus_initial; /* OCI_CPU_WORDS; NULL: not given */
        uint64_t *exec_cpus_final;
};

/* ---- mounts ---- */

struct oci_id_mapping {
        uint32_t container_id;
        uint32_t host_id;
        uint32_t size;
};

/* pkg/oci/mount_options.h turns options into flags. */
struct oci_mount {
        char *destination;
        char *type;   /* may be NULL (bind) */
        char *source; /* may be NULL */
        struct oci_strings options;

        /* Both or none. Ids of the source (container_id) appear as host_id. */
        struct oci_id_mapping *uid_mappings;
        size_t n_uid_mappings;
        struct oci_id_mapping *gid_mappings;
        size_t n_gid_mappings;
};

/* ---- hooks ---- */

struct oci_hook {
        char *path;              /* absolute */
        struct oci_strings args; /* empty: {path} */
        bool has_env;            /* else whoever runs the hook decides */
        struct oci_strings env;
        bool has_timeout;
        uint32_t timeout_s;
};

struct oci_hook_list {
        struct oci_hook *items;
        size_t n;
};

struct oci_hooks {
        struct oci_hook_list prestart;
        struct oci_hook_list create_runtime;
        struct oci_hook_list create_container;
        struct oci_hook_list start_container;
        struct oci_hook_list poststart;
        struct oci_hook_list poststop;
};

/* ---- linux ---- */

enum oci_namespace_type {
        OCI_NS_PID,
        OCI_NS_NETWORK,
        OCI_NS_MOUNT,
        OCI_NS_IPC,
        OCI_NS_UTS,
        OCI_NS_USER,
        OCI_NS_CGROUP,
        OCI_NS_TIME,
        _OCI_NS_MAX,
};

struct oci_namespace {
        bool present; /* absent: the runtime's own is inherited */
        char *path;   /* NULL: a new one; else absolute, the one to join */
};

struct oci_net_device {
        char *host_name;
        char *name; /* in the container; host_name if the document gives none. With a "%d" in it
                     * the kernel puts the first number there that is free. */
};

struct oci_device {
        char *path;
        char type; /* 'c' (also for "u"), 'b' or 'p' */
        int64_t major;
        int64_t minor;
        bool has_file_mode;
        uint32_t file_mode; /* permission bits only */
        uint32_t uid;
        uint32_t gid;
};

struct oci_device_rule {
        bool allow;
        char type;     /* 'a', 'b' or 'c' */
        int64_t major; /* -1: all */
        int64_t minor;
        bool read, write, mknod;
};

/* Zero in sizes of memory and in shares, quotas and periods of CPU is read as absent: Docker's
 * update sends zeros for what is to stay as it is. */
struct oci_memory {
        bool has_limit, has_reservation, has_swap, has_swappiness, has_disable_oom_killer;
        bool has_kernel; /* accepted without effect: no kernel heeds it */
        bool has_kernel_tcp;
        int64_t limit, reservation, swap, kernel_tcp; /* bytes; -1: unlimited */
        uint64_t swappiness;
        bool disable_oom_killer;
        bool has_use_hierarchy, use_hierarchy;
        bool check_before_update;
};

struct oci_cpu {
        bool has_shares, has_quota, has_period, has_burst, has_rt_runtime, has_rt_period, has_idle;
        uint64_t shares, period, burst, rt_period;
        int64_t quota, rt_runtime; /* microseconds; -1: unlimited */
        int64_t idle;              /* 0 or 1 */
        char *cpus;
        char *mems;
};

/* A cgroup v2 file and its content, verbatim (linux.resources.unified). */
struct oci_unified {
        char *file;
        char *value;
};

struct oci_hugepage_limit {
        char *page_size; /* "2MB" */
        uint64_t limit;
};

/* A block device's share. A weight of 0 is read as absent. */
struct oci_weight_device {
        uint32_t major;
        uint32_t minor;
        uint32_t weight;
        uint32_t leaf_weight;
};

struct oci_throttle_device {
        uint32_t major;
        uint32_t minor;
        uint64_t rate; /* bytes or operations a second; 0: no limit */
};

enum oci_throttle {
        OCI_THROTTLE_READ_BPS,
        OCI_THROTTLE_WRITE_BPS,
        OCI_THROTTLE_READ_IOPS,
        OCI_THROTTLE_WRITE_IOPS,
        _OCI_THROTTLE_MAX,
};

struct oci_throttle_list {
        struct oci_throttle_device *items;
        size_t n;
};

struct oci_block_io {
        uint32_t weight; /* 10 to 1000, as cgroup v1 has it; 0: absent */
        uint32_t leaf_weight;
        struct oci_weight_device *weight_devices;
        size_t n_weight_devices;
        struct oci_throttle_list throttle[_OCI_THROTTLE_MAX];
};

struct oci_net_priority {
        char *name; /* of an interface on the host */
        uint32_t priority;
};

struct oci_network {
        bool has_class_id;
        uint32_t class_id;
        struct oci_net_priority *priorities;
        size_t n_priorities;
};

struct oci_rdma {
        char *device; /* "mlx5_1" */
        bool has_handles, has_objects;
        uint32_t handles, objects;
};

struct oci_resources {
        bool has_devices; /* the list is there, be it empty */
        struct oci_device_rule *devices;
        size_t n_devices;
        bool has_memory, has_cpu, has_pids;
        struct oci_memory memory;
        struct oci_cpu cpu;
        int64_t pids_limit; /* -1 (any negative): unlimited */
        struct oci_unified *unified;
        size_t n_unified;
        struct oci_hugepage_limit *hugepage_limits;
        size_t n_hugepage_limits;
        struct oci_block_io block_io;
        struct oci_network network;
        struct oci_rdma *rdma;
        size_t n_rdma;
};

/* ---- seccomp: names as in the document; pkg/engine gives them meaning ---- */

struct oci_seccomp_arg {
        uint32_t index;
        uint64_t value;
        uint64_t value_two;
        char *op; /* "SCMP_CMP_EQ" and so on */
};

struct oci_seccomp_rule {
        struct oci_strings names;
        char *action; /* "SCMP_ACT_ALLOW" and so on */
        bool has_errno_ret;
        uint32_t errno_ret;
        struct oci_seccomp_arg *args;
        size_t n_args;
};

struct oci_seccomp {
        char *default_action;
        bool has_default_errno_ret;
        uint32_t default_errno_ret;
        struct oci_strings architectures;
        struct oci_strings flags;
        struct oci_seccomp_rule *rules;
        size_t n_rules;
        bool has_notify; /* a rule with SCMP_ACT_NOTIFY; then there is a listener_path */
        char *listener_path;
        char *listener_metadata;
};

struct oci_key_value {
        char *key;
        char *value;
};

struct oci_personality {
        bool present;
        uint32_t domain; /* PER_* of personality(2) */
};

/* set_mempolicy(2) */
struct oci_memory_policy {
        bool present;
        int mode; /* MPOL_* */
        const char *mode_name;
        unsigned flags; /* MPOL_F_* */
        uint64_t nodes[OCI_NODE_WORDS];
};

/* What a clock of a time namespace is ahead of the host's. */
struct oci_time_offset {
        int64_t secs;
        uint32_t nanosecs;
};

struct oci_linux {
        struct oci_namespace namespaces[_OCI_NS_MAX];
        struct oci_id_mapping *uid_mappings;
        size_t n_uid_mappings;
        struct oci_id_mapping *gid_mappings;
        size_t n_gid_mappings;
        struct oci_device *devices;
        size_t n_devices;
        struct oci_net_device *net_devices;
        size_t n_net_devices;
        char *cgroups_path;
        bool has_resources;
        struct oci_resources resources;
        struct oci_seccomp *seccomp; /* NULL: none */
        char *rootfs_propagation;    /* "shared", "rprivate", …; NULL: rprivate */
        struct oci_strings masked_paths;
        struct oci_strings readonly_paths;
        char *mount_label;
        struct oci_key_value *sysctl;
        size_t n_sysctl;
        struct oci_personality personality;
        struct oci_memory_policy memory_policy;
        bool has_time_offsets; /* any that is not zero */
        struct oci_time_offset monotonic;
        struct oci_time_offset boottime;
        bool has_intel_rdt; /* its content is not read: pkg/engine refuses it */
};

struct oci_spec {
        char *version;
        char *root_path; /* as in the document: absolute, or relative to the bundle */
        bool root_readonly;
        char *hostname;
        char *domainname;
        bool has_process;
        struct oci_process process;
        struct oci_mount *mounts;
        size_t n_mounts;
        struct oci_hooks hooks;
        struct oci_linux linux_; /* `linux` is a macro of gcc's gnu17 */
        struct oci_key_value *annotations;
        size_t n_annotations;
};

/* json need not be NUL-terminated. It may be at most LIMIT_CONFIG_BYTES long; duplicate keys, NUL
 * in strings, fractions where integers belong and trailing text are errors. */
int oci_spec_parse(const char *json, size_t len, struct arena *arena, struct oci_spec **ret,
                   struct error *err);

/* The names that linux.memoryPolicy may have, by number; NULL past the last one. */
const char *oci_memory_mode_name(size_t i);

/* MPOL_* by its name, and that name as a constant; 0 or -ENOENT. */
int oci_memory_mode_find(const char *name, int *ret, const char **ret_name);
const char *oci_memory_flag_name(size_t i);

/* The same rules for a lone process, as an exec brings it. Property paths begin at "process". */
int oci_process_parse(const char *json, size_t len, struct arena *arena, struct oci_process **ret,
                      struct error *err);

/* And for linux.resources alone. Property paths begin at "resources". */
int oci_resources_parse(const char *json, size_t len, struct arena *arena,
                        struct oci_resources **ret, struct error *err);

/* Only the annotations of a document; a document without any gives n = 0. */
int oci_annotations_parse(const char *json, size_t len, struct arena *arena,
                          struct oci_key_value **ret, size_t *ret_n, struct error *err);

/* Only linux.cgroupsPath, whatever else there is; NULL without one. */
int oci_cgroups_path_parse(const char *json, size_t len, struct arena *arena, char **ret,
                           struct error *err);
