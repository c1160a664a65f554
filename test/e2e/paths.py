# SPDX-License-Identifier: Apache-2.0
"""The ways that a process's output can take, each with the same few verbs, so that a test can be of all of them.

    path = PATHS[name](lab)
    path.begin(process)         # Create or Exec, and Start
    path.take(process)          # reads, where the process waits for a reader
    process.wait(); process.delete()
    path.result()               # the bytes of stdout
"""
import json
import re

from streams import STDOUT, Attach, ExecStream

CRI_LINE = re.compile(rb"\S+ (stdout|stderr) ([FP]) (.*)", re.DOTALL)

# What a logging program does: to be ready, and then its part. $1 is the key of the URI's only parameter, $2 its value.
READY = "echo >&5; exec 5>&-; "
COPY = 'cat <&3 >>"$2.out" & cat <&4 >>"$2.err"; wait; '


class Logger:
    """A shell script as the logging program, and where it writes."""

    def __init__(self, lab, script, scheme="binary-v2"):
        self.base = str(lab.new_path("log"))
        program = lab.new_path("logger")
        # The pid first: a logger is found by it.
        program.write_text(f'#!/bin/busybox sh\necho $$ >>"$2.pids"\n{script}')
        program.chmod(0o755)
        self.uri = f"{scheme}://{program}?base={self.base}"

    def read(self, what):
        with open(f"{self.base}.{what}", "rb") as file:
            return file.read()

    def pids(self):
        return [int(line) for line in self.read("pids").split()]

    def stdio(self):
        return {"stdout": self.uri, "stderr": self.uri}


def with_terminal(p):
    p.terminal = True
    if p.exec_id:
        p.spec["terminal"] = True
    else:
        p.config["process"]["terminal"] = True
        p.bundle.write()  # the shim may run already
    return p


def begin(p, **fields):
    """Create, or Exec for what is an exec, and Start."""
    if p.exec_id:
        p.add(**fields)
    else:
        p.create(**{**p._stdio(), **fields})
    p.start()
    return p


class Path:
    own = True  # belay's own: the stock shim of 1.6 has it not
    terminal = False

    def __init__(self, lab):
        self.lab = lab
        self.data = b""

    def fields(self, p):
        """What Create or Exec names as its streams."""
        return {}

    def begin(self, p, **fields):
        if self.terminal:
            with_terminal(p)
        return begin(p, **self.fields(p), **fields)

    def take(self, p):
        pass

    def result(self):
        return self.data


class Fifo(Path):
    own = False

    def fields(self, p):
        p.pipes("stdout", *([] if self.terminal else ["stderr"]))
        return {}

    def take(self, p):
        self.data = p.stdout.read_all()


class Terminal(Fifo):
    terminal = True


class File(Path):
    own = False

    def fields(self, p):
        self.path = self.lab.new_path("file")
        uri = f"file://{self.path}"
        return {"stdout": uri} if self.terminal else {"stdout": uri, "stderr": uri}

    def result(self):
        return self.path.read_bytes()


class TerminalToFile(File):
    own = True
    terminal = True


class Binary(Path):
    own = False
    scheme = "binary"

    def fields(self, p):
        self.logger = Logger(self.lab, READY + COPY, self.scheme)
        return {"stdout": self.logger.uri} if self.terminal else self.logger.stdio()

    def result(self):
        return self.logger.read("out")


class BinaryV2(Binary):
    own = True
    scheme = "binary-v2"


class TerminalToBinary(BinaryV2):
    terminal = True


class Log(Path):
    format = "raw"
    params = ""
    folder = None

    def fields(self, p):
        self.path = (self.folder or self.lab.new_path("logs")) / "log"
        return {"stdout": f"log://{self.path}?format={self.format}{self.params}"}

    def result(self):
        return self.path.read_bytes()


class CriLog(Log):
    format = "cri"

    def result(self):
        parts = (CRI_LINE.fullmatch(line) for line in self.path.read_bytes().split(b"\n")[:-1])
        return b"".join(m[3] + (b"\n" if m[2] == b"F" else b"") for m in parts if m[1] == b"stdout")


class JsonLog(Log):
    format = "json"

    def result(self):
        entries = map(json.loads, self.path.read_bytes().split(b"\n")[:-1])
        return "".join(e["log"] for e in entries if e["stream"] == "stdout").encode()


class TerminalToLog(CriLog):
    terminal = True


PATHS = {"fifo": Fifo, "terminal": Terminal, "file": File, "terminal-file": TerminalToFile, "binary": Binary,
         "binary-v2": BinaryV2, "terminal-binary-v2": TerminalToBinary, "log-cri": CriLog, "log-json": JsonLog,
         "log-raw": Log, "terminal-log-cri": TerminalToLog}


def stdout_of_stream(container, *args, **fields):
    """The output of a whole ExecStream."""
    e = ExecStream(container, *args, **fields).finish()
    assert e.exit.exit_status == 0, e.exit
    return bytes(e.out[STDOUT])


def stdout_by_pieces(p, size, piece):
    """The output of a process that waits for a line of stdin before each piece: so an Attach cannot fall behind."""
    a = Attach(p, stdin=True).until_started()
    for end in range(piece, size + piece, piece):
        a.write(b"\n")
        a.until(lambda: len(a.out[STDOUT]) >= min(end, size))
    p.kill()
    return bytes(a.finish().out[STDOUT])
