# SPDX-License-Identifier: Apache-2.0
"""The life of a container through the task service, call by call and state by state."""
import os
import signal

import pytest

import host
import protos
import ttrpc
from checks import during, fails, never


def test_state_follows_a_container_from_create_to_delete(lab):
    c = lab.container("sleep", "100").pipes("stdout", "stderr").create()
    created = c.state()
    assert (created.id, created.bundle, created.exec_id) == (c.id, str(c.bundle.path), "")
    assert (created.stdout, created.stderr, created.stdin) == (c.stdout.path, c.stderr.path, "")
    assert created.status == protos.status.CREATED
    assert created.exit_status == 0 and never(created.exited_at)
    assert os.path.exists(f"/proc/{created.pid}")

    assert c.start() == created.pid
    assert c.status() == "RUNNING" and never(c.state().exited_at)
    host.wait_for(lambda: host.cmdline(created.pid) == "sleep 100", "the program runs")

    c.kill()
    exit = c.wait()
    stopped = c.state()
    assert stopped.status == protos.status.STOPPED
    assert (stopped.pid, stopped.exit_status, stopped.exited_at) == (created.pid, 137, exit.at)

    c.delete()
    with fails(ttrpc.NOT_FOUND):
        c.state()


@pytest.mark.parametrize("status", [0, 1, 3, 126, 255])
def test_the_exit_status_is_the_programs(lab, status):
    c = lab.container("sh", "-c", f"exit {status}").run()
    assert c.wait().status == status
    assert c.delete().exit_status == status


def test_create_answers_with_the_pid_and_leaves_the_program_waiting(lab):
    c = lab.container("sh", "-c", "echo on > /started; sleep 100").launch()
    pid = c.task.Create(bundle=str(c.bundle.path)).pid
    assert c.task.Connect().task_pid == pid == c.pid()
    assert not (c.bundle.rootfs / "started").exists()
    assert c.start() == pid


def test_wait_after_the_exit_returns_the_recorded_status_again_and_again(lab):
    with during() as check:
        c = lab.container("sh", "-c", "exit 42").run()
        first = c.wait()
    check(first.at)
    assert first.status == 42
    assert [c.wait() for _ in range(20)] == [first] * 20
    assert c.state().exited_at == first.at
    deleted = c.delete()
    assert (deleted.exit_status, deleted.exited_at) == (42, first.at)


def test_wait_that_begins_before_start_ends_with_the_exit(lab):
    c = lab.container("sh", "-c", "exit 7").create()
    waits = [c.wait_later() for _ in range(50)]
    assert not any(w.done() for w in waits)
    c.start()
    assert {w.result().exit_status for w in waits} == {7}


def test_a_pending_wait_survives_delete(lab):
    c = lab.container("sh", "-c", "read x; exit 9").pipes("stdin", "stdout", "stderr").create()
    waits = [c.wait_later() for _ in range(20)]
    c.start()
    c.stdin.write(b"\n")
    c.wait()
    deleted = c.delete()
    answers = [w.result() for w in waits]
    assert {(a.exit_status, a.exited_at.seconds) for a in answers} == {(9, deleted.exited_at.seconds)}


def test_a_wait_with_a_deadline_ends_with_it(lab, stock):
    if stock:
        pytest.skip("the stock shim of 1.6 ignores the deadline of a Wait")
    c = lab.container("sleep", "100").run()
    with fails(ttrpc.DEADLINE_EXCEEDED):
        c.task.start.Wait(timeout_nano=50_000_000).result()
    assert c.status() == "RUNNING"


def test_abandoned_waits_cost_nothing(lab):
    c = lab.container("sleep", "100").run()
    before = len(c.shim.fds())
    for _ in range(30):
        client = ttrpc.Client(c.shim.address)
        c.shim.service(client=client).start.Wait()
        client.close()
    host.wait_for(lambda: len(c.shim.fds()) <= before, "descriptors of dead connections are closed")


def test_both_service_names_are_the_same_service(lab, stock):
    c = lab.container("sleep", "100").run()
    v3 = c.shim.service(protos.TASK_V3)
    if stock:
        with fails(ttrpc.UNIMPLEMENTED):  # containerd 1.6's shim serves v2 only
            v3.State()
        return
    assert v3.State() == c.state()
    v3.Kill(signal=signal.SIGKILL)
    assert v3.Wait().exit_status == c.wait().status == 137


def test_unknown_services_and_methods_are_unimplemented(lab):
    c = lab.container("true").create()
    for service, method in (("containerd.task.v2.Task", "Dance"), ("no.such.Service", "State")):
        with fails(ttrpc.UNIMPLEMENTED):
            c.shim.client.start_raw(service, method, b"").result()


def test_a_wrong_payload_harms_nobody(lab):
    c = lab.container("true").create()
    with pytest.raises(ttrpc.Error):
        c.shim.client.start_raw("containerd.task.v2.Task", "State", b"\xff\xff\xff").result()
    assert c.status() == "CREATED"


CALLS = [("State", {}), ("Start", {}), ("Delete", {}), ("Pids", {}), ("Kill", {"signal": 9}),
         ("Wait", {}), ("ResizePty", {"width": 80, "height": 25}), ("CloseIO", {"stdin": True}),
         ("Exec", {"exec_id": "e", "spec": protos.wrap(b'{"args":["true"],"cwd":"/"}', "x")})]


