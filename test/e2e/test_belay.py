# SPDX-License-Identifier: Apache-2.0
"""belay, the command line: every verb, as a person uses it, and what it leaves behind: nothing."""
import fcntl
import json
import os
import pathlib
import pty
import signal
import struct
import subprocess
import termios

import pytest

import host


class Belay:
    def __init__(self, lab):
        self.lab = lab
        self.program = lab.shim.parent / "belay"
        self.root = lab.dir / "root"
        self.rootfs = lab.template
        self.env = dict(os.environ, **dict([lab.token_variable.split("=", 1)]))

    def argv(self, *args):
        return [self.program, "--root", self.root, *map(str, args)]

    def __call__(self, *args, status=0, stdin=b"", **more):
        done = subprocess.run(self.argv(*args), input=stdin, capture_output=True, timeout=30 * host.SLOWNESS, env=self.env,
                              cwd=self.lab.dir, **more)
        assert done.returncode in (status if isinstance(status, tuple) else (status,)), (done.returncode, done.stdout, done.stderr)
        return done

    def start(self, *args, **more):
        return subprocess.Popen(self.argv(*args), env=self.env, cwd=self.lab.dir, stdout=subprocess.PIPE, **more)

    def id(self, name):
        """Ids name cgroups, too, so tests must not share them."""
        return f"{self.lab.namespace}-{name}"

    def run(self, name, *args, flags=(), **more):
        return self("run", *flags, "--rootfs", self.rootfs, self.id(name), "--", *args, **more)

    def state(self, name, *flags):
        return json.loads(self("state", "--json", *flags, self.id(name)).stdout)

    def shim_pid(self, name):
        end = f"-id\0{self.id(name)}\0".encode()
        [pid] = host.eldest([pid for pid in self.lab.processes() if end in host.read(f"/proc/{pid}/cmdline")])
        return pid

    def is_clean(self):
        """True when there is no container, and nothing of one."""
        left = [e for e in os.listdir(self.root) if not e.startswith(".")] if self.root.exists() else []
        cgroups = [c for c in host.cgroups_below("belay") if c.name.startswith(self.id(""))]
        sockets = list((self.root / ".s").glob("*"))
        return not (left or cgroups or sockets or self.lab.processes())


@pytest.fixture
def belay(lab, stock):
    if stock:
        pytest.skip("belay is not under test")
    cli = Belay(lab)
    yield cli
    for name in json.loads(cli("list", "--json").stdout):
        cli("delete", "--force", name["id"])
    for c in lab.containers:
        c.finish()
    host.wait_for(cli.is_clean, "everything to be gone")


def test_run_passes_on_status_and_streams(belay):
    done = belay.run("a", "sh", "-c", "cat; echo err >&2; exit 7", flags=["--rm"], stdin=b"from stdin\n", status=7)
    assert (done.stdout, done.stderr) == (b"from stdin\n", b"err\n")


def test_run_has_the_default_arguments_and_environment(belay):
    done = belay("run", "--rm", "--rootfs", belay.rootfs, "-e", "A=1", "--cwd", "/tmp", "-u", "7:8", belay.id("a"),
                 stdin=b"id -u; id -g; pwd; echo $A; hostname\n")
    assert done.stdout.split() == [b"7", b"8", b"/tmp", b"1", belay.id("a").encode()]


