# SPDX-License-Identifier: Apache-2.0
"""binary:// and binary-v2:// in stdout: a program that gets a container's output (R60 to R63)."""
import hashlib
import os
import signal

import pytest

import host
import ttrpc
from checks import fails
from paths import COPY, READY, Logger

SHELL_S_OWN = {"PATH", "PWD", "SHLVL", "OLDPWD", "_"}


@pytest.fixture(autouse=True)
def binary_v2(lab, request):
    if lab.stock and "v1" not in request.node.name:
        pytest.skip("binary-v2 and restarts: not in the stock shim of 1.6")


def run_container(lab, logger, script, **fields):
    c = lab.container("sh", "-c", script)
    c.create(**logger.stdio(), **fields)
    c.start()
    return c


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"], ids=["v1", "v2"])
def test_both_streams_reach_it_before_delete_answers(lab, scheme):
    logger = Logger(lab, READY + COPY, scheme)
    c = run_container(lab, logger, "echo out; echo err >&2")
    assert c.state().stdout == logger.uri
    c.wait()
    c.delete()
    assert (logger.read("out"), logger.read("err")) == (b"out\n", b"err\n")


def test_it_gets_its_arguments_and_a_small_environment(lab):
    logger = Logger(lab, 'busybox env >"$2.env"; echo "$@" >"$2.args"; busybox ls /proc/self/fd >"$2.fds"; '
                    + READY + COPY)
    logger.uri += "&key=a%20value&flag"
    c = run_container(lab, logger, "true")
    c.wait()
    c.delete()
    env = dict(line.split("=", 1) for line in logger.read("env").decode().splitlines())
    assert env["CONTAINER_ID"] == c.id and env["CONTAINER_NAMESPACE"] == lab.namespace
    assert not set(env) - {"CONTAINER_ID", "CONTAINER_NAMESPACE", *SHELL_S_OWN}
    assert [int(fd) for fd in logger.read("fds").split()] == [0, 1, 2, 3, 4, 5, 6]  # the last is ls's own
    assert logger.read("args") == f"base {logger.base} key a value flag \n".encode()


def test_it_is_named_after_the_exec(lab):
    logger = Logger(lab, 'echo "$CONTAINER_ID" >"$2.id"; ' + READY + COPY)
    c = lab.container("sleep", "100").run()
    e = c.exec("echo", "from an exec").add(**logger.stdio())
    e.start()
    e.wait()
    e.delete()
    assert (logger.read("id"), logger.read("out")) == (b"e0\n", b"from an exec\n")


def test_a_large_binary_arrives_whole(lab):
    logger = Logger(lab, READY + COPY)
    size = 24 << 20
    c = run_container(lab, logger, f"head -c {size} /dev/urandom | tee /proc/self/fd/2 | sha256sum >/sum; cat /sum >&2")
    c.wait()
    c.delete()
    err = logger.read("err")
    assert hashlib.sha256(err[:size]).hexdigest() == err[size:].split()[0].decode()


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"], ids=["v1", "v2"])
def test_a_terminal_goes_through_it(lab, scheme):
    """R63"""
    logger = Logger(lab, READY + COPY, scheme)
    c = lab.container("sh", "-c", "echo hello; [ -t 1 ] && echo terminal")
    c.terminal = c.config["process"]["terminal"] = True
    c.create(stdout=logger.uri)
    c.start()
    c.wait()
    c.delete()
    if lab.stock:  # it lets go of the pipe, and does not wait
        host.wait_for(lambda: logger.read("out").count(b"\n") == 2, "all of it")
    assert logger.read("out") == b"hello\r\nterminal\r\n"


@pytest.mark.parametrize("script, text", [
    ("exit 3", "did not call ready"),
    ("exec 5>&-; sleep 100", "did not call ready"),
    ("kill -SEGV $$", "did not call ready"),
    ("busybox sleep 1 & kill -SEGV $$", "did not call ready"),
])
def test_one_that_is_not_ready_fails_create(lab, script, text):
    """R62, R60"""
    logger = Logger(lab, script)
    c = lab.container("true").launch()
    before = len(c.shim.fds())
    with fails(ttrpc.UNKNOWN, "OCI runtime create failed", "logging binary", text):
        c.create(**logger.stdio())
    c.deleted = True
    for pid in logger.pids():
        host.wait_gone(pid)
    host.wait_for(lambda: len(c.shim.fds()) <= before, f"the same descriptors as before: {c.shim.fds()}")


def test_one_that_is_not_there_fails_create_and_exec(lab):
    c = lab.container("true").launch()
    uri = "binary:///nowhere/logger"
    with fails(ttrpc.UNKNOWN, "exec logging binary '/nowhere/logger': No such file or directory"):
        c.create(stdout=uri, stderr=uri)
    c.deleted = True
    d = lab.container("sleep", "100").run()
    e = d.exec("true").add(stdout=uri, stderr=uri)
    with fails(ttrpc.UNKNOWN, "OCI runtime exec failed", "/nowhere/logger"):
        e.start()


