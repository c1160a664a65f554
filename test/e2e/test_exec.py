# SPDX-License-Identifier: Apache-2.0
"""Further processes in a running container."""
import signal

import pytest

import host
import protos
import ttrpc
from checks import during, fails, never


def test_an_exec_has_a_life_of_its_own(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sh", "-c", "exit 4", exec_id="one").pipes().add()
    state = e.state()
    assert (state.id, state.status, state.pid) == ("one", protos.status.CREATED, 0)
    assert state.stdout == e.stdout.path and never(state.exited_at)
    with during() as check:
        pid = e.start()
        exit = e.wait()
    check(exit.at)
    assert pid > 0 and exit.status == 4
    state = e.state()
    assert (state.status, state.exit_status, state.exited_at) == (protos.status.STOPPED, 4, exit.at)
    deleted = e.delete()
    assert (deleted.pid, deleted.exit_status, deleted.exited_at) == (pid, 4, exit.at)
    with fails(ttrpc.NOT_FOUND):
        e.state()
    assert c.status() == "RUNNING"


def test_an_exec_runs_in_the_containers_namespaces_and_cgroup(lab):
    c = lab.container("sleep", "100").run()
    script = "for n in pid ipc uts mnt net cgroup; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup"
    mine = c.exec("sh", "-c", script).run().out.splitlines()
    for line, kind in zip(mine, ("pid", "ipc", "uts", "mnt", "net")):
        assert line == host.os.readlink(f"/proc/{c.pid()}/ns/{kind}")
    cgroups = [line for line in host.read(f"/proc/{c.pid()}/cgroup").decode().splitlines() if "belay-test" in line]
    assert len(cgroups) >= (1 if host.V2 else 8)
    assert set(cgroups) <= set(mine)


def test_an_exec_has_its_own_user_environment_and_directory(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sh", "-c", "id -u; id -g; id -G; pwd; echo $COLOUR; umask", cwd="/tmp", env=[
        "PATH=/bin", "COLOUR=blue"], user={"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 0o77})
    out = e.run().out.split("\n")
    assert out[:5] == ["1000", "1000", "1000 5 6", "/tmp", "blue"]
    if lab.runtime != "runc":  # 1.1 leaves out the umask of an exec
        assert out[5] == "0077"


def test_an_exec_gets_the_capabilities_it_asks_for(lab):
    c = lab.container("sleep", "100").run()
    caps = {k: ["CAP_KILL"] for k in ("bounding", "effective", "permitted")}
    out = c.exec("grep", "^Cap\\|NoNewPrivs", "/proc/self/status", capabilities=caps).run().out
    fields = dict(line.split(":\t") for line in out.splitlines())
    assert {fields[k] for k in ("CapBnd", "CapEff", "CapPrm")} == {f"{1 << 5:016x}"}
    assert fields["CapInh"] == fields["CapAmb"] == f"{0:016x}"
    assert fields["NoNewPrivs"] == "1"


@pytest.mark.parametrize("args, text", [
    (["/no/such/program"], "no such file or directory"),
    (["no-such-program"], "executable file not found"),
    (["/etc/passwd"], "permission denied"),
    (["/etc"], ""),
])
def test_an_exec_that_cannot_be_executed_fails_at_start(lab, args, text):
    c = lab.container("sleep", "100").run()
    e = c.exec(*args).pipes().add()
    wait = e.wait_later()
    with pytest.raises(ttrpc.Error) as info:
        e.start()
    assert text in info.value.message.lower() or lab.runtime == "crun"
    wait.exception()  # R8: it ends, in whatever way
    e.delete()
    assert c.exec("true").run().status == 0
    c.kill()
    c.wait()
    lab.containerd.wait(c.id, "/tasks/exit")
    assert "exit/e0" not in lab.containerd.order(c.id)


def test_a_second_start_of_an_exec_whose_first_failed_harms_nobody(lab, stock):
    if stock:
        pytest.skip("the stock shim panics on it")
    c = lab.container("sleep", "100").run()
    e = c.exec("/no/such/program").add()
    for _ in range(2):
        with pytest.raises(ttrpc.Error):
            e.start()
    assert c.status() == "RUNNING"


@pytest.mark.parametrize("spec", [None, b"", b"{", b"[]", b'{"args": []}', b'{"args": "sh", "cwd": "/"}',
                                  b'{"args": ["true"], "cwd": "relative"}'])
def test_an_exec_without_a_usable_process_is_refused(lab, stock, spec):
    if stock:
        pytest.skip("the stock shim crashes on a nil spec and tells the others at Start")
    c = lab.container("sleep", "100").run()
    e = c.exec("true")
    # What is JSON or not, and of what kind, a runtime binary tells at Start.
    with fails(ttrpc.INVALID_ARGUMENT, also=[ttrpc.UNKNOWN] if lab.runc_binary else []):
        e.add(spec=protos.wrap(spec, "x") if spec is not None else None)
        e.start()
    assert c.exec("true", exec_id="good").run().status == 0


def test_an_exec_id_is_used_once(lab):
    c = lab.container("sleep", "100").run()
    c.exec("true", exec_id="one").add()
    with fails(ttrpc.ALREADY_EXISTS):
        c.exec("true", exec_id="one").add()
    c.execs.pop()


def test_of_racing_execs_with_one_id_one_wins(lab):
    c = lab.container("sleep", "100").run()
    spec = protos.wrap(b'{"args":["true"],"cwd":"/"}', "x")
    answers = [c.task.start.Exec(exec_id="race", spec=spec) for _ in range(20)]
    errors = [a.exception() for a in answers]
    assert errors.count(None) == 1
    assert {e.code for e in errors if e} == {ttrpc.ALREADY_EXISTS}
    c.task.Delete(exec_id="race")


def test_an_exec_id_is_free_again_after_delete(lab):
    c = lab.container("sleep", "100").run()
    for status in (1, 2, 3):
        e = c.exec("sh", "-c", f"exit {status}", exec_id="same")
        assert e.run().status == status
        c.execs.pop()


def test_a_hundred_execs_at_once(lab):
    """R2, R5. The stock shim needs most of a second for each here, so it gets fewer."""
    count = 10 if lab.stock else 100
    c = lab.container("sleep", "1000").run()
    execs = [c.exec("sh", "-c", f"exit {i}").add() for i in range(count)]
    waits = [e.wait_later() for e in execs]
    starts = [c.task.start.Start(exec_id=e.exec_id) for e in execs]
    assert all(s.result().pid > 0 for s in starts)
    assert [w.result().exit_status for w in waits] == list(range(count))
    lab.containerd.wait(c.id, "/tasks/exit", count)
    order = lab.containerd.order(c.id)
    for e in execs:
        at = [order.index(f"{what}/{e.exec_id}") for what in ("exec-added", "exec-started", "exit")]
        assert at == sorted(at)
        e.delete()
    assert len(c.task.Pids().processes) == 1


def test_execs_leave_no_descriptors_in_the_shim(lab):
    c = lab.container("sleep", "100").run()
    c.exec("true").run()
    lab.containerd.wait(c.id, "/tasks/exit")
    before = c.shim.fds()
    for _ in range(20):
        c.exec("echo", "x").run()
    # A stage that has done its work may still be on its way out.
    host.wait_for(lambda: len(c.shim.fds()) <= len(before), f"as many as before: {before} {c.shim.fds()}")


def test_exec_start_after_the_end_of_init_is_a_failed_precondition(lab):
    """R6, also where processes of the container could still live."""
    for private in (True, False):
        c = lab.container("sleep", "100")
        if not private:
            c.bundle.without_namespace("pid")
        c.run()
        e = c.exec("sleep", "1000").add()
        c.kill()
        c.wait()
        with fails(ttrpc.FAILED_PRECONDITION, also=[ttrpc.UNKNOWN] if lab.stock else []):
            e.start()
        assert not c.others()
        e.delete()


def test_no_exec_can_be_added_to_a_stopped_container(lab):
    c = lab.container("true").run()
    c.wait()
    with fails(ttrpc.FAILED_PRECONDITION, also=[ttrpc.UNKNOWN] if lab.stock else []):
        c.exec("true").add()


def test_a_running_exec_cannot_be_deleted_or_started_again(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sleep", "100").add()
    e.start()
    for call in (e.delete, e.start):
        with fails(ttrpc.FAILED_PRECONDITION, also=[ttrpc.UNKNOWN] if lab.stock else []):
            call()
    assert e.status() == "RUNNING"


def test_an_exec_that_was_never_started_can_be_deleted(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("true").add()
    answer = e.delete()
    assert answer.pid == 0 and answer.exit_status == 0 and never(answer.exited_at)


def test_an_exec_may_be_added_before_the_container_starts(lab):
    c = lab.container("sleep", "100").create()
    e = c.exec("sh", "-c", "exit 6").add()
    e.start()
    assert e.wait().status == 6
    c.start()
    assert c.status() == "RUNNING"


def test_the_grandchildren_of_an_exec_live_on_without_it(lab):
    c = lab.container("sleep", "100").run()
    e = c.exec("sh", "-c", "setsid sleep 500 >/dev/null 2>&1 & exit 0")
    assert e.run().status == 0
    assert len(c.task.Pids().processes) == 2
    c.kill(signal.SIGKILL)
    c.wait()
    assert not c.others()
