# SPDX-License-Identifier: Apache-2.0
"""Exits: none lost, none invented, none told twice or in the wrong order."""
import json
import os
import shutil
import signal

import pytest

import host
import ttrpc
from checks import during, never


def test_a_process_that_ends_at_once_still_starts_first(lab):
    """R1"""
    for i in range(20):
        c = lab.container("true").create()
        wait = c.wait_later()
        assert c.start() > 0
        assert wait.result().exit_status == 0
        lab.containerd.wait(c.id, "/tasks/exit")
        c.delete()
        lab.containerd.wait(c.id, "/tasks/delete")
        assert lab.containerd.order(c.id) == ["create", "start", "exit", "delete"]
        c.finish()


def test_an_exec_that_ends_at_once_still_starts_first(lab):
    c = lab.container("sleep", "1000").run()
    for i in range(30):
        e = c.exec("true").add()
        assert e.start() > 0
        assert e.wait().status == 0
        e.delete()
    lab.containerd.wait(c.id, "/tasks/exit", 30)
    order = lab.containerd.order(c.id)[2:]
    assert order == [f"{what}/e{i}" for i in range(30) for what in ("exec-added", "exec-started", "exit")]


def test_the_exits_of_execs_precede_inits(lab):
    """R4, R5: the end of init takes 20 execs with it; each is told, and all before init."""
    c = lab.container("sleep", "1000").run()
    execs = [c.exec("sleep", "1000").add() for _ in range(20)]
    for e in execs:
        e.start()
    waits = [e.wait_later() for e in execs]
    c.kill(signal.SIGKILL)
    assert c.wait().status == 137
    lab.containerd.wait(c.id, "/tasks/exit", 21)
    exits = [e for e in lab.containerd.of(c.id, "/tasks/exit")]
    assert exits[-1].id == c.id and {e.exit_status for e in exits} == {137}
    assert {e.id for e in exits[:-1]} == {e.exec_id for e in execs}
    assert {w.result().exit_status for w in waits} == {137}


def test_execs_that_are_starting_while_init_ends_are_told_before_it(lab):
    """R4, R6, R7: each either starts, and its exit precedes init's, or it fails and has none."""
    if lab.stock:
        pytest.skip("1.6 gets this wrong at times (containerd issues 9719 and 10589)")
    c = lab.container("sleep", "1000").run()
    execs = [c.exec("true").add() for _ in range(20)]
    starts = [c.task.start.Start(exec_id=e.exec_id) for e in execs]
    c.kill(signal.SIGKILL)
    errors = {e.exec_id: s.exception() for e, s in zip(execs, starts)}
    c.wait()
    c.delete()
    lab.containerd.wait(c.id, "/tasks/delete")
    order = lab.containerd.order(c.id)
    assert order[-2:] == ["exit", "delete"]
    for exec_id, error in errors.items():
        assert order.count(f"exec-started/{exec_id}") == (0 if error else 1)
        assert order.count(f"exit/{exec_id}") == (0 if error else 1)


def test_one_exit_event_in_a_whole_life(lab):
    """R15"""
    c = lab.container("true").run()
    c.wait()
    c.delete()
    c.finish()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id).count("exit") == 1


def test_a_container_killed_during_create_does_not_hang_it(lab):
    """R3: a hook kills init before Create has answered."""
    c = lab.container("sleep", "1000")
    kill = lab.new_path("kill.sh")
    kill.write_text("#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\nkill -9 $pid\n")
    kill.chmod(0o755)
    c.config["hooks"] = {"createRuntime": [{"path": str(kill), "env": ["PATH=/bin:/usr/bin"]}]}
    c.launch()
    answer = c.task.start.Create(bundle=str(c.bundle.path)).exception()
    if answer is None:
        c.created = True
        assert c.wait().status == 137
        assert c.status() == "STOPPED"
    else:
        assert answer.code not in (ttrpc.NOT_FOUND, ttrpc.ALREADY_EXISTS)
        c.deleted = True
        if lab.stock:
            c.created = True


