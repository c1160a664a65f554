# SPDX-License-Identifier: Apache-2.0
"""`belay upgrade` and `belay inspect`: shims go on as another binary, and show what they keep for it."""
import json
import os
import shutil
import signal
import socket

import pytest

import host
from test_belay import belay  # noqa: F401 (a fixture)


@pytest.fixture
def other(belay):
    """Another binary of the same version."""
    path = belay.lab.new_path("containerd-shim-other-v2")
    shutil.copy(belay.lab.shim, path)
    return path


def image(belay, name):
    return os.stat(f"/proc/{belay.shim_pid(name)}/exe").st_ino


def inspect(belay, name):
    return json.loads(belay("inspect", belay.id(name)).stdout)


def test_named_containers_are_upgraded(belay, other):
    for name in "ab":
        belay.run(name, "sleep", "1000", flags=["-d"])
    before = {name: image(belay, name) for name in "ab"}
    done = belay("upgrade", "--binary", other, belay.id("a"))
    assert done.stdout.decode().startswith(belay.id("a") + ": ") and " -> " in done.stdout.decode()
    assert image(belay, "a") == os.stat(other).st_ino != before["a"]
    assert image(belay, "b") == before["b"]
    assert belay.state("a")["status"] == "running"
    assert belay("exec", belay.id("a"), "echo", "there").stdout == b"there\n"


def test_all_are_upgraded_and_told_of_as_json(belay, other):
    for name in "ab":
        belay.run(name, "sleep", "1000", flags=["-d"])
    shim = belay.shim_pid("b")
    os.kill(shim, signal.SIGKILL)
    host.wait_gone(shim)
    rows = json.loads(belay("upgrade", "--all", "--json", "--binary", other).stdout)
    assert [(row["id"], row["result"]) for row in rows] == [(belay.id("a"), "upgraded"), (belay.id("b"), "skipped")]
    assert rows[0]["previous"] == rows[0]["version"] != ""
    assert "no shim" in rows[1]["reason"]


def test_one_that_cannot_be_upgraded_is_a_failure(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    done = belay("upgrade", "--binary", "/bin/true", belay.id("a"), status=1)
    assert b"not upgraded: " in done.stdout and b"it is no shim" in done.stdout
    rows = json.loads(belay("upgrade", "--json", belay.id("nobody"), status=1).stdout)
    assert rows[0]["result"] == "failed" and "does not exist" in rows[0]["reason"]
    assert b"/nowhere" in belay("upgrade", "--all", "--binary", "/nowhere", status=1).stderr
    assert b"which containers?" in belay("upgrade", status=2).stderr
    assert belay.state("a")["status"] == "running"


def test_shims_of_a_containerd_are_found(belay, other):
    lab = belay.lab
    c = lab.container("sleep", "1000").run()
    state = lab.new_path("containerd")
    tasks = state / "io.containerd.runtime.v2.task" / "k8s.io"
    tasks.mkdir(parents=True)
    (tasks / c.id).symlink_to(c.bundle.path)
    (tasks / "gone").mkdir()
    rows = json.loads(belay("upgrade", "--containerd", state, "--binary", other, "--json").stdout)
    by_id = {row["id"]: row for row in rows}
    assert by_id[c.id]["result"] == "upgraded" and by_id[c.id]["namespace"] == "k8s.io"
    assert by_id["gone"]["result"] == "skipped"
    assert os.stat(f"/proc/{c.shim.pid}/exe").st_ino == os.stat(other).st_ino
    assert c.status() == "RUNNING"


def test_one_that_hangs_holds_up_none(belay, other):
    """The first by its id; the others are told of while it is still waited for."""
    for name in "abc":
        belay.run(name, "sleep", "1000", flags=["-d"])
    hangs = belay.shim_pid("a")
    os.kill(hangs, signal.SIGSTOP)
    try:
        process = belay.start("upgrade", "--all", "--binary", other)
        assert host.readable(process.stdout, host.PATIENCE * host.SLOWNESS)
        lines = {process.stdout.readline() for _ in "bc"}
        assert {line.split(b":")[0].decode() for line in lines} == {belay.id("b"), belay.id("c")}
        assert image(belay, "b") == image(belay, "c") == os.stat(other).st_ino
        assert process.poll() is None
    finally:
        os.kill(hangs, signal.SIGCONT)
    rest, _ = process.communicate(timeout=host.PATIENCE * host.SLOWNESS)
    assert process.returncode == 0 and rest.startswith(belay.id("a").encode()) and b" -> " in rest
    assert image(belay, "a") == os.stat(other).st_ino


def test_many_that_hang_hold_up_none(belay, other):
    """More than are asked at once, and sockets that nobody reads are enough for that."""
    state = belay.lab.new_path("containerd")
    tasks = state / "io.containerd.runtime.v2.task" / "k8s.io"
    listeners = []
    for i in range(40):
        bundle = tasks / f"a{i:02}"
        bundle.mkdir(parents=True)
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(str(bundle / "s"))
        listeners[-1].listen()
        (bundle / "address").write_text(f"unix://{bundle / 's'}")
    c = belay.lab.container("sleep", "1000").run()
    (tasks / c.id).symlink_to(c.bundle.path)
    process = belay.start("upgrade", "--containerd", state, "--binary", other)
    try:
        assert host.readable(process.stdout, host.PATIENCE * host.SLOWNESS)
        assert process.stdout.readline().startswith(f"{c.id}: ".encode())
        assert os.stat(f"/proc/{c.shim.pid}/exe").st_ino == os.stat(other).st_ino
    finally:
        process.kill()
        process.communicate()
        for listener in listeners:
            listener.close()
    assert c.status() == "RUNNING"


def test_inspect_shows_what_outlives_the_process(belay, other):
    belay.run("a", "sh", "-c", "sleep 1000", flags=["-d", "-e", "SECRET=hidden", "--log", f"log://{belay.lab.dir}/a.log"])
    first = inspect(belay, "a")
    [init] = first["shim"]["container"]["processes"]
    assert init["state"] == "running" and init["pid"] == belay.state("a")["pid"]
    assert init["engine"]["init"] and init["stdio"]["logger"]["pid"] > 0
    assert first["connections"] == 1 and first["calls"] == 1
    assert "generation" not in first and "hidden" not in json.dumps(first)
    belay("upgrade", belay.id("a"))
    again = inspect(belay, "a")
    assert again["generation"] == 1 and again["shim"]["container"]["processes"] == [init]
    pid = belay.shim_pid("a")
    os.kill(pid, signal.SIGSEGV)
    host.wait_for(lambda: inspect(belay, "a")["generation"] == 2, "the next image")
    assert inspect(belay, "a")["reason"] == "SIGSEGV was sent to the shim"
    done = belay("exec", "-d", belay.id("a"), "sh", "-c", "exit 3")
    name = done.stdout.decode().strip()
    assert belay("wait", "--exec", name, belay.id("a"), status=3)
    end = [p for p in inspect(belay, "a")["shim"]["container"]["processes"] if p.get("exec_id") == name]
    assert end[0]["state"] == "stopped" and end[0]["exit"]["status"] == 3


def test_sigusr1_logs_the_same(lab, stock):
    if stock:
        pytest.skip("belay's own log")
    c = lab.container("sleep", "1000").run()
    c.shim.read_log()
    os.kill(c.shim.pid, signal.SIGUSR1)
    log = ""

    def whole():
        nonlocal log
        log += c.shim.read_log()
        return "END state dump" in log
    host.wait_for(whole, "the dump")
    assert '\\"state\\": \\"running\\"' in log and f'\\"id\\": \\"{c.id}\\"' in log
    c.finish()
