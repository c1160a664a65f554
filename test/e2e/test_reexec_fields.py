# SPDX-License-Identifier: Apache-2.0
"""What a shim keeps for its next image, field by field: what `belay inspect` shows of it is the same in the next image, and
each field of the messages (proto/belay/state/v1) has a value in one of the states that are made here. So none is
forgotten, neither where it is written nor where it is read; what a value is for is the other tests' to see."""
import fcntl
import importlib
import json
import os
import struct
import termios

import pytest

import host
import protos
import ttrpc
from paths import COPY, READY, Logger
from streams import ExecStream
from test_engine_isolation import user_namespace
from test_oom import FILL, limited
from test_reexec import again, belay, crash, only_belay  # noqa: F401 (fixtures)
from test_terminal import terminal

pytestmark = pytest.mark.runs_with("belay", why="it is the engine's state")

STATE = importlib.import_module("belay.state.v1.shim_pb2").DESCRIPTOR.message_types_by_name["Shim"]

# Fields that none of the states has, and why.
UNDER_WAY = "only while a call is under way, for which an upgrade waits"
UNIT = "test/unit/shim/test_state.c"
BINARY = "of a runtime binary: test/unit/runc/test_save.c"
NOT_HERE = {
    "Shim.upgrading": UNDER_WAY,
    "Shim.stopping": "test_reexec_effects.py",
    "Shim.events_lost": UNIT,
    "Change": "the record's own",
    "KeyedProcess": "the record's own",
    "Container.by_binary": BINARY,
    "Container.runc": BINARY,
    "Process.runc": BINARY,
    "Container.rest_is_due": "only for a moment at the end of a container: the points of ./dev chaos",
    "Container.execs_wait_over": UNIT,
    "Process.drain_waited": UNIT,
    "Exit.core_dumped": UNIT,
    "Exit.oom_up": UNIT,
    "EngineProcess.orphan": "where a runtime has made it",
    "Logger.stopping": UNDER_WAY,
    "Logger.timer_ns": "test_reexec_effects.py",
    "Logger.writing": UNDER_WAY,
    "Logger.is_ready": "not written any more",
    "Logger.has_failed": "not written any more",
    "Logger.bytes_dropped": "of a logger that was given up",
    "Logger.given_up": "after many deaths in a row",
    "Stdio.child": UNDER_WAY,
    "Stdio.has_size": UNDER_WAY,
    "Stdio.width": UNDER_WAY,
    "Stdio.height": UNDER_WAY,
    "Stdio.relay_input": UNDER_WAY,
    "Stdio.relay_output": UNDER_WAY,
    "Sink": "a stream's: test_stream_reexec.py",
}


def inspect(c):
    return json.loads(belay(c).Inspect().json)


def kept(c):
    """When nothing moves any more: events, and the watch for OOM kills that begins some milliseconds late."""
    host.wait_for(lambda: "events_queued" not in inspect(c)["under_way"], "the events to be taken")
    if c.status() != "STOPPED":
        host.wait_for(lambda: "oom_before" in inspect(c)["shim"]["container"], "the watch")
    return inspect(c)["shim"]


