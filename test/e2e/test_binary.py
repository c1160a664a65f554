# SPDX-License-Identifier: Apache-2.0
"""options.binary_name: the same promises with runc or crun in place of the engine.

A part of the other files' tests runs again here, once with each binary; `--runc-binary` runs them all. What is
left out there differs by the binary's own ways, see docs/protocol.md.
"""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

import fifo
import harness
import host
import protos
import ttrpc
from bundle import Bundle
from checks import fails

# ruff: noqa: F401  (imported to be collected here, with this file's `lab`)
from test_exec import (test_a_running_exec_cannot_be_deleted_or_started_again,
                       test_a_second_start_of_an_exec_whose_first_failed_harms_nobody,
                       test_an_exec_gets_the_capabilities_it_asks_for, test_an_exec_has_a_life_of_its_own,
                       test_an_exec_runs_in_the_containers_namespaces_and_cgroup,
                       test_exec_start_after_the_end_of_init_is_a_failed_precondition,
                       test_execs_leave_no_descriptors_in_the_shim)
from test_exits import (test_a_process_that_ends_at_once_still_starts_first, test_an_exec_that_is_deleted_leaves_no_file,
                        test_an_oom_kill_is_an_exit_by_sigkill, test_delete_of_a_created_container_cleans_up,
                        test_delete_of_a_running_container_kills_it_and_says_137,
                        test_delete_unmounts_what_the_shim_had_mounted, test_the_exits_of_execs_precede_inits,
                        test_the_record_of_an_exit_survives_the_shim)
from test_failures import (test_a_failed_create_leaves_nothing,
                           test_a_failure_after_the_rootfs_is_mounted_unmounts_it,
                           test_after_a_failed_create_the_id_is_free_again)
from test_kill import (test_a_joined_pid_namespace_counts_as_shared, test_a_signal_that_is_handled_arrives,
                       test_kill_after_the_exit_is_not_found, test_kill_all_after_the_exit_is_not_an_unknown_error,
                       test_kill_all_reaches_every_process, test_kill_in_the_created_state_ends_the_container,
                       test_without_a_pid_namespace_the_end_of_init_ends_all)
from test_killed import test_after_a_crash_at_any_time_the_create_can_be_made_again
from test_reexec import (again, crash, test_a_created_container_can_be_started_afterwards,
                         test_everything_that_waits_goes_on)
from test_reexec_effects import test_an_oom_kill_that_was_told_is_not_told_again
from test_stdio import (test_a_reader_may_go_and_come_back, test_close_io_of_an_exec_before_and_after_its_start,
                        test_large_output_arrives_complete,
                        test_no_descriptor_beyond_2_reaches_a_container_or_an_exec,
                        test_the_shim_holds_no_fifo_after_delete)
from test_task import (test_create_answers_with_the_pid_and_leaves_the_program_waiting,
                       test_delete_of_a_created_container_ends_it_with_137,
                       test_pids_lists_init_and_execs_by_id, test_pids_of_a_stopped_container_is_a_success,
                       test_state_follows_a_container_from_create_to_delete)
from test_terminal import (test_a_terminal_is_the_controlling_one,
                           test_an_exec_has_a_terminal_of_the_containers_devpts, test_no_pty_is_left_in_the_shim,
                           test_output_written_right_before_the_end_arrives,
                           test_resize_changes_the_size_and_sends_sigwinch,
                           test_the_request_decides_about_the_terminal_of_an_exec)


@pytest.fixture(params=["runc", "crun"])
def binary(request):
    return harness.runtime_binary(request.param, request.config.base)


@pytest.fixture
def lab(request, stock, binary):
    if stock:
        pytest.skip("the stock shim has nothing else than binaries: run the other files")
    with harness.lab_of(request, binary) as the_lab:
        yield the_lab


@pytest.fixture
def plain_lab(request, stock):
    if stock:
        pytest.skip("about belay's own rules")
    with harness.lab_of(request, None) as the_lab:
        yield the_lab


def options(**fields):
    return protos.wrap(protos.runc.Options(**fields))


