# SPDX-License-Identifier: Apache-2.0
"""Containers that may write the cgroup tree and mean harm with it: cgroups without number, deep nests, freezers."""
import contextlib
import os
import pathlib
import signal
import time

import pytest

import host

SECONDS = 8 * host.SLOWNESS  # more than any answer here may take

pytestmark = pytest.mark.skipif(host.V2, reason="what a container may write there is delegated, and the kernel counts")


def with_cgroups(lab, script):
    """A container with its part of the cgroup tree, writable. It says "ready" when it is."""
    c = lab.container("sh", "-c", script)
    c.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev")
    c.pipes().run()
    assert c.stdout.read_until(b"ready\n", 30 * host.SLOWNESS)
    return c


def cpu_seconds(pid):
    """Its own, and that of the children that it has reaped."""
    fields = host.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def test_cgroups_that_come_and_go_without_end_do_not_keep_the_shim_busy(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("belay's own watch for OOM kills")
    c = with_cgroups(lab, "cd /sys/fs/cgroup/memory; mkdir $(seq 1 4000); echo ready;"
                          " while :; do mkdir a b c d e f g h; rmdir a b c d e f g h; done")
    shim, init = c.task.Connect().shim_pid, c.pid()
    used, theirs = cpu_seconds(shim), cpu_seconds(init)
    begin = time.monotonic()
    while time.monotonic() - begin < 3:
        c.status()
        time.sleep(0.05)
    used, theirs = cpu_seconds(shim) - used, cpu_seconds(init) - theirs
    c.kill(all=True)
    c.wait()
    c.delete()
    assert used < theirs / 2, (used, theirs)


def test_a_container_that_has_frozen_itself_deep_below_ends(lab, stock):
    """Where, with cgroup v1, SIGKILL alone does not reach it."""
    if stock or lab.runc_binary:
        pytest.skip("runc does not thaw what is below the container's own cgroup")
    c = with_cgroups(lab, "cd /sys/fs/cgroup/freezer; i=0; while [ $i -lt 300 ]; do mkdir x; cd x; i=$((i + 1)); done;"
                          " sleep 1000 & echo $! > cgroup.procs; echo $$ > cgroup.procs; echo ready;"
                          " echo FROZEN > freezer.state; sleep 1000")
    before = time.monotonic()
    waiting = c.wait_later()
    c.kill(all=True)
    assert waiting.result().exit_status == 137
    c.delete()
    assert time.monotonic() - before < SECONDS


def descend(fd, name):
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    os.close(fd)
    return below


def make_nests(top, n, depth):
    """n times so many cgroups within each other. Returns a descriptor of the last and lowest."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for i in range(n):
        os.close(fd)
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        for name in (f"nest{i}", *["n"] * (depth - 1)):
            os.mkdir(name, dir_fd=fd)
            fd = descend(fd, name)
    return fd


def remove_nests(top, n, depth):
    """What there still is of them."""
    for i in range(n):
        names = [f"nest{i}", *["n"] * (depth - 1)]
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        at = 0
        try:
            while at < depth:
                fd = descend(fd, names[at])
                at += 1
        except FileNotFoundError:
            pass
        while at > 0:
            fd = descend(fd, "..")
            at -= 1
            host.wait_for(lambda: try_rmdir(names[at], fd), "the nest to be empty")
        os.close(fd)


def try_rmdir(name, fd):
    try:
        os.rmdir(name, dir_fd=fd)
    except OSError:
        return False
    return True


@pytest.mark.runs_with("belay", "runc", why="its delete gives up on so many cgroups")
def test_pids_of_ten_thousand_cgroups_keep_nobody_waiting(lab, stock):
    if stock:
        pytest.skip("its Pids is a run of runc, and its State waits for none")
    c = lab.container("sh", "-c", "sleep 1000 & echo $!; wait").pipes().run()
    assert c.stdout.read_until(b"\n", SECONDS)
    init = c.pid()
    pidfd = os.pidfd_open(init)
    top = pathlib.Path(host.cgroup_file(init, "freezer", "cgroup.procs")).parent
    try:
        lowest = make_nests(top, 20, 500)
        child = int(c.others()[0])
        procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=lowest)
        os.close(lowest)
        os.write(procs, str(child).encode())
        os.close(procs)
        listings = [c.task.start.Pids() for _ in range(8)]
        n_meanwhile = 0
        while not all(listing.done() for listing in listings):
            c.status()
            n_meanwhile += 1
        for listing in listings:
            assert {p.pid for p in listing.result().processes} == {init, child}
        assert n_meanwhile > 3 * len(listings)  # none has waited for one of them to end
        c.kill(all=True)
        c.wait()
        before = time.monotonic()
        c.delete()
        assert lab.runc_binary or time.monotonic() - before < SECONDS
    finally:
        if top.exists():  # whatever has failed, nothing is left in the way of other tests
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            remove_nests(top, 20, 500)
        os.close(pidfd)
