# SPDX-License-Identifier: Apache-2.0
"""Scheduler, I/O priority, CPUs, memory policy, personality and clocks, as the program finds them."""
import os

import pytest

import host
import ttrpc
from checks import fails

SCHED_BATCH = 3


pytestmark = pytest.mark.runs_with("belay", why="1.1 and crun 1.8 know few of these")


def process(**changes):
    return lambda c: c.config["process"].update(changes)


def linux(**changes):
    return lambda c: c.config["linux"].update(changes)


def stat_fields(text):
    """nice and policy of a /proc/PID/stat."""
    fields = text.rsplit(")", 1)[1].split()
    return int(fields[16]), int(fields[38])


def test_the_scheduler_and_the_io_priority(lab):
    batch = {"policy": "SCHED_BATCH", "nice": 5}
    io = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    c = lab.container("sleep", "100")
    process(scheduler=batch, ioPriority=io)(c)
    c.run()
    assert stat_fields(host.read(f"/proc/{c.pid()}/stat").decode()) == (5, SCHED_BATCH)
    out = c.exec("cat", "/proc/self/stat", scheduler={"policy": "SCHED_BATCH", "nice": -4}).run().out
    assert stat_fields(out) == (-4, SCHED_BATCH)
    own = os.getpriority(os.PRIO_PROCESS, 0)  # the shim's, too
    assert stat_fields(c.exec("cat", "/proc/self/stat").run().out) == (own, 0)


def test_the_cpus_of_an_exec(lab):
    c = lab.container("sleep", "100").run()
    command = ("grep", "Cpus_allowed_list", "/proc/self/status")
    everything = c.exec(*command).run().out
    affinity = {"initial": "0", "final": "0"}
    assert c.exec(*command, execCPUAffinity=affinity).run().out.split()[1] == "0"
    assert c.exec(*command, execCPUAffinity={"initial": "0"}).run().out == everything
    with fails(ttrpc.UNKNOWN, "execCPUAffinity.final"):
        c.exec(*command, execCPUAffinity={"final": "8000"}).add().start()


def test_personality_and_memory_policy(lab):
    c = lab.container("sleep", "100")
    linux(personality={"domain": "LINUX32"}, memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"})(c)
    c.run()
    out = c.exec("sh", "-c", "cat /proc/self/personality; head -n 1 /proc/self/numa_maps").run().out
    assert out.startswith("00000008\n") and " bind:0 " in out


def test_the_clocks_of_a_time_namespace(lab):
    def edit(c):
        c.config["linux"]["namespaces"].append({"type": "time"})
        c.config["linux"]["timeOffsets"] = {"boottime": {"secs": 9000000}, "monotonic": {"secs": 5}}

    before = float(host.read("/proc/uptime").split()[0])
    inside = float(lab.run("cat", "/proc/uptime", edit=edit).out.split()[0])
    assert before + 9000000 <= inside <= float(host.read("/proc/uptime").split()[0]) + 9000000


@pytest.mark.parametrize("edit, code, text", [
    (linux(timeOffsets={"boottime": {"secs": 1}}), ttrpc.INVALID_ARGUMENT, "linux.timeOffsets: needs a new time namespace"),
    (linux(intelRdt={"closID": "x"}), ttrpc.UNIMPLEMENTED, "linux.intelRdt is not supported"),
    (linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "x"}), ttrpc.INVALID_ARGUMENT, "linux.memoryPolicy.nodes"),
    (process(scheduler={"policy": "SCHED_FIFO"}), ttrpc.INVALID_ARGUMENT, "process.scheduler.priority"),
])
def test_what_cannot_be_is_refused_by_name(lab, edit, code, text):
    c = lab.container("true")
    edit(c)
    with fails(code, text):
        c.create()