def test_the_container_is_the_binarys_and_its_files_say_so(lab, binary):
    c = lab.container("sleep", "1000").create()
    state = lab.dir / "runtime" / lab.namespace / c.id
    assert state.is_dir()
    runtime = (c.bundle.path / "runtime").read_text()
    assert runtime.startswith("/") and pathlib.Path(runtime).name == pathlib.Path(binary).name
    written = json.loads((c.bundle.path / "options.json").read_text())
    assert written == {"binary_name": runtime, "root": str(lab.dir / "runtime")}
    assert (c.bundle.path / "init.pid").read_text() == str(c.pid())
    assert not (c.bundle.path / "launch.cgroup").exists()
    c.start()
    c.kill()
    c.wait()
    c.delete()
    assert not state.exists()


@contextlib.contextmanager
def somebody_elses(lab, binary, c):
    """A container with the name of c, in the runtime's same root. It must live to the end."""
    bundle = Bundle(lab.dir / "bundles" / "elsewhere", lab.template, ["sleep", "1000"],
                    f"/{host.CGROUP}/{lab.namespace}-elsewhere", lab.token_variable)
    bundle.write()
    runtime = [binary, "--root", lab.dir / "runtime" / lab.namespace]
    subprocess.run([*runtime, "run", "--detach", "--bundle", bundle.path, c.id], check=True, timeout=20 * host.SLOWNESS,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    assert lab.running("sleep 1000")
    subprocess.run([*runtime, "delete", "--force", c.id], check=True, timeout=20 * host.SLOWNESS)


def test_a_container_of_the_same_name_that_is_somebody_elses_is_left_alone(lab, binary):
    c = lab.container("true")
    with somebody_elses(lab, binary, c):
        with fails(ttrpc.UNKNOWN, "OCI runtime create failed", "exist"):
            c.create()
        c.shim.run_delete()


def test_a_crash_after_delete_leaves_alone_whoever_has_the_name_now(lab, binary):
    c = lab.container("true").run()
    c.wait()
    c.delete()
    with somebody_elses(lab, binary, c):
        crash(c)
    c.finish()


def test_a_failed_create_leaves_no_file_of_the_runtime(lab):
    c = lab.container("/no/such/program")
    with fails(ttrpc.UNKNOWN, "OCI runtime create failed", "no such file or directory"):
        c.create()
    assert sorted(p.name for p in c.bundle.path.iterdir()) == ["address", "config.json", "log", "rootfs"]


def test_no_file_of_an_exec_is_left(lab):
    c = lab.container("sleep", "1000").run()
    before = {p.name for p in c.bundle.path.iterdir()}
    assert c.exec("true").run().status == 0
    with fails(ttrpc.UNKNOWN, "OCI runtime exec failed"):
        c.exec("/no/such/program").add().start()
    left = {p.name for p in c.bundle.path.iterdir()} - before
    assert left <= {"log.json", "exec-e1.json"}, left


@pytest.mark.parametrize("pid_namespace", ["own", "host"])
def test_what_a_crash_has_cut_off_of_an_exec_is_not_there_any_more(plain_lab, binary, pid_namespace):
    """The runtime has made a process, and has not ended."""
    lab = plain_lab
    slow = lab.dir / "slow-runtime"
    slow.write_text(f'''#!/bin/sh
case " $* " in *" exec "*) ;; *) exec {binary} "$@";; esac
while [ "$1" != --pid-file ]; do shift; done
sleep 1002 & echo $! > "$2.new"; mv "$2.new" "$2"; wait
''')
    slow.chmod(0o755)
    c = lab.container("sleep", "1000")
    if pid_namespace == "host":
        c.bundle.without_namespace("pid")
    c.create(options=options(binary_name=str(slow), root=str(lab.dir / "runtime")))
    c.start()
    before = {p.name for p in c.bundle.path.iterdir()}
    e = c.exec("true").add()
    answer = c.task.start.Start(exec_id=e.exec_id)
    host.wait_for((c.bundle.path / "exec-e0.pid").exists, "the runtime")
    crash(c)
    with fails(ttrpc.UNAVAILABLE):
        answer.result()
    host.wait_for(lambda: not lab.running("sleep 1002"), "the end of what it has made")
    e.delete()
    assert {p.name for p in c.bundle.path.iterdir()} <= {*before, "log.json"}
    c.finish()


def test_a_binary_that_is_not_there_is_named_in_dockers_words(plain_lab):
    for name, text in (("no-such-runtime", 'exec: "no-such-runtime": executable file not found in $PATH'),
                       ("/no/such/runc", 'exec: "/no/such/runc": no such file or directory')):
        c = plain_lab.container("true")
        with fails(ttrpc.UNKNOWN, text):
            c.create(options=options(binary_name=name))


def test_dockers_runc_is_the_engine_where_runc_is_not_installed(plain_lab):
    c = plain_lab.container("true")
    c.launch(env=c.shim.env(PATH="/no/such/folder"))
    c.create(options=options(binary_name="runc"))
    assert not (c.bundle.path / "runtime").exists()
    assert "runc" in plain_lab.logs() and "built-in engine" in plain_lab.log
    c.start()
    assert c.wait().status == 0


# A runtime that is killed when its init waits for its start already, and before it has taken a note of that.
KILLED_LATE = """#!/bin/sh
case " $* " in *" create "*) ;; *) echo "container does not exist" >&2; exit 1;; esac
sleep 1000 &
for dir in {dirs}; do mkdir -p $dir; echo $! >$dir/cgroup.procs; done
kill -9 $$
"""


def test_an_init_that_waits_already_ends_with_the_runtime_that_was_killed(plain_lab):
    c = plain_lab.container("true")
    path = c.config["linux"]["cgroupsPath"].lstrip("/")
    dirs = [str(h / path) for h in host.hierarchies() if h.name != "cpuset"]  # whose members need more
    runtime = plain_lab.dir / "killed-runtime"
    runtime.write_text(KILLED_LATE.format(dirs=" ".join(dirs)))
    runtime.chmod(0o755)
    with fails(ttrpc.UNKNOWN, "signal 9"):
        c.create(options=options(binary_name=str(runtime)))
    c.deleted = True
    host.wait_for(lambda: plain_lab.processes() == [c.shim.pid], lambda: f"all others to end: {plain_lab.leftovers()}")
    assert not plain_lab.cgroups()


def lose_shim(lab, binary, first, then=lambda: None):
    """A container whose runtime does something else first when it is to delete, and which has lost its shim; and
    where the runtime's state of it is."""
    slow = lab.dir / "slow-runtime"
    slow.write_text(f'#!/bin/sh\ncase " $* " in *" delete "*) {first};; esac\nexec {binary} "$@"\n')
    slow.chmod(0o755)
    c = lab.container("sleep", "1000")
    c.create(options=options(binary_name=str(slow), root=str(lab.dir / "runtime")))
    c.start()
    then()
    c.shim.kill()
    c.shim.disconnect()
    c.task = None
    return c, lab.dir / "runtime" / lab.namespace / c.id


@pytest.mark.parametrize("binary", ["runc"], indirect=True)
def test_delete_without_a_shim_gives_a_runtime_three_seconds(plain_lab, binary):
    """One that is killed in the middle leaves its state, on which the next Create of the id would fail."""
    c, state = lose_shim(plain_lab, binary, "sleep 1")
    assert c.shim.run_delete().exit_status == 137
    assert not state.exists()
    assert not plain_lab.running("sleep 1000")


@pytest.mark.parametrize("binary", ["runc"], indirect=True)
def test_delete_without_a_shim_is_over_in_time_whatever_a_runtime_does(plain_lab, binary):
    """containerd ends it after five seconds. init has been killed, and the engine has had its turn."""
    c, state = lose_shim(plain_lab, binary, "exec sleep 1000")
    begin = time.monotonic()
    assert c.shim.run_delete().exit_status == 137
    assert 3 <= time.monotonic() - begin < 15 * host.SLOWNESS  # of the 1000 that it would take
    assert not plain_lab.running("sleep 1000")
    subprocess.run([binary, "--root", state.parent, "delete", "--force", c.id], check=True, timeout=20 * host.SLOWNESS)


class Half:
    """A runtime that makes the cgroup and then stands still, and that knows of nothing when it is to delete."""

    def __init__(self, lab, ident):
        self.cgroup = f"/{host.CGROUP}/{lab.namespace}-half-{ident}"
        self.paths = [h / self.cgroup.lstrip("/") for h in host.hierarchies()]
        self.made = fifo.Reader(lab.new_path("made"))
        self.script = lab.new_path("half-runtime")
        make = " ".join(map(str, self.paths))
        self.script.write_text(f"""#!/bin/sh
case " $* " in
*" create "*) mkdir -p {make}; echo >{self.made.path}; exec sleep 1000;;
*" delete "*) echo "container does not exist" >&2; exit 1;;
esac
""")
        self.script.chmod(0o755)
        self.container = lab.container("true", ident=ident)
        self.container.config["linux"]["cgroupsPath"] = self.cgroup
        self.container.launch()
        self.options = options(binary_name=str(self.script), root=str(lab.dir / "runtime"))

    def launch(self):
        """Until the cgroup is there. The answer of the Create will come."""
        c = self.container
        call = c.task.start.Create(bundle=str(c.bundle.path), options=self.options)
        self.made.read_until(b"\n")
        return call

    def lose_shim(self):
        """What `delete` says of it on stderr."""
        c = self.container
        c.shim.kill()
        c.shim.disconnect()
        c.task = None
        done = subprocess.run(c.shim.argv("delete", flags=("-bundle", str(c.bundle.path))), capture_output=True,
                              stdin=subprocess.DEVNULL, cwd=c.bundle.path, env=c.shim.env(), timeout=20 * host.SLOWNESS)
        assert protos.task.DeleteResponse.FromString(done.stdout).exit_status == 137, done.stderr
        return done.stderr.decode()

    def close(self):
        self.made.close()
        for path in self.paths:
            host.remove_cgroup(path)


@pytest.fixture
def half(plain_lab):
    h = Half(plain_lab, "half")
    try:
        yield h
    finally:
        h.close()


def lose(half, how):
    """The runtime, or the shim while that is at it; what it has made so far is undone then."""
    call = half.launch()
    if how == "the shim is killed":
        call.add_done_callback(lambda f: f.exception())
        assert half.lose_shim() == ""
    elif how == "the shim crashes":
        crash(half.container)
        with fails(ttrpc.UNAVAILABLE):
            call.result()
    else:
        lab = half.container.lab
        (pid,) = host.wait_for(lambda: [p for p in lab.processes() if host.cmdline(p) == "sleep 1000"], "the runtime sleeps")
        os.kill(pid, signal.SIGKILL)
        with fails(ttrpc.UNKNOWN, "signal 9"):
            call.result()


losses = pytest.mark.parametrize("how", ["the runtime is killed", "the shim crashes", "the shim is killed"])


@losses
def test_the_cgroup_that_a_runtime_was_killed_behind_is_removed(half, how):
    lose(half, how)
    assert not [p for p in half.paths if p.exists()]
    assert not (half.container.bundle.path / "launch.cgroup").exists()


@losses
def test_a_cgroup_that_was_there_before_the_runtime_stays(half, how):
    """Empty as it is, it is somebody else's."""
    assert host.make_cgroup(half.cgroup) == half.paths
    lose(half, how)
    assert not [p for p in half.paths if not p.exists()]


def test_delete_of_a_container_that_shares_its_cgroup_has_nothing_to_warn_of(half):
    """The others in it are none of its business."""
    paths = host.make_cgroup(half.cgroup)
    other = subprocess.Popen(["sleep", "1000"])
    try:
        for path in paths:
            (path / "cgroup.procs").write_text(str(other.pid))
        half.launch().add_done_callback(lambda f: f.exception())
        assert half.lose_shim() == ""
    finally:
        other.kill()
        other.wait()


def test_belay_by_name_is_the_engine(plain_lab):
    c = plain_lab.container("true").create(options=options(binary_name="belay"))
    assert not (c.bundle.path / "runtime").exists()
    c.start()
    assert c.wait().status == 0


def test_info_tells_the_features_of_the_binary(plain_lab, binary):
    done = subprocess.run([plain_lab.shim, "-info"], input=options(binary_name=binary).SerializeToString(),
                          capture_output=True, timeout=20 * host.SLOWNESS)
    assert done.returncode == 0, done.stderr
    info = protos.introspection.RuntimeInfo.FromString(done.stdout)
    theirs = subprocess.run([binary, "features"], capture_output=True, timeout=20 * host.SLOWNESS)
    if theirs.returncode:
        assert not info.HasField("features")
    else:
        assert json.loads(info.features.value) == json.loads(theirs.stdout)
    done = subprocess.run([plain_lab.shim, "-info"], input=options(binary_name="no-such").SerializeToString(),
                          capture_output=True, timeout=20 * host.SLOWNESS)
    assert done.returncode == 1 and b'"no-such"' in done.stderr
