# SPDX-License-Identifier: Apache-2.0
"""A fault of the processor's in another process, at an instruction of our choice: by ptrace(2), on x86-64."""
import ctypes
import os
import platform

ATTACH, DETACH, STEP, GETREGS, SETREGS = 16, 17, 9, 12, 13
REGISTERS = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base "
             "ds es fs gs").split()
WALL = 0x40000000  # __WALL of waitpid(2)
SYSCALL = b"\x0f\x05"  # the instruction
NOWHERE = 0x10  # an address where nothing is

# What a system call has done is noted by then: docs/reliability.md, "Between a system call's return and the note of it".
NOTED = 300

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in REGISTERS]


def is_possible():
    return platform.machine() == "x86_64"


def fault(pid, n_steps):
    """After so many instructions, and as many more as it takes to be away from a system call. False: it was not there
    any more, or another one traces it."""
    if _libc.ptrace(ATTACH, pid, None, None) < 0:
        return False
    try:
        os.waitpid(pid, WALL)
        return _step_and_fault(pid, n_steps)
    except (ChildProcessError, FileNotFoundError):
        return False
    finally:
        _libc.ptrace(DETACH, pid, None, None)


def _step_and_fault(pid, n_steps):
    registers = Registers()
    place = ctypes.addressof(registers)
    n_since = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        while True:
            _libc.ptrace(GETREGS, pid, None, place)
            memory.seek(registers.rip - len(SYSCALL))
            n_since = 0 if memory.read(len(SYSCALL)) == SYSCALL else n_since + 1
            n_steps -= 1
            if n_steps < 0 and n_since > NOTED:
                break
            _libc.ptrace(STEP, pid, None, None)
            if not os.WIFSTOPPED(os.waitpid(pid, WALL)[1]):
                return False
    registers.rip = NOWHERE
    registers.orig_rax = ctypes.c_ulonglong(-1).value  # no system call is begun again
    return _libc.ptrace(SETREGS, pid, None, place) == 0
