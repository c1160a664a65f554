# SPDX-License-Identifier: Apache-2.0
"""config.json, `linux`: namespaces, masks, sysctl and seccomp."""
import errno
import os
import pathlib
import signal
import subprocess

import pytest

import host
import protos

KINDS = {"pid": "pid", "ipc": "ipc", "uts": "uts", "mount": "mnt", "network": "net", "cgroup": "cgroup"}
LINKS = "for n in pid ipc uts mnt net cgroup user; do readlink /proc/self/ns/$n; done"


def ns(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def test_listed_namespaces_are_new_and_the_others_are_the_hosts(lab):
    out = lab.sh(LINKS).out.split()
    mine = [ns("self", k) for k in ("pid", "ipc", "uts", "mnt", "net", "cgroup", "user")]
    assert [a != b for a, b in zip(out, mine)] == [True] * 5 + [False] * 2


@pytest.mark.parametrize("kind", ["pid", "ipc", "network"])
def test_without_a_namespace_the_container_is_in_the_hosts(lab, kind):
    c = lab.container("sleep", "100")
    c.bundle.without_namespace(kind)
    if kind == "network":  # sysfs of a foreign network namespace may not be mounted
        c.config["mounts"] = [m for m in c.config["mounts"] if m["type"] != "sysfs"]
    c.run()
    assert ns(c.pid(), KINDS[kind]) == ns("self", KINDS[kind])


def test_a_cgroup_namespace(lab):
    def edit(c):
        c.config["linux"]["namespaces"].append({"type": "cgroup"})

    out = lab.sh("cat /proc/self/cgroup", edit).out
    assert {line.rpartition(":")[2] for line in out.splitlines()} == {"/"}


@pytest.mark.parametrize("kind", ["ipc", "uts", "network", "pid"])
def test_a_namespace_joined_by_its_path(lab, kind):
    """A pod: the second container joins the namespaces of the first."""
    first = lab.container("sleep", "100").run()
    second = lab.container("sleep", "100")
    second.bundle.namespace(kind)["path"] = f"/proc/{first.pid()}/ns/{KINDS[kind]}"
    if kind == "uts":
        del second.config["hostname"]
    second.run()
    assert ns(second.pid(), KINDS[kind]) == ns(first.pid(), KINDS[kind])
    assert ns(second.pid(), "mnt") != ns(first.pid(), "mnt")
    out = second.exec("readlink", f"/proc/self/ns/{KINDS[kind]}").run().out
    assert out.strip() == ns(first.pid(), KINDS[kind])


def test_an_exec_after_the_path_is_gone_still_joins(lab):
    first = lab.container("sleep", "100").run()
    second = lab.container("sleep", "100")
    second.bundle.namespace("network")["path"] = f"/proc/{first.pid()}/ns/net"
    second.run()
    network = ns(first.pid(), "net")
    first.kill()
    first.wait()
    first.delete()
    assert second.exec("readlink", "/proc/self/ns/net").run().out.strip() == network


def test_hostname_and_domainname(lab):
    def edit(c):
        c.config["hostname"] = "a-name"
        if lab.runtime != "runc":  # it learned it in 1.2
            c.config["domainname"] = "a.domain"

    out = lab.sh("hostname; cat /proc/sys/kernel/domainname", edit).out.splitlines()
    assert out[0] == "a-name" and (lab.runtime == "runc" or out[1] == "a.domain")
    assert host.os.uname().nodename != "a-name"


def test_the_network_namespace_has_a_loopback_and_nothing_else(lab):
    out = lab.sh("tail -n +3 /proc/net/dev | cut -d: -f1; cat /sys/class/net/lo/flags").out.split()
    interfaces = [name for name in out[:-1] if not name.startswith(("sit", "tunl", "ip6", "ip_vti", "gre", "erspan"))]
    assert interfaces == ["lo"]


# User namespaces.

def user_namespace(c, size=65536):
    c.config["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": size}]
    c.config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    for directory, names, files in os.walk(c.bundle.rootfs):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            if os.stat(path, follow_symlinks=False).st_nlink == 1 or name == "." or name in names:
                os.chown(path, 100000, 100000, follow_symlinks=False)
    for path in (c.bundle.path, c.lab.dir, c.lab.dir / "bundles"):
        path.chmod(0o711)


def test_a_user_namespace_with_mappings(lab):
    c = lab.container("sleep", "100")
    user_namespace(c)
    c.run()
    assert ns(c.pid(), "user") != ns("self", "user")
    assert host.read(f"/proc/{c.pid()}/uid_map").split() == [b"0", b"100000", b"65536"]
    assert os.stat(f"/proc/{c.pid()}").st_uid == 100000
    r = c.exec("sh", "-c", "id -u; cat /proc/self/gid_map; touch /tmp/x; stat -c %u:%g /tmp/x; stat -c %u /proc/1").run()
    assert r.out.split() == ["0", "0", "100000", "65536", "0:0", "0"], r
    assert os.stat(c.bundle.rootfs / "tmp/x").st_uid == 100000


