# SPDX-License-Identifier: Apache-2.0
"""What is no binary to go on as: the shim is asked to, says why not, and goes on as it was. Whatever becomes of the shim
meanwhile, nothing of the trial is left."""
import os
import shutil
import struct

import pytest

import host
import protos
import ttrpc
from test_reexec import crash, only_belay, upgrade  # noqa: F401 (a fixture)

TRIAL_SECONDS = 10  # for each of its two questions
HUNG = "exec sleep 1000"


def script(lab, text):
    path = lab.new_path("binary")
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def begin(c, path):
    return c.shim.service(protos.BELAY).start.Upgrade(path=str(path))


def reason(answer):
    with pytest.raises(ttrpc.Error) as error:
        answer.result()
    assert error.value.code in (ttrpc.FAILED_PRECONDITION, ttrpc.NOT_FOUND), str(error.value)
    return str(error.value)


def a_folder(lab):
    return lab.dir


def a_fifo(lab):
    path = lab.new_path("fifo")
    os.mkfifo(path, 0o777)
    return path


def not_executable(lab):
    path = script(lab, "exit 0")
    path.chmod(0o644)
    return path


def of_another_machine(lab):
    path = lab.new_path("binary")
    shutil.copy(lab.shim, path)
    with open(path, "r+b") as file:
        file.seek(18)
        file.write(struct.pack("<H", 22))  # e_machine: EM_S390
    return path


def on_noexec(lab):
    folder = lab.new_path("noexec")
    folder.mkdir()
    host.mount_tmpfs(folder, "noexec")
    return shutil.copy(lab.shim, folder)


def cut_off(lab):
    path = lab.new_path("binary")
    path.write_bytes(lab.shim.read_bytes()[:8192])
    path.chmod(0o755)
    return path


def another_shim(lab):
    """As containerd's: it knows its version, and no state of ours."""
    return script(lab, 'case "$1" in -v) echo "containerd-shim-x-v2:"; echo "  Version:  1.0";; *) echo "flag: $1"; exit 2;; esac')


def without_a_version(lab):
    """It would say everything else."""
    return script(lab, f'case "$1" in -v) ;; *) exec {lab.shim} "$@";; esac')


@pytest.mark.parametrize("make, why", [
    (a_folder, "Permission denied"),
    (a_fifo, "Permission denied"),
    (not_executable, "Permission denied"),
    (of_another_machine, "Exec format error"),
    (on_noexec, "Permission denied"),
    (cut_off, "signal"),
    (another_shim, "flag: -namespace"),
    (without_a_version, "did not say what version it is"),
])
def test_the_reason_is_told(lab, make, why):
    c = lab.container("sleep", "1000").run()
    before = c.shim.holds()
    path = make(lab)
    assert why in reason(begin(c, path))
    assert c.status() == "RUNNING"
    c.shim.wait_for_no_more_than(before)
    host.unmount_below(lab.dir)
    c.finish()


def test_a_program_that_does_not_know_what_a_shim_is_gets_nothing_of_it(lab):
    c = lab.container("sleep", "1000").run()
    seen = lab.new_path("seen")
    assert "it is no shim" in reason(begin(c, script(lab, f"ls -l /proc/$$/fd >{seen}")))
    assert " 0 -> " in seen.read_text() and "socket:" not in seen.read_text() and "memfd:" not in seen.read_text()
    c.finish()


def test_what_hangs_when_it_is_tried_out_is_ended(lab):
    """Before it says its version, with a child of its own; after it; and with a shim that crashes and forgets it."""
    shims = [lab.container("sleep", "1000").run() for _ in range(3)]
    before = [c.shim.holds() for c in shims]
    asked, tried, forgotten = shims
    answers = [begin(asked, script(lab, "sleep 1000")),
               begin(tried, script(lab, f'[ "$1" = -v ] && exec echo Version: 1; {HUNG}')),
               begin(forgotten, script(lab, HUNG))]
    with pytest.raises(ttrpc.Error) as error:
        upgrade(asked)
    assert "an upgrade is under way" in str(error.value)
    host.wait_for(lambda: all(len(host.children(c.shim.pid)) == 2 for c in shims), "the trials")
    crash(forgotten)
    with pytest.raises(ttrpc.Error) as error:
        answers[2].result()
    assert error.value.code == ttrpc.UNAVAILABLE
    assert asked.exec("sh", "-c", "exit 3").run().status == 3
    assert reason(answers[0]).endswith(f"the binary did not say within {TRIAL_SECONDS} s what version it is")
    assert reason(answers[1]).endswith(f"the binary did not say within {TRIAL_SECONDS} s that it can take over")
    for c, holds in zip(shims, before):
        c.shim.wait_for_no_more_than(holds)
        assert upgrade(c).version
        c.finish()


def test_a_trial_ends_with_the_shim(lab):
    c = lab.container("sleep", "1000").run()
    init = c.pid()
    begin(c, script(lab, HUNG)).add_done_callback(lambda f: f.exception())
    [trial] = host.wait_for(lambda: [p for p in host.children(c.shim.pid) if p != init], "the trial")
    c.shim.kill()
    c.shim.disconnect()
    c.task = None
    host.wait_gone(trial)
    assert c.shim.run_delete().exit_status == 137


def test_a_binary_that_is_replaced_while_it_is_tried_out_is_the_one_that_was_tried(lab):
    c = lab.container("sleep", "1000").run()
    path = lab.new_path("binary")
    shutil.copy(lab.shim, path)
    tried = path.stat().st_ino
    answer = begin(c, path)
    os.rename(script(lab, "exit 1"), path)
    try:
        assert answer.result().version
        assert os.stat(f"/proc/{c.shim.pid}/exe").st_ino == tried
    except ttrpc.Error as error:  # it was replaced before it was opened
        assert "exit status 1" in str(error)
    crash(c)
    assert c.status() == "RUNNING"
    c.finish()
