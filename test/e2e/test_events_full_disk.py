# SPDX-License-Identifier: Apache-2.0
"""Events for which the disk has no room, when the shim goes on as another image, and how many were lost."""
import json
import os
import shutil

import pytest

import host
import protos
import ttrpc
from test_reexec import again, crash, only_belay, upgrade  # noqa: F401
from test_versions import variant

LIFE = ["create", "start", "exec-added/e0", "exec-started/e0", "exit/e0", "exit", "delete"]


class Disk:
    """A small one, with a container's bundle on it."""

    def __init__(self, lab, c):
        self.bundle = c.bundle.path
        self.filler = self.bundle / "filler"
        copy = lab.new_path("disk")
        copy.mkdir()
        host.mount_tmpfs(copy, "size=8m,mode=711")
        shutil.copytree(self.bundle, copy, symlinks=True, dirs_exist_ok=True)
        host.bind(copy, self.bundle)
        host.unmount(copy)

    def fill(self):
        """To the last page. The events file must have none, which it could write on."""
        host.wait_for(lambda: (self.bundle / "events").stat().st_size == 0, "all events to be taken")
        with open(self.filler, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))

    def make_room(self):
        self.filler.unlink()


@pytest.fixture
def c(lab):
    """A container that is created, on such a disk."""
    c = lab.container("sleep", "1000")
    c.disk = Disk(lab, c)
    c.create()
    lab.containerd.wait(c.id, "/tasks/create")
    return c


def events_lost(c):
    return int(json.loads(c.shim.service(protos.BELAY).Inspect().json)["shim"].get("events_lost", 0))


def end(lab, c, expected=LIFE):
    c.kill()
    assert c.wait().status == 137
    c.delete()
    if not lab.containerd.server:
        lab.containerd.start()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == expected
    assert events_lost(c) == 0
    c.finish()
    host.unmount(c.bundle.path)


def test_a_full_disk_costs_no_event(lab, c, again):  # noqa: F811
    lab.containerd.stop()
    c.disk.fill()
    c.start()
    e = c.exec("true").add()
    again(c)
    e.start()
    e.wait()
    again(c)
    e.delete()
    assert not (c.bundle.path / "events").stat().st_size
    end(lab, c)


def test_events_keep_their_order_when_the_disk_has_room_again(lab, c, again):  # noqa: F811
    lab.containerd.stop()
    c.disk.fill()
    c.start()
    e = c.exec("true").add()
    c.disk.make_room()
    e.start()
    e.wait()
    assert (c.bundle.path / "events").stat().st_size
    again(c)
    e.delete()
    end(lab, c)


def test_an_event_from_memory_that_has_no_answer_yet_is_sent_once(lab, c, again):  # noqa: F811
    c.disk.fill()
    lab.containerd.answering.clear()
    c.start()
    lab.containerd.wait(c.id, "/tasks/start")
    e = c.exec("true").add()
    again(c)
    again(c)
    lab.containerd.answering.set()
    e.start()
    e.wait()
    e.delete()
    end(lab, c)


def test_the_log_says_where_they_are(lab, c):
    c.disk.fill()
    c.start()
    assert "it is kept in memory: keep an event in 'events': No space left on device" in lab.logs()
    end(lab, c, ["create", "start", "exit", "delete"])


def test_a_version_that_would_lose_them_is_refused_as_long_as_there_are_any(lab, c):
    lab.containerd.stop()
    c.disk.fill()
    c.start()
    with pytest.raises(ttrpc.Error) as error:
        upgrade(c, variant("before"))
    assert error.value.code == ttrpc.FAILED_PRECONDITION
    assert "state: it holds what programs before minor version 1 would lose" in str(error.value)
    lab.containerd.start()
    lab.containerd.wait(c.id, "/tasks/start")
    c.disk.make_room()
    e = c.exec("true").add()
    lab.containerd.wait(c.id, "/tasks/exec-added")  # which is sent when the one before is done with
    assert upgrade(c, variant("before")).version.startswith("0.0.1 ")
    upgrade(c, lab.shim)
    e.start()
    e.wait()
    e.delete()
    end(lab, c)


def test_what_was_lost_is_counted_to_the_last_event(lab, c):
    """Nothing commits the state when an event is refused."""
    lab.containerd.answer = ttrpc.Error(ttrpc.INVALID_ARGUMENT, "no")
    for n in range(1, 4):
        c.exec("true", exec_id=f"e{n}").add()
        host.wait_for(lambda: not (c.bundle.path / "events").stat().st_size, "the event to be refused")
        crash(c)
        assert events_lost(c) == n
    lab.containerd.answer = None
    c.start()
    upgrade(c)
    assert events_lost(c) == 3
    c.finish()
    host.unmount(c.bundle.path)
