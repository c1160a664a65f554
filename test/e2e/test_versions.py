# SPDX-License-Identifier: Apache-2.0
"""From one version of the shim to another: one forward, back again, and one that fails on the way. The other versions
are built from the same sources, in test/variant. Whatever a new binary does before it has taken over, the old one goes
on with everything as it was."""
import json
import os
import pathlib
import resource
import signal

import pytest

import host
import protos
import ttrpc
from test_terminal import terminal

VARIANTS = pathlib.Path(os.environ.get("BELAY_VARIANT_DIR",
                                       pathlib.Path(__file__).parents[2] / "out" / "debug" / "test" / "variant"))
TRIALS = 20  # of as many allocations, spread over all that there are


@pytest.fixture(autouse=True)
def only_belay(stock):
    if stock:
        pytest.skip("the stock shim ends with its process image")


def variant(name):
    path = VARIANTS / f"shim-{name}"
    if not path.exists():
        pytest.skip(f"{path} is not built: it is one of the tests' programs of a debug build")
    return str(path)


def upgrade(c, path):
    return c.shim.service(protos.BELAY).Upgrade(path=str(path))


def refused(c, path):
    with pytest.raises(ttrpc.Error) as error:
        upgrade(c, path)
    assert error.value.code == ttrpc.FAILED_PRECONDITION, str(error.value)
    return str(error.value)


def inspect(c):
    return json.loads(c.shim.service(protos.BELAY).Inspect().json)


class Busy:
    """A container with one of everything that has to go along."""

    def __init__(self, lab):
        self.c = c = lab.container("sh", "-c", "read line; echo got $line; exit 7").pipes("stdin", "stdout").run()
        self.wait = c.wait_later()
        self.log = lab.new_path("log")
        self.logged = c.exec("sh", "-c", "echo begin; read line; echo $line").pipes("stdin")
        self.logged.add(stdout=f"log://{self.log}")
        self.logged.start()
        self.logged_wait = self.logged.wait_later()
        self.added = c.exec("sh", "-c", "exit 4").add()
        self.terminal = terminal(c.exec("sh", "-c", "while read line; do echo got $line; done"))
        self.terminal.pipes("stdin", "stdout").add()
        self.terminal.start()
        self.holds = None

    def look(self):
        """All is there, and nothing besides."""
        assert self.c.status() == "RUNNING" and self.logged.status() == "RUNNING" and self.added.status() == "CREATED"
        self.terminal.stdin.write(b"x\n")
        self.terminal.stdout.read_until(b"got x\r\n")
        if self.holds is None:
            self.c.shim.wait_for_oom_watch()
            self.holds = self.c.shim.holds()
        self.c.shim.wait_for_no_more_than(self.holds)

    def finish(self):
        self.look()
        self.added.start()
        assert self.added.wait().status == 4
        self.logged.stdin.write(b"end\n")
        assert self.logged_wait.result().exit_status == 0
        assert self.logged.delete().exit_status == 0
        assert [line.split(b" ", 3)[3] for line in self.log.read_bytes().splitlines()] == [b"begin", b"end"]
        self.c.stdin.write(b"this\n")
        assert self.wait.result().exit_status == 7
        assert self.c.finish_output(7).out == "got this\n"
        assert self.c.delete().exit_status == 7
        self.c.finish()


@pytest.fixture
def busy(lab):
    return Busy(lab)


def version(c):
    return inspect(c)["version"].split()[0]


def test_one_version_forward_and_back(busy, lab):
    c = busy.c
    present = version(c)
    busy.look()
    c.shim.read_log()
    answer = upgrade(c, variant("next"))
    assert answer.version.startswith("99.0.0 ") and answer.previous.startswith(present)
    assert "none of the messages have the field" in c.shim.read_log()
    assert inspect(c)["vault_minor"] == 7 and version(c) == "99.0.0"
    busy.look()
    upgrade(c, variant("next"))
    assert "all of the messages have the field" in c.shim.read_log()
    busy.look()
    answer = upgrade(c, lab.shim)
    assert answer.version.startswith(present) and answer.previous.startswith("99.0.0 ")
    assert inspect(c)["vault_minor"] == 1 and version(c) == present
    busy.look()
    upgrade(c, variant("next"))
    assert "none of the messages have the field" in c.shim.read_log()
    busy.finish()


@pytest.mark.parametrize("how, why", [
    ("silent", "it is no shim"),
    ("abort", "signal 6 when it was tried out"),
    ("refuse", "this version does not like the state"),
])
def test_a_version_that_will_not_do_is_left_with_the_reason(busy, how, why):
    busy.look()
    present = version(busy.c)
    (busy.c.bundle.path / "test-fault").write_text(how)
    assert why in refused(busy.c, variant("faulty"))
    assert version(busy.c) == present
    busy.finish()


