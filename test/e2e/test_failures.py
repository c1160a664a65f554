# SPDX-License-Identifier: Apache-2.0
"""A Create that fails leaves nothing: no process, mount, cgroup, descriptor or FIFO end, and no task."""
import errno
import os

import pytest

import host
import protos
import ttrpc
from checks import fails


def bad_mount(c):
    c.bundle.mount("/x", "bind", "/no/such/source", "bind")


def bad_filesystem(c):
    c.bundle.mount("/x", "nosuchfs", "none")


def bad_mount_option(c):
    c.bundle.mount("/x", "tmpfs", "tmpfs", "size=nonsense")


def bad_namespace_path(c):
    c.bundle.namespace("network")["path"] = "/no/such/netns"


def wrong_namespace_path(c):
    c.bundle.namespace("network")["path"] = "/proc/self/ns/uts"


def bad_namespace_type(c):
    c.config["linux"]["namespaces"].append({"type": "dream"})


def no_rootfs(c):
    c.config["root"]["path"] = "no-such-rootfs"


def failing_hook(c):
    c.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}


def missing_hook(c):
    c.config["hooks"] = {"createRuntime": [{"path": "/no/such/hook"}]}


def failing_create_container_hook(c):
    c.config["hooks"] = {"createContainer": [{"path": "/bin/false"}]}


def hook_that_takes_too_long(c):
    c.config["hooks"] = {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1,
                                       "env": [c.lab.token_variable]}]}


def hostname_without_uts(c):
    c.bundle.without_namespace("uts")


def global_sysctl(c):
    c.config["linux"]["sysctl"] = {"vm.swappiness": "10"}


def unknown_seccomp_action(c):
    c.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_DANCE"}


def unknown_rlimit(c):
    c.config["process"]["rlimits"] = [{"type": "RLIMIT_FUN", "hard": 1, "soft": 1}]


def impossible_memory_limit(c):
    c.config["linux"]["resources"]["memory"] = {"limit": 1 << 30, "swap": 1 << 20}


def no_args(c):
    c.config["process"]["args"] = []


def no_process(c):
    del c.config["process"]


def relative_cwd(c):
    c.config["process"]["cwd"] = "tmp"


def future_oci_version(c):
    c.config["ociVersion"] = "2.0.0"


def device_without_type(c):
    c.config["linux"]["devices"] = [{"path": "/dev/x", "type": "q", "major": 1, "minor": 3}]


KINDS = [bad_mount, bad_filesystem, bad_mount_option, bad_namespace_path, wrong_namespace_path, bad_namespace_type,
         no_rootfs, failing_hook, missing_hook, failing_create_container_hook, hook_that_takes_too_long,
         hostname_without_uts, global_sysctl, unknown_seccomp_action, unknown_rlimit, impossible_memory_limit, no_args,
         no_process, relative_cwd, future_oci_version, device_without_type]

# What an operator must find in the message.
TEXTS = {
    bad_mount: "/no/such/source", bad_filesystem: "nosuchfs", bad_namespace_path: "/no/such/netns",
    bad_namespace_type: "dream", no_rootfs: "no-such-rootfs", missing_hook: "/no/such/hook",
    failing_hook: "/bin/false", hook_that_takes_too_long: "sleep", global_sysctl: "vm.swappiness",
    unknown_seccomp_action: "SCMP_ACT_DANCE", unknown_rlimit: "RLIMIT_FUN", hostname_without_uts: "uts",
    relative_cwd: "cwd", no_args: "args", no_process: "process", future_oci_version: "2.0.0",
    bad_mount_option: "/x", device_without_type: "devices[0]",
}

# Taken by runc 1.1.5 and crun 1.8.1.
ACCEPTED = {"belay": set(), "runc": {future_oci_version}, "crun": {relative_cwd, device_without_type}}

# By the stock shim, or refused later and less clearly.
STOCK_ACCEPTS = {wrong_namespace_path, future_oci_version, hostname_without_uts, device_without_type}


def assert_nothing_left(lab, c, fds):
    with fails(ttrpc.NOT_FOUND):
        c.state()
    # What undoes a Create has said that it is done before it is reaped.
    host.wait_for(lambda: lab.processes() == [c.shim.pid], lambda: f"no other process: {c.lab.leftovers()}")
    assert not host.mounts_below(lab.dir)
    assert not lab.cgroups()
    host.wait_for(lambda: len(c.shim.fds()) <= len(fds), f"descriptors are closed: {c.shim.fds()}")
    for stream in (c.stdout, c.stderr):
        assert fifo_is_free(stream)
    assert not [e for e in lab.containerd.of(c.id)]


def fifo_is_free(stream):
    """Nobody but we hold it: without our own reader, a non-blocking open for writing fails."""
    stream.close()
    try:
        os.close(os.open(stream.path, os.O_WRONLY | os.O_NONBLOCK))
        return False
    except OSError as error:
        return error.errno == errno.ENXIO
    finally:
        stream.open()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_a_failed_create_leaves_nothing(lab, kind):
    if lab.stock and kind in STOCK_ACCEPTS:
        pytest.skip("runc 1.1 takes it, or tells another step's error")
    if kind in ACCEPTED[lab.runtime]:
        pytest.skip(f"{lab.runtime} takes it")
    c = lab.container("true").pipes()
    kind(c)
    c.launch()
    fds = c.shim.fds()
    with pytest.raises(ttrpc.Error) as info:
        c.create()
    error = info.value
    assert error.code not in (ttrpc.NOT_FOUND, ttrpc.ALREADY_EXISTS)  # those have a meaning of their own
    if not lab.stock:
        # A binary's own words are often fewer.
        assert (TEXTS.get(kind, "") if lab.runtime == "belay" else "OCI runtime create failed: ") in error.message, error
        assert_nothing_left(lab, c, fds)
    c.deleted = True


