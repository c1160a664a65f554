/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a configuration: as a lone process behind a 'p', as resources behind an 'r', else as
 * config.json. What is accepted must keep the promises of pkg/oci/spec.h, and json-c must never
 * refuse what our own check of the text has let through.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkg/oci/json_check.h"
#include "pkg/oci/mount_options.h"
#include "pkg/oci/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
        if (!condition)
                abort();
}

static void walk_strings(const struct oci_strings *list)
{
        for (size_t i = 0; i < list->n; i++)
                require(list->items[i] != NULL);
        require(!list->items || !list->items[list->n]);
}

static void walk_process(const struct oci_process *p)
{
        require(p->args.n > 0 && p->cwd && p->cwd[0] == '/');
        walk_strings(&p->args);
        walk_strings(&p->env);
        for (size_t i = 0; i < p->n_rlimits; i++)
                require(p->rlimits[i].name && p->rlimits[i].soft <= p->rlimits[i].hard);
        require(!(p->capabilities.bounding >> 41));
}

static void walk_resources(const struct oci_resources *r)
{
        for (size_t i = 0; i < r->n_devices; i++)
                require(strchr("abc", r->devices[i].type) && r->devices[i].major >= -1);
        for (size_t i = 0; i < r->n_unified; i++)
                require(r->unified[i].value && !strchr(r->unified[i].file, '/'));
        for (size_t i = 0; i < r->n_hugepage_limits; i++)
                require(r->hugepage_limits[i].page_size != NULL);
        for (size_t i = 0; i < r->block_io.n_weight_devices; i++)
                require(r->block_io.weight_devices[i].weight <= 1000);
        for (size_t i = 0; i < r->network.n_priorities; i++)
                require(!strpbrk(r->network.priorities[i].name, " \n"));
        for (size_t i = 0; i < r->n_rdma; i++)
                require(r->rdma[i].device[0] && !strpbrk(r->rdma[i].device, " \n"));
        require(r->block_io.weight <= 1000 && r->block_io.leaf_weight <= 1000);
        require(r->pids_limit >= -1 && r->memory.limit >= -1 && r->memory.swappiness <= 100);
}

static void walk_hooks(const struct oci_hook_list *hooks)
{
        for (size_t i = 0; i < hooks->n; i++) {
                require(hooks->items[i].path[0] == '/' && hooks->items[i].args.n > 0);
                walk_strings(&hooks->items[i].args);
                walk_strings(&hooks->items[i].env);
        }
}

static void walk_linux(const struct oci_linux *l)
{
        for (size_t i = 0; i < _OCI_NS_MAX; i++)
                require(!l->namespaces[i].path || l->namespaces[i].path[0] == '/');
        for (size_t i = 0; i < l->n_uid_mappings; i++)
                require(l->uid_mappings[i].host_id + l->uid_mappings[i].size > 0);
        for (size_t i = 0; i < l->n_devices; i++)
                require(l->devices[i].path[0] == '/' && strchr("cbp", l->devices[i].type));
        for (size_t i = 0; i < l->n_sysctl; i++)
                require(!strstr(l->sysctl[i].key, "..") && l->sysctl[i].key[0] != '/');
        walk_strings(&l->masked_paths);
        walk_strings(&l->readonly_paths);
        for (size_t i = 0; l->seccomp && i < l->seccomp->n_rules; i++)
                require(l->seccomp->rules[i].names.n > 0 && l->seccomp->rules[i].action);
        walk_resources(&l->resources);
}

static void walk_spec(const struct oci_spec *s, struct arena *arena)
{
        require(s->version && s->root_path && s->root_path[0]);
        if (s->has_process)
                walk_process(&s->process);
        for (size_t i = 0; i < s->n_mounts; i++) {
                const struct oci_strings *options = &s->mounts[i].options;
                struct oci_mount_options flags;

                require(s->mounts[i].destination[0] == '/');
                walk_strings(options);
                if (oci_mount_options_parse((const char *const *)options->items, options->n, arena,
                                            &flags, NULL) == 0)
                        require(flags.data && strlen(flags.data) <= 4095);
        }
        walk_hooks(&s->hooks.prestart);
        walk_hooks(&s->hooks.create_runtime);
        walk_hooks(&s->hooks.create_container);
        walk_hooks(&s->hooks.start_container);
        walk_hooks(&s->hooks.poststart);
        walk_hooks(&s->hooks.poststop);
        walk_linux(&s->linux_);
        for (size_t i = 0; i < s->n_annotations; i++)
                require(s->annotations[i].key[0] && s->annotations[i].value);
}

static void check_error(const struct error *err, int checked)
{
        require(err->code == STATUS_INVALID_ARGUMENT || err->code == STATUS_UNIMPLEMENTED ||
                err->code == STATUS_RESOURCE_EXHAUSTED);
        require(err->msg[0]);
        /* An error of the text as a whole is ours, not json-c's. */
        if (checked == 0 && strncmp(err->msg, "config.json: ", 13) == 0)
                require(strstr(err->msg, "expected an object") ||
                        strstr(err->msg, "out of memory"));
}

static void parse_spec(const char *text, size_t len, struct arena *arena)
{
        struct oci_key_value *annotations = NULL;
        struct oci_spec *spec = NULL;
        struct error err = ERROR_INIT;
        size_t n = 0;
        int checked = json_check(text, len, "config.json", "", NULL);

        if (oci_spec_parse(text, len, arena, &spec, &err) == 0) {
                require(checked == 0);
                walk_spec(spec, arena);
        } else {
                check_error(&err, checked);
        }
        if (oci_annotations_parse(text, len, arena, &annotations, &n, &err) == 0)
                require(checked == 0 && (!spec || n == spec->n_annotations));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        struct oci_resources *resources = NULL;
        struct oci_process *process = NULL;
        struct error err = ERROR_INIT;
        struct arena *arena = arena_new(4u << 20);

        require(arena != NULL);
        if (size > 0 && text[0] == 'p') {
                if (oci_process_parse(text + 1, size - 1, arena, &process, &err) == 0)
                        walk_process(process);
        } else if (size > 0 && text[0] == 'r') {
                if (oci_resources_parse(text + 1, size - 1, arena, &resources, &err) == 0)
                        walk_resources(resources);
        } else {
                parse_spec(text, size, arena);
        }
        arena_free(arena);
        return 0;
}
