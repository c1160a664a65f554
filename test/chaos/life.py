# SPDX-License-Identifier: Apache-2.0
"""One life of a container as an insistent client leads it, and what must be true of it whatever breaks.

    every call is answered, by a result or by an error; what failed once goes through the next time
    an exit that happened is told once to everybody, and as it was; none is told that did not happen
    nothing is left: no process, mount, cgroup, socket, file or descriptor
"""
import collections
import concurrent.futures
import os
import re

import harness
import host
import protos
import ttrpc
from shim import StartFailed

INIT_STATUS, EXEC_STATUS = 7, 3
ANSWER_SECONDS = host.PATIENCE
ORDER = ["create", "start", "exec-added/e0", "exec-started/e0", "exit/e0", "exit", "delete"]
KNOWN = {o for o in ORDER if "/" not in o}  # pauses may come more than once
RUNNING, CREATED, STOPPED = "RUNNING", "CREATED", "STOPPED"


class ShimGone(Exception):
    """The connection is closed: the shim has died. Only SIGKILL may do that."""


class Life:
    def __init__(self, lab, env=None, may_die=False):
        self.lab = lab
        self.env = env or {}
        self.may_die = may_die
        self.c = lab.container("sh", "-c", f"read line; exit {INIT_STATUS}")
        self.c.pipes("stdin")
        self.c.stdin.open_early()
        self.processes = {}
        self.other = None  # a second connection, for those who wait
        self.errors = []  # of calls, in words
        self.told = collections.defaultdict(set)  # who: the statuses that were told
        self.ended = set()  # processes that were let go: they end by themselves
        self.not_started = set()
        self.started = set()
        self.patience = 1  # so many calls may fail
        self.lacks_memory = False
        self.log = ""

    # ---- Calls ----

    def call(self, what, fn, **fields):
        """The result, or None and the error in self.errors."""
        try:
            return fn(**fields)
        except ttrpc.Error as error:
            self.errors.append(f"{what}: {error}")
            self.error = error
            return None
        except (concurrent.futures.TimeoutError, TimeoutError):
            raise AssertionError(f"{what} was not answered") from None
        except ttrpc.Closed:
            self.connect_again(what)
            return None

    def connect_again(self, what):
        """Without memory for a message its connection may be lost: an answer of a kind, as long as the shim lives."""
        c = self.c
        if not self.lacks_memory or not os.path.exists(f"/proc/{c.shim.pid}"):
            raise ShimGone(what) from None
        self.errors.append(f"{what}: the connection is lost")
        self.error = ttrpc.Error(ttrpc.UNAVAILABLE, "the connection is lost")
        c.shim.disconnect()
        c.shim.client = c.task.client = ttrpc.Client(c.shim.address)

    def insist(self, what, fn, **fields):
        self.again(what, lambda: False, fn, **fields)

    def status_of(self, p):
        """None: there is no such process."""
        for _ in range(self.patience + 1):
            answer = self.call("State", self.c.task.State, exec_id=p.exec_id)
            if answer is not None:
                return protos.status.Status.Name(answer.status)
            if self.error.code == ttrpc.NOT_FOUND:
                return None
        raise AssertionError(f"State failed: {self.errors}")

    # ---- The steps ----

    def launch(self):
        """containerd's part: a start that fails, or a shim that is not there then, is an error, and deleted."""
        c = self.c
        for attempt in range(self.patience + 1):
            try:
                c.launch(env=c.shim.env(**self.env))
                self.other = ttrpc.Client(c.shim.address)
                break
            except (StartFailed, ttrpc.Closed, ttrpc.Error, OSError) as failed:
                if attempt == self.patience:
                    raise
                self.errors.append(f"start: {failed}")
                c.shim.close()
                c.task = None
                c.shim.run_delete()
        c.task.timeout = ANSWER_SECONDS * host.SLOWNESS
        self.waiting = c.shim.service(client=self.other)
        return self

    def again(self, what, done, fn, **fields):
        """Calls until done() says that it is so; errors may be as many as things break."""
        for _ in range(self.patience + 1):
            if self.call(what, fn, **fields) is not None or done():
                return
        raise AssertionError(f"{what} failed {self.patience + 1} times: {self.errors}")

    def create(self):
        c = self.c
        fields = {"bundle": str(c.bundle.path), **c._stdio(), **self.lab.binary_options()}
        c.created = True
        self.again("Create", self.is_created, c.task.Create, **fields)
        assert self.status_of(c) == CREATED, self.status_of(c)
        self.wait(c)

    def is_created(self):
        """After a Create that has failed. Where there is no container, no file tells of one."""
        if self.status_of(self.c) is not None:
            return True
        left = [name for name in ("init.json", "init.pid") if (self.c.bundle.path / name).exists()]
        assert not left, f"there is no container, but {left}"
        return False

    def wait(self, p):
        try:
            self.processes[p.exec_id] = [p, self.waiting.start.Wait(exec_id=p.exec_id)]
        except ttrpc.Closed:
            self.wait_again(p)

    def wait_again(self, p):
        self.connect_again("Wait")
        self.other.close()
        self.other = ttrpc.Client(self.c.shim.address)
        self.waiting = self.c.shim.service(client=self.other)
        self.wait(p)

    def start(self, p):
        """False: it has failed, and the process with it."""
        for _ in range(self.patience + 1):
            if self.call("Start", self.c.task.Start, exec_id=p.exec_id) is None and \
                    self.error.code not in (ttrpc.UNAVAILABLE, ttrpc.RESOURCE_EXHAUSTED):
                break
            if self.status_of(p) != CREATED:
                break
        if self.status_of(p) == RUNNING:
            self.started.add(p.exec_id)
            return True
        assert self.errors, f"Start was answered, and '{p.exec_id}' is {self.status_of(p)}"
        self.not_started.add(p.exec_id)
        return False

    def exec(self, number):
        e = self.c.exec("sh", "-c", f"read line; exit {EXEC_STATUS}", exec_id=f"e{number}").pipes("stdin")
        e.stdin.open_early()
        self.again("Exec", lambda: self.status_of(e) is not None, lambda: e.add() and True)
        assert self.status_of(e) == CREATED, (self.status_of(e), self.errors)
        self.wait(e)
        if self.start(e):
            self.finish(e, EXEC_STATUS)
        self.delete(e)
        return e.exec_id in self.started

    def answer_of_wait(self, p):
        for _ in range(self.patience + 2):
            try:
                return self.processes[p.exec_id][1].result(ANSWER_SECONDS * host.SLOWNESS)
            except ttrpc.Error as error:
                self.errors.append(f"Wait: {error}")
                self.wait(p)
            except (concurrent.futures.TimeoutError, TimeoutError):
                raise AssertionError(f"Wait for '{p.exec_id}' was not answered") from None
            except ttrpc.Closed:
                self.wait_again(p)
        raise AssertionError(f"Wait failed: {self.errors}")

    def finish(self, p, status):
        self.ended.add(p.exec_id)
        p.stdin.write(b"\n")
        answer = self.answer_of_wait(p)
        self.told[p.exec_id].add(answer.exit_status)
        assert answer.exit_status == status, f"'{p.exec_id}' ended with {status}, and Wait says {answer.exit_status}"

    def delete(self, p):
        if p.exec_id in self.not_started and self.status_of(p) == STOPPED:
            self.told[p.exec_id].add(self.answer_of_wait(p).exit_status)
        def delete(**fields):
            answer = self.c.task.Delete(**fields)
            self.told[p.exec_id].add(answer.exit_status)
            return answer

        self.again("Delete", lambda: self.status_of(p) is None, delete, exec_id=p.exec_id)

    def more(self):
        """Calls that change nothing in the end."""
        c = self.c
        self.again("Pause", lambda: self.status_of(c) == "PAUSED", c.task.Pause)
        self.again("Resume", lambda: self.status_of(c) == RUNNING, c.task.Resume)
        self.insist("Pids", c.task.Pids)
        self.insist("Stats", c.task.Stats)

    def lead(self):
        """From Create to Delete; a shim that dies, as only SIGKILL may make it, ends it."""
        c = self.c
        self.create()
        if self.start(c):
            for number in range(self.patience + 1):
                if self.exec(number):
                    break
            self.more()
            self.finish(c, INIT_STATUS)
        self.delete(c)
        c.deleted = True

    # ---- The end ----

    def end(self):
        """Of a shim that is alive, and of what is left of one that is not."""
        c = self.c
        self.other.close()
        answer = self.call("Shutdown", c.task.Shutdown, now=False) if c.task else None
        c.shim.disconnect()
        try:
            host.wait_gone(c.shim.pid, 2 if answer is None else host.PATIENCE)
        except AssertionError:  # its Shutdown was the call that failed
            c.shim.client = ttrpc.Client(c.shim.address)
            c.task = c.shim.service()
            c.shim.shutdown()
        self.after_death()

    def after_death(self):
        c = self.c
        self.other.close()
        c.shim.disconnect()
        host.wait_gone(c.shim.pid)
        answer = c.shim.run_delete()
        c.task = None
        for p in (c, *c.execs):
            p.close_pipes()
        self.log += c.shim.read_log()
        if c.created and "" not in self.not_started:
            may_be = set(self.told.get("") or {128 + 9, *({INIT_STATUS} if "" in self.ended else ())})
            if "" not in self.started:
                may_be.add(1)  # an init that never got its word to begin says so
            if "write record 'init.json'" in self.log:  # all were told but for those who come later
                may_be.add(128 + 9)
            assert answer.exit_status in may_be, f"delete says {answer.exit_status}, and it was {may_be}"
        self.check_events()

    def check_events(self):
        events = self.lab.containerd.of(self.c.id)
        shown = [e.short() for e in events if e.short() in KNOWN or e.process()]
        twice = [name for name, n in collections.Counter(shown).items() if n > 1]
        assert not twice, f"told twice: {twice} of {shown}"
        for e in events:
            if e.topic in ("/tasks/exit", "/tasks/delete"):
                who = e.process()
                self.told[who].add(e.exit_status)
                assert who in self.ended or who in self.not_started or self.may_die, f"{e.short()} was invented"
        for who, statuses in self.told.items():
            assert len(statuses) == 1, f"'{who}' ended with each of {statuses}, they say"
        order = [re.sub(r"e\d", "e0", s) for s in shown if s.rpartition("/")[2] not in self.not_started]
        places = [ORDER.index(s) for s in order]
        assert places == sorted(places), shown
        if not self.may_die and self.c.created:
            self.check_complete(shown)

    def check_complete(self, shown):
        wanted = ["create", "exit", "delete"] + (["start"] if "" in self.started else [])
        for e in self.started - {""}:
            wanted += [f"exec-added/{e}", f"exec-started/{e}", f"exit/{e}"]
        missing = [w for w in wanted if w not in shown]
        assert len(missing) <= self.count_lost_events(), f"not told: {missing}, but {shown}"

    def count_lost_events(self):
        """Those that the shim had no memory for, by what its last image says at its end; each also has a line of its
        own, if there is memory for that."""
        counted = re.findall(r"events were not accepted by containerd, (\d+) given up before", self.log)
        return max(self.log.count("publish event: no memory"), *map(int, counted), 0)

    def check_nothing_is_left(self, files):
        if self.patience > 1 and self.errors:  # the clean-up has failed, too; the log names what is left, if it can be written
            files = files | {f for f in os.listdir(self.c.bundle.path) if f.endswith(".tmp")}
            host.remove_cgroups(f"{harness.CGROUP}/{self.lab.namespace}-{self.c.id}")
        if self.may_die:
            return  # containerd removes the bundle of a shim that has died
        found = {f for f in os.listdir(self.c.bundle.path) if not f.endswith(".tmp")}  # of a stage that was killed
        assert found <= files, f"left in the bundle: {found - files}"
