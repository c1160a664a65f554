# SPDX-License-Identifier: Apache-2.0
"""belay as an OCI runtime's command line: what containerd-shim-runc-v2, conmon and conformance suites call."""
import contextlib
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess

import pytest

import host
import protos
from bundle import process as process_object

STOCK = pathlib.Path("/usr/bin/containerd-shim-runc-v2")


def test_a_container_goes_through_the_states_of_the_runtime_spec(oci):
    c = oci.container("sh", "-c", "echo hello; cat; exit 3")
    c.config["annotations"] = {"org.test": "yes"}
    before = set(os.listdir(c.bundle.path)) | {"config.json"}
    out, pid_file = oci.lab.new_path("out"), oci.lab.new_path("pid")
    with open(os.devnull) as null:
        oci.create(c, "--pid-file", pid_file, output=out, stdin=null)
    state = oci.state(c.id)
    assert (state["id"], state["status"], state["bundle"]) == (c.id, "created", str(c.bundle.path))
    assert state["annotations"] == {"org.test": "yes"} and state["ociVersion"] == c.config["ociVersion"]
    assert state["pid"] == int(pid_file.read_text()) and os.path.exists(f"/proc/{state['pid']}")
    assert out.read_text() == ""
    oci("start", c.id)
    oci.wait_stopped(c.id)
    assert out.read_text() == "hello\n"
    state = oci.state(c.id)
    assert state["pid"] == 0 and state["exit_status"] in host.or_lost(3)
    assert set(os.listdir(c.bundle.path)) == before, "the user's bundle was written to"
    oci("delete", c.id)
    assert b"does not exist" in oci("state", c.id, status=1).stderr


