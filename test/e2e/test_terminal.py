# SPDX-License-Identifier: Apache-2.0
"""A pty between the process and the FIFOs."""
import os
import signal

import pytest

import host
import ttrpc
from checks import fails


def terminal(p):
    """Gives a container or an exec a terminal: stdin and stdout only."""
    p.terminal = True
    spec = p.config["process"] if hasattr(p, "config") else p.spec
    spec["terminal"] = True
    return p.pipes("stdin", "stdout")


def ptys_of_shim(c):
    return [t for t in c.shim.fds().values() if "ptmx" in t or "/pts/" in t]


def test_a_terminal_is_the_controlling_one(lab):
    c = terminal(lab.container("sh", "-c", "tty; test -t 0 -a -t 1 -a -t 2 && echo all; ls -l /dev/console; ps -o tty")).run()
    c.wait()
    out = c.stdout.read_all().decode()
    assert "/dev/pts/0\r\n" in out or "/dev/console\r\n" in out
    assert "all\r\n" in out and "/dev/console" in out


def test_input_reaches_the_process_and_is_echoed(lab):
    c = terminal(lab.container("sh", "-c", "read x; echo got $x")).run()
    c.stdin.write(b"words\n")
    c.wait()
    assert c.stdout.read_all().splitlines()[-1] == b"got words"


def test_the_initial_size_is_the_console_size(lab):
    c = terminal(lab.container("stty", "size"))
    c.config["process"]["consoleSize"] = {"height": 33, "width": 111}
    c.run()
    c.wait()
    assert c.stdout.read_all() == b"33 111\r\n"


def test_resize_changes_the_size_and_sends_sigwinch(lab):
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"
    c = terminal(lab.container("sh", "-c", script)).run()
    c.stdout.read_until(b"ready\r\n")
    c.task.ResizePty(width=123, height=45)
    assert c.stdout.read_until(b"\r\n").endswith(b"45 123\r\n")


def test_resize_in_the_created_state_and_without_a_terminal(lab):
    c = terminal(lab.container("stty", "size")).create()
    c.task.ResizePty(width=99, height=11)
    c.start()
    c.wait()
    assert c.stdout.read_all() == b"11 99\r\n"
    plain = lab.container("sleep", "100").run()
    plain.task.ResizePty(width=1, height=1)  # a no-op, as in the stock shim


def test_control_c_arrives_as_a_signal(lab):
    c = terminal(lab.container("sh", "-c", "trap 'echo int; exit 7' INT; echo ready; while :; do sleep 0.1; done"))
    c.run()
    c.stdout.read_until(b"ready\r\n")
    c.stdin.write(b"\x03")
    assert c.wait().status == 7
    assert b"int" in c.stdout.read_all()


def test_large_output_of_a_terminal_arrives_complete(lab):
    """R56"""
    c = terminal(lab.container("seq", "1", "120000")).run()
    data = c.stdout.read_all()
    assert data == "".join(f"{n}\r\n" for n in range(1, 120001)).encode()
    assert c.wait().status == 0


def test_a_fast_terminal_costs_little_memory_which_goes_back(lab, stock):
    """In KiB: 256 of Attach's ring stay, 64 on their way do not."""
    if stock:
        pytest.skip("belay's own")

    def memory(what):
        return host.status_kib(c.shim.pid, what)

    c = terminal(lab.container("sh", "-c", "stty raw -echo; echo go; read x; head -c 4000000 /dev/zero; read x")).run()
    c.stdout.read_until(b"go\n")
    resident, shared = memory("VmRSS"), memory("RssShmem")
    c.stdin.write(b"\n")
    n = 0
    while n < 4000000:
        assert host.readable(c.stdout.fd, 20)
        n += len(os.read(c.stdout.fd, 1 << 16))
    assert lab.sanitized or memory("VmHWM") - resident < 700
    host.wait_for(lambda: memory("RssShmem") - shared < 256 + 24, "memory goes back")


def test_output_written_right_before_the_end_arrives(lab):
    c = lab.container("sleep", "1000").run()
    for i in range(20):
        e = terminal(c.exec("echo", f"last words {i}")).add()
        e.start()
        assert e.stdout.read_all() == f"last words {i}\r\n".encode()
        e.wait()
        e.delete()