def test_an_oom_kill_is_an_exit_by_sigkill(lab):
    def edit(c):
        c.config["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}

    r = lab.sh("exec tail -c 100000000 /dev/zero", edit=edit)
    assert r.status == 137


# What is on disk when the shim is gone: `delete` as containerd asks it when the connection drops.

def test_the_record_of_an_exit_survives_the_shim(lab, stock):
    c = lab.container("sh", "-c", "exit 33").run()
    pid = c.pid()
    exit = c.wait()
    answer = c.delete_without_shim()
    if stock:  # it keeps no record
        assert answer.exit_status == 137
        return
    assert (answer.pid, answer.exit_status, answer.exited_at) == (pid, 33, exit.at)


def test_the_record_is_on_disk_before_anyone_is_told(lab, stock):
    if stock:
        pytest.skip("it keeps no record")
    for how in ("wait", "event"):
        for status in (11, 12, 13):
            c = lab.container("sh", "-c", f"read x; exit {status}").pipes("stdin").create()
            wait = c.wait_later()
            c.start()
            c.stdin.write(b"\n")
            if how == "wait":
                wait.result()
            else:
                lab.containerd.wait(c.id, "/tasks/exit")
            assert c.delete_without_shim().exit_status == status


def test_delete_of_a_running_container_kills_it_and_says_137(lab):
    """R45, R46, R48, R49"""
    c = lab.container("sh", "-c", "setsid sleep 1000 & echo on; sleep 1000").pipes().run()
    c.stdout.read_until(b"on\n")
    pid = c.pid()
    with during() as check:
        answer = c.delete_without_shim()
    check(answer.exited_at)
    assert (answer.pid, answer.exit_status) == (pid, 137)
    host.wait_gone(pid)


def test_delete_of_a_created_container_cleans_up(lab):
    c = lab.container("sleep", "1000").create()
    pid = c.pid()
    answer = c.delete_without_shim()
    assert (answer.pid, answer.exit_status) == (pid, 137)
    assert not never(answer.exited_at)


def test_delete_is_idempotent_and_needs_no_state(lab, stock):
    """R47, and containerd runs it after every removal."""
    if stock:
        pytest.skip("the stock shim of 1.6 needs its `runtime` file")
    c = lab.container("true").run()
    c.wait()
    c.delete()
    c.shim.shutdown()
    for _ in range(3):
        c.shim.run_delete()
    c.task = None
    (c.bundle.path / "config.json").unlink()
    assert c.shim.run_delete().exit_status == 0  # from the record, which stays as long as the bundle
    c.shim.cwd = lab.dir
    answer = c.shim.run_delete(bundle=lab.dir / "gone")
    assert (answer.exit_status, answer.pid) == (137, 0) and not never(answer.exited_at)


def test_an_exec_that_is_deleted_leaves_no_file(lab):
    """R41"""
    c = lab.container("sleep", "1000").run()
    before = sorted(os.listdir(c.bundle.path))
    c.exec("true", exec_id="some-exec").run()
    assert sorted(os.listdir(c.bundle.path)) == before


def test_a_second_life_under_the_same_id_knows_nothing_of_the_first(lab):
    for status in (1, 2, 3):
        c = lab.container("sh", "-c", f"exit {status}", ident="same")
        c.run()
        assert c.wait().status == status
        c.delete()
        c.finish()
        shutil.rmtree(c.bundle.path)


def test_a_record_of_an_earlier_life_in_the_bundle_is_not_taken_for_this_ones(lab, stock):
    """The bundle is used again, the shim dies before the new container has ended: 137, not the old status."""
    if stock:
        pytest.skip("it keeps no record")
    c = lab.container("sh", "-c", "exit 3").run()
    c.wait()
    c.delete()
    c.finish()
    c.deleted = c.created = False
    c.config["process"]["args"] = ["sleep", "1000"]
    c.run()
    assert c.delete_without_shim().exit_status == 137


def test_delete_unmounts_what_the_shim_had_mounted(lab):
    c = lab.container("sleep", "1000")
    empty = lab.new_path("empty")
    os.rename(c.bundle.rootfs, empty)
    c.bundle.rootfs.mkdir()
    c.create(rootfs=[{"type": "bind", "source": str(empty), "options": ["rbind", "rw"]}])
    c.start()
    assert str(c.bundle.rootfs) in host.mounts_below(lab.dir)
    c.delete_without_shim()
    assert not host.mounts_below(lab.dir)


def test_the_shim_killed_in_the_middle_of_create_leaves_something_that_delete_removes(lab):
    """A hook holds Create up, the shim dies, the hook lives: R45."""
    if lab.stock:
        pytest.skip("runc has not recorded anything yet, so `runc delete` finds nothing to remove")
    c = lab.container("sleep", "1000")
    c.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"],
                                               "env": [lab.token_variable]}]}
    c.launch()
    answer = c.task.start.Create(bundle=str(c.bundle.path))
    host.wait_for(lambda: lab.running("sleep 1000"),
                  "the hook runs")
    answer.add_done_callback(lambda f: f.exception())
    c.delete_without_shim()


def test_hooks_see_a_state_with_the_bundle(lab):
    c = lab.container("sleep", "1000")
    out = lab.new_path("state.json")
    c.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {out}"]}]}
    c.create()
    state = json.loads(out.read_text())
    assert (state["id"], state["bundle"], state["pid"]) == (c.id, str(c.bundle.path), c.pid())