@pytest.mark.runs_with("belay", why="it needs io_uid for that")
def test_stdio_can_be_opened_again_in_a_user_namespace(lab, stock):
    if stock:
        pytest.skip("runc 1.1 needs io_uid for that, and leaves /dev/mqueue to nobody's group")
    c = lab.container("sh", "-c", "echo a >/dev/stdout; stat -c %u:%g /dev/mqueue; exec sleep 100").pipes()
    user_namespace(c)
    c.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    c.run()
    assert c.stdout.read_until(b"0:0\n") == b"a\n0:0\n", c.stderr.read_all()
    for uid in (0, 1000):
        e = c.exec("sh", "-c", "echo b >/dev/stdout; cat /dev/stdin", user={"uid": uid, "gid": uid}).run()
        assert (e.out, e.err) == ("b\n", ""), e


def test_io_uid_and_io_gid_own_the_streams_of_init_and_execs(lab):
    """R59, as Docker with userns-remap sets them: the container's root opens /dev/stdout again."""
    c = lab.container("sh", "-c", "echo a >/dev/stdout; exec sleep 100").pipes()
    user_namespace(c)
    binary = {"binary_name": lab.runc_binary, "root": str(lab.dir / "runtime")} if lab.runc_binary else {}
    c.create(options=protos.wrap(protos.runc.Options(io_uid=100000, io_gid=100001, **binary)))
    owner = os.stat(f"/proc/{c.pid()}/fd/1")
    assert (owner.st_uid, owner.st_gid) in ((100000, 100001), (100000, 100000))  # the second: for its root's group
    c.start()
    assert c.stdout.read_until(b"a\n") == b"a\n"
    e = c.exec("sh", "-c", "echo b >/dev/stdout; echo c >/dev/stderr").run()
    assert (e.out, e.err) == ("b\n", "c\n"), e


def test_io_uid_and_io_gid_own_the_pipes_of_a_log(lab, stock):
    """R59"""
    if stock:
        pytest.skip("belay's own")
    log = lab.new_path("log")
    c = lab.container("sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr")
    user_namespace(c)
    binary = {"binary_name": lab.runc_binary, "root": str(lab.dir / "runtime")} if lab.runc_binary else {}
    c.create(stdout=f"log://{log}?format=raw",
             options=protos.wrap(protos.runc.Options(io_uid=100000, io_gid=100001, **binary)))
    assert [os.stat(f"/proc/{c.pid()}/fd/{fd}").st_uid for fd in (1, 2)] == [100000, 100000]
    c.start()
    assert c.wait().status == 0
    c.delete()
    assert sorted(log.read_text().split()) == ["a", "b"]


def test_options_of_checkpoints_and_of_a_runtimes_root_change_nothing(lab):
    """criu_path and the others are for binaries; the engine keeps no state below a root."""
    c = lab.container("true")
    binary = {"binary_name": lab.runc_binary} if lab.runc_binary else {}
    c.create(options=protos.wrap(protos.runc.Options(criu_image_path="/no/image", criu_work_path="/no/work",
                                                     root=str(lab.dir / "runtime"), **binary)))
    c.start()
    assert c.wait().status == 0
    if not (lab.stock or lab.runc_binary):
        assert not (lab.dir / "runtime").exists()


def test_another_user_in_a_user_namespace(lab):
    c = lab.container("sh", "-c", "id -u; id -G; grep CapEff /proc/self/status").pipes()
    user_namespace(c)
    for stream in (c.stdout, c.stderr):
        os.chown(stream.path, 101000, 101000)
    c.config["process"]["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [50]}
    c.run()
    c.wait()
    assert c.stdout.read_all().split() == [b"1000", b"1000", b"50", b"CapEff:", b"0" * 16]


@pytest.mark.runs_with("belay", why="it wants mappings, or another one")
def test_the_runtimes_own_user_namespace_by_its_path_is_none(lab, stock):
    if stock:
        pytest.skip("runc 1.1 wants mappings even then")
    c = lab.container("sleep", "100")
    c.config["linux"]["namespaces"].append({"type": "user", "path": "/proc/self/ns/user"})
    c.run()
    assert c.exec("readlink", "/proc/self/ns/user").run().out.strip() == ns("self", "user")


def test_a_user_that_is_not_mapped_is_refused(lab):
    c = lab.container("true")
    user_namespace(c, size=1000)
    c.config["process"]["user"] = {"uid": 5000, "gid": 0}
    with pytest.raises(Exception) as info:
        c.run()
    assert "5000" in str(info.value) or lab.runtime == "runc"
    if c.task.start.State().exception():
        c.deleted = True


# What the kernel shows.

def test_masked_paths_are_empty_and_read_only_paths_cannot_be_written(lab):
    def edit(c):
        (c.bundle.rootfs / "secret").mkdir()
        (c.bundle.rootfs / "secret/file").write_text("x")
        (c.bundle.rootfs / "hidden").write_text("x")
        (c.bundle.rootfs / "fixed").mkdir()
        c.config["linux"]["maskedPaths"] += ["/secret", "/hidden", "/does/not/exist"]
        c.config["linux"]["readonlyPaths"] += ["/fixed", "/neither/does/this"]

    r = lab.sh("ls /secret; cat /hidden; touch /fixed/x || echo ro; echo 1 > /proc/sys/kernel/hostname || echo ro; "
               "head -c 1 /proc/kcore | wc -c; ls /sys/firmware", edit)
    assert r.out.split() == ["ro", "ro", "0"]


def test_sysctl(lab):
    def edit(c):
        c.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}

    assert lab.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", edit).out.split() == ["1", "4242"]


