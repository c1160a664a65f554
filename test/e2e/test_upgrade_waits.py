# SPDX-License-Identifier: Apache-2.0
"""An upgrade waits for a moment without a job under way, and others go on meanwhile."""
import json
import multiprocessing

import pytest

import host
import protos
import shim
import ttrpc


@pytest.fixture(autouse=True)
def only_belay(stock):
    if stock:
        pytest.skip("the stock shim ends with its process image")


class Load:
    """Clients that exec all the time, each a process of its own."""

    def __init__(self, c, n):
        context = multiprocessing.get_context("fork")
        self.over = context.Event()
        self.done = [context.Value("i", 0) for _ in range(n)]
        self.processes = [context.Process(target=self._run, args=(c, i)) for i in range(n)]
        for process in self.processes:
            process.start()

    def _run(self, c, i):
        task = c.shim.service(client=ttrpc.Client(c.shim.address))
        spec = protos.wrap(json.dumps(shim.process_object(["true"])).encode(), shim.SPEC_TYPE)
        while not self.over.is_set():
            exec_id = f"l{i}-{self.done[i].value}"
            task.Exec(exec_id=exec_id, spec=spec)
            task.Start(exec_id=exec_id)
            assert task.Wait(exec_id=exec_id).exit_status == 0
            assert task.Delete(exec_id=exec_id).exit_status == 0
            self.done[i].value += 1

    def end(self):
        self.over.set()
        for process in self.processes:
            process.join()
        assert [process.exitcode for process in self.processes] == [0] * len(self.processes)


def test_clients_that_exec_all_the_time_do_not_keep_it_from_happening(lab):
    c = lab.container("sleep", "1000").run()
    load = Load(c, 8)
    host.wait_for(lambda: all(n.value for n in load.done), "all of them are at it")
    try:
        for _ in range(3):
            c.shim.service(protos.BELAY).Upgrade(path="")
    finally:
        load.end()


def test_inspect_names_what_it_would_wait_for(lab):
    """What an upgrade that gives up says, too (test/unit/shim/test_upgrade.c), after ten seconds."""
    c = lab.container("sleep", "1000")
    c.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "3"], "env": [lab.token_variable]}]}
    c.launch()
    create = c.task.start.Create(bundle=str(c.bundle.path))
    c.created = True
    host.wait_for(lambda: lab.running("sleep 3"), "the hook runs")
    told = json.loads(c.shim.service(protos.BELAY).Inspect().json)
    assert told["under_way"]["obstacle"].startswith("a Create has been under way for ")
    create.result(20)
    assert "obstacle" not in json.loads(c.shim.service(protos.BELAY).Inspect().json)["under_way"]
    c.finish()
