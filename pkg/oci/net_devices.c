/* SPDX-License-Identifier: Apache-2.0
 *
 * linux.netDevices (runtime-spec 1.3, config-linux.md "Network Devices"): host interfaces that
 * become the container's.
 *
 * Invariant: all names are names that Linux would take for a device (dev_valid_name() in
 * net/core/dev.c) or a template of one, and no two devices end up with the same one.
 */
#include <net/if.h>
#include <string.h>

#include "pkg/base/str.h"
#include "pkg/oci/parse.h"

static bool is_device_name(const char *s)
{
        size_t len = strlen(s);

        return len > 0 && len < IFNAMSIZ && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 &&
               !strpbrk(s, "/: \t\n\v\f\r");
}

/* As __dev_alloc_name() has it: "%d" once, and no other percent sign. */
static bool is_name_or_template(const char *s)
{
        const char *percent = strchr(s, '%');

        return is_device_name(s) && (!percent || (percent[1] == 'd' && !strchr(percent + 1, '%')));
}

static int parse_device(const struct json_at *map, struct oci_net_device *ret)
{
        struct json_at at;

        if (!is_device_name(ret->host_name) || strchr(ret->host_name, '%'))
                return json_fail(map, ret->host_name, "not the name of a network device");
        if (json_get_object(map, ret->host_name, &at) < 0 ||
            json_get_text(&at, "name", &ret->name) < 0)
                return -1;
        if (!ret->name)
                ret->name = ret->host_name;
        if (!is_name_or_template(ret->name))
                return json_fail(&at, "name", "'%.64s' is not the name of a network device",
                                 ret->name);
        return 0;
}

int parse_net_devices(const struct json_at *at, struct oci_linux *ret)
{
        struct oci_net_device *devices = NULL;
        struct oci_strings names = {0};
        struct json_at map;

        if (json_get_object(at, "netDevices", &map) < 0 ||
            json_get_keys(at, "netDevices", &names) < 0 ||
            json_alloc(at, names.n, sizeof(*devices), &devices) < 0)
                return -1;
        for (size_t i = 0; i < names.n; i++) {
                devices[i].host_name = names.items[i];
                if (parse_device(&map, &devices[i]) < 0)
                        return -1;
                for (size_t j = 0; j < i; j++) {
                        if (str_equal(devices[i].name, devices[j].name) &&
                            !strchr(devices[i].name, '%'))
                                return json_fail(&map, names.items[i],
                                                 "the name '%s' is given twice", devices[i].name);
                }
        }
        ret->net_devices = devices;
        ret->n_net_devices = names.n;
        return 0;
}
