# SPDX-License-Identifier: Apache-2.0
"""Hooks: all six kinds, when, where, and with what on their standard input."""
import json
import os

import pytest

import host
import ttrpc

KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
IN_CONTAINER = ("createContainer", "startContainer")


def recorder(lab, c):
    """A folder that hooks write to, seen under the same path from inside the container."""
    out = lab.new_path("hooks")
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    c.bundle.mount(str(out), "bind", out, "rbind", "rw")
    return out


def hook(out, name, script=""):
    text = f"cat > {out}/{name}.json; echo {name} >> {out}/order; readlink /proc/self/ns/mnt > {out}/{name}.mnt; {script}"
    return {"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin", "ONLY=this"]}


@pytest.mark.runs_with("belay", "runc", why="`start` waits for no startContainer hook; the state of some has no bundle")
def test_all_hooks_run_in_order_with_the_state(lab):
    c = lab.container("sleep", "100")
    out = recorder(lab, c)
    c.config["hooks"] = {kind: [hook(out, f"{kind}{n}") for n in (1, 2)] for kind in KINDS}
    c.config["annotations"] = {"a.key": "a value"}
    c.create()
    pid = c.pid()
    mount_ns = os.readlink(f"/proc/{pid}/ns/mnt")
    order = lambda: (out / "order").read_text().split()  # noqa: E731
    created = ["prestart1", "prestart2", "createRuntime1", "createRuntime2", "createContainer1", "createContainer2"]
    started = ["startContainer1", "startContainer2", "poststart1", "poststart2"]
    if lab.runtime == "runc":  # 1.1 runs poststart hooks at the end of `create`
        created, started = created + started[2:], started[:2]
    assert order() == created
    c.start()
    host.wait_for(lambda: len(order()) == 10, "all hooks of Start")
    assert order() == created + started
    c.kill()
    c.wait()
    c.delete()
    assert order()[10:] == ["poststop1", "poststop2"]

    status = {"prestart": ("creating", "created"), "createRuntime": ("creating", "created"),
              "createContainer": ("creating", "created"), "startContainer": ("created",),
              "poststart": ("running",), "poststop": ("stopped",)}
    for kind in KINDS:
        state = json.loads((out / f"{kind}1.json").read_text())
        assert state["ociVersion"].startswith("1.") and state["id"] == c.id
        assert state["bundle"] == str(c.bundle.path) and state["annotations"]["a.key"] == "a value"
        assert state["status"] in status[kind] or lab.runtime == "runc", kind
        if kind not in (*IN_CONTAINER, "poststop"):
            assert state["pid"] == pid
        own = (out / f"{kind}1.mnt").read_text().strip()
        assert (own == mount_ns) == (kind in IN_CONTAINER), kind


def test_a_hooks_environment_is_its_own(lab):
    c = lab.container("true")
    out = recorder(lab, c)
    c.config["hooks"] = {"createRuntime": [hook(out, "h", f"env > {out}/env")]}
    c.create()
    env = (out / "env").read_text().split()
    assert "ONLY=this" in env and not [e for e in env if e.startswith((host.TOKEN, "TTRPC_ADDRESS"))]


def test_a_hook_without_an_environment(lab, monkeypatch):
    """The runtime's for programs of the host; the process's only for what runs in its place: CVE-2025-23266."""
    c = lab.container("true")
    out = recorder(lab, c)
    c.config["process"]["env"].append("FROM_IMAGE=1")
    monkeypatch.setenv("FROM_HOST", "1")
    kinds = ["createRuntime", "createContainer", "startContainer", "poststop"]
    c.config["hooks"] = {kind: [{k: v for k, v in hook(out, "h", f"env > {out}/{kind}").items() if k != "env"}]
                         for kind in kinds}
    c.run()
    c.wait()
    c.delete()
    for kind in kinds:
        env = (out / kind).read_text().split("\n")
        of_host = "FROM_HOST=1" in env
        if kind == "startContainer" or (kind == "createContainer" and lab.runtime == "runc"):
            assert "FROM_IMAGE=1" in env and not of_host, kind
        else:
            assert "FROM_IMAGE=1" not in env and of_host, kind
        assert not [e for e in env if e.startswith("GLIBC_TUNABLES")], kind


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_fails_the_create_with_its_output(lab, kind):
    c = lab.container("true")
    out = recorder(lab, c)
    c.config["hooks"] = {kind: [hook(out, "h", "echo the reason >&2; exit 3")]}
    with pytest.raises(ttrpc.Error) as info:
        c.create()
    assert "3" in info.value.message
    if lab.runtime == "belay":
        assert "the reason" in info.value.message and kind in info.value.message
    c.deleted = True


