# SPDX-License-Identifier: Apache-2.0
"""Stats: what it says beside what the cgroup's files say, read by the test itself."""
import json
import pathlib
import subprocess
import sys

import pytest

import host
import protos
import ttrpc
from checks import fails

UNLIMITED = 2 ** 64 - 1
MIB = 1 << 20


def stats(c):
    """The message, by its type_url."""
    answer = c.task.Stats().stats
    version = "v2" if host.V2 else "v1"
    assert answer.type_url == f"io.containerd.cgroups.{version}.Metrics"
    module = protos.metrics_v2 if host.V2 else protos.metrics_v1
    return module.Metrics.FromString(answer.value)


def in_file(c, controller, name):
    return host.cgroup_file(c.pid(), controller, name).read_text()


def keys(text):
    return {k: int(v) for k, v in (line.split() for line in text.splitlines())}


def about(a, b, slack=4 * MIB):
    assert abs(a - b) <= slack, (a, b)


def busy(lab):
    c = lab.container("sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done; exec sleep 100")
    c.pipes()
    c.config["linux"]["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 50},
                                          cpu={"quota": 50000, "period": 100000})
    c.run()
    c.stdout.read_until(b"done\n")
    return c


def test_memory_is_what_the_files_say(lab):
    c = busy(lab)
    m = stats(c).memory
    if host.V2:
        assert m.usage_limit == 64 * MIB
        about(m.usage, int(in_file(c, "memory", "memory.current")))
        now = keys(in_file(c, "memory", "memory.stat"))
        about(m.anon, now["anon"])
        about(m.file, now["file"])
        assert m.pgfault > 0
    else:
        assert m.usage.limit == 64 * MIB
        assert m.hierarchical_memory_limit == 64 * MIB
        about(m.usage.usage, int(in_file(c, "memory", "memory.usage_in_bytes")))
        assert m.usage.max >= m.usage.usage - 4 * MIB > -4 * MIB
        now = keys(in_file(c, "memory", "memory.stat"))
        about(m.total_rss, now["total_rss"])
        assert m.pg_fault > 0 and m.total_pg_fault >= m.pg_fault
        assert m.kernel.usage > 0


def test_cpu_time_only_grows_and_is_that_of_the_files(lab):
    c = busy(lab)
    first = stats(c).cpu
    if host.V2:
        assert 0 < first.usage_usec <= keys(in_file(c, "cpu", "cpu.stat"))["usage_usec"]
        assert first.user_usec + first.system_usec <= first.usage_usec + 1000
        host.wait_for(lambda: stats(c).cpu.nr_periods, "a period to be over")
        return
    usage = first.usage
    assert 0 < usage.total <= int(in_file(c, "cpuacct", "cpuacct.usage"))
    assert len(usage.per_cpu) == len(in_file(c, "cpuacct", "cpuacct.usage_percpu").split())
    assert sum(usage.per_cpu) <= usage.total + 10 ** 9
    assert usage.user + usage.kernel <= usage.total + 10 ** 9
    host.wait_for(lambda: stats(c).cpu.throttling.periods, "a period to be over")
    assert stats(c).cpu.usage.total >= usage.total


def test_pids_are_counted_and_limited(lab):
    c = busy(lab)
    assert stats(c).pids.limit == 50
    host.wait_for(lambda: stats(c).pids.current == 1, "init is alone")
    e = c.exec("sleep", "100").add()
    e.start()
    # With the stock shim the runtime's own threads are still there for a moment.
    host.wait_for(lambda: stats(c).pids.current == 2, "the exec is the second process")


def test_no_limit_of_pids_is_said_as_the_version_says_it(lab):
    c = lab.container("sleep", "100").run()
    assert stats(c).pids.limit == (UNLIMITED if host.V2 else 0)


