# SPDX-License-Identifier: Apache-2.0
"""Every byte of a stream arrives, whatever way it takes, and the shim holds nothing of it afterwards."""
import contextlib
import hashlib
import os
import selectors

import pytest

import host
from harness import baseline
from paths import PATHS, begin, stdout_by_pieces, stdout_of_stream, with_terminal
from streams import STDOUT, Attach, ExecStream, connect

SIZE = 24 << 20
PIECE = 128 << 10
INPUT = 100 << 20
TYPED = 10 << 20  # the kernel's terminals take some 8 MiB/s
RAW_MD5SUM = f"stty raw -echo; echo ready; head -c {TYPED} | md5sum"
BLOCK = os.urandom(1 << 20)

BY_PIECES = f"exec 3</data; while read x; do dd bs={PIECE} count=1 <&3 2>/dev/null; done"


@pytest.fixture(autouse=True)
def skip_what_the_stock_shim_has_not(request, stock):
    if stock and ("stream" in request.node.name or "attach" in request.node.name):
        pytest.skip("belay's own")


def new_path(lab, name):
    path = PATHS[name](lab)
    if lab.stock and path.own:
        pytest.skip("belay's own")
    return path


@pytest.fixture(scope="module")
def binary(request):
    """24 MiB of anything, and the same without the bytes that no JSON can tell: {is it for json: path}."""
    base = request.config.base
    data = os.urandom(SIZE)
    files = {False: base / "binary", True: base / "ascii"}
    files[False].write_bytes(data)
    files[True].write_bytes(data.translate(bytes(n & 0x7f for n in range(256))))
    yield files
    for path in files.values():
        path.unlink()


def digest(data):
    return len(data), hashlib.sha256(data).hexdigest()


def process_that_runs(lab, kind, script, source=None):
    """An init, or an exec in a container that sleeps; source: its /data."""
    c = lab.container(*(("sh", "-c", script) if kind == "init" else ("sleep", "1000")))
    if source:
        c.bundle.mount("/data", "bind", source, "rbind", "ro")
    return c.launch() if kind == "init" else c.run().exec("sh", "-c", script)


# ---- 24 MiB ----


@pytest.mark.parametrize("kind", ["init", "exec"])
@pytest.mark.parametrize("name", PATHS)
def test_a_large_binary_arrives_whole(lab, binary, name, kind):
    path = new_path(lab, name)
    source = binary["json" in name]
    script = "stty -opost; cat /data" if path.terminal else "cat /data"
    p = process_that_runs(lab, kind, script, source)
    with baseline(p.container):
        path.begin(p)
        path.take(p)
        assert p.wait().status == 0
        p.delete()
        p.close_pipes()
    assert digest(path.result()) == digest(source.read_bytes())


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_a_large_binary_arrives_whole_through_an_exec_stream(lab, binary, terminal):
    c = process_that_runs(lab, "exec", "true", binary[False]).container
    with baseline(c):
        script = "stty -opost; cat /data" if terminal else "cat /data"
        data = stdout_of_stream(c, "sh", "-c", script, terminal=terminal)
    assert digest(data) == digest(binary[False].read_bytes())


@pytest.mark.parametrize("kind", ["init", "exec"])
@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_a_large_binary_arrives_whole_through_an_attach(lab, binary, terminal, kind):
    script = f"{'stty raw -echo;' if terminal else ''} echo ready; {BY_PIECES}"
    p = process_that_runs(lab, kind, script, binary[False])
    with baseline(p.container):
        if terminal:
            begin(with_terminal(p), stdin="attach:///")
        else:
            begin(p, stdin="attach:///", stdout=f"log://{lab.new_path('log')}?format=raw")
        Attach(p, replay_bytes=1 << 20).until_output(b"ready").detach()
        data = stdout_by_pieces(p, SIZE, PIECE)
        p.wait()
        p.delete()
    assert digest(data) == digest(binary[False].read_bytes())



# ---- 100,000 lines ----

LINES = b"".join(b"%d\r\n" % n for n in range(1, 100001))


@pytest.mark.parametrize("kind", ["init", "exec"])
@pytest.mark.parametrize("name", [name for name in PATHS if PATHS[name].terminal])
def test_a_hundred_thousand_lines_on_a_terminal(lab, name, kind):
    """R56"""
    path = new_path(lab, name)
    p = process_that_runs(lab, kind, "seq 1 100000")
    with baseline(p.container):
        path.begin(p)
        path.take(p)
        assert p.wait().status == 0
        p.delete()
        p.close_pipes()
    assert path.result() == LINES


def test_a_hundred_thousand_lines_on_the_terminal_of_an_exec_stream(lab):
    c = lab.container("sleep", "1000").run()
    with baseline(c):
        assert stdout_of_stream(c, "seq", "1", "100000", terminal=True) == LINES


# ---- 100 MiB of stdin ----


