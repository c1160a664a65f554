# SPDX-License-Identifier: Apache-2.0
"""belay attach, belay logs and belay exec -t: a container's streams as a person at a terminal has them."""
import datetime
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest

import host
from test_belay import belay  # noqa: F401 (a fixture)

DETACH = b"\x10\x11"  # ctrl-p, ctrl-q


class Terminal:
    """belay in a terminal of its own, of which the test is the screen and the keyboard."""

    def __init__(self, belay, *args, size=(24, 80)):
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(belay.argv(*args), env=belay.env, cwd=belay.lab.dir, stdin=self.slave,
                                        stdout=self.slave, stderr=self.slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def resize(self, height, width):
        """The kernel sends SIGWINCH to whoever is in the foreground."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, data):
        os.write(self.master, data)

    def until(self, text):
        """What has come up to text, which is taken off."""
        while text not in self.seen:
            assert host.readable(self.master, 20), (text, self.seen)
            self.seen += os.read(self.master, 65536)
        found, self.seen = self.seen.split(text, 1)
        return found

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def wait(self):
        """The exit status. The terminal is as it was."""
        try:
            status = self.process.wait(20)
            assert termios.tcgetattr(self.slave) == self.before, "the terminal was not restored"
            return status
        finally:
            self.close()

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def keep(belay, name, script, *flags, params=""):
    """A container in the background whose output is kept in a log."""
    log = belay.lab.new_path("log")
    belay.run(name, "sh", "-c", script, flags=["-d", "--log", f"log://{log}{params}", *flags])
    return log


def shell(belay, name="a", *flags):
    """A shell in the background, at a terminal that is there to be attached to."""
    belay.run(name, "sh", flags=["-d", "-i", "-t", *flags])


def ended(belay, name):
    host.wait_for(lambda: belay.state(name)["status"] == "stopped", f"{name} to end")


# ---- attach, with a terminal ----

def test_a_terminal_is_attached_to_and_left_and_the_container_goes_on(belay):
    shell(belay)
    for greeting in (b"one", b"two"):
        t = Terminal(belay, "attach", belay.id("a"))
        t.type(b"echo it is $((0+1)) " + greeting + b"\n")
        t.until(b"it is 1 " + greeting)
        assert t.is_raw()
        t.type(DETACH)
        t.until(b"detached from " + belay.id("a").encode())
        assert t.wait() == 0
        assert belay.state("a")["status"] == "running"


def test_the_status_of_a_process_that_ends_meanwhile_is_attachs_own(belay):
    shell(belay)
    t = Terminal(belay, "attach", belay.id("a"))
    t.type(b"exit 7\n")
    assert t.wait() == 7
    assert belay.state("a")["exit_status"] == 7


def test_interrupts_are_bytes_for_the_container(belay):
    belay.run("a", "sh", "-c", "trap 'echo caught; exit 6' INT; echo ready; while :; do sleep 0.01; done",
              flags=["-d", "-i", "-t"])
    t = Terminal(belay, "attach", "--replay", "1k", belay.id("a"))
    t.until(b"ready")
    t.type(b"\x03")
    t.until(b"caught")
    assert t.wait() == 6


def test_the_size_of_the_window_is_followed(belay):
    shell(belay)
    t = Terminal(belay, "attach", belay.id("a"), size=(31, 97))
    t.type(b"stty size\n")
    t.until(b"31 97")
    t.resize(45, 123)
    t.type(b"until [ \"$(stty size)\" = '45 123' ]; do sleep 0.01; done; echo now $(stty size)\n")
    t.until(b"now 45 123")
    t.type(DETACH)
    assert t.wait() == 0


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1], ids=lambda s: s.name)
def test_a_signal_ends_the_attach_and_restores_the_terminal(belay, signo):
    shell(belay)
    t = Terminal(belay, "attach", belay.id("a"))
    t.type(b"echo r''eady\n")
    t.until(b"ready")
    assert t.is_raw()
    t.process.send_signal(signo)
    assert t.wait() == 128 + signo
    assert belay.state("a")["status"] == "running"


def test_a_stop_gives_the_terminal_back_until_it_goes_on(belay):
    shell(belay)
    t = Terminal(belay, "attach", belay.id("a"))
    t.type(b"echo r''eady\n")
    t.until(b"ready")
    t.process.send_signal(signal.SIGTSTP)
    host.wait_for(lambda: host.read(f"/proc/{t.process.pid}/stat").split(b") ")[1][:1] == b"T", "belay to stop")
    assert termios.tcgetattr(t.slave) == t.before
    t.process.send_signal(signal.SIGCONT)
    host.wait_for(t.is_raw, "the terminal to be raw again")
    t.type(b"echo ag''ain\n")
    t.until(b"again")
    t.type(DETACH)
    assert t.wait() == 0


def test_other_detach_keys_and_none(belay):
    shell(belay)
    t = Terminal(belay, "attach", "--detach-keys", "ctrl-a,d", belay.id("a"))
    t.type(DETACH + b"\x15echo st''ill\n")
    t.until(b"still")
    t.type(b"\x01")
    t.type(b"d")
    assert t.wait() == 0
    t = Terminal(belay, "attach", "--detach-keys", "none", belay.id("a"))
    t.type(DETACH + b"\x15exit 3\n")
    assert t.wait() == 3


def test_the_detach_keys_work_when_the_container_reads_nothing(belay):
    belay.run("a", "sh", "-c", "stty raw -echo; echo ready; sleep 1000", flags=["-d", "-i", "-t"])
    t = Terminal(belay, "attach", "--replay", "1k", belay.id("a"))
    t.until(b"ready")
    for _ in range(60):
        os.write(t.master, b"x" * 4000)
        # The terminal takes no more before belay has read this.
        host.wait_for(lambda: not host.readable(t.slave, 0), "belay to read")
    t.type(DETACH)
    assert t.wait() == 0


def test_several_may_be_attached_and_one_that_only_watches(belay):
    """With a replay, so that it is of no matter who is attached first."""
    shell(belay)
    first, second = (Terminal(belay, "attach", "--replay", "4k", belay.id("a")) for _ in range(2))
    watcher = Terminal(belay, "attach", "--replay", "4k", "--no-stdin", belay.id("a"))
    first.type(b"echo r''eady\n")
    for t in (first, second, watcher):
        t.until(b"ready")
    second.type(b"echo from''second\n")
    for t in (first, second, watcher):
        t.until(b"fromsecond")
    assert not watcher.is_raw()
    watcher.type(b"\x03")  # its own terminal's: it leaves
    assert watcher.wait() == 128 + signal.SIGINT
    first.type(DETACH)
    assert first.wait() == 0
    second.type(b"exit 4\n")
    assert second.wait() == 4


# ---- attach, without a terminal ----

def test_streams_are_kept_apart_and_the_end_of_input_is_not_passed_on(belay):
    keep(belay, "a", "while read x; do echo out $x; echo err $x >&2; done; exit 5", "-i")
    attach = belay.start("attach", belay.id("a"), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    attach.stdin.write(b"one\ntwo\n")
    attach.stdin.close()
    for stream, text in ((attach.stdout, b"out"), (attach.stderr, b"err")):
        assert [stream.readline() for _ in range(2)] == [text + b" one\n", text + b" two\n"]
    assert attach.poll() is None and belay.state("a")["status"] == "running"
    done = belay("attach", "--close-stdin", belay.id("a"), stdin=b"three\n", status=5)
    assert (done.stdout, done.stderr) == (b"out three\n", b"err three\n")
    assert attach.wait(20) == 5
    assert (attach.stdout.read(), attach.stderr.read()) == (b"out three\n", b"err three\n")
    attach.stdout.close()
    attach.stderr.close()


def test_large_input_and_output_pass_whole(belay):
    keep(belay, "a", "sha256sum", "-i")
    data = os.urandom(3 << 20)
    path = belay.lab.new_path("data")
    path.write_bytes(data)
    expected = subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout.split()[0]
    with open(path, "rb") as file:
        attach = subprocess.run(belay.argv("attach", "--close-stdin", belay.id("a")), stdin=file, env=belay.env,
                                capture_output=True, timeout=60)
    assert attach.returncode == 0 and attach.stdout.split()[0] == expected


def test_the_last_output_is_replayed_when_asked_for(belay):
    log = keep(belay, "a", "echo before; read x; echo $x", "-i")
    host.wait_for(lambda: log.exists() and "before" in log.read_text(), "the log")
    done = belay("attach", "--replay", "64k", belay.id("a"), stdin=b"after\n")
    assert done.stdout == b"before\nafter\n"


def test_an_output_that_is_gone_ends_the_attach_and_nothing_else(belay):
    keep(belay, "a", "while read x; do echo $x; done", "-i")
    attach = belay.start("attach", belay.id("a"), stdin=subprocess.PIPE)
    attach.stdin.write(b"one\n")
    attach.stdin.flush()
    assert attach.stdout.readline() == b"one\n"
    attach.stdout.close()
    attach.stdin.write(b"two\n")
    attach.stdin.close()
    assert attach.wait(20) == 128 + signal.SIGPIPE
    assert belay.state("a")["status"] == "running"


def test_what_cannot_be_attached_to_is_refused_with_a_reason(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    assert b"log://" in belay("attach", belay.id("a"), status=125).stderr
    assert b"log" in belay("logs", belay.id("a"), status=1).stderr
    belay("attach", "nobody", status=125)


# ---- logs ----

def test_logs_are_printed_to_the_streams_that_they_came_from(belay):
    keep(belay, "a", "echo one; echo two >&2; echo three")
    ended(belay, "a")
    done = belay("logs", belay.id("a"))
    assert (done.stdout, done.stderr) == (b"one\nthree\n", b"two\n")
    done = belay("logs", "--stderr", belay.id("a"))
    assert (done.stdout, done.stderr) == (b"", b"two\n")
    done = belay("logs", "--stdout", belay.id("a"))
    assert (done.stdout, done.stderr) == (b"one\nthree\n", b"")


def test_the_last_lines_of_a_log(belay):
    keep(belay, "a", "seq 1000")
    ended(belay, "a")
    assert belay("logs", "--tail", 2, belay.id("a")).stdout == b"999\n1000\n"
    assert belay("logs", "--tail", 0, belay.id("a")).stdout == b""
    assert len(belay("logs", "--tail", "all", belay.id("a")).stdout.splitlines()) == 1000


def test_a_long_line_comes_as_one(belay):
    keep(belay, "a", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
    ended(belay, "a")
    lines = belay("logs", "--timestamps", belay.id("a")).stdout.splitlines()
    assert [line.split(b" ")[1] for line in lines] == [b"x" * 100000, b"end"]


def test_a_span_of_time_and_its_times(belay):
    keep(belay, "a", "echo old; sleep 3; echo new")
    ended(belay, "a")
    lines = belay("logs", "-t", belay.id("a")).stdout.decode().splitlines()
    times, words = zip(*(line.split(" ") for line in lines))
    assert words == ("old", "new")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", t) for t in times)
    assert belay("logs", "--since", times[1], belay.id("a")).stdout == b"new\n"
    assert belay("logs", "--until", times[1], belay.id("a")).stdout == b"old\n"
    after_the_first = datetime.datetime.fromisoformat(times[0][:26] + "+00:00").timestamp() + 0.1
    assert belay("logs", "--since", f"{after_the_first:.6f}", belay.id("a")).stdout == b"new\n"
    age = time.time() - after_the_first  # which grows until belay looks at its clock
    assert belay("logs", "--since", f"{age:.3f}s", belay.id("a")).stdout == b"new\n"
    assert belay("logs", "--since", "1h", "--until", "0s", belay.id("a")).stdout == b"old\nnew\n"


def test_a_log_is_followed_to_the_end_of_its_container(belay):
    keep(belay, "a", "echo one; read x; echo $x; exit 9", "-i")
    logs = belay.start("logs", "-f", belay.id("a"))
    assert logs.stdout.readline() == b"one\n"
    belay("attach", belay.id("a"), stdin=b"two\n", status=9)
    assert logs.wait(20) == 0
    assert logs.stdout.read() == b"two\n"
    logs.stdout.close()


def test_logs_into_a_pipe_that_is_closed_end_in_silence(belay):
    keep(belay, "a", "seq 200000")
    ended(belay, "a")
    logs = belay.start("logs", belay.id("a"), stderr=subprocess.PIPE)
    assert logs.stdout.readline() == b"1\n"
    logs.stdout.close()
    assert logs.wait(20) == 128 + signal.SIGPIPE
    assert logs.stderr.read() == b""
    logs.stderr.close()


def test_a_large_log_to_a_slow_reader_arrives_whole(belay):
    keep(belay, "a", "seq 300000")
    ended(belay, "a")
    logs = belay.start("logs", belay.id("a"))
    first = logs.stdout.read(1)
    time.sleep(0.5)  # so that everything between the two is full
    rest = logs.stdout.read()
    assert logs.wait(20) == 0
    assert first + rest == b"".join(b"%d\n" % n for n in range(1, 300001))
    logs.stdout.close()


# ---- exec -t ----

def test_exec_has_our_terminal_from_its_beginning(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    t = Terminal(belay, "exec", "-it", belay.id("a"), "--", "sh", "-c", "stty size; tty; read x; echo got $x; exit 3",
                 size=(31, 97))
    t.until(b"31 97")
    t.until(b"/dev/pts/")
    assert t.is_raw()
    t.type(b"words\n")
    t.until(b"got words")
    assert t.wait() == 3


def test_exec_follows_the_size_and_passes_signals_on(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    t = Terminal(belay, "exec", "-t", belay.id("a"), "--", "sh", "-c",
                 "trap 'stty size' WINCH; trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done")
    t.until(b"ready")
    t.resize(45, 123)
    t.until(b"45 123")
    t.process.send_signal(signal.SIGTERM)
    assert t.wait() == 6


def test_exec_that_cannot_start_says_why(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    t = Terminal(belay, "exec", "-t", belay.id("a"), "--", "/no/such/program")
    assert b"/no/such/program" in t.until(b"\n")
    assert t.wait() == 125


def test_large_output_of_an_exec_with_a_terminal_arrives_whole_at_a_slow_reader(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    exec_ = belay.start("exec", "-t", belay.id("a"), "--", "seq", "100000", stdin=subprocess.DEVNULL)
    first = exec_.stdout.read(1)
    time.sleep(0.5)  # so that everything between the two is full
    rest = exec_.stdout.read()
    assert exec_.wait(20) == 0
    assert first + rest == b"".join(b"%d\r\n" % n for n in range(1, 100001))
    exec_.stdout.close()


def test_an_exec_whose_belay_is_killed_leaves_nothing(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    t = Terminal(belay, "exec", "-t", belay.id("a"), "--", "sh", "-c", "echo ready; read x")
    t.until(b"ready")
    assert len(belay("ps", "-f", "json", belay.id("a")).stdout.split(b",")) == 2
    t.close()
    host.wait_for(lambda: len(belay("ps", "-f", "json", belay.id("a")).stdout.split(b",")) == 1, "the exec to end")
    bundle = belay.root / belay.id("a")
    host.wait_for(lambda: not list(bundle.glob("exec-*")), "its record to go")
    assert not list(bundle.glob("io.*"))


# ---- run, create, state ----

def test_state_tells_of_the_log(belay):
    keep(belay, "a", "echo hello", params="?format=json")
    ended(belay, "a")
    host.wait_for(lambda: belay.state("a")["io"]["drained"], "the log to be written")
    io = belay.state("a")["io"]
    assert (io["kind"], io["bytes_dropped"], io["logger_restarts"]) == ("log", 0, 0) and io["bytes"] > 0
    assert b"drained      yes" in belay("state", "-f", "table", belay.id("a")).stdout


def test_a_bundle_is_created_with_a_log_and_an_open_input(belay):
    c = belay.lab.container("sh", "-c", "read x; echo got $x; exit 3")
    log = belay.lab.new_path("log")
    c.bundle.write()
    belay("create", "--bundle", c.bundle.path, "-i", "--log", f"log://{log}", belay.id("a"))
    belay("start", belay.id("a"))
    state = belay.state("a")
    assert (state["stdin"], state["stdout"]) == ("attach:///", f"log://{log}")
    assert belay("attach", belay.id("a"), stdin=b"words\n", status=host.or_lost(3)).stdout == b"got words\n"
    assert belay("logs", belay.id("a")).stdout == b"got words\n"


@pytest.mark.parametrize("words, text", [
    (["run", "-d", "--log", "file.log", "--rootfs", "/", "x"], b"no URI"),
    (["run", "--log", "log:///x", "--rootfs", "/", "x"], b"only with --detach"),
    (["run", "-d", "--log", "log:///x", "--output", "y", "--rootfs", "/", "x"], b"either --log or --output"),
    (["run", "-d", "-t", "--rootfs", "/", "x"], b"no terminal to give"),
    (["create", "--log", "log:///x", "--console-socket", "s", "x"], b"--console-socket"),
    (["attach", "--detach-keys", "ctrl-", "x"], b"detach keys 'ctrl-'"),
    (["attach", "--replay", "much", "x"], b"--replay 'much'"),
    (["attach", "--no-stdin", "--close-stdin", "x"], b"either --no-stdin or --close-stdin"),
    (["attach", "x", "y", "z"], b"what is 'z'"),
    (["logs", "--tail", "-1", "x"], b"--tail '-1'"),
    (["logs", "--since", "yesterday", "x"], b"'yesterday' is no time"),
])
def test_a_wrong_command_line_is_told_apart(belay, words, text):
    assert text in belay(*words, status=2).stderr


def test_an_input_that_nobody_could_reach_is_refused(belay):
    assert b"--interactive takes --log" in belay.run("a", "sh", flags=["-d", "-i"], status=125).stderr


# ---- The shim goes on as another image ----


@pytest.fixture(params=["upgrade", "crash"])
def again(request, belay):
    """What makes the shim of a container go on as another image, which nobody at a terminal notices."""
    def image(name):
        return json.loads(belay("inspect", belay.id(name)).stdout).get("generation", 0)

    def again(name):
        if request.param == "upgrade":
            belay("upgrade", belay.id(name))
            return
        before = image(name)
        os.kill(belay.shim_pid(name), signal.SIGSEGV)
        host.wait_for(lambda: image(name) != before, "the next image")

    return again


def test_an_attach_goes_on(belay, again):
    shell(belay)
    t = Terminal(belay, "attach", belay.id("a"))
    for n in range(3):
        t.type(b"echo it is $((0+%d)).\n" % n)
        t.until(b"it is %d." % n)
        again("a")
    t.resize(45, 123)
    t.type(b"until [ \"$(stty size)\" = '45 123' ]; do sleep 0.01; done; echo now $(stty size)\n")
    t.until(b"now 45 123")
    t.type(b"exit 7\n")
    assert t.wait() == 7


def test_an_attach_can_be_left_afterwards(belay, again):
    shell(belay)
    t = Terminal(belay, "attach", belay.id("a"))
    t.type(b"echo r''eady\n")
    t.until(b"ready")
    again("a")
    t.type(DETACH)
    t.until(b"detached from")
    assert t.wait() == 0
    assert belay.state("a")["status"] == "running"


def test_logs_are_followed_on(belay, again):
    keep(belay, "a", "seq 1 50000; read x; seq 1 50000; exit 3", "-i")
    follow = belay.start("logs", "-f", belay.id("a"))
    lines = b"".join(b"%d\n" % n for n in range(1, 50001))
    assert follow.stdout.read(len(lines)) == lines
    again("a")
    again("a")
    belay("attach", belay.id("a"), stdin=b"\n", status=3)
    assert follow.stdout.read() == lines
    assert follow.wait(20) == 0


def test_an_exec_at_a_terminal_goes_on(belay, again):
    shell(belay)
    t = Terminal(belay, "exec", "-it", belay.id("a"), "--", "sh", "-c", "echo ready; while read x; do echo got $x; done; exit 5")
    t.until(b"ready")
    for n in range(3):
        t.type(b"%d\n" % n)
        t.until(b"got %d" % n)
        again("a")
    t.type(b"\x04")
    assert t.wait() == 5
