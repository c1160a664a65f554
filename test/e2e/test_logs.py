# SPDX-License-Identifier: Apache-2.0
"""Logs of belay.v1: what a process has written, from the log that the shim keeps."""
import os
import time

import pytest

import host
import protos
import ttrpc
from checks import fails


@pytest.fixture(autouse=True)
def not_stock(stock):
    if stock:
        pytest.skip("belay's own")


def start_logging(lab, script, params=""):
    c = lab.container("sh", "-c", script).pipes("stdin")
    c.log = lab.new_path("logs") / "log"
    c.create(**{**c._stdio(), "stdout": f"log://{c.log}?{params}"})
    c.start()
    return c


def open_logs(process, client=None, **fields):
    c = process.container if process.exec_id else process
    return c.shim.service(protos.BELAY, client).stream.Logs(exec_id=process.exec_id, **fields)


def entries(stream):
    return [entry for response in stream for entry in response.entries]


def logs(process, **fields):
    return b"".join(entry.output.data for entry in entries(open_logs(process, **fields)))


def until(stream, text):
    """What comes up to that text."""
    data = b""
    while not data.endswith(text):
        data += b"".join(entry.output.data for entry in stream.receive().entries)
    return data


def end_of(c):
    c.stdin.close()
    c.task.CloseIO(stdin=True)
    c.wait()


