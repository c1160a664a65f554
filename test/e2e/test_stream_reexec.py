# SPDX-License-Identifier: Apache-2.0
"""Attach, Logs and ExecStream of belay.v1 go on in another image of the shim, after an upgrade as after a crash: what a
client reads is all of it, once, and what it types arrives, once."""
import hashlib
import os
import signal
import threading

import pytest

import host
import protos
import ttrpc
from checks import fails
from harness import baseline
from paths import begin, stdout_by_pieces, with_terminal
from streams import STDERR, STDOUT, Attach, ExecStream, connect
from test_exec_stream import is_deleted
from test_logs import readers
from test_reexec import crash, only_belay, upgrade  # noqa: F401 (a fixture)

SIZE = 16 << 20
PIECE = 64 << 10
SOME = os.urandom(64 << 10)


@pytest.fixture(params=["upgrade", "crash"])
def again(request):
    return upgrade if request.param == "upgrade" else crash


class Again:
    """The shim goes on as another image over and over while the block is at work. After a crash that is bounded: five
    in ten seconds."""

    def __init__(self, c, again):
        self.c = c
        self.again = again
        self.most = 2 if again is crash else 1000
        self.count = 0
        self.over = threading.Event()
        self.error = None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            while self.count < self.most:
                self.again(self.c)  # at once: on a fast machine the block's work is done in a moment
                self.count += 1
                if self.over.wait(0.03):
                    break
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.thread.join()
        if kind is None:
            assert self.error is None, self.error
            assert self.count > 0


@pytest.fixture(scope="module")
def binary(request):
    path = request.config.base / "reexec-binary"
    path.write_bytes(os.urandom(SIZE))
    yield path
    path.unlink()


def digest(data):
    return len(data), hashlib.sha256(data).hexdigest()


def sleeper(lab, source=None):
    c = lab.container("sleep", "1000")
    if source:
        c.bundle.mount("/data", "bind", source, "rbind", "ro")
    return c.run()


# ---- ExecStream ----


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_the_output_of_an_exec_stream_is_whole(lab, binary, again, terminal):
    c = sleeper(lab, binary)
    with baseline(c):
        e = ExecStream(c, "sh", "-c", f"{'stty -opost;' if terminal else ''} cat /data; exit 3", terminal=terminal)
        e.until_started()
        with Again(c, again):
            e.finish()
        assert e.exit.exit_status == 3
        assert digest(bytes(e.out[STDOUT])) == digest(binary.read_bytes())
    c.finish()


