# SPDX-License-Identifier: Apache-2.0
"""cgroupsPath and resources, on v1 (with the empty v2 hierarchy beside it) and on v2 alone: whichever the machine has."""
import json
import os
import pathlib

import pytest

import host
import protos
import ttrpc
from checks import block_device, fails


def resources(**limits):
    def edit(c):
        c.config["linux"]["resources"].update(limits)
    return edit


def running(lab, edit=None, *args):
    c = lab.container(*(args or ("sleep", "100")))
    if edit:
        edit(c)
    return c.run()


def limit(c, controller, v1, v2):
    """The limit in the file of that name on either version."""
    return host.cgroup_file(c.pid(), controller, v2 if host.V2 else v1).read_text().strip()


def either(v1, v2):
    return v2 if host.V2 else v1


# Where a container that mounts its cgroups finds its own.
INSIDE = either("/sys/fs/cgroup/pids", "/sys/fs/cgroup")


def with_its_cgroups(c):
    """Mounted, and writable. On v2 only a cgroup namespace makes them its own."""
    c.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "rw")
    if host.V2:
        c.config["linux"]["namespaces"].append({"type": "cgroup"})


def test_the_container_is_in_the_cgroup_it_was_given_in_every_hierarchy(lab):
    c = running(lab)
    want = c.config["linux"]["cgroupsPath"]
    lines = host.read(f"/proc/{c.pid()}/cgroup").decode().splitlines()
    missing = [line for line in lines if not line.endswith(f":{want}")]
    if not host.V2:  # then v2 has no controller here
        missing = [line for line in missing if not line.startswith("0::")]
    assert lines and not missing, lines
    assert (either(host.CGROUP_ROOT / "pids", host.CGROUP_ROOT) / want.lstrip("/")).is_dir()


def test_the_cgroup_is_gone_after_delete(lab):
    c = running(lab)
    c.kill()
    c.wait()
    assert lab.cgroups()  # CRI reads from it after the exit
    c.delete()
    assert not lab.cgroups()


@pytest.mark.runs_with("belay", "runc", why="its delete does not wait for the processes of cgroups below")
def test_a_cgroup_that_a_container_has_filled_goes_with_it(lab):
    """The container makes cgroups of its own and leaves processes in them."""
    def edit(c):
        with_its_cgroups(c)
        caps = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
        c.config["process"]["capabilities"] = {k: caps for k in ("bounding", "effective", "permitted")}

    c = lab.container("sh", "-c", f"mkdir -p {INSIDE}/a/b; setsid sleep 100 & "
                      f"echo $! > {INSIDE}/a/b/cgroup.procs; echo on; wait").pipes()
    edit(c)
    c.run()
    c.stdout.read_until(b"on\n")
    assert any(p.name == "b" for p in host.cgroups_below(host.CGROUP))
    c.kill()
    c.wait()
    c.delete()
    assert not host.cgroups_below(host.CGROUP)


def test_a_cgroup_that_a_container_has_nested_deeply_goes_with_it(lab):
    """Deeper than a walk goes that keeps a descriptor for each level."""
    out = lab.sh(f"cd {INSIDE}; i=0; while [ $i -lt 300 ] && mkdir deeper-down && cd deeper-down; do"
                 " i=$((i+1)); done 2>/dev/null; echo $i", with_its_cgroups).out
    assert int(out) == 300, out


def test_pids_limit(lab):
    c = running(lab, resources(pids={"limit": 30}))
    assert limit(c, "pids", "pids.max", "pids.max") == "30"
    r = c.exec("sh", "-c", "for i in $(seq 40); do sleep 3 & done; wait").run()
    assert "fork" in r.err or "temporarily" in r.err
    if host.V2 and (lab.stock or lab.runc_binary):
        return  # zombies keep it full: on v2 runc's exec finds no room for its own threads
    assert host.wait_for(lambda: c.exec("true").run().status == 0, "room again")


def test_memory_limits(lab):
    c = running(lab, resources(memory={"limit": 32 << 20, "swap": 64 << 20, "reservation": 16 << 20}))
    assert limit(c, "memory", "memory.limit_in_bytes", "memory.max") == str(32 << 20)
    assert limit(c, "memory", "memory.soft_limit_in_bytes", "memory.low") == str(16 << 20)
    # OCI's swap is memory and swap together, as v1's is; v2's is swap alone.
    swap = host.cgroup_file(c.pid(), "memory", either("memory.memsw.limit_in_bytes", "memory.swap.max"))
    assert not swap.exists() or swap.read_text().strip() == str(either(64 << 20, 32 << 20))