@pytest.mark.parametrize("method, fields", CALLS, ids=[m for m, _ in CALLS])
def test_before_create_there_is_no_task(lab, method, fields):
    c = lab.container("true").launch()
    with fails(ttrpc.NOT_FOUND):
        getattr(c.task, method)(**fields)
    assert c.task.Connect().task_pid == 0


@pytest.mark.parametrize("method, fields", CALLS, ids=[m for m, _ in CALLS])
def test_another_id_is_not_found(lab, method, fields):
    c = lab.container("true").create()
    with fails(ttrpc.NOT_FOUND):
        getattr(c.task, method)(id="somebody-else", **fields)


@pytest.mark.parametrize("method, fields", [c for c in CALLS if c[0] not in ("Pids", "Exec")],
                         ids=[m for m, _ in CALLS if m not in ("Pids", "Exec")])
def test_an_unknown_exec_is_not_found(lab, method, fields):
    c = lab.container("sleep", "100").run()
    # R37. The stock shim answers Unknown to CloseIO.
    with fails(ttrpc.NOT_FOUND, also=[ttrpc.UNKNOWN] if lab.stock and method == "CloseIO" else []):
        getattr(c.task, method)(exec_id="nobody", **fields)


def test_create_of_an_existing_id_is_refused_and_harms_nothing(lab):
    c = lab.container("sleep", "100").run()
    # The stock shim leaves it to runc to notice.
    with fails(ttrpc.ALREADY_EXISTS, also=[ttrpc.UNKNOWN] if lab.stock else []):
        c.task.Create(bundle=str(c.bundle.path))
    assert c.status() == "RUNNING"


# Plain errors in the stock shim, which arrive as Unknown; belay names the class.
def wrong_state(lab):
    return fails(ttrpc.FAILED_PRECONDITION, also=[ttrpc.UNKNOWN] if lab.stock else [])


def test_start_is_for_created_containers_only(lab):
    c = lab.container("sleep", "100").run()
    with wrong_state(lab):
        c.start()
    assert c.status() == "RUNNING"
    c.kill()
    c.wait()
    with wrong_state(lab):
        c.start()


def test_a_running_container_cannot_be_deleted(lab):
    c = lab.container("sleep", "100").run()
    with wrong_state(lab):
        c.task.Delete()
    assert c.status() == "RUNNING"


def test_delete_of_a_created_container_ends_it_with_137(lab, stock):
    c = lab.container("sleep", "100").create()
    pid, wait = c.pid(), c.wait_later()
    deleted = c.delete()
    assert not os.path.exists(f"/proc/{pid}")
    if stock:
        return  # its Wait never returns, and the exit is reported after the deletion or not at all
    assert deleted.exit_status == 137 and not never(deleted.exited_at)
    assert wait.result().exit_status == 137
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == ["create", "exit", "delete"]


def test_delete_twice_at_once_succeeds_once(lab):
    c = lab.container("true").run()
    c.wait()
    answers = [c.task.start.Delete() for _ in range(2)]
    errors = [a.exception() for a in answers]
    assert sorted(e is None for e in errors) == [False, True]
    assert next(e for e in errors if e).code == ttrpc.NOT_FOUND
    c.deleted = True  # R23: the Shutdown that follows ends the shim, which the lab checks


def test_shutdown_is_ignored_while_there_is_a_task(lab):
    c = lab.container("sleep", "100").run()
    c.task.Shutdown(now=True)
    assert c.status() == "RUNNING"
    c.kill()
    c.wait()
    c.task.Shutdown()
    assert c.status() == "STOPPED"


def test_pids_lists_init_and_execs_by_id(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sleep", "100", exec_id="second").add()
    exec_pid = e.start()
    processes = {p.pid: p.info for p in c.task.Pids().processes}
    assert set(processes) == {c.pid(), exec_pid}
    assert processes[exec_pid].type_url == "containerd.runc.v1.ProcessDetails"
    assert protos.runc.ProcessDetails.FromString(processes[exec_pid].value).exec_id == "second"
    assert not processes[c.pid()].value


def test_pids_of_a_stopped_container_is_a_success(lab):
    """belay goes on to name init: containerd 1.7 to 2.3 take an empty list on their restart for a
    shim without a task, delete it, and nobody learns how the container ended."""
    c = lab.container("true").run()
    c.wait()
    assert [p.pid for p in c.task.Pids().processes] == ([] if lab.stock else [c.pid()])


@pytest.mark.parametrize("method", ["Checkpoint"])
def test_what_belay_cannot_do_yet_is_unimplemented(lab, stock, method):
    if stock:
        pytest.skip("the stock shim can")
    c = lab.container("sleep", "100").run()
    with fails(ttrpc.UNIMPLEMENTED):
        getattr(c.task, method)()
    assert c.status() == "RUNNING"


def test_connect_answers_for_any_id(lab):
    c = lab.container("sleep", "100").run()
    answer = c.task.Connect(id="somebody-else")
    assert answer.shim_pid == c.shim.pid
    answer = c.task.Connect()
    assert (answer.shim_pid, answer.task_pid) == (c.shim.pid, c.pid())
