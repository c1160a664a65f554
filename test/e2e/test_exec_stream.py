# SPDX-License-Identifier: Apache-2.0
"""ExecStream of belay.v1: an exec with all of its streams in one call."""
import hashlib
import os
import signal

import pytest

import host
import protos
import ttrpc
from checks import fails
from streams import STDERR, STDOUT, ExecStream, connect


@pytest.fixture(autouse=True)
def not_stock(stock):
    if stock:
        pytest.skip("belay's own")


@pytest.fixture
def c(lab):
    return lab.container("sleep", "1000").run()


def is_deleted(c, exec_id):
    try:
        c.task.State(exec_id=exec_id)
        return False
    except ttrpc.Error as error:
        assert error.code == ttrpc.NOT_FOUND, error
        return True


def test_output_of_both_streams_and_the_exit_come_in_order(c):
    e = ExecStream(c, "sh", "-c", "echo out; echo err >&2; exit 7", exec_id="mine").finish()
    assert e.started.exec_id == "mine" and e.started.pid > 0
    assert e.out == {STDOUT: b"out\n", STDERR: b"err\n"}
    assert (e.exit.exit_status, e.exit.reason, e.exit.error) == (7, "exited", "")
    assert is_deleted(c, "mine")


def test_an_id_is_made_up(c):
    first, second = (ExecStream(c, "true").finish() for _ in range(2))
    assert first.started.exec_id != second.started.exec_id
    assert is_deleted(c, first.started.exec_id)


def test_without_stdin_it_is_dev_null(c):
    e = ExecStream(c, "sh", "-c", "readlink /proc/self/fd/0; cat").finish()
    assert (e.out[STDOUT], e.exit.exit_status) == (b"/dev/null\n", 0)


def test_stdin_goes_through_by_grants(c):
    data = bytes(range(256)) * (8 << 10)
    e = ExecStream(c, "sh", "-c", "md5sum", stdin=True)
    e.write(data)
    e.close_stdin()
    assert e.finish().out[STDOUT].decode().split()[0] == hashlib.md5(data).hexdigest()


def test_the_half_close_ends_stdin_and_output_goes_on(c):
    e = ExecStream(c, "sh", "-c", "cat; echo end", stdin=True)
    e.write(b"text\n")
    e.stream.half_close()
    assert e.finish().out[STDOUT] == b"text\nend\n"


def test_megabytes_of_output_are_lost_nowhere(c):
    size = 20 << 20
    e = ExecStream(c, "head", "-c", str(size), "/dev/zero").finish()
    assert e.out[STDOUT].count(b"\0") == size and e.exit.exit_status == 0


def test_the_exec_waits_for_a_client_that_does_not_read(lab, c):
    slow = connect(c.shim)
    e = ExecStream(c, "sh", "-c", "head -c 3000000 /dev/zero; echo end >&2", client=slow, exec_id="slow")
    e.until_started()
    slow.reading.clear()
    assert ExecStream(c, "echo", "other").finish().out[STDOUT] == b"other\n"
    assert c.task.State(exec_id="slow").status == protos.status.RUNNING
    slow.reading.set()
    e.finish()
    assert len(e.out[STDOUT]) == 3000000 and e.out[STDERR] == b"end\n"
    slow.close()


def test_a_terminal(c):
    script = """until [ "$(stty size)" = "44 99" ]; do sleep 0.05; done; echo ready
                read x; stty size; echo got $x; cat; echo over"""
    e = ExecStream(c, "sh", "-c", script, terminal=True, stdin=True, width=99, height=44)
    e.until_output(b"ready")
    e.resize(77, 33)
    e.write(b"it\r")
    e.until_output(b"got it")
    e.close_stdin()
    e.finish()
    assert b"33 77" in e.out[STDOUT] and b"over" in e.out[STDOUT] and not e.out[STDERR]


def test_a_terminal_s_last_output_is_not_lost(c):
    e = ExecStream(c, "sh", "-c", "stty -opost; head -c 300000 /dev/zero; printf end", terminal=True).finish()
    assert e.out[STDOUT] == b"\0" * 300000 + b"end"


def test_a_signal(c):
    e = ExecStream(c, "sh", "-c", "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done")
    e.until_output(b"ready\n")
    e.signal(signal.SIGUSR1)
    assert e.finish().out[STDOUT] == b"ready\ncaught\n" and e.exit.exit_status == 9
    e = ExecStream(c, "sleep", "100").until_started()
    e.signal(signal.SIGKILL)
    assert (e.finish().exit.exit_status, e.exit.reason) == (137, "signal")


