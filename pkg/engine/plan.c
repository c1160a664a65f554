/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a plan: everything that can be decided, looked up, compiled or opened before the container
 * exists is, so that what runs inside only does. The checks are in plan_check.c, the parts in the
 * other plan_*.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "pkg/base/cleanup.h"
#include "pkg/base/error.h"
#include "pkg/base/limits.h"
#include "pkg/base/str.h"
#include "pkg/engine/passed.h"
#include "pkg/engine/plan_private.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int plan_no_memory(struct error *err)
{
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "plan: out of memory");
}

const char *plan_clean_path(struct arena *arena, const char *path)
{
        const char *parts[] = {"/", path};
        _cleanup_free_ char *clean = path_join_clean(parts, 2);

        return clean ? arena_strdup(arena, clean) : NULL;
}

bool plan_has_listener(const struct plan *plan)
{
        return plan->seccomp.prog.len > 0 &&
               (plan->seccomp.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

bool plan_loads_seccomp_early(const struct plan *plan)
{
        return plan->seccomp.prog.len > 0 &&
               (!plan->process->no_new_privileges || plan_has_listener(plan));
}

char *const *plan_environment(const struct plan *plan)
{
        return plan->private_->envp;
}

static struct plan *plan_alloc(const struct plan_options *options, struct arena *arena)
{
        struct plan *plan = arena_alloc(arena, sizeof(*plan));
        struct plan_private *p = arena_alloc(arena, sizeof(*p));

        if (!plan || !p)
                return NULL;
        plan->options = *options;
        plan->private_ = p;
        plan->rootfs_fd = -1;
        plan->proc_fd = -1;
        for (size_t i = 0; i < _OCI_NS_MAX; i++)
                plan->join_fds[i] = -1;
        p->arena = arena;
        p->root_fd = -1;
        p->idmap_fd = -1;
        p->proc_mount = -1;
        p->sys_mount = -1;
        return plan;
}

/* In the place of one of that name, or behind all. */
static void set_environment(struct plan_private *p, const char *prefix, char *text)
{
        size_t i = 0;

        while (i < p->n_env && !str_has_prefix(p->envp[i], prefix))
                i++;
        p->envp[i] = text;
        if (i == p->n_env)
                p->n_env++;
}

/* The pid is known to the process itself only: child_exec(). */
static int add_listen_environment(struct plan *plan)
{
        struct plan_private *p = plan->private_;
        const struct passed *passed = plan->options.passed;
        char *fds;

        if (!passed || passed->n_listen == 0)
                return 0;
        fds = arena_printf(p->arena, "LISTEN_FDS=%u", passed->n_listen);
        p->listen_pid = arena_printf(p->arena, LISTEN_PID_FORMAT, INT_MAX);
        if (!fds || !p->listen_pid)
                return -1;
        set_environment(p, "LISTEN_FDS=", fds);
        set_environment(p, "LISTEN_PID=", p->listen_pid);
        return 0;
}

/* The process's environ with a free slot for HOME, and the PATH in it. */
static int add_environment(struct plan *plan, struct error *err)
{
        const struct oci_strings *env = &plan->process->env;
        struct plan_private *p = plan->private_;

        p->envp = arena_calloc(p->arena, env->n + 4, sizeof(*p->envp));
        if (!p->envp)
                return plan_no_memory(err);
        p->n_env = plan_unique_env(env, p->envp, p->arena);
        if (p->n_env == SIZE_MAX)
                return plan_no_memory(err);
        if (add_listen_environment(plan) < 0)
                return plan_no_memory(err);
        p->search_path = DEFAULT_PATH;
        p->home_slot = p->n_env;
        for (size_t i = 0; i < p->n_env; i++) {
                if (str_has_prefix(p->envp[i], "PATH="))
                        p->search_path = p->envp[i] + 5;
                if (strcmp(p->envp[i], "HOME=") == 0)
                        p->home_slot = i;
                else if (str_has_prefix(p->envp[i], "HOME="))
                        p->has_home = true;
        }
        return 0;
}

static bool apparmor_is_on(void)
{
        _cleanup_free_ char *text = NULL;

        return file_read(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", LIMIT_PROC_BYTES,
                         &text, NULL) == 0 &&
               text[0] == 'Y';
}

static bool selinux_is_on(void)
{
        struct statfs fs;

        return statfs("/sys/fs/selinux", &fs) == 0 && fs.f_type == SELINUX_MAGIC;
}

/* A container that asks for confinement by a security module does not run without it. */
static int add_labels(struct plan *plan, const char *mount_label, struct error *err)
{
        struct plan_private *p = plan->private_;
        const char *profile = plan->process->apparmor_profile;
        const char *label = plan->process->selinux_label;

        if (!str_is_empty(profile) && strcmp(profile, "unconfined") != 0) {
                if (!apparmor_is_on())
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "process.apparmorProfile: '%s' is asked for, but AppArmor "
                                         "is not enabled on this host",
                                         profile);
                p->apparmor_profile = profile;
        }
        if (str_is_empty(label) && str_is_empty(mount_label))
                return 0;
        if (!selinux_is_on()) {
                if (!str_is_empty(label))
                        return error_set(err, STATUS_INVALID_ARGUMENT,
                                         "process.selinuxLabel: '%s' is asked for, but SELinux is "
                                         "not enabled on this host",
                                         label);
                return 0; /* a mount label alone protects nothing that is there to protect */
        }
        if (!str_is_empty(label))
                p->selinux_label = label;
        if (!str_is_empty(mount_label))
                p->mount_label = mount_label;
        return 0;
}

/* A procfs that nobody else can reach, for writes that must not be led astray by what the
 * container has mounted (CVE-2025-52881). */
static int open_procfs(struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;
        _cleanup_close_ int fs = -1;
        _cleanup_close_ int fd = -1;

        if (p->n_sysctl == 0 && !p->apparmor_profile && !p->selinux_label)
                return 0;
        fs = fsopen("proc", FSOPEN_CLOEXEC);
        if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return error_errno(err, errno, "make a private procfs");
        fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "mount a private procfs");
        plan->proc_fd = TAKE_FD(fd);
        return 0;
}

