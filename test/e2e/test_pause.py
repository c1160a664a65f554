# SPDX-License-Identifier: Apache-2.0
"""Pause and Resume: what stands still, what may be done to it meanwhile, and how it ends."""
import signal
import time

import pytest

import host
import ttrpc
from checks import fails

KILLED = 137


def refused(lab, *texts):
    """A verb in the wrong state: the stock shim says UNKNOWN, whatever is wrong."""
    return fails(ttrpc.FAILED_PRECONDITION, *texts, also=[ttrpc.UNKNOWN] if lab.stock else [])


def is_frozen(pid):
    path = host.freezer_file(pid)
    return host.read(path).decode().strip() in ("FROZEN", "1")


def set_frozen(pid, frozen):
    path = host.freezer_file(pid)
    if path.name == "freezer.state":
        path.write_text("FROZEN" if frozen else "THAWED")
    else:
        path.write_text("1" if frozen else "0")


@pytest.fixture
def paused(lab):
    c = lab.container("sleep", "100").run()
    c.task.Pause()
    return c


@pytest.mark.runs_with("belay", "runc", why="its pause does not wait for v1's freezer")
def test_a_paused_container_stands_still_and_goes_on_when_resumed(lab):
    c = lab.container("sh", "-c", "while :; do echo $((n = n + 1)) > /tick; done").run()
    tick = c.bundle.rootfs / "tick"
    host.wait_for(tick.exists, "it counts")
    c.task.Pause()
    assert c.status() == "PAUSED"
    assert is_frozen(c.pid())
    before = host.read(tick)
    time.sleep(0.1)  # nothing tells that nothing happens
    assert host.read(tick) == before
    c.task.Resume()
    assert c.status() == "RUNNING"
    assert not is_frozen(c.pid())
    host.wait_for(lambda: host.read(tick) not in (before, b""), "it goes on")


def test_both_have_their_events(lab, paused):
    paused.task.Resume()
    lab.containerd.wait(paused.id, "/tasks/resumed")
    assert [e.topic for e in lab.containerd.of(paused.id)][-2:] == ["/tasks/paused", "/tasks/resumed"]


