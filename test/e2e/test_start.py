# SPDX-License-Identifier: Apache-2.0
"""The start action: one socket, one shim, one line of answer, for callers of every age."""
import hashlib
import os
import pathlib
import stat
import subprocess

import pytest

import host
import protos
import ttrpc
from shim import Shim, StartFailed

SOCKETS = pathlib.Path("/run/containerd/s")


def address_of(lab, ident):
    """The socket of a shim: clients and containerd's own tests compute it, too."""
    name = hashlib.sha256(f"{lab.grpc_address}/{lab.namespace}/{ident}".encode()).hexdigest()
    return f"unix://{SOCKETS}/{name}"


def test_start_prints_the_address_and_nothing_else(lab):
    c = lab.container("true")
    c.bundle.write()
    c.shim.open_log()
    out = c.shim.run_start()  # R89: the shim holds nothing of the helper's output, which is read to its end
    assert out.decode().strip() == address_of(lab, c.id)
    c.shim.connect(out.decode().strip())
    c.task = c.shim.service()
    assert (c.bundle.path / "address").read_text() == c.shim.address
    assert host.socket_is_listening(c.shim.address)


def test_the_socket_is_roots_only(lab):
    c = lab.container("true").launch()
    assert stat.S_IMODE(os.stat(c.shim.address.removeprefix("unix://")).st_mode) == 0o600
    if not lab.stock:  # 1.6 makes it 0711 (R77)
        assert stat.S_IMODE(SOCKETS.stat().st_mode) == 0o700


def test_a_foreign_user_is_refused(lab):
    """SO_PEERCRED, should the modes ever be too wide: the connection is closed, nobody else's is."""
    c = lab.container("sleep", "100").run()
    path = pathlib.Path(c.shim.address.removeprefix("unix://"))
    for p in (path, *path.parents):
        if str(p).startswith("/run/containerd"):
            p.chmod(0o777)
    code = ("import os,socket,sys; os.setgroups([]); os.setgid(1000); os.setuid(1000)\n"
            "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(5)\n"
            "try:\n s.sendall(b'x'*10)\nexcept OSError: pass\n"
            "try:\n print(len(s.recv(100)))\nexcept ConnectionError: print(0)\n")
    done = subprocess.run(["/usr/bin/python3", "-c", code, str(path)], capture_output=True, text=True, timeout=20 * host.SLOWNESS)
    assert done.stdout.strip() == "0", done.stderr
    assert c.status() == "RUNNING"


def test_the_shim_is_a_daemon_that_holds_nothing_of_its_caller(lab):
    c = lab.container("true")
    c.bundle.write()
    c.shim.open_log()
    ours, theirs = os.pipe()
    done = subprocess.run(c.shim.argv("start"), stdin=theirs, stdout=theirs, stderr=theirs, cwd=c.bundle.path,
                          env=c.shim.env(), timeout=20 * host.SLOWNESS)
    pipe = os.readlink(f"/proc/self/fd/{theirs}")
    os.close(theirs)
    assert done.returncode == 0
    c.shim.connect(os.read(ours, 1000).decode().strip())
    c.task = c.shim.service()
    assert os.read(ours, 1) == b""  # EOF: nobody holds the other end
    os.close(ours)
    fds = c.shim.fds()
    assert pipe not in fds.values() or lab.stock
    assert fds[0] == fds[1] == "/dev/null"
    assert fds[2] in ("/dev/null", str(c.bundle.path / "log"))
    assert os.getpgid(c.shim.pid) == c.shim.pid
    assert os.readlink(f"/proc/{c.shim.pid}/cwd") == str(c.bundle.path)
    mine = int(host.read("/proc/self/oom_score_adj"))
    assert int(host.read(f"/proc/{c.shim.pid}/oom_score_adj")) == min(mine + 1, 1000)


def test_the_shim_is_one_thread(lab, stock):
    if stock:
        pytest.skip("Go")
    c = lab.container("sleep", "100").run()
    assert len(os.listdir(f"/proc/{c.shim.pid}/task")) == 1


