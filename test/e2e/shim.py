# SPDX-License-Identifier: Apache-2.0
"""The shim binary, run as containerd runs it, and the processes that it looks after."""
import collections
import os
import pathlib
import re
import signal
import subprocess

import fifo
import host
import protos
import ttrpc
from bundle import process as process_object

Exit = collections.namedtuple("Exit", "status at")
Result = collections.namedtuple("Result", "status out err")

NEVER = -62135596800  # Go's zero time in unix seconds: has not ended
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"


class StartFailed(Exception):
    pass


class Shim:
    """One shim: its start action, its socket, its log, its end."""

    def __init__(self, lab, ident, cwd):
        self.lab = lab
        self.id = ident
        self.cwd = pathlib.Path(cwd)
        self.address = None
        self.client = None
        self.pid = None
        self.log_fd = None

    def argv(self, *action, flags=()):
        return [str(self.lab.shim), "-namespace", self.lab.namespace, "-address", self.lab.grpc_address,
                "-publish-binary", "/bin/true", "-id", self.id, *flags, *action]

    def env(self, **more):
        return {**os.environ, host.TOKEN: self.lab.token, "GOMAXPROCS": "2",
                "TTRPC_ADDRESS": self.lab.containerd.path, **more}

    def open_log(self):
        path = self.cwd / "log"
        if not path.exists():
            os.mkfifo(path, 0o700)
        self.log_fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def read_log(self):
        """What has been logged since the last look."""
        text = b""
        while self.log_fd is not None and host.readable(self.log_fd, 0):
            text += os.read(self.log_fd, 1 << 16)
        return text.decode(errors="replace")

    def run_start(self, stdin=b"", env=None, flags=()):
        """The start action alone; its combined output, as containerd takes it."""
        done = subprocess.run(self.argv("start", flags=flags), input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, cwd=self.cwd, env=env or self.env(),
                              process_group=0, timeout=20 * host.SLOWNESS)
        if done.returncode:
            raise StartFailed(done.stdout.decode(errors="replace"))
        return done.stdout

    def start(self, stdin=b"", env=None, flags=()):
        self.open_log()
        self.connect(self.run_start(stdin, env, flags).decode().strip())
        return self

    def connect(self, address):
        self.address = address
        self.client = ttrpc.Client(address)
        self.pid = self.service().Connect().shim_pid
        return self

    def service(self, descriptor=protos.TASK_V2, client=None):
        return ttrpc.Service(client or self.client, descriptor, id=self.id)

    def run_delete(self, bundle=None, stdin=b""):
        """The delete action; its DeleteResponse."""
        flags = ("-bundle", str(bundle or self.cwd))
        done = subprocess.run(self.argv("delete", flags=flags), input=stdin, capture_output=True,
                              cwd=self.cwd, env=self.env(), process_group=0, timeout=20 * host.SLOWNESS)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return protos.task.DeleteResponse.FromString(done.stdout)

    def fds(self):
        return host.open_fds(self.pid)

    def holds(self):
        """What it has at present, as a Counter: descriptors by what they are (pipes, sockets, each path), and
        children. Its answer to a call comes first: what it had put off to the end of its round is done then."""
        self.service().Connect()
        kinds = (re.sub(r"\d+\]$", "]", target) for target in self.fds().values())
        return collections.Counter([*kinds, *(f"child {pid}" for pid in host.children(self.pid))])

    def wait_for_oom_watch(self):
        """It begins some milliseconds after Create, and lasts as long as the container."""
        mark = "/memory.events" if host.V2 else "anon_inode:inotify"
        host.wait_for(lambda: any(kind.endswith(mark) for kind in self.holds()), "the watch for OOM kills")

    def wait_for_no_more_than(self, before, timeout=host.PATIENCE):
        """That nothing is left of what it has come to hold since. A child's end is an event."""
        for pid in host.children(self.pid):
            if f"child {pid}" not in before:
                host.wait_gone(pid, timeout)
        host.wait_for(lambda: not self.holds() - before, lambda: f"to be let go: {self.holds() - before}", timeout)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        host.wait_gone(self.pid)

    def shutdown(self):
        """Shutdown, and proof that it happened."""
        try:
            self.service().Shutdown(now=False)
        except ttrpc.Closed:  # it may be gone before its answer has left, which containerd tolerates
            pass
        self.disconnect()
        host.wait_gone(self.pid)

    def disconnect(self):
        if self.client:
            self.client.close()
            self.client = None

    def close(self):
        self.disconnect()
        if self.log_fd is not None:
            os.close(self.log_fd)
            self.log_fd = None


