# SPDX-License-Identifier: Apache-2.0
"""A stage or the shim itself is killed at any time during a Create: whatever was half made is undone."""
import os
import random
import signal
import threading
import time

import pytest

import host
import ttrpc

TIMES = 25


def stages(shim_pid):
    """Pids of the shim's children that have a stage's name."""
    children = host.read(f"/proc/{shim_pid}/task/{shim_pid}/children").split()
    return [int(p) for p in children if host.read(f"/proc/{int(p)}/comm").startswith(b"belay:")]


def kill_a_stage(shim_pid, delay):
    """Waits for a stage, then for delay, and kills it. True if there was one to kill."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        for pid in stages(shim_pid):
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
    killer = threading.Thread(target=kill_a_stage, args=(c.shim.pid, random.uniform(0, 0.02)))
    killer.start()
    try:
        c.create(**create)
    except ttrpc.Error as error:
        assert "belay:create: the stage ended with signal 9" in error.message, error
        c.deleted = True
    finally:
        killer.join()
    if not c.deleted:  # the stage was quicker
        c.start()
        return
    # The stage that undoes it may still be on its way out.
    host.wait_for(lambda: lab.processes() == [c.shim.pid], "all processes end")
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
    host.wait_for(lambda: not lab.processes(), f"all processes end: {lab.leftovers()}")
    assert not host.mounts_below(lab.dir)
    assert not lab.cgroups()