def test_an_exec_shows_the_state_of_its_container(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sleep", "100").add()
    e.start()
    ended = c.exec("true").add()
    ended.start()
    ended.wait()
    c.task.Pause()
    assert e.status() == "PAUSED"
    if not lab.stock:  # there an exec shows its container's, whatever became of it
        assert ended.status() == "STOPPED"
    c.task.Resume()
    assert e.status() == "RUNNING"


def test_what_a_paused_container_refuses(lab, paused):
    with refused(lab, "cannot exec in a paused state"):
        paused.exec("true").add()
    with refused(lab, "cannot start a paused process"):
        paused.start()
    with refused(lab, "cannot pause a paused container"):
        paused.task.Pause()
    with refused(lab, "cannot delete a paused process"):
        paused.task.Delete()
    assert paused.status() == "PAUSED"


def test_an_exec_that_was_added_before_is_not_started_in_a_paused_container(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("true").add()
    c.task.Pause()
    with refused(lab, "paused"):
        e.start()
    c.task.Resume()
    if not lab.stock:  # there a Start that failed was the last
        e.start()
        assert e.wait().status == 0


def test_states_in_which_there_is_nothing_to_pause_or_resume(lab):
    c = lab.container("sleep", "100").create()
    with refused(lab, "cannot pause task in created state"):
        c.task.Pause()
    with refused(lab, "cannot resume task in created state"):
        c.task.Resume()
    c.start()
    with refused(lab, "cannot resume a running process"):
        c.task.Resume()
    c.kill()
    c.wait()
    with refused(lab, "cannot pause a stopped container"):
        c.task.Pause()
    with refused(lab, "cannot resume a stopped container"):
        c.task.Resume()
    c.delete()
    with fails(ttrpc.NOT_FOUND):
        c.task.Pause()
    with fails(ttrpc.NOT_FOUND):
        c.task.Resume()


@pytest.mark.parametrize("all", [False, True])
def test_sigkill_ends_a_paused_container(lab, paused, all):
    e = paused
    waiting = e.wait_later()
    e.kill(signal.SIGKILL, all=all)
    assert waiting.result().exit_status == KILLED
    assert e.status() == "STOPPED"
    assert e.delete().exit_status == KILLED


def test_another_signal_waits_for_the_resume(lab):
    c = lab.container("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done").pipes().run()
    c.stdout.read_until(b"ready\n")
    c.task.Pause()
    c.kill(signal.SIGTERM)
    assert c.status() == "PAUSED"
    try:
        c.task.Resume()
    except ttrpc.Error as error:  # a runtime binary may still be at it when the end comes
        assert lab.runc_binary and error.code == ttrpc.FAILED_PRECONDITION, error
    assert c.wait().status == 5


def test_an_exec_ends_with_the_paused_container_that_is_killed(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sleep", "100").add()
    e.start()
    c.task.Pause()
    c.kill(signal.SIGKILL)
    assert e.wait().status == KILLED
    assert c.wait().status == KILLED
    lab.containerd.wait(c.id, "/tasks/exit", 2)


def test_the_delete_action_ends_a_paused_container_whose_shim_is_gone(lab, paused):
    pid = paused.pid()
    answer = paused.delete_without_shim()
    assert answer.exit_status == KILLED
    host.wait_gone(pid)


def freeze_by_hand(lab):
    """Not before the program runs: a runtime that is frozen in the middle of its execve is in no state at all."""
    c = lab.container("sleep", "100").run()
    host.wait_for(lambda: host.cmdline(c.pid()) == "sleep 100", "the program runs")
    set_frozen(c.pid(), True)
    return c


def test_what_was_frozen_by_hand_can_be_paused_and_resumed(lab):
    c = freeze_by_hand(lab)
    if lab.runtime == "runc":  # it pauses only what runs
        with fails(ttrpc.UNKNOWN, "container not running"):
            c.task.Pause()
        set_frozen(c.pid(), False)
        return
    c.task.Pause()
    assert c.status() == "PAUSED"
    c.task.Resume()
    assert not is_frozen(c.pid())


@pytest.mark.parametrize("all", [False, True])
def test_sigkill_ends_what_was_frozen_by_hand(lab, stock, all):
    if stock and not all:
        pytest.skip("its Kill hangs")
    c = freeze_by_hand(lab)
    waiting = c.wait_later()
    c.kill(signal.SIGKILL, all=all)
    assert waiting.result().exit_status == KILLED


def test_what_was_paused_and_thawed_by_hand_can_be_resumed(lab, paused):
    set_frozen(paused.pid(), False)
    if lab.stock:
        with fails(ttrpc.UNKNOWN):  # runc knows no other pause than the freezer's
            paused.task.Resume()
        paused.kill(signal.SIGKILL)
        return
    paused.task.Resume()
    assert paused.status() == "RUNNING"


@pytest.mark.runs_with("belay", "runc", why="its pause does not wait for v1's freezer")
def test_a_container_that_forks_as_fast_as_it_can_is_paused(lab):
    c = lab.container("sh", "-c", "while :; do true & true & wait; done").run()
    for _ in range(5):
        c.task.Pause()
        assert is_frozen(c.pid())
        before = c.task.Pids().processes
        assert [p.pid for p in c.task.Pids().processes] == [p.pid for p in before]
        c.task.Resume()


def test_execs_that_are_started_while_the_container_is_paused_start_or_are_refused(lab, stock):
    """None hangs in its Start until somebody resumes the container."""
    if stock:
        pytest.skip("runc exec may be frozen in the middle")
    c = lab.container("sleep", "100").run()
    for _ in range(10):
        execs = [c.exec("true").add() for _ in range(4)]
        starts = [c.task.start.Start(exec_id=e.exec_id) for e in execs]
        c.task.Pause()
        for start in starts:
            try:
                start.result()
            except ttrpc.Error as error:
                assert error.code == ttrpc.FAILED_PRECONDITION, error
        assert c.status() == "PAUSED"
        c.task.Resume()