def test_a_signal_at_once_reaches_it_too(c):
    e = ExecStream(c, "sleep", "100")
    e.signal(signal.SIGKILL)
    assert e.finish().exit.exit_status in (137, 255)


def test_what_cannot_be_started_has_an_exit_with_the_reason(c):
    e = ExecStream(c, "/no/such/program", exec_id="nothing").finish()
    assert not e.started and e.exit.reason == "runtime_error" and e.exit.exit_status == 255
    assert "no such file" in e.exit.error.lower()
    assert is_deleted(c, "nothing")


def test_what_cannot_be_added_is_the_stream_s_status(lab, c):
    with fails(ttrpc.INVALID_ARGUMENT, "exec id"):
        ExecStream(c, "true", exec_id="a/b").finish()
    c.exec("true", exec_id="taken").add()
    with fails(ttrpc.ALREADY_EXISTS, "taken"):
        ExecStream(c, "true", exec_id="taken").finish()
    with fails(ttrpc.INVALID_ARGUMENT, "size"):
        ExecStream(c, "true", width=70000).finish()
    with fails(ttrpc.INVALID_ARGUMENT, "signal"):
        e = ExecStream(c, "sleep", "100").until_started()
        e.signal(65)
        e.finish()
    stream = c.shim.service(protos.BELAY).stream.ExecStream()
    stream.send(protos.belay.ExecStreamRequest(start=protos.belay.ExecStart(id="nobody")))
    with fails(ttrpc.NOT_FOUND):
        stream.receive()
    stream = c.shim.service(protos.BELAY).stream.ExecStream()
    stream.send(protos.belay.ExecStreamRequest(signal=9))
    with fails(ttrpc.INVALID_ARGUMENT, "start"):
        stream.receive()
    for p in c.task.Pids().processes:
        if p.pid != c.pid():
            os.kill(p.pid, signal.SIGKILL)


def test_more_stdin_than_granted_is_refused(c):
    e = ExecStream(c, "sleep", "1000", stdin=True)
    e.until(lambda: e.granted)
    with fails(ttrpc.INVALID_ARGUMENT, "granted"):
        e.send(stdin=b"x" * (e.granted + 1))
        e.finish()
    with fails(ttrpc.INVALID_ARGUMENT, "granted"):
        e = ExecStream(c, "sleep", "1000").until_started()
        e.send(stdin=b"x")
        e.finish()


def test_when_the_client_goes_stdin_ends_and_the_exec_is_deleted(c):
    client = connect(c.shim)
    e = ExecStream(c, "sh", "-c", "cat; head -c 1000000 /dev/zero; exit 0", client=client, stdin=True, exec_id="left")
    e.until_started()
    waiting = c.task.start.Wait(exec_id="left")
    client.close()
    assert waiting.result().exit_status == 0
    host.wait_for(lambda: is_deleted(c, "left"), "the exec deleted")


def test_the_exit_comes_although_others_keep_the_output_open(c):
    e = ExecStream(c, "sh", "-c", "sleep 1000 & echo out; exit 5").finish()
    assert (e.out[STDOUT], e.exit.exit_status) == (b"out\n", 5)


def test_events_are_those_of_any_exec(lab, c):
    ExecStream(c, "true", exec_id="told").finish()
    lab.containerd.wait(c.id, "/tasks/exit")
    assert lab.containerd.order(c.id)[2:] == ["exec-added/told", "exec-started/told", "exit/told"]


def test_the_end_of_the_container_ends_it(c):
    e = ExecStream(c, "sleep", "100").until_started()
    c.kill(signal.SIGKILL)
    e.finish()
    assert (e.exit.exit_status, e.exit.reason) == (137, "signal")
    c.wait()
    c.delete()


def test_hundreds_leave_nothing(c):
    ExecStream(c, "true", stdin=True).finish()
    before = len(c.shim.fds())
    for i in range(300):
        client = connect(c.shim) if i % 10 == 0 else None
        e = ExecStream(c, "true", client=client, stdin=i % 2 == 0)
        if client:
            e.until_started()
            client.close()
        else:
            e.finish()
    host.wait_for(lambda: len(c.shim.fds()) <= before, "descriptors as before")
    assert len(c.task.Pids().processes) == 1
