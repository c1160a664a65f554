/* SPDX-License-Identifier: Apache-2.0
 *
 * The top of config.json, and the entry points of the package. Properties of other platforms
 * (windows, solaris, vm, zos) are not read at all, as the runtime-spec asks.
 */
#include "pkg/oci/spec.h"

#include <string.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/str.h"
#include "pkg/oci/parse.h"

enum {
        HOST_NAME_LENGTH = 64, /* __NEW_UTS_LEN: sethostname(2), setdomainname(2) */
};

/* "1", digits and digits, then perhaps a pre-release or build: SemVer 2.0 with major version 1. */
static bool is_version_1(const char *s)
{
        const char *digits = "0123456789";
        size_t n;

        if (!str_has_prefix(s, "1."))
                return false;
        s += 2;
        n = strspn(s, digits);
        if (n == 0 || s[n] != '.')
                return false;
        s += n + 1;
        n = strspn(s, digits);
        if (n == 0)
                return false;
        s += n;
        if (*s == '\0')
                return true;
        return (*s == '-' || *s == '+') && s[1] != '\0' &&
               s[1 + strspn(s + 1, "0123456789abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ.+-")] == '\0';
}

static int parse_version(const struct json_at *at, struct oci_spec *ret)
{
        if (json_require(at, "ociVersion") < 0 ||
            json_get_string(at, "ociVersion", &ret->version) < 0)
                return -1;
        if (!is_version_1(ret->version))
                return json_fail(at, "ociVersion", "'%.64s' is not a version 1.x.y", ret->version);
        return 0;
}

static int parse_root(const struct json_at *at, struct oci_spec *ret)
{
        struct json_at root;

        if (json_require(at, "root") < 0 || json_get_object(at, "root", &root) < 0 ||
            json_require(&root, "path") < 0 || json_get_text(&root, "path", &ret->root_path) < 0 ||
            json_get_bool(&root, "readonly", &ret->root_readonly) < 0)
                return -1;
        return ret->root_path ? 0 : json_fail(&root, "path", "empty");
}

static int get_host_name(const struct json_at *at, const char *key, char **ret)
{
        if (json_get_text(at, key, ret) < 0)
                return -1;
        if (*ret && strlen(*ret) > HOST_NAME_LENGTH)
                return json_fail(at, key, "longer than %d bytes", HOST_NAME_LENGTH);
        return 0;
}

static int get_absolute_paths(const struct json_at *at, const char *key, struct oci_strings *ret)
{
        struct json_at list;
        size_t n = 0;

        if (json_get_strings(at, key, ret) < 0 || json_get_list(at, key, &list, &n) < 0)
                return -1;
        for (size_t i = 0; i < ret->n; i++) {
                struct json_at item = json_item(&list, i);

                if (ret->items[i][0] != '/')
                        return json_fail(&item, NULL, "'%.64s' is not an absolute path",
                                         ret->items[i]);
        }
        return 0;
}

/* A name becomes a path below /proc/sys, so no part of it may be empty, `.` or `..`. Parts end at a
 * dot or a slash; sysctl.d(5) allows either, and the other one then stands within a part. */
static bool is_sysctl_name(const char *s)
{
        const char *separators = "./";
        bool after_separator = true;

        for (; *s; s++) {
                bool is_separator = strchr(separators, *s) != NULL;

                if (is_separator && after_separator)
                        return false;
                after_separator = is_separator;
        }
        return !after_separator;
}

static int parse_sysctl(const struct json_at *at, struct oci_linux *ret)
{
        struct json_at map;

        if (json_get_object(at, "sysctl", &map) < 0 ||
            json_get_string_map(at, "sysctl", &ret->sysctl, &ret->n_sysctl) < 0)
                return -1;
        for (size_t i = 0; i < ret->n_sysctl; i++)
                if (!is_sysctl_name(ret->sysctl[i].key))
                        return json_fail(&map, ret->sysctl[i].key, "not the name of a sysctl");
        return 0;
}

static const struct json_word propagation_words[] = {
        {"", 0},        {"shared", 0}, {"slave", 0},    {"private", 0},     {"unbindable", 0},
        {"rshared", 0}, {"rslave", 0}, {"rprivate", 0}, {"runbindable", 0},
};

