/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces, id mappings and devices (runtime-spec, config-linux.md).
 *
 * Invariant: each namespace type occurs at most once, and no mapping wraps around: what the kernel
 * would refuse with a bare EINVAL is refused here by name.
 */
#include "pkg/oci/parse.h"

enum {
        MAPPINGS_MAX = 340, /* lines in uid_map and gid_map: user_namespaces(7), Linux 4.15 */
};

static const struct json_word namespace_words[] = {
        {"pid", OCI_NS_PID},       {"network", OCI_NS_NETWORK}, {"mount", OCI_NS_MOUNT},
        {"ipc", OCI_NS_IPC},       {"uts", OCI_NS_UTS},         {"user", OCI_NS_USER},
        {"cgroup", OCI_NS_CGROUP}, {"time", OCI_NS_TIME},
};

static int parse_namespace_list(const struct json_at *linux_at, struct oci_linux *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(linux_at, "namespaces", &list, &n) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                const struct json_word *word = NULL;
                struct oci_namespace *ns;
                struct json_at at;

                if (json_item_object(&list, i, &at) < 0 || json_require(&at, "type") < 0 ||
                    json_get_word(&at, "type", namespace_words, WORD_COUNT(namespace_words),
                                  &word) < 0)
                        return -1;
                ns = &ret->namespaces[word->value];
                if (ns->present)
                        return json_fail(&at, "type", "'%s' is given twice", word->word);
                ns->present = true;
                if (json_get_path(&at, "path", &ns->path) < 0)
                        return -1;
        }
        return 0;
}

static int parse_mapping(const struct json_at *at, struct oci_id_mapping *ret)
{
        if (json_require(at, "containerID") < 0 || json_require(at, "hostID") < 0 ||
            json_require(at, "size") < 0 ||
            json_get_u32(at, "containerID", UINT32_MAX, NULL, &ret->container_id) < 0 ||
            json_get_u32(at, "hostID", UINT32_MAX, NULL, &ret->host_id) < 0 ||
            json_get_u32(at, "size", UINT32_MAX, NULL, &ret->size) < 0)
                return -1;
        if (ret->size == 0)
                return json_fail(at, "size", "must be greater than zero");
        /* (uid_t)-1 is no id, and the kernel wants first + size to fit 32 bits. */
        if (ret->size > UINT32_MAX - ret->container_id || ret->size > UINT32_MAX - ret->host_id)
                return json_fail(at, "size", "the range ends beyond the last id");
        return 0;
}

int parse_mappings(const struct json_at *at, const char *key, struct oci_id_mapping **ret,
                   size_t *ret_n)
{
        struct oci_id_mapping *mappings = NULL;
        struct json_at list;
        size_t n = 0;

        if (json_get_list(at, key, &list, &n) < 0)
                return -1;
        if (n > MAPPINGS_MAX)
                return json_fail(at, key, "more than %d mappings", MAPPINGS_MAX);
        if (json_alloc(at, n, sizeof(*mappings), &mappings) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct json_at item;

                if (json_item_object(&list, i, &item) < 0 || parse_mapping(&item, &mappings[i]) < 0)
                        return -1;
        }
        *ret = mappings;
        *ret_n = n;
        return 0;
}

static const struct json_word device_words[] = {{"c", 'c'}, {"u", 'c'}, {"b", 'b'}, {"p", 'p'}};

static int parse_device(const struct json_at *at, struct oci_device *ret)
{
        const struct json_word *word = NULL;

        if (json_require(at, "type") < 0 || json_require(at, "path") < 0 ||
            json_get_word(at, "type", device_words, WORD_COUNT(device_words), &word) < 0 ||
            json_get_path(at, "path", &ret->path) < 0)
                return -1;
        if (!ret->path)
                return json_fail(at, "path", "empty");
        ret->type = (char)word->value;
        if (ret->type != 'p' && (json_require(at, "major") < 0 || json_require(at, "minor") < 0))
                return -1;
        if (json_get_i64(at, "major", 0, UINT32_MAX, NULL, &ret->major) < 0 ||
            json_get_i64(at, "minor", 0, UINT32_MAX, NULL, &ret->minor) < 0 ||
            json_get_u32(at, "fileMode", UINT32_MAX, &ret->has_file_mode, &ret->file_mode) < 0 ||
            json_get_u32(at, "uid", ID_MAX, NULL, &ret->uid) < 0 ||
            json_get_u32(at, "gid", ID_MAX, NULL, &ret->gid) < 0)
                return -1;
        ret->file_mode &= 07777; /* some callers add the file's type */
        return 0;
}

static int parse_devices(const struct json_at *linux_at, struct oci_linux *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(linux_at, "devices", &list, &n) < 0 ||
            json_alloc(linux_at, n, sizeof(*ret->devices), &ret->devices) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct json_at at;

                if (json_item_object(&list, i, &at) < 0 || parse_device(&at, &ret->devices[i]) < 0)
                        return -1;
        }
        ret->n_devices = n;
        return 0;
}

int parse_namespaces(const struct json_at *at, struct oci_linux *ret)
{
        if (parse_namespace_list(at, ret) < 0 ||
            parse_mappings(at, "uidMappings", &ret->uid_mappings, &ret->n_uid_mappings) < 0 ||
            parse_mappings(at, "gidMappings", &ret->gid_mappings, &ret->n_gid_mappings) < 0)
                return -1;
        return parse_devices(at, ret);
}
