# SPDX-License-Identifier: Apache-2.0
"""linux.netDevices. The shim lives in a network namespace of the test's own: no interface of the host is touched."""
import ctypes
import os
import subprocess

import pytest

from ttrpc import Error

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*args):
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout


pytestmark = pytest.mark.runs_with("belay", why="linux.netDevices is of runc 1.4")


@pytest.fixture
def network(stock):
    """A network with a veth pair, the ends of which are called out0 and peer0."""
    if stock:
        pytest.skip("runc learned it in 1.4")
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert _libc.unshare(CLONE_NEWNET) == 0
    try:
        ip("link", "add", "out0", "type", "veth", "peer", "name", "peer0")
        yield
    finally:
        assert _libc.setns(own, CLONE_NEWNET) == 0
        os.close(own)


def devices(**names):
    return lambda c: c.config["linux"].update(netDevices=names)


def inside(c, *args):
    return subprocess.run(["nsenter", "-t", str(c.pid()), "-n", "ip", *args], check=True, capture_output=True,
                          text=True).stdout


def test_a_device_becomes_the_containers_with_its_addresses(lab, network):
    ip("addr", "add", "10.9.8.7/24", "dev", "out0")
    ip("addr", "add", "10.9.9.1", "peer", "10.9.9.2/32", "dev", "out0")
    ip("addr", "add", "fd00::7/64", "dev", "out0", "nodad")
    ip("addr", "add", "169.254.1.1/16", "dev", "out0", "scope", "link")
    ip("addr", "add", "10.1.1.1/24", "dev", "out0", "valid_lft", "1000", "preferred_lft", "1000")
    ip("link", "set", "out0", "up")
    c = lab.container("sleep", "100")
    devices(out0={"name": "eth0"})(c)
    c.run()
    assert "out0" not in ip("-o", "link") and "peer0" in ip("-o", "link")
    text = inside(c, "-o", "addr", "show", "dev", "eth0")
    for address in ("inet 10.9.8.7/24", "inet 10.9.9.1 peer 10.9.9.2/32", "inet6 fd00::7/64"):
        assert address in text
    assert "169.254.1.1" not in text and "10.1.1.1" not in text
    assert "UP" in inside(c, "-o", "link", "show", "dev", "eth0").split("<")[1].split(">")[0].split(",")


def test_two_devices_one_with_its_own_name(lab, network):
    c = lab.container("sleep", "100")
    devices(out0={}, peer0={"name": "eth7"})(c)
    c.run()
    text = inside(c, "-o", "link")
    assert " out0@eth7:" in text and " eth7@out0:" in text
    left = ip("-o", "link")
    assert " out0" not in left and " peer0" not in left


def test_a_template_is_filled_in_where_the_device_arrives(lab, network):
    ip("addr", "add", "10.9.8.7/24", "dev", "out0")
    c = lab.container("sleep", "100")
    devices(out0={"name": "eth%d"}, peer0={"name": "eth%d"})(c)
    c.run()
    text = inside(c, "-o", "link")
    assert " eth0@eth1:" in text and " eth1@eth0:" in text and "belay" not in text
    assert "inet 10.9.8.7/24" in inside(c, "-o", "addr")


def test_hooks_find_the_device_in_place(lab, network):
    c = lab.container("true")
    devices(out0={"name": "eth0"})(c)
    seen = lab.new_path("seen")
    c.config["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": [
        "sh", "-c", f"cut -d: -f1 /proc/net/dev > {seen}"]}]}
    c.run()
    assert "eth0" in seen.read_text().split()


def test_in_a_user_namespace(lab, network):
    c = lab.container("sleep", "100")
    c.config["linux"]["namespaces"].append({"type": "user"})
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    c.config["linux"].update(uidMappings=maps, gidMappings=maps)
    os.chown(c.bundle.rootfs, 100000, 100000)
    for path in c.bundle.rootfs.iterdir():
        os.chown(path, 100000, 100000)
    for path in (c.bundle.path, c.lab.dir, c.lab.dir / "bundles"):
        path.chmod(0o711)
    devices(out0={"name": "eth0"})(c)
    c.run()
    assert " eth0@" in inside(c, "-o", "link")


@pytest.mark.parametrize("names, error", [
    ({"nodev0": {}}, "linux.netDevices: 'nodev0': find it: No such device"),
    ({"out0": {"name": "lo"}}, "linux.netDevices: 'out0': the container's network has a device 'lo' already"),
    ({"lo": {"name": "lo1"}}, "linux.netDevices: 'lo': move it into the container: "),
    ({"out0": {}, "nodev0": {}}, "linux.netDevices: 'nodev0': find it: No such device"),
    ({"out0": {"name": "a/b"}}, "linux.netDevices.out0.name: 'a/b' is not the name"),
])
def test_what_cannot_be_moved_is_named(lab, network, names, error):
    c = lab.container("true")
    devices(**names)(c)
    with pytest.raises(Error) as info:
        c.create()
    assert error in str(info.value)
    assert "out0" in ip("-o", "link")


@pytest.mark.parametrize("path", [None, "/proc/self/ns/net"])
def test_a_device_needs_a_network_namespace_of_the_containers_own(lab, network, path):
    c = lab.container("true")
    c.bundle.without_namespace("network")
    if path:
        c.config["linux"]["namespaces"].append({"type": "network", "path": path})
    devices(out0={})(c)
    with pytest.raises(Error, match="linux.netDevices: "):
        c.create()
    assert "out0" in ip("-o", "link")