def test_one_that_hangs_while_it_takes_over_is_left(busy):
    c = busy.c
    present = version(c)
    (c.bundle.path / "test-fault").write_text("hang")
    c.shim.read_log()
    answer = c.shim.service(protos.BELAY).start.Upgrade(path=variant("faulty"))
    host.wait_for((c.bundle.path / "test-fault-count").exists, "it to hang")
    with pytest.raises(ttrpc.Error) as error:
        answer.result()
    assert "has not taken over in time" in str(error.value)
    assert version(c) == present
    busy.finish()


def test_without_descriptors_for_it_nothing_changes(busy, lab):
    c = busy.c
    busy.look()
    highest = max(map(int, os.listdir(f"/proc/{c.shim.pid}/fd")))
    _, hard = resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE)
    refusals = []
    for room in range(1, 100, 4):
        resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE, (highest + room, hard))
        try:
            upgrade(c, lab.shim)
            break
        except ttrpc.Error as error:
            assert error.code in (ttrpc.UNKNOWN, ttrpc.FAILED_PRECONDITION, ttrpc.RESOURCE_EXHAUSTED), str(error)
            refusals.append(str(error))
        resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE, (hard, hard))
        busy.look()
    assert 1 < len(refusals) < 25, refusals
    assert any("hold" in reason and "Too many open files" in reason for reason in refusals), refusals
    resource.prlimit(c.shim.pid, resource.RLIMIT_NOFILE, (hard, hard))
    busy.finish()


@pytest.mark.parametrize("how, why", [("fail", "no memory"), ("crash", "the shim crashed: SIGSEGV")])
def test_one_that_fails_while_it_takes_over_is_left_wherever_that_is(busy, lab, how, why):
    c = busy.c
    present = version(c)
    upgrade(c, variant("faulty"))
    n = int((c.bundle.path / "test-fault-count").read_text())
    upgrade(c, lab.shim)
    busy.look()
    reasons = set()
    tolerated = 0
    for where in range(1, n + 1, max(1, n // TRIALS)):
        (c.bundle.path / "test-fault").write_text(f"{how} {where}")
        try:
            upgrade(c, variant("faulty"))
            tolerated += 1
            upgrade(c, lab.shim)
        except ttrpc.Error as error:
            reasons.add(str(error))
        assert version(c) == present
        busy.look()
        assert (c.bundle.path / "test-fault-alarm").read_text() == "0", "a trial that is over would end the shim by SIGALRM"
    assert any(why in reason for reason in reasons), reasons
    assert tolerated <= n // 10, "some can be done without, but few"
    (c.bundle.path / "test-fault").unlink()
    (c.bundle.path / "test-fault-count").unlink()
    upgrade(c, variant("faulty"))
    assert version(c) == "98.0.0"
    assert (c.bundle.path / "test-fault-alarm").read_text() == "0", "its trial is over"
    busy.finish()


@pytest.fixture
def before(lab):
    """A running container, with a shim of a version whose socket is `start`'s, which is dead. The lab's own shim is the
    present one again."""
    present, lab.shim = lab.shim, variant("before")
    c = lab.container("sh", "-c", "exec sleep 1000").run()
    lab.shim = present
    assert version(c) == "0.0.1"
    return c


def who_serves(c):
    client = ttrpc.Client(c.shim.address)
    try:
        return c.shim.service(client=client).Connect().shim_pid
    finally:
        client.close()


def test_a_start_finds_the_shim_of_a_version_that_did_not_own_its_socket(before, lab):
    c = before
    assert c.shim.run_start().decode().strip() == c.shim.address
    assert who_serves(c) == c.shim.pid
    c.kill()
    assert c.wait().status == 137
    assert c.delete().exit_status == 137


def test_a_delete_leaves_the_socket_of_a_shim_of_such_a_version(before):
    """containerd runs it, too, when its connection to the shim has been lost."""
    c = before
    assert c.shim.run_delete().exit_status == 137
    assert pathlib.Path(c.shim.address.removeprefix("unix://")).exists()
    assert c.wait().status == 137
    assert who_serves(c) == c.shim.pid
    assert c.delete().exit_status == 137


def test_a_shim_of_such_a_version_that_does_not_answer_is_alive(before):
    """A second one in its place would never find the container, and containerd's `delete` would end it."""
    c = before
    os.kill(c.shim.pid, signal.SIGSTOP)
    try:
        assert c.shim.run_start().decode().strip() == c.shim.address
    finally:
        os.kill(c.shim.pid, signal.SIGCONT)
    assert who_serves(c) == c.shim.pid
    c.kill()
    assert c.wait().status == 137
    assert c.delete().exit_status == 137


def test_an_upgrade_makes_the_socket_the_shims_own(before, lab):
    c = before
    upgrade(c, lab.shim)
    os.kill(c.shim.pid, signal.SIGSTOP)  # who does not answer is alive all the same
    try:
        assert c.shim.run_start().decode().strip() == c.shim.address
    finally:
        os.kill(c.shim.pid, signal.SIGCONT)
    c.kill()
    assert c.wait().status == 137
    assert c.delete().exit_status == 137
