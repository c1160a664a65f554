# SPDX-License-Identifier: Apache-2.0
"""Labels of SELinux, in the virtual machine: it boots with security=selinux and loads the policy test/vm/selinux.cil,
which lets everybody do everything, but no container read what is labelled secret_t."""
import os
import pathlib
import shutil
import subprocess

import pytest

import host
import ttrpc
from checks import fails

SELINUX = pathlib.Path("/sys/fs/selinux")
POLICY = pathlib.Path(__file__).resolve().parents[1] / "vm/selinux.cil"
HOST = "system_u:system_r:host_t:s0-s0:c0.c3"
LABEL = "system_u:system_r:belay_t:s0:c1,c2"
OTHER = "system_u:system_r:belay_t:s0:c3"
MOUNT = "system_u:object_r:belay_file_t:s0:c1,c2"
XATTR = "security.selinux"


def label(pid="self", name="current"):
    return host.read(f"/proc/{pid}/attr/{name}").decode().strip("\0\n")


# "kernel" is what all are before the first policy; another policy than ours is left alone.
pytestmark = pytest.mark.skipif(
    not ((SELINUX / "enforce").exists() and shutil.which("secilc") and label() in ("kernel", HOST)),
    reason="no SELinux without a policy, or no secilc: ./dev test-vm")


@pytest.fixture(scope="module", autouse=True)
def policy(tmp_path_factory):
    if label() == HOST:
        return
    binary = tmp_path_factory.mktemp("policy") / "policy"
    subprocess.run(["secilc", "-c", "33", "-o", binary, "-f", "/dev/null", POLICY], check=True,
                   timeout=20 * host.SLOWNESS)
    (SELINUX / "load").write_bytes(binary.read_bytes())
    (SELINUX / "enforce").write_text("1")
    assert label() == HOST


def container(lab, *args, process=LABEL, mount=None):
    c = lab.container(*args)
    if process:
        c.config["process"]["selinuxLabel"] = process
    if mount:
        c.config["linux"]["mountLabel"] = mount
    for name in ("open", "secret"):
        pathlib.Path(c.bundle.rootfs, name).write_text(f"{name}\n")
    os.setxattr(pathlib.Path(c.bundle.rootfs, "secret"), XATTR, b"system_u:object_r:secret_t:s0\0")
    return c


LOOK = ("sh", "-c", "cat /open; cat /secret; tr -d '\\0' </proc/self/attr/current")


def confined(result, by=LABEL):
    return result.out.strip() == f"open\n{by}" and "can't open '/secret': Permission denied" in result.err


def test_a_container_is_confined_by_its_label(lab):
    c = container(lab, *LOOK).pipes("stdout", "stderr").run()
    result = c.finish_output(c.wait().status)
    assert confined(result), result


def test_without_a_label_it_is_not(lab):
    c = container(lab, *LOOK, process=None).pipes("stdout", "stderr").run()
    result = c.finish_output(c.wait().status)
    assert result.out.strip() == f"open\nsecret\n{HOST}", result


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_host_sees_the_label(lab, no_new_privileges):
    c = container(lab, "sleep", "100")
    c.config["process"]["noNewPrivileges"] = no_new_privileges
    c.run()
    assert label(c.pid()) == LABEL
    assert label(c.pid(), "exec") == "" and label(c.pid(), "keycreate") == ""


def test_in_a_user_namespace_too(lab):
    c = container(lab, "sleep", "100", mount=MOUNT)
    c.config["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        c.config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    c.run()
    assert label(c.pid()) == LABEL
    result = c.exec(*LOOK, selinuxLabel=LABEL).run()
    assert confined(result), result


def test_an_exec_has_a_label_of_its_own(lab):
    c = container(lab, "sleep", "100").run()
    result = c.exec(*LOOK, selinuxLabel=OTHER).run()
    assert confined(result, OTHER), result


def test_an_exec_that_brings_none_has_that_of_the_container(lab):
    c = container(lab, "sleep", "100").run()
    result = c.exec(*LOOK).run()
    assert confined(result), result


def test_the_session_keyring_is_usable_by_the_container(lab):
    c = container(lab, "cat", "/proc/keys").pipes("stdout", "stderr")
    c.config["linux"]["maskedPaths"].remove("/proc/keys")
    c.run()
    result = c.finish_output(c.wait().status)
    assert "keyring   _ses" in result.out, result


def test_new_mounts_have_the_mount_label(lab):
    c = container(lab, "sleep", "100", mount=MOUNT).run()
    lines = host.read(f"/proc/{c.pid()}/mountinfo").decode().splitlines()
    labelled = {line.split()[4] for line in lines if f'context="{MOUNT}"' in line}
    assert {"/dev", "/dev/pts", "/dev/shm", "/run"} <= labelled
    assert not {"/", "/proc", "/sys", "/dev/mqueue"} & labelled
    root = f"/proc/{c.pid()}/root"
    for path in ("dev", "dev/null", "dev/shm", "run", "dev/mqueue"):
        assert os.getxattr(f"{root}/{path}", XATTR) == MOUNT.encode() + b"\0", path
    assert c.exec("sh", "-c", ": >/run/new; : >/dev/null").run().status == 0
    assert os.getxattr(f"{root}/run/new", XATTR) == MOUNT.encode() + b"\0"


def test_a_terminal_s_file_has_the_mount_label(lab):
    c = container(lab, "sleep", "100", mount=MOUNT)
    c.terminal = c.config["process"]["terminal"] = True
    c.pipes("stdin", "stdout").run()
    assert os.getxattr(f"/proc/{c.pid()}/root/dev/pts/0", XATTR) == MOUNT.encode() + b"\0"


def named(lab, *words):
    """What the refusal says. The stock shim passes on what runc says."""
    return [] if lab.stock or lab.runc_binary else words


@pytest.mark.parametrize("bad", ["nonsense", "system_u:system_r:no_such_t:s0", "system_u:system_r:belay_t:s0:c9"])
def test_a_label_that_the_policy_does_not_know_is_refused(lab, bad):
    c = container(lab, "sleep", "100", process=bad)
    with fails(ttrpc.INVALID_ARGUMENT, *named(lab, "process.selinuxLabel", f"'{bad}'"), also=(ttrpc.UNKNOWN,) if lab.stock else ()):
        c.create()
    c.deleted = True
    assert not lab.cgroups()


def test_a_mount_label_that_the_policy_does_not_know_is_refused(lab):
    c = container(lab, "sleep", "100", mount="system_u:object_r:no_such_t:s0")
    with fails(ttrpc.INVALID_ARGUMENT, *named(lab, "linux.mountLabel", "'system_u:object_r:no_such_t:s0'"),
               also=(ttrpc.UNKNOWN,) if lab.stock else ()):
        c.create()
    c.deleted = True


def test_an_exec_with_a_bad_label_is_refused_and_the_container_lives(lab):
    c = container(lab, "sleep", "100").run()
    e = c.exec("true", selinuxLabel="nonsense").add()
    with fails(ttrpc.INVALID_ARGUMENT, *named(lab, "process.selinuxLabel", "'nonsense'"),
               also=(ttrpc.UNKNOWN,) if lab.stock else ()):
        e.start()
    assert c.exec("true").run().status == 0
