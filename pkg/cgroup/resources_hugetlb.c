/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.resources.hugepageLimits. A hybrid host may have this controller on its v2 tree while all
 * others are on v1 (systemd mounts v1's hierarchies by a list, and what is not mounted belongs to
 * v2). There it is enabled only for a container that has such a limit, since a cgroup that hands it
 * down may have no processes of its own any more.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/cgroup/internal.h"

int hugepage_size_check(const char *size, size_t index, struct error *err)
{
        size_t n = size ? strspn(size, "0123456789") : 0;

        if (n == 0 || n > 12 || !strchr("KMG", size[n]) || size[n] == '\0' ||
            !str_equal(size + n + 1, "B"))
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "linux.resources.hugepageLimits[%zu].pageSize: '%.32s' is no page "
                                 "size such as '2MB'",
                                 index, size ? size : "");
        return 0;
}

static const struct cgroup_dir *hugetlb_dir(struct limits *limits, struct error *err)
{
        static const char field[] = "hugepageLimits";
        const struct cgroup_dir *beside = cgroup_find_v2(limits->cg);
        int r;

        if (cgroup_is_on_v2(limits->cg) || cgroup_find_v1(limits->cg, "hugetlb") || !beside)
                return limits_dir(limits, "hugetlb", field, err);
        r = v2_enable(beside, "hugetlb");
        if (r == -ENOENT)
                return limits_dir(limits, "hugetlb", field, err);
        if (r < 0) {
                (void)error_errno(err, -r,
                                  "linux.resources.%s: enable the hugetlb controller for '%s'",
                                  field, beside->path);
                return NULL;
        }
        return beside;
}

int hugepages_write(struct limits *limits, const struct oci_resources *r, struct error *err)
{
        const struct cgroup_dir *dir;

        if (r->n_hugepage_limits == 0)
                return 0;
        dir = hugetlb_dir(limits, err);
        if (!dir)
                return -1;
        for (size_t i = 0; i < r->n_hugepage_limits; i++) {
                const struct oci_hugepage_limit *h = &r->hugepage_limits[i];
                const char *ending = dir->is_v2 ? "max" : "limit_in_bytes";
                char file[LIMIT_VALUE_MAX];
                char reserved[LIMIT_VALUE_MAX];
                struct limit items[2];

                if (hugepage_size_check(h->page_size, i, err) < 0)
                        return -1;
                (void)snprintf(file, sizeof(file), "hugetlb.%s.%s", h->page_size, ending);
                (void)snprintf(reserved, sizeof(reserved), "hugetlb.%s.rsvd.%s", h->page_size,
                               ending);
                items[0] = limit_u64("hugepageLimits", file, h->limit);
                items[1] = limit_u64("hugepageLimits", reserved, h->limit);
                items[1].optional = true;
                if (limits_write(limits, dir, items, 2, err) < 0)
                        return -1;
        }
        return 0;
}