@pytest.mark.parametrize("value", [-1, 0])
def test_memory_without_a_limit(lab, value):
    if lab.runtime == "crun" and value == 0:
        pytest.skip("crun: 0 is a limit")
    c = running(lab, resources(memory={"limit": value}))
    got = limit(c, "memory", "memory.limit_in_bytes", "memory.max")
    assert got == "max" if host.V2 else int(got) > 1 << 50


def test_cpu_limits(lab):
    c = running(lab, resources(cpu={"shares": 512, "quota": 50000, "period": 100000}))
    if host.V2:
        weights = ["59", "20"] if lab.stock or lab.runc_binary else ["59"]  # runc before 1.3 has another curve
        assert limit(c, "cpu", None, "cpu.weight") in weights
        assert limit(c, "cpu", None, "cpu.max") == "50000 100000"
        return
    assert limit(c, "cpu", "cpu.shares", None) == "512"
    assert limit(c, "cpu", "cpu.cfs_quota_us", None) == "50000"
    assert limit(c, "cpu", "cpu.cfs_period_us", None) == "100000"


def test_cpuset(lab):
    c = running(lab, resources(cpu={"cpus": "0", "mems": "0"}))
    assert limit(c, "cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert c.exec("nproc").run().out == "1\n"


def test_devices_are_denied_unless_allowed(lab):
    def edit(c):
        c.config["linux"]["resources"]["devices"] = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 7, "minor": 99, "access": "rwm"}]

    c = lab.container("sleep", "100")
    edit(c)
    c.run()
    script = "mknod /tmp/a c 7 99 && echo made; mknod /tmp/b b 7 98 2>/dev/null || echo refused; " \
             "cat /dev/null && echo null; head -c 1 /dev/urandom | wc -c; echo > /dev/full || echo full"
    out = c.exec("sh", "-c", script).run().out.split()
    # Making any node is allowed by default, as Docker has it; opening it is not.
    assert out[0] == "made" and out[-3:] == ["null", "1", "full"]
    r = c.exec("sh", "-c", "mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg").run()
    assert "not permitted" in r.err