def feed(write, size=INPUT):
    """So many bytes in blocks; their digest."""
    digest = hashlib.md5()
    for _ in range(size // len(BLOCK)):
        write(BLOCK)
        digest.update(BLOCK)
    return digest.hexdigest()


@pytest.mark.parametrize("kind", ["init", "exec"])
def test_a_hundred_mebibytes_of_stdin_and_close_io(lab, kind):
    p = process_that_runs(lab, kind, "md5sum")
    with baseline(p.container):
        begin(p.pipes("stdin", "stdout", "stderr"))
        want = feed(p.stdin.write)
        p.rpc().CloseIO(exec_id=p.exec_id, stdin=True)
        p.stdin.close()
        assert p.stdout.read_all().split()[0].decode() == want
        assert p.wait().status == 0
        p.delete()
        p.close_pipes()


@pytest.mark.parametrize("kind", ["init", "exec"])
def test_megabytes_typed_into_a_raw_terminal(lab, kind):
    p = process_that_runs(lab, kind, RAW_MD5SUM)
    with baseline(p.container):
        begin(with_terminal(p).pipes("stdin", "stdout"))
        p.stdout.read_until(b"ready\n")
        want = feed(p.stdin.write, TYPED)
        assert p.stdout.read_all().split()[0].decode() == want
        p.wait()
        p.delete()
        p.close_pipes()


@pytest.mark.parametrize("name", ["pipe", "fifo", "terminal"])
def test_a_hundred_mebibytes_of_stdin_through_an_attach(lab, name):
    script = RAW_MD5SUM if name == "terminal" else "echo ready; md5sum"
    c = lab.container("sh", "-c", script).launch()
    with baseline(c):
        if name == "terminal":
            begin(with_terminal(c), stdin="attach:///")
        else:
            stdin = {"stdin": "attach:///"} if name == "pipe" else {"stdin": c.pipes("stdin").stdin.path}
            begin(c, stdout=f"log://{lab.new_path('log')}", **stdin)
        a = Attach(c, stdin=True, replay_bytes=1 << 20).until_output(b"ready\n")
        want = feed(a.write, TYPED if name == "terminal" else INPUT)
        a.close_stdin()
        assert a.finish().out[STDOUT].split()[1].decode() == want
        assert c.wait().status == 0
        c.delete()
        c.close_pipes()


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_a_hundred_mebibytes_of_stdin_through_an_exec_stream(lab, terminal):
    script = RAW_MD5SUM if terminal else "echo ready; md5sum"
    c = lab.container("sleep", "1000").run()
    with baseline(c):
        e = ExecStream(c, "sh", "-c", script, stdin=True, terminal=terminal).until_output(b"ready\n")
        want = feed(e.write, TYPED if terminal else INPUT)
        e.close_stdin()
        assert e.finish().out[STDOUT].split()[1].decode() == want


# ---- Many ----


def test_two_hundred_containers_write_at_once(lab, binary):
    """Each has a shim and a way of its own; all begin when there is a byte for each in one FIFO."""
    count, size = 20 if lab.stock else 200, 256 << 10
    names = [name for name in PATHS if not (lab.stock and PATHS[name].own)]
    go = lab.new_path("go")
    os.mkfifo(go)
    go_fd = os.open(go, os.O_RDWR | os.O_CLOEXEC)
    all_of_them = []
    for i in range(count):
        path = PATHS[names[i % len(names)]](lab)
        c = lab.container("sh", "-c", f"{'stty -opost;' if path.terminal else ''} dd bs=1 count=1 </go >/dev/null "
                          f"2>&1; head -c {size} /data")
        c.bundle.mount("/data", "bind", binary[True], "rbind", "ro")
        c.bundle.mount("/go", "bind", go, "bind")
        held = contextlib.ExitStack()
        held.enter_context(baseline(c.launch()))
        path.begin(c)
        all_of_them.append((c, path, held))
    os.write(go_fd, b"x" * count)
    out = read_together([c.stdout for c, _, _ in all_of_them if c.stdout])
    want = binary[True].read_bytes()[:size]
    for c, path, held in all_of_them:
        assert c.wait().status == 0
        c.delete()
        assert (out[c.stdout.fd] if c.stdout else path.result()) == want, path
        c.close_pipes()
        held.close()
    os.close(go_fd)


def read_together(streams):
    """{fd: all that has come}, of readers whose writers are at work at the same time."""
    out = {s.fd: bytearray() for s in streams}
    with selectors.DefaultSelector() as selector:
        for fd in out:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(2 * host.PATIENCE * host.SLOWNESS)
            assert ready, f"{len(selector.get_map())} writers say nothing any more"
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                out[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    return out


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_a_thousand_clients_attach_and_detach_in_all_ways(lab, terminal):
    c = lab.container("sh", "-c", "echo ready; cat").launch()
    if terminal:
        begin(with_terminal(c), stdin="attach:///")
    else:
        begin(c, stdin="attach:///", stdout=f"log://{lab.new_path('log')}")
    Attach(c, replay_bytes=1 << 20).until_output(b"ready").detach()
    with baseline(c):
        for i in range(1000):
            attach_and_go(c, i)
    a = Attach(c, stdin=True)
    a.write(b"still\n")
    a.until_output(b"still")
    a.close_stdin()
    assert a.finish().exit.exit_status == 0


def attach_and_go(c, i):
    """Detached, or gone: before the answer, after it, with bytes on the way."""
    own = connect(c.shim) if i % 5 else None
    a = Attach(c, client=own, stdin=i % 2 == 0, replay_bytes=i % 7)
    if i % 5 != 1:
        a.until_started()
    if i % 5 == 2 and i % 2 == 0:
        a.write(b"x\n")
    if own and i % 5 != 4:
        own.close()
        return
    a.detach()
    if own:
        own.close()