def readers(c):
    """The readers of logs that the shim has: its children of that name."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = host.read(f"/proc/{pid}/stat").decode()
        except OSError:
            continue
        if not stat:
            continue
        name, fields = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        if name == "belay-logs" and int(fields[1]) == c.shim.pid and fields[0] != "Z":
            found.append(int(pid))
    return found


@pytest.mark.parametrize("format", ["cri", "json"])
def test_entries_have_stream_time_and_text(lab, format):
    before = time.time()
    c = start_logging(lab, "echo out; echo err >&2; printf part; read x", f"format={format}")
    end_of(c)
    host.wait_for(lambda: len(entries(open_logs(c))) == 3, "all is in the log")
    found = entries(open_logs(c))
    said = sorted((e.output.stream, e.output.data, e.partial) for e in found)
    assert said == [(1, b"out\n", False), (1, b"part", True), (2, b"err\n", False)]
    assert all(before - 1 <= e.output.time.seconds <= time.time() for e in found)
    assert logs(c, stderr=True) == b"err\n"
    assert logs(c, stdout=True, tail=1) == b"part"
    c.delete()


def test_a_raw_log_has_lines_and_nothing_else(lab):
    c = start_logging(lab, "echo a; echo b; read x", "format=raw")
    host.wait_for(lambda: logs(c) == b"a\nb\n", "it is in the log")
    assert not any(e.output.stream or e.output.HasField("time") for e in entries(open_logs(c)))
    with fails(ttrpc.FAILED_PRECONDITION, "a raw log does not tell stdout and stderr apart"):
        logs(c, stdout=True)
    with fails(ttrpc.FAILED_PRECONDITION, "a raw log has no times"):
        logs(c, since={"seconds": 1})
    end_of(c)
    c.delete()


def test_tail_across_files_of_a_container_that_has_stopped(lab):
    c = start_logging(lab, "seq 1 20000", "max_size=64k&max_files=100")
    c.wait()
    host.wait_for(lambda: logs(c, tail=1) == b"20000\n", "all is in the log")
    assert logs(c) == b"".join(b"%d\n" % n for n in range(1, 20001))
    assert logs(c, tail=5000) == b"".join(b"%d\n" % n for n in range(15001, 20001))
    assert logs(c, tail=-1) == b""
    assert logs(c, follow=True, tail=2) == b"19999\n20000\n"
    c.delete()
    with fails(ttrpc.NOT_FOUND):
        logs(c)


def test_since_and_until(lab):
    c = start_logging(lab, "while read x; do echo $x; done")
    times = []
    for line in b"one\n", b"two\n", b"three\n":
        c.stdin.write(line)
        host.wait_for(lambda: logs(c, tail=1) == line, "it is in the log")
        times.append(entries(open_logs(c, tail=1))[0].output.time)
    assert logs(c, since=times[1]) == b"two\nthree\n"
    assert logs(c, until=times[1]) == b"one\n"
    assert logs(c, since=times[1], until=times[2]) == b"two\n"
    end_of(c)
    c.delete()


def test_follow_until_the_process_has_ended(lab):
    c = start_logging(lab, "while read x; do echo $x; done; printf end")
    stream = open_logs(c, follow=True)
    c.stdin.write(b"one\n")
    assert until(stream, b"one\n") == b"one\n"
    assert len(readers(c)) == 1
    c.stdin.write(b"two\n")
    end_of(c)
    assert b"".join(e.output.data for e in entries(stream)) == b"two\nend"
    host.wait_for(lambda: not readers(c), "the reader has ended")
    c.delete()


def test_follow_loses_and_doubles_nothing_in_100000_lines_with_rotation(lab):
    c = start_logging(lab, "read x; seq 1 100000 | sed 's/.*/line & of one hundred thousand/'", "max_size=256k&max_files=100")
    stream = open_logs(c, follow=True)
    c.stdin.write(b"\n")
    data = b"".join(e.output.data for e in entries(stream))
    assert data == b"".join(b"line %d of one hundred thousand\n" % n for n in range(1, 100001))
    c.wait()
    c.delete()


def test_follow_goes_on_to_the_end_of_a_deleted_container(lab):
    c = start_logging(lab, "read x; seq 1 100000", "max_size=256k&max_files=100")
    stream = open_logs(c, follow=True)
    c.stdin.write(b"\n")
    c.wait()
    c.delete()
    assert b"".join(e.output.data for e in entries(stream)) == b"".join(b"%d\n" % n for n in range(1, 100001))


def test_a_slow_client_costs_no_memory_and_gets_all(lab):
    c = start_logging(lab, f"yes {'x' * 99} | head -n 60000; echo end; read x", "format=raw")
    host.wait_for(lambda: logs(c, tail=1) == b"end\n", "all is in the log", 60)
    client = ttrpc.Client(c.shim.address)
    before = memory(c.shim.pid)
    client.reading.clear()
    stream = open_logs(c, client)
    host.wait_for(lambda: readers(c), "the reader")
    host.wait_for(lambda: "poll" in host.read(f"/proc/{readers(c)[0]}/wchan").decode(), "it waits")
    assert memory(c.shim.pid) - before < 2 << 20
    client.reading.set()
    assert sum(len(e.output.data) for e in entries(stream)) == 6000004
    client.close()
    end_of(c)
    c.delete()


def memory(pid):
    return int(host.read(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_reader_ends_when_its_client_goes_away(lab):
    c = start_logging(lab, "read x")
    client = ttrpc.Client(c.shim.address)
    stream = open_logs(c, client, follow=True)
    host.wait_for(lambda: len(readers(c)) == 1, "the reader")
    def of_the_shim():
        """What is open in it beside 3, which is its own. It has its name before it has closed that."""
        return [target for fd, target in host.open_fds(readers(c)[0]).items()
                if fd != 3 and any(what in target for what in ("socket", "eventpoll", "signalfd"))]

    host.wait_for(lambda: not of_the_shim(), lambda: f"nothing of the shim's to be open in it: {of_the_shim()}")
    assert "socket" in host.open_fds(readers(c)[0])[3]
    client.close()
    host.wait_for(lambda: not readers(c), "it has ended")
    with pytest.raises(Exception):
        stream.receive()
    end_of(c)
    c.delete()


def test_a_reader_that_is_killed_fails_its_stream_alone(lab):
    c = start_logging(lab, "read x; echo end")
    stream = open_logs(c, follow=True)
    host.wait_for(lambda: len(readers(c)) == 1, "the reader")
    os.kill(readers(c)[0], 9)
    with fails(ttrpc.UNKNOWN, "the reader of the log has died"):
        stream.receive()
    c.stdin.write(b"\n")
    assert logs(c, follow=True) == b"end\n"
    c.wait()
    c.delete()


def test_an_exec_has_a_log_of_its_own(lab):
    c = lab.container("sleep", "100").run()
    log = lab.new_path("log")
    e = c.exec("sh", "-c", "echo hello")
    e.add(stdout=f"log://{log}")
    with fails(ttrpc.FAILED_PRECONDITION, "not started"):
        logs(e)
    e.start()
    assert logs(e, follow=True) == b"hello\n"
    e.wait()
    e.delete()
    with fails(ttrpc.FAILED_PRECONDITION, "stdout is not a log://"):
        logs(c)


def test_a_log_that_is_gone_is_not_found(lab):
    c = start_logging(lab, "read x")
    c.log.unlink()
    with fails(ttrpc.NOT_FOUND, str(c.log)):
        logs(c)
    with fails(ttrpc.INVALID_ARGUMENT, "tail -2"):
        logs(c, tail=-2)
    with fails(ttrpc.NOT_FOUND, "nobody"):
        c.shim.service(protos.BELAY).stream.Logs(exec_id="nobody").receive()
    end_of(c)
    c.delete()