def test_large_output_arrives_whole(belay):
    done = belay.run("a", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x", flags=["--rm"])
    assert done.stdout == b"x" * 3000000


def test_large_input_arrives_whole(belay):
    done = belay.run("a", "wc", "-c", flags=["--rm"], stdin=b"x" * 3000000)
    assert done.stdout.split() == [b"3000000"]


def test_an_ended_container_keeps_its_status_until_it_is_deleted(belay):
    belay.run("a", "sh", "-c", "exit 5", status=5)
    for _ in range(2):
        assert belay("wait", belay.id("a"), status=5).stdout == b"5\n"
    state = belay.state("a")
    assert (state["status"], state["exit_status"]) == ("stopped", 5) and state["exited_at"]
    belay("delete", belay.id("a"))
    assert b"no container" in belay("state", belay.id("a"), status=1).stderr
    host.wait_for(belay.is_clean, "nothing to be left")


def test_a_detached_container_is_listed_executed_in_killed_and_deleted(belay):
    assert belay.run("a", "sleep", "1000", flags=["-d"]).stdout.decode().strip() == belay.id("a")
    [row] = json.loads(belay("list", "--json").stdout)
    assert (row["id"], row["status"]) == (belay.id("a"), "running") and row["pid"] > 0
    assert belay.id("a").encode() in belay("list").stdout
    assert b"running" in belay("state", belay.id("a")).stdout
    done = belay("exec", belay.id("a"), "--", "sh", "-c", "cat; exit 3", stdin=b"hello", status=3)
    assert done.stdout == b"hello"
    assert b"--force" in belay("delete", belay.id("a"), status=1).stderr
    belay("kill", belay.id("a"), "SIGKILL")
    belay("wait", belay.id("a"), status=137)
    assert b"finished" in belay("kill", belay.id("a"), status=1).stderr
    belay("delete", belay.id("a"))
    host.wait_for(belay.is_clean, "nothing to be left")


def test_a_detached_exec_is_addressed_by_its_id(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    one = belay("exec", "-d", belay.id("a"), "sh", "-c", "exit 4").stdout.decode().strip()
    belay("wait", "--exec", one, belay.id("a"), status=4)
    assert belay.state("a", "--exec", one)["exit_status"] == 4
    belay("delete", "--exec", one, belay.id("a"))
    belay("state", "--exec", one, belay.id("a"), status=1)
    two = json.loads(belay("exec", "-d", "--json", belay.id("a"), "sleep", "1000").stdout)["exec_id"]
    belay("kill", "--exec", two, belay.id("a"), "9")
    belay("wait", "--exec", two, belay.id("a"), status=137)
    belay("delete", "-f", belay.id("a"))


def test_output_of_a_detached_container_goes_to_its_log(belay):
    log = belay.lab.dir / "output"
    belay.run("a", "sh", "-c", "echo out; echo err >&2", flags=["-d", "--output", log])
    belay("wait", belay.id("a"))
    assert sorted(log.read_text().split()) == ["err", "out"]
    belay("delete", belay.id("a"))


def test_signals_go_to_the_container(belay):
    ready = "trap 'exit 9' TERM; trap 'exit 8' INT; echo ready; while :; do sleep 0.01; done"
    for signo, status in ((signal.SIGTERM, 9), (signal.SIGINT, 8)):
        process = belay.start("run", "--rm", "--rootfs", belay.rootfs, belay.id("a"), "--", "sh", "-c", ready)
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signo)
        assert process.wait(20) == status
        process.stdout.close()


def test_the_third_interrupt_kills(belay):
    process = belay.start("run", "--rm", "--rootfs", belay.rootfs, belay.id("a"), "--", "sh", "-c",
                          "trap 'echo int' INT; echo ready; while :; do sleep 0.01; done")
    assert process.stdout.readline() == b"ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"int\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 137
    process.stdout.close()


def test_a_terminal_is_relayed_raw_and_has_our_size(belay):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(belay.argv("run", "--rm", "-t", "--rootfs", belay.rootfs, belay.id("a"), "--", "sh", "-c",
                                          "tty; stty size; trap 'exit 6' INT; echo ready; while :; do sleep 0.01; done"),
                               env=belay.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    seen = b""
    while b"ready" not in seen:
        assert host.readable(master, 20)
        seen += os.read(master, 4096)
    assert b"/dev/pts/0" in seen and b"31 97" in seen
    os.write(master, b"\x03")  # a byte for the container's terminal, not a signal for belay
    assert process.wait(20) == 6
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_bundle_of_the_users_own_is_not_written_to(belay):
    c = belay.lab.container("sh", "-c", "pwd; cat /here/x; exit 3")
    (c.bundle.path / "data").mkdir()
    (c.bundle.path / "data/x").write_text("mounted\n")
    c.bundle.config["mounts"].append({"destination": "/here", "type": "bind", "source": "data",
                                      "options": ["rbind", "ro"]})
    c.bundle.write()
    before = sorted(os.listdir(c.bundle.path))
    done = belay("run", "--rm", "--bundle", c.bundle.path, belay.id("a"), status=3)
    assert done.stdout == b"/\nmounted\n"
    done = belay("run", "--rm", "--bundle", c.bundle.path, belay.id("a"), "--", "echo", "other")
    assert done.stdout == b"other\n"
    assert sorted(os.listdir(c.bundle.path)) == before


def test_state_names_the_shim_and_how_the_container_ended(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    state = belay.state("a")
    assert state["shim_pid"] == belay.shim_pid("a") and "reason" not in state
    belay("kill", belay.id("a"), "KILL")
    belay("wait", belay.id("a"), status=137)
    assert belay.state("a")["reason"] == "signal"


def test_shims_that_containerd_started_are_spoken_to(belay):
    c = belay.lab.container("sleep", "1000")
    c.pipes("stdout").run()
    address = (c.bundle.path / "address").read_text()
    for flags in (["--bundle", c.bundle.path], ["--address", address]):
        state = json.loads(belay("state", "--json", *flags, c.id).stdout)
        assert (state["status"], state["pid"]) == ("running", c.pid())
        assert belay("exec", *flags, c.id, "echo", "hi").stdout == b"hi\n"
    belay("kill", "--address", address, c.id, "KILL")
    belay("wait", "--bundle", c.bundle.path, c.id, status=137)


def test_a_shim_that_does_not_answer_is_not_lost(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    pid = belay.shim_pid("a")
    os.kill(pid, signal.SIGSTOP)
    try:
        [row] = json.loads(belay("list", "--json").stdout)
        assert row["status"] == "unknown"
    finally:
        os.kill(pid, signal.SIGCONT)
    [row] = json.loads(belay("list", "--json").stdout)
    assert row["status"] == "running"


def test_a_container_whose_shim_was_killed(belay):
    belay.run("a", "sleep", "1000", flags=["-d"])
    pid = belay.shim_pid("a")
    os.kill(pid, signal.SIGKILL)
    host.wait_gone(pid)
    assert belay.state("a")["status"] == "lost"
    assert b"lost" in belay("list").stdout
    belay("wait", belay.id("a"), status=125)
    assert b"--force" in belay("delete", belay.id("a"), status=1).stderr
    belay("delete", "--force", belay.id("a"))
    host.wait_for(belay.is_clean, "everything to be gone")


def test_the_status_outlives_the_shim(belay):
    belay.run("a", "sh", "-c", "exit 42", status=42)
    pid = belay.shim_pid("a")
    os.kill(pid, signal.SIGKILL)
    host.wait_gone(pid)
    state = belay.state("a")
    assert (state["status"], state["exit_status"], state["reason"]) == ("stopped", 42, "exited")
    belay("wait", belay.id("a"), status=42)
    belay("delete", belay.id("a"))


def test_a_frozen_container_is_not_waited_for_without_end(belay):
    freezer = pathlib.Path("/sys/fs/cgroup/freezer")
    if not (freezer / "tasks").exists():
        pytest.skip("no freezer of cgroup v1, which holds SIGKILL back")
    belay.run("a", "sleep", "1000", flags=["-d"])
    path = freezer / host.CGROUP / belay.id("a") / "frozen"
    path.mkdir(parents=True)
    try:
        (path / "cgroup.procs").write_text(str(belay.state("a")["pid"]))
        (path / "freezer.state").write_text("FROZEN")
        assert b"is it frozen?" in belay("delete", "--force", belay.id("a"), status=1).stderr
    finally:
        (path / "freezer.state").write_text("THAWED")
    belay("delete", "--force", belay.id("a"))
    host.wait_for(lambda: not (path / "cgroup.procs").exists() or not (path / "cgroup.procs").read_text(), "its end")
    for place in (path, path.parent):
        if place.exists():
            place.rmdir()


def test_belays_own_failures_have_a_status_of_their_own(belay):
    assert b"/no/such" in belay.run("a", "/no/such", status=125).stderr
    host.wait_for(belay.is_clean, "nothing to be left")
    assert b"rootfs" in belay("run", "--rootfs", "/no/such", belay.id("a"), status=125).stderr
    host.wait_for(belay.is_clean, "nothing to be left")
    belay.run("a", "sleep", "1000", flags=["-d"])
    assert b"already exists" in belay.run("a", "true", status=125).stderr
    assert b"/no/such" in belay("exec", belay.id("a"), "/no/such", status=125).stderr
    assert belay.state("a")["status"] == "running"
    belay("exec", "nobody", "true", status=125)
    belay("kill", "nobody", status=1)


@pytest.mark.parametrize("words", [[], ["fly"], ["run", "--keep", "--rootfs", "/", "x"], ["run", "--rootfs", "/", "--bundle", "/", "x"],
                                   ["run", "--nope", "x"], ["exec", "x"], ["kill", "x", "NOPE"], ["state"],
                                   ["run", "-dt", "--rootfs", "/", "x"], ["state", "../x"], ["list", "x"]])
def test_a_wrong_command_line_is_told_apart(belay, words):
    belay(*words, status=2)


def test_help_and_version_are_for_people(belay):
    assert b"Verbs:" in belay("--help").stdout
    for verb in ("run", "exec", "state", "kill", "wait", "delete", "list"):
        assert f"Usage: belay {verb}".encode() in belay(verb, "--help").stdout
    assert belay("--version").stdout.startswith(b"belay ")