def test_wrong_order_and_unknown_ids_are_refused_in_runcs_words(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    assert b"already exists" in oci.create(c, status=1).stderr
    oci("start", c.id)
    oci("start", c.id, status=1)
    assert b"not stopped" in oci("delete", c.id, status=1).stderr
    oci("kill", c.id, "KILL")
    oci.wait_stopped(c.id)
    assert b"container not running" in oci("kill", c.id, "TERM", status=1).stderr
    oci("delete", c.id)
    for verb in ("start", "kill", "delete", "state"):
        assert b"does not exist" in oci(verb, c.id, status=1).stderr
    oci("delete", "--force", c.id)


def test_a_created_container_may_be_killed_or_deleted(oci):
    a, b = oci.container("true"), oci.container("true")
    oci.create(a)
    oci.create(b)
    oci("kill", a.id, "9")
    oci.wait_stopped(a.id)
    oci("delete", a.id)
    oci("delete", b.id)


def test_errors_go_to_the_log_that_containerd_reads(oci):
    log = oci.lab.new_path("log.json")
    oci("--log", log, "--log-format", "json", "state", "nobody", status=1)
    line = json.loads(log.read_text())
    assert line["level"] == "error" and "does not exist" in line["msg"] and line["time"]
    log = oci.lab.new_path("log.text")
    oci("--log", log, "state", "nobody", status=1)
    assert "level=error" in log.read_text()


def test_a_failed_create_leaves_nothing_and_says_why(oci):
    c = oci.container("/no/such")
    assert b"/no/such" in oci.create(c, status=1).stderr
    c.config["process"]["terminal"] = True
    assert b"console socket" in oci.create(c, status=1).stderr
    c.config["process"]["terminal"] = False
    c.bundle.write()
    assert b"systemd" in oci("--systemd-cgroup", "create", "--bundle", c.bundle.path, c.id, status=1).stderr
    assert [e for e in os.listdir(oci.root) if not e.startswith(".")] == []


def receive_terminal(listener):
    with listener.accept()[0] as peer:
        data, fds, _, _ = socket.recv_fds(peer, 100, 1)
    assert data
    return fds[0]


def test_the_terminal_goes_to_the_console_socket(oci):
    c = oci.container("sh", "-c", "tty; read line; echo got $line", terminal=True)
    path = oci.lab.new_path("console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        oci.create(c, "--console-socket", path)
        master = receive_terminal(listener)
    oci("start", c.id)
    os.write(master, b"abc\n")
    text = b""
    while b"got abc" not in text:
        text += os.read(master, 1000)
    assert b"/dev/pts/0" in text
    os.close(master)


def test_the_container_inherits_sockets_too(oci):
    c = oci.container("sh", "-c", "echo to the socket")
    ours, theirs = socket.socketpair()
    c.bundle.write()
    oci.loose("create", "-b", c.bundle.path, c.id, stdout=theirs)
    theirs.close()
    oci("start", c.id)
    assert ours.makefile("rb").read() == b"to the socket\n"  # to its end: nobody else holds the other one


def test_hooks_see_the_bundle_and_a_container_that_is_creating(oci):
    c = oci.container("true")
    seen = oci.lab.new_path("seen")
    c.config["hooks"] = {kind: [{"path": "/bin/sh", "args": [
        "sh", "-c", f"cat >> {seen}; {oci.program} --root {oci.root} state {c.id} >> {seen}.cli"]}]
        for kind in ("createRuntime",)}
    c.config["hooks"]["poststop"] = [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}.stop"]}]
    oci.create(c)
    assert json.loads(seen.read_text())["bundle"] == str(c.bundle.path)
    assert json.loads(pathlib.Path(f"{seen}.cli").read_text())["status"] == "creating"
    oci("delete", c.id)
    assert json.loads(pathlib.Path(f"{seen}.stop").read_text())["status"] == "stopped"


def test_exec_passes_on_status_streams_and_options(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    oci("start", c.id)
    done = oci("exec", "-e", "A=1", "--cwd", "/tmp", "-u", "7:8", "-g", "9", c.id, "sh", "-c",
               "echo $A $PWD; id; exit 5", status=5)
    assert done.stdout.startswith(b"1 /tmp\n") and b"uid=7" in done.stdout and b"9" in done.stdout.split(b"groups=")[1]
    out, pid_file, spec = (oci.lab.new_path(n) for n in ("out", "pid", "process"))
    spec.write_text(json.dumps(process_object(["sh", "-c", "echo detached; sleep 1000"])))
    with open(out, "wb") as stream:
        oci.loose("exec", "--process", spec, "-d", "--pid-file", pid_file, c.id, stdout=stream)
    pid = int(pid_file.read_text())
    host.wait_for(lambda: out.read_text() == "detached\n", "the exec's output")
    assert pid in json.loads(oci("ps", "-f", "json", c.id).stdout)
    assert str(pid).encode() in oci("ps", c.id).stdout


def test_exec_gives_its_terminal_to_the_console_socket(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    oci("start", c.id)
    path = oci.lab.new_path("console")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        oci.loose("exec", "-d", "-t", "--console-socket", path, c.id, "sh", "-c", "tty; sleep 1000")
        master = receive_terminal(listener)
    assert b"/dev/pts/" in os.read(master, 100)
    os.close(master)


def parent(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]


def test_the_orphans_of_create_come_to_the_caller(oci):
    """As containerd-shim-runc-v2 and conmon rely on: they are subreapers and wait for the pid."""
    pid_file = oci.lab.new_path("pid")
    c = oci.container("sh", "-c", "exit 7")
    oci.create(c, "--pid-file", pid_file)
    shim = oci.state(c.id)["shim_pid"]
    assert parent(pid_file.read_text()) == parent(shim) != str(shim)  # both are the caller's
    oci("start", c.id)
    oci.wait_stopped(c.id)
    assert oci.state(c.id)["exit_status"] in (7, 255)  # 255: reaped before it was looked at, and Linux before 6.15


def test_processes_that_are_the_caller_s_outlive_a_crash_of_the_shim(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    oci("start", c.id)
    oci.loose("exec", "-d", c.id, "sleep", "1001")
    state = oci.state(c.id)
    os.kill(state["shim_pid"], signal.SIGSEGV)
    host.wait_for(lambda: b"-state=" in host.read(f"/proc/{state['shim_pid']}/cmdline"), "the next image")
    after = oci.state(c.id)
    assert (after["status"], after["pid"], after["shim_pid"]) == ("running", state["pid"], state["shim_pid"])
    oci("exec", c.id, "sh", "-c", "exit 4", status=4)
    assert oci.lab.running("sleep 1001")
    oci("kill", c.id, "KILL")
    oci.wait_stopped(c.id)
    oci("delete", c.id)


def test_what_run_starts_is_the_shim_s_child_unless_the_caller_wants_its_pid(oci):
    c = oci.container("sleep", "1000")
    c.bundle.write()
    oci.loose("run", "-d", "--bundle", c.bundle.path, c.id)
    state = oci.state(c.id)
    assert parent(state["pid"]) == str(state["shim_pid"])
    oci("kill", c.id, "KILL")
    oci("wait", c.id, status=137)
    oci("delete", c.id)
    pid_file = oci.lab.new_path("pid")
    oci.loose("run", "-d", "--pid-file", pid_file, "--bundle", c.bundle.path, c.id)
    assert parent(pid_file.read_text()) == parent(oci.state(c.id)["shim_pid"])


def test_an_exec_that_belay_waits_for_is_the_shim_s_child(oci):
    """Else its status is a matter of luck before Linux 6.15, and of what the caller's subreaper does."""
    c = oci.container("sleep", "1000")
    oci.create(c)
    oci("start", c.id)
    shim = oci.state(c.id)["shim_pid"]
    pid_file = oci.lab.new_path("pid")
    waiting = subprocess.Popen([oci.program, "--root", oci.root, "exec", "--pid-file", pid_file, c.id, "sh", "-c", "read x"],
                               stdin=subprocess.PIPE, env=oci.env)
    host.wait_for(lambda: pid_file.exists() and pid_file.read_text(), "it runs")
    assert parent(pid_file.read_text()) == str(shim)
    waiting.communicate(b"x\n", timeout=host.PATIENCE * host.SLOWNESS)
    assert waiting.returncode == 0
    oci.loose("exec", "--detach", "--pid-file", pid_file, c.id, "sleep", "1001")
    assert parent(pid_file.read_text()) != str(shim)


def test_run_in_runcs_form(oci):
    c = oci.container("sh", "-c", "cat; echo err >&2; exit 3")
    c.bundle.write()
    done = oci("run", "--bundle", c.bundle.path, c.id, status=3, stdin=None, input=b"in\n")
    assert (done.stdout, done.stderr) == (b"in\n", b"err\n")
    oci("state", c.id, status=1)
    oci("run", "--keep", "--bundle", c.bundle.path, c.id, status=3)
    assert oci.state(c.id)["status"] == "stopped"
    oci("delete", c.id)
    pid_file = oci.lab.new_path("pid")
    oci.loose("run", "-d", "--pid-file", pid_file, "--bundle", c.bundle.path, c.id)
    oci.wait_stopped(c.id)


def test_without_oom_score_adj_the_callers_stays(oci):
    c = oci.container("cat", "/proc/self/oom_score_adj")
    c.bundle.write()
    assert int(oci("run", "--bundle", c.bundle.path, c.id).stdout) == int(host.read("/proc/self/oom_score_adj"))


def test_list_spec_features_and_version_are_there(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    assert oci("list", "-q").stdout.decode().split() == [c.id]
    [row] = json.loads(oci("list", "-f", "json").stdout)
    assert (row["id"], row["status"]) == (c.id, "created")
    assert c.id.encode() in oci("list").stdout
    where = oci.lab.new_path("spec")
    where.mkdir()
    oci("spec", "-b", where)
    assert json.loads((where / "config.json").read_text())["process"]["args"] == ["sh"]
    assert b"exists" in oci("spec", "-b", where, status=1).stderr
    assert "ociVersionMax" in json.loads(oci("features").stdout)
    assert b"\nspec: 1." in oci("--version").stdout


def limit_of(pid, v1_controller, v1_file, v2_file):
    """What a cgroup file of that process says."""
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in lines:
        if v1_controller in controllers.split(","):
            return pathlib.Path(f"/sys/fs/cgroup/{v1_controller}{path}/{v1_file}").read_text().strip()
    return pathlib.Path(f"/sys/fs/cgroup{lines[-1][2]}/{v2_file}").read_text().strip()


def test_a_container_is_paused_and_resumed(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    assert b"pause" in oci("pause", c.id, status=1).stderr.lower()
    oci("start", c.id)
    oci("pause", c.id)
    assert oci.state(c.id)["status"] == "paused"
    assert [row["status"] for row in json.loads(oci("list", "-f", "json").stdout)] == ["paused"]
    assert b"paused" in oci("exec", c.id, "true", status=125).stderr
    oci("resume", c.id)
    assert oci.state(c.id)["status"] == "running"
    oci("exec", c.id, "true")


def test_update_changes_what_it_is_given(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    oci("start", c.id)
    pid = oci.state(c.id)["pid"]

    def pids_max():
        return limit_of(pid, "pids", "pids.max", "pids.max")

    oci("update", "--pids-limit", "77", "--memory", "64m", c.id)
    assert pids_max() == "77"
    assert limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    oci("update", "--cpu-share", "0", c.id)
    assert pids_max() == "77"
    oci("update", "-r", "-", "--pids-limit", "5", c.id, stdin=None, input=b'{"pids": {"limit": 78}}')
    assert pids_max() == "78"
    for words, text in [(["--memory", "lots"], b"--memory"), (["--l3-cache-schema", "L3:0=f"], b"l3-cache-schema"),
                        (["--pids-limit", "many"], b"--pids-limit")]:
        assert text in oci("update", *words, c.id, status=1).stderr
    assert pids_max() == "78"


def test_ps_takes_options_and_a_stopped_container_has_no_processes(oci):
    c = oci.container("sleep", "1000")
    oci.create(c)
    oci("start", c.id)
    pid = oci.state(c.id)["pid"]
    lines = oci("ps", c.id, "--", "-eo", "user,pid,comm").stdout.split(b"\n")
    assert [line.split() for line in lines[:2]] == [[b"USER", b"PID", b"COMMAND"], [b"root", b"%d" % pid, b"sleep"]]
    assert lines[2:] == [b""]
    assert b"PID" in oci("ps", c.id, "--", "-eo", "comm", status=1).stderr
    oci("kill", c.id, "KILL")
    oci.wait_stopped(c.id)
    assert json.loads(oci("ps", "-f", "json", c.id).stdout) == []
    assert len(oci("ps", c.id).stdout.splitlines()) == 1


def test_the_spec_of_a_user_namespace_runs(oci):
    c = oci.container("true")
    c.bundle.write()
    (c.bundle.path / "config.json").unlink()
    oci("spec", "--rootless", "-b", c.bundle.path)
    config = json.loads((c.bundle.path / "config.json").read_text())
    config["process"].update(terminal=False, args=["cat", "/proc/self/uid_map"])
    (c.bundle.path / "config.json").write_text(json.dumps(config))
    done = oci("run", "-b", c.bundle.path, c.id)
    assert done.stdout.split() == [b"0", b"0", b"1"]


LIST_FDS = "for f in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/self/fd/$f && printf %s $f; done; echo"


def open_files(pid):
    try:
        return set(host.open_fds(pid).values())
    except OSError:  # it was on its way out
        return set()


@contextlib.contextmanager
def with_fds(files):
    """For subprocess: those files at those numbers, from 3 on, and nothing else."""
    copies = {fd: fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 200) for fd, file in files.items()}

    def place():
        for fd in range(3, 10):
            if fd in copies:
                os.dup2(copies[fd], fd)
            else:
                os.closerange(fd, fd + 1)
    yield {"preexec_fn": place, "pass_fds": tuple(copies)}
    for copy in copies.values():
        os.close(copy)


def test_descriptors_are_preserved_for_the_process_alone(oci):
    names = {fd: oci.lab.new_path(f"fd{fd}") for fd in (3, 5, 9)}
    for fd, name in names.items():
        name.write_text(f"{fd}\n")
    files = {fd: os.open(name, os.O_RDWR | os.O_APPEND) for fd, name in names.items()}
    out, seen = oci.lab.new_path("out"), oci.lab.new_path("seen")
    c = oci.container("sh", "-c", LIST_FDS + "; cat <&5; echo written >&3; env | grep LISTEN; exec sleep 1000")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "ls -l /proc/$$/fd >> %s" % seen]}
    c.config["hooks"] = {"createRuntime": [hook], "createContainer": [hook]}
    with with_fds(files) as more:
        oci.create(c, "--preserve-fds", 5, output=out, **more)
    oci("start", c.id)
    host.wait_for(lambda: "written" in names[3].read_text(), "the container to write")
    assert out.read_text() == "01235\n5\n"
    assert names[3].read_text() == "3\nwritten\n"
    assert "fd3" not in seen.read_text() and "fd5" not in seen.read_text()
    pid = oci.state(c.id)["pid"]
    with with_fds(files) as more:
        assert oci("exec", "--preserve-fds", 1, c.id, "sh", "-c", LIST_FDS, **more).stdout == b"0123\n"
        assert oci("exec", c.id, "sh", "-c", LIST_FDS, **more).stdout == b"012\n"
    for process in oci.lab.processes():
        if process != pid:
            assert not {str(name) for name in names.values()} & open_files(process)
    for fd in files.values():
        os.close(fd)


def test_listening_sockets_are_passed_on(oci):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(oci.lab.new_path("sock")))
    sock.listen()
    c = oci.container("sleep", "1000")
    oci.create(c)
    oci("start", c.id)
    script = LIST_FDS + "; echo $LISTEN_FDS; test $LISTEN_PID = $$ && echo mine"
    with with_fds({3: sock.fileno()}) as more:
        oci.env["LISTEN_FDS"] = "1"
        assert oci("exec", c.id, "sh", "-c", script, **more).stdout == b"0123\n1\nmine\n"
        oci.env["LISTEN_PID"] = "1"
        assert oci("exec", c.id, "sh", "-c", LIST_FDS, **more).stdout == b"012\n"
    sock.close()


@pytest.mark.parametrize("words", [["--preserve-fds", "257"], ["--preserve-fds", "-1"], ["--preserve-fds", "x"]])
def test_a_bad_number_of_descriptors_is_refused(oci, words):
    c = oci.container("true")
    c.bundle.write()
    assert b"--preserve-fds" in oci("create", "-b", c.bundle.path, *words, c.id, status=2).stderr


@pytest.mark.parametrize("option", ["l3-cache-schema", "mem-bw-schema"])
def test_what_is_not_supported_is_refused_by_name(oci, option):
    c = oci.container("sleep", "1000")
    oci.create(c)
    assert option.encode() in oci("update", f"--{option}", "x", c.id, status=1).stderr


@pytest.fixture
def stock_lab(lab, stock):
    """The stock shim, with belay for its runtime."""
    if stock or not STOCK.exists():
        pytest.skip("needs belay and the stock shim")
    belay = lab.shim.parent / "belay"
    lab.shim, lab.stock = STOCK, True
    lab.options = protos.wrap(protos.runc.Options(binary_name=str(belay), root=str(lab.dir / "oci")))
    return lab


def test_the_stock_shim_drives_belay(stock_lab):
    c = stock_lab.container("sh", "-c", "echo out; sleep 1000")
    c.pipes("stdout", "stderr").create(options=stock_lab.options)
    c.start()
    done = c.exec("sh", "-c", "echo exec; exit 4").run()
    assert (done.status, done.out, done.err) == (4, "exec\n", "")
    c.kill(signal.SIGTERM)
    c.kill(signal.SIGKILL)
    assert c.wait().status == 137
    c.delete()
    c.finish()
