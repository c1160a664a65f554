# SPDX-License-Identifier: Apache-2.0
"""The client's ends of a process's stdio, as FIFOs."""
import os
import select
import time

import host


class Reader:
    """A FIFO that we read: a process's stdout or stderr."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(self.path, 0o700)
        self.fd = None
        self.open()

    def open(self):
        self.fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def _next(self, deadline, what):
        """Some bytes, or b"" at EOF: poll says HUP only when there was a writer and the last is gone."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        ready = poll.poll(max(0, deadline - time.monotonic()) * 1000)
        if not ready:
            raise AssertionError(f"{self.path}: not in time: {what}")
        return os.read(self.fd, 1 << 16) if ready[0][1] & select.POLLIN else b""

    def read_all(self, timeout=240):
        """Everything until the last writer is gone."""
        data, deadline = bytearray(), time.monotonic() + timeout * host.SLOWNESS
        while True:
            part = self._next(deadline, f"EOF, after {bytes(data[-200:])!r}")
            if not part:
                return bytes(data)
            data += part

    def read_until(self, end, timeout=host.PATIENCE):
        """Everything up to and with `end`, which must come before EOF."""
        data, deadline = bytearray(), time.monotonic() + timeout * host.SLOWNESS
        while not data.endswith(end) and end not in data:
            part = self._next(deadline, f"{end!r}, after {bytes(data[-200:])!r}")
            assert part, f"EOF before {end!r}, after {bytes(data[-200:])!r}"
            data += part
        return bytes(data)

    def at_eof(self):
        """True if the last writer is gone and nothing is left to read."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        ready = poll.poll(0)
        return bool(ready) and not ready[0][1] & select.POLLIN


class Writer:
    """A FIFO that we write: a process's stdin. Opened when there is a reader."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(self.path, 0o700)
        self.fd = None

    def open(self, timeout=host.PATIENCE):
        deadline = time.monotonic() + timeout * host.SLOWNESS
        while True:
            try:
                self.fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                os.set_blocking(self.fd, True)
                return self
            except OSError:  # ENXIO: nobody reads yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def open_early(self):
        """Counts as a writer before there is a reader, as a client does whose open() is still blocked."""
        self.fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self

    def write(self, data):
        if self.fd is None:
            self.open()
        while data:
            data = data[os.write(self.fd, data):]

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