def test_shutdown_ends_a_create_that_waits_for_it(lab):
    logger = Logger(lab, "exec sleep 1000")
    c = lab.container("true").launch()
    create = c.task.start.Create(bundle=str(c.bundle.path), **logger.stdio())
    host.wait_for(lambda: os.path.exists(logger.base + ".pids") and logger.pids(), "it runs")
    assert c.task.start.Connect().result() and not create.done()  # the loop is free
    os.kill(c.shim.pid, signal.SIGTERM)
    with fails(ttrpc.CANCELED, "logging binary", also=[ttrpc.UNAVAILABLE]):
        create.result()
    host.wait_gone(c.shim.pid)
    for pid in logger.pids():
        host.wait_gone(pid)
    c.task = None


def test_it_dies_and_its_successor_goes_on_while_the_container_runs(lab):
    logger = Logger(lab, READY + 'exec cat <&3 >>"$2.out"')
    c = lab.container("cat").pipes("stdin")
    c.create(**{**c._stdio(), **logger.stdio()})
    c.start()
    said = b""
    for number in range(4):
        host.wait_for(lambda: os.path.exists(logger.base + ".pids") and len(logger.pids()) > number, "it runs")
        line = b"line %d\n" % number
        said += line
        c.stdin.write(line)
        host.wait_for(lambda: os.path.exists(logger.base + ".out") and logger.read("out") == said, f"{said} in the log")
        os.kill(logger.pids()[-1], signal.SIGKILL)
    host.wait_for(lambda: len(logger.pids()) == 5, "one more runs")
    c.stdin.close()
    c.task.CloseIO(stdin=True)
    assert c.wait().status == 0
    c.delete()
    assert logger.read("out") == said
    assert f"the logger died: signal {int(signal.SIGKILL)}" in lab.logs()


def test_one_that_goes_into_the_background_is_the_logger_still(lab):
    logger = Logger(lab, READY + '{ cat <&3 >>"$2.out"; } & exit 0')
    c = lab.container("cat").pipes("stdin")
    c.create(**{**c._stdio(), **logger.stdio()})
    c.start()
    host.wait_for(lambda: "the logger has gone into the background" in lab.logs(), "it has gone")
    c.stdin.write(b"some output\n")
    c.stdin.close()
    c.task.CloseIO(stdin=True)
    c.wait()
    c.delete()
    assert logger.read("out") == b"some output\n"
    assert len(logger.pids()) == 1


def test_delete_waits_for_what_a_slow_one_has_still_to_read(lab):
    logger = Logger(lab, READY + 'while busybox dd bs=4096 count=1 <&3 2>/dev/null >"$2.part" && [ -s "$2.part" ]; do '
                    'busybox usleep 20000; busybox cat "$2.part" >>"$2.out"; done')
    c = run_container(lab, logger, "seq 1 8000")
    c.wait()
    c.delete()
    assert logger.read("out") == "".join(f"{n}\n" for n in range(1, 8001)).encode()


def test_a_background_child_that_holds_stdout_does_not_hang_delete(lab):
    """R54; the child is the host's: it is in the container's pid namespace no longer when that ends."""
    logger = Logger(lab, READY + COPY)
    c = run_container(lab, logger, "sleep 1000")
    e = c.exec("sh", "-c", "echo first; sleep 1001 & echo last").add(**logger.stdio())
    e.start()
    e.wait()
    e.rpc().start.Delete(exec_id=e.exec_id, timeout_nano=4 * 10**9).result()
    assert logger.read("out") == b"first\nlast\n"


@pytest.mark.parametrize("scheme", ["binary", "binary-v2"], ids=["v1", "v2"])
def test_one_that_goes_on_is_told_to_end_and_has_time_to_flush(lab, scheme):
    """R61: its pipes have ended, and it goes on: SIGTERM comes, and what it does then is waited for."""
    logger = Logger(lab, """trap 'busybox usleep 300000; echo flushed >>"$2.out"; exit 0' TERM; """ + READY
                    + 'cat <&3 >>"$2.out"; while :; do busybox usleep 20000; done', scheme)
    c = lab.container("sleep", "100").run()
    e = c.exec("echo", "said").add(**logger.stdio())
    e.start()
    e.wait()
    host.wait_for(lambda: os.path.exists(logger.base + ".out") and logger.read("out") == b"said\n", "it has read")
    e.rpc().start.Delete(exec_id=e.exec_id, timeout_nano=6 * 10**9).result()
    host.wait_for(lambda: logger.read("out") == b"said\nflushed\n", "it has flushed")
    for pid in logger.pids():
        host.wait_gone(pid)


def test_the_shim_holds_nothing_of_it_after_delete(lab):
    """R60, R64"""
    logger = Logger(lab, READY + COPY)
    c = lab.container("sleep", "100").run()
    before = len(c.shim.fds())
    for _ in range(5):
        e = c.exec("echo", "hi").add(**logger.stdio())
        e.start()
        e.wait()
        e.delete()
    host.wait_for(lambda: len(c.shim.fds()) <= before, f"the same descriptors as before: {c.shim.fds()}")
    for pid in logger.pids():
        host.wait_gone(pid)


def test_the_output_of_a_container_whose_shim_was_killed_still_arrives(lab):
    logger = Logger(lab, READY + COPY)
    c = run_container(lab, logger, "echo before; read x; ")
    host.wait_for(lambda: os.path.exists(logger.base + ".out") and logger.read("out"), "it has some")
    c.delete_without_shim()
    for pid in logger.pids():
        host.wait_gone(pid)
    assert logger.read("out") == b"before\n"
