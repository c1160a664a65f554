# SPDX-License-Identifier: Apache-2.0
"""The file that says where a shim of the build option `chaos` dies or which of its calls fails: pkg/base/chaos.h."""
import errno
import mmap
import os
import struct

NAME_MAX = 32
LOG_MAX = 8192
HEAD = struct.Struct(f"<QQQQiiIi{NAME_MAX}s{NAME_MAX}s")
TRIGGER_BYTES = HEAD.size + LOG_MAX * NAME_MAX
CLOCK = struct.Struct("<q")
BYTES = 2 * TRIGGER_BYTES + CLOCK.size

DELAY = 1000  # and milliseconds: a value of a point
VARIABLE = "BELAY_CHAOS"

# Errors that calls can give, by what a host lacks.
ERRORS = [errno.EMFILE, errno.ENOSPC, errno.ENOMEM, errno.EINTR]


class Trigger:
    def __init__(self, memory, offset):
        self.memory = memory
        self.offset = offset

    def _head(self):
        return HEAD.unpack_from(self.memory, self.offset)

    def arm(self, value, at=0, every=1, times=1, only=0, but=0, name=""):
        """From here on the at'th time counts; 0: all are counted and nothing happens."""
        HEAD.pack_into(self.memory, self.offset, 0, 0, every, times, only, but, 0, value, name.encode(), b"")
        struct.pack_into("<Q", self.memory, self.offset + 8, at)

    def disarm(self):
        struct.pack_into("<Q", self.memory, self.offset + 8, 0)

    @property
    def n(self):
        return self._head()[0]

    @property
    def n_fired(self):
        return self._head()[6]

    @property
    def fired(self):
        return self._head()[9].rstrip(b"\0").decode()

    def log(self):
        """The names that were passed since it was armed, in order."""
        at = self.offset + HEAD.size
        n = min(self.n, LOG_MAX)
        return [self.memory[at + i * NAME_MAX:at + (i + 1) * NAME_MAX].rstrip(b"\0").decode() for i in range(n)]


class Plan:
    def __init__(self, path):
        self.path = str(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, BYTES)
        self.memory = mmap.mmap(fd, BYTES)
        os.close(fd)
        self.points = Trigger(self.memory, 0)
        self.faults = Trigger(self.memory, TRIGGER_BYTES)

    def set_clock(self, seconds):
        """What CLOCK_REALTIME is wrong by."""
        CLOCK.pack_into(self.memory, 2 * TRIGGER_BYTES, int(seconds * 1e9))

    def disarm(self):
        self.points.disarm()
        self.faults.disarm()

    def close(self):
        self.memory.close()