def test_a_start_container_hook_that_fails_fails_the_start(lab):
    c = lab.container("true")
    out = recorder(lab, c)
    c.config["hooks"] = {"startContainer": [hook(out, "h", "exit 3")]}
    c.create()
    if lab.runtime != "belay":  # its Start has returned by then
        c.start()
        assert c.wait().status != 0
        return
    with pytest.raises(ttrpc.Error) as info:
        c.start()
    assert "startContainer" in info.value.message
    assert c.wait().status != 0


@pytest.mark.runs_with("belay", "runc", why="it dies of SIGPIPE where a hook does not read its state")
def test_a_poststop_hook_that_fails_does_not_fail_the_delete(lab):
    c = lab.container("true")
    c.config["hooks"] = {"poststop": [{"path": "/bin/false"}, {"path": "/no/such/hook"}]}
    c.run()
    c.wait()
    c.delete()


def test_poststop_hooks_run_in_the_delete_action_too(lab):
    c = lab.container("sleep", "100")
    out = recorder(lab, c)
    c.config["hooks"] = {"poststop": [hook(out, "after")]}
    c.run()
    c.delete_without_shim()
    assert (out / "order").read_text() == "after\n"


def test_a_hook_has_no_descriptors_of_the_shim(lab):
    c = lab.container("true")
    out = recorder(lab, c)
    kinds = ("createRuntime", "createContainer")
    c.config["hooks"] = {k: [hook(out, k, f"ls -l /proc/self/fd > {out}/{k}.fds")] for k in kinds}
    c.create()
    for kind in kinds:
        lines = (out / f"{kind}.fds").read_text().splitlines()
        fds = dict((left.split()[-1], right) for left, _, right in (x.partition(" -> ") for x in lines) if right)
        fds = {fd: target for fd, target in fds.items() if not target.startswith("/proc/")}  # ls's own
        assert set(fds) <= {"0", "1", "2"} or lab.runtime == "runc", lines


def test_a_hook_may_move_the_network_into_the_container(lab):
    """What CNI-style createRuntime hooks do: the state's pid names the namespaces."""
    c = lab.container("sleep", "100")
    out = recorder(lab, c)
    c.config["hooks"] = {"createRuntime": [hook(
        out, "h", f"pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' {out}/h.json); readlink /proc/$pid/ns/net > {out}/net")]}
    c.create()
    assert (out / "net").read_text().strip() == os.readlink(f"/proc/{c.pid()}/ns/net")


@pytest.mark.runs_with("belay", "crun", why="it runs them in create")
@pytest.mark.parametrize("killed", [True, False])
def test_a_poststart_hook_that_hangs_does_not_hold_the_end_up(lab, stock, killed):
    if stock:
        pytest.skip("the stock shim answers nothing then")
    c = lab.container("sleep", "100" if killed else "0")
    out = recorder(lab, c)
    c.config["hooks"] = {"poststart": [hook(out, "p", "sleep 1000")]}
    pid = c.create().pid()
    start = c.rpc().start.Start(exec_id="")
    host.wait_for((out / "order").exists, "the hook")
    if killed:
        c.kill()
        assert c.wait().status == 137
    host.wait_gone(pid)
    assert c.delete().exit_status == (137 if killed else 0)
    error = start.exception()
    assert error.code == ttrpc.FAILED_PRECONDITION and "ended while it was being started" in error.message
