/* SPDX-License-Identifier: Apache-2.0
 *
 * What this engine can do, as the runtime-spec's features document (features.md). containerd's CRI
 * plugin decides by it what it may ask for, so it names nothing that would be refused.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/capability.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/engine/engine.h"
#include "pkg/oci/mount_options.h"
#include "pkg/oci/spec.h"

#define OCI_VERSION_MIN "1.0.0"
#define OCI_VERSION_MAX "1.3.0"

/* json-c takes over what is added; an addition that fails for lack of memory is noted. */
struct builder {
        bool has_failed;
};

static struct json_object *check(struct builder *b, struct json_object *o)
{
        b->has_failed = b->has_failed || !o;
        return o;
}

static void add(struct builder *b, struct json_object *to, const char *key, struct json_object *o)
{
        if (!check(b, o))
                return;
        if (!to || json_object_object_add(to, key, o) < 0) {
                b->has_failed = true;
                (void)json_object_put(o);
        }
}

static void add_string(struct builder *b, struct json_object *to, const char *key, const char *s)
{
        add(b, to, key, json_object_new_string(s));
}

static void add_bool(struct builder *b, struct json_object *to, const char *key, bool value)
{
        add(b, to, key, json_object_new_boolean(value));
}

static struct json_object *add_object(struct builder *b, struct json_object *to, const char *key)
{
        struct json_object *o = json_object_new_object();

        add(b, to, key, o);
        return b->has_failed ? NULL : o;
}

static struct json_object *add_array(struct builder *b, struct json_object *to, const char *key)
{
        struct json_object *o = json_object_new_array();

        add(b, to, key, o);
        return b->has_failed ? NULL : o;
}

static void append(struct builder *b, struct json_object *array, const char *s)
{
        struct json_object *o = check(b, json_object_new_string(s));

        if (o && (!array || json_object_array_add(array, o) < 0)) {
                b->has_failed = true;
                (void)json_object_put(o);
        }
}

static void add_strings(struct builder *b, struct json_object *to, const char *key,
                        const char *const *strings)
{
        struct json_object *array = add_array(b, to, key);

        for (; *strings; strings++)
                append(b, array, *strings);
}

static void add_mount_options(struct builder *b, struct json_object *root)
{
        struct json_object *array = add_array(b, root, "mountOptions");
        const char *name;

        for (size_t i = 0; (name = oci_mount_option_name(i)); i++)
                append(b, array, name);
}

static void add_capabilities(struct builder *b, struct json_object *linux_)
{
        struct json_object *array = add_array(b, linux_, "capabilities");

        for (cap_value_t cap = 0; CAP_IS_SUPPORTED(cap); cap++) {
                char *name = cap_to_name(cap); /* "cap_chown" */

                if (!name) {
                        b->has_failed = true;
                        return;
                }
                for (char *s = name; *s; s++)
                        *s = (char)(*s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s);
                append(b, array, name);
                (void)cap_free(name);
        }
}

static void add_seccomp(struct builder *b, struct json_object *linux_)
{
        static const char *const actions[] = {
                "SCMP_ACT_ALLOW",        "SCMP_ACT_ERRNO",
                "SCMP_ACT_KILL",         "SCMP_ACT_LOG",
                "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
                "SCMP_ACT_TRACE",        "SCMP_ACT_TRAP",
                "SCMP_ACT_NOTIFY",       NULL,
        };
        static const char *const operators[] = {
                "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",        "SCMP_CMP_LE",
                "SCMP_CMP_LT", "SCMP_CMP_NE", "SCMP_CMP_MASKED_EQ", NULL,
        };
        static const char *const archs[] = {
                "SCMP_ARCH_AARCH64",   "SCMP_ARCH_ARM",
                "SCMP_ARCH_MIPS",      "SCMP_ARCH_MIPS64",
                "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
                "SCMP_ARCH_MIPSEL64",  "SCMP_ARCH_MIPSEL64N32",
                "SCMP_ARCH_PARISC",    "SCMP_ARCH_PARISC64",
                "SCMP_ARCH_PPC",       "SCMP_ARCH_PPC64",
                "SCMP_ARCH_PPC64LE",   "SCMP_ARCH_RISCV64",
                "SCMP_ARCH_S390",      "SCMP_ARCH_S390X",
                "SCMP_ARCH_X32",       "SCMP_ARCH_X86",
                "SCMP_ARCH_X86_64",    NULL,
        };
        static const char *const flags[] = {
                "SECCOMP_FILTER_FLAG_TSYNC",
                "SECCOMP_FILTER_FLAG_LOG",
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                NULL,
        };
        struct json_object *seccomp = add_object(b, linux_, "seccomp");

        add_bool(b, seccomp, "enabled", true);
        add_strings(b, seccomp, "actions", actions);
        add_strings(b, seccomp, "operators", operators);
        add_strings(b, seccomp, "archs", archs);
        add_strings(b, seccomp, "knownFlags", flags);
        add_strings(b, seccomp, "supportedFlags", flags);
}

static void add_cgroup(struct builder *b, struct json_object *linux_)
{
        struct json_object *cgroup = add_object(b, linux_, "cgroup");

        add_bool(b, cgroup, "v1", true);
        add_bool(b, cgroup, "v2", true);
        add_bool(b, cgroup, "systemd", true);
        add_bool(b, cgroup, "systemdUser", false);
        add_bool(b, cgroup, "rdma", true);
}

static void add_memory_policy(struct builder *b, struct json_object *linux_)
{
        struct json_object *policy = add_object(b, linux_, "memoryPolicy");
        struct json_object *modes = add_array(b, policy, "modes");
        struct json_object *flags = add_array(b, policy, "flags");
        const char *name;

        for (size_t i = 0; (name = oci_memory_mode_name(i)); i++)
                append(b, modes, name);
        for (size_t i = 0; (name = oci_memory_flag_name(i)); i++)
                append(b, flags, name);
}

static void add_linux(struct builder *b, struct json_object *root)
{
        static const char *const namespaces[] = {
                "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts", NULL,
        };
        struct json_object *linux_ = add_object(b, root, "linux");

        add_strings(b, linux_, "namespaces", namespaces);
        add_capabilities(b, linux_);
        add_cgroup(b, linux_);
        add_seccomp(b, linux_);
        add_bool(b, add_object(b, linux_, "apparmor"), "enabled", true);
        add_bool(b, add_object(b, linux_, "selinux"), "enabled", true);
        add_bool(b, add_object(b, linux_, "intelRdt"), "enabled", false);
        add_memory_policy(b, linux_);
        add_bool(b, add_object(b, add_object(b, linux_, "mountExtensions"), "idmap"), "enabled",
                 true);
        add_bool(b, add_object(b, linux_, "netDevices"), "enabled", true);
}

int engine_features(char **ret_json, struct error *err)
{
        static const char *const hooks[] = {
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
                NULL,
        };
        struct builder b = {0};
        struct json_object *root = check(&b, json_object_new_object());
        char *json = NULL;

        add_string(&b, root, "ociVersionMin", OCI_VERSION_MIN);
        add_string(&b, root, "ociVersionMax", OCI_VERSION_MAX);
        add_strings(&b, root, "hooks", hooks);
        add_mount_options(&b, root);
        add_linux(&b, root);
        if (!b.has_failed)
                json = strdup(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN));
        if (root)
                (void)json_object_put(root);
        if (!json)
                return error_set(err, STATUS_RESOURCE_EXHAUSTED, "features: no memory");
        *ret_json = json;
        return 0;
}
