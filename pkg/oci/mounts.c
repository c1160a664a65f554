/* SPDX-License-Identifier: Apache-2.0
 *
 * mounts[] (runtime-spec, config.md "Mounts"), in the document's order, which matters. Options stay
 * words here; pkg/oci/mount_options.h gives them meaning.
 *
 * Invariant: every destination is absolute. Whether it escapes is not this file's question: the
 * engine resolves it inside the root.
 */
#include "pkg/oci/parse.h"

/* A relative destination is deprecated and means "from /" (config.md, 1.x). */
static int parse_destination(const struct json_at *at, struct oci_mount *ret)
{
        char *text = NULL;

        if (json_require(at, "destination") < 0 || json_get_text(at, "destination", &text) < 0)
                return -1;
        if (!text)
                return json_fail(at, "destination", "empty");
        ret->destination = text[0] == '/' ? text : arena_printf(at->doc->arena, "/%s", text);
        return ret->destination ? 0 : json_out_of_memory(at);
}

static int parse_mount(const struct json_at *at, struct oci_mount *ret)
{
        if (parse_mappings(at, "uidMappings", &ret->uid_mappings, &ret->n_uid_mappings) < 0 ||
            parse_mappings(at, "gidMappings", &ret->gid_mappings, &ret->n_gid_mappings) < 0 ||
            parse_destination(at, ret) < 0 || json_get_text(at, "type", &ret->type) < 0 ||
            json_get_text(at, "source", &ret->source) < 0)
                return -1;
        if ((ret->n_uid_mappings > 0) != (ret->n_gid_mappings > 0))
                return json_fail(at, ret->n_uid_mappings > 0 ? "gidMappings" : "uidMappings",
                                 "missing beside its counterpart");
        return json_get_strings(at, "options", &ret->options);
}

int parse_mounts(const struct json_at *at, struct oci_spec *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_list(at, "mounts", &list, &n) < 0 ||
            json_alloc(at, n, sizeof(*ret->mounts), &ret->mounts) < 0)
                return -1;
        for (size_t i = 0; i < n; i++) {
                struct json_at item;

                if (json_item_object(&list, i, &item) < 0 ||
                    parse_mount(&item, &ret->mounts[i]) < 0)
                        return -1;
        }
        ret->n_mounts = n;
        return 0;
}
