# SPDX-License-Identifier: Apache-2.0
"""A shim that goes on as another image of its process: upgraded, or after a fatal signal. Its pid, its connections, its
container and everything that waits go on."""
import contextlib
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import time

import pytest

import host
import protos
import tracer
import ttrpc
from test_oom import FILL, limited, record

FATAL = [signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS]


def belay(c):
    return c.shim.service(protos.BELAY)


@pytest.fixture(autouse=True)
def only_belay(stock):
    if stock:
        pytest.skip("the stock shim ends with its process image")


def upgrade(c, path=""):
    return belay(c).Upgrade(path=str(path))


def crash(c, signo=signal.SIGSEGV):
    """The log says when the next image has taken over."""
    c.shim.read_log()
    os.kill(c.shim.pid, signo)
    host.wait_for(lambda: "image" in c.shim.read_log(), "the next image")


@pytest.fixture(params=["upgrade", "crash"])
def again(request):
    """Makes the shim of a container go on as another image."""
    return upgrade if request.param == "upgrade" else crash


def test_everything_that_waits_goes_on(lab, again):
    c = lab.container("sh", "-c", "read line; echo got $line; exit 7").pipes("stdin", "stdout").run()
    e = c.exec("sh", "-c", "read line; exit 3").pipes("stdin").add()
    e.start()
    waits = [c.wait_later(), e.wait_later()]
    pid = c.shim.pid
    for _ in range(3):
        again(c)
    assert (c.status(), e.status()) == ("RUNNING", "RUNNING")
    assert c.task.Connect().shim_pid == pid
    e.stdin.write(b"x\n")
    assert waits[1].result().exit_status == 3
    assert e.delete().exit_status == 3
    c.stdin.write(b"this\n")
    assert waits[0].result().exit_status == 7
    assert c.finish_output(7).out == "got this\n"
    assert c.delete().exit_status == 7
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == ["create", "start", "exec-added/e0", "exec-started/e0", "exit/e0", "exit",
                                          "delete"]
    c.finish()


@contextlib.contextmanager
def descriptors(pid, n, hard=None):
    """No more than n of them meanwhile; a hard limit stays."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    hard = before[1] if hard is None else hard
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (n, hard))
    yield
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (n, hard)  # containers inherit it
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(before[0], hard), hard))


def test_a_crash_without_a_free_descriptor_is_survived(lab):
    c = lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()
    end = c.wait_later()
    with descriptors(c.shim.pid, host.lowest_free_fd(c.shim.pid)):
        crash(c)
        assert c.status() == "RUNNING"
    assert c.exec("sh", "-c", "exit 4").run() == (4, "", "")
    c.stdin.write(b"\n")
    assert end.result().exit_status == 7
    c.delete()
    c.finish()


def fill_gaps(c):
    """Connections, until the shim's descriptors are numbered without a gap: as in a table that is full."""
    clients = []
    while host.lowest_free_fd(c.shim.pid) < max(host.open_fds(c.shim.pid)):
        clients.append(ttrpc.Client(c.shim.address))
        c.shim.service(client=clients[-1]).State(exec_id="")
    return clients


@pytest.mark.parametrize("is_upgraded", [False, True], ids=["first", "upgraded"])
def test_so_it_is_where_the_limit_cannot_be_raised(lab, is_upgraded):
    """Not even by root, who may lack CAP_SYS_RESOURCE: what an image makes for itself it leaves to nobody."""
    c = lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()
    end = c.wait_later()
    n_before = len(host.open_fds(c.shim.pid))
    if is_upgraded:
        upgrade(c)
        host.wait_for(lambda: len(host.open_fds(c.shim.pid)) == n_before, "the spare descriptors")
    clients = fill_gaps(c)
    n = host.lowest_free_fd(c.shim.pid)
    with descriptors(c.shim.pid, n, hard=n + 6):
        for _ in range(3):
            crash(c)
            assert c.status() == "RUNNING"
        host.wait_for(lambda: host.lowest_free_fd(c.shim.pid) == n, "as many descriptors as before")
        crash(c)
        assert c.status() == "RUNNING"
    for client in clients:
        assert c.shim.service(client=client).State(exec_id="").pid == c.pid()
        client.close()
    c.stdin.write(b"\n")
    assert end.result().exit_status == 7
    c.delete()
    c.finish()


