# SPDX-License-Identifier: Apache-2.0
"""config.json, `root` and `mounts`, and the rootfs mounts of the Create request."""
import os
import pathlib
import time

import pytest

import host

MOUNTINFO = "cat /proc/self/mountinfo"


def mounts(text):
    """{mount point: (options of the mount, fs type, options of the file system, propagation)}"""
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        found[fields[4]] = (fields[5].split(","), kind[0], kind[2].split(","), " ".join(fields[6:]))
    return found


def mount(*args):
    return lambda c: c.bundle.mount(*args)


def test_the_default_mounts_are_there(lab):
    table = mounts(lab.sh(MOUNTINFO).out)
    kinds = {point: table[point][1] for point in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/run")}
    assert kinds == {"/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs",
                     "/dev/mqueue": "mqueue", "/sys": "sysfs", "/run": "tmpfs"}
    assert {"nosuid", "nodev", "noexec", "ro"} <= set(table["/sys"][0])
    assert {"nosuid", "nodev", "noexec"} <= set(table["/proc"][0])


def test_nothing_of_the_host_is_mounted(lab):
    out = lab.sh(MOUNTINFO).out
    assert "belay-e2e" not in [line.split(" - ")[1].split()[1] for line in out.splitlines()
                               if line.split()[4] not in ("/",)]
    assert len(mounts(out)) < 45


def test_a_read_only_root(lab):
    def edit(c):
        c.config["root"]["readonly"] = True

    r = lab.sh("echo x > /file || echo refused; echo y > /run/file && echo written", edit)
    assert r.out == "refused\nwritten\n"
    assert lab.sh("echo x > /file && cat /file").out == "x\n"


def test_an_absolute_root_path(lab):
    def edit(c):
        c.config["root"]["path"] = str(c.bundle.rootfs)

    assert lab.sh("echo fine", edit).out == "fine\n"


@pytest.mark.parametrize("options", [["bind"], ["rbind"], ["rbind", "rw"], ["bind", "rprivate"]])
def test_a_bind_mount_of_a_directory(lab, options):
    source = lab.new_path("source")
    source.mkdir()
    (source / "file").write_text("hello")
    r = lab.sh("cat /a/b/file; echo more > /a/b/new", mount("/a/b", "bind", source, *options))
    assert r.out == "hello"
    assert (source / "new").read_text() == "more\n"


def test_a_bind_mount_of_a_file(lab):
    source = lab.new_path("source")
    source.write_text("127.0.0.1 x\n")
    r = lab.sh("cat /etc/hosts; echo y >> /etc/hosts", mount("/etc/hosts", "bind", source, "rbind", "rprivate"))
    assert r.out == "127.0.0.1 x\n" and source.read_text() == "127.0.0.1 x\ny\n"


def test_a_relative_source_is_relative_to_the_bundle(lab):
    def edit(c):
        (c.bundle.path / "beside").write_text("here")
        c.bundle.mount("/file", "bind", "beside", "bind")

    assert lab.sh("cat /file", edit).out == "here"


def test_a_read_only_bind_mount(lab):
    source = lab.new_path("source")
    source.mkdir()
    r = lab.sh("touch /a/x || echo refused", mount("/a", "bind", source, "rbind", "ro"))
    assert r.out == "refused\n" and not list(source.iterdir())


def test_flags_of_bind_mounts(lab):
    source = lab.new_path("source")
    source.mkdir()
    r = lab.sh(MOUNTINFO, mount("/a", "bind", source, "rbind", "ro", "nosuid", "nodev", "noexec", "noatime"))
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= set(mounts(r.out)["/a"][0])


def test_a_tmpfs_with_options(lab):
    r = lab.sh(MOUNTINFO + "; stat -c %a /t", mount("/t", "tmpfs", "tmpfs", "nosuid", "size=1024k", "mode=1770"))
    lines = r.out.splitlines()
    entry = mounts("\n".join(lines[:-1]))["/t"]
    assert entry[1] == "tmpfs" and "size=1024k" in entry[2] and "nosuid" in entry[0]
    assert lines[-1] == "1770"


def test_a_later_mount_covers_an_earlier_one(lab):
    def edit(c):
        c.bundle.mount("/a", "tmpfs", "tmpfs", "mode=755")
        c.bundle.mount("/a/b", "tmpfs", "tmpfs", "mode=700")
        c.bundle.mount("/a", "tmpfs", "tmpfs", "mode=711")

    # runc gives a tmpfs the mode of the directory that it covers, whatever its options say.
    assert lab.sh("stat -c %a /a; ls /a", edit).out == ("755\n" if lab.runtime == "runc" else "711\n")


@pytest.mark.runs_with("belay", "runc", why="where it has a mount namespace of its own (harness.py), nothing of the host arrives")
@pytest.mark.parametrize("option, field", [("rprivate", ""), ("rslave", "master:"), ("rshared", "shared:")])
def test_propagation_of_a_mount(lab, option, field):
    source = lab.new_path("source")
    source.mkdir()
    host.mount_shared_tmpfs(source)
    r = lab.sh(MOUNTINFO, mount("/a", "bind", source, "rbind", option))
    host.unmount(source)
    optional = mounts(r.out)["/a"][3]
    assert field in optional and (field or not optional)


@pytest.mark.runs_with("belay", "runc", why="where it has a mount namespace of its own (harness.py), nothing of the host arrives")
def test_a_slave_mount_sees_what_the_host_mounts_later(lab):
    source = lab.new_path("source")
    source.mkdir()
    host.mount_shared_tmpfs(source)
    (source / "sub").mkdir()
    c = lab.container("sleep", "100")
    c.bundle.mount("/a", "bind", source, "rbind", "rslave")
    c.run()
    host.mount_shared_tmpfs(source / "sub")
    (source / "sub/file").write_text("late")
    assert c.exec("cat", "/a/sub/file").run().out == "late"
    host.unmount(source / "sub")
    host.unmount(source)


def test_mounts_of_the_container_do_not_reach_the_host(lab):
    before = host.read("/proc/self/mountinfo")
    c = lab.container("sleep", "100").run()
    assert [line for line in host.read("/proc/self/mountinfo").splitlines() if b"/c0/" in line] == [
        line for line in before.splitlines() if b"/c0/" in line]
    assert c.status() == "RUNNING"


def test_recursive_read_only(lab):
    source = lab.new_path("source")
    (source / "sub").mkdir(parents=True)
    host.mount_shared_tmpfs(source / "sub")
    script = "touch /a/x || echo no; touch /a/sub/x || echo no"
    try:
        plain = lab.sh(script, mount("/a", "bind", source, "rbind", "ro")).out
        recursive = lab.sh(script, mount("/a", "bind", source, "rbind", "rro")).out
    finally:
        host.unmount(source / "sub")
    assert plain == "no\n"
    assert recursive == "no\nno\n"


def test_the_cgroup_mount_shows_the_containers_own_cgroup(lab):
    """As CRI asks for it: on v2 with a cgroup namespace."""
    def edit(c):
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")(c)
        if host.V2:
            c.config["linux"]["namespaces"].append({"type": "cgroup"})

    own = "/sys/fs/cgroup" if host.V2 else "/sys/fs/cgroup/pids"
    r = lab.sh(f"ls /sys/fs/cgroup; cat {own}/cgroup.procs; mkdir {own}/x 2>&1 || echo ro", edit)
    assert r.status == 0, r
    lines = r.out.splitlines()
    assert ({"pids.max", "memory.max"} if host.V2 else {"pids", "memory", "devices"}) <= set(lines)
    assert "1" in lines and lines[-1] == "ro"


@pytest.mark.skipif(not host.V2, reason="v1 shows the container's own in any case")
def test_the_cgroup_mount_in_the_hosts_cgroup_namespace_shows_the_hosts_tree(lab):
    """As CRI asks for it for a privileged pod: what /proc/self/cgroup names is there, and the host's mount stays as it is."""
    before = host.read("/sys/fs/cgroup/cgroup.controllers"), mounts(host.read("/proc/self/mountinfo").decode())["/sys/fs/cgroup"]
    script = "cat /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup)/cgroup.procs; mkdir /sys/fs/cgroup/x 2>&1 || echo ro"
    r = lab.sh(script, mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"))
    assert r.status == 0, r
    lines = r.out.splitlines()
    assert "1" in lines and lines[-1] == "ro"
    after = host.read("/sys/fs/cgroup/cgroup.controllers"), mounts(host.read("/proc/self/mountinfo").decode())["/sys/fs/cgroup"]
    assert before == after or lab.stock  # runc 1.1 takes nsdelegate and memory_recursiveprot away


def test_dev_has_the_default_devices_and_links(lab):
    script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; " \
             "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done"
    lines = lab.sh(script).out.splitlines()
    numbers = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    assert lines[:6] == [f"/dev/{n} character special file {d} 666" for n, d in numbers.items()]
    assert lines[6:10] == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]
    assert lines[10] in ("pts/ptmx", "/dev/pts/ptmx")


def test_listed_devices_are_made(lab):
    def edit(c):
        c.config["linux"]["devices"] = [
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4},
            {"path": "/dev/sub/pipe", "type": "p", "fileMode": 0o600}]
        c.config["linux"]["resources"]["devices"] += [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]

    r = lab.sh("stat -c '%F %t:%T %a %u:%g' /dev/mine; stat -c '%F %a' /dev/sub/pipe; echo x > /dev/mine", edit)
    assert r.out.splitlines() == ["character special file 1:3 640 3:4", "fifo 600"]
    assert r.status == 0