def test_start_twice_gives_the_same_shim(lab):
    c = lab.container("true").launch()
    again = Shim(lab, c.id, c.bundle.path)
    assert again.run_start().decode().strip() == c.shim.address
    again.connect(c.shim.address)
    assert again.pid == c.shim.pid
    again.disconnect()
    assert lab.processes() == [c.shim.pid]


def test_a_stale_socket_is_replaced(lab):
    c = lab.container("sh", "-c", "exit 2").launch()
    c.shim.kill()
    c.shim.disconnect()
    assert os.path.exists(c.shim.address.removeprefix("unix://"))
    c.shim.connect(c.shim.run_start().decode().strip())
    c.task = c.shim.service()
    c.run()
    assert c.wait().status == 2


def test_long_ids_have_short_sockets(lab):
    """R78"""
    c = lab.container("sh", "-c", "exit 2", ident="x" * 76).run()
    assert c.wait().status == 2


def test_containers_of_one_pod_have_each_a_shim_of_their_own(lab, stock):
    if stock:
        pytest.skip("the stock shim groups by these annotations")
    pods = [lab.container("sleep", "100") for _ in range(2)]
    for c in pods:
        c.config["annotations"] = {"io.kubernetes.cri.sandbox-id": "c0", "io.containerd.runc.v2.group": "g"}
        c.run()
    assert pods[0].shim.pid != pods[1].shim.pid
    assert pods[1].shim.address == address_of(lab, "c1")


def test_an_empty_namespace_is_refused_before_anything_happens(lab):
    """R80"""
    c = lab.container("true")
    c.bundle.write()
    argv = c.shim.argv("start")
    argv[argv.index(lab.namespace)] = ""
    done = subprocess.run(argv, capture_output=True, text=True, cwd=c.bundle.path, env=c.shim.env(), timeout=20 * host.SLOWNESS)
    assert done.returncode == 1 and "namespace" in done.stderr
    assert not SOCKETS.exists() or not list(SOCKETS.iterdir())
    assert sorted(os.listdir(c.bundle.path)) == ["config.json", "rootfs"]


def test_start_fails_with_a_text_when_the_socket_cannot_be_made(lab):
    c = lab.container("true")
    c.bundle.write()
    host.mount_readonly_tmpfs("/run/containerd")
    try:
        with pytest.raises(StartFailed) as info:
            c.shim.run_start()
    finally:
        host.unmount("/run/containerd")
    assert "read-only" in str(info.value).lower()
    assert not lab.processes()


def runc_options(**fields):
    return protos.wrap(protos.runc.Options(**fields)).SerializeToString()


def test_options_of_callers_up_to_2_2_are_taken(lab):
    c = lab.container("sh", "-c", "exit 2")
    c.launch(stdin=runc_options(binary_name="", systemd_cgroup=False, root=""))
    assert c.run().wait().status == 2


def test_the_shim_joins_the_cgroup_of_shim_cgroup(lab):
    """R73. Named below the test's own cgroup; the shim lives in it, so it goes after the shim."""
    name = f"/{host.CGROUP}/{lab.namespace}-shim"
    paths = host.make_cgroup(name)
    c = lab.container("true").launch(stdin=runc_options(shim_cgroup=name))
    try:
        joined = [p for p in paths if str(c.shim.pid) in (p / "cgroup.procs").read_text().split()]
        assert len(joined) >= len(paths) - (not host.V2)  # all of v1; the empty v2 beside it is another matter
    finally:
        c.finish()
        for path in paths:
            host.remove_cgroup(path)


# containerd 2.3 and later: protobuf in, protobuf out.

def bootstrap(lab, c, **fields):
    fields = {"instance_id": c.id, "namespace": lab.namespace, "containerd_version": "2.3.0",
              "containerd_ttrpc_address": lab.containerd.path, "containerd_grpc_address": lab.grpc_address,
              "containerd_binary": "/bin/true", **fields}
    return protos.bootstrap.BootstrapParams(**fields)


