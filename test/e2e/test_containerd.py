# SPDX-License-Identifier: Apache-2.0
"""An unmodified containerd and ctr, with belay as the runtime: what people do all day.

--containerd-dir names another version's binaries. The daemon serves the whole file; each test leaves
it without a trace of a container.
"""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

import host
from daemon import Daemon, Listener, write_image
from harness import check_for_sanitizers

WAIT_FOR_STOP = "while [ ! -e /stop ]; do sleep 0.05; done; exit {}"


@pytest.fixture(scope="module")
def the_daemon(request):
    config = request.config
    daemon = Daemon(config.getoption("--containerd-dir"), config.base / "containerd", config.shim, "containerd",
                    config.getoption("--runc-binary"))
    image = config.base / "image.tar"
    write_image(image, config.template)
    daemon.start()
    try:
        daemon.import_image(image)
        yield daemon
        check_for_sanitizers(daemon.log_text())
    finally:
        daemon.stop()


@pytest.fixture
def containerd(the_daemon, request):
    yield the_daemon
    try:
        if not getattr(request.node, "call_failed", True):
            nothing = lambda: not the_daemon.leftovers()  # noqa: E731
            try:
                host.wait_for(nothing, "no trace of a container")
            except AssertionError:
                raise AssertionError("left behind:\n" + "\n".join(the_daemon.leftovers())) from None
    finally:
        print(the_daemon.log_text()[-5000:])
        the_daemon.clean()


def stopped(containerd, ident):
    host.wait_for(lambda: containerd.tasks()[ident][1] == "STOPPED", f"{ident} has stopped")


