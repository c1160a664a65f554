/* SPDX-License-Identifier: Apache-2.0
 *
 * See request.h.
 */
#include "cmd/belay-systemd/request.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/base/str.h"

enum { BYTES_MAX = 8192 / 8, STRINGS_MAX = 256 };

/* Cuts the next line off; NULL at the end. */
static char *take_line(char **text)
{
        char *line = *text;
        size_t len = strcspn(line, "\n");

        if (!*line)
                return NULL;
        *text = line + len + (line[len] == '\n');
        line[len] = '\0';
        return line;
}

/* Cuts the first word off; what is left is behind its blank, or "". */
static char *take_word(char **line)
{
        char *word = *line;
        size_t len = strcspn(word, " ");

        *line = word + len + (word[len] == ' ');
        word[len] = '\0';
        return word;
}

int request_parse(char *text, struct request *ret, struct error *err)
{
        struct request request = {0};
        char *line = take_line(&text);

        if (!line)
                return error_set(err, STATUS_INVALID_ARGUMENT, "an empty request");
        request.verb = take_word(&line);
        request.unit = line;
        if (!*request.unit)
                return error_set(err, STATUS_INVALID_ARGUMENT, "a request without a unit");
        request.properties = text;
        *ret = request;
        return 0;
}

static int append_unsigned(sd_bus_message *m, const char *type, const char *value)
{
        uint64_t number;

        if (str_to_u64(value, &number) < 0)
                return -EINVAL;
        if (*type == 't')
                return sd_bus_message_append(m, "v", "t", number);
        if (number > UINT32_MAX)
                return -ERANGE;
        if (*type == 'u')
                return sd_bus_message_append(m, "v", "u", (uint32_t)number);
        if (*type == 'b')
                return sd_bus_message_append(m, "v", "b", number != 0);
        return sd_bus_message_append(m, "v", "au", 1, (uint32_t)number);
}

static int append_signed(sd_bus_message *m, const char *type, const char *value)
{
        char *end;
        long long number;

        errno = 0;
        number = strtoll(value, &end, 10);
        if (errno || end == value || *end)
                return -EINVAL;
        if (*type == 'x')
                return sd_bus_message_append(m, "v", "x", (int64_t)number);
        if (number < INT32_MIN || number > INT32_MAX)
                return -ERANGE;
        return sd_bus_message_append(m, "v", "i", (int32_t)number);
}

static int hex_digit(char c)
{
        const char digits[] = "0123456789abcdef";
        const char *p = c ? strchr(digits, c) : NULL;

        return p ? (int)(p - digits) : -1;
}

static int append_bytes(sd_bus_message *m, const char *value)
{
        unsigned char bytes[BYTES_MAX];
        size_t n = strlen(value);
        int r;

        if (n % 2 != 0 || n / 2 > sizeof(bytes))
                return -EINVAL;
        for (size_t i = 0; i < n; i += 2) {
                int high = hex_digit(value[i]);
                int low = hex_digit(value[i + 1]);

                if (high < 0 || low < 0)
                        return -EINVAL;
                bytes[i / 2] = (unsigned char)(high << 4 | low);
        }
        r = sd_bus_message_open_container(m, 'v', "ay");
        if (r >= 0)
                r = sd_bus_message_append_array(m, 'y', bytes, n / 2);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_strings(sd_bus_message *m, char *value)
{
        char *items[STRINGS_MAX + 1] = {NULL};
        size_t n = 0;
        int r;

        for (char *p = value; *value && p;) {
                char *tab = strchr(p, '\t');

                if (n == STRINGS_MAX)
                        return -E2BIG;
                items[n++] = p;
                if (tab)
                        *tab++ = '\0';
                p = tab;
        }
        r = sd_bus_message_open_container(m, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_append_strv(m, items);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_device(sd_bus_message *m, char *value)
{
        char *device = take_word(&value);

        if (!*device)
                return sd_bus_message_append(m, "v", "a(ss)", 0);
        return sd_bus_message_append(m, "v", "a(ss)", 1, device, value);
}

/* A limit of one device. */
static int append_device_limit(sd_bus_message *m, char *value)
{
        const char *device = take_word(&value);
        uint64_t number;

        if (str_to_u64(value, &number) < 0)
                return -EINVAL;
        return sd_bus_message_append(m, "v", "a(st)", 1, device, number);
}

static int append_value(sd_bus_message *m, const char *type, char *value)
{
        if (strcmp(type, "s") == 0)
                return sd_bus_message_append(m, "v", "s", value);
        if (strcmp(type, "as") == 0)
                return append_strings(m, value);
        if (strcmp(type, "ay") == 0)
                return append_bytes(m, value);
        if (strcmp(type, "a(ss)") == 0)
                return append_device(m, value);
        if (strcmp(type, "a(st)") == 0)
                return append_device_limit(m, value);
        if (strcmp(type, "b") == 0 || strcmp(type, "t") == 0 || strcmp(type, "u") == 0 ||
            strcmp(type, "au") == 0)
                return append_unsigned(m, type, value);
        if (strcmp(type, "i") == 0 || strcmp(type, "x") == 0)
                return append_signed(m, type, value);
        return -EINVAL;
}

static int append_property(sd_bus_message *m, char *line)
{
        const char *type = take_word(&line);
        const char *name = take_word(&line);
        int r = sd_bus_message_open_container(m, 'r', "sv");

        if (r >= 0)
                r = sd_bus_message_append(m, "s", name);
        if (r >= 0)
                r = append_value(m, type, line);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int request_append(struct request *request, sd_bus_message *message, struct error *err)
{
        int r = sd_bus_message_open_container(message, 'a', "(sv)");
        size_t number = 1;

        while (r >= 0) {
                char *line = take_line(&request->properties);

                if (!line)
                        return sd_bus_message_close_container(message) < 0
                                       ? error_set(err, STATUS_INTERNAL, "properties: no end")
                                       : 0;
                r = append_property(message, line);
                number++;
        }
        return error_errno(err, -r, "line %zu of the request", number);
}