static int add_sysctl(struct plan *plan, struct error *err)
{
        const struct oci_linux *l = &plan->spec->linux_;
        struct plan_private *p = plan->private_;

        p->sysctl = arena_calloc(p->arena, l->n_sysctl, sizeof(*p->sysctl));
        if (!p->sysctl)
                return plan_no_memory(err);
        for (size_t i = 0; i < l->n_sysctl; i++) {
                struct plan_sysctl *s = &p->sysctl[i];

                s->key = l->sysctl[i].key;
                s->value = l->sysctl[i].value ? l->sysctl[i].value : "";
                if (plan_sysctl_path(plan->spec, s->key, p->arena, &s->path, &s->type, err) < 0)
                        return -1;
        }
        p->n_sysctl = l->n_sysctl;
        return 0;
}

static int add_keyring(struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;

        if (plan->options.no_new_keyring)
                return 0;
        p->keyring = arena_printf(p->arena, "_ses.%s", plan->options.id);
        return p->keyring ? 0 : plan_no_memory(err);
}

/* Field number n (from 0) of a line of mountinfo, with its length. */
static const char *field(const char *line, unsigned n, size_t *ret_len)
{
        for (; n > 0; n--) {
                line += strcspn(line, " \n");
                if (*line != ' ')
                        return NULL;
                line++;
        }
        *ret_len = strcspn(line, " \n");
        return line;
}

/* Octal escapes of mountinfo, undone in place. */
static void unescape(char *s)
{
        char *out = s;

        while (*s) {
                if (s[0] == '\\' && s[1] && s[2] && s[3]) {
                        *out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
                        s += 4;
                } else {
                        *out++ = *s++;
                }
        }
        *out = '\0';
}

/* True for a whole procfs or sysfs, outside of the rootfs. */
static bool is_host_kernel_mount(const char *line, const char *rootfs, size_t *ret_len,
                                 const char **ret_path)
{
        size_t n = 0;
        const char *root = field(line, 3, &n);
        const char *separator = strstr(line, " - ");
        const char *end = strchr(line, '\n');

        if (!root || n != 1 || !separator || (end && separator > end))
                return false;
        if (!str_has_prefix(separator, " - proc ") && !str_has_prefix(separator, " - sysfs "))
                return false;
        *ret_path = field(line, 4, ret_len);
        return *ret_path &&
               !(str_has_prefix(*ret_path, rootfs) && strchr("/ ", (*ret_path)[strlen(rootfs)]));
}

/*
 * Without pivot_root the host's mounts stay below the container's root. A whole procfs or sysfs
 * among them would let a user namespace made inside mount its own unmasked one (the kernel allows
 * that where one is visible), so they are unmounted before.
 */
