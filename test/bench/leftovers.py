# SPDX-License-Identifier: Apache-2.0
"""After a measurement that failed: what it started is ended and what it left is removed.

Shims and conmon are daemons. The benchmark makes itself the parent of every descendant that has lost its own, so that
none escapes, and no other process is touched.
"""
import ctypes
import os
import pathlib
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36


def adopt():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants():
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    found = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found - {os.getpid()}
        found |= more


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_all():
    for _ in range(1000):
        reap()
        left = descendants()
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    raise RuntimeError(f"processes {sorted(left)} do not end")


def remove(shim, where, container_id):
    """shim: whose `delete` action, as containerd runs it after a shim's death, removes the rest; None: not a shim's."""
    end_all()
    if shim:
        subprocess.run([shim, "-namespace", "bench", "-address", "/nowhere", "-publish-binary", "/bin/true", "-id", container_id,
                        "-bundle", str(where), "delete"], cwd=where, capture_output=True, timeout=30, check=False)