def test_block_devices_are_throttled(lab):
    major, minor = block_device()
    device = {"major": major, "minor": minor}
    c = running(lab, resources(blockIO={"throttleReadBpsDevice": [{**device, "rate": 1 << 20}],
                                        "throttleWriteBpsDevice": [{**device, "rate": 2 << 20}],
                                        "throttleReadIOPSDevice": [{**device, "rate": 100}],
                                        "throttleWriteIOPSDevice": [{**device, "rate": 200}]}))
    if host.V2:
        assert limit(c, "io", None, "io.max") == f"{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200"
        return
    for name, rate in (("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 100), ("write_iops", 200)):
        assert limit(c, "blkio", f"blkio.throttle.{name}_device", None) == f"{major}:{minor} {rate}"


@pytest.mark.runs_with("belay", "runc", why="it writes blkio.weight, which BFQ alone does not have")
def test_a_block_weight_is_in_the_scale_of_its_file(lab):
    c = running(lab, resources(blockIO={"weight": 300}))
    names = either({"blkio.bfq.weight": 300, "blkio.weight": 300}, {"io.bfq.weight": 300, "io.weight": 2930})
    controller = either("blkio", "io")
    for name, weight in names.items():
        path = host.cgroup_file(c.pid(), controller, name)
        if path.exists():
            assert path.read_text().split("\n")[0].removeprefix("default ") == str(weight)
            return
    pytest.fail(f"none of {list(names)}")


@pytest.mark.parametrize("limits, text", [
    ({"blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 1, "rate": 1}]}}, "blockIO.throttleReadBpsDevice"),
    ({"network": {"classID": 7}}, "network.classID"),
    ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "network.priorities"),
    ({"rdma": {"nosuch_0": {"hcaHandles": 3}}}, "rdma.hcaHandles"),
    ({"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
])
def test_what_the_host_lacks_is_refused_by_name(lab, limits, text):
    if lab.stock or lab.runc_binary:
        pytest.skip("runc ignores it, or says something else")
    controller = {"network.classID": "net_cls", "network.priorities": "net_prio"}.get(text)
    if controller and (host.CGROUP_ROOT / controller).is_dir():
        pytest.skip(f"this host has {controller}")
    c = lab.container("true")
    resources(**limits)(c)
    with fails(ttrpc.FAILED_PRECONDITION, f"linux.resources.{text}", also=[ttrpc.UNKNOWN]):
        c.create()
    c.deleted = True


@pytest.mark.skipif(not (host.CGROUP_ROOT / "net_cls").is_dir(), reason="no net_cls here")
def test_network_class_and_priorities(lab):
    c = running(lab, resources(network={"classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}]}))
    assert limit(c, "net_cls", "net_cls.classid", None) == str(0x100001)
    assert "lo 5" in limit(c, "net_prio", "net_prio.ifpriomap", None).splitlines()


def test_an_update_that_lists_devices_replaces_them_and_no_other_touches_them(lab):
    if lab.stock or lab.runc_binary:
        pytest.skip("runc's update leaves devices alone")

    def update(**limits):
        c.task.Update(resources=protos.any_pb2.Any(value=json.dumps(limits).encode()))

    kmsg = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}
    read = ("sh", "-c", "test -e /tmp/kmsg || mknod /tmp/kmsg c 1 11; : >/tmp/kmsg && echo open")
    c = lab.container("sleep", "100")
    c.config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    c.run()
    assert "not permitted" in c.exec(*read).run().err
    update(devices=[{"allow": False, "access": "rwm"}, kmsg])
    assert c.exec(*read).run().out == "open\n"
    update(pids={"limit": 50})
    assert c.exec(*read).run().out == "open\n"
    update(devices=[{"allow": False, "access": "rwm"}])
    r = c.exec(*read).run()
    assert "not permitted" in r.err and c.exec("sh", "-c", ": </dev/null && echo null").run().out == "null\n"


def test_an_update_that_fails_changes_nothing(lab):
    if lab.stock or lab.runc_binary:
        pytest.skip("runc takes back less")
    c = running(lab, resources(memory={"limit": 64 << 20}, pids={"limit": 30}, cpu={"shares": 512}))
    before = [limit(c, k, a, b) for k, a, b in (("memory", "memory.limit_in_bytes", "memory.max"),
                                               ("cpu", "cpu.shares", "cpu.weight"), ("pids", "pids.max", "pids.max"))]
    document = {"memory": {"limit": 32 << 20}, "cpu": {"shares": 100}, "pids": {"limit": 20},
                "blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 1, "rate": 1}]}}
    with fails(ttrpc.FAILED_PRECONDITION, "linux.resources.blockIO.throttleReadBpsDevice", also=[ttrpc.UNKNOWN]):
        c.task.Update(resources=protos.any_pb2.Any(value=json.dumps(document).encode()))
    assert before == [limit(c, k, a, b) for k, a, b in (
        ("memory", "memory.limit_in_bytes", "memory.max"), ("cpu", "cpu.shares", "cpu.weight"),
        ("pids", "pids.max", "pids.max"))]


@pytest.mark.runs_with("belay", "runc", why="it writes -1 to pids.max")
def test_unlimited_values_as_oci_writes_them(lab):
    c = running(lab, resources(pids={"limit": -1}, memory={"limit": -1, "swap": -1}, cpu={"quota": -1}))
    assert limit(c, "pids", "pids.max", "pids.max") == "max"


@pytest.mark.runs_with("belay", "runc", why="its delete kills whoever is in the cgroup")
def test_a_cgroup_path_that_is_in_use_is_shared_or_refused_but_never_emptied(lab):
    first = running(lab)
    second = lab.container("true")
    second.config["linux"]["cgroupsPath"] = first.config["linux"]["cgroupsPath"]
    try:
        second.run()
        second.wait()
        second.delete()
    except Exception:
        second.deleted = True
    assert first.status() == "RUNNING"
    assert first.exec("true").run().status == 0


@pytest.mark.runs_with("belay", why="it takes any cgroup")
def test_a_cgroup_path_above_another_container_is_never_emptied(lab):
    if lab.stock:
        pytest.skip("runc accepts it")
    first = lab.container("sleep", "1000")
    first.config["linux"]["cgroupsPath"] += "/below"
    first.run()
    second = lab.container("true")
    second.config["linux"]["cgroupsPath"] = str(pathlib.Path(first.config["linux"]["cgroupsPath"]).parent)
    with fails(ttrpc.FAILED_PRECONDITION, "has processes in it"):
        second.create()
    second.deleted = True
    assert first.status() == "RUNNING"
    assert first.exec("true").run().status == 0


def test_a_path_that_leads_out_of_the_hierarchy_does_not(lab):
    c = lab.container("sleep", "100")
    c.config["linux"]["cgroupsPath"] = f"/../../../{host.CGROUP}/x/../{lab.namespace}-c0"
    try:
        c.run()
    except Exception:
        c.deleted = True
        return
    path = host.cgroup_file(c.pid(), "pids", "")
    assert os.path.realpath(path).startswith(INSIDE + "/")


def test_kill_all_reaches_nested_cgroups(lab):
    c = lab.container("sleep", "1000")
    c.bundle.without_namespace("pid")
    c.run()
    pid = c.exec("sleep", "1001").add().start()
    nested = host.cgroup_file(c.pid(), "pids", "nested")
    nested.mkdir()
    (nested / "cgroup.procs").write_text(str(pid))
    assert pid in [p.pid for p in c.task.Pids().processes] or lab.stock
    c.kill(all=True)
    c.wait()
    host.wait_gone(pid)
