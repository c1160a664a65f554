/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources.network: marks on packets, which cgroup v1 alone has. A class of 0 is what every
 * cgroup begins with, so it needs no controller.
 */
#include "pkg/cgroup/internal.h"

int network_write_v1(struct limits *limits, const struct oci_network *n, struct error *err)
{
        if (n->has_class_id && (n->class_id != 0 || cgroup_find_v1(limits->cg, "net_cls"))) {
                const struct limit item =
                        limit_u64("network.classID", "net_cls.classid", n->class_id);

                if (limits_write_one(limits, "net_cls", &item, err) < 0)
                        return -1;
        }
        for (size_t i = 0; i < n->n_priorities; i++) {
                struct limit item = limit_u64("network.priorities", "net_prio.ifpriomap",
                                              n->priorities[i].priority);

                item.entry = n->priorities[i].name;
                item.unset = "0";
                if (limits_write_one(limits, "net_prio", &item, err) < 0)
                        return -1;
        }
        return 0;
}