static int parse_security(const struct json_at *at, struct oci_linux *ret)
{
        const struct json_word *word = NULL;
        struct json_at seccomp;

        if (json_get_word(at, "rootfsPropagation", propagation_words, WORD_COUNT(propagation_words),
                          &word) < 0 ||
            json_get_text(at, "rootfsPropagation", &ret->rootfs_propagation) < 0 ||
            get_absolute_paths(at, "maskedPaths", &ret->masked_paths) < 0 ||
            get_absolute_paths(at, "readonlyPaths", &ret->readonly_paths) < 0 ||
            json_get_text(at, "mountLabel", &ret->mount_label) < 0 || parse_sysctl(at, ret) < 0 ||
            json_get_object(at, "seccomp", &seccomp) < 0)
                return -1;
        if (!seccomp.value)
                return 0;
        if (json_alloc(at, 1, sizeof(*ret->seccomp), &ret->seccomp) < 0)
                return -1;
        return parse_seccomp(&seccomp, ret->seccomp);
}

static int parse_linux(const struct json_at *root, struct oci_linux *ret)
{
        struct json_at at;
        struct json_at resources;

        if (json_get_object(root, "linux", &at) < 0 || parse_namespaces(&at, ret) < 0 ||
            parse_net_devices(&at, ret) < 0 || parse_time_offsets(&at, ret) < 0 ||
            parse_personality(&at, &ret->personality) < 0 ||
            parse_memory_policy(&at, &ret->memory_policy) < 0 ||
            json_get_text(&at, "cgroupsPath", &ret->cgroups_path) < 0 ||
            json_get_object(&at, "resources", &resources) < 0 ||
            parse_resources(&resources, &ret->resources) < 0)
                return -1;
        ret->has_resources = resources.value != NULL;
        ret->has_intel_rdt = !json_says_nothing(&at, "intelRdt");
        return parse_security(&at, ret);
}

static int parse_spec(const struct json_at *at, struct oci_spec *ret)
{
        struct json_at process;

        if (parse_version(at, ret) < 0 || parse_root(at, ret) < 0 ||
            get_host_name(at, "hostname", &ret->hostname) < 0 ||
            get_host_name(at, "domainname", &ret->domainname) < 0 ||
            json_get_object(at, "process", &process) < 0)
                return -1;
        ret->has_process = process.value != NULL;
        if (ret->has_process && parse_process(&process, &ret->process) < 0)
                return -1;
        if (parse_mounts(at, ret) < 0 || parse_hooks(at, &ret->hooks) < 0 ||
            json_get_string_map(at, "annotations", &ret->annotations, &ret->n_annotations) < 0)
                return -1;
        return parse_linux(at, &ret->linux_);
}

int oci_spec_parse(const char *json, size_t len, struct arena *arena, struct oci_spec **ret,
                   struct error *err)
{
        _cleanup_(json_doc_close) struct json_doc doc = {0};
        struct oci_spec *spec = NULL;

        if (json_doc_open(&doc, json, len, "config.json", "", arena, err) < 0 ||
            json_alloc(&doc.root, 1, sizeof(*spec), &spec) < 0 || parse_spec(&doc.root, spec) < 0)
                return -1;
        *ret = spec;
        return 0;
}

int oci_process_parse(const char *json, size_t len, struct arena *arena, struct oci_process **ret,
                      struct error *err)
{
        _cleanup_(json_doc_close) struct json_doc doc = {0};
        struct oci_process *process = NULL;

        if (json_doc_open(&doc, json, len, "process", "process", arena, err) < 0 ||
            json_alloc(&doc.root, 1, sizeof(*process), &process) < 0 ||
            parse_process(&doc.root, process) < 0)
                return -1;
        *ret = process;
        return 0;
}

int oci_resources_parse(const char *json, size_t len, struct arena *arena,
                        struct oci_resources **ret, struct error *err)
{
        _cleanup_(json_doc_close) struct json_doc doc = {0};
        struct oci_resources *resources = NULL;

        if (json_doc_open(&doc, json, len, "resources", "resources", arena, err) < 0 ||
            json_alloc(&doc.root, 1, sizeof(*resources), &resources) < 0 ||
            parse_resources(&doc.root, resources) < 0)
                return -1;
        *ret = resources;
        return 0;
}

int oci_annotations_parse(const char *json, size_t len, struct arena *arena,
                          struct oci_key_value **ret, size_t *ret_n, struct error *err)
{
        _cleanup_(json_doc_close) struct json_doc doc = {0};

        if (json_doc_open(&doc, json, len, "config.json", "", arena, err) < 0)
                return -1;
        return json_get_string_map(&doc.root, "annotations", ret, ret_n);
}

int oci_cgroups_path_parse(const char *json, size_t len, struct arena *arena, char **ret,
                           struct error *err)
{
        _cleanup_(json_doc_close) struct json_doc doc = {0};
        struct json_at at;

        *ret = NULL;
        if (json_doc_open(&doc, json, len, "config.json", "", arena, err) < 0 ||
            json_get_object(&doc.root, "linux", &at) < 0)
                return -1;
        return json_get_text(&at, "cgroupsPath", ret);
}
