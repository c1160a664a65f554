/* SPDX-License-Identifier: Apache-2.0
 *
 * The floor under every engine: what the kernel takes for the container of bundle.py, and nothing
 * else. No config.json, no checks, no state, no hooks, no undoing; the mounts, devices, masks and
 * capabilities stand below as tables. It is no example of how to start a container: paths in the
 * rootfs are followed wherever they lead.
 *
 *   floor [-n] [-u] [-s NAMES] [-m DIR] ROOTFS ID
 *
 * -n: with a network namespace. -u: with a user namespace. -s: behind a filter that allows the
 * system calls of the file NAMES, compiled before the clock starts. -m: with 40 binds of DIR. The
 * program in the rootfs is `/payload stamp`; microseconds to its first instruction and to the
 * knowledge of its end are printed as JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/sys.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NSE      (MS_NOSUID | MS_NOEXEC | MS_NODEV)

enum { HIERARCHIES = 9, BINDS = 40, FIRST_ID = 100000, IDS = 65536 };

static const char *const hierarchies[HIERARCHIES] = {
        "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"};

static const struct {
        const char *type;
        const char *where; /* below the rootfs, which is the working directory */
        unsigned long flags;
        const char *data;
} mounts[] = {
        {"proc", "proc", NSE, NULL},
        {"tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"},
        {"devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
        {"tmpfs", "dev/shm", NSE, "mode=1777,size=65536k"},
        {"mqueue", "dev/mqueue", NSE, NULL},
        {"sysfs", "sys", NSE | MS_RDONLY, NULL},
        {"tmpfs", "run", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"},
};

static const struct {
        const char *path;
        unsigned minor_;
        unsigned major_;
} devices[] = {
        {"dev/null", 3, 1},   {"dev/zero", 5, 1},    {"dev/full", 7, 1},
        {"dev/random", 8, 1}, {"dev/urandom", 9, 1}, {"dev/tty", 0, 5},
};

static const char *const links[][2] = {
        {"/proc/self/fd", "dev/fd"},       {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
        {"/proc/kcore", "dev/core"},       {"pts/ptmx", "dev/ptmx"}};

static const char *const masked[] = {"/proc/acpi",          "/proc/kcore",      "/proc/keys",
                                     "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                                     "/proc/sched_debug",   "/sys/firmware",    "/proc/scsi"};
static const char *const readonly_[] = {"/proc/asound", "/proc/bus", "/proc/fs",
                                        "/proc/irq",    "/proc/sys", "/proc/sysrq-trigger"};

/* bit by bit: chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw
 * sys_chroot mknod audit_write setfcap */
static const uint64_t capabilities = 0xa80425fb;

static struct {
        bool net;
        bool user;
        const char *names;
        const char *binds;
        const char *rootfs;
        const char *id;
        struct sock_fprog filter;
        char cpus[256];
        char mems[256];
} arg;

__attribute__((format(printf, 1, 2))) static _Noreturn void fail(const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        (void)vdprintf(2, fmt, ap);
        va_end(ap);
        (void)dprintf(2, ": %s\n", strerror(errno));
        _exit(1);
}

static void write_text(int dir, const char *path, const char *text)
{
        int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                fail("write '%s' to %s", text, path);
        (void)close(fd);
}

/* ---- before the clock starts ---- */

static void compile(void)
{
        static const uint32_t more[] = {SCMP_ARCH_X86, SCMP_ARCH_X32};
        scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        FILE *f = fopen(arg.names, "re");
        int fd = memfd_create("filter", MFD_CLOEXEC);
        char name[64];
        off_t size;

        if (!ctx || !f || fd < 0)
                fail("%s", arg.names);
        for (size_t i = 0; i < COUNT(more) && seccomp_arch_native() == SCMP_ARCH_X86_64; i++)
                (void)seccomp_arch_add(ctx, more[i]);
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* the kernel likes that better */
        while (fscanf(f, "%63s", name) == 1) {
                int nr = seccomp_syscall_resolve_name(name);

                if (nr != __NR_SCMP_ERROR && seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0) < 0)
                        fail("allow %s", name);
        }
        if (seccomp_export_bpf(ctx, fd) < 0 || (size = lseek(fd, 0, SEEK_END)) <= 0)
                fail("export the filter");
        arg.filter.filter = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        if (arg.filter.filter == MAP_FAILED)
                fail("map the filter");
        arg.filter.len = (unsigned short)((size_t)size / sizeof(struct sock_filter));
        seccomp_release(ctx);
        (void)fclose(f);
}

/* A new cpuset is empty, and nobody can join it. */
static void read_cpuset(const char *name, char ret[256])
{
        char path[128];
        int fd;
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, ret, 255);
        if (n < 0)
                fail("read %s", path);
        (void)close(fd);
        (void)mkdir("/sys/fs/cgroup/cpuset/belay-bench", 0755);
        (void)snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/belay-bench/%s", name);
        write_text(AT_FDCWD, path, ret);
}

/* ---- the child ---- */

static void make_dev(void)
{
        for (size_t i = 0; i < COUNT(devices); i++) {
                char host[32];

                if (!arg.user) {
                        if (mknod(devices[i].path, S_IFCHR | 0666,
                                  makedev(devices[i].major_, devices[i].minor_)) < 0 ||
                            chmod(devices[i].path, 0666) < 0)
                                fail("%s", devices[i].path);
                        continue;
                }
                (void)snprintf(host, sizeof(host), "/%s", devices[i].path);
                if (mknod(devices[i].path, S_IFREG, 0) < 0 ||
                    mount(host, devices[i].path, NULL, MS_BIND, NULL) < 0)
                        fail("%s", devices[i].path);
        }
        for (size_t i = 0; i < COUNT(links); i++) {
                if (symlink(links[i][0], links[i][1]) < 0)
                        fail("%s", links[i][1]);
        }
}

static void mount_all(void)
{
        char path[64];

        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount(arg.rootfs, arg.rootfs, NULL, MS_BIND | MS_REC, NULL) < 0 ||
            chdir(arg.rootfs) < 0)
                fail("%s", arg.rootfs);
        for (size_t i = 0; i < COUNT(mounts); i++) {
                if (strchr(mounts[i].where, '/'))
                        (void)mkdir(mounts[i].where, 0755);
                if (mount(mounts[i].type, mounts[i].where, mounts[i].type, mounts[i].flags,
                          mounts[i].data) < 0)
                        fail("mount %s", mounts[i].where);
        }
        for (int i = 0; arg.binds && i < BINDS; i++) {
                (void)snprintf(path, sizeof(path), "m/%d", i);
                if (mount(arg.binds, path, NULL, MS_BIND | MS_REC, NULL) < 0 ||
                    mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_RDONLY,
                          NULL) < 0)
                        fail("bind %s", path);
        }
        make_dev();
}