def test_a_shim_that_is_never_idle_has_spare_descriptors_again(lab):
    """Also if there were none when it first asked for them."""
    c = lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()
    n_before = len(host.open_fds(c.shim.pid))

    def busy_and(condition):
        return c.status() == "RUNNING" and condition()

    def has_no_spare_ones_at_first():
        """False: a second was over before there was the limit."""
        crash(c)
        host.wait_for(lambda: len(host.open_fds(c.shim.pid)) >= n_before - 4, "all others")
        with descriptors(c.shim.pid, host.lowest_free_fd(c.shim.pid)):
            full = time.monotonic() + 1.5
            host.wait_for(lambda: busy_and(lambda: time.monotonic() > full), "the first time")
            return len(host.open_fds(c.shim.pid)) == n_before - 4

    assert any(has_no_spare_ones_at_first() for _ in range(3))
    host.wait_for(lambda: busy_and(lambda: len(host.open_fds(c.shim.pid)) == n_before), "the spare descriptors")
    c.stdin.write(b"\n")
    c.wait()
    c.delete()
    c.finish()


def test_what_a_take_over_lacks_may_come_a_little_later(lab):
    """It is tried again, after a pause; and what has failed leaves nothing behind."""
    if lab.sanitized:
        pytest.skip("the dynamic linker of such a build needs descriptors itself")
    c = lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()
    n = host.lowest_free_fd(c.shim.pid)
    with descriptors(c.shim.pid, 3):
        c.shim.read_log()
        os.kill(c.shim.pid, signal.SIGSEGV)
        text = ""

        def n_tries():
            nonlocal text
            text += c.shim.read_log()
            return text.count("trying again")

        host.wait_for(lambda: n_tries() >= 2, lambda: f"two that fail: {text}")
    with descriptors(c.shim.pid, n):
        host.wait_for(lambda: "this is image" in text + c.shim.read_log(), "one that does not")
    assert c.status() == "RUNNING"
    c.stdin.write(b"\n")
    assert c.wait().status == 7
    c.delete()
    c.finish()


def test_a_created_container_can_be_started_afterwards(lab, again):
    c = lab.container("sh", "-c", "exit 5").create()
    again(c)
    assert c.status() == "CREATED"
    c.start()
    assert c.wait().status == 5
    c.delete()
    c.finish()


def test_an_added_exec_can_be_started_afterwards(lab, again):
    c = lab.container("sleep", "1000").run()
    e = c.exec("sh", "-c", "exit 6").add()
    again(c)
    e.start()
    assert e.wait().status == 6
    assert c.exec("sh", "-c", "echo new; exit 4").run() == (4, "new\n", "")
    c.finish()


def test_an_exit_while_the_next_image_comes_is_told(lab, again):
    c = lab.container("sleep", "1000").run()
    execs = [c.exec("sh", "-c", f"read x; exit {n}").pipes("stdin").add() for n in range(1, 9)]
    for e in execs:
        e.start()
    waits = [e.wait_later() for e in execs]
    for e in execs:
        e.stdin.write(b"\n")
    again(c)
    assert [w.result().exit_status for w in waits] == list(range(1, 9))
    for e in execs:
        e.delete()
    c.finish()


def test_a_stopped_container_keeps_its_status(lab, again):
    c = lab.container("sh", "-c", "exit 9").run()
    end = c.wait()
    again(c)
    assert c.wait() == end
    assert c.delete().exit_status == 9
    c.finish()


def test_a_paused_container_stays_paused(lab, again):
    c = lab.container("sleep", "1000").run()
    c.task.Pause()
    again(c)
    assert c.status() == "PAUSED"
    c.task.Resume()
    assert c.status() == "RUNNING"
    c.finish()


def test_what_was_stopped_for_an_update_goes_on_after_a_crash(lab):
    """The update's stage is killed with what it had to do: here that is stood in for by the file that it writes."""
    c = lab.container("sleep", "1000").run()
    freezer = host.freezer_file(c.pid())
    freezer.write_text("FROZEN" if freezer.name == "freezer.state" else "1")
    crash(c)
    assert c.status() == "RUNNING"
    host.wait_for(lambda: host.read(freezer).decode().strip() in ("THAWED", "0"), "it is let go")
    c.finish()


def test_a_terminal_goes_on(lab, again):
    c = lab.container("sh", "-c", "while read line; do echo got $line; done")
    c.terminal = True
    c.config["process"]["terminal"] = True
    c.pipes("stdin", "stdout").run()
    c.stdin.write(b"one\n")
    c.stdout.read_until(b"got one")
    again(c)
    c.stdin.write(b"two\n")
    c.stdout.read_until(b"got two")
    c.task.ResizePty(width=100, height=30)
    c.finish()


