#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Would splice(2) be cheaper than read(2) and write(2) where bytes are relayed? CPU of the process in between.

Of each path (a terminal's master to a FIFO, a pipe to a FIFO, a pipe to a file) copy and splice are run in turn, so that
load of the machine meets both. The median of each, in seconds per GiB, and the median of the ratios of neighbours.
usage: splice.py [ROUNDS [MIB]]
"""
import os
import pty
import signal
import statistics
import sys
import tempfile
import time
import tty

CHUNK = 65536
PATHS = [("terminal", "fifo", 4096), ("terminal", "fifo", 64), ("pipe", "fifo", CHUNK), ("pipe", "fifo", 64),
         ("pipe", "file", CHUNK)]


def child(work, *unwanted):
    """A process of its own, that ends with the pipe it works on."""
    pid = os.fork()
    if pid == 0:
        for fd in unwanted:
            os.close(fd)
        try:
            work()
        finally:
            os._exit(0)
    return pid


def feed(fd, unit, size):
    data = b"x" * unit
    for _ in range(size // unit):
        os.write(fd, data)
    signal.pause()  # a terminal that nobody has open any more hangs up


def drain(fd):
    while os.read(fd, CHUNK):
        pass


def relay_copy(source, sink, size):
    while size > 0:
        data = os.read(source, CHUNK)
        size -= len(data)
        while data:
            data = data[os.write(sink, data):]


def relay_splice(source, sink, size):
    while size > 0:
        size -= os.splice(source, sink, CHUNK)


def measure(relay, source_kind, sink_kind, unit, size):
    source, source_end = pty.openpty() if source_kind == "terminal" else os.pipe()
    if source_kind == "terminal":
        tty.setraw(source_end)
    if sink_kind == "fifo":
        sink_end, sink = os.pipe()
        children = [child(lambda: drain(sink_end), sink, source, source_end)]
        os.close(sink_end)
    else:
        sink, path = tempfile.mkstemp()
        os.unlink(path)
        children = []
    feeder = child(lambda: feed(source_end, unit, size), source, sink)
    os.close(source_end)
    before = time.process_time()
    relay(source, sink, size)
    used = time.process_time() - before
    os.kill(feeder, signal.SIGKILL)
    for fd in (source, sink):
        os.close(fd)
    for pid in [feeder, *children]:
        os.waitpid(pid, 0)
    return used * 2**30 / size


def main():
    rounds, mib = (int(arg) for arg in (sys.argv[1:] + ["9", "16"][len(sys.argv) - 1:]))
    for path in PATHS:
        pairs = [[measure(relay, *path, mib << 20) for relay in (relay_copy, relay_splice)] for _ in range(rounds)]
        copy, splice = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
        print(f"{path[0]} -> {path[1]}, writes of {path[2]:5}: copy {copy:.2f} s/GiB, splice {splice:.2f}, ratio {ratio:.2f}",
              flush=True)


if __name__ == "__main__":
    main()
