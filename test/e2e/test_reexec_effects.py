# SPDX-License-Identifier: Apache-2.0
"""What had begun before an upgrade or a crash and has its effect afterwards: once, and as it would have had it."""
import collections
import json
import os
import resource
import signal
import struct

import pytest

import host
import protos
import tracer
import ttrpc
from paths import READY, Logger
from test_oom import FILL, limited
from test_reexec import again, belay, crash, only_belay, upgrade  # noqa: F401 (fixtures)
from test_terminal import terminal


def test_a_terminal_is_resized_by_the_next_image(lab, again):  # noqa: F811
    c = terminal(lab.container("sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done")).run()
    c.stdout.read_until(b"ready\r\n")
    again(c)
    c.task.ResizePty(width=123, height=45)
    assert c.stdout.read_until(b"\r\n").endswith(b"45 123\r\n")
    c.finish()


def test_who_comes_late_reads_what_there_is_and_its_end(lab, again):  # noqa: F811
    """From a FIFO of a process that has ended before anybody opened it."""
    c = lab.container("sleep", "1000").run()
    e = c.exec("echo", "all").pipes("stdout")
    e.stdout.close()
    e.add().start()
    assert e.wait().status == 0
    again(c)
    e.stdout.open()
    assert e.stdout.read_all() == b"all\n"
    e.delete()
    c.finish()


def test_an_oom_kill_that_was_told_is_not_told_again(lab, again):  # noqa: F811
    c = limited(lab.container("sh", "-c", f"read line; exec {FILL}")).pipes("stdin").run()
    e = c.exec("sh", "-c", FILL).add()
    e.start()
    assert e.wait().status == 137
    lab.containerd.wait(c.id, "/tasks/oom")
    again(c)
    c.shim.wait_for_oom_watch()
    c.stdin.write(b"\n")
    assert c.wait().status == 137
    lab.containerd.wait(c.id, "/tasks/oom", 2)
    c.delete()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id).count("oom") == 2
    c.finish()


def logger_of(c):
    [init] = json.loads(belay(c).Inspect().json)["shim"]["container"]["processes"]
    return init["stdio"]["logger"]


def test_a_logger_that_was_dead_is_started_again(lab, again):  # noqa: F811
    """By the sixth death in a row the pause before that is more than half a second, and longer from then on."""
    logger = Logger(lab, READY + '[ -e "$2.well" ] || exit 1; exec cat <&3 >>"$2.out"')
    c = lab.container("cat").pipes("stdin")
    c.create(**{**c._stdio(), **logger.stdio()})
    c.start()

    def is_in_a_long_pause():
        logger = logger_of(c)
        return logger.get("deaths", 0) >= 6 and "pid" not in logger and logger["deaths"]

    n_deaths = host.wait_for(is_in_a_long_pause, "the sixth death")
    with open(logger.base + ".well", "w"):
        pass
    again(c)
    c.stdin.write(b"some output\n")
    host.wait_for(lambda: os.path.exists(logger.base + ".out") and logger.read("out") == b"some output\n", "a logger")
    assert logger_of(c)["restarts"] == n_deaths
    c.finish()


def test_a_logger_that_was_given_up_holds_nobody_up_and_what_is_lost_is_counted_on(lab):
    c = lab.container("sh", "-c", "head -c 100000 /dev/zero; read x; head -c 200000 /dev/zero; exit 3").pipes("stdin")
    c.create(**{**c._stdio(), **Logger(lab, READY + "exit 1").stdio()})
    c.start()

    def lost():
        return c.shim.service(protos.BELAY).Status().io.bytes_dropped

    host.wait_for(lambda: "given_up" in logger_of(c) and lost() == 100000, "all deaths")
    crash(c)
    c.stdin.write(b"\n")
    assert c.wait().status == 3
    host.wait_for(lambda: lost() == 300000, lambda: f"all of it: {lost()}")
    c.delete()
    c.finish()


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_a_shim_that_was_ending_ends_after_a_crash(lab, signo):
    """It waits for containerd to take its events, and does so in the next image."""
    c = lab.container("sleep", "1000").run()
    lab.containerd.wait(c.id, "/tasks/start")
    lab.containerd.stop()
    c.kill()
    c.wait()
    c.shim.read_log()
    os.kill(c.shim.pid, signo)
    host.wait_for(lambda: "stopping: SIG" in c.shim.read_log(), "it to begin to end")
    crash(c)
    lab.containerd.start()
    host.wait_gone(c.shim.pid)
    lab.containerd.wait(c.id, "/tasks/exit")
    c.shim.disconnect()
    assert c.shim.run_delete().exit_status == 137
    c.task = None


def under_way(c):
    processes = json.loads(belay(c).Inspect().json)["under_way"].get("processes", [])
    return collections.defaultdict(dict, {p.get("exec_id", ""): p for p in processes})


def words(pid):
    return host.read(f"/proc/{pid}/cmdline").decode().split("\0")[1:-1]


def test_the_next_image_is_called_as_the_one_before(lab, again):  # noqa: F811
    c = lab.container("sleep", "1000").launch(flags=("-debug",))
    before = words(c.shim.pid)
    assert "-debug" in before
    c.run()
    for _ in range(2):
        again(c)
        now = words(c.shim.pid)
        assert now[:len(before)] == before and now[len(before)].startswith("-state=")
    c.finish()


