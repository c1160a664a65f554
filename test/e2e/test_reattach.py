# SPDX-License-Identifier: Apache-2.0
"""containerd is restarted, again and again, while containers start, end, are exec'd into and removed: every exit is
told with its own status, once.

--restarts says how often; `./dev reattach` does it fifty times. What was told is known from three sides: what clients
get (ctr), what containerd has accepted from the shims (tap.py), and what it tells those who listen (ctr events).
"""
import collections
import itertools
import os
import pathlib
import re
import shutil
import signal
import tempfile
import threading

import pytest

import host
import protos
import ttrpc
from daemon import Daemon, Listener, write_image
from tap import Tap

WAIT_FOR_STOP = "while [ ! -e /stop ]; do sleep 0.05; done; exit {}"
LIVES, EXECS = 2, 2  # threads that make lives, and execs
SECONDS_EACH = 60  # more than a restart with all that waits for it may take


@pytest.fixture
def tapped(request):
    """(daemon, tap)"""
    config = request.config
    base = pathlib.Path(tempfile.mkdtemp(prefix="reattach-", dir=config.base))
    base.chmod(0o711)
    tap = Tap(base / "tap.sock", base / "containerd/containerd.sock.ttrpc", host.CGROUP)
    daemon = Daemon(config.getoption("--containerd-dir"), base / "containerd", tap.shim(base / "bin", config.shim),
                    "reattach", config.getoption("--runc-binary"))
    write_image(base / "image.tar", config.template)
    daemon.start()
    try:
        daemon.import_image(base / "image.tar")
        yield daemon, tap
        if not getattr(request.node, "call_failed", True) and not config.stock:
            host.wait_for(lambda: not daemon.leftovers(), lambda: "left behind:\n" + "\n".join(daemon.leftovers()))
    finally:
        print(daemon.log_text()[-5000:])
        print("containerd gave up:", daemon.given_up())
        try:
            daemon.clean()
        finally:
            daemon.stop()
            tap.stop()


class Load:
    """Clients. What a call says counts when containerd was there from its beginning to its end; else it is a matter
    of what is found afterwards."""

    def __init__(self, daemon, tap):
        self.daemon = daemon
        self.tap = tap
        self.expected = {}  # (container, process): exit status
        self.ended = set()  # of those, which a client has seen end
        self.failures = []
        self.n_restarts = 0  # twice as many, and odd within one
        self.cut_off = []  # the arguments of calls that a restart has cut off, each with a container's id
        self.up = threading.Event()
        self.up.set()
        self.ending = threading.Event()
        self.threads = []

    def start(self):
        for target, n in ((self.lives, LIVES), (self.execs, EXECS)):
            for i in range(n):
                thread = threading.Thread(target=self._run, args=(target, f"{target.__name__}-{i}"))
                thread.start()
                self.threads.append(thread)

    def _run(self, target, name):
        try:
            target(name)
        except BaseException as error:  # told in the test's thread
            self.failures.append(f"{name}: {error!r}")
            self.ending.set()

    def end(self):
        self.ending.set()
        self.up.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def restart(self, signo, while_down):
        self.n_restarts += 1
        self.up.clear()
        self.daemon.restart(signo, while_down)
        self.n_restarts += 1
        self.up.set()

    def ctr(self, *args):
        """(result, whether a restart has come in between)"""
        while True:
            self.up.wait()
            before = self.n_restarts
            if before % 2 == 0 or self.ending.is_set():
                break  # else a restart has begun since
        done = self.daemon.ctr(*args)
        cut = done.returncode != 0 and self.n_restarts != before
        if cut:
            self.cut_off.append(args)
        return done, cut

    def was_cut_off(self, ident):
        """A call for this container. A containerd that was killed within it may know nothing of its shim afterwards."""
        return any(ident in args for args in self.cut_off)

    def exit_of(self, container, process=None):
        """The exit that containerd has accepted."""
        with self.tap.changed:
            found = self.tap.changed.wait_for(lambda: self.exits(container, process), SECONDS_EACH * host.SLOWNESS)
        assert found, f"no exit of {container} {process or ''}"
        return found[0].exit_status

    def exits(self, container, process=None):
        return [e for e in self.tap.of(container, "/tasks/exit") if e.id == (process or container)]

    # Lives: run -d, wait, rm.

    def lives(self, name):
        for n in itertools.count():
            if self.ending.is_set():
                return
            ident, status = f"{name}-{n}", 2 + n % 100
            self.expected[ident, ident] = status
            done, cut = self.ctr(*self.daemon.run_argv(ident, "sh", "-c", f"sleep 0.{n % 4}; exit {status}",
                                                       flags=["-d"]))
            assert done.returncode == 0 or cut, done
            if done.returncode == 0 or self.runs(ident):
                assert self.exit_of(ident) == status
                self.remove_task(ident, status)
            self.remove_container(ident)

    def runs(self, ident):
        """Of a `run` that was cut off: whether its program runs or has run. One that was only created goes."""
        while True:
            done, cut = self.ctr("task", "ls")
            if not cut:
                break
        lines = [line.split() for line in done.stdout.splitlines() if line.split()[0] == ident]
        if lines and lines[0][2] != "CREATED":
            return True
        del self.expected[ident, ident]
        while lines:
            done, cut = self.ctr("task", "rm", "-f", ident)
            if not cut:
                break
        return False

    def remove_task(self, ident, status):
        was_cut = False
        while True:
            done, cut = self.ctr("task", "rm", ident)
            told = re.search(r"exit with non-zero exit code (\d+)", done.stderr)
            if told:
                assert int(told[1]) == status, done
                return
            if was_cut and "not found" in done.stderr:
                return  # the one before has removed it, whose answer was lost
            assert cut, done
            was_cut = True

    def remove_container(self, ident):
        while True:
            done, cut = self.ctr("container", "rm", ident)
            if not cut:
                assert done.returncode == 0 or "not found" in done.stderr, done
                return

    # Execs in a container that stays.

    def execs(self, name):
        for n in itertools.count():
            if self.ending.is_set():
                return
            ident, status = f"{name}-{n}", 2 + n % 100
            self.expected["box", ident] = status
            done, cut = self.ctr("task", "exec", "--exec-id", ident, "box", "sh", "-c", f"sleep 0.0{n % 4}; exit {status}")
            assert done.returncode == status or cut, done
            if not cut:
                self.ended.add(("box", ident))