@pytest.fixture
def needs_bootstrap(stock):
    if stock:
        pytest.skip("1.6 does not know BootstrapParams")


def test_a_bootstrap_caller_gets_a_bootstrap_result(lab, needs_bootstrap):
    c = lab.container("sh", "-c", "exit 2")
    c.bundle.write()
    params = bootstrap(lab, c)
    params.extensions.add(value=protos.wrap(protos.runc.Options(systemd_cgroup=False)))
    c.shim.open_log()
    out = c.shim.run_start(params.SerializeToString())
    result = protos.bootstrap.BootstrapResult.FromString(out)
    assert result.SerializeToString() == out  # R86: not a byte more
    assert (result.version, result.protocol, result.address) == (2, "ttrpc", address_of(lab, c.id))
    c.shim.connect(result.address)
    c.task = c.shim.service()
    assert c.run().wait().status == 2


def test_a_bootstrap_caller_needs_no_ttrpc_address_in_the_environment(lab, needs_bootstrap):
    c = lab.container("true")
    c.bundle.write()
    env = c.shim.env()
    del env["TTRPC_ADDRESS"]
    out = c.shim.run_start(bootstrap(lab, c).SerializeToString(), env=env)
    c.shim.connect(protos.bootstrap.BootstrapResult.FromString(out).address)
    c.task = c.shim.service()
    c.run().wait()
    lab.containerd.wait(c.id, "/tasks/exit")


@pytest.mark.parametrize("fields", [{"instance_id": "else"}, {"namespace": "else"}])
def test_parameters_for_somebody_else_are_not_bootstrap(lab, needs_bootstrap, fields):
    """R85: options of an old caller can look like BootstrapParams; id and namespace decide."""
    c = lab.container("true")
    c.bundle.write()
    try:
        out = c.shim.run_start(bootstrap(lab, c, **fields).SerializeToString())
    except StartFailed as error:
        assert str(error)
        return
    assert out.decode().strip() == address_of(lab, c.id)
    c.shim.connect(address_of(lab, c.id))
    c.task = c.shim.service()


def test_the_socket_goes_where_the_caller_wants_it(lab, needs_bootstrap):
    """R88"""
    c = lab.container("true")
    c.bundle.write()
    there = lab.dir / "s"
    there.mkdir()
    out = c.shim.run_start(bootstrap(lab, c, socket_dir=str(there)).SerializeToString())
    address = protos.bootstrap.BootstrapResult.FromString(out).address
    assert address == f"unix://{there}/{address_of(lab, c.id).rpartition('/')[2]}"
    assert os.readlink(c.bundle.path / "s") == str(there)
    c.shim.connect(address)
    c.task = c.shim.service()
    c.finish()
    assert not list(there.iterdir())


def test_garbage_on_standard_input_starts_nothing_or_a_shim_that_works(lab, stock):
    if stock:
        pytest.skip("not specified there")
    for n, garbage in enumerate((b"\xff" * 100, b"\x00" * 5, os.urandom(4096))):
        c = lab.container("true")
        try:
            c.launch(stdin=garbage)
        except StartFailed:
            assert not lab.processes()
            continue
        c.finish()


def test_a_shim_that_nobody_uses_any_more_ends(lab, stock):
    """The caller forgot Shutdown and hung up."""
    if stock:
        pytest.skip("the stock shim stays for ever")
    c = lab.container("true").run()
    c.wait()
    c.delete()
    c.shim.disconnect()
    host.wait_gone(c.shim.pid)
    c.task = None
    for p in (c, *c.execs):
        p.close_pipes()


def test_a_connection_that_is_used_keeps_the_shim(lab, stock):
    if stock:
        pytest.skip("the stock shim stays for ever")
    c = lab.container("true").launch()
    with pytest.raises(ttrpc.Error):
        c.state()
    assert c.task.Connect().shim_pid == c.shim.pid