def test_the_rootfs_of_a_create_request_is_mounted_and_unmounted(lab):
    c = lab.container("sh", "-c", "cat /etc/mark; echo x > /new || echo ro").pipes()
    image = lab.new_path("image")
    os.rename(c.bundle.rootfs, image)
    (image / "etc/mark").write_text("from the image\n")
    c.bundle.rootfs.mkdir()
    c.create(rootfs=[{"type": "bind", "source": str(image), "options": ["rbind", "ro"]}])
    assert host.mounts_below(c.bundle.path) == [str(c.bundle.rootfs)]
    c.start()
    c.wait()
    # A bind that crun makes of it is read-only by root.readonly alone.
    assert c.stdout.read_all() == b"from the image\n" + (b"" if lab.runtime == "crun" else b"ro\n")
    c.delete()
    assert not host.mounts_below(c.bundle.path)
    assert not list(c.bundle.rootfs.iterdir())


def test_an_overlay_rootfs(lab):
    c = lab.container("sh", "-c", "cat /etc/mark; echo changed > /etc/mark; rm /etc/passwd").pipes()
    lower = lab.new_path("lower")
    os.rename(c.bundle.rootfs, lower)
    (lower / "etc/mark").write_text("lower\n")
    upper, work = lab.new_path("upper"), lab.new_path("work")
    upper.mkdir()
    work.mkdir()
    # The bundle has no rootfs directory: the shim makes it.
    c.create(rootfs=[{"type": "overlay", "source": "overlay",
                      "options": [f"workdir={work}", f"upperdir={upper}", f"lowerdir={lower}"]}])
    c.start()
    c.wait()
    assert c.stdout.read_all() == b"lower\n"
    c.delete()
    assert not host.mounts_below(c.bundle.path)
    assert (upper / "etc/mark").read_text() == "changed\n"
    assert (lower / "etc/mark").read_text() == "lower\n" and (lower / "etc/passwd").exists()


