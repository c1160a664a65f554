# SPDX-License-Identifier: Apache-2.0
"""Calls fail for want of descriptors, room, memory or patience: one after the other, one at a time and many in a row, in
the shim and in its stages; the clock jumps; the bundle vanishes."""
import errno
import os
import resource
import shutil
import signal
import threading

import pytest

import host
from life import INIT_STATUS
from plan import ERRORS


def count_faults(chaos, errnum, from_start=False):
    """How many calls of an ordinary life can give that error."""
    found = {}

    def run(life, plan):
        if not from_start:
            life.launch()
        plan.faults.arm(errnum)
        if from_start:
            life.launch()
        else:
            life.lead()
        found["n"] = plan.faults.n
        life.lead() if from_start else None
        life.end()

    chaos.life("count", run, preload=True)
    assert found.get("n", 0) > 10, (found, chaos.problems)
    return found["n"]


def fail_at(chaos, case, errnum, at, times=1):
    def run(life, plan):
        life.patience = times
        life.lacks_memory = errnum in (errno.ENOMEM, errno.ENOSPC)
        life.launch()
        plan.faults.arm(errnum, at=at, times=times)
        life.lead()
        plan.disarm()
        life.end()

    chaos.life(case, run, preload=True)


@pytest.mark.share(2)
@pytest.mark.parametrize("errnum", ERRORS, ids=errno.errorcode.get)
def test_any_call_may_fail(chaos, errnum):
    n = count_faults(chaos, errnum)
    for at in chaos.cases(range(1, n + 1)):
        fail_at(chaos, at, errnum, at)
    chaos.finish()


@pytest.mark.parametrize("errnum", ERRORS, ids=errno.errorcode.get)
def test_calls_may_fail_for_a_while(chaos, errnum):
    n = count_faults(chaos, errnum)
    for at, times in chaos.cases((at, times) for at in range(1, n + 1) for times in (2, 3, 5)):
        fail_at(chaos, (at, times), errnum, at, times)
    chaos.finish()


@pytest.mark.parametrize("errnum", ERRORS, ids=errno.errorcode.get)
def test_any_call_of_start_may_fail(chaos, errnum):
    n = count_faults(chaos, errnum, from_start=True)

    def run(life, plan, at):
        life.lacks_memory = errnum in (errno.ENOMEM, errno.ENOSPC)
        plan.faults.arm(errnum, at=at)
        life.launch()
        plan.disarm()
        life.lead()
        life.end()

    for at in chaos.cases(range(1, n + 1)):
        chaos.life(at, lambda life, plan, at=at: run(life, plan, at), preload=True)
    chaos.finish()


def image_of(pid):
    """Another one after each execve(2): where its stack begins, of proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[25]


def fail_in_take_over(chaos, errnum, times=1):
    """Of a shim whose table of descriptors is full: those of an image that has failed are no burden to the next."""
    found = {}

    def run(life, plan, at):
        c = life.c
        life.lacks_memory = times > 1  # as much as costs a connection that has been taken over
        life.launch()
        life.create()
        assert life.start(c)
        _, hard = resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE, (host.lowest_free_fd(c.shim.pid), hard))
        plan.faults.arm(errnum, at=at, times=times, only=c.shim.pid)
        before = image_of(c.shim.pid)
        os.kill(c.shim.pid, signal.SIGSEGV)
        host.wait_for(lambda: image_of(c.shim.pid) != before, "the next image")  # the one before may answer until then
        assert life.status_of(c) == "RUNNING"
        found.setdefault("n", plan.faults.n)
        plan.disarm()
        resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE, (hard, hard))
        life.finish(c, INIT_STATUS)
        life.delete(c)
        life.end()

    chaos.life("count", lambda life, plan: run(life, plan, 0), preload=True)
    assert found.get("n", 0) > 3, (found, chaos.problems)
    for at in chaos.cases(range(1, found["n"] + 1)):
        chaos.life(at, lambda life, plan, at=at: run(life, plan, at), preload=True)
    chaos.finish()


def test_a_descriptor_may_lack_anywhere_while_the_next_image_takes_over(chaos):
    fail_in_take_over(chaos, errno.EMFILE)


def test_memory_may_lack_anywhere_while_the_next_image_takes_over(chaos):
    fail_in_take_over(chaos, errno.ENOMEM)


def test_memory_may_lack_for_a_while_anywhere_as_the_next_image_takes_over(chaos):
    fail_in_take_over(chaos, errno.ENOMEM, times=3)


def test_no_limit_is_raised_while_the_next_image_takes_over(chaos):
    """The calls that it takes up may fork what becomes a container's process, which inherits it."""
    def run(life, plan):
        c = life.c
        life.launch()
        life.create()
        assert life.start(c)
        limit = (64, resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE)[1])
        resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE, limit)
        plan.points.arm(signal.SIGSTOP, at=1, only=c.shim.pid, name="restored")
        os.kill(c.shim.pid, signal.SIGSEGV)
        host.wait_for(lambda: plan.points.n_fired, "the next image")
        there = resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE)
        host.wait_for(lambda: " T " in host.read(f"/proc/{c.shim.pid}/stat").decode(), "it to stand still")
        os.kill(c.shim.pid, signal.SIGCONT)
        assert there == limit
        life.finish(c, INIT_STATUS)
        life.delete(c)
        life.end()

    for case in chaos.cases(["once"]):
        chaos.life(case, run)
    chaos.finish()


