# SPDX-License-Identifier: Apache-2.0
"""belay on a machine with cgroup v2 alone and all controllers: a virtual one, booted for it.

qemu runs Debian's cloud kernel without acceleration (-accel tcg), with an initramfs of busybox, belay and some
bundles. guest.sh is its init and says what it saw; each of its lines is a test here.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]
import bundle  # noqa: E402
import machine  # noqa: E402

APPLETS = "sh mount mkdir cp switch_root cat tr sed cut wc tail sleep mknod poweroff dd ls true rmdir".split()
CHECKS = re.findall(r"^check (\w+)", (HERE / "guest.sh").read_text(), re.M)
TIMEOUT_S = 900


def spec(name, args):
    document = bundle.spec(name, args)
    document["process"]["env"] = ["PATH=/bin"]
    document["root"]["path"] = "/bundles/rootfs"
    document["linux"]["cgroupsPath"] = f"/vm/{name}"
    document["linux"]["namespaces"].append({"type": "cgroup"})
    document["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})
    return document


def specs():
    status = spec("status", ["sh", "-c", "exit 7"])
    limits = spec("limits", ["sleep", "1000"])
    limits["linux"]["resources"] = {
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 64 << 20},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "burst": 10000, "cpus": "0"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        "pids": {"limit": 16}, "unified": {"memory.high": "1048576"},
    }
    oom = spec("oom", ["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=48"])
    oom["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    userns = spec("userns", ["cat", "/proc/self/uid_map"])
    userns["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        userns["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    mount = spec("mount", ["sh", "-c", "cd /sys/fs/cgroup && ls -d cgroup.procs"])
    mount["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                            "options": ["ro", "nosuid", "noexec", "nodev"]})
    idle = spec("idle", ["sh", "-c", "cat /sys/fs/cgroup/cpu.idle"])
    idle["linux"]["resources"]["cpu"] = {"idle": 1}
    idle["mounts"].append(mount["mounts"][-1])
    owner = json.loads(json.dumps(userns).replace("/vm/userns", "/vm/owner"))
    owner["process"]["args"] = ["sh", "-c", "mkdir /sys/fs/cgroup/a && echo $$ >/sys/fs/cgroup/a/cgroup.procs && "
                                "cat /proc/self/cgroup; : >/sys/fs/cgroup/memory.max"]
    owner["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    return {"idle": idle, "owner": owner, "status": status, "limits": limits, "oom": oom, "userns": userns, "mount": mount}


def make_root(root):
    for path in ("belay", "proc"):
        (root / path).mkdir(parents=True)
    for folder in (root / "bin", root / "bundles/rootfs/bin"):
        machine.add_busybox(folder, APPLETS)
    for name in ("proc", "dev", "sys", "run", "tmp"):
        (root / "bundles/rootfs" / name).mkdir()
    for name in ("containerd-shim-belay-v2", "belay"):
        shutil.copy(machine.BIN / name, root / "belay")
    for name, document in specs().items():
        (root / "bundles" / name).mkdir()
        (root / "bundles" / name / "config.json").write_text(json.dumps(document))
    shutil.copy(HERE / "guest.sh", root / "guest.sh")
    (root / "init").symlink_to("guest.sh")
    (root / "guest.sh").chmod(0o755)


@pytest.fixture(scope="session")
def console(tmp_path_factory):
    """What the machine wrote to its console, lines by name of the check."""
    if machine.missing():
        pytest.skip(machine.missing())
    work = tmp_path_factory.mktemp("vm")
    make_root(work / "root")
    machine.pack_initramfs(work / "root", work / "initramfs")
    qemu = machine.command(work / "initramfs", "quiet loglevel=2 rdinit=/init", 768, "-serial", "stdio")
    done = subprocess.run(qemu, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          timeout=TIMEOUT_S, check=False)
    return done.stdout.decode(errors="replace").replace("\r", "")


@pytest.mark.parametrize("name", CHECKS)
def test_on_cgroup_v2(console, name):
    lines = [line for line in console.splitlines() if re.search(rf"\bok {name}(:|$)", line)]
    assert lines, console[-3000:]
    assert lines[0].endswith(f"ok {name}") and not lines[0].startswith("not"), lines[0]


def test_the_machine_came_to_its_end(console):
    assert "done" in console.splitlines()
