# SPDX-License-Identifier: Apache-2.0
"""Somebody who shares a volume, or the rootfs, exchanges names while a container is made."""
import contextlib
import ctypes
import os
import re
import threading

import pytest

import host
import ttrpc

ATTEMPTS = 40
AT_FDCWD = -100
RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def flipping(one, other):
    """Exchanges the two names as fast as it can."""
    names = os.fsencode(one), os.fsencode(other)
    stop = threading.Event()

    def flip():
        while not stop.is_set():
            libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def attempt(lab, c):
    """What it printed, or None if it was refused."""
    try:
        c.run()
    except ttrpc.Error as error:
        assert error.code in (ttrpc.UNKNOWN, ttrpc.INVALID_ARGUMENT), error
        c.deleted = True
        c.finish()
        return None
    c.wait()
    out = c.stdout.read_all().decode()
    c.delete()
    c.finish()
    return out


@pytest.mark.runs_with("belay", "crun", why="CVE-2021-30465 and others")
def test_mounts_below_a_name_that_flips_to_a_symlink(lab):
    """CVE-2021-30465, CVE-2024-45310: nothing is mounted or made outside of the rootfs."""
    victim, volume = lab.new_path("victim"), lab.new_path("volume")
    for path in (victim, volume, volume / "x"):
        path.mkdir()
    (volume / "y").symlink_to(f"/../../../../../../../..{victim}")
    with flipping(volume / "x", volume / "y"):
        for _ in range(ATTEMPTS):
            c = lab.container("true").pipes()
            c.bundle.mount("/vol", "bind", volume, "rbind")
            c.bundle.mount("/vol/x/a", "tmpfs", "tmpfs")
            c.bundle.mount("/vol/x/new/b", "bind", volume, "rbind")
            c.config["process"]["cwd"] = "/vol/x/cwd"
            attempt(lab, c)
            assert not os.listdir(victim)
            assert not [m for m in host.mounts_below(lab.dir) if "victim" in m]


@pytest.mark.runs_with("belay", why="it masks what it finds")
def test_masks_stay_on_a_proc_whose_place_flips(lab, stock):
    """CVE-2019-19921, CVE-2023-27561: never a procfs without its masks."""
    if stock:
        pytest.skip("what runc makes of this race is not our business")
    shared = lab.container("true").bundle.rootfs
    (shared / "px").symlink_to("tmp")
    with flipping(shared / "proc", shared / "px"):
        for _ in range(ATTEMPTS):
            c = lab.container("cat", "/proc/self/mountinfo").pipes()
            c.config["root"]["path"] = str(shared)
            c.config["linux"]["maskedPaths"] = ["/proc/keys"]
            c.config["linux"]["readonlyPaths"] = ["/proc/sys"]
            out = attempt(lab, c)
            if not out:
                continue
            assert not re.search(r" / /tmp .* - proc ", out), out
            assert re.search(r" /null /\S+/keys ro", out) and re.search(r" /sys /\S+/sys ro", out), out
