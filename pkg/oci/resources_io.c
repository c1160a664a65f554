/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources.blockIO, network and rdma (runtime-spec, config-linux.md "Block IO" and
 * following).
 *
 * Invariant: names of devices are single words, since they go into lines of a cgroup's files.
 */
#include <string.h>

#include "pkg/oci/parse.h"

enum { WEIGHT_MIN = 10, WEIGHT_MAX = 1000, DEVICE_NAME_MAX = 63 };

/* What the kernel's dev_t holds. */
enum { MAJOR_MAX = (1 << 12) - 1, MINOR_MAX = (1 << 20) - 1 };

static int get_weight(const struct json_at *at, const char *key, uint32_t *ret)
{
        if (json_get_u32(at, key, WEIGHT_MAX, NULL, ret) < 0)
                return -1;
        return *ret != 0 && *ret < WEIGHT_MIN ? json_fail(at, key, "number out of range") : 0;
}

static int get_device(const struct json_at *at, uint32_t *ret_major, uint32_t *ret_minor)
{
        if (json_require(at, "major") < 0 || json_require(at, "minor") < 0 ||
            json_get_u32(at, "major", MAJOR_MAX, NULL, ret_major) < 0)
                return -1;
        return json_get_u32(at, "minor", MINOR_MAX, NULL, ret_minor);
}

static int parse_weight_devices(const struct json_at *block_io, struct oci_block_io *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(block_io, "weightDevice", &list, &n) < 0 ||
            json_alloc(block_io, n, sizeof(*ret->weight_devices), &ret->weight_devices) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct oci_weight_device *device = &ret->weight_devices[i];
                struct json_at at;

                if (json_item_object(&list, i, &at) < 0 ||
                    get_device(&at, &device->major, &device->minor) < 0 ||
                    get_weight(&at, "weight", &device->weight) < 0 ||
                    get_weight(&at, "leafWeight", &device->leaf_weight) < 0)
                        return -1;
        }
        ret->n_weight_devices = n;
        return 0;
}

static int parse_throttles(const struct json_at *block_io, const char *key,
                           struct oci_throttle_list *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(block_io, key, &list, &n) < 0 ||
            json_alloc(block_io, n, sizeof(*ret->items), &ret->items) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct oci_throttle_device *device = &ret->items[i];
                struct json_at at;

                if (json_item_object(&list, i, &at) < 0 ||
                    get_device(&at, &device->major, &device->minor) < 0 ||
                    json_require(&at, "rate") < 0 ||
                    json_get_u64(&at, "rate", UINT64_MAX, NULL, &device->rate) < 0)
                        return -1;
        }
        ret->n = n;
        return 0;
}

int parse_block_io(const struct json_at *resources, struct oci_block_io *ret)
{
        static const char *const throttles[_OCI_THROTTLE_MAX] = {
                [OCI_THROTTLE_READ_BPS] = "throttleReadBpsDevice",
                [OCI_THROTTLE_WRITE_BPS] = "throttleWriteBpsDevice",
                [OCI_THROTTLE_READ_IOPS] = "throttleReadIOPSDevice",
                [OCI_THROTTLE_WRITE_IOPS] = "throttleWriteIOPSDevice",
        };
        struct json_at at;

        if (json_get_object(resources, "blockIO", &at) < 0 ||
            get_weight(&at, "weight", &ret->weight) < 0 ||
            get_weight(&at, "leafWeight", &ret->leaf_weight) < 0 ||
            parse_weight_devices(&at, ret) < 0)
                return -1;
        for (size_t i = 0; i < _OCI_THROTTLE_MAX; i++) {
                if (parse_throttles(&at, throttles[i], &ret->throttle[i]) < 0)
                        return -1;
        }
        return 0;
}

/* A word without blanks and control characters. */
static bool is_device_name(const char *name)
{
        size_t len = strlen(name);

        if (len == 0 || len > DEVICE_NAME_MAX)
                return false;
        for (; *name; name++) {
                if ((unsigned char)*name <= ' ' || *name == 0x7f)
                        return false;
        }
        return true;
}

int parse_network(const struct json_at *resources, struct oci_network *ret)
{
        struct json_at at;
        struct json_at list;
        size_t n = 0;

        if (json_get_object(resources, "network", &at) < 0 ||
            json_get_u32(&at, "classID", UINT32_MAX, &ret->has_class_id, &ret->class_id) < 0 ||
            json_get_list(&at, "priorities", &list, &n) < 0 ||
            json_alloc(&at, n, sizeof(*ret->priorities), &ret->priorities) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct oci_net_priority *p = &ret->priorities[i];
                struct json_at item;

                if (json_item_object(&list, i, &item) < 0 || json_require(&item, "name") < 0 ||
                    json_get_string(&item, "name", &p->name) < 0 ||
                    json_get_u32(&item, "priority", UINT32_MAX, NULL, &p->priority) < 0)
                        return -1;
                if (!is_device_name(p->name))
                        return json_unknown_value(&item, "name", p->name);
        }
        ret->n_priorities = n;
        return 0;
}

int parse_rdma(const struct json_at *resources, struct oci_resources *ret)
{
        struct oci_strings names = {0};
        struct json_at at;

        if (json_get_object(resources, "rdma", &at) < 0 ||
            json_get_keys(resources, "rdma", &names) < 0 ||
            json_alloc(resources, names.n, sizeof(*ret->rdma), &ret->rdma) < 0)
                return -1;
        for (size_t i = 0; i < names.n; i++) {
                struct oci_rdma *rdma = &ret->rdma[i];
                struct json_at item;

                rdma->device = names.items[i];
                if (!is_device_name(rdma->device))
                        return json_fail(&at, rdma->device, "not the name of a device");
                if (json_get_object(&at, rdma->device, &item) < 0 ||
                    json_get_u32(&item, "hcaHandles", UINT32_MAX, &rdma->has_handles,
                                 &rdma->handles) < 0 ||
                    json_get_u32(&item, "hcaObjects", UINT32_MAX, &rdma->has_objects,
                                 &rdma->objects) < 0)
                        return -1;
        }
        ret->n_rdma = names.n;
        return 0;
}
