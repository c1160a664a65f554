# SPDX-License-Identifier: Apache-2.0
"""Assertions that many tests share."""
import contextlib
import pathlib
import time

import pytest

import host
import ttrpc
from shim import NEVER


@contextlib.contextmanager
def fails(code, *texts, also=()):
    """The block ends in a ttrpc error of that code (or one of `also`) whose message has all the texts.

    `also` names the codes of the stock shim where it differs from belay; say why at the call.
    """
    with pytest.raises(ttrpc.Error) as info:
        yield info
    error = info.value
    assert error.code in (code, *also), error
    for text in texts:
        assert text.lower() in error.message.lower(), error


def never(stamp):
    """A Timestamp that says "has not ended": Go's year 1, sent explicitly."""
    return stamp.seconds == NEVER and stamp.nanos == 0


@contextlib.contextmanager
def during():
    """Yields a check that a Timestamp lies within the block (wall clock, so call it afterwards)."""
    before = time.time()

    def check(stamp):
        at = stamp.seconds + stamp.nanos / 1e9
        assert before - 0.05 <= at <= time.time() + 0.05, (before, at, time.time())

    yield check


def block_device():
    """A disk of the machine, as a cgroup's files name it."""
    for line in host.read("/proc/partitions").decode().splitlines()[2:]:
        major, minor, _, name = line.split()
        if pathlib.Path("/sys/block", name).exists() and not name.startswith(("ram", "loop")):
            return int(major), int(minor)
    pytest.skip("no disk here")
