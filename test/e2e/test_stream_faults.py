# SPDX-License-Identifier: Apache-2.0
"""Faults of those who take a process's output: readers that go or never come, disks that are full, loggers that
stop, end, or are never ready. The container goes on, or waits where it was asked to; State, Kill and Delete do not;
and the shim holds nothing of it afterwards."""
import os
import signal

import pytest

import host
import protos
import ttrpc
from checks import fails
from harness import baseline
from paths import PATHS, READY, Logger, begin, with_terminal
from streams import STDOUT, Attach, ExecStream, connect

LOGS = [name for name in PATHS if name.startswith("log-")]
SECOND = 10**9


@pytest.fixture
def own(stock):
    if stock:
        pytest.skip("belay's own")


def process_that_runs(lab, kind, script):
    """An init, or an exec in a container that sleeps."""
    if kind == "init":
        return lab.container("sh", "-c", script).launch()
    return lab.container("sleep", "1000").run().exec("sh", "-c", script)


def io_status(p):
    return p.container.shim.service(protos.BELAY).Status(exec_id=p.exec_id).io


def delete_within(p, seconds):
    p.rpc().start.Delete(exec_id=p.exec_id, timeout_nano=int(seconds * SECOND)).result((seconds + 8) * host.SLOWNESS)
    if not p.exec_id:
        p.deleted = True
    p.close_pipes()


# ---- Readers ----


@pytest.mark.parametrize("kind", ["init", "exec"])
@pytest.mark.parametrize("name", ["fifo", "terminal"])
def test_a_reader_that_is_killed_in_a_line_has_a_successor_that_goes_on_with_it(lab, name, kind):
    p = process_that_runs(lab, kind, "stty -opost; seq 1 100000" if name == "terminal" else "seq 1 100000")
    with baseline(p.container):
        PATHS[name](lab).begin(p)
        data = b""
        for _ in range(5):
            data += read_into_a_line(p.stdout.fd)
            p.stdout.close()
            assert p.status() == "RUNNING"
            p.stdout.open()
        data += p.stdout.read_all()
        assert p.wait().status == 0
        p.delete()
        p.close_pipes()
    assert data == b"".join(b"%d\n" % n for n in range(1, 100001))


def read_into_a_line(fd):
    """Some lines, and a part of the next. seq writes a terminal line by line, and a fast reader gets whole ones."""
    data = b""
    while not data or data.endswith(b"\n"):
        assert host.readable(fd, 20)
        piece = os.read(fd, 1 if data else 7777)
        assert piece, f"the end, after {data}"
        data += piece
    return data


@pytest.mark.parametrize("name", ["log", "terminal"])
def test_a_client_of_attach_that_is_killed_in_a_line_finds_the_rest_when_it_is_back(lab, own, name):
    p = process_that_runs(lab, "init", "printf 'half a '; read x; echo line; read x")
    with baseline(p.container):
        if name == "terminal":
            begin(with_terminal(p), stdin="attach:///")
        else:
            begin(p, stdin="attach:///", stdout=f"log://{lab.new_path('log')}")
        first = connect(p.shim)
        Attach(p, client=first, replay_bytes=1 << 20).until_output(b"half a ")
        first.close()
        a = Attach(p, stdin=True, replay_bytes=2).until_output(b"a ")
        assert a.out[STDOUT] == b"a "
        a.write(b"\n")
        a.until_output(b"line")
        p.kill()
        a.finish()
        p.wait()
        p.delete()


@pytest.mark.parametrize("kind", ["init", "exec"])
@pytest.mark.parametrize("name", ["fifo", "terminal"])
def test_a_fifo_that_nobody_opens_costs_no_more_than_the_wait_of_its_writer(lab, own, name, kind):
    p = process_that_runs(lab, kind, "head -c 1000000 /dev/zero")
    with baseline(p.container):
        p.pipes("stdout")
        p.stdout.close()
        begin(with_terminal(p) if name == "terminal" else p)
        assert p.status() == "RUNNING"
        p.kill()
        assert p.wait().status == 137
        delete_within(p, 2)
    assert not p.exec_id or p.container.status() == "RUNNING"


