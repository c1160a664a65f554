# SPDX-License-Identifier: Apache-2.0
"""stdio without a terminal: nothing, FIFOs, stdin and CloseIO, and what is refused."""
import hashlib
import os

import pytest

import host
import ttrpc
from checks import fails

# In 1.6 a stream that is not asked for makes the stock shim fail, if another is.
needs_single_streams = pytest.mark.usefixtures("not_stock")


@pytest.fixture
def not_stock(stock):
    if stock:
        pytest.skip("belay's own")


def test_without_stdio_the_process_has_dev_null(lab):
    c = lab.container("sleep", "100").run()
    fds = host.open_fds(c.pid())
    assert [os.path.basename(fds[fd]) for fd in (0, 1, 2)] == ["null"] * 3
    if not lab.stock:  # read-only there: the first write fails
        for fd in (1, 2):
            flags = int(host.read(f"/proc/{c.pid()}/fdinfo/{fd}").split(b"flags:")[1].split()[0], 8)
            assert flags & os.O_ACCMODE == os.O_RDWR


def test_unset_stdin_is_dev_null(lab):
    """R52"""
    assert lab.sh("readlink /proc/self/fd/0; cat; echo end").out == "/dev/null\nend\n"


def test_no_descriptor_beyond_2_reaches_a_container_or_an_exec(lab):
    c = lab.container("sleep", "100").pipes("stdin", "stdout", "stderr").create()
    c.start()
    host.wait_for(lambda: host.cmdline(c.pid()) == "sleep 100", "the program runs")
    assert set(host.open_fds(c.pid())) == {0, 1, 2}
    for streams in ([], ["stdout", "stderr"], ["stdin", "stdout", "stderr"]):
        e = c.exec("sleep", "101")
        if streams:
            e.pipes(*streams)
        pid = e.add().start()
        host.wait_for(lambda: host.cmdline(pid) == "sleep 101", "the program runs")
        assert set(host.open_fds(pid)) == {0, 1, 2}


def test_stdout_and_stderr_are_two_streams(lab):
    r = lab.sh("echo out; echo err >&2; echo out2")
    assert (r.out, r.err) == ("out\nout2\n", "err\n")


@needs_single_streams
@pytest.mark.parametrize("name, other", [("stdout", "2"), ("stderr", "1")])
def test_one_stream_without_the_other(lab, name, other):
    c = lab.container("sh", "-c", f"echo out; echo err >&2; x=$(readlink /proc/$$/fd/{other}); echo $x >&{3 - int(other)}")
    c.pipes(name).run()
    c.wait()
    own = {"stdout": "out", "stderr": "err"}[name]
    assert getattr(c, name).read_all() == f"{own}\n/dev/null\n".encode()


def test_large_output_arrives_complete(lab):
    c = lab.container("sh", "-c", "i=0; while [ $i -lt 40 ]; do seq 1 20000; i=$((i+1)); done").pipes().run()
    data = c.stdout.read_all()
    want = "".join(f"{n}\n" for n in range(1, 20001)).encode() * 40
    assert len(data) == len(want)
    assert hashlib.sha256(data).digest() == hashlib.sha256(want).digest()
    assert c.wait().status == 0


def test_eof_comes_when_the_last_writer_is_gone_without_delete(lab):
    """P10.1: clients wait for EOF before they send Delete."""
    c = lab.container("echo", "done").pipes().run()
    c.wait()
    assert c.stdout.read_all() == b"done\n"
    assert c.stderr.read_all() == b""
    c.delete()