class Process:
    """Init or an exec: what both can do."""

    def __init__(self, container, exec_id):
        self.container = container
        self.exec_id = exec_id
        self.terminal = False
        self.stdin = self.stdout = self.stderr = None

    def rpc(self):
        return self.container.task

    def pipes(self, *names):
        """Gives the process FIFOs: any of "stdin", "stdout", "stderr"."""
        for name in names or ("stdout", "stderr"):
            path = self.container.lab.new_path(f"{self.container.id}-{self.exec_id or 'init'}-{name}")
            setattr(self, name, fifo.Writer(path) if name == "stdin" else fifo.Reader(path))
        return self

    def _stdio(self):
        streams = {n: getattr(self, n) for n in ("stdin", "stdout", "stderr")}
        return {"terminal": self.terminal, **{n: s.path for n, s in streams.items() if s}}

    def start(self):
        return self.rpc().Start(exec_id=self.exec_id).pid

    def state(self):
        return self.rpc().State(exec_id=self.exec_id)

    def status(self):
        return protos.status.Status.Name(self.state().status)

    def kill(self, signo=signal.SIGKILL, **fields):
        self.rpc().Kill(exec_id=self.exec_id, signal=signo, **fields)

    def wait(self):
        answer = self.rpc().Wait(exec_id=self.exec_id)
        return Exit(answer.exit_status, answer.exited_at)

    def wait_later(self):
        """A future of Wait's answer."""
        return self.rpc().start.Wait(exec_id=self.exec_id)

    def delete(self):
        return self.rpc().Delete(exec_id=self.exec_id)

    def finish_output(self, status):
        out = self.stdout.read_all() if self.stdout else b""
        err = self.stderr.read_all() if self.stderr else b""
        return Result(status, out.decode(errors="replace"), err.decode(errors="replace"))

    def close_pipes(self):
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                stream.close()


class Exec(Process):
    def __init__(self, container, exec_id, args, **changes):
        super().__init__(container, exec_id)
        self.spec = process_object(args, **changes)

    def add(self, metadata=(), **fields):
        """The Exec call: registers it, starts nothing."""
        import json
        spec = {**self.spec, "env": [*self.spec.get("env", []), self.container.lab.token_variable]}
        request = {"exec_id": self.exec_id, **self._stdio(),
                   "spec": protos.wrap(json.dumps(spec).encode(), SPEC_TYPE), **fields}
        self.rpc().with_metadata(metadata).Exec(**request)
        return self

    def run(self, metadata=()):
        """All of its life, with its output."""
        self.pipes("stdout", "stderr").add(metadata)
        self.start()
        result = self.finish_output(self.wait().status)
        self.delete()
        self.close_pipes()
        return result


class Container(Process):
    def __init__(self, lab, ident, bundle):
        super().__init__(self, "")
        self.lab = lab
        self.id = ident
        self.bundle = bundle
        self.config = bundle.config
        self.shim = Shim(lab, ident, bundle.path)
        self.task = None
        self.execs = []
        self.created = False
        self.deleted = False

    def launch(self, **start):
        """The start action: a shim without a task yet."""
        if not self.task:
            self.bundle.write()
            self.shim.start(**start)
            self.task = self.shim.service()
        return self

    def create(self, **fields):
        self.launch()
        self.created = True
        self.task.Create(**{"bundle": str(self.bundle.path), **self._stdio(),
                            **self.lab.binary_options(), **fields})
        return self

    def run(self):
        self.create()
        self.start()
        return self

    def pid(self):
        return self.state().pid

    def others(self):
        """Pids of its processes besides init."""
        return [p.pid for p in self.task.Pids().processes if p.pid != self.pid()]

    def exec(self, *args, exec_id=None, **changes):
        e = Exec(self, exec_id or f"e{len(self.execs)}", args, **changes)
        self.execs.append(e)
        return e

    def finish(self):
        """Ends whatever it is at by the means of the task API, as containerd does, and checks the shim's end."""
        if not self.task:
            return
        if not self.deleted:
            self._end_task()
        self.shim.shutdown()
        if self.created or not self.lab.stock:  # without a task the stock shim of 1.6 misses a file of its own
            self.shim.run_delete()
        self.task = None
        for p in (self, *self.execs):
            p.close_pipes()

    def _end_task(self):
        for p in (*self.execs, self):
            try:
                status = p.state().status
            except ttrpc.Error as error:
                assert error.code == ttrpc.NOT_FOUND, error
                continue
            if status in (protos.status.RUNNING, protos.status.PAUSED):
                try:
                    p.kill(signal.SIGKILL, all=p is self)
                except ttrpc.Error as error:  # it ended meanwhile
                    assert error.code == ttrpc.NOT_FOUND, error
                p.wait()
            p.delete()

    def delete(self):
        answer = super().delete()
        self.deleted = True
        return answer

    def delete_without_shim(self):
        """SIGKILL for the shim, and what the delete action answers then."""
        self.shim.kill()
        self.shim.disconnect()
        # The socket of a dead shim stays until the next start under that id, says the stock shim.
        self.lab.stale_sockets = self.lab.stock
        answer = self.shim.run_delete()
        self.task = None
        for p in (self, *self.execs):
            p.close_pipes()
        return answer