def test_events_that_wait_for_containerd_go_on(lab, again):
    c = lab.container("sleep", "1000").create()
    lab.containerd.wait(c.id, "/tasks/create")
    lab.containerd.stop()
    c.start()
    e = c.exec("true").add()
    again(c)
    e.start()
    e.wait()
    again(c)
    assert json.loads(belay(c).Inspect().json)["under_way"]["events_queued"] == 4
    lab.containerd.start()
    lab.containerd.wait(c.id, "/tasks/exit")
    assert lab.containerd.order(c.id) == ["create", "start", "exec-added/e0", "exec-started/e0", "exit/e0"]
    c.finish()


def test_an_oom_kill_is_told_afterwards(lab, again):
    c = limited(lab.container("sh", "-c", f"read line; exec {FILL}")).pipes("stdin").run()
    again(c)
    c.stdin.write(b"\n")
    assert c.wait().status == 137
    lab.containerd.wait(c.id, "/tasks/exit")
    assert sorted(lab.containerd.order(c.id)) == ["create", "exit", "oom", "start"]
    assert lab.containerd.order(c.id)[-1] == "exit" and record(c)["reason"] == "oom_killed"
    c.delete()
    c.finish()


def test_a_shim_that_runs_in_the_container_is_not_taken_for_a_stage(lab):
    """In the host's pid namespace it is an orphan, and so a child of the one that crashes."""
    if lab.sanitized:
        pytest.skip("a shim that is not static does not run there")
    serve = f"/{lab.shim.name} -namespace n -id nested -address /none -socket /run/nested serve"
    c = lab.container("sh", "-c", f"({serve} &); exec sleep 1000")
    c.bundle.without_namespace("pid")
    lab.shim = pathlib.Path(shutil.copy(lab.shim, c.bundle.rootfs))
    c.run()
    nested = host.wait_for(lambda: [p for p in host.children(c.shim.pid) if host.cmdline(p) == serve], "the shim")
    crash(c)
    assert c.status() == "RUNNING"
    assert host.cmdline(nested[0]) == serve
    c.kill(all=True)
    assert c.wait().status == 137
    c.delete()
    c.finish()


def test_a_call_that_was_changing_something_at_a_crash_may_be_made_again(lab):
    """What it had made is gone by then."""
    if lab.runc_binary:
        pytest.skip("runc has not recorded yet what it would have to remove")
    c = lab.container("sh", "-c", "exit 8")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "sleep 999; true"], "env": ["PATH=/bin", lab.token_variable]}
    c.config["hooks"] = {"createRuntime": [hook]}
    c.launch()
    request = {"bundle": str(c.bundle.path), **lab.binary_options()}
    create = c.task.start.Create(**request)
    host.wait_for(lambda: lab.running("sleep 999"), "the hook runs")
    crash(c)
    with pytest.raises(ttrpc.Error) as error:
        create.result()
    assert error.value.code == ttrpc.UNAVAILABLE
    assert not lab.running("sleep 999") and not lab.cgroups()
    del c.config["hooks"]
    c.bundle.write()
    c.run()
    assert c.wait().status == 8
    c.delete()
    c.finish()


def test_nothing_leaks_by_it(lab, again):
    c = lab.container("sleep", "1000").run()
    c.shim.wait_for_oom_watch()
    before = c.shim.holds()
    for _ in range(5):
        again(c)
    c.shim.wait_for_no_more_than(before)
    c.finish()


@pytest.mark.parametrize("signo", FATAL, ids=lambda s: s.name)
def test_no_fatal_signal_ends_it(lab, signo):
    c = lab.container("sleep", "1000").run()
    wait = c.wait_later()
    crash(c, signo)
    assert c.status() == "RUNNING"
    c.kill()
    assert wait.result().exit_status == 137
    c.delete()
    c.finish()


def test_no_signal_ends_it_that_it_has_no_use_for(lab):
    c = lab.container("sleep", "1000").run()
    used = {*FATAL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP}
    for signo in signal.valid_signals() - used:
        os.kill(c.shim.pid, signo)
        assert c.status() == "RUNNING", signo
    c.kill()
    assert c.wait().status == 137
    c.delete()
    c.finish()


def test_a_limit_of_file_size_costs_no_status(lab):
    """systemd's LimitFSIZE= of containerd, say."""
    c = lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()
    resource.prlimit(c.shim.pid, resource.RLIMIT_FSIZE, (8, resource.RLIM_INFINITY))
    c.stdin.write(b"\n")
    assert c.wait().status == 7
    assert c.delete().exit_status == 7
    c.finish()


