# SPDX-License-Identifier: Apache-2.0
"""A process as a debugger has it: stopped at a system call, sent elsewhere."""
import ctypes
import os
import platform
import signal

import pytest

import host

needs_registers = pytest.mark.skipif(platform.machine() != "x86_64", reason="its registers are not known here")

PEEKUSER, POKEUSER, ATTACH, DETACH, SYSCALL = 3, 6, 16, 17, 24
ORIG_RAX, RIP = 15 * 8, 16 * 8
PREAD64, CLONE3 = 17, 435
EPOLL_WAITS = (b"232", b"281")  # epoll_wait, epoll_pwait


def waits(pid):
    return host.read(f"/proc/{pid}/syscall").split()[0] in EPOLL_WAITS


class Traced:
    """It stands still, within the block, but for what is asked for."""

    def __init__(self, pid):
        self.pid = pid
        self.function = ctypes.CDLL(None, use_errno=True).ptrace
        self.function.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.function.restype = ctypes.c_long

    def ptrace(self, request, address=None, data=None):
        ctypes.set_errno(0)
        result = self.function(request, self.pid, address, data)
        assert ctypes.get_errno() == 0, os.strerror(ctypes.get_errno())
        return result

    def __enter__(self):
        self.ptrace(ATTACH)
        os.waitpid(self.pid, 0)
        return self

    def __exit__(self, *error):
        self.ptrace(DETACH)

    def until_call(self, number):
        """Goes on as far as the next system call of this number."""
        pending = 0
        while True:
            self.ptrace(SYSCALL, None, pending)
            _, status = os.waitpid(self.pid, 0)
            assert os.WIFSTOPPED(status), status
            pending = os.WSTOPSIG(status)
            if pending == signal.SIGTRAP:
                pending = 0
                if self.ptrace(PEEKUSER, ORIG_RAX) == number:
                    return

    def jump(self, address):
        self.ptrace(POKEUSER, ORIG_RAX, -1)  # no call is to be made again
        self.ptrace(POKEUSER, RIP, address)
