# SPDX-License-Identifier: Apache-2.0
"""`belay upgrade` and `belay inspect`: shims go on as another binary, and show what they keep for it."""
import json
import os
import shutil
import signal

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
