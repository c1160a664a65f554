# SPDX-License-Identifier: Apache-2.0
"""Kill and Delete of what does not want to end: a process that forks as fast as it can, one that waits in the
kernel and takes no signal, and hooks that hang. All answers come in bounded time."""
import os
import pathlib
import subprocess
import time

import pytest

import harness
import host
import ttrpc
from test_binary import lose_shim
from test_oom import record
from test_shim_killed import delete_in_time, kill_shim

SECONDS = 20  # much more than any answer here takes; without a bound it would be for ever

# Bounded by pids.limit; nice, so that the machine stays usable.
# The init is not one of those that fork: a shell that cannot fork any more ends by itself.
BOMB = "f() { while :; do f & done; }; f & exec sleep 1000"


class Frozen:
    """A small ext4 that is frozen: whoever writes to it waits in the kernel, and no signal ends that."""

    def __init__(self, base):
        self.image = base / "image"
        self.path = base / "frozen"
        self.path.mkdir()
        with open(self.image, "wb") as f:
            f.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True, timeout=20)
        if subprocess.run(["mount", "-o", "loop", self.image, self.path], timeout=20).returncode:
            pytest.skip("no loop device for a file system that can be frozen")
        self.frozen = False

    def freeze(self):
        subprocess.run(["fsfreeze", "-f", self.path], check=True, timeout=20)
        self.frozen = True

    def thaw(self):
        if self.frozen:
            subprocess.run(["fsfreeze", "-u", self.path], check=True, timeout=20)
            self.frozen = False

    def close(self):
        self.thaw()
        host.wait_for(lambda: subprocess.run(["umount", self.path], timeout=20).returncode == 0, "umount")


@pytest.fixture
def frozen(tmp_path):
    f = Frozen(tmp_path)
    try:
        yield f
    finally:
        f.close()


def in_uninterruptible_sleep(pid):
    return host.read(f"/proc/{pid}/stat").rpartition(b")")[2][1:2] == b"D"


def hide_v2(lab, base):
    """From here on the shim sees v1 alone: no cgroup.kill. True if there was something to hide."""
    if host.V2 or not (host.CGROUP_ROOT / "unified").is_dir():
        return False
    wrapper = pathlib.Path(base) / "shim"
    wrapper.write_text("#!/bin/sh\nexec unshare -m --propagation slave sh -c "
                       f"'umount {host.CGROUP_ROOT}/unified; exec \"$0\" \"$@\"' {lab.shim} \"$@\"\n")
    wrapper.chmod(0o755)
    lab.shim = wrapper
    return True


def bomb(lab, own_pids=True):
    c = lab.container("sh", "-c", BOMB)
    c.config["linux"]["resources"].update({"pids": {"limit": 200}, "cpu": {"shares": 2}})
    if not own_pids:
        c.bundle.without_namespace("pid")
    c.create()
    os.setpriority(os.PRIO_PROCESS, c.pid(), 19)
    c.start()
    host.wait_for(lambda: len(c.task.Pids().processes) > 100, "it has forked", timeout=120)
    return c


def within(call, *args, **kwargs):
    begin = time.monotonic()
    try:
        return call(*args, **kwargs)
    finally:
        assert time.monotonic() - begin < SECONDS * host.SLOWNESS


@pytest.mark.parametrize("how", ["with what the host has", "v1 alone"])
@pytest.mark.parametrize("own_pids", [True, False])
def test_kill_all_ends_a_process_that_forks_as_fast_as_it_can(lab, stock, tmp_path, own_pids, how):
    if how == "v1 alone" and not hide_v2(lab, tmp_path):
        pytest.skip("there is no v2 to hide beside v1")
    if stock:
        pytest.skip("takes runc's time")
    c = bomb(lab, own_pids)
    if how == "v1 alone":
        assert b"/sys/fs/cgroup/unified" not in host.read(f"/proc/{c.shim.pid}/mountinfo")
    within(c.kill, all=True)
    assert within(c.wait).status == 137
    within(c.delete)
    assert not lab.cgroups()


def test_the_delete_action_ends_a_process_that_forks_as_fast_as_it_can(lab, stock):
    if stock:
        pytest.skip("takes runc's time")
    c = bomb(lab, own_pids=False)
    assert within(c.delete_without_shim).exit_status == 137
    assert not lab.cgroups()


def stuck(lab, frozen, *namespaces):
    """A container one of whose processes, not init, waits for the frozen file system."""
    c = lab.container("sh", "-c", "read x; echo x >/mnt/file & echo $!; wait").pipes("stdin", "stdout")
    c.bundle.mount("/mnt", "bind", frozen.path, "bind", "rw")
    for kind in namespaces:
        c.bundle.without_namespace(kind)
    c.run()
    frozen.freeze()
    c.stdin.write(b"\n")
    c.stdout.read_until(b"\n")
    pids = host.wait_for(lambda: [p for p in lab.processes() if in_uninterruptible_sleep(p)], "one waits")
    return c, pids[0]


