# SPDX-License-Identifier: Apache-2.0
"""log:// in stdout: the log that the shim's own writer keeps; and Status, which tells of it."""
import hashlib
import json
import os
import re
import signal

import pytest

import host
import protos
import ttrpc
from checks import fails
from test_stdio import cpu_ticks

CRI_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)")


@pytest.fixture(autouse=True)
def not_stock(stock):
    if stock:
        pytest.skip("belay's own")


def start_logging(lab, script, params="", path=None):
    c = lab.container("sh", "-c", script)
    c.log = path or lab.new_path("logs") / "log"
    uri = f"log://{c.log}?{params}"
    c.create(stdout=uri, stderr=uri)
    c.start()
    return c


def status(process):
    service = process.container.shim.service(protos.BELAY) if process.exec_id else process.shim.service(protos.BELAY)
    return service.Status(exec_id=process.exec_id)


def writers(c):
    """The log writers of the shim: its children of that name."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = host.read(f"/proc/{pid}/stat").decode()
        except OSError:
            continue
        if not stat:
            continue
        name, fields = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        if name == "belay-log" and int(fields[1]) == c.shim.pid:
            found.append(int(pid))
    return found


def test_cri_lines_have_time_stream_and_text(lab):
    c = start_logging(lab, "echo out; echo err >&2; printf part")
    c.wait()
    c.delete()
    lines = [CRI_LINE.fullmatch(line).groups()[1:] for line in c.log.read_text().splitlines()]
    assert sorted(lines) == [("stderr", "F", "err"), ("stdout", "F", "out"), ("stdout", "P", "part")]


def test_json_lines_are_docker_s(lab):
    c = start_logging(lab, "printf 'a \"b\"\\n\\tc\\n'", "format=json")
    c.wait()
    c.delete()
    entries = [json.loads(line) for line in c.log.read_text().splitlines()]
    assert [(e["stream"], e["log"]) for e in entries] == [("stdout", 'a "b"\n'), ("stdout", "\tc\n")]


def test_a_large_binary_arrives_whole(lab):
    size = 24 << 20
    c = start_logging(lab, f"head -c {size} /dev/urandom >/data; cat /data; sha256sum /data >&2", "format=raw")
    c.wait()
    c.delete()
    data = c.log.read_bytes()
    # The other stream's line may come anywhere.
    line = re.search(rb"[0-9a-f]{64}  /data\n", data).group()
    assert hashlib.sha256(data.replace(line, b"", 1)).hexdigest() == line.split()[0].decode()


def test_files_are_rotated_and_no_line_is_lost(lab):
    c = start_logging(lab, "seq 1 60000", "max_size=256k&max_files=100&format=cri")
    c.wait()
    host.wait_for(lambda: status(c).io.drained, "all is drained")
    rotations = status(c).io.rotations
    c.delete()
    files = sorted(c.log.parent.glob("log.*"), key=lambda p: -int(p.suffix[1:])) + [c.log]
    assert len(files) == rotations + 1 > 5
    assert all(f.stat().st_size <= 256 << 10 for f in files)
    numbers = [CRI_LINE.fullmatch(line)[4] for f in files for line in f.read_text().splitlines()]
    assert numbers == [str(n) for n in range(1, 60001)]


def test_an_exec_has_a_log_of_its_own_and_a_terminal_too(lab):
    c = lab.container("sleep", "100").run()
    log = lab.new_path("log")
    e = c.exec("sh", "-c", "[ -t 1 ] && echo terminal", terminal=True)
    e.terminal = True
    e.add(stdout=f"log://{log}")
    e.start()
    e.wait()
    e.delete()
    assert log.read_bytes().endswith(b" stdout F terminal\r\n")


def test_status_tells_of_process_and_output(lab):
    c = start_logging(lab, "echo hello; read x", "format=raw")
    host.wait_for(lambda: c.log.exists() and c.log.read_text() == "hello\n", "it is in the log")
    c.wait()
    host.wait_for(lambda: status(c).io.drained, "all is drained")
    end = status(c)
    assert (end.state, end.exit.exit_status, end.exit.reason) == ("stopped", 1, "exited")
    assert (end.io.kind, end.io.bytes, end.io.bytes_dropped) == ("log", 6, 0)
    assert end.started_at.seconds > 0 and end.exit.exited_at.seconds >= end.started_at.seconds


def test_status_of_what_is_not_there(lab):
    c = lab.container("sleep", "100").run()
    with fails(ttrpc.NOT_FOUND, "nobody"):
        c.shim.service(protos.BELAY).Status(exec_id="nobody")


@pytest.mark.parametrize("params, text", [
    ("polic=drop", "unknown log parameter 'polic'"),
    ("policy=lose", "policy='lose': not block, drop or spill"),
    ("max_size=1k", "max_size='1k': not 0 or a size of at least 64k"),
])
def test_a_bad_parameter_is_refused_by_name(lab, params, text):
    c = lab.container("true").launch()
    with fails(ttrpc.INVALID_ARGUMENT, "stdout: ", text):
        c.create(stdout=f"log:///tmp/x?{params}")
    c.deleted = True


def test_a_log_that_cannot_be_opened_fails_create(lab):
    c = lab.container("true").launch()
    with fails(ttrpc.UNKNOWN, "open log '/proc/nowhere/log': No such file or directory"):
        c.create(stdout="log:///proc/nowhere/log")
    c.deleted = True


def test_a_writer_that_is_killed_has_a_successor(lab):
    c = lab.container("cat").pipes("stdin")
    c.log = lab.new_path("log")
    c.create(**{**c._stdio(), "stdout": f"log://{c.log}?format=raw"})
    c.start()
    said = ""
    for number in range(3):
        host.wait_for(lambda: len(writers(c)) == 1, "a writer")
        said += f"line {number}\n"
        c.stdin.write(f"line {number}\n".encode())
        host.wait_for(lambda: c.log.exists() and c.log.read_text() == said, said)
        os.kill(writers(c)[0], signal.SIGKILL)
    host.wait_for(lambda: status(c).io.logger_restarts == 3, "it was started again")
    c.stdin.close()
    c.task.CloseIO(stdin=True)
    assert c.wait().status == 0
    c.delete()


def test_a_full_disk_stops_the_container_and_goes_on_with_room(lab):
    """policy=block: the container waits; State and Kill do not."""
    folder = lab.new_path("small")
    folder.mkdir()
    host.mount_tmpfs(folder, "size=256k")
    filler = folder / "filler"
    filler.write_bytes(b"x" * (100 << 10))
    c = start_logging(lab, "seq 1 100000", "format=raw", path=folder / "log")
    host.wait_for(lambda: status(c).io.write_errors > 0, "the disk is full")
    assert status(c).io.last_error == "No space left on device"
    assert c.status() == "RUNNING"
    c.kill()
    assert c.wait().status == 137
    filler.unlink()
    c.delete()
    host.unmount(folder)


def test_with_drop_a_full_disk_costs_output_and_no_time(lab):
    folder = lab.new_path("small")
    folder.mkdir()
    host.mount_tmpfs(folder, "size=256k")
    c = start_logging(lab, "head -c 20000000 /dev/zero", "format=raw&policy=drop", path=folder / "log")
    assert c.wait().status == 0
    host.wait_for(lambda: status(c).io.bytes_dropped > 10 << 20, "output was dropped")
    c.task.start.Delete(timeout_nano=2 * 10**9).result()
    c.deleted = True
    host.unmount(folder)


def test_the_shim_costs_no_cpu_and_no_byte_is_lost(lab):
    c = start_logging(lab, "yes | head -c 50000000", "format=raw")
    own, reaped = cpu_ticks(c.shim.pid)
    c.wait()
    c.delete()
    own, reaped = (now - before for now, before in zip(cpu_ticks(c.shim.pid), (own, reaped)))
    assert own <= 2 + reaped / 10, (own, reaped)  # those of the container and of the writer
    data = c.log.read_bytes()
    assert hashlib.sha256(data).digest() == hashlib.sha256(b"y\n" * 25000000).digest()


