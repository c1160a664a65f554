# SPDX-License-Identifier: Apache-2.0
"""A shim that is killed outright: what `delete` tells of its container, and that nothing of that is left.

How the container has ended is in its record, or the kernel can still tell it, or nobody knows: then it is 137, and the
record says `unknown`.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import platform
import signal
import subprocess
import time

import pytest

import host
import protos

SECONDS = 2 + 13  # `delete` has done all within 2; the rest is for a machine with other things to do
SOCKETS = pathlib.Path("/run/containerd/s")

# Runs the shim's binary, and stays behind as the parent of whoever loses his own: a zombie stays one until SIGUSR1.
KEEPER = """#!/usr/bin/python3
import ctypes, os, signal, sys
done, told = os.pipe()
if os.fork():
    os.close(told)
    os._exit(int(os.read(done, 8) or b"1"))
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
child = os.fork()
if child == 0:
    os.execv({shim!r}, [{shim!r}, *sys.argv[1:]])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
for fd in (0, 1, 2):
    os.dup2(os.open("/dev/null", os.O_RDWR), fd)
os.write(told, str(status).encode())
os.close(told)
with open({pid_file!r}, "w") as f:
    f.write(str(os.getpid()))
while True:
    signal.sigwait([signal.SIGUSR1])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""

# Runs the shim's binary on a kernel that does not know PIDFD_GET_INFO.
OLD_KERNEL = """#!/usr/bin/python3
import ctypes, os, struct, sys
PIDFD_GET_INFO, ENOTTY = 0xC040FF0B, 25
ops = [(0x20, 0, 0, 0), (0x15, 0, 3, {ioctl}), (0x20, 0, 0, 24), (0x15, 0, 1, PIDFD_GET_INFO),
       (0x06, 0, 0, 0x50000 | ENOTTY), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *op) for op in ops))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(ops), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, program) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execv({shim!r}, [{shim!r}, *sys.argv[1:]])
"""


@pytest.fixture(autouse=True)
def only_belay(stock):
    if stock:
        pytest.skip("it keeps no record, and says 137")


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def record(c, name="init"):
    return json.loads((c.bundle.path / f"{name}.json").read_text())


def delete(c, keepers=()):
    """What delete answers, in time; nothing is left of the container then. Zombies are init's to reap."""
    begin = time.monotonic()
    answer = c.shim.run_delete()
    assert not c.lab.cgroups() and not host.mounts_below(c.lab.dir)
    assert not list(SOCKETS.iterdir())
    host.wait_for(lambda: not [p for p in c.lab.processes() if host.cmdline(p) and p not in keepers], "all have ended",
                  timeout=SECONDS)
    assert time.monotonic() - begin < SECONDS * host.SLOWNESS
    return answer


def kill_shim(c):
    c.shim.kill()
    c.shim.disconnect()
    c.task = None


def close(c):
    for p in (c, *c.execs):
        p.close_pipes()


def told(c):
    """The reason that the kernel lets delete know, when somebody else reaps init at once."""
    return "signal" if host.KERNEL >= (6, 15) else record(c)["reason"]


def with_mount(c):
    image = c.lab.new_path("image")
    os.rename(c.bundle.rootfs, image)
    return {"rootfs": [{"type": "bind", "source": str(image), "options": ["rbind", "rw"]}]}


def test_a_running_container_was_killed_by_delete(lab):
    c = lab.container("sh", "-c", "setsid sleep 1000 & exec sleep 1000")
    c.create(**with_mount(c))
    c.start()
    pid = c.pid()
    kill_shim(c)
    answer = delete(c)
    assert (answer.pid, answer.exit_status) == (pid, 137)
    assert (record(c)["exited"], record(c)["exit_status"], record(c)["signal"]) == (True, 137, 9)
    assert record(c)["reason"] == told(c)
    again = delete(c)
    assert (again.pid, again.exit_status, again.exited_at) == (pid, 137, answer.exited_at)


