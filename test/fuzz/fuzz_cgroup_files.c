/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the content of a cgroup's file: a list of device rules, and lines with an entry for
 * each device. What is found lies within the text, and what is read back from a list means the
 * same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/cgroup/devices.h"
#include "pkg/cgroup/entries.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
        if (!condition)
                abort();
}

static void check_list(const char *text)
{
        struct device_set set = {0};
        struct device_set again = {0};

        if (device_set_parse(text, &set) == 0) {
                for (size_t i = 0; i < set.n; i++) {
                        char line[DEVICE_RULE_TEXT_MAX];
                        const struct oci_device_rule *rule = &set.items[i];

                        require(rule->type == 'b' || rule->type == 'c');
                        require(rule->major >= -1 && rule->minor >= -1);
                        device_rule_format(rule, rule->type, line);
                        require(device_set_parse(line, &again) == 0);
                }
                require(again.n == set.n);
        }
        device_set_free(&set);
        device_set_free(&again);
}

static void check_entry(const char *text, const char *entry, const char *key)
{
        const char *value = NULL;
        size_t len = 0;

        if (!entry_find(text, entry, key, &value, &len))
                return;
        require(value >= text && value + len <= text + strlen(text));
        require(!memchr(value, '\n', len));
        require(!key || !memchr(value, ' ', len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text = malloc(size + 1);

        require(text != NULL);
        if (size > 0)
                memcpy(text, data, size);
        text[size] = '\0';
        check_list(text);
        check_entry(text, "254:0", "rbps");
        check_entry(text, "254:0", NULL);
        check_entry(text, "default", NULL);
        check_entry(text, "", "");
        free(text);
        return 0;
}