def test_oom_kills_can_be_read_after_init_has_ended(lab):
    """CRI asks when it sees status 137, before it deletes."""
    c = lab.container("sh", "-c", "exec tail /dev/zero")
    c.config["linux"]["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    c.run()
    assert c.wait().status == 137
    m = stats(c)
    assert (m.memory_events if host.V2 else m.memory_oom_control).oom_kill >= 1
    c.delete()
    with fails(ttrpc.NOT_FOUND):
        c.task.Stats()


def test_a_container_whose_cgroup_is_gone_has_no_stats(lab, stock):
    c = lab.container("true").run()
    c.wait()
    stats(c)
    host.remove_cgroups(host.CGROUP)
    if stock:  # it answers with an empty message on v1
        return
    with fails(ttrpc.NOT_FOUND, "cgroup does not exist"):
        c.task.Stats()


def test_stats_costs_neither_memory_nor_descriptors_from_call_to_call(lab, stock):
    def anonymous():
        text = pathlib.Path(f"/proc/{c.shim.pid}/smaps_rollup").read_text()
        return keys("\n".join(" ".join(line.split()[:2]).replace(":", "") for line in text.splitlines()[1:]))["Anonymous"]

    c = lab.container("sleep", "100").run()
    stats(c)
    for _ in range(200):
        c.task.Stats()
    fds, memory = len(c.shim.fds()), anonymous()
    for _ in range(2000):
        c.task.Stats()
    assert len(c.shim.fds()) == fds
    if not (stock or lab.sanitized):
        assert anonymous() <= memory + 8


def test_open_files_of_the_cgroup_do_not_reach_the_containers_processes(lab):
    c = lab.container("sleep", "100").run()
    stats(c)
    e = c.exec("ls", "-l", "/proc/self/fd").run()
    assert e.status == 0
    assert "memory" not in e.out and "cpu" not in e.out
    c.kill()
    c.wait()
    c.delete()
    assert not [path for path in c.shim.fds().values() if "memory.stat" in str(path)]


def hugetlb_limit(c):
    """The file of the limit of 2 MiB pages; where v1 has no such hierarchy, on the v2 tree beside it."""
    path = c.config["linux"]["cgroupsPath"].lstrip("/")
    if host.V2:
        return host.CGROUP_ROOT / path / "hugetlb.2MB.max"
    if (host.CGROUP_ROOT / "hugetlb").is_dir():
        return host.CGROUP_ROOT / "hugetlb" / path / "hugetlb.2MB.limit_in_bytes"
    tree = host.CGROUP_ROOT / "unified"
    if b"hugetlb" not in host.read(tree / "cgroup.controllers").split():
        pytest.skip("no hugetlb controller here")
    if c.lab.stock or c.lab.runc_binary:
        pytest.skip("runc refuses it where only the v2 tree beside v1 has the controller")
    return tree / path / "hugetlb.2MB.max"


def test_hugepages_are_limited_and_counted(lab):
    c = lab.container("sleep", "100")
    path = hugetlb_limit(c)
    c.config["linux"]["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 * MIB}]
    c.run()
    assert path.read_text().strip() == str(4 * MIB)
    usage = "current" if host.V2 else "usage"
    assert [getattr(h, usage) for h in stats(c).hugetlb if h.pagesize == "2MB"] == [0]
    if not c.lab.stock and not c.lab.runc_binary:  # runc's update leaves hugepages alone
        c.task.Update(resources=protos.any_pb2.Any(value=json.dumps(
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 8 * MIB}]}).encode()))
        assert path.read_text().strip() == str(8 * MIB)


# A verbs context, the one thing that costs a handle: the call GET_CONTEXT of the kernel's ABI, by a process that
# joins the cgroup whose cgroup.procs is given. That cgroup may not open the device.
VERBS_CONTEXT = """
import ctypes, os, struct, sys
answer = ctypes.create_string_buffer(8)
fd = os.open(sys.argv[2], os.O_RDWR)
with open(sys.argv[1], "w") as procs:
    procs.write(str(os.getpid()))
try:
    os.write(fd, struct.pack("=IHHQ", 0, 4, 2, ctypes.addressof(answer)))
    print("open", flush=True)
except OSError as e:
    print(e.strerror, flush=True)
sys.stdin.read()
"""


def rdma_device():
    """(its name, its device node); the limits are of verbs devices. `rdma link add` makes one of any network device."""
    for path in pathlib.Path("/sys/class/infiniband_verbs").glob("uverbs*"):
        return (path / "ibdev").read_text().strip(), f"/dev/infiniband/{path.name}"
    pytest.skip("no RDMA device here")


def rdma_limit(c, name):
    return next(line.split() for line in in_file(c, "rdma", "rdma.max").splitlines() if line.split()[0] == name)


def rdma_entries(entries):
    return {e.device: (e.hca_handles, e.hca_objects) for e in entries}


def test_rdma_is_limited_and_counted(lab):
    name, node = rdma_device()
    c = lab.container("sleep", "100")
    c.config["linux"]["resources"]["rdma"] = {name: {"hcaHandles": 1, "hcaObjects": 2000}}
    c.run()
    assert rdma_limit(c, name) == [name, "hca_handle=1", "hca_object=2000"]
    procs = host.cgroup_file(c.pid(), "rdma", "cgroup.procs")

    def verbs_context():
        return subprocess.Popen([sys.executable, "-c", VERBS_CONTEXT, procs, node], text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)

    with verbs_context() as first, verbs_context() as second:
        said = sorted([first.stdout.readline().strip(), second.stdout.readline().strip()])
        assert said == ["Resource temporarily unavailable", "open"]
        assert rdma_entries(stats(c).rdma.current)[name][0] == 1
        assert rdma_entries(stats(c).rdma.limit)[name] == (1, 2000)
        first.communicate()
        second.communicate()
    if not c.lab.stock and not c.lab.runc_binary:  # runc's update leaves it alone
        c.task.Update(resources=protos.any_pb2.Any(value=json.dumps({"rdma": {name: {"hcaHandles": 7}}}).encode()))
        assert rdma_limit(c, name) == [name, "hca_handle=7", "hca_object=2000"]