def test_the_client_of_an_exec_stream_that_is_killed_in_a_line_leaves_nothing(lab, own):
    c = lab.container("sleep", "1000").run()
    with baseline(c):
        client = connect(c.shim)
        e = ExecStream(c, "sh", "-c", "printf half; cat; yes | head -c 10000000", stdin=True, client=client, exec_id="e")
        e.until_output(b"half")
        ended = c.task.start.Wait(exec_id="e")
        client.close()
        ended.result()


# ---- Disks ----


class SmallDisk:
    """A tmpfs of the test's own, filled but for some KiB."""

    def __init__(self, lab, kib=2048, left=64):
        self.path = lab.new_path("disk")
        self.path.mkdir()
        host.mount_tmpfs(self.path, f"size={kib}k")
        self.filler = self.path / "filler"
        self.filler.write_bytes(bytes((kib - left) << 10))

    def make_room(self):
        self.filler.unlink()

    def unmount(self):
        host.unmount(self.path)


@pytest.fixture
def disk(lab):
    return SmallDisk(lab)


NUMBERS = b"".join(b"%d\n" % n for n in range(1, 20001))


@pytest.mark.parametrize("kind", ["init", "exec"])
@pytest.mark.parametrize("name", LOGS)
def test_a_log_on_a_full_disk_waits_for_room_and_is_whole(lab, own, disk, name, kind):
    p = process_that_runs(lab, kind, "seq 1 20000")
    with baseline(p.container):
        path = PATHS[name](lab)
        path.folder = disk.path
        path.begin(p)
        host.wait_for(lambda: io_status(p).write_errors > 0, "the disk is full")
        assert io_status(p).last_error == "No space left on device"
        disk.make_room()
        assert p.wait().status == 0
        p.delete()
    assert path.result() == NUMBERS
    disk.unmount()


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_spills_lets_its_container_end_on_a_full_disk(lab, own, disk, name):
    p = process_that_runs(lab, "init", "seq 1 20000")
    with baseline(p.container):
        path = PATHS[name](lab)
        path.folder = disk.path
        path.params = "&policy=spill&spill=4m"
        path.begin(p)
        assert p.wait().status == 0
        host.wait_for(lambda: io_status(p).write_errors > 0, "the disk is full")
        disk.make_room()
        p.delete()
    assert path.result() == NUMBERS
    disk.unmount()


@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_drops_says_how_much_and_goes_on_when_there_is_room(lab, own, name):
    disk = SmallDisk(lab, kib=40 << 10)  # in the end for all
    p = process_that_runs(lab, "init", "seq 1 400000; while read x; do echo last; done")
    with baseline(p.container):
        p.pipes("stdin")
        path = PATHS[name](lab)
        path.folder = disk.path
        path.params = "&policy=drop"
        path.begin(p)
        host.wait_for(lambda: io_status(p).bytes_dropped > 0, "output is dropped")
        disk.make_room()
        host.wait_for(lambda: p.stdin.write(b"\n") or path.result().endswith(b"last\n"), "it goes on")
        p.rpc().CloseIO(stdin=True)
        p.stdin.close()
        p.wait()
        p.delete()
        p.close_pipes()
    assert (b"bytes of output were dropped" in path.path.read_bytes()) == (name != "log-raw")
    assert path.result().endswith(b"last\n")
    disk.unmount()


@pytest.mark.parametrize("kind", ["init", "exec"])
def test_a_file_on_a_full_disk_is_an_error_of_the_process_s_own(lab, own, disk, kind):
    script = "seq 1 20000 2>/dev/null || exit 3"
    p = process_that_runs(lab, kind, script)
    with baseline(p.container):
        begin(p, stdout=f"file://{disk.path}/file")
        assert p.wait().status == 3
        p.delete()
    disk.unmount()


