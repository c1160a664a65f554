# SPDX-License-Identifier: Apache-2.0
"""The same bundle under belay and under `runc run`: what a process sees must be the same, line by line.

Where belay differs on purpose, KNOWN says so.
"""
import difflib
import os
import re
import shutil
import subprocess

import pytest

import host

PROBE = """
id; umask; pwd; env; cat /proc/self/limits /proc/self/cgroup; hostname; cat /proc/sys/kernel/domainname
grep -E '^(Umask|NoNewPrivs|Seccomp|Cap|Sig[BIC]|ShdPnd|Groups|Uid|Gid|Cpus_allowed_list)' /proc/self/status
cat /proc/self/mountinfo | sed 's/^/mount: /'
for n in pid ipc uts mnt net cgroup user; do readlink /proc/self/ns/$n; done
cd /dev; for f in . * mqueue shm pts/ptmx; do stat -c 'dev: %n %F %a %u:%g %t:%T %N' $f; done
for i in 0 1 2 3 4 5 6 7 8 9; do stat -L -c "fd $i: %F %u" /proc/$$/fd/$i 2>/dev/null; done; ls /sys/fs/cgroup
cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/ping_group_range /sys/class/net/lo/flags
for f in /proc/kcore /proc/keys /proc/timer_list /sys/firmware /proc/acpi; do stat -c 'mask: %n %F %t:%T' $f; done
touch /x && rm /x; echo readonly $?; cat /proc/self/personality; ls -d /made/by/runtime; stat -c '%n %a %u:%g' /mnt/*; true
"""

# What differs, and why.
KNOWN = [
    r"^mount: /(proc|sys)/\S+ root=/ ",  # masked directories: belay's tmpfs is smaller and has nosuid,nodev,noexec
    r"^mount: \S+ root=/null ",  # masked files: belay's are read-only
    r"^mount: /sys root=/ ",  # belay leaves the superblock writable: the mount alone is read-only
    r"^mount: /sys/fs/cgroup root=/ ",  # belay heeds "ro" for the tmpfs, too
    r"unified",  # belay shows the container's v2 directory beside v1
    r"^mount: /mnt/t ",  # runc gives it the mode of the directory beneath by chmod, belay by an option; see stat's line
    r"^mount: /sys/fs/cgroup/systemd ",  # its source is called otherwise
    r"^fd 0: ",  # `runc run` puts a pipe between
]


def default(c):
    pass


def docker_like(c):
    c.config["process"].update(noNewPrivileges=False,
                               user={"uid": 0, "gid": 0, "additionalGids": [0, 1, 2, 10, 27]})
    c.config["linux"]["maskedPaths"] += [f"/sys/devices/system/cpu/cpu{i}/thermal_throttle" for i in range(30)]
    c.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["keyctl", "bpf", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}
    c.config["linux"]["sysctl"] = {"net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_default_ttl": "65"}
    c.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")


def a_user_and_a_read_only_root(c):
    c.config["root"]["readonly"] = True
    process = c.config["process"]
    process.update(user={"uid": 1000, "gid": 1000, "umask": 0o77}, cwd="/tmp")
    process["capabilities"].update(ambient=["CAP_NET_BIND_SERVICE"], inheritable=["CAP_NET_BIND_SERVICE"])
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 512, "soft": 256},
                          {"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]


def volumes(c):
    source = c.lab.new_path("volume")
    source.mkdir()
    for name, *options in (("a", "rbind", "rslave", "ro"), ("b", "rbind", "rshared"),
                           ("c", "bind", "nosuid", "noexec", "nodev"), ("d", "rbind", "noatime")):
        c.bundle.mount(f"/mnt/{name}", "bind", source, *options)
    (c.bundle.rootfs / "mnt/t").mkdir(mode=0o750)  # its mode becomes the tmpfs's
    c.bundle.mount("/mnt/t", "tmpfs", "tmpfs", "nosuid", "size=1m", "uid=5", "gid=6")
    c.bundle.mount("/tmp", "tmpfs", "tmpfs", "noexec")
    c.config["process"]["cwd"] = "/made/by/runtime"


def no_capabilities(c):
    del c.config["process"]["capabilities"]
    c.config["process"]["noNewPrivileges"] = False


def devices(c):
    c.config["linux"]["devices"] = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o660, "uid": 1, "gid": 2},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]
    c.config["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}


def a_cgroup_namespace(c):
    c.config["linux"]["namespaces"].append({"type": "cgroup"})
    c.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev", "relatime")


def the_hosts_network_and_ipc(c):
    c.bundle.without_namespace("network")
    c.bundle.without_namespace("ipc")
    c.config["mounts"] = [m for m in c.config["mounts"] if m["type"] not in ("mqueue", "sysfs")]


def normal_mount(line):
    """Without the numbers and the paths that differ by nature."""
    fields = line.split()
    dash = fields.index("-")
    propagation = sorted(f.split(":")[0] for f in fields[6:dash])
    root = fields[3] if fields[3].count("/") == 1 else ""
    return f"mount: {fields[4]} root={root} {fields[5]} {propagation} {fields[dash + 1:]}".replace(",relatime", "")


def normal(out):
    lines = []
    for line in out.splitlines():
        if line.startswith("mount: "):
            line = normal_mount(line.partition(" ")[2])
        match = re.fullmatch(r"(\w+):\[\d+\]", line)
        if match:
            line = match[1] + (" is the host's" if os.readlink(f"/proc/self/ns/{match[1]}") == line else " is its own")
        if not any(re.search(known, line) for known in KNOWN):
            lines.append(line)
    return sorted(lines)


@pytest.mark.parametrize("edit", [default, docker_like, a_user_and_a_read_only_root, volumes, no_capabilities, devices,
                                  a_cgroup_namespace, the_hosts_network_and_ipc], ids=lambda f: f.__name__)
def test_a_process_sees_what_it_sees_under_runc(lab, edit):
    runc = shutil.which("runc")
    if not runc or lab.stock or lab.runtime == "crun":
        pytest.skip("needs runc and belay")
    c = lab.container("sh", "-c", PROBE).pipes()
    edit(c)
    c.run()
    c.wait()
    ours = c.stdout.read_all().decode(), c.stderr.read_all().decode()
    c.delete()
    done = subprocess.run([runc, "--root", str(lab.new_path("runc")), "run", "--bundle", str(c.bundle.path), c.id],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30 * host.SLOWNESS)
    assert done.returncode == 0, done.stderr
    lines = [normal(done.stdout) + sorted(done.stderr.splitlines()), normal(ours[0]) + sorted(ours[1].splitlines())]
    difference = list(difflib.unified_diff(*lines, "runc", "belay", n=0, lineterm=""))
    assert len(lines[1]) > 80 and not difference, "\n".join(difference)
