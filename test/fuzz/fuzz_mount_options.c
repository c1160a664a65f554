/* SPDX-License-Identifier: Apache-2.0
 *
 * Any words, each ended by a NUL, as the options of a mount. What comes out is a set of flags in
 * which nothing is both set and cleared, and text that mount(2) takes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "pkg/oci/mount_options.h"

/* Not in the headers of glibc 2.36. */
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum { ARENA_BYTES = 1 << 20, PAGE_TEXT_MAX = 4095 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
        if (!condition)
                abort();
}

static void check_flags(const struct oci_mount_options *o)
{
        const unsigned long atime[] = {MS_NOATIME, MS_RELATIME, MS_STRICTATIME};
        unsigned long type = o->propagation & ~(unsigned long)MS_REC;
        int n_atime = 0;

        for (size_t i = 0; i < sizeof(atime) / sizeof(atime[0]); i++)
                n_atime += (o->flags & atime[i]) != 0;
        require(n_atime <= 1);
        require((o->flags & o->cleared) == 0);
        require((o->attr_rec_set & o->attr_rec_clear & ~(uint64_t)MOUNT_ATTR__ATIME) == 0);
        /* mount_setattr(2): a mode of access times is set only where the field is cleared */
        require(!(o->attr_rec_set & MOUNT_ATTR__ATIME) ||
                (o->attr_rec_clear & MOUNT_ATTR__ATIME) == MOUNT_ATTR__ATIME);
        require(type == 0 || type == MS_SHARED || type == MS_SLAVE || type == MS_PRIVATE ||
                type == MS_UNBINDABLE);
        require(o->is_bind == ((o->flags & MS_BIND) != 0));
        require(!o->idmap_recursive || o->idmap);
}

static size_t split(char *text, size_t size, const char **words)
{
        size_t n = 0;

        for (size_t at = 0; at < size; at += strlen(text + at) + 1)
                words[n++] = text + at;
        return n;
}

/* All that is no known word, in its order. */
static void check_data(const struct oci_mount_options *o, const char *const *words, size_t n)
{
        const char *at = o->data;

        require(strlen(o->data) <= PAGE_TEXT_MAX);
        for (size_t i = 0; i < n; i++) {
                bool is_known = !words[i][0];
                const char *name;

                for (size_t j = 0; !is_known && (name = oci_mount_option_name(j)); j++)
                        is_known = strcmp(name, words[i]) == 0;
                if (is_known)
                        continue;
                require(at == o->data || *at++ == ',');
                require(strncmp(at, words[i], strlen(words[i])) == 0);
                at += strlen(words[i]);
        }
        require(*at == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct arena *arena = arena_new(ARENA_BYTES);
        struct oci_mount_options options;
        struct error err = ERROR_INIT;
        const char **words = calloc(size + 1, sizeof(*words));
        char *text = malloc(size + 1);
        size_t n;

        require(arena && words && text);
        memcpy(text, data, size);
        text[size] = '\0';
        n = split(text, size, words);
        if (oci_mount_options_parse(words, n, arena, &options, &err) == 0) {
                check_flags(&options);
                check_data(&options, words, n);
        } else {
                require(err.code == STATUS_INVALID_ARGUMENT ||
                        err.code == STATUS_RESOURCE_EXHAUSTED);
        }
        free(text);
        free(words);
        arena_free(arena);
        return 0;
}
