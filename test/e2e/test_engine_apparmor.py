# SPDX-License-Identifier: Apache-2.0
"""Confinement by AppArmor, where the kernel has it on: in the virtual machine, and on most Debian hosts."""
import pathlib
import shutil
import subprocess

import pytest

import host
import ttrpc
from checks import fails

ON = host.read("/sys/module/apparmor/parameters/enabled").startswith(b"Y")
pytestmark = pytest.mark.skipif(not (ON and shutil.which("apparmor_parser")),
                                reason="AppArmor is off, or apparmor_parser is missing: ./dev test-vm")
PROFILE = "belay-e2e"
TEXT = f"""
profile {PROFILE} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  signal,
  deny /secret r,
}}
"""
LOOK = ("sh", "-c", "cat /open; cat /secret; cat /proc/self/attr/apparmor/current")


@pytest.fixture(scope="module", autouse=True)
def profile():
    def parser(action):
        subprocess.run(["apparmor_parser", action, "-K"], input=TEXT, text=True, check=True, timeout=20 * host.SLOWNESS)
    parser("-r")
    yield
    parser("-R")


def container(lab, *args, profile=None):
    c = lab.container(*args)
    if profile:
        c.config["process"]["apparmorProfile"] = profile
    for name in ("open", "secret"):
        pathlib.Path(c.bundle.rootfs, name).write_text(f"{name}\n")
    return c


def label(pid):
    return host.read(f"/proc/{pid}/attr/apparmor/current").decode().strip()


def confined(result):
    return result.out == f"open\n{PROFILE} (enforce)\n" and "can't open '/secret': Permission denied" in result.err


def test_a_container_is_confined_by_its_profile(lab):
    c = container(lab, *LOOK, profile=PROFILE).pipes("stdout", "stderr").run()
    result = c.finish_output(c.wait().status)
    assert confined(result), result


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_host_sees_the_profile(lab, no_new_privileges):
    c = container(lab, "sleep", "100", profile=PROFILE)
    c.config["process"]["noNewPrivileges"] = no_new_privileges
    c.run()
    assert label(c.pid()) == f"{PROFILE} (enforce)"


def test_an_exec_is_confined_by_its_own_profile(lab):
    c = container(lab, "sleep", "100").run()
    assert label(c.pid()) == "unconfined"
    result = c.exec(*LOOK, apparmorProfile=PROFILE).run()
    assert confined(result), result
    result = c.exec(*LOOK).run()
    assert result.out == "open\nsecret\nunconfined\n", result


def test_an_exec_that_brings_no_profile_has_that_of_the_container(lab):
    c = container(lab, "sleep", "100", profile=PROFILE).run()
    result = c.exec(*LOOK).run()
    assert confined(result), result
    result = c.exec(*LOOK, apparmorProfile="unconfined").run()
    assert result.out == "open\nsecret\nunconfined\n", result


def test_an_exec_in_a_user_namespace_is_confined(lab):
    def mapped(c):
        c.config["linux"]["namespaces"].append({"type": "user"})
        for key in ("uidMappings", "gidMappings"):
            c.config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    c = container(lab, "sleep", "100", profile=PROFILE)
    mapped(c)
    c.run()
    assert label(c.pid()) == f"{PROFILE} (enforce)"
    result = c.exec("cat", "/proc/self/attr/apparmor/current", apparmorProfile=PROFILE).run()
    assert result.out == f"{PROFILE} (enforce)\n", result


def test_unconfined_is_a_profile_too(lab):
    c = container(lab, "sleep", "100", profile="unconfined").run()
    assert label(c.pid()) == "unconfined"


def missing(lab):
    """What the refusal says. The stock shim passes on what runc says of the write that failed."""
    return ["apparmor"] if lab.stock or lab.runc_binary else ["process.apparmorProfile", "'belay-e2e-none' is not loaded"]


def test_a_container_whose_profile_is_not_loaded_is_refused(lab):
    c = container(lab, "sleep", "100", profile="belay-e2e-none")
    with fails(ttrpc.INVALID_ARGUMENT, *missing(lab), also=(ttrpc.UNKNOWN,) if lab.stock else ()):
        c.create()
    c.deleted = True
    assert not lab.cgroups()


def test_an_exec_whose_profile_is_not_loaded_is_refused_and_the_container_lives(lab):
    c = container(lab, "sleep", "100", profile=PROFILE).run()
    e = c.exec("true", apparmorProfile="belay-e2e-none").add()
    with fails(ttrpc.INVALID_ARGUMENT, *missing(lab), also=(ttrpc.UNKNOWN,) if lab.stock else ()):
        e.start()
    assert c.exec("true").run().status == 0
