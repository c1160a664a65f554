/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to pkg/oci: the parsers of the parts of a configuration. Each takes the place of its
 * object in the document, and fills a zeroed struct; where the object is absent it leaves it so.
 */
#pragma once

#include "pkg/oci/json.h"
#include "pkg/oci/spec.h"

/* The greatest user or group: (uid_t)-1 tells setresuid(2) and chown(2) to change nothing, so a
 * process would stay root. */
#define ID_MAX (UINT32_MAX - 1)

#define WORD_COUNT(words) (sizeof(words) / sizeof((words)[0]))

/* process.c: `at` is the process object itself. */
int parse_process(const struct json_at *at, struct oci_process *ret);

/* scheduling.c */
int parse_scheduling(const struct json_at *process, struct oci_process *ret);
int parse_memory_policy(const struct json_at *linux_at, struct oci_memory_policy *ret);
int parse_personality(const struct json_at *linux_at, struct oci_personality *ret);
int parse_time_offsets(const struct json_at *linux_at, struct oci_linux *ret);

/* mounts.c: `at` is the root. */
int parse_mounts(const struct json_at *at, struct oci_spec *ret);

/* hooks.c: `at` is the root. */
int parse_hooks(const struct json_at *at, struct oci_hooks *ret);

/* namespaces.c: a list of id mappings, of the linux object or of a mount. */
int parse_mappings(const struct json_at *at, const char *key, struct oci_id_mapping **ret,
                   size_t *ret_n);

/* namespaces.c: `at` is the linux object: namespaces, mappings, devices. */
int parse_namespaces(const struct json_at *at, struct oci_linux *ret);

/* net_devices.c: `at` is the linux object. */
int parse_net_devices(const struct json_at *at, struct oci_linux *ret);

/* resources.c: `at` is the resources object itself. */
int parse_resources(const struct json_at *at, struct oci_resources *ret);

/* resources_io.c: blockIO, network and rdma of the resources object. */
int parse_block_io(const struct json_at *resources, struct oci_block_io *ret);
int parse_network(const struct json_at *resources, struct oci_network *ret);
int parse_rdma(const struct json_at *resources, struct oci_resources *ret);

/* seccomp.c: `at` is the seccomp object itself, which exists. */
int parse_seccomp(const struct json_at *at, struct oci_seccomp *ret);
