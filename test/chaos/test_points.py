# SPDX-License-Identifier: Apache-2.0
"""The shim dies at each point that is compiled in, by a fatal signal or outright; its stages die, too."""
import errno
import pathlib
import resource
import signal

import pytest

import host
from life import INIT_STATUS, ShimGone
from plan import TIMES_MAX

FATAL = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS]

# What changes something, in a life's order; "" is the init.
CHANGES = [("Create", ""), ("Start", ""), ("Exec", ""), ("Start", "e0"), ("Delete", "e0"), ("Pause", ""), ("Resume", ""),
           ("Delete", "")]


def count_points(chaos, preload=False, **who):
    """How many points an ordinary life passes; who: only or but, as of the shim's pid."""
    found = {}

    def run(life, plan):
        life.launch()
        plan.points.arm(0, **{k: life.c.shim.pid for k in who})
        life.lead()
        life.end()
        found["n"] = plan.points.n

    chaos.life("count", run)
    assert found["n"] > 20, found
    return found["n"]


def at_point(chaos, case, signo, at, **who):
    def run(life, plan):
        life.launch()
        plan.points.arm(signo, at=at, **{k: life.c.shim.pid for k in who})
        life.lead()
        life.end()

    return chaos.life(case, run)


@pytest.mark.share(3)
def test_a_crash_at_any_point_loses_nothing(chaos):
    n = count_points(chaos, only=True)
    for at in chaos.cases(range(1, n + 1)):
        at_point(chaos, at, signal.SIGSEGV, at, only=True)
    chaos.finish()


@pytest.mark.share(2)
def test_a_crash_at_any_point_loses_nothing_on_a_full_disk(chaos):
    """No event is in a file."""
    def run(life, plan, at):
        life.launch()
        shim = life.c.shim.pid
        plan.faults.arm(errno.ENOSPC, at=1, times=TIMES_MAX, only=shim, name="pwrite64")
        plan.points.arm(signal.SIGSEGV if at else 0, at=at, only=shim)
        life.lead()
        life.end()
        assert plan.faults.n_fired >= 5
        return plan.points.n

    found = {}
    chaos.life("count", lambda life, plan: found.update(n=run(life, plan, 0)), preload=True)
    assert found.get("n", 0) > 20, (found, chaos.problems)
    for at in chaos.cases(range(1, found["n"] + 1)):
        chaos.life(at, lambda life, plan, at=at: run(life, plan, at), preload=True)
    chaos.finish()


def test_any_fatal_signal_at_any_point_loses_nothing(chaos):
    n = count_points(chaos, only=True)
    for signo, at in chaos.cases((s, at) for s in FATAL for at in range(1, n + 1)):
        at_point(chaos, (signo, at), signo, at, only=True)
    chaos.finish()


def test_a_second_crash_while_the_first_is_got_over_loses_nothing(chaos):
    n = count_points(chaos, only=True)

    def run(life, plan, at, after):
        life.patience = 2
        life.launch()
        plan.points.arm(signal.SIGSEGV, at=at, every=after, times=2, only=life.c.shim.pid)
        life.lead()
        life.end()

    for at, after in chaos.cases((at, after) for at in range(1, n + 1) for after in range(1, 13)):
        chaos.life((at, after), lambda life, plan, at=at, after=after: run(life, plan, at, after))
    chaos.finish()


@pytest.mark.parametrize("where", ["cleaned-up", "heard"])
def test_a_call_that_nobody_has_begun_is_the_next_images(chaos, where):
    """The next image begins it, and rests: what the call makes is not taken for what the image before has left."""
    def run(life, plan, wanted):
        call = life.call

        def armed(what, fn, **fields):
            if (what, fields.get("exec_id") or "") == wanted:
                plan.delays.arm(50, at=1, name=where, only=life.c.shim.pid)
                plan.points.arm(signal.SIGSEGV, at=1, name="call", only=life.c.shim.pid)
            return call(what, fn, **fields)

        life.call = armed
        life.launch()
        life.lead()
        life.end()
        assert plan.points.n_fired == plan.delays.n_fired == 1
        assert not life.errors

    for wanted in chaos.cases(CHANGES):
        chaos.life(wanted, lambda life, plan, wanted=wanted: run(life, plan, wanted))
    chaos.finish()


@pytest.mark.parametrize("methods, times", [(("State", "Connect", "Pids", "Stats"), 1), (("Connect",), 2)],
                         ids=["once", "twice"])
