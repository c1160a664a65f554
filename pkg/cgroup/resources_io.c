/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources.blockIO. Weights are a matter of the IO scheduler: on v1 they are in the files of
 * CFQ (up to Linux 4.20) or of BFQ; on v2 in those of BFQ, which take v1's numbers, or of iocost,
 * whose weights go up to 10000. Throttles are a file for each kind on v1, io.max on v2.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/cgroup/convert.h"
#include "pkg/cgroup/internal.h"

enum { BLOCK_WEIGHT_MIN = 10, BLOCK_WEIGHT_MAX = 1000, DEVICE_TEXT_MAX = 24 };

struct throttle_kind {
        const char *field;
        const char *file_v1;
        const char *key_v2;
};

static const struct throttle_kind kinds[_OCI_THROTTLE_MAX] = {
        [OCI_THROTTLE_READ_BPS] = {"blockIO.throttleReadBpsDevice",
                                   "blkio.throttle.read_bps_device", "rbps"},
        [OCI_THROTTLE_WRITE_BPS] = {"blockIO.throttleWriteBpsDevice",
                                    "blkio.throttle.write_bps_device", "wbps"},
        [OCI_THROTTLE_READ_IOPS] = {"blockIO.throttleReadIOPSDevice",
                                    "blkio.throttle.read_iops_device", "riops"},
        [OCI_THROTTLE_WRITE_IOPS] = {"blockIO.throttleWriteIOPSDevice",
                                     "blkio.throttle.write_iops_device", "wiops"},
};

uint64_t cgroup_v2_io_weight(uint64_t weight)
{
        if (weight <= BLOCK_WEIGHT_MIN)
                return 1;
        if (weight >= BLOCK_WEIGHT_MAX)
                return 10000;
        return 1 + (weight - BLOCK_WEIGHT_MIN) * 9999 / (BLOCK_WEIGHT_MAX - BLOCK_WEIGHT_MIN);
}

static void device_format(uint32_t major, uint32_t minor, char text[DEVICE_TEXT_MAX])
{
        (void)snprintf(text, DEVICE_TEXT_MAX, "%u:%u", major, minor);
}

static bool has_file(const struct cgroup_dir *dir, const char *file)
{
        _cleanup_close_ int fd = dir ? dir_open(AT_FDCWD, dir->path) : -1;

        return fd >= 0 && faccessat(fd, file, F_OK, 0) == 0;
}

/* Where weights are, on either version. */
struct weight_files {
        const char *weight;
        const char *weight_device;
        const char *leaf_weight; /* NULL: there is no such thing */
        const char *leaf_weight_device;
        bool is_listed;    /* the weight is in a line of the file for devices, "default" */
        bool is_converted; /* as cgroup_v2_io_weight() has it */
};

static int weight_write(struct limits *limits, const struct weight_files *files, const char *field,
                        const char *file, const char *device, uint32_t weight, struct error *err)
{
        struct limit item =
                limit_u64(field, file, files->is_converted ? cgroup_v2_io_weight(weight) : weight);

        if (weight == 0)
                return 0;
        if (!file)
                return v2_lacks(field, err);
        if (device) {
                item.entry = device;
                item.unset = "default";
        } else if (files->is_listed) {
                item.entry = "default";
        }
        return limits_write_one(limits, "blkio", &item, err);
}

static int weights_write(struct limits *limits, const struct weight_files *files,
                         const struct oci_block_io *b, struct error *err)
{
        if (weight_write(limits, files, "blockIO.weight", files->weight, NULL, b->weight, err) <
                    0 ||
            weight_write(limits, files, "blockIO.leafWeight", files->leaf_weight, NULL,
                         b->leaf_weight, err) < 0)
                return -1;
        for (size_t i = 0; i < b->n_weight_devices; i++) {
                const struct oci_weight_device *d = &b->weight_devices[i];
                char device[DEVICE_TEXT_MAX];

                device_format(d->major, d->minor, device);
                if (weight_write(limits, files, "blockIO.weightDevice", files->weight_device,
                                 device, d->weight, err) < 0 ||
                    weight_write(limits, files, "blockIO.weightDevice.leafWeight",
                                 files->leaf_weight_device, device, d->leaf_weight, err) < 0)
                        return -1;
        }
        return 0;
}

static int throttles_write(struct limits *limits, bool is_v2, const struct throttle_kind *kind,
                           const struct oci_throttle_list *list, struct error *err)
{
        for (size_t i = 0; i < list->n; i++) {
                const struct oci_throttle_device *d = &list->items[i];
                char device[DEVICE_TEXT_MAX];
                struct limit item =
                        limit_u64(kind->field, is_v2 ? "io.max" : kind->file_v1, d->rate);

                device_format(d->major, d->minor, device);
                item.entry = device;
                item.key = is_v2 ? kind->key_v2 : NULL;
                item.unset = is_v2 ? "max" : "0";
                if (is_v2 && d->rate == 0)
                        (void)snprintf(item.value, sizeof(item.value), "max");
                if (limits_write_one(limits, "blkio", &item, err) < 0)
                        return -1;
        }
        return 0;
}

static int block_io_write(struct limits *limits, bool is_v2, const struct weight_files *files,
                          const struct oci_block_io *b, struct error *err)
{
        if (weights_write(limits, files, b, err) < 0)
                return -1;
        for (size_t i = 0; i < _OCI_THROTTLE_MAX; i++) {
                if (throttles_write(limits, is_v2, &kinds[i], &b->throttle[i], err) < 0)
                        return -1;
        }
        return 0;
}

/* Which files there are for weights is looked for only if there is one to write. */
static bool has_weights(const struct oci_block_io *b)
{
        return b->weight > 0 || b->leaf_weight > 0 || b->n_weight_devices > 0;
}

int block_io_write_v1(struct limits *limits, const struct oci_block_io *b, struct error *err)
{
        static const struct weight_files cfq = {"blkio.weight",
                                                "blkio.weight_device",
                                                "blkio.leaf_weight",
                                                "blkio.leaf_weight_device",
                                                false,
                                                false};
        static const struct weight_files bfq = {"blkio.bfq.weight",
                                                "blkio.bfq.weight_device",
                                                "blkio.leaf_weight",
                                                "blkio.leaf_weight_device",
                                                false,
                                                false};
        bool has_bfq =
                has_weights(b) && has_file(cgroup_find_v1(limits->cg, "blkio"), "blkio.bfq.weight");

        return block_io_write(limits, false, has_bfq ? &bfq : &cfq, b, err);
}

int block_io_write_v2(struct limits *limits, const struct oci_block_io *b, struct error *err)
{
        static const struct weight_files iocost = {.weight = "io.weight",
                                                   .weight_device = "io.weight",
                                                   .is_listed = true,
                                                   .is_converted = true};
        static const struct weight_files bfq = {
                .weight = "io.bfq.weight", .weight_device = "io.bfq.weight", .is_listed = true};
        bool has_bfq = has_weights(b) && has_file(cgroup_find_v2(limits->cg), "io.bfq.weight");

        return block_io_write(limits, true, has_bfq ? &bfq : &iocost, b, err);
}
