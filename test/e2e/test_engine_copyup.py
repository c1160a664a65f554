# SPDX-License-Identifier: Apache-2.0
"""tmpcopyup: a tmpfs that begins with what the image has in its place."""
import os

import pytest

from ttrpc import Error


@pytest.fixture(autouse=True)
def not_the_stock_shim(stock):
    if stock:
        pytest.skip("runc 1.1 differs in owners and error texts")


def fill(c, options=()):
    data = c.bundle.rootfs / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub/file").write_text("of the image\n")
    os.setxattr(data / "sub/file", "security.capability", b"\1\0\0\2\0\4\0\0" + bytes(12))
    os.chown(data / "sub/file", 1000, 1000)
    os.setxattr(data / "sub/file", "security.capability", b"\1\0\0\2\0\4\0\0" + bytes(12))
    (data / "link").symlink_to("/etc/passwd")
    c.bundle.mount("/data", "tmpfs", "tmpfs", "tmpcopyup", *options)
    return data


@pytest.mark.runs_with("belay", why="its copies have no extended attributes")
def test_the_content_of_the_image_is_there_and_stays_as_it_is(lab):
    c = lab.container("sleep", "100")
    data = fill(c)
    c.run()
    r = c.exec("sh", "-c", "cat /data/sub/file && stat -c %u:%g /data/sub/file && readlink /data/link &&"
               " echo more > /data/sub/new && grep -c ' /data tmpfs ' /proc/mounts").run()
    assert r.out == "of the image\n1000:1000\n/etc/passwd\n1\n", r
    inside = f"/proc/{c.pid()}/root/data/sub/file"
    assert os.getxattr(inside, "security.capability") == os.getxattr(data / "sub/file", "security.capability")
    assert sorted(os.listdir(data / "sub")) == ["file"]


def test_a_read_only_one_is_filled_first(lab):
    r = lab.sh("cat /data/sub/file; touch /data/x || echo refused", lambda c: fill(c, ["ro"]))
    assert r.out == "of the image\nrefused\n", r


def test_nothing_of_the_host_is_reached_through_links(lab):
    secret = lab.new_path("secret")
    secret.write_text("secret")

    def edit(c):
        data = fill(c)
        (data / "evil").symlink_to(secret)
        (data / "up").symlink_to("../../../../../../..")

    r = lab.sh("readlink /data/evil; cat /data/evil || echo nothing", edit)
    assert r.out == f"{secret}\nnothing\n", r


@pytest.mark.runs_with("belay", why="words of its own")
def test_without_room_create_fails_and_says_why(lab):
    c = lab.container("true")
    data = fill(c, ["size=16k"])
    (data / "large").write_bytes(bytes(100000))
    with pytest.raises(Error, match="copy up 'large': No space left"):
        c.create()