def test_no_pty_is_left_in_the_shim(lab):
    """R57"""
    if lab.stock:
        pytest.skip("1.6 leaks one with every exec (fixed in 2024)")
    c = lab.container("sleep", "1000").run()
    for i in range(10):
        e = terminal(c.exec("true")).add()
        e.start()
        e.wait()
        e.delete()
        e.close_pipes()
    assert not ptys_of_shim(c)
    e = terminal(c.exec("sleep", "100")).add()
    e.start()
    assert ptys_of_shim(c)
    e.kill(signal.SIGKILL)
    e.wait()
    e.delete()
    assert not ptys_of_shim(c)


def test_delete_does_not_wait_for_ever_for_a_grandchild_on_the_terminal(lab):
    """R54, and nobody else waits meanwhile."""
    c = lab.container("sleep", "1000").run()
    e = terminal(c.exec("sh", "-c", "(trap '' HUP; exec setsid sleep 1000) & sleep 0.1; echo done")).add()
    e.start()
    e.stdout.read_until(b"done\r\n")
    assert e.wait().status == 0
    delete = c.task.start.Delete(exec_id=e.exec_id)
    assert c.status() == "RUNNING"
    assert delete.result().exit_status == 0
    assert not ptys_of_shim(c) or lab.stock


def test_an_exec_has_a_terminal_of_the_containers_devpts(lab):
    c = lab.container("sleep", "1000").run()
    e = terminal(c.exec("sh", "-c", "tty; test -t 2 && echo yes")).add()
    e.start()
    e.wait()
    out = e.stdout.read_all()
    assert b"/dev/pts/" in out and b"yes\r\n" in out


def test_the_reader_of_a_terminal_may_go_and_come_back(lab):
    c = terminal(lab.container("sh", "-c", "stty -echo; echo one; read x; echo two; read x; echo three")).run()
    c.stdout.read_until(b"one\r\n")
    c.stdout.close()
    c.stdin.write(b"\n")
    c.stdout.open()
    c.stdout.read_until(b"two\r\n")
    c.stdin.write(b"\n")
    c.wait()
    assert c.stdout.read_all().endswith(b"three\r\n")


def test_the_request_decides_about_the_terminal_of_an_exec(lab):
    """P3.4: spec.terminal is overwritten by request.terminal."""
    c = lab.container("sleep", "1000").run()
    e = terminal(c.exec("test", "-t", "0"))
    e.spec["terminal"] = False
    e.add().start()
    assert e.wait().status == 0
    e = c.exec("test", "-t", "0").pipes("stdin", "stdout", "stderr")
    e.spec["terminal"] = True
    e.add().start()
    assert e.wait().status == 1


def test_resize_of_an_exec_that_ended_is_an_error_or_nothing(lab):
    c = lab.container("sleep", "1000").run()
    e = terminal(c.exec("true")).add()
    e.start()
    e.wait()
    try:
        c.task.ResizePty(exec_id=e.exec_id, width=1, height=1)
    except ttrpc.Error as error:
        assert error.code in (ttrpc.FAILED_PRECONDITION, ttrpc.NOT_FOUND, *([ttrpc.UNKNOWN] if lab.stock else []))


def test_a_terminal_needs_no_stdin(lab, stock):
    if stock:
        pytest.skip("it opens an empty name")
    c = lab.container("echo", "hi")
    c.terminal = c.config["process"]["terminal"] = True
    c.pipes("stdout").run()
    assert c.stdout.read_all() == b"hi\r\n"
    c.wait()


def test_a_size_beyond_16_bits_is_no_disaster(lab):
    c = terminal(lab.container("sh", "-c", "read x; stty size")).run()
    try:
        c.task.ResizePty(width=70000, height=70001)
    except ttrpc.Error as error:
        assert error.code == ttrpc.INVALID_ARGUMENT
    assert c.status() == "RUNNING"


def test_an_unknown_exec_cannot_be_resized(lab):
    c = lab.container("sleep", "1000").run()
    with fails(ttrpc.NOT_FOUND):
        c.task.ResizePty(exec_id="nobody", width=1, height=1)
    assert not host.mounts_below(c.bundle.path)
