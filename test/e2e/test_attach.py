# SPDX-License-Identifier: Apache-2.0
"""Attach of belay.v1: looking at a process's output, and typing, while it runs."""
import hashlib
import os
import re
import signal

import pytest

import host
import protos
import ttrpc
from checks import fails
from streams import STDERR, STDOUT, Attach, connect


@pytest.fixture(autouse=True)
def not_stock(stock):
    if stock:
        pytest.skip("belay's own")


def create(lab, script, params="", **fields):
    c = lab.container("sh", "-c", script)
    uri = f"log://{lab.new_path('logs')}/log?{params}"
    c.create(stdout=uri, stderr=uri, **fields)
    return c


def run(lab, script, params="", **fields):
    c = create(lab, script, params, **fields)
    c.start()
    return c


def run_terminal(lab, script, **fields):
    c = lab.container("sh", "-c", script)
    c.config["process"]["terminal"] = True
    c.terminal = True
    c.create(**{**c._stdio(), **fields})
    c.start()
    return c


def test_replay_then_live_output_then_the_exit(lab):
    c = run(lab, "echo before; read x; echo after; echo err >&2; exit 3", stdin="attach:///")
    a = Attach(c, replay_bytes=1 << 20, stdin=True).until_output(b"before\n")
    assert not a.started.terminal
    a.write(b"go\n")
    a.finish()
    assert a.out == {STDOUT: b"before\nafter\n", STDERR: b"err\n"}
    assert (a.exit.exit_status, a.exit.reason) == (3, "exited")
    assert a.exit.exited_at == c.wait().at


def test_who_takes_a_full_replay_does_not_fall_behind_by_it(lab):
    """What is written meanwhile overwrites the oldest in the ring, where the replay begins."""
    c = run(lab, "seq 1 300000; echo ready; read x; seq 1 100000; echo done; read x", "ring=1m", stdin="attach:///")
    typist = Attach(c, stdin=True, replay_bytes=100).until_output(b"ready\n")
    own = connect(c.shim)
    own.reading.clear()
    a = Attach(c, client=own, replay_bytes=1 << 20)
    host.wait_for(lambda: c.shim.holds()["/memfd:belay-ring (deleted)"] == 2, "the copy of the ring")
    typist.write(b"\n")
    typist.until_output(b"done\n")
    own.reading.set()
    a.until_output(b"done\n")
    typist.write(b"\n")
    assert a.finish().exit.exit_status == 0
    first, second = (b"".join(b"%d\n" % i for i in range(1, n + 1)) for n in (300000, 100000))
    assert (first + b"ready\n" + second + b"done\n").endswith(bytes(a.out[STDOUT]))
    assert len(a.out[STDOUT]) > (768 << 10) + len(second)
    own.close()


def test_without_replay_only_what_comes_afterwards(lab):
    c = run(lab, "echo before; read x; echo after", stdin="attach:///")
    first = Attach(c, replay_bytes=1 << 20).until_output(b"before\n")
    second = Attach(c, stdin=True).until_started()
    second.write(b"\n")
    assert second.finish().out[STDOUT] == b"after\n"
    assert first.finish().out[STDOUT] == b"before\nafter\n"


def test_one_stream_of_the_two(lab):
    c = run(lab, "echo out; echo err >&2; read x", stdin="attach:///")
    out = Attach(c, replay_bytes=1 << 20, stdout=True)
    err = Attach(c, replay_bytes=1 << 20, stderr=True, stdin=True).until_output(b"err\n", STDERR)
    err.close_stdin()
    assert err.finish().out == {STDOUT: b"", STDERR: b"err\n"}
    assert out.finish().out == {STDOUT: b"out\n", STDERR: b""}


def test_a_stopped_process_replays_and_gives_its_exit(lab):
    c = run(lab, "echo said; exit 4")
    c.wait()
    a = Attach(c, replay_bytes=1 << 20).finish()
    assert (a.out[STDOUT], a.exit.exit_status) == (b"said\n", 4)
    assert Attach(c).finish().out[STDOUT] == b""


def test_a_created_container_can_be_attached_to(lab):
    c = create(lab, "echo first")
    a = Attach(c).until_started()
    c.start()
    assert a.finish().out[STDOUT] == b"first\n"


def test_detaching_changes_nothing(lab):
    c = run(lab, "read x; echo got $x", stdin="attach:///")
    a = Attach(c, stdin=True).until_started()
    a.detach()
    assert a.exit is None and c.status() == "RUNNING"
    b = Attach(c, stdin=True)
    b.write(b"it\n")
    assert b.finish().out[STDOUT] == b"got it\n"