def test_an_exit_that_was_recorded_and_told_to_nobody_is_told(lab):
    c = lab.container("sh", "-c", "read x; exit 42").pipes("stdin").run()
    lab.containerd.stop()
    c.shim.disconnect()
    c.stdin.write(b"\n")
    host.wait_for(lambda: record(c)["exited"], "the record")
    kill_shim(c)
    answer = delete(c)
    assert answer.exit_status == 42
    assert record(c)["reason"] == "exited"
    assert delete(c) == answer
    close(c)


def test_execs_end_with_it(lab):
    c = lab.container("sleep", "1000").run()
    for n in range(3):
        c.exec("sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000").add().start()
    c.exec("sleep", "1000").add()  # not started
    host.wait_for(lambda: len(c.task.Pids().processes) >= 7, "all of them")
    kill_shim(c)
    assert delete(c).exit_status == 137


@pytest.mark.parametrize("what", ["create", "exec"])
def test_a_stage_ends_with_it(lab, what):
    """While a hook holds up the Create, or an exec waits for its turn in a frozen container."""
    if lab.runc_binary:
        pytest.skip("it has not recorded yet what it would have to remove, and takes a frozen container for paused")
    c = lab.container("sleep", "1000")
    if what == "create":
        c.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"],
                                                "env": [lab.token_variable]}]}
        c.launch()
        call = c.task.start.Create(bundle=str(c.bundle.path), **lab.binary_options())
        host.wait_for(lambda: lab.running("sleep 1000"), "the hook runs")
    else:
        c.run()
        freezer = host.freezer_file(c.pid())
        e = c.exec("true").add()
        freezer.write_text("1" if freezer.name == "cgroup.freeze" else "FROZEN")
        call = c.task.start.Start(exec_id=e.exec_id)
        host.wait_for(lambda: len(host.children(c.shim.pid)) > 1, "the exec's stage")
    call.add_done_callback(lambda f: f.exception())
    kill_shim(c)
    assert delete(c).exit_status == 137


def test_a_container_that_was_created_never_ran(lab):
    c = lab.container("sleep", "1000").create()
    pid = c.pid()
    kill_shim(c)
    answer = delete(c)
    assert (answer.pid, answer.exit_status) == (pid, 137)


def test_the_log_is_whole_and_its_writer_ends(lab):
    log = lab.new_path("logs") / "log"
    c = lab.container("sh", "-c", "seq 1 20000; exec sleep 1000")
    c.create(stdout=f"log://{log}?format=raw", stderr=f"log://{log}?format=raw")
    c.start()
    host.wait_for(lambda: len(host.read(log)) > 1000, "the log")
    writers = [pid for pid in host.children(c.shim.pid) if pid != c.pid()]
    assert writers
    host.wait_for(lambda: host.read(log).endswith(b"\n20000\n"), "all of it")
    kill_shim(c)
    assert delete(c).exit_status == 137
    assert not [pid for pid in writers if host.cmdline(pid)]
    assert host.read(log).split() == [b"%d" % n for n in range(1, 20001)]


class Keeper:
    """A shim whose orphans stay zombies until reap()."""

    def __init__(self, lab):
        self.pid_file = lab.new_path("keeper.pid")
        self.shim = lab.shim
        lab.shim = script(lab.new_path("keeper"), KEEPER.format(shim=str(lab.shim), pid_file=str(self.pid_file)))

    def started(self, lab):
        lab.shim = self.shim
        self.pid = int(host.wait_for(lambda: host.read(self.pid_file), "the keeper's pid"))


def ended_without_shim(lab, status, edit=lambda c, keeper: None):
    """A container whose shim was killed, and that ended by itself afterwards."""
    keeper = Keeper(lab)
    c = lab.container("sh", "-c", f"read x; exit {status}").pipes("stdin")
    c.launch()
    keeper.started(lab)
    edit(c, keeper)
    c.bundle.write()
    c.run()
    c.stdin.open()
    pid = c.pid()
    kill_shim(c)
    assert pid in host.children(keeper.pid)
    c.stdin.write(b"\n")
    host.wait_gone(pid)
    return c, keeper, pid