@pytest.mark.parametrize("kind", ["init", "exec"])
def test_a_terminal_s_file_on_a_full_disk_loses_what_finds_no_room_and_goes_on(lab, own, disk, kind):
    p = process_that_runs(lab, kind, "seq 1 20000; read x; echo last words")
    with baseline(p.container):
        p.pipes("stdin")
        begin(with_terminal(p), stdout=f"file://{disk.path}/file", stdin=p.stdin.path)
        file = disk.path / "file"
        host.wait_for(lambda: io_status(p).write_errors > 0, "the disk is full")
        disk.make_room()
        p.stdin.write(b"\n")
        assert p.wait().status == 0
        p.delete()
        p.close_pipes()
    assert file.read_bytes().endswith(b"last words\r\n")
    disk.unmount()


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"])
def test_a_logging_program_whose_disk_is_full_stops_no_container(lab, own, disk, scheme):
    p = process_that_runs(lab, "init", "seq 1 20000")
    logger = Logger(lab, READY + f'cat <&3 >>{disk.path}/out', scheme)
    with baseline(p.container):
        begin(p, stdout=logger.uri)
        assert p.wait().status == 0
        delete_within(p, 10)
    disk.unmount()


# ---- Loggers ----


@pytest.mark.parametrize("name, kind", [("binary", "init"), ("binary-v2", "exec"), ("terminal-binary-v2", "init"),
                                        ("terminal-log-cri", "exec"), ("log-cri", "exec"), ("log-raw", "init")])
def test_a_logger_that_stops_reading_holds_up_its_writer_alone(lab, own, name, kind):
    p = process_that_runs(lab, kind, "echo begin; read x; head -c 1000000 /dev/zero; echo end")
    with baseline(p.container):
        p.pipes("stdin")
        path = PATHS[name](lab)
        path.begin(p, stdin=p.stdin.path)
        host.wait_for(lambda: begun(path), "the first line")
        stopped = host.wait_for(lambda: logger_of(p), "the logger alone")
        stopped += host.children(stopped[0])
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        p.stdin.write(b"\n")
        assert p.status() == "RUNNING"
        p.kill()
        assert p.wait().status == 137
        delete_within(p, 2)
        for pid in stopped[1:]:
            os.kill(pid, signal.SIGKILL)  # a logging program's own children are its own affair


def logger_of(p):
    """[pid] of the only child of the shim that is no container's; else []."""
    pids = host.children(p.container.shim.pid).keys() - {p.state().pid, p.container.pid()}
    return list(pids) if len(pids) == 1 else []


def begun(path):
    try:
        return b"begin" in path.result()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("scheme, kind", [("binary", "init"), ("binary-v2", "exec")])
def test_a_logger_that_always_exits_costs_output_and_no_time(lab, own, scheme, kind):
    p = process_that_runs(lab, kind, "head -c 1000000 /dev/zero; echo end")
    logger = Logger(lab, READY + "exit 3", scheme)
    with baseline(p.container):
        begin(p, stdout=logger.uri)
        assert p.wait().status == 0
        assert io_status(p).logger_restarts == 10
        delete_within(p, 2)
    assert len(logger.pids()) == 11


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"])
def test_an_exec_whose_logger_is_never_ready_can_be_killed_and_deleted(lab, own, scheme):
    c = lab.container("sleep", "1000").run()
    logger = Logger(lab, "exec sleep 1000", scheme)
    with baseline(c):
        e = c.exec("true").add(stdout=logger.uri)
        start = c.task.start.Start(exec_id=e.exec_id)
        host.wait_for(lambda: os.path.exists(logger.base + ".pids") and logger.pids(), "it runs")
        assert c.status() == "RUNNING"
        e.kill()
        with fails(ttrpc.FAILED_PRECONDITION, also=[ttrpc.CANCELED]):
            start.result()
        e.delete()
        for pid in logger.pids():
            host.wait_gone(pid)


@pytest.mark.parametrize("name", LOGS)
def test_a_log_writer_that_is_killed_in_a_line_tears_no_other(lab, own, name):
    p = process_that_runs(lab, "init", "printf half; read x; printf 'rest\\nwhole\\n'")
    with baseline(p.container):
        p.pipes("stdin")
        path = PATHS[name](lab)
        path.begin(p, stdin=p.stdin.path)
        host.wait_for(lambda: io_status(p).bytes == 4, "it is read")
        for pid, what in host.children(p.shim.pid).items():
            if what == "belay-log":
                os.kill(pid, signal.SIGKILL)
        host.wait_for(lambda: io_status(p).logger_restarts == 1, "a successor")
        p.stdin.write(b"\n")
        assert p.wait().status == 0
        p.delete()
        p.close_pipes()
    assert path.result() in (b"rest\nwhole\n", b"halfrest\nwhole\n")


