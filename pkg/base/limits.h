/* SPDX-License-Identifier: Apache-2.0
 *
 * Every size that a peer, a client's bundle or a container's image can influence, with its reason.
 * The limits of the wire are in pkg/ttrpc/limits.h, since that library is installed by itself.
 */
#pragma once

/* config.json and process specs: real ones are below 100 KiB; containerd itself reads at most 10
 * MiB. */
#define LIMIT_CONFIG_BYTES (10u << 20)

/* JSON nesting: the runtime-spec needs 8. */
#define LIMIT_JSON_DEPTH 64

/* JSON values, keys not counted. The largest real documents are those of pods whose namespace has
 * thousands of services, each with seven environment variables. json-c needs some 64 bytes for one.
 */
#define LIMIT_JSON_VALUES (1u << 18)

/* Objects and lists among them: json-c needs some 750 bytes for one, however empty. */
#define LIMIT_JSON_CONTAINERS (1u << 16)

/* /etc/passwd and /etc/group of an image (CVE-2024-40635 class: a huge or endless file). */
#define LIMIT_PASSWD_BYTES (1u << 20)

/* One file of procfs or cgroupfs. */
#define LIMIT_PROC_BYTES (1u << 20)

/* What `start` reads from stdin: the same bound as the stock shim's. */
#define LIMIT_BOOTSTRAP_BYTES (10u << 20)

/* containerd's identifiers: 76 characters (pkg/identifiers); they become parts of file names. */
#define LIMIT_ID_LENGTH 76

/* Execs that exist at once in one container: each costs a few hundred bytes and up to six
 * descriptors. */
#define LIMIT_EXECS 4096

/* Calls that wait for one and the same thing. A client that gives a Wait up says nothing of it; so
 * many of them must leave room on their connection (TTRPC_CALLS_PER_CONNECTION_MAX) for a Kill. */
#define LIMIT_WAITING_CALLS 2048

/* Events not yet acknowledged by containerd; about 300 bytes each. */
#define LIMIT_EVENTS_QUEUED 16384

/* The file of them, with the entries that are done and not yet cut off. */
#define LIMIT_EVENTS_BYTES (64u << 20)

/* Exits of pids that nobody knows yet, kept while a stage is at work; 40 bytes each. A container in
 * the host's pid namespace can orphan processes onto the shim as fast as it forks. */
#define LIMIT_KEPT_EXITS 4096

/* /proc/self/mountinfo of a node with thousands of overlay mounts, some KiB a line. */
#define LIMIT_MOUNTINFO_BYTES (64u << 20)

/* Descriptors that a process gets beyond its standard streams (--preserve-fds). While it is made
 * they are open twice in a stage, which has 1024 by default. */
#define LIMIT_PASSED_FDS 256

/* Cgroups that an exec names (exec --cgroup): one for each hierarchy of v1 at most; their text. */
#define LIMIT_EXEC_CGROUPS      16
#define LIMIT_EXEC_CGROUP_BYTES 4096

/* How many cgroups of a container the shim itself looks at, at a time, for OOM kills and to thaw
 * them, and for how long; a stage, which kills and removes, looks at all. Each costs some 10 us,
 * much more while others make and remove cgroups. A systemd in a container has below 200. */
#define LIMIT_CGROUP_LOOK    1024
#define LIMIT_CGROUP_LOOK_MS 10

/* How long the stage may take that lists the processes of a container with more cgroups. */
#define LIMIT_PIDS_SECONDS 10

/* How long the watch for OOM kills rests at most after a look that has taken long, because it had
 * to wait for the kernel or for a processor. */
#define LIMIT_OOM_REST_MS 1000

/* How deep a directory of an image may be that is copied into a tmpfs ("tmpcopyup"): two
 * descriptors and 2 KiB of stack for each level. */
#define LIMIT_COPY_DEPTH 128

/* linux.resources.devices. On cgroup v2 they become one BPF program of up to seven instructions for
 * each, and the verifier was seen to give up between 512 and 1024. Real lists are below 100. */
#define LIMIT_DEVICE_RULES 512

/* What is read of a runtime's log after one call that has failed: its end. A line is one error. */
#define LIMIT_RUNTIME_LOG_BYTES (64u << 10)

/* Parameters of a stdio URI: the arguments of a logging program come in pairs. */
#define LIMIT_URI_PARAMS 64

/* How often in a row a logging program that dies is started again, and how long it must have lived
 * for its next death to count as the first. Beyond it the output is thrown away, and counted. */
#define LIMIT_LOGGER_RESTARTS 10
#define LIMIT_LOGGER_LIFE_S   60

/* What a logging program gets to flush between SIGTERM and SIGKILL: the stock shim's grace. */
#define LIMIT_LOGGER_GRACE_S 12

/* Bytes of stdin that the client of an Attach or an ExecStream may send before the process has
 * taken any: a pipe's worth, twice the largest message that such a client sends. */
#define LIMIT_STDIN_GRANT (64 << 10)

/* Clients that are attached to one process: each has up to 128 KiB of output on its way. */
#define LIMIT_ATTACHMENTS 64

/* How long one of them may take nothing while there is output for it. */
#define LIMIT_ATTACH_STALL_S 60

/* Those who read logs of one container and its execs at once: each is a process and some 200 KiB.
 */
#define LIMIT_LOG_READERS 64

/* How many levels of the cgroup tree, from a container's upwards, are watched for being out of
 * memory, and on v1 how many cgroups below its own: one descriptor for each. systemd and Kubernetes
 * nest four deep. */
#define LIMIT_OOM_LEVELS 16
#define LIMIT_OOM_GROUPS 64

/* Between two looks for OOM kills where the kernel does not tell of all. On cgroup v1 that is so
 * when its user has no inotify instance left (fs.inotify.max_user_instances, 128 for all of
 * root's): who has that many containers still hears of them. */
#define LIMIT_OOM_BLIND_MS 2000

/* TaskOOM events at once: with memory.oom.group a container of many processes has as many kills. */
#define LIMIT_OOM_EVENTS 64

/* Events of any kind that containerd has not taken, beyond which those of OOM kills are left out.
 */
#define LIMIT_OOM_BACKLOG 128

/* Seconds for all poststop hooks that have no timeout of their own: nobody waits longer for a
 * Delete, and containerd's patience with one is 10 s. */
#define LIMIT_POSTSTOP_SECONDS 8

/* Descriptors below this are closed only when the state that names them has been replaced: kept.h.
 * A shim has fewer: LIMIT_EXECS times six, and some for each stream, of which there are
 * TTRPC_CONNECTIONS_MAX times TTRPC_STREAMS_PER_CONNECTION_MAX. A multiple of 64. */
#define LIMIT_KEPT_LATE (1 << 17)