def seccomp(action, names, default="SCMP_ACT_ALLOW", **rule):
    def edit(c):
        c.config["linux"]["seccomp"] = {
            "defaultAction": default, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": names, "action": action, **rule}]}
    return edit


def test_seccomp_answers_with_an_error(lab):
    r = lab.sh("mkdir /x; echo $?", seccomp("SCMP_ACT_ERRNO", ["mkdir", "mkdirat", "no_such_call"]))
    assert os.strerror(errno.EPERM) in r.err and r.out == "1\n"
    r = lab.sh("mkdir /x", seccomp("SCMP_ACT_ERRNO", ["mkdir", "mkdirat"], errnoRet=errno.EXDEV))
    assert os.strerror(errno.EXDEV) in r.err


def test_seccomp_kills(lab):
    c = lab.container("sleep", "100")
    seccomp("SCMP_ACT_KILL_PROCESS", ["mkdir", "mkdirat"])(c)
    c.run()
    e = c.exec("mkdir", "/x").add()
    e.start()
    assert e.wait().status == 128 + signal.SIGSYS
    assert c.exec("true").run().status == 0


def test_seccomp_compares_arguments(lab):
    args = [{"index": 0, "value": 9, "op": "SCMP_CMP_EQ"}]
    r = lab.sh("kill -9 1; kill -9 99; kill -15 99", seccomp("SCMP_ACT_ERRNO", ["kill"], args=[
        {"index": 1, "value": args[0]["value"], "op": "SCMP_CMP_EQ"}]))
    assert [os.strerror(errno.EPERM) in line for line in r.err.splitlines()] == [True, True, False]


@pytest.mark.parametrize("nnp", [True, False])
def test_seccomp_applies_with_and_without_no_new_privileges(lab, nnp):
    def edit(c):
        seccomp("SCMP_ACT_ERRNO", ["mkdir", "mkdirat"])(c)
        c.config["process"]["noNewPrivileges"] = nnp

    r = lab.sh("grep '^Seccomp:\\|NoNewPrivs' /proc/self/status; mkdir /x", edit)
    assert r.out.split() == ["NoNewPrivs:", str(int(nnp)), "Seccomp:", "2"]
    assert r.status == 1


def test_a_call_that_is_newer_than_the_profile_does_not_exist(lab):
    """With EPERM a libc would give up, where with ENOSYS it falls back to an older call."""
    if lab.runtime == "crun":
        pytest.skip("EPERM for all of them")
    if lab.stock:
        pytest.skip("another list of calls")
    program = pathlib.Path(__file__).parent / "newcall.c"

    def edit(c):
        subprocess.run(["gcc", "-static", "-o", c.bundle.rootfs / "newcall", program], check=True)
        allowed = sorted({line.split()[1].removeprefix("__NR_") for line in subprocess.run(
            ["gcc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], check=True,
            capture_output=True, text=True).stdout.splitlines() if " __NR_" in line} - {"mkdir"})
        seccomp("SCMP_ACT_ALLOW", allowed, default="SCMP_ACT_ERRNO")(c)

    r = lab.run("/newcall", edit=edit)
    assert r.out == f"mkdir {errno.EPERM} 5000 {errno.ENOSYS}\n", r


def test_a_profile_that_denies_what_set_up_needs_is_still_applied_last(lab):
    """The engine needs mount, setuid, capset and more; the program must not have them."""
    denied = ["mount", "umount2", "pivot_root", "setuid", "setgid", "setgroups", "capset", "sethostname", "chdir",
              "unshare", "setns", "prctl", "getcwd"]
    if lab.stock:
        denied.remove("getcwd")  # runc 1.1 checks the directory after the filter
        denied.remove("prctl")
    c = lab.container("sh", "-c", "mount -t tmpfs x /mnt; echo $?").pipes()
    seccomp("SCMP_ACT_ERRNO", denied)(c)
    c.config["process"]["capabilities"] = {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")}
    c.run()
    c.wait()
    out, err = c.stdout.read_all(), c.stderr.read_all()
    assert out == b"1\n" and b"permi" in err, (out, err)
