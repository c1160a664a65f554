# SPDX-License-Identifier: Apache-2.0
"""The systemd cgroup driver, on a machine that systemd runs: the scopes, as systemctl and the kernel show them."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess

import pytest

import bundle
import host
import protos
import ttrpc
from checks import block_device, fails

pytestmark = pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="systemd does not run this machine")

LIMITS = {
    "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
    "cpu": {"shares": 512, "quota": 12345, "period": 50000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 30},
}
# Of these runc and belay must have the same. (CPUWeight is not: runc before 1.3 has another curve.)
PROPERTIES = """Slice Delegate DefaultDependencies MemoryAccounting CPUAccounting IOAccounting TasksAccounting
 MemoryMax MemoryLow MemorySwapMax CPUQuotaPerSecUSec CPUQuotaPeriodUSec TasksMax AllowedCPUs AllowedMemoryNodes
 DevicePolicy KillMode TimeoutStopUSec CollectMode""".split()
RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
FOREVER = "trap 'exit 9' TERM; while :; do sleep 0.1; done"


def systemctl(*args, check=True):
    done = subprocess.run(["systemctl", *args], capture_output=True, text=True, timeout=60 * host.SLOWNESS)
    assert not check or done.returncode == 0, done
    return done.stdout


def show(unit, *names):
    lines = systemctl("show", *(f"--property={n}" for n in names), "--", unit).splitlines()
    return dict(line.split("=", 1) for line in lines)


def is_there(unit):
    return show(unit, "LoadState", "ActiveState") != {"LoadState": "not-found", "ActiveState": "inactive"}


def unit_of(c):
    return f"belay-{c.lab.namespace}-{c.id}.scope"


def options(lab):
    fields = {"binary_name": lab.runc_binary, "root": str(lab.dir / "runtime")} if lab.runc_binary else {}
    return protos.wrap(protos.runc.Options(systemd_cgroup=True, **fields))


def container(lab, *args, slice_name="system.slice", **limits):
    c = lab.container(*(args or ("sh", "-c", FOREVER)))
    c.config["linux"]["cgroupsPath"] = f"{slice_name}:belay:{lab.namespace}-{c.id}"
    c.config["linux"]["resources"].update(limits)
    return c


def run(lab, *args, **more):
    c = container(lab, *args, **more)
    c.create(options=options(lab))
    c.start()
    return c


def end(c):
    c.kill()
    c.wait()
    c.delete()
    assert not is_there(unit_of(c))


def limit(c, name):
    return host.cgroup_file(c.pid(), name.split(".")[0], name).read_text().strip()


def test_the_container_is_a_scope_in_its_slice(lab):
    c = run(lab)
    assert host.read(f"/proc/{c.pid()}/cgroup").decode().splitlines()[-1].endswith(f"/system.slice/{unit_of(c)}")
    shown = show(unit_of(c), "Slice", "Delegate", "ActiveState", "SubState", "ControlGroup", "Transient")
    assert shown == {"Slice": "system.slice", "Delegate": "yes", "ActiveState": "active", "SubState": "running",
                     "ControlGroup": f"/system.slice/{unit_of(c)}", "Transient": "yes"}
    assert [p.pid for p in c.task.Pids().processes if "belay:" in host.cmdline(p.pid)] == []
    assert c.exec("true").run().status == 0
    end(c)
    assert not (host.CGROUP_ROOT / f"system.slice/{unit_of(c)}").exists()


def test_a_slice_below_a_slice(lab):
    name = f"belaytest{os.getpid()}"
    c = run(lab, slice_name=f"{name}-inner.slice")
    assert show(unit_of(c), "ControlGroup")["ControlGroup"] == \
        f"/{name}.slice/{name}-inner.slice/{unit_of(c)}"
    end(c)
    systemctl("stop", f"{name}.slice")


def test_only_processes_of_the_container_are_in_the_scope(lab):
    c = run(lab, "sleep", "1000")
    pids = host.cgroup_file(c.pid(), "pids", "cgroup.procs").read_text().split()
    assert pids == [str(c.pid())]
    end(c)


@pytest.mark.skipif(not host.V2, reason="the files of v2")
def test_limits_are_properties_and_exact_in_the_files(lab):
    c = run(lab, **LIMITS)
    shown = show(unit_of(c), "MemoryMax", "MemoryLow", "MemorySwapMax", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec",
                 "TasksMax", "AllowedCPUs", "AllowedMemoryNodes", "DevicePolicy")
    assert shown == {"MemoryMax": str(64 << 20), "MemoryLow": str(32 << 20), "MemorySwapMax": str(32 << 20),
                     "CPUQuotaPerSecUSec": "250ms", "CPUQuotaPeriodUSec": "50ms", "TasksMax": "30",
                     "AllowedCPUs": "0", "AllowedMemoryNodes": "0", "DevicePolicy": "strict"}
    assert (limit(c, "memory.max"), limit(c, "memory.low")) == (str(64 << 20), str(32 << 20))
    assert limit(c, "cpu.max") == "12345 50000"
    assert (limit(c, "pids.max"), limit(c, "cpuset.cpus")) == ("30", "0")
    systemctl("daemon-reload")
    assert limit(c, "pids.max") == "30"
    end(c)


def test_the_limit_of_one_task_holds_and_lets_the_container_be_made(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("runc itself has more threads than one")
    c = run(lab, "sleep", "1000", pids={"limit": 1})
    assert limit(c, "pids.max") == "1"
    assert show(unit_of(c), "TasksMax")["TasksMax"] == "1"
    end(c)


def test_devices_hold_before_and_after_a_reload_of_systemd(lab):
    c = run(lab)
    script = "mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg; rm /tmp/kmsg; cat /dev/null && echo fine"
    for _ in range(2):
        r = c.exec("sh", "-c", script).run()
        assert "not permitted" in r.err and "fine" in r.out
        systemctl("daemon-reload")
    end(c)


@pytest.mark.skipif(not host.V2, reason="the files of v2")
def test_update_changes_the_properties_and_the_files(lab):
    c = run(lab, **LIMITS)
    resources = {"memory": {"limit": 80 << 20, "swap": 160 << 20}, "cpu": {"quota": 33333, "period": 50000},
                 "pids": {"limit": 40}}
    c.task.Update(resources=protos.any_pb2.Any(type_url=RESOURCES, value=json.dumps(resources).encode()))
    shown = show(unit_of(c), "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "MemoryLow")
    assert shown == {"MemoryMax": str(80 << 20), "TasksMax": "40", "CPUQuotaPerSecUSec": "670ms",
                     "MemoryLow": str(32 << 20)}
    assert (limit(c, "memory.max"), limit(c, "pids.max")) == (str(80 << 20), "40")
    assert limit(c, "cpu.max") == "33333 50000"
    end(c)


def update(c, **resources):
    c.task.Update(resources=protos.any_pb2.Any(type_url=RESOURCES, value=json.dumps(resources).encode()))


def test_an_update_widens_and_narrows_the_devices(lab, stock):
    """On v2 systemd's program is on the scope beside ours: both must let through what is allowed, ours alone be replaced."""
    if stock or lab.runc_binary:
        pytest.skip("runc's update leaves devices alone")
    none, kmsg = {"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}
    c = container(lab)
    c.config["linux"]["resources"]["devices"] = [none]
    c.create(options=options(lab))
    c.start()

    def is_open():
        r = c.exec("sh", "-c", "test -e /tmp/kmsg || mknod /tmp/kmsg c 1 11; : </dev/null && : >/tmp/kmsg && echo open").run()
        assert r.out == "open\n" or "/tmp/kmsg: Operation not permitted" in r.err, r
        return r.out == "open\n"

    assert not is_open()
    for _ in range(2):
        update(c, devices=[none, kmsg])
        assert is_open() and any(d.endswith("/1:11") or d == "/dev/kmsg" for d, _ in devices(unit_of(c)))
        update(c, pids={"limit": 50})
        assert is_open()
        systemctl("daemon-reload")
        assert is_open()
        update(c, devices=[none])
        assert not is_open()
        systemctl("daemon-reload")
        assert not is_open()
    end(c)


@pytest.mark.skipif(not host.V2, reason="the files of v2")
def test_block_io_is_told_to_systemd_and_outlives_a_reload(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("runc tells systemd nothing of it on v2")
    major, minor = block_device()
    device, name = {"major": major, "minor": minor}, f"{major}:{minor}"
    c = run(lab, blockIO={"throttleReadBpsDevice": [{**device, "rate": 1 << 20}],
                          "throttleWriteIOPSDevice": [{**device, "rate": 200}]})
    assert show(unit_of(c), "IOReadBandwidthMax", "IOWriteIOPSMax") == \
        {"IOReadBandwidthMax": f"/dev/block/{name} 1048576", "IOWriteIOPSMax": f"/dev/block/{name} 200"}
    systemctl("daemon-reload")
    systemctl("set-property", "--runtime", unit_of(c), f"IOWriteBandwidthMax=/dev/block/{name} 4096")
    assert limit(c, "io.max") == f"{name} rbps=1048576 wbps=4096 riops=max wiops=200"
    update(c, blockIO={"throttleReadBpsDevice": [{**device, "rate": 0}]})
    assert limit(c, "io.max") == f"{name} rbps=max wbps=4096 riops=max wiops=200"
    end(c)


def test_an_update_that_cannot_be_told_to_systemd_says_so_and_changes_nothing(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("runc speaks to systemd itself")
    alone = lab.dir / "alone"
    alone.mkdir()
    helper = alone / "belay-systemd"
    for path in (lab.shim, pathlib.Path(lab.shim).with_name(helper.name)):
        shutil.copy(path, alone)
    lab.shim = alone / lab.shim.name
    c = run(lab, **LIMITS)
    helper.rename(alone / "away")
    with fails(ttrpc.FAILED_PRECONDITION, "belay-systemd"):
        update(c, pids={"limit": 40})
    assert limit(c, "pids.max") == "30" == show(unit_of(c), "TasksMax")["TasksMax"]
    (alone / "away").rename(helper)
    update(c, pids={"limit": 40})
    assert limit(c, "pids.max") == "40" == show(unit_of(c), "TasksMax")["TasksMax"]
    end(c)


def test_an_empty_prefix_is_runcs(lab):
    c = lab.container("sleep", "1000")
    c.config["linux"]["cgroupsPath"] = f"system.slice::{lab.namespace}-{c.id}"
    c.create(options=options(lab))
    c.start()
    unit = f"-{lab.namespace}-{c.id}.scope"
    assert host.read(f"/proc/{c.pid()}/cgroup").decode().splitlines()[-1].endswith(f"/system.slice/{unit}")
    c.kill()
    c.wait()
    c.delete()
    assert not is_there(unit)


def test_systemctl_stop_ends_the_container_and_the_exit_is_told(lab):
    c = run(lab)
    systemctl("stop", unit_of(c))
    assert c.wait().status == 9
    c.delete()
    assert not is_there(unit_of(c))


def test_a_dead_shims_scope_is_stopped_by_delete(lab, stock):
    if stock:
        pytest.skip("its delete asks runc")
    c = run(lab)
    c.delete_without_shim()
    assert not is_there(unit_of(c))


def test_a_unit_that_is_there_is_refused_and_left_alone(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("runc 1.1 takes the unit for its own")
    unit = f"belay-{lab.namespace}-c0.scope"
    other = subprocess.Popen(["systemd-run", "--scope", f"--unit={unit}", "sleep", "1000"],
                             stderr=subprocess.DEVNULL, env={**os.environ, host.TOKEN: "none"})
    try:
        host.wait_for(lambda: is_there(unit), "the other's scope")
        c = container(lab)
        assert unit_of(c) == unit
        with pytest.raises(ttrpc.Error) as info:
            c.create(options=options(lab))
        assert "has processes in it" in info.value.message
        c.deleted = True
        assert other.poll() is None and show(unit, "ActiveState")["ActiveState"] == "active"
    finally:
        other.kill()
        other.wait()


def test_a_failed_unit_of_the_name_is_no_obstacle(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("runc 1.1 leaves the failed unit behind")
    unit = f"belay-{lab.namespace}-c0.scope"
    subprocess.run(["systemd-run", "--scope", f"--unit={unit}", "--property=RuntimeMaxSec=1", "sleep", "1000"],
                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=60 * host.SLOWNESS)
    host.wait_for(lambda: show(unit, "ActiveState")["ActiveState"] == "failed", "a failed unit")
    end(run(lab))


def test_a_failed_create_leaves_no_unit(lab):
    c = container(lab, "/no/such/program")
    with pytest.raises(ttrpc.Error):
        c.create(options=options(lab))
        c.start()
    if c.created and not c.deleted:
        try:
            c.delete()
        except ttrpc.Error:
            c.deleted = True
    assert not is_there(unit_of(c))


def test_annotations_are_properties(lab):
    c = container(lab)
    c.config["annotations"] = {"org.systemd.property.TimeoutStopUSec": "uint64 7000000",
                               "org.systemd.property.CollectMode": "'inactive-or-failed'",
                               "org.systemd.property.SendSIGHUP": "true"}
    c.create(options=options(lab))
    c.start()
    assert show(unit_of(c), "TimeoutStopUSec", "CollectMode", "SendSIGHUP") == \
        {"TimeoutStopUSec": "7s", "CollectMode": "inactive-or-failed", "SendSIGHUP": "yes"}
    end(c)


def test_an_annotation_that_systemd_does_not_take_is_told(lab):
    c = container(lab)
    c.config["annotations"] = {"org.systemd.property.NoSuchThing": "true"}
    with pytest.raises(ttrpc.Error) as info:
        c.create(options=options(lab))
    c.deleted = True
    assert "NoSuchThing" in info.value.message
    assert not is_there(unit_of(c))


def test_a_path_of_the_other_driver_is_refused(lab, stock):
    c = lab.container("true")
    with pytest.raises(ttrpc.Error) as info:
        c.create(options=options(lab))
    c.deleted = True
    assert "slice:prefix:name" in info.value.message


def test_a_pause_and_a_delete_of_the_paused(lab):
    c = run(lab)
    c.task.Pause()
    assert c.status() == "PAUSED"
    c.task.Resume()
    end(c)


def test_twenty_at_once(lab):
    containers = [container(lab, "sleep", "1000", pids={"limit": 5}) for _ in range(20)]

    def life(c):
        c.create(options=options(lab))
        c.start()
        assert show(unit_of(c), "TasksMax")["TasksMax"] == "5"
        end(c)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(life, containers))


def test_without_the_helper_the_error_says_so(lab, stock):
    if stock or lab.runc_binary:
        pytest.skip("runc speaks to systemd itself")
    alone = lab.dir / "alone"
    alone.mkdir()
    shutil.copy(lab.shim, alone)
    lab.shim = alone / lab.shim.name
    c = container(lab)
    with fails(ttrpc.FAILED_PRECONDITION, "belay-systemd"):
        c.create(options=options(lab))
    c.deleted = True


@pytest.fixture
def oci_bundle(lab):
    def make(ident):
        b = bundle.Bundle(lab.dir / ident, lab.template, ("sleep", "1000"),
                          f"system.slice:belay:{lab.namespace}-{ident}", lab.token_variable)
        b.config["linux"]["resources"].update(LIMITS)
        b.write()
        return b
    return make


def devices(unit):
    """Sorted: "char-136" and "char-pts" are the same, and so are /dev/null's path and its number."""
    lines = systemctl("show", unit, "--property=DeviceAllow").split("\n")
    numbers = {"char-pts": "char-136"}
    found = set()
    for line in filter(None, lines):
        path, access = line.removeprefix("DeviceAllow=").split()
        found.add((numbers.get(path, path), access))
    return found


def test_the_properties_are_those_of_runc(lab, oci_bundle, stock):
    runc = shutil.which("runc")
    if not runc or stock or lab.runc_binary:
        pytest.skip("compares belay's command line with an installed runc")
    belay = pathlib.Path(lab.shim).parent / "belay"
    got = {}
    for name, command in (("runc", [runc, "--root", lab.dir / "r"]), ("belay", [belay, "--root", lab.dir / "b"])):
        b = oci_bundle(name)
        command = [*map(str, command)]
        subprocess.run([*command, "--systemd-cgroup", "run", "-d", "--bundle", str(b.path), name], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60 * host.SLOWNESS)
        unit = f"belay-{lab.namespace}-{name}.scope"
        got[name] = show(unit, *PROPERTIES), devices(unit)
        subprocess.run([*command, "delete", "-f", name], check=True, timeout=60 * host.SLOWNESS)
        assert not is_there(unit)
    print(json.dumps(got, default=sorted, indent=1))
    assert got["belay"] == got["runc"]