def test_a_call_that_only_looks_is_begun_again_after_a_crash_of_its_own(chaos, methods, times):
    """Once: a containerd that comes back would give the container up. Not over and over, if it is what crashes."""
    def run(life, plan):
        c = life.launch().c
        life.create()
        life.start(c)
        for method in methods:
            # Between the two the next image begins the Wait again, which came before.
            plan.points.arm(signal.SIGSEGV, at=1, every=2, times=times, name="handler", only=c.shim.pid)
            answer = life.call(method, getattr(c.task, method))
            assert plan.points.n_fired == times
            assert (answer is None) == (times > 1), life.errors
        life.finish(c, INIT_STATUS)
        life.delete(c)
        life.end()

    chaos.life(methods, run)
    chaos.finish()


@pytest.mark.parametrize("where", ["stage-forked", "job-complete"])
def test_an_exec_whose_start_a_crash_has_cut_off_does_not_go_on(chaos, where):
    """In the host's pid namespace: what is a child of the shim's may be an orphan of the container's as well. The shim
    has heard of the process, or has not read yet what the stage says."""
    def run(life, plan):
        c = life.c
        c.bundle.without_namespace("pid")
        c.config["process"]["args"] = ["sh", "-c", f"(sleep 1001 &); read line; exit {INIT_STATUS}"]
        life.launch()
        life.create()
        life.start(c)
        host.wait_for(lambda: life.lab.running("sleep 1001"), "the orphan")
        e = c.exec("sleep", "1000").add()
        life.wait(e)
        plan.delays.arm(300, at=1, name=where, only=c.shim.pid)
        plan.points.arm(signal.SIGSEGV, at=1, name=where, only=c.shim.pid)
        assert not life.start(e) and plan.points.n_fired == 1
        assert life.lab.running("sleep 1001") and not life.lab.running("sleep 1000")
        life.delete(e)
        life.finish(c, INIT_STATUS)
        life.delete(c)
        life.end()

    chaos.life(where, run)
    chaos.finish()


def test_a_fault_leaves_a_core_file(chaos):
    """By a process that takes longer than the next image does to take over."""
    if pathlib.Path("/proc/sys/kernel/core_pattern").read_text() != "core\n":
        pytest.skip("core files are not made here")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] != resource.RLIM_INFINITY:
        pytest.skip("RLIMIT_CORE is limited")

    def run(life, plan):
        c = life.launch().c
        core = c.bundle.path / "core"
        plan.points.arm(signal.SIGSEGV, at=1, name="call", only=c.shim.pid)
        life.lead()
        host.wait_for(lambda: core.exists() and core.stat().st_size > 100000, "a core file")
        core.unlink()
        life.end()

    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        chaos.life("core", run)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    chaos.finish()


@pytest.mark.share(2)
@pytest.mark.parametrize("signo", [signal.SIGSEGV, signal.SIGKILL], ids=lambda s: s.name)
def test_a_stage_or_an_init_that_dies_at_any_point_is_an_error_of_its_call(chaos, signo):
    n = count_points(chaos, but=True)
    for at in chaos.cases(range(1, n + 1)):
        at_point(chaos, at, signo, at, but=True)
    chaos.finish()


@pytest.mark.share(2)
def test_a_shim_that_is_killed_at_any_point_is_cleaned_up_after(chaos):
    n = count_points(chaos, only=True)

    def run(life, plan, at):
        life.launch()
        plan.points.arm(signal.SIGKILL, at=at, only=life.c.shim.pid)
        try:
            life.lead()
            life.call("Shutdown", life.c.task.Shutdown, now=False)
        except ShimGone:
            pass
        plan.disarm()
        life.after_death()

    for at in chaos.cases(range(1, n + 1)):
        chaos.life(at, lambda life, plan, at=at: run(life, plan, at), may_die=True)
    chaos.finish()


def test_a_stage_that_outlives_its_shim_for_a_moment_keeps_nothing_of_it(chaos):
    """The stage rests before its first step: it has not even heard of the shim's end when `delete` has done all."""
    def run(life, plan):
        c = life.launch().c
        plan.delays.arm(300, at=1, name="stage", but=c.shim.pid)
        plan.points.arm(signal.SIGKILL, at=1, name="stage-forked", only=c.shim.pid)
        c.created = True
        c.task.start.Create(bundle=str(c.bundle.path), **c._stdio())  # its connection lives as long as the stage
        life.after_death()
        assert plan.delays.n_fired == 1

    chaos.life("stage", run, may_die=True)
    chaos.finish()
