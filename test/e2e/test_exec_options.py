# SPDX-License-Identifier: Apache-2.0
"""What an exec may be asked for in metadata of the call (shim/exec_options.h); the stock shim has nothing of the kind."""
import pytest

import host
import ttrpc
from checks import fails

CGROUP = "belay-cgroup"
IGNORE_PAUSED = [("belay-ignore-paused", "1")]


@pytest.fixture
def container(lab, stock):
    if stock or lab.runc_binary and "crun" in str(lab.runc_binary):
        pytest.skip("neither the stock shim nor crun has these")
    c = lab.container("sleep", "100")
    c.config["linux"]["namespaces"] = [n for n in c.config["linux"]["namespaces"] if n["type"] != "cgroup"]
    return c.run()


def test_a_cgroup_below_the_containers(container):
    below = host.cgroup_file(container.pid(), "memory", "below")
    below.mkdir()
    name = "below" if host.V2 else "memory:below"
    try:
        done = container.exec("cat", "/proc/self/cgroup").run([(CGROUP, name)])
        paths = {controllers: path for _, controllers, path in (line.split(":", 2) for line in done.out.splitlines())}
        assert paths["" if host.V2 else "memory"].endswith("/below")
        assert [path for path in paths.values() if path.endswith("/below")] == [paths["" if host.V2 else "memory"]]
    finally:
        host.remove_cgroup(below)


def test_a_start_says_which_cgroup_is_not_there(container):
    e = container.exec("true").add([(CGROUP, "nowhere")])
    with pytest.raises(ttrpc.Error, match="nowhere"):
        e.start()
    container.exec("true").run()


def test_no_name_leads_out(container):
    e = container.exec("true").add([(CGROUP, "../..")])
    with pytest.raises(ttrpc.Error, match="\\.\\./\\.\\."):
        e.start()


@pytest.mark.parametrize("value", ["", "a\n" * 16, "a" * 4097])
def test_what_is_no_list_of_cgroups_is_refused_at_once(container, value):
    with fails(ttrpc.INVALID_ARGUMENT, CGROUP):
        container.exec("true").add([(CGROUP, value)])


def test_an_exec_may_be_started_in_a_paused_container_and_waits(container):
    container.task.Pause()
    with fails(ttrpc.FAILED_PRECONDITION, "paused"):
        container.exec("true").add()
    e = container.exec("sh", "-c", "exit 7").add(IGNORE_PAUSED)
    start = container.task.start.Start(exec_id=e.exec_id)
    assert container.status() == "PAUSED"
    container.task.Resume()
    start.result()
    assert e.wait().status == 7
