# SPDX-License-Identifier: Apache-2.0
"""A shim that becomes another image of its process in the middle of a stream: whatever way the output takes, each byte
arrives once. (A crash at the worst of moments is test/unit/io/test_relay_crash.c's.)"""
import threading

import pytest

import host
from harness import baseline
from paths import PATHS
from test_reexec import crash, upgrade

# Numbers, until it is told to end; how many there were is told in another way.
COUNT = "i=0; while [ ! -e /go/stop ]; do seq $i $((i + 9999)); i=$((i + 10000)); done; echo $i >/go/count"
TERMINALS = [name for name in PATHS if PATHS[name].terminal]


@pytest.fixture(autouse=True)
def only_belay(stock):
    if stock:
        pytest.skip("the stock shim ends with its process image")


def process_that_counts(lab, kind, go, terminal):
    script = f"{'stty -opost; ' if terminal else ''}{COUNT}"
    c = lab.container(*(("sh", "-c", script) if kind == "init" else ("sleep", "1000")))
    c.bundle.mount("/go", "bind", go, "rbind", "rw")
    return c.launch() if kind == "init" else c.run().exec("sh", "-c", script)


@pytest.mark.parametrize("name, kind, again", [
    *((name, "init", crash) for name in PATHS),
    *((name, "exec", crash) for name in TERMINALS),
    *((name, "init", upgrade) for name in TERMINALS),
], ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_every_byte_of_a_stream_arrives_once(lab, name, kind, again):
    """With a FIFO: first while nobody reads, and all that there is on the way is full; then while somebody does."""
    path = PATHS[name](lab)
    go = lab.new_path("go")
    go.mkdir()
    p = process_that_counts(lab, kind, go, path.terminal)
    with baseline(p.container):
        path.begin(p)
        again(p.container)
        again(p.container)
        reader = threading.Thread(target=path.take, args=[p])
        reader.start()
        again(p.container)
        again(p.container)
        (go / "stop").touch()
        reader.join(240 * host.SLOWNESS)
        assert p.wait().status == 0
        p.delete()
        p.close_pipes()
    count = int((go / "count").read_text())
    assert path.result() == b"".join(b"%d\n" % n for n in range(count))