# ---- The end, with streams open ----


def test_shutdown_waits_for_what_a_slow_reader_of_the_log_has_still_to_take(lab, own):
    p = process_that_runs(lab, "init", "seq 1 200000")
    begin(p, stdout=f"log://{lab.new_path('log')}?format=raw")
    client = connect(p.shim)
    stream = p.shim.service(protos.BELAY, client).stream.Logs(follow=True)
    data = text_of(stream.receive())
    client.reading.clear()
    assert p.wait().status == 0
    p.delete()
    p.task.Shutdown(now=False)
    client.reading.set()
    data += b"".join(text_of(response) for response in stream)
    assert data == b"".join(b"%d\n" % n for n in range(1, 200001))
    client.close()
    host.wait_gone(p.shim.pid)
    p.shim.disconnect()
    p.shim.run_delete()
    p.task = None


def text_of(response):
    return b"".join(entry.output.data for entry in response.entries)


def test_a_follower_of_a_single_file_misses_nothing_that_it_has_seen_begin(lab, own):
    """max_files=1: what is removed to begin anew is still open for who reads it."""
    p = process_that_runs(lab, "init", "read x; i=0; while [ $i -lt 40 ]; do seq 1 5000; read x; i=$((i+1)); done")
    with baseline(p.container):
        p.pipes("stdin")
        begin(p, stdout=f"log://{lab.new_path('log')}?format=raw&max_size=64k&max_files=1", stdin=p.stdin.path)
        stream = p.shim.service(protos.BELAY).stream.Logs(follow=True)
        data = b""
        want = b"".join(b"%d\n" % n for n in range(1, 5001))
        for number in range(40):
            p.stdin.write(b"\n")
            while len(data) < len(want) * (number + 1):
                data += text_of(stream.receive())
        assert io_status(p).rotations > 10
        p.stdin.write(b"\n")
        p.wait()
        assert data + b"".join(text_of(response) for response in stream) == want * 40
        p.delete()
        p.close_pipes()


def test_a_container_that_is_deleted_before_a_slow_client_has_its_exec_s_output_says_so(lab, own):
    c = lab.container("sleep", "1000").run()
    slow = connect(c.shim)
    e = ExecStream(c, "sh", "-c", "head -c 10000000 /dev/zero", client=slow, exec_id="e").until_started()
    slow.reading.clear()
    host.wait_for(lambda: waits_in_a_pipe(c), "its pipe is full")
    c.kill()
    c.wait()
    c.delete()
    slow.reading.set()
    with fails(ttrpc.RESOURCE_EXHAUSTED, "deleted before the client had taken all"):
        e.finish()
    slow.close()


def waits_in_a_pipe(c):
    return any(b"pipe" in host.read(f"/proc/{pid}/wchan") for pid in c.others())


def test_an_exec_whose_container_is_deleted_at_once_gives_all_that_it_had_written(lab, own):
    c = lab.container("sleep", "1000").run()
    e = ExecStream(c, "sh", "-c", "yes | head -c 30000; echo end; sleep 1000").until_output(b"end\n")
    f = ExecStream(c, "sh", "-c", "yes | head -c 30000; kill -9 $$").until_started()
    f.until(lambda: f.exit)
    c.kill()
    c.wait()
    c.delete()
    for s in e, f:
        assert len(s.finish().out[STDOUT].replace(b"end\n", b"")) == 30000 and s.exit.exit_status == 137


@pytest.mark.parametrize("step", ["before", "started", "granted", "typing", "half-closed"])
def test_a_client_that_vanishes_at_any_step_leaves_nothing(lab, own, step):
    c = process_that_runs(lab, "init", "sleep 1000")
    begin(c, stdin="attach:///", stdout=f"log://{lab.new_path('log')}")
    for method in (lambda client: Attach(c, client=client, stdin=True),
                   lambda client: ExecStream(c, "cat", client=client, stdin=True)):
        with baseline(c):
            client = connect(c.shim)
            s = method(client)
            if step != "before":
                s.until_started()
            if step not in ("before", "started"):
                s.until(lambda: s.granted)
            if step in ("typing", "half-closed"):
                s.send(stdin=b"x" * s.granted)
            if step == "half-closed":
                s.stream.half_close()
            client.close()
