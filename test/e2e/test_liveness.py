# SPDX-License-Identifier: Apache-2.0
"""Nothing that one call waits for may hold up another."""
import os
import signal
import threading

import pytest

import host
import ttrpc
from checks import fails
from paths import COPY, READY, Logger


class Hook:
    """One that runs until it is let go. A call that is answered before has waited for nothing that it holds up."""

    def __init__(self, c, kind):
        self.lab = c.lab
        self.go = c.lab.new_path("go")
        os.mkfifo(self.go)
        if kind == "startContainer":  # it runs in the container
            c.bundle.mount("/go", "bind", self.go, "bind")
        path = "/go" if kind == "startContainer" else self.go
        c.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"read x <{path}; true"],
                                     "env": [c.lab.token_variable]}]}

    def wait(self):
        """Until it runs; who opens the FIFO finds it there."""
        self.fd = os.open(self.go, os.O_WRONLY)

    def let_go(self):
        os.close(self.fd)


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_state_answers_while_a_hook_holds_up_create(lab, kind):
    """R19, R26"""
    if lab.stock:
        pytest.skip("one lock around all of it in 1.6")
    c = lab.container("sleep", "1000")
    hook = Hook(c, kind)
    c.launch()
    create = c.task.start.Create(bundle=str(c.bundle.path))
    c.created = True
    hook.wait()
    for _ in range(20):
        with fails(ttrpc.NOT_FOUND):
            c.state()
        c.task.Connect()
    assert not create.done()
    hook.let_go()
    create.result()
    assert c.status() == "CREATED"


@pytest.mark.runs_with("belay", "runc", why="its `start` waits for no hook")
def test_start_that_is_held_up_by_a_hook_does_not_hold_up_state(lab, stock):
    if stock:
        pytest.skip("one lock in 1.6")
    c = lab.container("sleep", "1000")
    hook = Hook(c, "startContainer")
    c.create()
    start = c.task.start.Start()
    hook.wait()
    for _ in range(20):
        c.state()
    assert not start.done()
    hook.let_go()
    start.result()
    assert c.status() == "RUNNING"


def test_kill_works_while_create_is_held_up(lab, stock):
    """The client gives up: whatever Create says then, nothing hangs and nothing is left."""
    if stock:
        pytest.skip("one lock in 1.6")
    c = lab.container("sleep", "1000")
    hook = Hook(c, "createRuntime")
    c.launch()
    create = c.task.start.Create(bundle=str(c.bundle.path))
    hook.wait()
    with fails(ttrpc.NOT_FOUND):
        c.kill(signal.SIGKILL)
    hook.let_go()
    if create.exception():
        c.deleted = True


def test_sigterm_during_a_create_undoes_it(lab, stock):
    if stock:
        pytest.skip("it leaves that to `delete`")
    c = lab.container("sleep", "1000")
    hook = Hook(c, "createRuntime")
    c.launch()
    create = c.task.start.Create(bundle=str(c.bundle.path))
    hook.wait()
    os.kill(c.shim.pid, signal.SIGTERM)
    host.wait_gone(c.shim.pid)
    assert create.exception()
    c.shim.disconnect()
    c.shim.run_delete()
    c.task = None
    hook.let_go()


def test_a_delete_that_waits_for_output_holds_up_nobody(lab, stock):
    """R20, R54: a grandchild keeps the pipe to a logger open, for whose end Delete waits."""
    if stock:
        pytest.skip("it waits for no logger")
    c = lab.container("sleep", "1000").run()
    e = c.exec("sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done & exit 0").add(**Logger(lab, READY + COPY).stdio())
    e.start()
    e.wait()
    delete = c.task.start.Delete(exec_id=e.exec_id)
    for _ in range(20):
        c.state()
    assert c.exec("true").run().status == 0
    assert not delete.done()
    (c.bundle.rootfs / "go").touch()
    delete.result()


def test_many_clients_at_once(lab):
    c = lab.container("sleep", "1000").run()
    errors = []

    def client():
        try:
            own = ttrpc.Client(c.shim.address)
            service = c.shim.service(client=own)
            for _ in range(50):
                assert service.State().pid
            own.close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=client) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_many_calls_at_once_on_one_connection(lab):
    c = lab.container("sleep", "1000").run()
    pid = c.pid()
    calls = [c.task.start.State() for _ in range(500)]
    assert {call.result().pid for call in calls} == {pid}


def test_a_client_that_does_not_read_harms_only_itself(lab):
    c = lab.container("sleep", "1000").run()
    deaf = ttrpc.connect(c.shim.address)
    request = ttrpc.envelope.Request(service="containerd.task.v2.Task", method="State",
                                     payload=b"\x0a" + bytes([len(c.id)]) + c.id.encode())
    data = request.SerializeToString()
    deaf.settimeout(0.5)
    try:
        for i in range(20000):
            deaf.sendall(ttrpc.frame(2 * i + 1, ttrpc.REQUEST, data))
    except (TimeoutError, OSError):
        pass
    c.state()
    deaf.close()
    assert c.status() == "RUNNING"


@pytest.mark.parametrize("frame", [b"\xff" * 10, b"\x00\x40\x00\x01\x00\x00\x00\x01\x01\x00", b"\x00\x00",
                                   b"\x00\x00\x00\x05\x00\x00\x00\x01\x01\x00hello", b"GET / HTTP/1.0\r\n\r\n"],
                         ids=["ones", "too-long", "half", "no-request", "http"])
def test_a_broken_frame_harms_only_its_connection(lab, frame):
    c = lab.container("sleep", "1000").run()
    for _ in range(3):
        bad = ttrpc.connect(c.shim.address)
        bad.sendall(frame)
        bad.close()
    assert c.status() == "RUNNING"


def test_a_message_over_4_mib_is_refused_and_the_connection_goes_on(lab):
    c = lab.container("sleep", "1000").run()
    with pytest.raises(ttrpc.Error) as info:
        c.shim.client.start_raw("containerd.task.v2.Task", "State", b"\0" * (4 << 20)).result()
    assert info.value.code in (ttrpc.RESOURCE_EXHAUSTED, ttrpc.INVALID_ARGUMENT)
    assert c.status() == "RUNNING"