def test_after_a_failed_create_the_id_is_free_again(lab, stock):
    if stock:
        pytest.skip("containerd removes the bundle first, and so does runc need it")
    c = lab.container("sh", "-c", "exit 5")
    bad_mount(c)
    with pytest.raises(ttrpc.Error):
        c.create()
    c.config["mounts"].pop()
    c.bundle.write()
    assert c.run().wait().status == 5


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"ociVersion": 1}', "{}" * 2, '{"process": []}'])
def test_a_config_that_is_no_config_is_refused(lab, text):
    c = lab.container("true").launch()
    (c.bundle.path / "config.json").write_text(text)
    with pytest.raises(ttrpc.Error):
        c.create()
    c.deleted = True


def test_a_bundle_that_does_not_exist_is_refused(lab):
    c = lab.container("true").launch()
    with pytest.raises(ttrpc.Error) as info:
        c.create(bundle="/no/such/bundle")
    assert info.value.code != ttrpc.NOT_FOUND or lab.stock
    c.created, c.deleted = False, True


def test_a_rootfs_mount_that_fails_undoes_the_ones_before(lab):
    c = lab.container("true").launch()
    mounts = [{"type": "bind", "source": str(lab.template), "options": ["rbind", "ro"]},
              {"type": "nosuchfs", "source": "none"}]
    with pytest.raises(ttrpc.Error) as info:
        c.create(rootfs=mounts)
    assert "nosuchfs" in info.value.message or lab.stock
    assert not host.mounts_below(lab.dir)
    c.deleted = True


def test_a_failure_after_the_rootfs_is_mounted_unmounts_it(lab):
    c = lab.container("true")
    bad_mount(c)
    with pytest.raises(ttrpc.Error):
        c.create(rootfs=[{"type": "bind", "source": str(lab.template), "options": ["rbind", "ro"]}])
    if not lab.stock:  # 1.6 leaves it to `delete`
        assert not host.mounts_below(lab.dir)
    c.deleted = True


def test_a_fifo_that_is_not_there_fails_the_create(lab):
    c = lab.container("true").launch()
    fds = c.shim.fds()
    with pytest.raises(ttrpc.Error) as info:
        c.task.Create(bundle=str(c.bundle.path), stdout="/no/such/fifo", stderr="/no/such/fifo")
    assert "/no/such/fifo" in info.value.message
    c.created = True
    if not lab.stock:
        host.wait_for(lambda: len(c.shim.fds()) <= len(fds), "descriptors are closed")
    c.deleted = True


def test_a_missing_program_is_named_and_leaves_nothing(lab):
    for args, text in ((["no-such-program"], "executable file not found"), (["/no/such"], "no such file or directory"),
                       (["/etc/passwd"], "permission denied")):
        c = lab.container(*args)
        with pytest.raises(ttrpc.Error) as info:
            c.run()
        if lab.runtime == "crun":  # which has it in other words, and does not always name the program
            assert "no such file" in info.value.message.lower() or "permission denied" in info.value.message.lower()
        else:
            assert args[0] in info.value.message and text in info.value.message.lower()
        try:
            c.delete()
        except ttrpc.Error as error:
            assert error.code == ttrpc.NOT_FOUND
            c.deleted = True


def test_options_of_an_unknown_type_do_no_harm(lab, stock):
    """P10.5: the stock shim panics."""
    if stock:
        pytest.skip("it panics")
    c = lab.container("sh", "-c", "exit 2")
    try:
        c.create(options=protos.wrap(b"\x01\x02", "some.other.Options"))
    except ttrpc.Error as error:
        assert error.code == ttrpc.INVALID_ARGUMENT
        c.create()
    c.start()
    assert c.wait().status == 2


UNSUPPORTED = [
    ("linux.intelRdt", {"closID": "x"}),
    ("linux.resources.blockIO.weight", 10),
    ("process.scheduler", {"policy": "SCHED_BATCH"}),
    ("process.apparmorProfile", "some-profile"),
    ("process.selinuxLabel", "a:b:c:d"),
    ("linux.personality", {"domain": "LINUX32"}),
]


@pytest.mark.parametrize("path, value", UNSUPPORTED, ids=[p for p, _ in UNSUPPORTED])
def test_a_field_is_supported_or_refused_by_name_never_ignored(lab, stock, path, value):
    if stock:
        pytest.skip("runc 1.1 ignores some")
    c = lab.container("true")
    at = c.config
    *parents, last = path.split(".")
    for name in parents:
        at = at.setdefault(name, {})
    at[last] = value
    try:
        c.create()
    except ttrpc.Error as error:
        words = error.message.lower().replace(" ", "")  # runc: "selinux label"
        assert lab.runtime == "crun" or last.lower() in words or parents[-1].lower() in words, error
        c.deleted = True