static int add_hide_paths(struct plan *plan, struct error *err)
{
        struct plan_private *p = plan->private_;
        _cleanup_free_ char *text = NULL;
        size_t n_lines = 0;
        int r;

        if (!plan->options.no_pivot_root || !p->has_mount_namespace)
                return 0;
        r = file_read(AT_FDCWD, "/proc/self/mountinfo", (size_t)LIMIT_PROC_BYTES * 16, &text, NULL);
        if (r < 0)
                return error_errno(err, -r, "read /proc/self/mountinfo");
        for (const char *s = text; *s; s++)
                n_lines += *s == '\n';
        p->hide_paths = arena_calloc(p->arena, n_lines + 1, sizeof(*p->hide_paths));
        if (!p->hide_paths)
                return plan_no_memory(err);
        for (const char *line = text; *line;) {
                const char *next = strchr(line, '\n');
                const char *path = NULL;
                size_t len = 0;

                if (is_host_kernel_mount(line, p->rootfs_path, &len, &path)) {
                        char *copy = arena_memdup(p->arena, path, len);

                        if (!copy)
                                return plan_no_memory(err);
                        unescape(copy);
                        p->hide_paths[p->n_hide_paths++] = copy;
                }
                line = next ? next + 1 : line + strlen(line);
        }
        return 0;
}

/* Not even a machine that has it: belay keeps no books of resctrl groups. */
static int refuse_intel_rdt(const struct oci_spec *spec, struct error *err)
{
        if (!spec->linux_.has_intel_rdt)
                return 0;
        if (access("/sys/fs/resctrl/schemata", F_OK) < 0)
                return error_set(err, STATUS_UNIMPLEMENTED,
                                 "linux.intelRdt is not supported: this host has no resctrl file "
                                 "system at /sys/fs/resctrl");
        return error_set(err, STATUS_UNIMPLEMENTED, "linux.intelRdt is not supported");
}

int plan_new(struct plan **ret, const struct oci_spec *spec, const struct plan_options *options,
             struct arena *arena, struct error *err)
{
        struct plan *plan;
        struct plan_private *p;

        if (plan_check(spec, options, err) < 0 || refuse_intel_rdt(spec, err) < 0)
                return -1;
        plan = plan_alloc(options, arena);
        if (!plan)
                return plan_no_memory(err);
        plan->spec = spec;
        plan->process = &spec->process;
        p = plan->private_;
        p->capabilities = spec->process.capabilities;
        p->personality = &spec->linux_.personality;
        p->memory_policy = &spec->linux_.memory_policy;
        (void)plan_parse_propagation(spec->linux_.rootfs_propagation, &p->root_propagation,
                                     &p->root_propagation_recursive);
        if (add_environment(plan, err) < 0 || add_labels(plan, spec->linux_.mount_label, err) < 0 ||
            add_sysctl(plan, err) < 0 || add_keyring(plan, err) < 0 ||
            seccomp_compile(spec->linux_.seccomp, options->seccomp_cache, arena, &plan->seccomp,
                            err) < 0 ||
            plan_add_namespaces(plan, err) < 0 || plan_open_rootfs(plan, err) < 0 ||
            plan_add_mounts(plan, err) < 0 || plan_add_devices(plan, err) < 0 ||
            add_hide_paths(plan, err) < 0 || open_procfs(plan, err) < 0)
                return -1;
        *ret = plan;
        return 0;
}

int plan_new_exec(struct plan **ret, const struct oci_process *process,
                  const struct oci_capabilities *container_capabilities,
                  const struct plan_seccomp *seccomp, const struct plan_options *options,
                  struct arena *arena, struct error *err)
{
        struct plan *plan;

        if (plan_check_process(process, err) < 0)
                return -1;
        plan = plan_alloc(options, arena);
        if (!plan)
                return plan_no_memory(err);
        plan->process = process;
        plan->private_->personality = options->personality;
        plan->private_->memory_policy = options->memory_policy;
        if (seccomp)
                plan->seccomp = *seccomp;
        if (process->has_capabilities)
                plan->private_->capabilities = process->capabilities;
        else if (container_capabilities)
                plan->private_->capabilities = *container_capabilities;
        if (add_environment(plan, err) < 0 || add_labels(plan, NULL, err) < 0 ||
            add_keyring(plan, err) < 0 || open_procfs(plan, err) < 0)
                return -1;
        *ret = plan;
        return 0;
}