def test_what_was_typed_before_the_detach_arrives(lab):
    c = run(lab, "sleep 1; md5sum", stdin="attach:///")
    look = Attach(c).until_started()
    a = Attach(c, stdin=True)
    a.write(b"x" * 100000)
    a.close_stdin()
    a.detach()
    assert look.finish().out[STDOUT].decode().split()[0] == hashlib.md5(b"x" * 100000).hexdigest()


def test_a_fifo_s_stdin_can_be_written_to_as_well(lab):
    c = lab.container("cat").pipes("stdin")
    uri = f"log://{lab.new_path('logs')}/log"
    c.create(**{**c._stdio(), "stdout": uri, "stderr": uri})
    c.start()
    a = Attach(c, stdin=True)
    a.write(b"through the shim\n")
    a.until_output(b"through the shim\n")
    c.stdin.write(b"and beside it\n")
    a.until_output(b"and beside it\n")
    c.stdin.close()
    a.close_stdin()
    assert a.finish().exit.exit_status == 0


def test_stdin_is_by_grants(lab):
    c = run(lab, "exec sleep 100", stdin="attach:///")
    a = Attach(c, stdin=True)
    a.until(lambda: a.granted)
    assert a.granted == 64 << 10
    with fails(ttrpc.INVALID_ARGUMENT, "granted"):
        a.send(stdin=b"x" * (a.granted + 1))
        a.finish()
    with fails(ttrpc.INVALID_ARGUMENT, "granted"):
        b = Attach(c).until_started()
        b.send(stdin=b"x")
        b.finish()
    assert c.status() == "RUNNING"


def test_megabytes_of_stdin_go_through(lab):
    c = run(lab, "wc -c", stdin="attach:///")
    a = Attach(c, stdin=True)
    a.write(b"y" * (3 << 20))
    a.close_stdin()
    assert a.finish().out[STDOUT].strip() == str(3 << 20).encode()


def test_close_io_ends_stdin_of_those_who_are_attached(lab):
    c = run(lab, "cat; echo end", stdin="attach:///")
    a = Attach(c, stdin=True)
    a.write(b"one\n")
    a.until_output(b"one\n")
    c.task.CloseIO(stdin=True)
    assert a.finish().out[STDOUT] == b"one\nend\n"


def test_a_terminal_is_shown_typed_into_and_resized(lab):
    c = run_terminal(lab, "stty size; read x; stty size; echo got $x", stdin="attach:///")
    a = Attach(c, stdin=True, replay_bytes=1 << 20).until_output(b"\n")
    assert a.started.terminal
    a.resize(77, 33)
    a.write(b"it\r")
    a.finish()
    assert b"33 77" in a.out[STDOUT] and b"got it" in a.out[STDOUT]
    assert a.exit.exit_status == 0


def test_a_terminal_of_which_stdin_is_closed_gets_its_end_of_file(lab):
    c = run_terminal(lab, "cat; echo over", stdin="attach:///")
    a = Attach(c, stdin=True)
    a.close_stdin()
    assert b"over" in a.finish().out[STDOUT]


def test_direct_fifos_are_refused_by_name(lab):
    c = lab.container("sleep", "100").pipes("stdout", "stderr").run()
    with fails(ttrpc.FAILED_PRECONDITION, "client's own", "log://", "terminal"):
        Attach(c).finish()
    with fails(ttrpc.NOT_FOUND):
        Attach(c.exec("true", exec_id="nobody")).finish()
    e = c.exec("true").add()
    with fails(ttrpc.FAILED_PRECONDITION, "not been started"):
        Attach(e).finish()


def test_a_log_that_keeps_nothing_is_refused_by_name(lab):
    c = run(lab, "sleep 100", "ring=0")
    with fails(ttrpc.FAILED_PRECONDITION, "ring=0"):
        Attach(c).finish()


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_a_burst_is_no_reason_to_be_dropped(lab, terminal):
    script = "read x; head -c 150000 /dev/zero; echo end"
    c = (run_terminal if terminal else run)(lab, script, stdin="attach:///")
    a = Attach(c, stdin=True).until_started()
    a.write(b"\n")
    assert a.finish().out[STDOUT].count(b"\0") == 150000
    assert a.exit.exit_status == 0


def test_stdin_that_the_shim_cannot_write_to_is_refused(lab):
    c = run(lab, "sleep 100")
    with fails(ttrpc.FAILED_PRECONDITION, "stdin"):
        Attach(c, stdin=True).finish()


