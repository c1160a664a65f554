/* SPDX-License-Identifier: Apache-2.0
 *
 * What containerd gives a container that asks for nothing: its capabilities, mounts, masked and
 * read-only paths, and namespaces of its own for all but users.
 */
#include "cmd/belay/spec_default.h"

#define CAPABILITIES                                                            \
        "[\"CAP_CHOWN\", \"CAP_DAC_OVERRIDE\", \"CAP_FSETID\", \"CAP_FOWNER\"," \
        " \"CAP_MKNOD\", \"CAP_NET_RAW\", \"CAP_SETGID\", \"CAP_SETUID\","      \
        " \"CAP_SETFCAP\", \"CAP_SETPCAP\", \"CAP_NET_BIND_SERVICE\","          \
        " \"CAP_SYS_CHROOT\", \"CAP_KILL\", \"CAP_AUDIT_WRITE\"]"

#define MOUNT(destination, type, source, options)                                              \
        "{\"destination\": \"" destination "\", \"type\": \"" type "\", \"source\": \"" source \
        "\", \"options\": [" options "]}"

#define MOUNTS                                                                                                                                                                                                                        \
        MOUNT("/proc", "proc", "proc", "\"nosuid\", \"noexec\", \"nodev\"")                                                                                                                                                           \
        "," MOUNT("/dev", "tmpfs", "tmpfs", "\"nosuid\", \"strictatime\", \"mode=755\", \"size=65536k\"") "," MOUNT(                                                                                                                  \
                "/dev/pts", "devpts", "devpts",                                                                                                                                                                                       \
                "\"nosuid\", \"noexec\", \"newinstance\", \"ptmxmode=0666\", \"mode=0620\","                                                                                                                                          \
                " \"gid=5\"") "," MOUNT("/dev/shm", "tmpfs", "shm",                                                                                                                                                                   \
                                        "\"nosuid\", \"noexec\", \"nodev\", \"mode=1777\", \"size=65536k\"") "," MOUNT("/dev/mqueue",                                                                                                 \
                                                                                                                       "mqueue",                                                                                                      \
                                                                                                                       "mqueue",                                                                                                      \
                                                                                                                       "\"nosuid\", \"noexec\", \"nodev\"") "," MOUNT("/sys",                                                         \
                                                                                                                                                                      "sysfs",                                                        \
                                                                                                                                                                      "sysfs",                                                        \
                                                                                                                                                                      "\"nosuid\", \"noexec\", \"nodev\", \"ro\"") "," MOUNT("/run",  \
                                                                                                                                                                                                                             "tmpfs", \
                                                                                                                                                                                                                             "tmpfs", \
                                                                                                                                                                                                                             "\"nosuid\", \"strictatime\", \"mode=755\", \"size=65536k\"")

#define MASKED_PATHS                                                             \
        "[\"/proc/acpi\", \"/proc/asound\", \"/proc/kcore\", \"/proc/keys\","    \
        " \"/proc/latency_stats\", \"/proc/timer_list\", \"/proc/timer_stats\"," \
        " \"/proc/sched_debug\", \"/proc/scsi\", \"/sys/firmware\","             \
        " \"/sys/devices/virtual/powercap\"]"

#define READONLY_PATHS \
        "[\"/proc/bus\", \"/proc/fs\", \"/proc/irq\", \"/proc/sys\", \"/proc/sysrq-trigger\"]"

const char spec_default_text[] =
        "{\"ociVersion\": \"1.0.2\","
        " \"process\": {"
        "  \"user\": {\"uid\": 0, \"gid\": 0},"
        "  \"args\": [\"sh\"],"
        "  \"env\": [\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"],"
        "  \"cwd\": \"/\","
        "  \"capabilities\": {"
        "   \"bounding\": " CAPABILITIES ","
        "   \"effective\": " CAPABILITIES ","
        "   \"permitted\": " CAPABILITIES "},"
        "  \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"soft\": 1024, \"hard\": 1024}],"
        "  \"noNewPrivileges\": true},"
        " \"root\": {},"
        " \"mounts\": [" MOUNTS "],"
        " \"linux\": {"
        "  \"resources\": {\"devices\": [{\"allow\": false, \"access\": \"rwm\"}]},"
        "  \"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"ipc\"}, {\"type\": \"uts\"},"
        "                 {\"type\": \"mount\"}, {\"type\": \"network\"}, {\"type\": \"cgroup\"}],"
        "  \"maskedPaths\": " MASKED_PATHS ","
        "  \"readonlyPaths\": " READONLY_PATHS "}}";