def test_it_takes_milliseconds(lab):
    c = lab.container("sleep", "1000").run()
    took = []
    for _ in range(4):
        begin = time.monotonic()
        crash(c)
        c.status()
        took.append(time.monotonic() - begin)
    assert min(took) < 1 * host.SLOWNESS, took
    c.finish()


@tracer.needs_registers
def test_a_fault_is_told_with_the_way_there(lab):
    """The shim jumps to where nothing is, at a time when it waits in its loop."""
    c = lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()
    end = c.wait_later()
    assert c.status() == "RUNNING"  # the Wait has been read, too
    c.shim.read_log()
    # Just after it had sent an answer, before it has noted that, it would send it once more.
    host.wait_for(lambda: tracer.waits(c.shim.pid), "a shim that waits")
    with tracer.Traced(c.shim.pid) as shim:
        shim.jump(0x10)
    log = ""

    def goes_on():
        nonlocal log
        log += c.shim.read_log()
        return "this is image" in log

    host.wait_for(goes_on, "the next image")
    assert re.search(r"the shim crashed: SIGSEGV at address 0x10, from( \+[0-9a-f]+){2}", log), log
    c.stdin.write(b"\n")
    assert end.result().exit_status == 7
    c.delete()
    c.finish()


def test_a_binary_that_may_not_be_executed_any_more_is_no_obstacle(lab):
    lab.shim = pathlib.Path(shutil.copy2(lab.shim, lab.dir))
    c = lab.container("sh", "-c", "read line; exit 7").pipes("stdin").run()
    end = c.wait_later()
    lab.shim.chmod(0o600)
    for _ in range(2):
        crash(c)
        assert c.status() == "RUNNING"
    lab.shim.chmod(0o700)
    c.stdin.write(b"\n")
    assert end.result().exit_status == 7
    c.delete()
    c.finish()


def crash_until_it_gives_up(c):
    """How often: six times, where that takes no more than ten seconds."""
    c.shim.read_log()
    for n in itertools.count(1):
        os.kill(c.shim.pid, signal.SIGSEGV)
        host.wait_for(lambda: not os.path.exists(f"/proc/{c.shim.pid}") or "this is image" in c.shim.read_log(), "the next image")
        if not os.path.exists(f"/proc/{c.shim.pid}"):
            return n


def test_one_that_gives_up_leaves_what_it_knew_on_disk(lab):
    c = lab.container("sh", "-c", "read line; exit 42").pipes("stdin").run()
    lab.containerd.wait(c.id, "/tasks/start")
    lab.containerd.stop()
    for _ in range(5):
        crash(c)
    c.stdin.write(b"\n")
    c.wait()
    crash_until_it_gives_up(c)
    c.shim.disconnect()
    assert c.shim.run_delete().exit_status == 42
    c.task = None


def test_a_shim_that_crashes_over_and_over_gives_up(lab):
    c = lab.container("sleep", "1000").run()
    assert crash_until_it_gives_up(c) > 5
    c.shim.disconnect()
    assert c.shim.run_delete().exit_status == 137
    c.task = None


def test_a_binary_that_is_none_is_refused_with_the_reason(lab):
    c = lab.container("sleep", "1000").run()
    script = lab.new_path("binary")
    script.write_text("#!/bin/sh\necho 'no shim at all'\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(ttrpc.Error) as error:
        upgrade(c, script)
    assert error.value.code == ttrpc.FAILED_PRECONDITION and "no shim at all" in str(error.value)
    with pytest.raises(ttrpc.Error) as error:
        upgrade(c, "/nowhere/belay")
    assert "/nowhere/belay" in str(error.value)
    assert c.status() == "RUNNING"
    c.finish()


def test_a_program_that_ends_with_success_is_no_shim(lab):
    c = lab.container("sleep", "1000").run()
    with pytest.raises(ttrpc.Error) as error:
        upgrade(c, "/bin/true")
    assert error.value.code == ttrpc.FAILED_PRECONDITION and "it is no shim" in str(error.value)
    assert c.status() == "RUNNING"
    c.finish()


def test_another_binary_takes_over(lab):
    c = lab.container("sleep", "1000").run()
    other = lab.new_path("containerd-shim-other-v2")
    shutil.copy(lab.shim, other)
    assert upgrade(c, other).version
    with open(f"/proc/{c.shim.pid}/cmdline", "rb") as cmdline:
        assert b"-state=" in cmdline.read()
    assert c.status() == "RUNNING"
    c.finish()


def test_sighup_upgrades(lab):
    c = lab.container("sleep", "1000").run()
    crash(c, signal.SIGHUP)
    assert c.status() == "RUNNING"
    c.finish()
