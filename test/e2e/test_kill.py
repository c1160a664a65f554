# SPDX-License-Identifier: Apache-2.0
"""Kill: which process gets which signal, and what a process that is gone answers."""
import os
import signal

import pytest

import host
import ttrpc
from checks import fails


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGSEGV, signal.SIGHUP])
def test_death_by_a_signal_is_128_plus_its_number(lab, signo):
    c = lab.container("sleep", "100").run()
    e = c.exec("sleep", "100").add()
    pid = e.start()
    if lab.stock:  # its Start returns while runc still prepares the process
        host.wait_for(lambda: host.cmdline(pid) == "sleep 100", "the program runs")
    e.kill(signo)
    assert e.wait().status == 128 + signo
    assert e.delete().exit_status == 128 + signo
    assert c.status() == "RUNNING"


def test_a_signal_that_is_handled_arrives(lab):
    c = lab.container("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 1; done").pipes().run()
    c.stdout.read_until(b"ready\n")
    c.kill(signal.SIGTERM)
    assert c.wait().status == 5


def test_signal_0_only_asks(lab):
    c = lab.container("sleep", "100").run()
    c.kill(0)
    assert c.status() == "RUNNING"


def test_kill_in_the_created_state_ends_the_container(lab):
    c = lab.container("sleep", "100").create()
    c.kill(signal.SIGKILL)
    assert c.wait().status == 137
    assert c.status() == "STOPPED"


def test_kill_after_the_exit_is_not_found(lab):
    c = lab.container("true").run()
    c.wait()
    with fails(ttrpc.NOT_FOUND):
        c.kill(signal.SIGKILL)
    with fails(ttrpc.NOT_FOUND):
        c.kill(signal.SIGTERM)
    c.delete()
    with fails(ttrpc.NOT_FOUND):
        c.kill(signal.SIGKILL)


def test_kill_all_after_the_exit_is_not_an_unknown_error(lab):
    c = lab.container("true").run()
    c.wait()
    try:
        c.kill(signal.SIGKILL, all=True)
    except ttrpc.Error as error:
        assert error.code == ttrpc.NOT_FOUND


def test_kill_of_an_exec_that_was_not_started_or_has_ended(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("true").add()
    with fails(ttrpc.FAILED_PRECONDITION):
        e.kill()
    e.start()
    e.wait()
    with fails(ttrpc.NOT_FOUND):
        e.kill()


def test_a_signal_number_that_does_not_exist_is_an_error(lab):
    c = lab.container("sleep", "100").run()
    with fails(ttrpc.INVALID_ARGUMENT, also=[ttrpc.UNKNOWN] if lab.stock else []):
        c.kill(200)
    assert c.status() == "RUNNING"


def test_kill_all_reaches_every_process(lab):
    c = lab.container("sh", "-c", "sleep 100 & sleep 101 & echo on; wait").pipes().run()
    c.stdout.read_until(b"on\n")
    e = c.exec("sh", "-c", "setsid sleep 102 & echo on; wait").pipes().add()
    e.start()
    e.stdout.read_until(b"on\n")
    pids = host.wait_for(lambda: len(c.task.Pids().processes) == 5 and c.task.Pids().processes, "five processes")
    c.kill(signal.SIGKILL, all=True)
    assert c.wait().status == 137
    assert e.wait().status == 137
    assert not [p.pid for p in pids if os.path.exists(f"/proc/{p.pid}")]


def test_kill_without_all_reaches_init_only(lab):
    c = lab.container("sh", "-c", "trap 'echo got it' USR1; echo on; while :; do sleep 1; done").pipes().run()
    c.stdout.read_until(b"on\n")
    e = c.exec("sleep", "100").add()
    e.start()
    c.kill(signal.SIGUSR1)
    c.stdout.read_until(b"got it\n")
    assert e.status() == "RUNNING"


def test_without_a_pid_namespace_the_end_of_init_ends_all(lab):
    """R38: the kernel does not do it there, so the shim must, and only then is init's exit told."""
    c = lab.container("sh", "-c", "sleep 1000 & setsid sleep 1001 & read x").pipes("stdin", "stdout", "stderr")
    c.bundle.without_namespace("pid")
    c.run()
    host.wait_for(lambda: len(c.task.Pids().processes) == 3, "three processes")
    pids = [p.pid for p in c.task.Pids().processes]
    c.stdin.write(b"\n")
    assert c.wait().status == 0
    lab.containerd.wait(c.id, "/tasks/exit")
    for pid in pids:
        host.wait_gone(pid)


def test_a_joined_pid_namespace_counts_as_shared(lab):
    """R38: the namespace outlives init, so what is left in it must be killed as well."""
    a = lab.container("sleep", "100").run()
    b = lab.container("sh", "-c", "setsid sleep 1000 & read x").pipes("stdin", "stdout", "stderr")
    b.bundle.namespace("pid")["path"] = f"/proc/{a.pid()}/ns/pid"
    b.run()
    host.wait_for(lambda: len(b.task.Pids().processes) == 2, "two processes")
    pids = [p.pid for p in b.task.Pids().processes]
    b.stdin.write(b"\n")
    b.wait()
    for pid in pids:
        host.wait_gone(pid)
    assert a.status() == "RUNNING"


def test_a_storm_of_kills_and_deletes_ends_in_one_deletion(lab):
    """R22"""
    c = lab.container("sh", "-c", "for i in 1 2 3 4 5; do sleep 1000 & done; wait").run()
    wait = c.wait_later()
    calls = []
    for _ in range(20):
        calls += [c.task.start.Kill(signal=signal.SIGKILL, all=True), c.task.start.Delete(),
                  c.task.start.Kill(signal=signal.SIGTERM), c.task.start.State()]
    errors = [call.exception() for call in calls]
    expected = {ttrpc.NOT_FOUND, ttrpc.FAILED_PRECONDITION, *([ttrpc.UNKNOWN] if lab.stock else [])}
    assert {e.code for e in errors if e} <= expected, errors
    assert wait.result().exit_status == 137
    try:
        c.delete()
    except ttrpc.Error as error:
        assert error.code == ttrpc.NOT_FOUND
        c.deleted = True
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == ["create", "start", "exit", "delete"]
