# SPDX-License-Identifier: Apache-2.0
"""Mounts that show other ids than their source has, and rootfs mounts with a map of ids."""
import os

import pytest

import host
from ttrpc import Error

OLD_TMPFS = pytest.mark.skipif(host.KERNEL < (6, 3), reason="tmpfs knows no idmapped mounts before Linux 6.3")
MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture(autouse=True)
def not_the_stock_shim(stock):
    if stock:
        pytest.skip("runc learned idmapped mounts in 1.2")


def source_of(lab, uid):
    source = lab.new_path("source")
    source.mkdir()
    (source / "file").write_text("x")
    os.chown(source / "file", uid, uid)
    return source


def user_namespace(c):
    c.config["linux"]["namespaces"].append({"type": "user"})
    c.config["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    for path in (c.bundle.path, c.lab.dir, c.lab.dir / "bundles"):
        path.chmod(0o711)


@pytest.mark.runs_with("belay", "crun", why="since 1.2")
@OLD_TMPFS
def test_a_mount_with_mappings_of_its_own(lab):
    def edit(c):
        c.bundle.mount("/a", "bind", source_of(lab, 3), "bind")
        maps = [{"containerID": 0, "hostID": 1000, "size": 10}]
        c.config["mounts"][-1].update(uidMappings=maps, gidMappings=maps)

    assert lab.sh("stat -c %u:%g /a /a/file", edit).out == "1000:1000\n1003:1003\n"


@pytest.mark.runs_with("belay", "crun", why="since 1.2")
@OLD_TMPFS
def test_volumes_of_a_pod_with_a_user_namespace(lab):
    """What CRI asks for: each volume carries the pod's mappings."""
    source = source_of(lab, 5)

    def edit(c):
        user_namespace(c)
        for directory, names, files in os.walk(c.bundle.rootfs):
            for name in [".", *names]:
                os.chown(os.path.join(directory, name), 100000, 100000, follow_symlinks=False)
        c.bundle.mount("/a", "bind", source, "rbind", "ridmap")
        c.config["mounts"][-1].update(uidMappings=MAPS, gidMappings=MAPS)
        c.bundle.mount("/b", "bind", source, "rbind", "idmap")

    r = lab.sh("stat -c %u:%g /a/file /b/file; touch /a/new; chown 7 /b/new", edit)
    assert r.out == "5:5\n5:5\n", r
    assert os.stat(source / "new").st_uid == 7


@pytest.mark.runs_with("belay", why="it is none, or in other words")
def test_a_map_without_a_namespace_is_an_error(lab):
    c = lab.container("true")
    c.bundle.mount("/a", "bind", source_of(lab, 1), "bind", "idmap")
    with pytest.raises(Error, match="'idmap' needs uidMappings"):
        c.create()


@OLD_TMPFS
@pytest.mark.parametrize("kind", ["bind", "overlay"])
def test_a_rootfs_whose_ids_are_mapped(lab, kind):
    """The layers stay root's; the container's root is another id of the host."""
    c = lab.container("sh", "-c", "stat -c %u:%g /bin/busybox /etc; touch /new && stat -c %u /new").pipes("stdout")
    user_namespace(c)
    image = lab.new_path("image")
    os.rename(c.bundle.rootfs, image)
    c.bundle.rootfs.mkdir()
    maps = ["uidmap=0:100000:65536", "gidmap=0:100000:65536"]
    mount = {"type": "bind", "source": str(image), "options": ["rbind", "rw", *maps]}
    if kind == "overlay":
        base = lab.new_path("base")
        base.mkdir()
        os.rename(image, base / "layer")
        (base / "empty").mkdir()
        upper, work = lab.new_path("upper"), lab.new_path("work")
        upper.mkdir()
        work.mkdir()
        os.chown(upper, 100000, 100000)
        mount = {"type": "overlay", "source": "overlay", "options": [
            *maps, f"lowerdir={base}/empty:{base}/layer", f"upperdir={upper}", f"workdir={work}"]}
    c.create(rootfs=[mount])
    c.start()
    c.wait()
    assert c.stdout.read_all() == b"0:0\n0:0\n0\n"
    c.delete()
    assert not host.mounts_below(c.bundle.path)
    if kind == "overlay":
        assert os.stat(upper / "new").st_uid == 100000
    else:
        assert os.stat(image / "new").st_uid == 0


def test_half_a_map_is_an_error(lab):
    c = lab.container("true")
    with pytest.raises(Error, match="uidmap= and gidmap= go together"):
        c.create(rootfs=[{"type": "bind", "source": str(lab.template), "options": ["rbind", "uidmap=0:1:1"]}])
    assert not host.mounts_below(c.bundle.path)