def test_a_process_that_no_signal_ends_is_named_and_a_later_delete_works(lab, stock, frozen):
    """Without a pid namespace init ends, and what it leaves does not."""
    if stock or lab.runc_binary:
        pytest.skip("runc's own words and times")
    c, pid = stuck(lab, frozen, "pid")
    within(c.kill, all=True)
    assert within(c.wait).status == 137
    for _ in range(2):
        with pytest.raises(ttrpc.Error) as error:
            within(c.task.Delete, exec_id="")
        assert error.value.code == ttrpc.FAILED_PRECONDITION, error.value
        assert f"process {pid} (" in str(error.value) and "uninterruptible sleep" in str(error.value)
        assert c.status() == "STOPPED"
    frozen.thaw()
    host.wait_gone(pid)
    c.delete()
    assert not lab.cgroups()


def test_an_init_that_cannot_end_is_explained_and_a_later_delete_works(lab, stock, frozen):
    """In a pid namespace of its own init waits for all others."""
    if stock or lab.runc_binary:
        pytest.skip("runc's own words and times")
    c, pid = stuck(lab, frozen)
    within(c.kill, all=True)
    with pytest.raises(ttrpc.Error) as error:
        within(c.task.Delete, exec_id="")
    assert error.value.code == ttrpc.FAILED_PRECONDITION
    assert f"process {pid} (" in str(error.value) and "uninterruptible sleep" in str(error.value)
    assert c.status() == "RUNNING"
    frozen.thaw()
    assert c.wait().status == 137
    c.delete()


def test_the_delete_action_gives_up_on_it_after_a_short_time(lab, stock, frozen):
    if stock or lab.runc_binary:
        pytest.skip("runc's own words and times")
    c, pid = stuck(lab, frozen, "pid")
    c.shim.kill()
    c.shim.disconnect()
    argv = c.shim.argv("delete", flags=("-bundle", str(c.bundle.path)))
    done = within(subprocess.run, argv, capture_output=True, cwd=c.bundle.path, env=c.shim.env())
    assert f"process {pid} (".encode() in done.stdout + done.stderr, done
    frozen.thaw()
    host.wait_gone(pid)
    c.shim.run_delete()  # as often as one likes
    c.task = None
    for p in (c, *c.execs):
        p.close_pipes()
    assert not lab.cgroups()


def test_a_poststop_hook_that_no_signal_ends_does_not_cost_the_status(lab, stock, frozen):
    if stock or lab.runc_binary:
        pytest.skip("runc waits for ever")
    c = lab.container("sleep", "1000")
    c.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo x >{frozen.path}/file"],
                                       "env": [c.lab.token_variable]}]}
    c.run()
    frozen.freeze()
    kill_shim(c)
    answer, told = delete_in_time(c)
    assert answer.exit_status == 137
    assert "poststop hook '/bin/sh': has no timeout of its own and was ended when time was up, but SIGKILL has not" in told
    frozen.thaw()
    host.wait_for(lambda: not lab.processes(), "it ends")


def test_a_runtime_that_no_signal_ends_does_not_cost_the_status(lab, stock, frozen):
    if stock or lab.runc_binary:
        pytest.skip("names a binary of its own")
    binary = harness.runtime_binary("runc", lab.dir)
    c, state = lose_shim(lab, binary, f"echo x >{frozen.path}/file", then=frozen.freeze)
    answer, told = delete_in_time(c)
    assert answer.exit_status == 137
    assert "slow-runtime' was ended when time was up, but SIGKILL has not ended it so far" in told
    frozen.thaw()
    host.wait_for(lambda: not lab.processes(), "it ends")
    assert state.exists()
    subprocess.run([binary, "--root", state.parent, "delete", "--force", c.id], check=True, timeout=20 * host.SLOWNESS)


def test_an_init_that_has_not_ended_has_no_end_in_its_record(lab, stock, frozen):
    """The delete action says 137, since it must say something; a later one knows."""
    if stock or lab.runc_binary:
        pytest.skip("runc's own words and times")
    c, _ = stuck(lab, frozen)
    init = c.pid()
    c.shim.kill()
    c.shim.disconnect()
    c.task = None
    assert within(c.shim.run_delete).exit_status == 137
    assert not record(c)["exited"]
    frozen.thaw()
    host.wait_gone(init)
    assert c.shim.run_delete().exit_status == 137
    assert record(c)["exited"]
    c.close_pipes()
    assert not lab.cgroups()


def test_a_poststop_hook_that_hangs_does_not_hold_delete_up_for_ever(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("runc waits for ever")
    c = lab.container("true")
    c.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000 & sleep 1000"],
                                       "env": [c.lab.token_variable]}]}
    c.run()
    c.wait()
    within(c.delete)
    assert not lab.running("sleep 1000")
    assert "poststop hook '/bin/sh': has no timeout of its own" in lab.logs()