def test_both_outputs_of_an_exec_stream_are_whole(lab, again):
    c = sleeper(lab)
    e = ExecStream(c, "sh", "-c", "seq 1 300000 & seq 1 300000 >&2; wait; exit 4").until_started()
    with Again(c, again):
        e.finish()
    lines = b"".join(b"%d\n" % n for n in range(1, 300001))
    assert e.out == {STDOUT: lines, STDERR: lines}
    assert e.exit.exit_status == 4
    c.finish()


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_the_stdin_of_an_exec_stream_is_whole(lab, again, terminal):
    c = sleeper(lab)
    size = 4 << 20 if terminal else 32 << 20
    script = f"stty raw -echo; echo ready; head -c {size} | md5sum" if terminal else "echo ready; md5sum"
    with baseline(c):
        e = ExecStream(c, "sh", "-c", script, stdin=True, terminal=terminal).until_output(b"ready\n")
        want = hashlib.md5()
        with Again(c, again):
            for _ in range(size // len(SOME)):
                e.write(SOME)
                want.update(SOME)
        e.close_stdin()
        assert e.finish().out[STDOUT].split()[1].decode() == want.hexdigest()
    c.finish()


def test_stdin_that_the_process_has_not_taken_goes_along(lab, again):
    """A pipe's worth is in the pipe, the rest in the shim."""
    c = sleeper(lab)
    e = ExecStream(c, "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.01; done; md5sum", stdin=True).until_started()
    e.write(SOME)
    e.write(SOME[:40000])
    again(c)
    again(c)
    e.close_stdin()
    again(c)
    assert c.exec("sh", "-c", "mkdir -p /tmp; touch /tmp/go").run()[0] == 0
    assert e.finish().out[STDOUT].split()[0].decode() == hashlib.md5(SOME + SOME[:40000]).hexdigest()
    assert e.exit.exit_status == 0
    c.finish()


def test_an_exec_stream_can_be_resized_and_signalled_afterwards(lab, again):
    c = sleeper(lab)
    script = "trap 'stty size; exit 5' USR1; echo ready; while :; do sleep 0.01; done"
    e = ExecStream(c, "sh", "-c", script, terminal=True).until_output(b"ready")
    again(c)
    e.resize(101, 31)
    e.signal(10)
    e.finish()
    assert b"31 101" in e.out[STDOUT]
    assert e.exit.exit_status == 5
    c.finish()


def test_an_exec_stream_whose_client_goes_right_after_is_deleted(lab, again):
    c = sleeper(lab)
    with baseline(c):
        own = connect(c.shim)
        ExecStream(c, "cat", stdin=True, client=own, exec_id="mine").until_started()
        again(c)
        own.close()
        host.wait_for(lambda: is_deleted(c, "mine"), "the exec to end with its stdin")
        assert ExecStream(c, "true", exec_id="mine").finish().exit.exit_status == 0
    c.finish()


def test_an_exec_stream_that_has_no_client_any_more_goes_on_without_one(lab, again):
    c = sleeper(lab)
    own = connect(c.shim)
    ExecStream(c, "sh", "-c", "read x; seq 1 100000; mkdir -p /tmp; touch /tmp/done", stdin=True,
               client=own).until_started()
    own.close()
    again(c)
    host.wait_for(lambda: c.exec("test", "-e", "/tmp/done").run()[0] == 0, "the exec to write what nobody reads")
    c.finish()


def test_streams_that_have_not_begun_can_begin_afterwards(lab, again):
    c = attached(lab, False, "read x")
    e, a = ExecStream(c, "echo", "late", later=True), Attach(c, stdin=True, later=True)
    c.status()  # they have arrived
    again(c)
    e.begin()
    assert e.finish().out[STDOUT] == b"late\n"
    a.begin()
    a.write(b"\n")
    assert a.finish().exit.exit_status == 0
    c.wait()
    c.delete()
    c.finish()


# ---- Attach ----


def attached(lab, terminal, script, source=None, params="", **fields):
    c = lab.container("sh", "-c", f"{'stty raw -echo;' if terminal else ''} echo ready; {script}")
    if source:
        c.bundle.mount("/data", "bind", source, "rbind", "ro")
    c.launch()
    if terminal:
        begin(with_terminal(c), stdin="attach:///")
    else:
        begin(c, stdin="attach:///", stdout=f"log://{lab.new_path('log')}?format=raw{params}")
    Attach(c, replay_bytes=1 << 20).until_output(b"ready").detach()
    return c


BY_PIECES = f"exec 3</data; while read x; do dd bs={PIECE} count=1 <&3 2>/dev/null; done"


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_what_is_attached_to_is_whole(lab, binary, again, terminal):
    c = attached(lab, terminal, BY_PIECES, binary)
    with baseline(c):
        with Again(c, again):
            data = stdout_by_pieces(c, SIZE, PIECE)
    assert digest(data) == digest(binary.read_bytes())
    c.wait()
    c.delete()
    c.finish()


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_what_is_typed_into_an_attach_is_whole(lab, again, terminal):
    size = 4 << 20 if terminal else 32 << 20
    c = attached(lab, terminal, f"head -c {size} | md5sum")
    a = Attach(c, stdin=True).until_started()
    want = hashlib.md5()
    with Again(c, again):
        for _ in range(size // len(SOME)):
            a.write(SOME)
            want.update(SOME)
    assert a.finish().out[STDOUT].split()[0].decode() == want.hexdigest()
    assert a.exit.exit_status == 0
    c.wait()
    c.delete()
    c.finish()


def test_each_of_many_who_are_attached_goes_on_from_where_it_was(lab, again):
    c = attached(lab, False, "while read x; do echo out $x; echo err $x >&2; done; exit 9")
    out = Attach(c, stdin=True, stdout=True).until_started()
    err = Attach(c, stderr=True).until_started()
    late = None
    for n in range(5):
        out.write(b"%d\n" % n)
        out.until_output(b"out %d\n" % n)
        if n == 2:
            late = Attach(c, replay_bytes=1 << 10, stdout=True).until_output(b"out 2\n")
        if n % 2 == 0:
            again(c)
    out.close_stdin()
    for a in (out, err, late):
        assert a.finish().exit.exit_status == 9
    assert out.out == {STDOUT: b"".join(b"out %d\n" % n for n in range(5)), STDERR: b""}
    assert err.out == {STDOUT: b"", STDERR: b"".join(b"err %d\n" % n for n in range(5))}
    assert late.out == {STDOUT: b"ready\n" + out.out[STDOUT], STDERR: b""}
    c.wait()
    c.delete()
    c.finish()


def test_a_client_that_does_not_read_gets_the_rest_afterwards(lab, binary, again):
    """The replay is a copy of its own, which goes along, too."""
    size = 1 << 20
    c = attached(lab, False, f"head -c {size} /data; read x", binary, params="&ring=4m")
    own = connect(c.shim)
    own.reading.clear()
    a = Attach(c, client=own, replay_bytes=4 << 20)
    for _ in range(3):
        again(c)
    own.reading.set()
    a.until(lambda: len(a.out[STDOUT]) >= size + len(b"ready\n"))
    c.kill()
    assert a.finish().exit.exit_status == 137
    assert digest(bytes(a.out[STDOUT])) == digest(b"ready\n" + binary.read_bytes()[:size])
    c.wait()
    c.delete()
    c.finish()


def test_who_detaches_right_after_is_detached(lab, again):
    c = attached(lab, False, "while read x; do echo got $x; done")
    with baseline(c):
        for i in range(2):
            a = Attach(c, stdin=True).until_started()
            a.write(b"%d\n" % i)
            again(c)
            a.detach()
            assert a.exit is None
    a = Attach(c, replay_bytes=1 << 10, stdin=True).until_output(b"got 0\ngot 1\n")
    a.close_stdin()
    assert a.finish().exit.exit_status == 0
    c.wait()
    c.delete()
    c.finish()


# ---- Logs ----

LINES = 100000


def logging(lab, script, params="", source=None):
    c = lab.container("sh", "-c", script)
    if source:
        c.bundle.mount("/data", "bind", source, "rbind", "ro")
    c.launch().pipes("stdin")
    begin(c, stdout=f"log://{lab.new_path('logs')}/log?{params}")
    return c


def logs(c, client=None, **fields):
    return c.shim.service(protos.BELAY, client).stream.Logs(exec_id="", **fields)


def text(stream):
    return b"".join(entry.output.data for response in stream for entry in response.entries)


@pytest.mark.parametrize("params", ["", "max_size=256k&max_files=1000"], ids=["one-file", "rotated"])
def test_a_log_is_followed_to_its_end(lab, again, params):
    """Every line once, in order."""
    c = logging(lab, f"seq 1 {LINES}; read x; seq 1 {LINES}; printf part", params)
    with baseline(c):
        stream = logs(c, follow=True)
        with Again(c, again):
            got = b""
            while not got.endswith(b"\n%d\n" % LINES):
                got += b"".join(entry.output.data for entry in stream.receive().entries)
        assert got == b"".join(b"%d\n" % n for n in range(1, LINES + 1))
        c.stdin.write(b"\n")
        with Again(c, again):
            got = text(stream)
        assert got == b"".join(b"%d\n" % n for n in range(1, LINES + 1)) + b"part"
    assert c.wait().status == 0
    c.delete()
    c.finish()


def test_a_client_that_reads_a_log_slowly_gets_all_of_it(lab, again):
    c = logging(lab, f"seq 1 {LINES}")
    c.wait()
    host.wait_for(lambda: c.shim.service(protos.BELAY).Status().io.drained, "the log to be written")
    own = connect(c.shim)
    own.reading.clear()
    streams = [logs(c, client=own), logs(c, client=own, tail=1000)]
    for _ in range(3):
        again(c)
    own.reading.set()
    assert text(streams[0]) == b"".join(b"%d\n" % n for n in range(1, LINES + 1))
    assert text(streams[1]) == b"".join(b"%d\n" % n for n in range(LINES - 999, LINES + 1))
    own.close()
    c.delete()
    c.finish()


def test_a_log_is_read_to_its_end_although_the_container_is_gone(lab, again):
    c = logging(lab, f"seq 1 {LINES}")
    own = connect(c.shim)
    own.reading.clear()
    stream = logs(c, client=own, follow=True)
    c.wait()
    again(c)
    c.delete()
    again(c)
    own.reading.set()
    assert text(stream) == b"".join(b"%d\n" % n for n in range(1, LINES + 1))
    own.close()
    c.finish()


def test_a_reader_of_a_log_that_died_is_told_so_afterwards(lab, again):
    c = logging(lab, "echo line; read x")
    stream = logs(c, follow=True)
    assert [entry.output.data for entry in stream.receive().entries] == [b"line\n"]
    reader = next(pid for pid in readers(c))
    os.kill(reader, signal.SIGSTOP)
    again(c)
    os.kill(reader, signal.SIGKILL)
    with fails(ttrpc.UNKNOWN, "the reader of the log has died"):
        stream.receive()
    assert c.status() == "RUNNING"
    c.finish()


# ---- Two at once, and the end ----


def test_all_kinds_on_one_connection_go_on(lab, again):
    c = attached(lab, False, "while read x; do echo got $x; done")
    a = Attach(c, stdin=True).until_started()
    e = ExecStream(c, "cat", stdin=True).until_started()
    stream = logs(c, follow=True)
    for n in range(4):
        a.write(b"%d\n" % n)
        e.write(b"%d\n" % n)
        again(c)
        a.until_output(b"got %d\n" % n)
        e.until_output(b"%d\n" % n)
    a.close_stdin()
    e.close_stdin()
    assert a.finish().out[STDOUT] == b"".join(b"got %d\n" % n for n in range(4))
    assert e.finish().out[STDOUT] == b"".join(b"%d\n" % n for n in range(4))
    assert text(stream) == b"ready\n" + b"".join(b"got %d\n" % n for n in range(4))
    c.wait()
    c.delete()
    c.finish()


def test_a_client_that_has_many_full_streams_is_no_obstacle(lab, again):
    """All of its streams together have as much room as can be kept of a connection, in turn."""
    c = sleeper(lab)
    own = connect(c.shim)
    own.reading.clear()
    size = 2 << 20
    streams = [ExecStream(c, "sh", "-c", f"head -c {size} /dev/zero | tr '\\0' {n}", client=own, exec_id=f"e{n}")
               for n in range(6)]
    host.wait_for(lambda: len(c.task.Pids().processes) >= 13, "the execs to be at work")
    for n in range(6):
        host.wait_for(lambda: c.task.State(exec_id=f"e{n}").status == protos.status.RUNNING, f"e{n}")
    for _ in range(2):
        again(c)
    own.reading.set()
    for n, e in enumerate(streams):
        assert e.finish().exit.exit_status == 0
        assert e.out[STDOUT] == b"%d" % n * size
    own.close()
    c.finish()


def test_streams_end_with_a_status_when_the_shim_is_told_to(lab):
    """The container goes on without it, and so does what it writes."""
    c = attached(lab, False, "while :; do echo line; sleep 0.01; done")
    a = Attach(c).until_output(b"line\n")
    e = ExecStream(c, "sleep", "1000").until_started()
    stream = logs(c, follow=True)
    assert stream.receive().entries
    os.kill(c.shim.pid, signal.SIGTERM)
    for s in (a.finish, e.finish, lambda: text(stream)):
        with fails(ttrpc.UNAVAILABLE, "the shim is ending"):
            s()
    host.wait_gone(c.shim.pid)
    c.shim.disconnect()
    c.shim.run_delete()
    c.task = None
