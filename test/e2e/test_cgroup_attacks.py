# SPDX-License-Identifier: Apache-2.0
"""Containers that may write the cgroup tree and mean harm with it: cgroups without number, deep nests, freezers."""
import os
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
    fields = host.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_cgroups_that_come_and_go_without_end_do_not_keep_the_shim_busy(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("belay's own watch for OOM kills")
    c = with_cgroups(lab, "cd /sys/fs/cgroup/memory; mkdir $(seq 1 4000); echo ready;"
                          " while :; do mkdir a b c d e f g h; rmdir a b c d e f g h; done")
    pid = c.task.Connect().shim_pid
    used = cpu_seconds(pid)
    begin = time.monotonic()
    slowest = 0
    while time.monotonic() - begin < 3:
        before = time.monotonic()
        c.status()
        slowest = max(slowest, time.monotonic() - before)
        time.sleep(0.05)
    used = cpu_seconds(pid) - used
    before = time.monotonic()
    c.kill(all=True)
    c.wait()
    c.delete()
    assert time.monotonic() - before < 2 * SECONDS
    assert used < 0.5 * host.SLOWNESS, used
    assert slowest < 0.2 * host.SLOWNESS, slowest


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
    assert waiting.result(SECONDS).exit_status == 137
    c.delete()
    assert time.monotonic() - before < SECONDS
