# SPDX-License-Identifier: Apache-2.0
"""A stage, a runtime binary or the shim itself is killed at any time during a Create: whatever was half made is
undone."""
import os
import random
import signal
import threading
import time

import pytest

import host
import ttrpc

TIMES = 25


def makers(shim_pid, runtime):
    """Pids of the shim's children that make the container: they have a stage's name, or are the runtime, which as
    crun's wrapper (harness.py) has other names, too. Init has that of who has made it, and is in a pid namespace."""
    found = []
    for pid in map(int, host.read(f"/proc/{shim_pid}/task/{shim_pid}/children").split()):
        is_inside = len(host.read(f"/proc/{pid}/status").partition(b"NSpid:")[2].partition(b"\n")[0].split()) > 1
        if not is_inside and host.read(f"/proc/{pid}/comm").startswith(b"belay:") != bool(runtime):
            found.append(pid)
    return found


def kill_a_maker(shim_pid, runtime, delay, is_over):
    """Waits for one, then for delay, and kills it."""
    while not is_over.is_set():
        for pid in makers(shim_pid, runtime):
            time.sleep(delay)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            return


def with_everything(c, lab):
    """A container whose Create has a mount, a hook with a child, limits and a cgroup to undo."""
    image = lab.new_path("image")
    os.rename(c.bundle.rootfs, image)
    c.config["hooks"] = {"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", "sleep 0.01"], "env": ["PATH=/bin:/usr/bin"]}]}
    if not lab.runc_binary:  # runc and crun leave the cgroups above the container's, whoever has made them
        c.config["linux"]["cgroupsPath"] += "/deep/er"
    return {"rootfs": [{"type": "bind", "source": str(image), "options": ["rbind", "rw"]}]}


@pytest.mark.parametrize("attempt", range(TIMES))
def test_a_stage_killed_at_any_time_leaves_nothing(lab, stock, attempt):
    if stock:
        pytest.skip("the stock shim has no stages")
    random.seed(attempt)
    c = lab.container("sleep", "1000")
    create = with_everything(c, lab)
    c.launch()
    before = sorted(os.listdir(c.bundle.path))
    fds = c.shim.fds()
    delay = random.uniform(0, 0.06 if lab.runc_binary else 0.02)
    is_over = threading.Event()
    killer = threading.Thread(target=kill_a_maker, args=(c.shim.pid, lab.runc_binary, delay, is_over))
    killer.start()
    try:
        c.create(**create)
    except ttrpc.Error as error:
        if not lab.runc_binary:  # else what was killed may be a child of the runtime, of which that has its own words
            assert "belay:create: the stage ended with signal 9" in error.message, error
        c.deleted = True
    finally:
        is_over.set()
        killer.join()
    if not c.deleted:  # the stage was quicker
        c.start()
        return
    # The stage that undoes it may still be on its way out.
    host.wait_for(lambda: lab.processes() == [c.shim.pid], lambda: f"all others to end: {lab.leftovers()}")
    assert not host.mounts_below(lab.dir)
    assert not lab.cgroups()
    assert sorted(os.listdir(c.bundle.path)) == before
    host.wait_for(lambda: len(c.shim.fds()) <= len(fds), f"descriptors are closed: {c.shim.fds()}")


@pytest.mark.parametrize("attempt", range(TIMES))
def test_a_shim_killed_at_any_time_is_cleaned_up_after(lab, stock, attempt):
    if stock:
        pytest.skip("what runc leaves behind is not our business")
    random.seed(attempt)
    c = lab.container("sleep", "1000")
    create = with_everything(c, lab)
    c.launch()
    killer = threading.Timer(random.uniform(0, 0.04), c.shim.kill)
    killer.start()
    try:
        c.create(**create)
        c.start()
    except ttrpc.Closed:
        pass
    finally:
        killer.join()
    c.shim.disconnect()
    c.task = None
    answer = c.shim.run_delete()
    assert answer.exit_status == 137
    host.wait_for(lambda: not lab.processes(), lambda: f"all processes to end: {lab.leftovers()}")
    assert not host.mounts_below(lab.dir)
    assert not lab.cgroups()


@pytest.mark.parametrize("attempt", range(TIMES // 2))
def test_after_a_crash_at_any_time_the_create_can_be_made_again(lab, stock, attempt):
    if stock:
        pytest.skip("the stock shim ends with its process image")
    random.seed(attempt)
    c = lab.container("sh", "-c", "exit 5")
    create = with_everything(c, lab)
    c.launch()
    killer = threading.Timer(random.uniform(0, 0.06), os.kill, (c.shim.pid, signal.SIGSEGV))
    killer.start()
    try:
        c.create(**create)
    except ttrpc.Error as error:
        assert error.code == ttrpc.UNAVAILABLE, error
        c.create(**create)
    finally:
        killer.join()
    host.wait_for(lambda: "this is image 1 " in lab.logs(), "the next image")
    c.start()
    assert c.wait().status == 5
    assert c.delete().exit_status == 5


def stage(c, kind):
    """Its pid, when it has come."""
    name = f"belay:{kind}\n".encode()
    return host.wait_for(lambda: [p for p in makers(c.shim.pid, None) if host.read(f"/proc/{p}/comm") == name], "it")[0]


def crashes(c, kind, call):
    """The stage, and what that call is answered."""
    os.kill(stage(c, kind), signal.SIGSEGV)
    with pytest.raises(ttrpc.Error) as error:
        call.result()
    assert f"belay:{kind}: the stage ended with signal 11" in str(error.value)


@pytest.fixture
def has_stages(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("these have none")


def test_a_stage_that_crashes_is_an_error_of_its_create_alone(lab, has_stages):
    c = lab.container("sleep", "1000")
    c.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1001"], "env": [lab.token_variable]}]}
    call = c.launch().task.start.Create(bundle=str(c.bundle.path))
    host.wait_for(lambda: lab.running("sleep 1001"), "the hook runs")
    crashes(c, "create", call)
    host.wait_for(lambda: not lab.running("sleep 1001"), "the hook has ended")
    del c.config["hooks"]
    c.bundle.write()
    assert c.run().exec("sh", "-c", "exit 3").run().status == 3
    assert "image" not in lab.logs()


def test_a_stage_that_crashes_is_an_error_of_its_start_alone(lab, has_stages):
    c = lab.container("sleep", "1000").run()
    end = c.wait_later()
    freezer = host.freezer_file(c.pid())
    frozen, thawed = ("1", "0") if freezer.name == "cgroup.freeze" else ("FROZEN", "THAWED")
    freezer.write_text(frozen)
    try:
        crashes(c, "exec", c.task.start.Start(exec_id=c.exec("true").add().exec_id))
    finally:
        freezer.write_text(thawed)
    assert c.exec("sh", "-c", "exit 3").run().status == 3
    assert not end.done() and "image" not in lab.logs()
    c.kill()
    assert end.result().exit_status == 137
