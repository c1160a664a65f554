# SPDX-License-Identifier: Apache-2.0
"""Bundles for the benchmarks: what `ctr run` would write, with one static program as the rootfs."""
import contextlib
import json
import pathlib
import shutil

CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
]
MOUNTS = [
    ("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/run", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
]
MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
          "/proc/sched_debug", "/sys/firmware", "/proc/scsi"]
READONLY = ["/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def spec(container_id, args):
    caps = {name: CAPABILITIES for name in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/"], "cwd": "/", "capabilities": caps,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}], "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": d, "type": t, "source": s, "options": o} for d, t, s, o in MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "cgroupsPath": f"/belay-bench/{container_id}",
            "namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")],
            "maskedPaths": MASKED, "readonlyPaths": READONLY,
        },
    }


def remove_cgroup_parent():
    """runc leaves the parent of its cgroups behind, and a measurement that failed its own. What is in use is somebody
    else's (a soak)."""
    for pattern in ("*/belay-bench/*/", "*/belay-bench"):
        for cgroup in pathlib.Path("/sys/fs/cgroup").glob(pattern):
            with contextlib.suppress(OSError):
                cgroup.rmdir()


def make(work, payload, container_id, args):
    """Makes work/<id>.d/<id> (the stock shim wants the bundle to be named so) and returns its path."""
    bundle = pathlib.Path(work) / f"{container_id}.d" / container_id
    rootfs = bundle / "rootfs"
    for name in ("proc", "dev", "sys", "run"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(payload, rootfs / "payload")
    (bundle / "config.json").write_text(json.dumps(spec(container_id, ["/payload", *args])))
    return bundle
