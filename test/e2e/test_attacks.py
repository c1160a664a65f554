# SPDX-License-Identifier: Apache-2.0
"""What an image or a container may try against its host. All of it must fail."""
import hashlib
import os
import pathlib

import pytest

import host
import ttrpc


def attempt(lab, c):
    """Runs it if it may be run at all; its output."""
    try:
        c.run()
    except ttrpc.Error as error:
        if c.task.start.State().exception():
            c.deleted = True
        return f"refused: {error.message}"
    c.wait()
    return (c.stdout.read_all() + c.stderr.read_all()).decode()


@pytest.mark.parametrize("fd", [3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
@pytest.mark.parametrize("form", ["/proc/self/fd/{}", "/proc/self/fd/{}/../..", "link"])
def test_cwd_through_a_leaked_descriptor(lab, fd, form):
    """CVE-2024-21626: a descriptor of the host's file system as working directory."""
    c = lab.container("sh", "-c", "pwd; ls; cat ../../../../../../host-mark ../../etc/shadow").pipes()
    target = form.format(fd)
    if form == "link":
        (c.bundle.rootfs / "link").symlink_to(f"/proc/self/fd/{fd}")
        target = "/link"
    c.config["process"]["cwd"] = target
    out = attempt(lab, c)
    assert "unreachable" not in out and "root:" not in out, out
    assert out.startswith("refused") or "can't open" in out or "No such file" in out, out


def test_an_execs_cwd_through_a_leaked_descriptor(lab):
    c = lab.container("sleep", "1000").run()
    for fd in range(3, 15):
        e = c.exec("sh", "-c", "pwd; cat ../../../../etc/shadow", cwd=f"/proc/self/fd/{fd}").pipes()
        try:
            e.add().start()
        except ttrpc.Error:
            e.delete()
            continue
        e.wait()
        out = e.stdout.read_all()
        assert b"unreachable" not in out and b"root:" not in out, out


OUTSIDE = ["/../../../../../..{}", "{}", "../../../../../../../..{}"]


@pytest.mark.parametrize("form", OUTSIDE)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_a_symlink_that_leads_a_mount_target_out_of_the_rootfs(lab, form, kind):
    """CVE-2021-30465 and its many relatives."""
    victim = lab.new_path("victim")
    victim.mkdir()
    (victim / "mark").write_text("host")
    c = lab.container("sh", "-c", "cat /evil/mark /evil/sub/mark").pipes()
    (c.bundle.rootfs / "evil").symlink_to(form.format(victim))
    source = lab.new_path("source")
    source.mkdir()
    if kind == "bind":
        c.bundle.mount("/evil/sub", "bind", source, "rbind")
    else:
        c.bundle.mount("/evil/sub", "tmpfs", "tmpfs", "mode=777")
    attempt(lab, c)
    assert sorted(os.listdir(victim)) == ["mark"]
    assert not [m for m in host.mounts_below(lab.dir) if "victim" in m]


@pytest.mark.parametrize("name", ["proc", "dev", "sys"])
def test_a_symlink_in_the_place_of_a_system_directory(lab, name):
    """CVE-2023-27561, CVE-2021-30465: the image replaces /proc, /dev or /sys."""
    if lab.runtime == "runc" and name == "dev":
        pytest.skip("runc 1.1.5 makes its links in the host's directory")
    victim = lab.new_path("victim")
    victim.mkdir()
    c = lab.container("sh", "-c", "ls /").pipes()
    (c.bundle.rootfs / name).rmdir()
    (c.bundle.rootfs / name).symlink_to(victim)
    attempt(lab, c)
    assert not os.listdir(victim)
    assert not [m for m in host.mounts_below(lab.dir) if "victim" in m]


def test_a_mount_over_proc_is_refused_or_stays_inside(lab):
    """CVE-2019-16884: a fake /proc would make the engine write labels and sysctls to files."""
    c = lab.container("sh", "-c", "cat /proc/self/status").pipes()
    fake = lab.new_path("fake")
    (fake / "self").mkdir(parents=True)
    (fake / "self/status").write_text("fake")
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_forward").write_text("")
    c.bundle.mount("/proc", "bind", fake, "rbind")
    c.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    attempt(lab, c)
    assert (fake / "sys/net/ipv4/ip_forward").read_text() == ""


def test_masked_paths_through_symlinks_mask_nothing_of_the_host(lab):
    """CVE-2025-31133: /dev/null of the image is a symlink."""
    victim = lab.new_path("victim")
    victim.write_text("host")
    c = lab.container("sh", "-c", "cat /link").pipes()
    (c.bundle.rootfs / "link").symlink_to(victim)
    c.config["linux"]["maskedPaths"].append("/link")
    attempt(lab, c)
    assert victim.read_text() == "host"


@pytest.fixture
def own_copy(lab):
    """A copy of the shim's binary that the attack may go for."""
    copy = lab.dir / lab.shim.name
    copy.write_bytes(lab.shim.read_bytes())
    copy.chmod(0o755)
    lab.shim = copy
    return copy


OVERWRITE = """
for pid in /proc/[0-9]*; do
  for link in $pid/exe; do
    if (echo overwritten > $link) 2>/dev/null; then echo "wrote $link"; fi
  done
done
"""


def test_the_shims_binary_cannot_be_written_from_a_container(lab, stock, own_copy):
    """CVE-2019-5736, the easy way: a container in the host's pid namespace opens /proc/PID/exe."""
    if stock:
        pytest.skip("its binary is only safe while it runs")
    digest = hashlib.sha256(own_copy.read_bytes()).digest()
    c = lab.container("sh", "-c", OVERWRITE).pipes()
    c.bundle.without_namespace("pid")
    caps = ["CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"]
    c.config["process"]["capabilities"] = {k: caps for k in ("bounding", "effective", "permitted")}
    shim = c.launch().shim.pid
    # Only the shim's own link: what runs on the machine besides is none of our business.
    c.config["process"]["args"][2] = OVERWRITE.replace("/proc/[0-9]*", f"/proc/{shim} /proc/self /proc/1")
    c.bundle.write()
    out = attempt(lab, c)
    assert "wrote" not in out, out
    assert hashlib.sha256(own_copy.read_bytes()).digest() == digest


@pytest.mark.parametrize("program", ["/proc/self/exe", "/evil"])
def test_an_entrypoint_that_is_the_runtime_itself(lab, own_copy, program):
    """CVE-2019-5736, the classic: `exec /proc/self/exe` runs the runtime's binary inside the container,
    which a library of the image then overwrites once the runtime has let go of it."""
    digest = hashlib.sha256(own_copy.read_bytes()).digest()
    c = lab.container(program, "-v").pipes()
    (c.bundle.rootfs / "evil").symlink_to("/proc/self/exe")
    attempt(lab, c)
    d = lab.container("sleep", "100").run()
    # A process that holds the binary open and waits until nobody runs it any more.
    d.exec("sh", "-c", "for i in 3 4 5 6 7 8 9; do echo x > /proc/self/fd/$i; done; echo x > /proc/1/exe").run()
    assert hashlib.sha256(own_copy.read_bytes()).digest() == digest


def test_a_containers_view_of_its_parent_shows_no_host_file(lab, stock):
    """Through /proc/1/root, /proc/self/cwd and friends there is only the container."""
    r = lab.sh("ls /proc/1/root/ /proc/self/root/; ls -l /proc/1/cwd /proc/1/exe; cat /proc/1/root/etc/passwd")
    assert "belay-e2e" not in r.out and str(pathlib.Path(__file__).parent) not in r.out
    assert "user:x:1000" in r.out


POLL = """echo ready; while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] || {
 cat $p/root$0 $p/cwd/config.json; ls -l $p/fd | grep -e '-> /sys' -e pidfd; } 2>/dev/null; done; done"""


def test_an_exec_brings_nothing_of_the_host_into_sight(lab):
    """CVE-2016-9962: with CAP_SYS_PTRACE a container sees into a process that is on its way in."""
    if lab.stock:
        pytest.skip("what runc shows is not our business")
    mark = lab.new_path("mark")
    mark.write_text("a file of the host")
    c = lab.container("sh", "-c", POLL, str(mark)).pipes()
    for caps in c.config["process"]["capabilities"].values():
        caps.append("CAP_SYS_PTRACE")
    c.run()
    c.stdout.read_until(b"ready\n")
    for _ in range(60):
        assert c.exec("true").run().status == 0
    c.kill()
    c.wait()
    assert c.stdout.read_all().replace(b"ready\n", b"") == b""


def test_a_fork_bomb_ends_with_its_container(lab):
    # Init forks once only, before there is a bomb: a shell that cannot fork ends.
    bomb = "for i in 1 2 3 4 5; do (while :; do sleep 1000 & done) & done; wait"
    c = lab.container("sh", "-c", f"({bomb}) & exec sleep 1000")
    c.config["linux"]["resources"]["pids"] = {"limit": 50}
    c.run()
    host.wait_for(lambda: len(c.others()) > 30, "many processes")
    c.kill(all=True)
    assert c.wait().status == 137
    assert not c.others()


def test_an_image_cannot_make_the_engine_read_a_device_or_wait_on_a_fifo(lab):
    """/etc/passwd as a FIFO or as /dev/zero: HOME is looked up in it."""
    for kind in ("fifo", "zero"):
        c = lab.container("sh", "-c", "echo fine").pipes()
        passwd = c.bundle.rootfs / "etc/passwd"
        passwd.unlink()
        if kind == "fifo":
            os.mkfifo(passwd)
        else:
            os.mknod(passwd, 0o666 | 0o020000, os.makedev(1, 5))
        if lab.runtime != "belay" and kind == "fifo":
            continue  # runc and crun wait for a writer
        assert "fine" in attempt(lab, c) or lab.runtime != "belay"
