# SPDX-License-Identifier: Apache-2.0
"""A busybox root file system, and an OCI bundle with the defaults that containerd's clients write."""
import json
import os
import pathlib
import shutil

BUSYBOX = pathlib.Path("/bin/busybox")
APPLETS = """sh ash cat echo ls id true false sleep kill ps env pwd mount umount hostname dd sha256sum stat
 touch mkdir rm ln readlink seq head tail wc grep sed cut tr sort test stty tty ulimit dmesg mknod chmod
 chown setsid timeout nc od printf yes find nproc dnsdomainname sysctl df""".split()

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What Docker and containerd give by default.
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
                "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
                "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]

MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc",
     "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
     "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs",
     "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/run", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
]

MASKED = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
          "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def make_rootfs(path):
    path = pathlib.Path(path)
    for name in ("bin", "etc", "dev", "proc", "sys", "tmp", "run", "root", "mnt"):
        (path / name).mkdir(parents=True, exist_ok=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return path


def process(args, **changes):
    """An OCI process object."""
    caps = {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    return {
        "user": {"uid": 0, "gid": 0},
        "args": list(args),
        "env": [PATH],
        "cwd": "/",
        "capabilities": caps,
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
        **changes,
    }


def spec(args, cgroups_path):
    return {
        "ociVersion": "1.0.2",
        "process": process(args),
        "root": {"path": "rootfs"},
        "hostname": "e2e",
        "mounts": json.loads(json.dumps(MOUNTS)),
        "linux": {
            "cgroupsPath": cgroups_path,
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


class Bundle:
    """A directory with config.json and rootfs/. Change .config, then write()."""

    def __init__(self, path, template, args, cgroups_path, token):
        self.path = pathlib.Path(path)
        self.token = token
        self.path.mkdir(mode=0o711, parents=True)
        self.rootfs = self.path / "rootfs"
        self.rootfs.mkdir(mode=0o711)
        self._copy(template)
        self.config = spec(args, cgroups_path)

    def _copy(self, template):
        """A copy of its own for every container, so that none sees what another did."""
        shutil.copytree(template, self.rootfs, symlinks=True, dirs_exist_ok=True, copy_function=_link)

    def namespace(self, kind):
        return next(n for n in self.config["linux"]["namespaces"] if n["type"] == kind)

    def without_namespace(self, kind):
        self.config["linux"]["namespaces"].remove(self.namespace(kind))

    def mount(self, destination, kind, source, *options):
        self.config["mounts"].append(
            {"destination": destination, "type": kind, "source": str(source), "options": list(options)})

    def write(self):
        config = json.loads(json.dumps(self.config))
        if "process" in config:
            config["process"].setdefault("env", []).append(self.token)
        (self.path / "config.json").write_text(json.dumps(config))


def _link(source, target, follow_symlinks=True):
    """busybox is linked, since nobody writes it; the rest is small."""
    if os.path.basename(source) == "busybox":
        os.link(source, target)
    else:
        shutil.copy2(source, target, follow_symlinks=follow_symlinks)
