# SPDX-License-Identifier: Apache-2.0
"""SCMP_ACT_NOTIFY: the listener gets each filter's descriptor, and its answers are what programs see."""
import errno
import fcntl
import json
import os
import select
import socket
import struct

import pytest

import host
import protos
from ttrpc import Error

RECV, SEND = 0xc0502100, 0xc0182101  # SECCOMP_IOCTL_NOTIF_*
TIMEOUT = host.PATIENCE * host.SLOWNESS


@pytest.fixture(autouse=True)
def not_the_stock_shim(stock):
    if stock:
        pytest.skip("needs a listener as runc's, too, but other words in errors")


class Listener:
    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.bind(str(path))
        self.sock.listen(8)
        self.sock.settimeout(TIMEOUT)

    def take(self):
        """The next connection's state and descriptor."""
        connection, _ = self.sock.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
            assert len(fds) == 1 and connection.recv(1) == b""
        return json.loads(data), fds[0]


def answer(fd, error):
    """One call is answered; its number and pid."""
    assert select.select([fd], [], [], TIMEOUT)[0]
    request = bytearray(80)
    fcntl.ioctl(fd, RECV, request)
    ident, pid, _, nr = struct.unpack_from("QIIi", request)
    fcntl.ioctl(fd, SEND, struct.pack("QqiI", ident, 0, -error, 0))
    return nr, pid


@pytest.fixture
def listener(lab):
    found = Listener(lab.dir / "agent.sock")
    yield found
    found.sock.close()


def notify(c, path, names=("mkdir", "mkdirat"), **more):
    c.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path), "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}], **more}


@pytest.mark.runs_with("belay", why="the state for the listener is not as the specification has it")
@pytest.mark.parametrize("nnp", [True, False])
def test_calls_are_answered_by_the_listener(lab, listener, nnp):
    c = lab.container("sh", "-c", "mkdir /x; ls /proc/self/fd | wc -l").pipes("stdout", "stderr")
    notify(c, listener.path, listenerMetadata="some \"words\"")
    c.config["process"]["noNewPrivileges"] = nnp
    c.config["annotations"] = {"a": "b"}
    c.create()
    state, fd = listener.take()
    assert state == {"ociVersion": "1.0.2", "fds": ["seccompFd"], "pid": c.pid(), "metadata": "some \"words\"",
                     "state": {"ociVersion": "1.0.2", "id": c.id, "status": "creating", "pid": c.pid(),
                               "bundle": str(c.bundle.path), "annotations": {"a": "b"}}}
    c.start()
    assert answer(fd, errno.ENOMEDIUM)[0] in (83, 258)
    r = c.finish_output(c.wait().status)
    assert os.strerror(errno.ENOMEDIUM) in r.err
    assert r.out == "4\n", "0 to 2, and that of ls: no listener is inherited"
    os.close(fd)


@pytest.mark.runs_with("belay", "runc", why="the listener is not told the pid")
def test_an_exec_has_a_listener_of_its_own(lab, listener):
    c = lab.container("sleep", "100")
    notify(c, listener.path)
    c.run()
    os.close(listener.take()[1])
    e = c.exec("mkdir", "/x").pipes("stderr").add()
    e.start()
    state, fd = listener.take()
    assert state["pid"] == e.state().pid and state["state"]["pid"] == c.pid()
    assert state["state"]["status"] == "running" and "metadata" not in state
    answer(fd, errno.EXDEV)
    assert e.wait().status == 1
    assert os.strerror(errno.EXDEV).encode() in e.stderr.read_all()
    os.close(fd)


def test_calls_of_the_set_up_wait_for_the_listener_too(lab, listener):
    """Without no_new_privs the filter is on before the user is changed."""
    c = lab.container("true")
    notify(c, listener.path, ["setgroups"], flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    c.config["process"]["noNewPrivileges"] = False
    c.launch()
    c.created = True
    call = c.task.start.Create(bundle=str(c.bundle.path))
    _, fd = listener.take()
    answer(fd, 0)
    call.result()
    os.close(fd)


@pytest.mark.runs_with("belay", why="words of its own")
@pytest.mark.parametrize("path, error", [
    ("/nowhere/agent.sock", "connect to '/nowhere/agent.sock': No such file"),
    ("/" + 120 * "x", "too long for a socket"),
])
def test_without_a_listener_create_fails(lab, path, error):
    c = lab.container("true")
    notify(c, path)
    with pytest.raises(Error, match=error):
        c.create()
    assert not lab.cgroups()


@pytest.mark.runs_with("belay", why="words of its own")
def test_a_listener_that_is_gone_fails_the_exec_alone(lab, listener):
    c = lab.container("sleep", "100")
    notify(c, listener.path)
    c.run()
    os.close(listener.take()[1])
    os.unlink(listener.path)
    e = c.exec("true").add()
    with pytest.raises(Error, match="linux.seccomp.listenerPath: connect to"):
        e.start()
    assert c.state().status == protos.status.RUNNING
