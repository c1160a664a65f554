# SPDX-License-Identifier: Apache-2.0
"""The shim as a program: flags, -v, -info, signals, its log."""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

import host
import protos
import ttrpc


def run(lab, *args, stdin=b"", **more):
    return subprocess.run([lab.shim, *args], input=stdin, capture_output=True, timeout=20 * host.SLOWNESS, cwd=lab.dir, **more)


def test_v_prints_a_version(lab):
    done = run(lab, "-v")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[0] == f"{lab.shim if lab.stock else lab.shim.name}:"  # 1.6 prints argv[0]
    assert lines[1].startswith("  Version: ") and lines[2].startswith("  Revision:")


def test_version_has_a_long_name_too(lab, stock):
    if stock:
        pytest.skip("2.3 and later")
    assert run(lab, "--version").stdout == run(lab, "-v").stdout


@pytest.mark.parametrize("flags, status", [(["-h"], 0), (["-help"], 0), (["-no-such-flag"], 2), (["-id"], 2)])
def test_usage(lab, flags, status):
    done = run(lab, *flags)
    assert done.returncode == status and done.stderr and not done.stdout


def test_info_describes_the_runtime(lab, stock):
    if stock:
        pytest.skip("2.0 and later")
    options = protos.wrap(protos.runc.Options(systemd_cgroup=True))
    for stdin in (b"", options.SerializeToString()):
        done = run(lab, "-info", stdin=stdin)
        assert done.returncode == 0, done.stderr
        info = protos.introspection.RuntimeInfo.FromString(done.stdout)
        assert info.name and info.version.version
        assert info.features.type_url == "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
        assert b'"ociVersionMin"' in info.features.value
        assert info.HasField("options") == bool(stdin)
    assert info.options == options


@pytest.mark.parametrize("style", ["-{0}={1}", "--{0}={1}", "--{0} {1}"])
def test_flags_are_read_as_go_reads_them(lab, style):
    c = lab.container("true")
    c.bundle.write()
    c.shim.open_log()
    argv = [str(lab.shim)]
    for name, value in (("namespace", lab.namespace), ("address", lab.grpc_address), ("id", c.id),
                        ("publish-binary", "/bin/true")):
        argv += style.format(name, value).split(" ")
    done = subprocess.run([*argv, "-debug=false", "start"], capture_output=True, cwd=c.bundle.path,
                          env=c.shim.env(), timeout=20 * host.SLOWNESS, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    c.shim.connect(done.stdout.decode().strip())
    c.task = c.shim.service()


def test_the_binary_works_under_any_name(lab, stock):
    if stock:
        pytest.skip("about belay")
    copy = lab.dir / "containerd-shim-runc-v2"
    shutil.copy(lab.shim, copy)
    lab.shim = copy
    c = lab.container("sh", "-c", "exit 8").run()
    assert c.wait().status == 8
    assert run(lab, "-v").stdout.startswith(b"containerd-shim-runc-v2:")


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_shim_and_not_the_container(lab, signo):
    """R30, R75: in order, so without its socket; `delete` then ends the container."""
    c = lab.container("sleep", "1000").run()
    pid = c.pid()
    os.kill(c.shim.pid, signo)
    host.wait_gone(c.shim.pid)
    c.shim.disconnect()
    assert not os.path.exists(c.shim.address.removeprefix("unix://"))
    assert host.cmdline(pid) == "sleep 1000"
    answer = c.shim.run_delete()
    assert (answer.pid, answer.exit_status) == (pid, 137)
    c.task = None


def test_sigterm_does_not_stop_delete(lab):
    """R31: a hook at the end makes the clean-up long enough to be disturbed."""
    if lab.stock:
        pytest.skip("runc kills its hooks' process group")
    c = lab.container("sleep", "1000")
    mark = lab.new_path("mark")
    c.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": [
        "sh", "-c", f"echo begun > {mark}.1; sleep 0.5; echo done > {mark}.2"],
        "env": ["PATH=/bin:/usr/bin", lab.token_variable]}]}
    c.run()
    c.shim.kill()
    c.shim.disconnect()
    delete = subprocess.Popen(c.shim.argv("delete", flags=("-bundle", str(c.bundle.path))),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=c.bundle.path, env=c.shim.env())
    host.wait_for(lambda: os.path.exists(f"{mark}.1"), "the hook runs")
    delete.send_signal(signal.SIGTERM)
    out = delete.communicate(timeout=host.PATIENCE * host.SLOWNESS)[0]
    assert delete.returncode == 0 and os.path.exists(f"{mark}.2")
    assert protos.task.DeleteResponse.FromString(out).exit_status == 137
    c.task = None