def end(c, keeper):
    os.kill(keeper.pid, signal.SIGKILL)
    host.wait_gone(keeper.pid)
    close(c)


def test_an_end_that_nobody_has_seen_is_asked_of_the_kernel(lab):
    c, keeper, pid = ended_without_shim(lab, 42)
    answer = delete(c, [keeper.pid])
    assert (answer.pid, answer.exit_status) == (pid, 42)
    assert (record(c)["exit_status"], record(c)["reason"]) == (42, "exited")
    end(c, keeper)
    assert delete(c) == answer


def reap_in_hook(c, keeper):
    """init is reaped while delete is at work and has it open; delete runs the hook."""
    text = f"kill -USR1 {keeper.pid}; while [ -e /proc/$(cat init.pid) ]; do sleep 0.01; done"
    c.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin"]}]}


def on_old_kernel(lab):
    ioctl = {"x86_64": 16}.get(platform.machine(), 29)
    return script(lab.new_path("old"), OLD_KERNEL.format(shim=str(lab.shim), ioctl=ioctl))


@pytest.mark.parametrize("kernel", ["as it is", "old"])
def test_an_end_that_only_the_pidfd_knows(lab, kernel):
    """PIDFD_GET_INFO is of Linux 6.15. Without it the status is lost, and the record says so."""
    if lab.runc_binary:
        pytest.skip("runc runs no poststop hooks of a container that it finds dead")
    c, keeper, pid = ended_without_shim(lab, 42, reap_in_hook)
    if kernel == "old":
        lab.shim = on_old_kernel(lab)
    answer = delete(c, [keeper.pid])
    assert not os.path.exists(f"/proc/{pid}")
    known = kernel != "old" and host.KERNEL >= (6, 15)
    assert (answer.pid, answer.exit_status) == (pid, 42 if known else 137)
    assert record(c)["reason"] == ("exited" if known else "unknown")
    end(c, keeper)
    assert delete(c) == answer


def test_what_a_shim_records_meanwhile_is_told(lab):
    """containerd runs delete also when it has lost the connection to a shim that lives; that one reaps init, of which an old
    kernel says nothing then."""
    if lab.runc_binary:
        pytest.skip("runc runs no poststop hooks of a container that it finds dead")
    c = lab.container("sleep", "1000")
    text = "until grep -q '\"exited\":true' init.json; do sleep 0.01; done"
    c.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin"]}]}
    c.run()
    shim, lab.shim = lab.shim, on_old_kernel(lab)
    answer = c.shim.run_delete()
    lab.shim = shim
    assert answer.exit_status == c.wait().status == 137
    assert record(c)["reason"] == "signal"
    c.delete()


def delete_in_time(c):
    """What delete answers, and what it says else. It does so before containerd would end it after 5 s, and know nothing then:
    by its own clock, of which what it says tells, and not by this machine's leisure."""
    argv = c.shim.argv("delete", flags=("-bundle", str(c.bundle.path)))
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, cwd=c.bundle.path, env=c.shim.env(),
                          timeout=SECONDS * host.SLOWNESS)
    assert done.returncode == 0, done.stderr
    return protos.task.DeleteResponse.FromString(done.stdout), done.stderr.decode()


def with_poststop(c, *hooks):
    c.config["hooks"] = {"poststop": [{"path": "/bin/sh", "env": [c.lab.token_variable], **hook} for hook in hooks]}
    return c


HANGS = {"args": ["sh", "-c", "sleep 1000 & sleep 1000"]}


