# SPDX-License-Identifier: Apache-2.0
"""belay exec: into a cgroup below the container's, and into a container that is paused."""
import contextlib
import os
import pty
import subprocess

import pytest

import host


@pytest.fixture
def running(oci):
    c = oci.container("sleep", "1000")
    c.config["linux"]["namespaces"] = [n for n in c.config["linux"]["namespaces"] if n["type"] != "cgroup"]
    oci.create(c)
    oci("start", c.id)
    return c


@pytest.fixture
def make_below(oci, running):
    """Makes a cgroup below the container's; of one controller on v1, of all without a name."""
    made = []

    def make(name, controller=None):
        pid = oci.state(running.id)["pid"]
        for line in host.read(f"/proc/{pid}/cgroup").decode().splitlines():
            _, controllers, path = line.split(":", 2)
            if host.V2 or (controllers and controller in (None, *controllers.split(","))):
                top = host.CGROUP_ROOT / ("" if host.V2 else controllers.split(",")[0].replace("name=", ""))
                made.append(top / path.lstrip("/") / name)
                made[-1].mkdir()
                if made[-1].parts[4] == "cpuset" and not host.V2:
                    for file in ("cpuset.cpus", "cpuset.mems"):
                        (made[-1] / file).write_text((made[-1].parent / file).read_text())
    yield make
    for path in made:
        host.remove_cgroup(path)


def cgroups(text):
    """{controllers: path}"""
    return {controllers: path for _, controllers, path in (line.split(":", 2) for line in text.splitlines())}


def of_exec(oci, c, *flags):
    return cgroups(oci("exec", *flags, c.id, "cat", "/proc/self/cgroup").stdout.decode())


def test_an_exec_goes_into_a_cgroup_below_the_containers(oci, running, make_below):
    make_below("below")
    own = of_exec(oci, running)
    for name in ("below", "/below", "//below/."):
        got = of_exec(oci, running, "--cgroup", name)
        assert got == {key: path + ("/below" if key or host.V2 else "") for key, path in own.items()}
    assert of_exec(oci, running, "--cgroup", "/") == own


def test_a_cgroup_that_is_not_there_is_named(oci, running):
    assert b"nowhere" in oci("exec", "--cgroup", "nowhere", running.id, "true", status=125).stderr
    oci("exec", running.id, "true")


@pytest.mark.parametrize("name", ["..", "/..", "a/../..", "../../..", "/../../"])
def test_no_name_leads_out_of_the_containers_cgroup(oci, running, name):
    assert b"'..'" in oci("exec", "--cgroup", name, running.id, "true", status=125).stderr


@pytest.mark.skipif(host.V2, reason="controllers of v1")
def test_on_v1_a_cgroup_is_named_for_each_controller(oci, running, make_below):
    make_below("mem", "memory")
    make_below("num", "pids")
    got = of_exec(oci, running, "--cgroup", "memory:mem", "--cgroup=pids:/num")
    assert {key: path.rpartition("/")[2] for key, path in got.items() if path.endswith(("/mem", "/num"))} == {
        "memory": "mem", "pids": "num"}
    for words, text in [(["nothing:a"], b"'nothing'"), (["memory:mem", "num"], b"each needs its controllers"),
                        (["memory:.."], b"'..'"), (["memory:nowhere"], b"memory/"), ([":a"], b"empty")]:
        flags = [f"--cgroup={word}" for word in words]
        assert text in oci("exec", *flags, running.id, "true", status=125).stderr


@pytest.mark.skipif(not host.V2, reason="on v1 controllers have cgroups of their own")
def test_on_v2_no_controller_is_named(oci, running):
    assert b"'memory'" in oci("exec", "--cgroup", "memory:a", running.id, "true", status=125).stderr


def test_an_empty_name_is_a_wrong_command_line(oci, running):
    assert b"--cgroup" in oci("exec", "--cgroup=", running.id, "true", status=2).stderr


@contextlib.contextmanager
def on_terminal(oci, *args):
    """belay exec -t, and the master of the terminal that it runs in."""
    master, slave = pty.openpty()
    with subprocess.Popen([oci.program, "--root", oci.root, "exec", "-t", *args], stdin=slave, stdout=slave, stderr=slave,
                          env=oci.env) as process:
        os.close(slave)
        yield process, master
        os.close(master)


def run_on_terminal(oci, *args):
    with on_terminal(oci, *args) as (process, master):
        seen = b""
        with contextlib.suppress(OSError):  # EIO when nobody has the other end any more
            while data := os.read(master, 4096):
                seen += data
        return process.wait(host.PATIENCE * host.SLOWNESS), seen


def test_execs_with_a_terminal_one_after_the_other(oci, running):
    for _ in range(3):
        assert run_on_terminal(oci, running.id, "echo", "hello") == (0, b"hello\r\n")


def test_an_exec_with_a_terminal_goes_into_a_cgroup_and_into_a_paused_container_too(oci, running, make_below):
    make_below("below", "memory")
    status, seen = run_on_terminal(oci, "--cgroup", "below" if host.V2 else "memory:below", running.id, "cat", "/proc/self/cgroup")
    assert status == 0 and b"/below\r\n" in seen
    status, seen = run_on_terminal(oci, "--cgroup", "nowhere", running.id, "true")
    assert status == 125 and b"nowhere" in seen
    oci("pause", running.id)
    status, seen = run_on_terminal(oci, running.id, "true")
    assert status == 125 and b"paused" in seen
    with on_terminal(oci, "--ignore-paused", running.id, "sh", "-c", "exit 6") as (process, _):
        procs = host.freezer_file(oci.state(running.id)["pid"]).with_name("cgroup.procs")
        host.wait_for(lambda: len(procs.read_text().split()) > 1, "it is in the frozen cgroup")
        oci("resume", running.id)
        assert process.wait(host.PATIENCE * host.SLOWNESS) == 6


def test_an_exec_that_ignores_a_pause_waits_for_its_end(oci, running):
    oci("pause", running.id)
    assert b"paused" in oci("exec", running.id, "true", status=125).stderr
    out = running.bundle.rootfs / "done"
    command = [oci.program, "--root", oci.root, "exec", "--ignore-paused", running.id, "sh", "-c", "echo x > /done; exit 5"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=oci.env) as waiting:
        pid = oci.state(running.id)["pid"]
        procs = host.freezer_file(pid).with_name("cgroup.procs")
        host.wait_for(lambda: len(procs.read_text().split()) > 1, "it is in the frozen cgroup")
        assert oci.state(running.id)["status"] == "paused"
        assert waiting.poll() is None and not out.exists()
        oci("resume", running.id)
        assert waiting.wait(host.PATIENCE * host.SLOWNESS) == 5
    assert out.read_text() == "x\n"


def test_a_kill_ends_an_exec_that_waits_in_a_paused_container(oci, running):
    oci("pause", running.id)
    command = [oci.program, "--root", oci.root, "exec", "--ignore-paused", running.id, "sleep", "1000"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=oci.env) as waiting:
        procs = host.freezer_file(oci.state(running.id)["pid"]).with_name("cgroup.procs")
        host.wait_for(lambda: len(procs.read_text().split()) > 1, "it is in the frozen cgroup")
        oci("kill", running.id, "KILL")
        assert waiting.wait(host.PATIENCE * host.SLOWNESS) in (125, 137)
        waiting.stderr.read()
    oci.wait_stopped(running.id)
    oci("delete", running.id)
    assert not os.path.exists(procs)