def runs_with_everything(lab):
    c = limited(lab.container("sleep", "1000").pipes("stdin", "stdout"), 16)
    user_namespace(c)
    hook = {"path": "/bin/true", "env": [lab.token_variable]}
    c.config["hooks"] = {"poststart": [hook], "poststop": [hook]}
    capabilities = ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"]
    c.config["process"]["capabilities"] = {kind: capabilities for kind in (
        "bounding", "effective", "inheritable", "permitted", "ambient")}
    c.config["linux"].update(
        personality={"domain": "LINUX32"}, memoryPolicy={"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        seccomp={"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                 "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]})
    image = lab.new_path("image")
    os.rename(c.bundle.rootfs, image)
    c.create(rootfs=[{"type": "bind", "source": str(image), "options": ["rbind", "rw"]},
                     {"type": "tmpfs", "source": "tmpfs", "target": "/tmp"}],
             options=protos.wrap(protos.runc.Options(io_uid=100000, io_gid=100001)))
    c.start()
    c.task.CloseIO(stdin=True)
    c.exec("true").add([("belay-cgroup", "memory:below"), ("belay-ignore-paused", "1"), ("belay-own-child", "1"),
                        ("belay-descriptors", f"{os.getpid()}/1/1")])
    sized = terminal(c.exec("true")).add()
    c.task.ResizePty(exec_id=sized.exec_id, width=111, height=33)
    terminal(c.exec("sleep", "1000")).add().start()
    e = c.exec("sh", "-c", FILL).add()
    e.start()
    assert e.wait().status == 137
    lab.containerd.wait(c.id, "/tasks/oom")
    return c


def bytes_in(fd):
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]


def has_streams_of_all_kinds(lab):
    c = lab.container("sleep", "1000").run()
    log = {"stdout": f"log://{lab.new_path('log')}"}
    e = c.exec("sh", "-c", "echo all").add(**log)
    e.start()
    e.wait()
    c.exec("sleep", "1000").add(stdin="attach:///", **log).start()
    killed = Logger(lab, READY + 'exec cat <&3 >>"$2.out"')
    c.exec("sleep", "1000").add(**killed.stdio()).start()
    host.wait_for(lambda: os.path.exists(killed.base + ".out"), "it runs")
    os.kill(killed.pids()[0], 9)
    gone = Logger(lab, READY + "{ " + COPY + "} & exit 0")
    c.exec("sleep", "1000").add(**gone.stdio()).start()
    host.wait_for(lambda: len(killed.pids()) == 2 and "into the background" in lab.logs(), "the loggers")
    unread = lab.new_path("fifo")
    os.mkfifo(unread)
    e = c.exec("echo", "all").add(stdout=str(unread))
    e.start()
    e.wait()
    e = terminal(c.exec("cat", "/dev/zero")).add()  # nor here, and so it is not all out when the process has ended
    e.start()
    host.wait_for(lambda: bytes_in(e.stdout.fd) > 60000, "a full pipe")
    e.kill()
    e.wait()
    c.stream = ExecStream(c, "sleep", "1000").until_started()
    return c


def was_created(lab):
    return lab.container("sleep", "1000").pipes("stdin", "stdout", "stderr").create()


def has_ended(lab):
    c = lab.container("sleep", "1000").run()
    c.kill(15, all=True)
    c.kill(9)
    c.wait()
    lab.containerd.wait(c.id, "/tasks/exit")
    return c


def could_not_be_started(lab):
    c = lab.container("sleep", "1000")
    c.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    c.create()
    with pytest.raises(ttrpc.Error):
        c.start()
    c.wait()
    return c


MAKERS = [runs_with_everything, has_streams_of_all_kinds, was_created, has_ended, could_not_be_started]


def finish(c):
    """A Delete waits for who reads."""
    for e in c.execs:
        if e.stdout and e.status() == "STOPPED":
            e.stdout.read_all()
    c.finish()


def flat(value, name=""):
    """Each value by its path."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {} if parts else {name: value}
    for key, part in parts:
        found.update(flat(part, f"{name}.{key}"))
    return found


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_it_is_the_same_in_the_next_image(lab, again, make):  # noqa: F811
    def values():
        found = flat(kept(c))
        assert found.pop(".events_file") > 0  # each image opens it anew
        return found

    c = make(lab)
    before = values()
    for _ in range(2):
        again(c)
        assert values() == before
    finish(c)


def fields_of(message, seen):
    """Of a message and all that it can hold."""
    if message.name in NOT_HERE or message.name in seen:
        return seen
    seen[message.name] = {f"{message.name}.{field.name}" for field in message.fields}
    for field in message.fields:
        if field.message_type and f"{message.name}.{field.name}" not in NOT_HERE:
            fields_of(field.message_type, seen)
    return seen


def fields_with_a_value(message, value):
    for name, part in value.items():
        field = message.fields_by_name[name]
        if not isinstance(part, list) or any(part):
            yield f"{message.name}.{name}"
        for item in part if isinstance(part, list) else [part]:
            if isinstance(item, dict):
                yield from fields_with_a_value(field.message_type, item)


def test_every_field_is_in_one_of_them(lab):
    seen = set()
    for make in MAKERS:
        c = make(lab)
        seen |= set(fields_with_a_value(STATE, kept(c)))
        finish(c)
    every = set().union(*fields_of(STATE, {}).values())
    assert every - seen - set(NOT_HERE) == set()
    assert seen & set(NOT_HERE) == set(), "they are here"
