# SPDX-License-Identifier: Apache-2.0
"""A shim that goes on as another image of its process while something large is under way: none of it is in an upgrade's
way, a crash costs no connection, and nobody who waits can tell."""
import fcntl
import json
import struct
import termios

import pytest

import host
import protos
import ttrpc
from shim import SPEC_TYPE
from streams import STDOUT, ExecStream, connect
from test_reexec import again, crash, only_belay, upgrade  # noqa: F401

LARGE = 3 << 20
TASK = "containerd.task.v2.Task"


@pytest.fixture
def c(lab):
    return lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()


def request(c, stream, method, message):
    body = protos.envelope.Request(service=TASK, method=method, payload=message.SerializeToString())
    return ttrpc.frame(stream, ttrpc.REQUEST, body.SerializeToString())


def answer(sock):
    """(stream, status, payload)"""
    stream, kind, _, body = ttrpc.read_frame(sock)
    assert kind == ttrpc.RESPONSE
    response = protos.envelope.Response.FromString(body)
    return stream, response.status.code, response.payload


def wait_until_taken(sock):
    """All that was sent has been read by the shim."""
    def left():
        return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]

    host.wait_for(lambda: left() == 0, lambda: f"{left()} bytes to be read")


def finish(c, waits=()):
    c.stdin.write(b"\n")
    for wait in waits:
        assert wait.result().exit_status == 7
    assert c.wait().status == 7
    c.delete()
    c.finish()


def large_exec(c, exec_id):
    """An exec that sees the end of its spec's environment."""
    spec = {"user": {}, "args": ["sh", "-c", "exit $LAST"], "cwd": "/",
            "env": ["PATH=/bin", c.lab.token_variable, *(f"V{i}={'x' * 100000}" for i in range(12)), "LAST=5"],
            "annotations": {"padding": "x" * (LARGE - 1200000)}}
    return protos.task.ExecProcessRequest(id=c.id, exec_id=exec_id, stdin="", stdout="", stderr="",
                                          spec=protos.wrap(json.dumps(spec).encode(), SPEC_TYPE))


def test_a_large_request_of_which_a_part_has_come(c, again):
    """In three places; then the exec that it has added is started, in one more image."""
    data = request(c, 1, "Exec", large_exec(c, "large"))
    assert len(data) > LARGE
    sock = ttrpc.connect(c.shim.address)
    at = 0
    for cut in (60000, 1 << 20, len(data) - 1):
        sock.sendall(data[at:cut])
        at = cut
        wait_until_taken(sock)
        again(c)
    sock.sendall(data[at:])
    assert answer(sock)[:2] == (1, ttrpc.OK)
    sock.close()
    again(c)
    c.task.Start(exec_id="large")
    assert c.task.Wait(exec_id="large").exit_status == 5
    c.task.Delete(exec_id="large")
    finish(c)


def test_large_answers_that_a_client_does_not_read(c, again):
    n = 6000
    pid = c.pid()
    sock = ttrpc.connect(c.shim.address)
    sock.sendall(b"".join(request(c, 2 * i + 1, "State", protos.task.StateRequest(id=c.id)) for i in range(n)))
    wait_until_taken(sock)
    again(c)
    again(c)
    size = 0
    for i in range(n):
        stream, code, payload = answer(sock)
        assert (stream, code) == (2 * i + 1, ttrpc.OK)
        assert protos.task.StateResponse.FromString(payload).pid == pid
        size += len(payload)
        if i == n // 2:
            again(c)
    assert size > 600 << 10, "no more than what has room in any case"
    sock.close()
    finish(c)


@pytest.mark.parametrize("at_once", [True, False], ids=["opening", "message"])
def test_a_stream_with_a_large_process(c, again, at_once):
    env = ["PATH=/bin", *(f"V{i}={'x' * 100000}" for i in range(12))]
    client = connect(c.shim)
    e = ExecStream(c, "sh", "-c", "while read line; do echo got $line; done; exit 4", client=client, stdin=True,
                   changes={"env": env}, at_once=at_once)
    e.until_started()
    for line in (b"one", b"two", b"three"):
        again(c)
        e.write(line + b"\n")
        e.until_output(b"got " + line + b"\n")
    e.close_stdin()
    assert e.finish().exit.exit_status == 4
    assert e.out[STDOUT] == b"got one\ngot two\ngot three\n"
    client.close()
    finish(c)


def test_very_many_waits(c, again):
    """On one connection, and over many."""
    one = connect(c.shim)
    clients = [connect(c.shim) for _ in range(50)]
    waits = [c.shim.service(client=one).start.Wait(exec_id="") for _ in range(1000)]
    waits += [c.shim.service(client=client).start.Wait(exec_id="") for client in clients for _ in range(20)]
    for client in (one, *clients):
        assert c.shim.service(client=client).State(exec_id="").pid == c.pid()
    for _ in range(4):
        again(c)
    finish(c, waits)
    for client in (one, *clients):
        client.close()


def test_more_waits_on_one_connection_than_its_area_has_room_for(c, again):
    """containerd has one for all execs of a container, of which there may be 4096."""
    client = connect(c.shim)
    task = c.shim.service(client=client)
    execs = [c.exec("sleep", "1000").add() for _ in range(2)]
    for e in execs:
        e.start()
    waits = [[task.start.Wait(exec_id=e.exec_id) for _ in range(1500)] for e in execs]
    assert task.State(exec_id="").pid == c.pid()
    for _ in range(2):
        again(c)
    for e, of_it in zip(execs, waits):
        e.kill()
        assert {wait.result(20).exit_status for wait in of_it} == {137}
        e.delete()
    finish(c)
    client.close()


def test_an_upgrade_ten_times_in_a_row_amid_all_of_it(c):
    data = request(c, 1, "Exec", large_exec(c, "large"))
    sock = ttrpc.connect(c.shim.address)
    step = len(data) // 10
    client = connect(c.shim)
    e = ExecStream(c, "sh", "-c", "cat", client=client, stdin=True, changes={"env": ["PATH=/bin", "V=" + "x" * 100000]},
                   at_once=True)
    e.until_started()
    waits = [c.shim.service(client=client).start.Wait(exec_id="") for _ in range(100)]
    for i in range(10):
        sock.sendall(data[i * step:(i + 1) * step])
        e.write(b"%d\n" % i)
        upgrade(c)
    sock.sendall(data[10 * step:])
    assert answer(sock)[:2] == (1, ttrpc.OK)
    sock.close()
    c.task.Delete(exec_id="large")
    e.close_stdin()
    assert e.finish().out[STDOUT] == b"".join(b"%d\n" % i for i in range(10))
    finish(c, waits)
    client.close()