def test_an_upgrade_lets_nothing_go_that_somebody_else_has_stopped(lab):
    c = lab.container("sleep", "1000").run()
    freeze(c)
    freezer = host.freezer_file(c.pid())
    frozen = host.wait_for(lambda: "FREEZING" not in freezer.read_text() and freezer.read_text(), "it to be frozen")
    try:
        for _ in range(2):
            upgrade(c)
            assert freezer.read_text() == frozen
    finally:
        freezer.write_text("0" if freezer.name == "cgroup.freeze" else "THAWED")
    c.finish()


def freeze(c):
    freezer = host.freezer_file(c.pid())
    freezer.write_text("1" if freezer.name == "cgroup.freeze" else "FROZEN")


def test_calls_that_were_changing_something_are_refused_after_a_crash(lab):
    """Those that wait go on waiting. An exec whose Start is refused has failed, and may be added anew."""
    c = lab.container("sleep", "1000").run()
    ended = c.exec("sh", "-c", "sleep 1000 & exit 6").add(stdout=f"log://{lab.new_path('log')}")
    ended.start()
    ended.wait()
    starting = c.exec("sh", "-c", "exit 7").add()
    end = c.wait_later()
    delete = c.task.start.Delete(exec_id=ended.exec_id)  # it waits for the rest of the output
    freeze(c)
    start = c.task.start.Start(exec_id=starting.exec_id)
    kill = c.task.start.Kill(exec_id=starting.exec_id, signal=signal.SIGTERM)  # it waits for the Start
    host.wait_for(lambda: "delete" in under_way(c)[ended.exec_id] and "parked" in under_way(c)[starting.exec_id],
                  "all of them")
    crash(c)
    for call in (delete, start, kill):
        with pytest.raises(ttrpc.Error) as error:
            call.result()
        assert error.value.code == ttrpc.UNAVAILABLE and "while the call was under way" in str(error.value)
    assert starting.status() == "STOPPED" and starting.delete().exit_status == 255
    assert c.exec("sh", "-c", "exit 8", exec_id=starting.exec_id).run().status == 8
    c.kill()
    assert end.result().exit_status == 137
    assert ended.delete().exit_status == 6
    c.delete()
    c.finish()


def test_execs_that_come_after_others_went_are_told_apart(lab, again):  # noqa: F811
    c = lab.container("sleep", "1000").run()
    first, second = (c.exec("sh", "-c", f"exit {n}").add() for n in (1, 2))
    first.delete()
    again(c)
    third = c.exec("sh", "-c", "exit 3").add()
    again(c)
    for e, status in ((second, 2), (third, 3)):
        e.start()
        assert e.wait().status == status
    c.finish()


@tracer.needs_registers
def test_a_call_in_whose_handler_the_shim_crashed_is_begun_again_if_it_only_looks(lab):
    """Once: the points of ./dev chaos. Those that have been read besides are made."""
    c = lab.container("sleep", "1000").run()
    end = c.wait_later()
    c.task.Stats()
    with tracer.Traced(c.shim.pid) as shim:
        stats = c.task.start.Stats()
        shim.until_call(tracer.PREAD64)
        shim.jump(0x10)
    assert stats.result().stats.value
    assert "SIGSEGV at address 0x10" in lab.logs()
    assert c.task.Stats().stats.value and not end.done()
    c.kill()
    assert end.result().exit_status == 137
    c.delete()
    c.finish()


@tracer.needs_registers
def test_a_fault_within_the_handler_of_the_first_is_survived(lab):
    """When the first was noted, and its core file is about to be left."""
    c = lab.container("sleep", "1000").run()
    end = c.wait_later()
    assert c.status() == "RUNNING"
    host.wait_for(lambda: tracer.waits(c.shim.pid), "a shim that waits")
    with tracer.Traced(c.shim.pid) as shim:
        shim.jump(0x10)
        shim.until_call(tracer.CLONE3)
        shim.jump(0x20)
    assert c.status() == "RUNNING" and not end.done()
    assert "SIGSEGV at address 0x10, from" in lab.logs()
    c.kill()
    assert end.result().exit_status == 137
    c.delete()
    c.finish()


def core_pattern():
    return host.read("/proc/sys/kernel/core_pattern").decode().strip()


@tracer.needs_registers
@pytest.mark.skipif(core_pattern()[:1] in ("", "|", "/"), reason="core files go elsewhere here")
def test_a_fault_leaves_a_core_file_and_the_shim_goes_on(lab):
    if lab.sanitized:
        pytest.skip("it would be of a size")
    c = lab.container("sleep", "1000").run()
    resource.prlimit(c.shim.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    host.wait_for(lambda: tracer.waits(c.shim.pid), "a shim that waits")
    with tracer.Traced(c.shim.pid) as shim:
        shim.jump(0x10)

    def is_whole(data):
        """What its program headers name is in it."""
        if len(data) < 64 or data[:4] != b"\x7fELF":
            return False
        at, size, n = struct.unpack_from("<Q", data, 32) + struct.unpack_from("<HH", data, 54)
        return len(data) >= at + n * size and len(data) >= max(
            sum(struct.unpack_from("<Q16xQ", data, at + i * size + 8)) for i in range(n))

    host.wait_for(lambda: any(is_whole(path.read_bytes()) for path in c.bundle.path.glob("core*")), "a core file")
    assert c.status() == "RUNNING"
    c.finish()
