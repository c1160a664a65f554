# SPDX-License-Identifier: Apache-2.0
"""Starts that meet other starts, and shims that end while the next one begins."""
import os
import subprocess

import pytest

import host
import protos
import ttrpc
from shim import Shim


def start_at_once(shim, n):
    """n start actions of one id; what each of them has printed."""
    started = [subprocess.Popen(shim.argv("start"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, cwd=shim.cwd, env=shim.env()) for _ in range(n)]
    return [p.communicate(timeout=20 * host.SLOWNESS)[0].decode() for p in started]


@pytest.mark.parametrize("stale", (False, True))
def test_starts_of_one_id_at_once_give_one_shim(lab, stock, stale):
    """None of them takes the socket of another one that is bound and does not listen yet."""
    if stock:
        pytest.skip("it has this race")
    for _ in range(10):
        c = lab.container("true")
        c.bundle.write()
        c.shim.open_log()
        if stale:
            c.shim.connect(c.shim.run_start().decode().strip())
            c.shim.kill()
            c.shim.disconnect()
        addresses = start_at_once(c.shim, 6)
        assert len(set(addresses)) == 1, addresses
        c.shim.connect(addresses[0])
        c.task = c.shim.service()
        assert lab.processes() == [c.shim.pid]
        c.finish()


def test_after_shutdown_the_id_has_a_new_shim_at_once(lab, stock):
    """containerd reuses an id as soon as Shutdown is answered; the old shim may still have events to hand over."""
    if stock:
        pytest.skip("it has this race")
    c = lab.container("true").run()
    c.wait()
    lab.containerd.stop()
    c.delete()
    c.task.Shutdown()
    old = c.shim
    c.shim = Shim(lab, c.id, c.bundle.path)
    c.shim.start()
    c.task = c.shim.service()
    assert c.shim.pid != old.pid
    c.run()
    lab.containerd.start()
    host.wait_gone(old.pid)
    assert [e for e in lab.containerd.order(c.id)][:1] == ["delete"] or "delete" in lab.containerd.order(c.id)
    assert host.socket_is_listening(c.shim.address)
    c.shim.disconnect()
    c.shim.connect(c.shim.address)
    c.task = c.shim.service()
    c.wait()
    old.close()
    c.deleted = False


def test_a_shim_that_lost_its_name_leaves_that_of_its_successor(lab, stock):
    if stock:
        pytest.skip("it takes it away")
    c = lab.container("true").launch()
    old = c.shim
    os.unlink(old.address.removeprefix("unix://"))
    c.shim = Shim(lab, c.id, c.bundle.path)
    c.shim.start()
    c.task = c.shim.service()
    assert c.shim.pid != old.pid
    old.shutdown()
    old.close()
    assert host.socket_is_listening(c.shim.address)
