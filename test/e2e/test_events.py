# SPDX-License-Identifier: Apache-2.0
"""Events: content, order, and what happens while containerd is away."""
import pytest

import host
import ttrpc
from checks import during


def test_the_events_of_a_life_say_what_the_calls_said(lab):
    c = lab.container("sleep", "1000").pipes("stdout", "stderr").create()
    pid = c.pid()
    c.start()
    e = c.exec("sh", "-c", "exit 3", exec_id="ex").add()
    exec_pid = e.start()
    exec_exit = e.wait()
    e.delete()
    c.kill()
    exit = c.wait()
    c.delete()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == [
        "create", "start", "exec-added/ex", "exec-started/ex", "exit/ex", "exit", "delete"]

    create, start, added, started, exec_ended, ended, deleted = lab.containerd.of(c.id)
    assert (create.bundle, create.pid, create.checkpoint) == (str(c.bundle.path), pid, "")
    assert (create.io.stdout, create.io.stderr, create.io.stdin) == (c.stdout.path, c.stderr.path, "")
    assert not create.io.terminal and not create.rootfs
    assert start.pid == pid
    assert (started.exec_id, started.pid) == ("ex", exec_pid)
    assert (exec_ended.id, exec_ended.pid, exec_ended.exit_status) == ("ex", exec_pid, 3)
    assert exec_ended.exited_at == exec_exit.at
    assert (ended.id, ended.pid, ended.exit_status, ended.exited_at) == (c.id, pid, 137, exit.at)
    assert (deleted.id, deleted.pid, deleted.exit_status) == ("", pid, 137)
    assert deleted.exited_at == exit.at


def test_envelopes_are_as_containerd_demands(lab):
    with during() as check:
        c = lab.container("true").run()
        c.wait()
        lab.containerd.wait(c.id, "/tasks/exit")
    for event in lab.containerd.of(c.id):
        assert event.envelope.namespace == lab.namespace
        assert event.type_url == event.message.DESCRIPTOR.full_name  # bare, as 1.6 wants it
        check(event.envelope.timestamp)


def test_the_rootfs_of_a_create_is_in_its_event(lab):
    c = lab.container("true")
    mounts = [{"type": "bind", "source": str(lab.template), "options": ["rbind", "ro"]}]
    c.create(rootfs=mounts)
    event = lab.containerd.wait(c.id, "/tasks/create")[0]
    assert [(m.type, m.source, list(m.options)) for m in event.rootfs] == [("bind", str(lab.template), ["rbind", "ro"])]


def test_events_wait_for_containerd_and_keep_their_order(lab, stock):
    """R93. The stock shim sends retries beside newer events and gives up after 15 s."""
    if stock:
        pytest.skip("order is lost there")
    c = lab.container("sleep", "1000").create()
    lab.containerd.wait(c.id, "/tasks/create")
    lab.containerd.stop()
    c.start()
    for i in range(5):
        e = c.exec("true").add()
        e.start()
        e.wait()
        e.delete()
    c.kill()
    c.wait()
    c.delete()
    lab.containerd.start()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == ["create", "start"] + [
        f"{what}/e{i}" for i in range(5) for what in ("exec-added", "exec-started", "exit")] + ["exit", "delete"]


def test_a_broken_connection_is_made_again(lab):
    c = lab.container("sleep", "1000").run()
    lab.containerd.wait(c.id, "/tasks/start")
    lab.containerd.stop()
    lab.containerd.start()
    c.kill()
    c.wait()
    lab.containerd.wait(c.id, "/tasks/exit")


def test_an_event_that_containerd_refuses_does_not_hold_up_the_next(lab):
    """InvalidArgument is final (P4.2)."""
    lab.containerd.answer = ttrpc.Error(ttrpc.INVALID_ARGUMENT, "no")
    c = lab.container("sleep", "1000").run()
    lab.containerd.answer = None
    c.kill()
    c.wait()
    lab.containerd.wait(c.id, "/tasks/exit")


def test_without_containerd_everything_else_works(lab):
    lab.containerd.stop()
    c = lab.container("sh", "-c", "exit 3").run()
    assert c.wait().status == 3
    c.delete()
    lab.containerd.start()  # or the shim would try for a while before it ends
    lab.containerd.wait(c.id, "/tasks/delete")


def test_shutdown_right_after_delete_loses_no_event(lab):
    """R25"""
    for _ in range(5):
        c = lab.container("true").run()
        c.wait()
        c.delete()
        c.finish()
        # 1.6 flushes for as long as its connection lives; belay waits for the answers.
        lab.containerd.wait(c.id, "/tasks/delete")


def test_shutdown_ends_the_shim_although_containerd_is_away(lab, stock):
    if stock:
        pytest.skip("1.6 waits for its publisher, then exits 1")
    c = lab.container("true").run()
    c.wait()
    lab.containerd.stop()
    c.delete()
    c.task.Shutdown()
    host.wait_gone(c.shim.pid)
    c.shim.disconnect()
    c.task = None


def test_a_failed_create_sends_nothing(lab):
    """R14"""
    c = lab.container("true")
    c.config["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["bind"]})
    with pytest.raises(ttrpc.Error):
        c.create()
    c.deleted = True
    c.finish()
    assert not lab.containerd.of(c.id)


def test_a_container_whose_program_is_missing_has_no_exit_with_137(lab):
    """R14: Create or Start fails; whichever it is, nobody is told that something was killed."""
    c = lab.container("/no/such/program")
    with pytest.raises(ttrpc.Error) as info:
        c.run()
    assert "no such file or directory" in info.value.message.lower()  # crun has it with a capital
    try:
        c.delete()
    except ttrpc.Error as error:
        assert error.code == ttrpc.NOT_FOUND
    c.deleted = True
    c.finish()
    assert not [e for e in lab.containerd.of(c.id) if e.topic == "/tasks/start"]