static void mask_all(void)
{
        for (size_t i = 0; i < COUNT(masked); i++) {
                struct stat st;
                int r;

                if (stat(masked[i], &st) < 0)
                        continue;
                r = S_ISDIR(st.st_mode) ? mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL)
                                        : mount("/dev/null", masked[i], NULL, MS_BIND, NULL);
                if (r < 0)
                        fail("mask %s", masked[i]);
        }
        for (size_t i = 0; i < COUNT(readonly_); i++) {
                if (mount(readonly_[i], readonly_[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
                        if (errno == ENOENT)
                                continue;
                        fail("bind %s", readonly_[i]);
                }
                if (mount(NULL, readonly_[i], NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | NSE, NULL) <
                    0)
                        fail("remount %s", readonly_[i]);
        }
}

static void raise_loopback(void)
{
        struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
                fail("lo");
        (void)close(fd);
}

static void drop_privileges(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {
                {.effective = (uint32_t)capabilities, .permitted = (uint32_t)capabilities},
        };
        struct rlimit nofile = {1024, 1024};

        if (setrlimit(RLIMIT_NOFILE, &nofile) < 0)
                fail("setrlimit");
        for (unsigned i = 0; i <= CAP_LAST_CAP; i++) {
                if (!(capabilities & 1ull << i) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
                        fail("drop capability %u", i);
        }
        if (syscall(SYS_capset, &header, data) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                fail("capset");
}

static _Noreturn void run_child(const int *tasks, int maps, int out)
{
        static char *const argv[] = {(char *)"/payload", (char *)"stamp", NULL};
        static char *const env[] = {(char *)"PATH=/", NULL};
        char byte;

        for (size_t i = 0; i < HIERARCHIES; i++) {
                if (write(tasks[i], "0", 1) != 1)
                        fail("join %s", hierarchies[i]);
        }
        if (arg.user &&
            (read(maps, &byte, 1) != 1 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
                fail("wait for the maps");
        if (setsid() < 0 || syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
                fail("session");
        if (arg.net)
                raise_loopback();
        mount_all();
        if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                fail("pivot");
        mask_all();
        if (dup2(open("/dev/null", O_RDWR), 0) < 0 || dup2(out, 1) < 0)
                fail("stdio");
        drop_privileges();
        if (arg.names && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                 SECCOMP_FILTER_FLAG_SPEC_ALLOW, &arg.filter) < 0)
                fail("seccomp");
        (void)execve(argv[0], argv, env);
        fail("execve");
}

/* ---- the parent ---- */

/* -1 where there is no such hierarchy. */
static int make_cgroup(const char *hierarchy)
{
        char path[256];
        int n = snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/belay-bench", hierarchy);

        (void)mkdir(path, 0755);
        (void)snprintf(path + n, sizeof(path) - (size_t)n, "/%s", arg.id);
        if (mkdir(path, 0755) < 0)
                fail("mkdir %s", path);
        return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void remove_cgroup(const char *hierarchy)
{
        char path[256];

        (void)snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/belay-bench/%s", hierarchy, arg.id);
        if (rmdir(path) < 0)
                fail("rmdir %s", path);
}

static int make_cgroups(int *tasks)
{
        for (size_t i = 0; i < HIERARCHIES; i++) {
                int dir = make_cgroup(hierarchies[i]);

                if (strcmp(hierarchies[i], "devices") == 0) {
                        write_text(dir, "devices.deny", "a");
                        write_text(dir, "devices.allow", "c *:* m");
                        write_text(dir, "devices.allow", "b *:* m");
                        write_text(dir, "devices.allow", "c 1:3 rwm");
                        write_text(dir, "devices.allow", "c 1:5 rwm");
                        write_text(dir, "devices.allow", "c 1:7 rwm");
                        write_text(dir, "devices.allow", "c 1:8 rwm");
                        write_text(dir, "devices.allow", "c 1:9 rwm");
                        write_text(dir, "devices.allow", "c 5:0 rwm");
                        write_text(dir, "devices.allow", "c 5:2 rwm");
                        write_text(dir, "devices.allow", "c 136:* rwm");
                }
                if (strcmp(hierarchies[i], "cpuset") == 0) {
                        write_text(dir, "cpuset.cpus", arg.cpus);
                        write_text(dir, "cpuset.mems", arg.mems);
                }
                tasks[i] = openat(dir, "tasks", O_WRONLY | O_CLOEXEC);
                if (tasks[i] < 0)
                        fail("open the tasks of %s", hierarchies[i]);
                (void)close(dir);
        }
        return make_cgroup("unified");
}

static void write_maps(pid_t pid, int go)
{
        char path[64];
        char text[64];

        (void)snprintf(text, sizeof(text), "0 %d %d", FIRST_ID, IDS);
        (void)snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
        write_text(AT_FDCWD, path, text);
        (void)snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
        write_text(AT_FDCWD, path, text);
        if (write(go, "", 1) != 1)
                fail("go");
}

static pid_t start(int out)
{
        struct clone_args clone = {
                .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
                         CLONE_INTO_CGROUP | (arg.net ? CLONE_NEWNET : 0) |
                         (arg.user ? CLONE_NEWUSER : 0),
                .exit_signal = SIGCHLD,
        };
        int tasks[HIERARCHIES];
        int maps[2];
        pid_t pid;

        clone.cgroup = (uint64_t)make_cgroups(tasks);
        if (pipe2(maps, O_CLOEXEC) < 0)
                fail("pipe");
        pid = sys_clone3(&clone);
        if (pid < 0)
                fail("clone3");
        if (pid == 0)
                run_child(tasks, maps[0], out);
        if (arg.user)
                write_maps(pid, maps[1]);
        return pid;
}

int main(int argc, char **argv)
{
        uint64_t began;
        uint64_t stamp;
        uint64_t ended;
        int out[2];
        int status;
        int c;

        while ((c = getopt(argc, argv, "nus:m:")) != -1) {
                arg.net = arg.net || c == 'n';
                arg.user = arg.user || c == 'u';
                arg.names = c == 's' ? optarg : arg.names;
                arg.binds = c == 'm' ? optarg : arg.binds;
        }
        if (argc - optind != 2)
                return 2;
        arg.rootfs = argv[optind];
        arg.id = argv[optind + 1];
        if (arg.names)
                compile();
        read_cpuset("cpuset.cpus", arg.cpus);
        read_cpuset("cpuset.mems", arg.mems);
        if (pipe2(out, O_CLOEXEC) < 0)
                fail("pipe");
        began = clock_monotonic_ns();
        if (waitpid(start(out[1]), &status, 0) < 0 || status != 0)
                fail("the container ended with 0x%x", (unsigned)status);
        ended = clock_monotonic_ns();
        for (size_t i = 0; i < HIERARCHIES; i++)
                remove_cgroup(hierarchies[i]);
        remove_cgroup("unified");
        if (read(out[0], &stamp, sizeof(stamp)) != (ssize_t)sizeof(stamp))
                fail("no time stamp");
        printf("{\"program\":%.1f,\"end\":%.1f}\n", (double)(stamp - began) / 1000.0,
               (double)(ended - began) / 1000.0);
        return 0;
}