# ---- The clock ----

JUMPS = [-10 * 365 * 86400, -86400, -1, 1, 86400, 10 * 365 * 86400]


def test_a_clock_that_jumps_changes_nothing_but_the_times(chaos):
    def run(life, plan, jump):
        def jump_about():
            while not over.wait(0.002):
                plan.set_clock(jump if chaos.random.random() < 0.5 else 0)

        over = threading.Event()
        life.launch()
        jumper = threading.Thread(target=jump_about)
        jumper.start()
        try:
            life.lead()
        finally:
            over.set()
            jumper.join()
        plan.set_clock(0)
        life.end()

    for number, jump in chaos.cases((n, j) for n in range(10000) for j in JUMPS):
        chaos.life((number, jump), lambda life, plan, jump=jump: run(life, plan, jump), preload=True)
    chaos.finish()


# ---- The bundle ----

def remove(life):
    """All that containerd would remove, while somebody may still write there."""
    for name in os.listdir(life.c.bundle.path):
        path = life.c.bundle.path / name
        if name != "rootfs" or not host.mounts_below(path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(life.c.bundle.path, ignore_errors=True)


PHASES = ["launched", "created", "started", "exec", "ended", "deleted"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_bundle_that_vanishes_costs_no_status_and_no_answer(chaos, phase):
    def run(life, plan):
        c = life.c
        life.launch()
        if phase == "launched":
            remove(life)
            assert life.call("Create", c.task.Create, bundle=str(c.bundle.path)) is None
            c.created = False
            return gone(life)
        life.create()
        if phase == "created":
            remove(life)
        if not life.start(c):  # the program went with its root file system
            life.delete(c)
            return gone(life)
        if phase == "started":
            remove(life)
        e = c.exec("sh", "-c", "read line; exit 3", exec_id="e0").pipes("stdin")
        e.stdin.open_early()
        if life.call("Exec", lambda: e.add() and True):
            life.wait(e)
            if life.start(e):
                if phase == "exec":
                    remove(life)
                life.finish(e, 3)
            life.delete(e)
        life.finish(c, INIT_STATUS)
        if phase == "ended":
            remove(life)
        life.delete(c)
        if phase == "deleted":
            remove(life)
        return gone(life)

    def gone(life):
        c = life.c
        life.other.close()
        life.call("Shutdown", c.task.Shutdown, now=False)
        c.shim.disconnect()
        host.wait_gone(c.shim.pid)
        os.makedirs(c.bundle.path, exist_ok=True)  # the action wants a working directory
        c.shim.run_delete()
        c.task = None
        for p in (c, *c.execs):
            p.close_pipes()
        life.check_events()

    chaos.life(phase, run)
    chaos.finish()