def test_the_runtime_is_found_by_name_and_by_path(containerd):
    done = containerd.run("by-name", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done
    done = containerd.run("by-path", "echo", "hello", runtime=containerd.shim)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done


@pytest.mark.parametrize("status", [1, 42, 255])
def test_run_exits_with_the_programs_status(containerd, status):
    assert containerd.run("status", "sh", "-c", f"exit {status}").returncode == status


def test_both_streams_arrive(containerd):
    done = containerd.run("streams", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_large_output_arrives(containerd):
    """The container ends when all has been read. ctr 1.6 sometimes closes its end of the FIFO when it hears of the exit,
    with output still in it and with any shim: strace shows the close without a read of 0 bytes before it. That the
    shim itself loses nothing at an exit is for test_stdio.py, which reads for itself."""
    process = containerd.popen(*containerd.run_argv("large", "sh", "-c", "seq 1 300000; read x", flags=["--rm"]),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    want = "".join(f"{n}\n" for n in range(1, 300001))
    assert process.stdout.read(len(want)) == want
    out, err = process.communicate("\n", timeout=30)
    assert (out, process.returncode) == ("", 0), err


def test_standard_input_arrives(containerd):
    process = containerd.popen(*containerd.run_argv("stdin", "sh", "-c", "read x; echo got $x", flags=["--rm"]),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate("hello\n", timeout=30)
    assert (out, process.returncode) == ("got hello\n", 0), err


def test_a_detached_container_and_all_that_can_be_done_with_it(containerd):
    containerd.run_detached("box", "sleep", "1000")
    pid, status = containerd.tasks()["box"]
    assert status == "RUNNING" and host.cmdline(pid) == "sleep 1000"

    done = containerd.ctr("task", "exec", "--exec-id", "one", "box", "sh", "-c", "echo in; exit 5")
    assert (done.returncode, done.stdout) == (5, "in\n")
    lines = containerd.ctr("task", "ps", "box", check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [str(pid)]

    containerd.ctr("task", "pause", "box", check=True)
    assert containerd.tasks()["box"] == (pid, "PAUSED")
    assert containerd.ctr("task", "exec", "--exec-id", "two", "box", "true").returncode != 0
    containerd.ctr("task", "resume", "box", check=True)
    assert containerd.tasks()["box"] == (pid, "RUNNING")

    containerd.ctr("task", "kill", "-s", "SIGKILL", "box", check=True)
    stopped(containerd, "box")
    assert containerd.remove_task("box") == 137
    assert "box" not in containerd.tasks()
    containerd.ctr("container", "rm", "box", check=True)


def test_a_container_can_be_started_again(containerd):
    containerd.run_detached("again", "sh", "-c", "exit 3")
    for _ in range(3):
        stopped(containerd, "again")
        assert containerd.remove_task("again") == 3
        containerd.ctr("task", "start", "-d", "again", check=True)
    stopped(containerd, "again")
    containerd.remove("again")


def test_rm_with_force_ends_a_running_task(containerd):
    containerd.run_detached("forced", "sleep", "1000")
    assert containerd.ctr("task", "rm", "-f", "forced").returncode in (0, 137)
    containerd.ctr("container", "rm", "forced", check=True)


def test_a_terminal(containerd):
    pid, fd = pty.fork()
    if pid == 0:
        argv = [*containerd.argv(), *containerd.run_argv(
            "tty", "sh", "-c", "tty; until [ \"$(stty size)\" = '44 99' ]; do sleep 0.05; done; read x; echo got $x; exit 9",
            flags=["--rm", "-t"])]
        os.execve(argv[0], argv, containerd.env)
    text = b""

    def read_until(end):
        nonlocal text
        while end not in text:
            assert select.select([fd], [], [], 30)[0], text
            text += os.read(fd, 4096)

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
    read_until(b"/dev/pts/0\r")
    os.write(fd, b"words\n")
    read_until(b"got words")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    os.close(fd)


def test_exec_with_a_terminal(containerd):
    containerd.run_detached("tty-exec", "sleep", "1000")
    pid, fd = pty.fork()
    if pid == 0:
        argv = [*containerd.argv(), "task", "exec", "-t", "--exec-id", "t", "tty-exec", "sh", "-c", "tty; exit 4"]
        os.execve(argv[0], argv, containerd.env)
    text = b""
    try:
        while select.select([fd], [], [], 30)[0]:
            part = os.read(fd, 4096)
            if not part:
                break
            text += part
    except OSError:  # EIO: the other side is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    assert b"/dev/pts/" in text
    os.close(fd)
    containerd.remove("tty-exec")


@pytest.mark.parametrize("program, text", [
    ("/no/such/program", "no such file or directory"), ("no-such-program", "executable file not found"),
    ("/etc/passwd", "permission denied")])
def test_an_entrypoint_that_fails_says_why_and_leaves_nothing(containerd, program, text):
    done = containerd.run("failing", program)
    assert done.returncode != 0
    assert text in done.stderr.lower() and program in done.stderr
    containerd.ctr("container", "rm", "failing")


def test_an_exec_that_fails_says_why_and_leaves_nothing(containerd):
    containerd.run_detached("box", "sleep", "1000")
    done = containerd.ctr("task", "exec", "--exec-id", "bad", "box", "/no/such/program")
    assert done.returncode != 0 and "no such file or directory" in done.stderr
    assert containerd.tasks()["box"][1] == "RUNNING"
    containerd.remove("box")


def test_a_paused_daemon_misses_nothing(containerd):
    """SIGSTOP for containerd while a container ends; its client gets the right status afterwards."""
    process = containerd.popen(*containerd.run_argv("paused", "sh", "-c", WAIT_FOR_STOP.format(21), flags=["--rm"]),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    host.wait_for(lambda: containerd.tasks().get("paused", (0, ""))[1] == "RUNNING", "it runs")
    pid = containerd.tasks()["paused"][0]
    containerd.process.send_signal(signal.SIGSTOP)
    try:
        (containerd.bundle("paused") / "rootfs/stop").touch()
        host.wait_gone(pid)
    finally:
        containerd.process.send_signal(signal.SIGCONT)
    assert process.wait(30) == 21, process.stderr.read()


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL])
def test_a_running_container_survives_the_daemon(containerd, signo):
    containerd.run_detached("survivor", "sh", "-c", WAIT_FOR_STOP.format(17))
    before = containerd.tasks()["survivor"]
    shims = containerd.shim_pids()
    containerd.restart(signo)
    assert containerd.tasks()["survivor"] == before and containerd.shim_pids() == shims
    done = containerd.ctr("task", "exec", "--exec-id", "e", "survivor", "echo", "alive")
    assert done.stdout == "alive\n"
    (containerd.bundle("survivor") / "rootfs/stop").touch()
    stopped(containerd, "survivor")
    assert containerd.remove_task("survivor") == 17
    containerd.remove("survivor")


def test_a_container_that_ends_while_the_daemon_is_away_keeps_its_status(containerd):
    containerd.run_detached("meanwhile", "sh", "-c", WAIT_FOR_STOP.format(42))
    pid = containerd.tasks()["meanwhile"][0]

    def end_it():
        (containerd.bundle("meanwhile") / "rootfs/stop").touch()
        host.wait_gone(pid)

    containerd.restart(signal.SIGKILL, while_down=end_it)
    assert containerd.tasks()["meanwhile"] == (pid, "STOPPED")
    assert containerd.remove_task("meanwhile") == 42
    containerd.remove("meanwhile")


def test_a_waiting_client_gets_the_status_although_the_daemon_was_restarted(containerd):
    """The Wait is a new one; the exit happened in between."""
    containerd.run_detached("waited", "sh", "-c", WAIT_FOR_STOP.format(23))
    pid = containerd.tasks()["waited"][0]
    containerd.restart(signal.SIGTERM, while_down=lambda: (
        (containerd.bundle("waited") / "rootfs/stop").touch(), host.wait_gone(pid)))
    assert containerd.remove_task("waited") == 23
    containerd.remove("waited")


def test_a_shim_that_is_killed_is_cleaned_up_after(containerd):
    containerd.run_detached("orphan", "sleep", "1000")
    pid = containerd.tasks()["orphan"][0]
    shim = containerd.shim_pids()[0]
    os.kill(shim, signal.SIGKILL)
    host.wait_gone(pid)
    host.wait_for(lambda: not containerd.bundle("orphan").exists(), "the bundle is removed")
    containerd.remove("orphan")
    if "runc" in containerd.shim.name:  # the stock shim leaves the socket of the dead
        for path in (host.pathlib.Path("/run/containerd/s")).iterdir():
            path.unlink()


def test_how_a_container_ended_is_told_although_its_shim_was_killed(containerd):
    """Nobody has deleted it: containerd runs the delete action, and tells what that says."""
    if "runc" in containerd.shim.name:
        pytest.skip("says 137")
    containerd.run_detached("ended", "sh", "-c", "exit 42")
    stopped(containerd, "ended")
    listener = Listener(containerd).wait()
    os.kill(containerd.shim_pids()[0], signal.SIGKILL)
    host.wait_for(lambda: listener.exits, "the exit")
    assert listener.close() == {("ended", "ended"): [42]}
    host.wait_for(lambda: not containerd.bundle("ended").exists(), "the bundle is removed")
    containerd.remove("ended")


def test_fifty_containers_at_once(containerd):
    processes = [containerd.popen(*containerd.run_argv(f"many-{i}", "sh", "-c", f"echo {i}; exit {i}", flags=["--rm"]),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                 for i in range(50)]
    results = [p.communicate(timeout=100 * host.SLOWNESS) for p in processes]
    assert [p.returncode for p in processes] == list(range(50)), [r[1] for r in results if r[1]]
    assert [r[0] for r in results] == [f"{i}\n" for i in range(50)]


def test_events_come_in_order(containerd):
    events = containerd.popen("events", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True)
    try:
        # ctr says nothing when it listens: an event of ours tells.
        os.set_blocking(events.stdout.fileno(), True)
        deadline = time.monotonic() + 20
        while not select.select([events.stdout], [], [], 0.05)[0]:
            containerd.ctr("images", "label", "docker.io/library/e2e:latest", f"n={time.monotonic()}", check=True)
            assert time.monotonic() < deadline
        containerd.run("told", "sh", "-c", "exit 6")
        topics = []
        while "/tasks/delete" not in topics:
            line = events.stdout.readline()
            topics += [w for w in line.split() if w.startswith("/tasks/")]
            if "/tasks/exit" in line:
                assert '"exit_status":6' in line.replace(" ", "")
        assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    finally:
        events.kill()
        events.communicate()


def test_limits_of_the_command_line_arrive(containerd):
    done = containerd.run("limited", "sh", "-c", "cat /proc/self/cgroup; tail -c 200000000 /dev/zero",
                          flags=["--rm", "--memory-limit", str(64 << 20)])
    assert f"{'0:' if host.V2 else 'pids'}:/{containerd.namespace}/limited" in done.stdout
    assert done.returncode == 137


@pytest.mark.parametrize("flags", [["--net-host"], ["--read-only"], ["--privileged"], ["--user", "1000:1000"],
                                   ["--cwd", "/tmp"], ["--env", "A=b"], ["--seccomp"],
                                   ["--mount", "type=bind,src=/etc,dst=/host-etc,options=rbind:ro"],
                                   ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]],
                         ids=lambda f: f[0])
def test_flags_of_ctr_run(containerd, flags):
    done = containerd.run("flags", "sh", "-c", "id -u; pwd; echo $A", flags=["--rm", *flags])
    if "flag provided but not defined" in done.stdout + done.stderr:
        pytest.skip(f"this ctr has no {flags[0]}")
    assert done.returncode == 0, done
    uid, cwd, a = done.stdout.split("\n")[:3]
    assert uid == ("1000" if "--user" in flags else "0")
    assert cwd == ("/tmp" if "--cwd" in flags else "/")
    assert a == ("b" if "--env" in flags else "")


@pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="systemd does not run this machine")
def test_a_container_in_a_scope_of_systemds(containerd):
    # ctr has the flag for a runtime of this name alone.
    (containerd.dir / "bin").mkdir(exist_ok=True)
    (containerd.dir / "bin/containerd-shim-runc-v2").symlink_to(containerd.shim)
    done = containerd.run("scope", "sh", "-c", "cat /proc/self/cgroup; exit 4", runtime="io.containerd.runc.v2",
                          flags=["--rm", *containerd.runc_flags, "--runc-systemd-cgroup", "--cgroup",
                                 "system.slice:ctr:scope", "--memory-limit", str(64 << 20)])
    assert done.returncode == 4, done
    assert done.stdout.splitlines()[-1].endswith(":/system.slice/ctr-scope.scope")
    assert subprocess.run(["systemctl", "is-active", "ctr-scope.scope"], capture_output=True).stdout == b"inactive\n"


def test_metrics_are_decoded_by_containerd_and_ctr(containerd):
    containerd.run_detached("metrics", "sleep", "100")
    text = containerd.ctr("task", "metrics", "metrics", check=True).stdout
    lines = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
    key = "memory.usage" if host.V2 else "memory.usage_in_bytes"
    assert int(lines[key]) > 0, text
    assert int(lines["cpu.usage_usec" if host.V2 else "cpuacct.usage"]) > 0, text
    containerd.remove("metrics")


def test_a_run_beside_this_one_does_not_take_its_shims_for_its_own(containerd):
    """At its end it would kill them, and this one would find a task gone."""
    other = """if True:
        import pathlib, sys, daemon
        name, directory, shim = sys.argv[1:]
        print(daemon.Daemon("/usr/bin", directory, shim, name).shim_pids())
    """
    containerd.run_detached("mine", "sleep", "100")
    assert len(containerd.shim_pids()) == 1
    done = subprocess.run([sys.executable, "-c", other, "containerd", containerd.dir / "other", containerd.shim],
                          env={**containerd.env, "PYTHONPATH": os.path.dirname(__file__)}, capture_output=True, text=True)
    assert done.stdout == "[]\n", done
    containerd.remove("mine")