def test_an_overlay_with_more_options_than_a_page(lab):
    """P3.7: twenty layers with long names exceed what mount(2) takes, unless they are shortened."""
    c = lab.container("sh", "-c", "ls /layers | wc -l").pipes()
    base = lab.new_path("l" * 200)
    layers = []
    for i in range(40):
        layer = base / str(i) / "fs"
        (layer / "layers").mkdir(parents=True)
        (layer / "layers" / str(i)).touch()
        layers.append(str(layer))
    os.rename(c.bundle.rootfs, base / "last")
    layers.append(str(base / "last"))
    upper, work = lab.new_path("upper"), lab.new_path("work")
    upper.mkdir()
    work.mkdir()
    c.create(rootfs=[{"type": "overlay", "source": "overlay", "options": [
        f"workdir={work}", f"upperdir={upper}", "lowerdir=" + ":".join(layers)]}])
    c.start()
    c.wait()
    assert c.stdout.read_all() == b"40\n"


def test_two_rootfs_mounts_are_stacked(lab, stock):
    c = lab.container("sh", "-c", "cat /mnt/mark").pipes()
    extra = lab.new_path("extra")
    extra.mkdir()
    (extra / "mark").write_text("second\n")
    image = lab.new_path("image")
    os.rename(c.bundle.rootfs, image)
    c.bundle.rootfs.mkdir()
    if stock:
        pytest.skip("1.6 knows no target")
    c.create(rootfs=[{"type": "bind", "source": str(image), "options": ["rbind"]},
                     {"type": "bind", "source": str(extra), "target": "/mnt", "options": ["rbind", "ro"]}])
    c.start()
    c.wait()
    assert c.stdout.read_all() == b"second\n"
    c.delete()
    assert not host.mounts_below(c.bundle.path)


def test_delete_unmounts_a_rootfs_that_somebody_still_looks_into(lab):
    """R43: a scanner, or a shell of an administrator, has a file of it open for a while."""
    c = lab.container("true")
    c.create(rootfs=[{"type": "bind", "source": str(lab.template), "options": ["rbind", "ro"]}])
    c.start()
    c.wait()
    with open(c.bundle.rootfs / "etc/passwd"):
        delete = c.task.start.Delete()
        time.sleep(0.2)  # not a wait for something: this is how long it is busy
    delete.result()
    c.deleted = True
    assert not host.mounts_below(c.bundle.path)


def test_delete_tolerates_a_rootfs_that_is_gone(lab):
    """R42"""
    c = lab.container("true").run()
    c.wait()
    os.rename(c.bundle.rootfs, lab.new_path("away"))
    c.delete()


def test_a_mount_target_may_be_a_symlink_inside_the_rootfs(lab):
    def edit(c):
        (c.bundle.rootfs / "real").mkdir()
        (c.bundle.rootfs / "link").symlink_to("/real")
        c.bundle.mount("/link/sub", "tmpfs", "tmpfs", "mode=700")

    r = lab.sh("stat -c '%a %m' /real/sub", edit)
    assert r.out.split()[0] == "700", r
    assert pathlib.Path("/real").exists() is False