def test_a_grandchild_keeps_the_stream_open(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sh", "-c", "(sleep 1000; echo late) & exec echo early").pipes().add()
    e.start()
    assert e.wait().status == 0
    assert e.stdout.read_until(b"early\n") == b"early\n"
    assert not e.stdout.at_eof()
    c.kill()
    c.wait()
    assert e.stdout.read_all() == b""


def test_a_reader_may_go_and_come_back(lab):
    """R53: the container gets no SIGPIPE, and what it writes meanwhile is there for the next reader."""
    c = lab.container("sh", "-c", "echo one; read x; echo two; read x; echo three").pipes(
        "stdin", "stdout", "stderr").run()
    assert c.stdout.read_until(b"one\n") == b"one\n"
    c.stdout.close()
    c.stderr.close()
    c.stdin.write(b"\n")
    host.wait_for(lambda: pending_input(c) == 0, "the line is read")
    c.stdin.write(b"\n")
    assert c.wait().status == 0
    c.stdout.open()
    c.stderr.open()
    if lab.stock:
        return  # its copy has ended with the process: what no reader took is lost
    # All writers are gone: nothing but the shim's reading end has kept the text.
    assert os.read(c.stdout.fd, 100) == b"two\nthree\n"


@pytest.mark.parametrize("terminal", (False, True))
def test_a_client_that_opens_after_the_end_reads_all_and_eof(lab, stock, terminal):
    """Its open() waits for a writer, and containerd's client sends no Delete before it has read EOF."""
    if stock:
        pytest.skip("Create waits for the client there")
    c = lab.container("echo", "hello")
    c.config["process"]["terminal"] = terminal
    path = lab.new_path("stdout")
    os.mkfifo(path)
    c.create(stdout=str(path), terminal=terminal)
    c.start()
    assert c.wait().status == 0
    assert path.read_bytes().strip() == b"hello"


def pending_input(c):
    import fcntl
    import struct
    import termios
    return struct.unpack("i", fcntl.ioctl(c.stdin.fd, termios.FIONREAD, b"\0" * 4))[0]


def test_a_client_that_dies_costs_the_container_nothing(lab):
    """R53"""
    c = lab.container("sh", "-c", "trap 'echo caught; exit 1' PIPE; read x; for i in 1 2 3; do echo $i; done; exit 0")
    c.pipes("stdin", "stdout", "stderr").run()
    c.stdin.open()
    c.stdout.close()
    c.stderr.close()
    c.stdin.write(b"go\n")
    assert c.wait().status == 0
    c.stdout.open()
    c.stderr.open()


def test_a_slow_reader_blocks_the_container_and_not_the_shim(lab):
    c = lab.container("sh", "-c", "yes | head -c 1000000; echo end >&2").pipes().run()
    for _ in range(5):
        assert c.status() == "RUNNING"
    assert len(c.stdout.read_all()) == 1000000
    assert c.stderr.read_all() == b"end\n"
    assert c.wait().status == 0


def test_stdin_ends_with_close_io(lab):
    c = lab.container("sh", "-c", "cat; echo end").pipes("stdin", "stdout", "stderr").run()
    c.stdin.write(b"hello\n")
    assert c.stdout.read_until(b"hello\n") == b"hello\n"
    c.stdin.close()
    assert c.status() == "RUNNING"  # the shim keeps it open: a client may come back
    c.stdin.write(b"again\n")
    assert c.stdout.read_until(b"again\n") == b"again\n"
    c.task.CloseIO(stdin=True)
    c.stdin.close()
    assert c.stdout.read_all() == b"end\n"
    assert c.wait().status == 0
    c.task.CloseIO(stdin=True)  # idempotent


def test_close_io_while_the_client_still_writes(lab):
    c = lab.container("sh", "-c", "cat; echo end").pipes("stdin", "stdout", "stderr").run()
    c.stdin.write(b"one\n")
    c.task.CloseIO(stdin=True)
    c.stdin.write(b"two\n")
    c.stdin.close()
    assert c.stdout.read_all() == b"one\ntwo\nend\n"


def test_close_io_before_start(lab):
    c = lab.container("sh", "-c", "cat; echo end").pipes("stdin", "stdout", "stderr").create()
    c.stdin.write(b"early\n")
    c.task.CloseIO(stdin=True)
    c.start()
    c.stdin.close()
    assert c.stdout.read_all() == b"early\nend\n"
    assert c.wait().status == 0


def test_close_io_of_an_exec_before_and_after_its_start(lab):
    """P10.3: Docker closes right after Start."""
    c = lab.container("sleep", "100").run()
    for before in (True, False):
        if before and lab.stock:
            continue  # it opens the FIFO at Start only, and forgets
        e = c.exec("sh", "-c", "cat; echo end").pipes("stdin", "stdout", "stderr").add()
        e.stdin.open_early()
        if before:
            c.task.CloseIO(exec_id=e.exec_id, stdin=True)
        e.start()
        e.stdin.write(b"text\n")
        if not before:
            c.task.CloseIO(exec_id=e.exec_id, stdin=True)
        e.stdin.close()
        assert e.stdout.read_all() == b"text\nend\n"
        assert e.wait().status == 0
        e.delete()


def test_close_io_without_stdin_is_fine(lab):
    c = lab.container("sleep", "100").run()
    c.task.CloseIO(stdin=True)


@needs_single_streams
def test_a_client_that_never_opens_its_streams_blocks_nothing(lab):
    """R51: there it fails after 30 s; here nothing waits for a reader, and what is written stays for one."""
    c = lab.container("sh", "-c", "echo hello; exit 3").pipes("stdin", "stdout", "stderr")
    for stream in (c.stdout, c.stderr):
        stream.close()
    c.run()
    assert c.wait().status == 3
    c.stdout.open()
    assert os.read(c.stdout.fd, 100) == b"hello\n"
    c.stderr.open()


def test_a_client_that_never_opens_stdin_blocks_nothing(lab):
    """R50"""
    c = lab.container("sh", "-c", "exit 3").pipes("stdin", "stdout", "stderr").run()
    assert c.wait().status == 3


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_nobody_reads_stdin_when_its_process_has_ended(lab, terminal):
    """R58: the client's next write says so, and does not fill a FIFO that somebody forgot to close."""
    if lab.stock:
        pytest.skip("1.6 keeps it open")
    c = lab.container("sleep", "100").run()
    e = c.exec("true").pipes("stdin", "stdout", *([] if terminal else ["stderr"]))
    e.terminal = e.spec["terminal"] = terminal
    e.add()
    e.stdin.open_early()  # our own reading end: let go of it
    e.start()
    writer = os.open(e.stdin.path, os.O_WRONLY | os.O_NONBLOCK)
    e.stdin.close()
    e.wait()
    host.wait_for(lambda: host.has_no_reader(writer), "the reading end is closed")
    os.close(writer)


def test_large_input_arrives_complete(lab):
    c = lab.container("sha256sum").pipes("stdin", "stdout", "stderr").run()
    data = os.urandom(1 << 20)
    c.stdin.write(data)
    c.task.CloseIO(stdin=True)
    c.stdin.close()
    assert c.stdout.read_all().split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_the_process_may_reopen_its_streams(lab):
    """R59: scripts write to /dev/stderr."""
    r = lab.sh("echo a > /dev/stdout; echo b > /dev/stderr; echo c > /proc/self/fd/1")
    assert (r.out, r.err) == ("a\nc\n", "b\n")


def test_a_process_that_is_not_root_may_reopen_its_streams(lab):
    """R59"""
    def edit(c):
        c.config["process"]["user"] = {"uid": 1000, "gid": 1000}

    r = lab.sh("echo a > /dev/stdout; echo b > /dev/stderr", edit)
    assert (r.out, r.err) == ("a\n", "b\n")


def test_a_regular_file_is_appended_to(lab):
    c = lab.container("sh", "-c", "echo out; echo err >&2")
    log = lab.new_path("log")
    log.write_text("before\n")
    c.create(stdout=str(log), stderr=str(log))
    c.start()
    c.wait()
    c.delete()
    assert sorted(log.read_text().splitlines()) == ["before", "err", "out"]


def test_a_file_uri_takes_both_streams(lab):
    """R55: appended to, made with its folders if need be."""
    if lab.stock:
        pytest.skip("1.6 may lose the end of one stream there")
    log = lab.new_path("logs") / "below" / "log"
    for _ in range(2):
        c = lab.container("sh", "-c", "echo out; echo err >&2")
        c.create(stdout=f"file://{log}", stderr=f"file://{log}")
        assert c.state().stdout == f"file://{log}"
        c.start()
        c.wait()
        c.delete()
    assert sorted(log.read_text().splitlines()) == ["err", "err", "out", "out"]


@pytest.mark.parametrize("scheme", ["ttrpc+unix", "pipe", "npipe", "http"])
def test_a_scheme_that_is_not_supported_is_refused_by_name(lab, stock, scheme):
    if stock:
        pytest.skip("the stock shim knows file and binary")
    c = lab.container("true").launch()
    uri = f"{scheme}:///bin/true"
    with fails(ttrpc.UNIMPLEMENTED, scheme, also=[ttrpc.INVALID_ARGUMENT]):
        c.create(stdout=uri, stderr=uri)
    c.deleted = True
    d = lab.container("sleep", "100").run()
    with fails(ttrpc.UNIMPLEMENTED, scheme, also=[ttrpc.INVALID_ARGUMENT]):
        d.exec("true").add(stdout=uri, stderr=uri)
        d.execs[-1].start()
    if d.task.start.State(exec_id="e0").exception():
        d.execs.clear()


def test_the_shim_holds_no_fifo_after_delete(lab):
    """R64"""
    c = lab.container("sleep", "100").run()
    before = sorted(c.shim.fds().values())
    for _ in range(5):
        e = c.exec("echo", "hi").pipes("stdin", "stdout", "stderr").add()
        e.start()
        e.wait()
        e.delete()
        e.close_pipes()
    host.wait_for(lambda: len(c.shim.fds()) <= len(before), f"the same descriptors as before: {c.shim.fds()}")


def test_output_costs_the_shim_no_cpu(lab, stock):
    """The container has the FIFO itself: not one byte passes through the shim."""
    if stock:
        pytest.skip("it copies")
    c = lab.container("sh", "-c", "yes | head -c 200000000").pipes().run()
    own, reaped = cpu_ticks(c.shim.pid)
    assert len(c.stdout.read_all()) == 200000000
    c.wait()
    own, reaped = (now - before for now, before in zip(cpu_ticks(c.shim.pid), (own, reaped)))
    # A virtual machine counts what it waits for its host, too: then both grow. To copy would be a third of the writer's.
    assert own <= 2 + reaped / 10, (own, reaped)


def cpu_ticks(pid):
    """Of a process, and of the children that it has reaped with theirs."""
    fields = host.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