def test_sigusr1_dumps_state_to_the_log_and_nothing_else_happens(lab):
    c = lab.container("sleep", "1000").run()
    e = c.exec("sleep", "999", exec_id="some-exec").add()
    e.start()
    c.shim.read_log()
    os.kill(c.shim.pid, signal.SIGUSR1)
    text = ""
    # Stacks there, state here.
    while "goroutine" not in text if lab.stock else "some-exec" not in text:
        assert host.readable(c.shim.log_fd, host.PATIENCE), text
        text += c.shim.read_log()
    assert lab.stock or c.id in text
    assert c.status() == "RUNNING"


def test_other_signals_are_survived(lab, stock):
    if stock:
        pytest.skip("SIGHUP ends the stock shim")
    c = lab.container("sleep", "1000").run()
    for signo in (signal.SIGPIPE, signal.SIGCHLD):
        os.kill(c.shim.pid, signo)
    assert c.status() == "RUNNING"


LINE = re.compile(r'^time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)" level=\w+ msg=.*')


def test_the_log_has_the_format_of_containerds(lab):
    c = lab.container("true").launch(flags=["-debug"])
    c.run().wait()
    c.delete()
    lines = c.shim.read_log().splitlines()
    assert lines
    assert not [line for line in lines if not LINE.match(line)]


def test_a_log_that_nobody_reads_stops_nothing(lab):
    """R83"""
    if lab.stock:
        pytest.skip("the stock shim blocks on a full log")
    c = lab.container("sleep", "1000").launch(flags=["-debug"])
    c.run()
    log = c.shim.log_fd
    os.set_blocking(log, False)
    try:
        while True:
            os.write(log, b"x" * 4096)
    except BlockingIOError:
        pass
    for _ in range(50):
        c.exec("true").run()
    assert c.status() == "RUNNING"
    c.shim.read_log()


def test_start_needs_no_log_fifo(lab):
    c = lab.container("sh", "-c", "exit 4")
    c.bundle.write()
    if lab.stock:
        pytest.skip("the stock shim wants it")
    c.shim.connect(c.shim.run_start().decode().strip())
    c.task = c.shim.service()
    assert c.run().wait().status == 4


def test_the_shims_binary_cannot_be_seen_from_its_bundle(lab):
    """Nothing but what P1.13 lists appears in the bundle, and all of it is gone after Delete but records."""
    c = lab.container("true").run()
    c.wait()
    c.delete()
    names = set(os.listdir(c.bundle.path))
    assert {"config.json", "rootfs", "log", "address"} <= names
    assert not [n for n in names if pathlib.Path(n).suffix == ".tmp" or n.startswith(".tmp")]


def test_a_call_in_flight_at_shutdown_harms_nobody(lab):
    c = lab.container("true").launch()
    calls = [c.task.start.Connect() for _ in range(10)]
    c.task.Shutdown()
    for call in calls:
        assert isinstance(call.exception(), (type(None), ttrpc.Closed))
    c.shim.disconnect()
    host.wait_gone(c.shim.pid)
    c.task = None


def test_nothing_in_the_binaries_lets_a_test_make_them_die(lab, stock):
    if stock:
        pytest.skip("belay's binaries")
    for name in (lab.shim, lab.shim.with_name("belay")):
        binary = name.read_bytes()
        assert b"BELAY_CHAOS" not in binary and b"exit-committed" not in binary
