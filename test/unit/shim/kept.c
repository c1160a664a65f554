/* SPDX-License-Identifier: Apache-2.0
 *
 * See kept.h. The record is read as the next process image reads it, and compared text by text.
 */
#include "test/unit/shim/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "belay/state/v1/shim.pb-c.h"
#include "shim/state.h"

enum { KEPT_MAX = 64 };

struct kept_text {
        uint64_t key;
        char *text;
        size_t len;
};

/* The shim has the key 0. */
struct kept {
        struct kept_text texts[KEPT_MAX];
        size_t n;
};

static void kept_set(struct kept *kept, uint64_t key, const ProtobufCBinaryData *data)
{
        size_t i = 0;

        while (i < kept->n && kept->texts[i].key != key)
                i++;
        assert_true(i < KEPT_MAX);
        if (i == kept->n)
                kept->n++;
        else
                free(kept->texts[i].text);
        kept->texts[i] = (struct kept_text){.key = key, .text = malloc(data->len + 1)};
        kept->texts[i].len = data->len;
        assert_non_null(kept->texts[i].text);
        memcpy(kept->texts[i].text, data->len > 0 ? data->data : (const uint8_t *)"", data->len);
}

static void kept_read(struct kept *kept, const struct vault *vault)
{
        const void *data = NULL;
        size_t len = 0;
        size_t at = 0;
        int r;

        *kept = (struct kept){.n = 0};
        while ((r = vault_next(vault, VAULT_SHIM, &at, &data, &len, NULL)) > 0) {
                Belay__State__V1__Change *change =
                        belay__state__v1__change__unpack(NULL, len, data);

                assert_non_null(change);
                if (change->shim.len > 0)
                        kept_set(kept, 0, &change->shim);
                for (size_t i = 0; i < change->n_processes; i++) {
                        const Belay__State__V1__KeyedProcess *p = change->processes[i];

                        assert_true(!p->gone || p->process.len == 0);
                        kept_set(kept, p->key, &p->process);
                }
                belay__state__v1__change__free_unpacked(change, NULL);
        }
        assert_int_equal(r, 0);
}

static void kept_free(struct kept *kept)
{
        for (size_t i = 0; i < kept->n; i++)
                free(kept->texts[i].text);
}

static const struct kept_text *kept_find(const struct kept *kept, uint64_t key)
{
        for (size_t i = 0; i < kept->n; i++) {
                if (kept->texts[i].key == key)
                        return &kept->texts[i];
        }
        return NULL;
}

static void dump(const char *what, const struct kept_text *text)
{
        (void)fprintf(stderr, "%s:", what);
        for (size_t i = 0; text && i < text->len; i++)
                (void)fprintf(stderr, " %02x", (unsigned char)text->text[i]);
        (void)fprintf(stderr, "\n");
}

void kept_check(struct harness *h)
{
        struct kept before;
        struct kept after;

        if (!h->server)
                return;
        kept_read(&before, h->vault);
        state_commit_all(h->server);
        kept_read(&after, h->vault);
        for (size_t i = 0; i < after.n; i++) {
                const struct kept_text *is = kept_find(&before, after.texts[i].key);
                const struct kept_text *must = &after.texts[i];

                if (is && is->len == must->len && memcmp(is->text, must->text, is->len) == 0)
                        continue;
                dump("is", is);
                dump("must be", must);
                fail_msg("what the vault has of process %d is old", (int)must->key);
        }
        /* Those of a container that is gone are void, whatever was said of them. */
        for (size_t i = 0; h->server && after.n > 1 && i < before.n; i++) {
                if (before.texts[i].len > 0 && !kept_find(&after, before.texts[i].key))
                        fail_msg("process %d was not forgotten", (int)before.texts[i].key);
        }
        kept_free(&before);
        kept_free(&after);
}