def test_the_first_request_must_be_start(lab):
    c = run(lab, "sleep 100")
    a = Attach(c).until_started()
    with fails(ttrpc.INVALID_ARGUMENT, "start"):
        a.send(start=protos.belay.AttachStart(id=c.id))
        a.finish()
    stream = c.shim.service(protos.BELAY).stream.Attach()
    stream.send(protos.belay.AttachRequest(stdin=b"x"))
    with fails(ttrpc.INVALID_ARGUMENT, "start"):
        stream.receive()
    stream = c.shim.service(protos.BELAY).stream.Attach()
    stream.half_close()
    with fails(ttrpc.INVALID_ARGUMENT, "start"):
        stream.receive()


def test_attach_is_for_stdin_only(lab):
    c = lab.container("true")
    with fails(ttrpc.INVALID_ARGUMENT, "attach"):
        c.create(stdout="attach:///")
    c.created = False


def test_a_client_that_does_not_read_is_dropped_and_the_container_goes_on(lab):
    c = run(lab, "read x; i=0; while [ $i -lt 200 ]; do head -c 8192 /dev/zero; i=$((i+1)); done; exit 6",
            stdin="attach:///")
    slow = connect(c.shim)
    a = Attach(c, client=slow).until_started()
    slow.reading.clear()
    c.task.CloseIO(stdin=True)
    assert c.wait().status == 6
    slow.reading.set()
    with fails(ttrpc.RESOURCE_EXHAUSTED, "bytes behind"):
        a.finish()
    slow.close()


def test_the_exit_comes_although_others_keep_the_output_open(lab):
    c = run(lab, "echo out; sleep 100 & exit 5")
    a = Attach(c, replay_bytes=1 << 20).finish()
    assert (a.out[STDOUT], a.exit.exit_status) == (b"out\n", 5)


def test_delete_while_attached_ends_the_stream(lab):
    c = run(lab, "echo out; sleep 100")
    a = Attach(c, replay_bytes=1 << 20).until_output(b"out\n")
    c.kill(signal.SIGKILL)
    c.wait()
    c.delete()
    a.finish()
    assert (a.exit.exit_status, a.exit.reason) == (137, "signal")


def test_a_shim_that_is_told_to_end_says_so(lab):
    c = run(lab, "echo out; sleep 100")
    a = Attach(c, replay_bytes=1 << 20).until_output(b"out\n")
    pid = c.pid()
    os.kill(c.shim.pid, signal.SIGTERM)
    with fails(ttrpc.UNAVAILABLE, "ending"):
        a.finish()
    host.wait_gone(c.shim.pid)
    os.kill(pid, signal.SIGKILL)
    host.wait_gone(pid)
    c.shim.disconnect()
    c.shim.run_delete()
    c.task = None


def test_hundreds_of_attachments_leave_nothing(lab):
    c = run(lab, "cat", stdin="attach:///")
    sockets, before, memory = n_sockets(c), None, None
    for i in range(300):
        client = connect(c.shim) if i % 10 == 0 else c.shim.client
        a = Attach(c, client=client, stdin=i % 2 == 0, replay_bytes=4096).until_started()
        if client is not c.shim.client:
            client.close()
        else:
            a.detach()
        if i == 20:
            host.wait_for(lambda: n_sockets(c) <= sockets, "connections closed")
            before, memory = c.shim.fds(), resident_kib(c.shim.pid)
    host.wait_for(lambda: len(c.shim.fds()) <= len(before), "fds back at the baseline")
    assert lab.sanitized or resident_kib(c.shim.pid) < memory + 512
    a = Attach(c, stdin=True)
    a.write(b"still\n")
    a.until_output(b"still\n")
    a.close_stdin()
    a.finish()


def resident_kib(pid):
    status = host.read(f"/proc/{pid}/status").decode()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1))


def n_sockets(c):
    return sum("socket" in target for target in c.shim.fds().values())


def test_more_than_the_limit_is_refused(lab):
    c = run(lab, "sleep 100")
    clients = [connect(c.shim) for _ in range(3)]
    attached = [Attach(c, client=clients[i % 3]).until_started() for i in range(64)]
    with fails(ttrpc.RESOURCE_EXHAUSTED, "64"):
        Attach(c, client=clients[2]).finish()
    for client in clients:
        client.close()
    assert attached
    host.wait_for(lambda: can_attach(c), "attach again")


def can_attach(c):
    try:
        Attach(c).until_started().detach()
        return True
    except ttrpc.Error:
        return False