def check(load, streams):
    """Each exit was accepted once, with the status that its process was told to end with, and so was the start before it."""
    tap = load.tap
    started = {(e.container_id, e.process() or e.container_id) for e in tap.received
               if e.topic in ("/tasks/start", "/tasks/exec-started")}
    for (container, process), status in load.expected.items():
        if (container, process) in started | load.ended:
            assert load.exit_of(container, process) == status, (container, process)
    exits = collections.Counter((e.container_id, e.id) for e in tap.received if e.topic == "/tasks/exit")
    twice = [key for key, n in exits.items() if n != 1]
    assert not twice, f"told more than once: {twice}"
    told = collections.defaultdict(list)
    for e in tap.received:
        if e.topic in ("/tasks/start", "/tasks/exec-started", "/tasks/exit"):
            told[e.container_id, e.process() or e.container_id].append(e.topic)
    for key in load.expected.keys() & exits.keys():
        begin = "/tasks/start" if key[0] == key[1] else "/tasks/exec-started"
        assert told[key] == [begin, "/tasks/exit"], (key, told[key])
    deleted = [e for e in tap.received if e.topic == "/tasks/delete" and not e.id and
               (e.container_id, e.container_id) in load.expected]
    assert deleted
    for e in deleted:
        assert e.exit_status == load.expected[e.container_id, e.container_id], e
    for stream in streams:
        for key, statuses in stream.items():
            assert statuses == [load.expected.get(key, statuses[0])], (key, statuses)
    # No shim that it had to find again: those had ended when it was killed within the removal of their task.
    assert [ident for ident in load.daemon.given_up() if not load.was_cut_off(ident)] == []
    return exits


def end_forgotten_shims(load):
    """A containerd that is killed within a Create, or between a shim's Delete and its Shutdown, knows nothing of that
    shim afterwards. It ends by itself some minutes later; whoever does not want to wait may tell it to."""
    daemon = load.daemon
    for ident, pid in daemon.shims():
        assert load.was_cut_off(ident), ident
        address = daemon.bundle(ident) / "address"
        if address.exists():
            client = ttrpc.Client(address.read_text())
            with pytest.raises(ttrpc.Error) as error:
                ttrpc.Service(client, protos.TASK_V2, id=ident).State()
            assert error.value.code == ttrpc.NOT_FOUND, (ident, error.value)
            client.close()
        os.kill(pid, signal.SIGTERM)
        host.wait_gone(pid)
    daemon.restart()  # removes half removed bundles


