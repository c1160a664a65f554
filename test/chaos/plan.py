# SPDX-License-Identifier: Apache-2.0
"""The file that says where a shim of the build option `chaos` dies or which of its calls fails: pkg/base/chaos.h."""
import errno
import mmap
import os
import struct

NAME_MAX = 32
LOG_MAX = 8192
TIMES_MAX = 1000000
WORD = struct.Struct("<Q")
FIELDS = struct.Struct(f"<QQiiIi{NAME_MAX}s{NAME_MAX}s")
HEAD = struct.Struct(f"<QQ{FIELDS.format[1:]}")
TRIGGER_BYTES = HEAD.size + LOG_MAX * NAME_MAX
CLOCK = struct.Struct("<q")
BYTES = 3 * TRIGGER_BYTES + CLOCK.size

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
        armed = (self._head()[0] >> 32) + 1 << 32
        self.disarm()
        FIELDS.pack_into(self.memory, self.offset + 2 * WORD.size, every, times, only, but, 0, value, name.encode(), b"")
        WORD.pack_into(self.memory, self.offset + WORD.size, armed + at if at else 0)
        WORD.pack_into(self.memory, self.offset, armed)

    def disarm(self):
        WORD.pack_into(self.memory, self.offset + WORD.size, 0)

    @property
    def n(self):
        return self._head()[0] & 0xffffffff

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
        self.delays = Trigger(self.memory, 2 * TRIGGER_BYTES)

    def set_clock(self, seconds):
        """What CLOCK_REALTIME is wrong by."""
        CLOCK.pack_into(self.memory, 3 * TRIGGER_BYTES, int(seconds * 1e9))

    def disarm(self):
        for trigger in (self.points, self.faults, self.delays):
            trigger.disarm()

    def close(self):
        self.memory.close()