def test_a_poststop_hook_that_hangs_does_not_cost_the_status(lab):
    if lab.runc_binary:
        pytest.skip("runc runs no poststop hooks of a container that it finds dead")
    c = with_poststop(lab.container("sleep", "1000"), {**HANGS, "timeout": 100}, HANGS).run()
    kill_shim(c)
    answer, told = delete_in_time(c)
    assert answer.exit_status == 137
    assert "poststop hook '/bin/sh': was ended when time was up" in told
    assert "poststop hook '/bin/sh': was not run, since time was up" in told
    assert not lab.cgroups() and not list(SOCKETS.iterdir())
    host.wait_for(lambda: not lab.processes(), "all have ended")


def test_whatever_gets_stuck_does_not_cost_the_status(lab):
    """The hook stops whoever runs it, for what could keep that from its deadlines: the kernel, or cgroups in masses."""
    if lab.runc_binary:
        pytest.skip("runc runs no poststop hooks of a container that it finds dead")
    c = with_poststop(lab.container("sleep", "1000"), {"args": ["sh", "-c", "kill -STOP $PPID"]}).run()
    kill_shim(c)
    answer, told = delete_in_time(c)
    assert (answer.exit_status, record(c)["exit_status"]) == (137, 137)
    assert "cgroups, mounts and state may stay: was ended when time was up" in told
    assert not list(SOCKETS.iterdir())
    host.wait_for(lambda: not lab.processes(), "all have ended")


def test_the_record_is_the_shims_as_long_as_it_lives(lab):
    """containerd has given it up, and it is stopped only: it knows more of the end than `delete` can."""
    c = lab.container("sleep", "1000").run()
    os.kill(c.shim.pid, signal.SIGSTOP)
    assert c.shim.run_delete().exit_status == 137
    assert not record(c)["exited"]
    os.kill(c.shim.pid, signal.SIGCONT)
    assert c.wait().status == 137
    assert (record(c)["exited"], record(c)["reason"]) == (True, "signal")
    c.delete()


@contextlib.contextmanager
def locked_sockets():
    """Somebody has locked the directory that all shims share, and is stopped, say."""
    lock = os.open(SOCKETS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@pytest.mark.parametrize("hook", ["none", "a hook that hangs"])
def test_a_lock_that_somebody_keeps_does_not_cost_the_status(lab, hook):
    c = lab.container("sleep", "1000")
    if hook != "none" and not lab.runc_binary:
        with_poststop(c, HANGS)
    c.run()
    kill_shim(c)
    with locked_sockets():
        answer, told = delete_in_time(c)
        assert answer.exit_status == 137
        (left,) = SOCKETS.iterdir()
        assert f"socket '{left}' stays: others had its directory locked until time was up" in told
    assert delete(c) == answer


def test_delete_waits_for_no_lock_when_the_shim_has_removed_its_socket(lab):
    c = lab.container("sleep", "1000").run()
    c.kill()
    c.wait()
    c.delete()
    c.shim.shutdown()
    c.task = None
    with locked_sockets():
        assert delete_in_time(c) == (c.shim.run_delete(), "")


def test_a_container_that_was_reaped_before_delete_is_unknown(lab):
    c, keeper, pid = ended_without_shim(lab, 42)
    end(c, keeper)
    host.wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "it is reaped")
    answer = delete(c)
    assert (answer.pid, answer.exit_status) == (pid, 137)
    assert record(c)["reason"] == "unknown"
    assert delete(c) == answer


TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def start_ticks(pid):
    return int(host.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[19])


def test_a_zombie_under_a_reused_pid_is_not_believed(lab):
    """The record's start time tells them apart."""
    c = lab.container("sleep", "1000").run()
    started = start_ticks(c.pid())
    kill_shim(c)
    host.wait_for(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND > started + 1, "the next tick")
    other = os.fork()
    if other == 0:
        os._exit(7)
    os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)
    path = c.bundle.path / "init.json"
    path.write_text(path.read_text().replace(f'"pid":{record(c)["pid"]},', f'"pid":{other},'))
    answer = delete(c)
    os.waitpid(other, 0)
    assert answer.exit_status == 137
    assert record(c)["reason"] == "unknown"