def remove_forgotten_bundles(load):
    """containerd gives a bundle another name before it removes it, and never looks at such a name again: one that is
    killed in between leaves it. Nobody else has kept it from that."""
    assert "directory not empty" not in load.daemon.log_text()
    for path in load.daemon.bundle("any").parent.glob(".*"):
        assert load.was_cut_off(path.name[1:]), (path, list(path.iterdir()))
        shutil.rmtree(path)


def test_no_exit_is_lost_or_told_twice_however_often_containerd_is_restarted(tapped, request, stock):
    daemon, tap = tapped
    n = request.config.getoption("--restarts")
    signal.alarm(int((n + 1) * SECONDS_EACH * host.SLOWNESS))
    load = Load(daemon, tap)
    daemon.run_detached("box", "sleep", "100000")
    listener, streams = Listener(daemon), []
    load.start()
    try:
        for i in range(n):
            one_restart(load, i)
            streams.append(listener.close())
            listener = Listener(daemon)
    finally:
        load.end()
    daemon.ctr("task", "kill", "-s", "SIGKILL", "box", check=True)
    assert load.exit_of("box") == 137
    assert daemon.remove_task("box") == 137
    daemon.remove("box")
    exits = check(load, [*streams, listener.close()])
    if not stock:
        end_forgotten_shims(load)
        remove_forgotten_bundles(load)
    print(f"{n} restarts, {len(load.cut_off)} calls were cut off by one, {len(exits)} exits, {tap.n_sent} events sent, "
          f"{len(tap.received)} accepted, {sum(map(len, streams))} exits seen by listeners, all shims loaded in "
          f"{daemon.longest_return():.2f} s at most")


def one_restart(load, i):
    """One container ends while containerd is down, one as it goes down, and one afterwards."""
    daemon, tap = load.daemon, load.tap
    names = [f"{when}-{i}" for when in ("during", "around", "after")]
    statuses = dict(zip(names, (3 + i % 100, 4 + i % 100, 5 + i % 100)))
    for name in names:
        load.expected[name, name] = statuses[name]
        daemon.run_detached(name, "sh", "-c", WAIT_FOR_STOP.format(statuses[name]))
    pids = {name: daemon.tasks()[name][0] for name in names}
    during, around, after = names
    seen = len(tap.received)
    with tap.changed:
        assert tap.changed.wait_for(lambda: len(tap.received) > seen + 8, SECONDS_EACH * host.SLOWNESS), load.failures

    def end(name):
        (daemon.bundle(name) / "rootfs/stop").touch()

    def while_down():
        end(during)
        host.wait_gone(pids[during])

    end(around)
    load.restart(signal.SIGKILL if i % 2 else signal.SIGTERM, while_down)
    assert daemon.tasks()[during] == (pids[during], "STOPPED")
    assert daemon.tasks()[after] == (pids[after], "RUNNING")
    end(after)
    for name in names:
        assert load.exit_of(name) == statuses[name]
        assert daemon.remove_task(name) == statuses[name]
        daemon.remove(name)


def test_a_shim_that_does_not_answer_is_given_up_and_leaves_nothing(tapped, stock):
    """containerd gives a shim five seconds as it comes back, here two. Then it forgets it and calls `delete`, sometimes
    twice at once: as it gives up, and as its connection closes."""
    daemon, tap = tapped
    daemon.configure(f'[timeouts]\n  "io.containerd.timeout.shim.load" = "{int(2 * host.SLOWNESS)}s"\n')
    daemon.restart()
    for ident in ("mute", "other"):
        daemon.run_detached(ident, "sleep", "1000")
    pids = {ident: pid for ident, (pid, _) in daemon.tasks().items()}
    shim = daemon.shim_of("mute")
    os.kill(shim, signal.SIGSTOP)
    daemon.restart()
    assert daemon.given_up() == {"mute"}
    assert daemon.tasks() == {"other": (pids["other"], "RUNNING")}
    os.kill(shim, signal.SIGCONT)
    with tap.changed:
        exits = lambda: [e for e in tap.of("mute", "/tasks/exit")]  # noqa: E731
        assert tap.changed.wait_for(exits, SECONDS_EACH * host.SLOWNESS)
    host.wait_gone(pids["mute"])
    if stock:
        os.kill(shim, signal.SIGTERM)  # it would stay for ever
    daemon.restart()  # 2.1 keeps the connection that it has given up
    host.wait_gone(shim)
    assert [e.exit_status for e in exits()] == [137]
    for ident in ("mute", "other"):
        daemon.remove(ident)
