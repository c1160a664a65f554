# SPDX-License-Identifier: Apache-2.0
"""Update: new limits for a container that is there."""
import json

import host
import protos
import ttrpc
from checks import fails

TYPE_URL = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
MIB = 1 << 20


def update(c, resources, **fields):
    value = resources if isinstance(resources, bytes) else json.dumps(resources).encode()
    c.task.Update(resources=protos.any_pb2.Any(type_url=fields.pop("type_url", TYPE_URL), value=value), **fields)


def refused(lab, code, *texts):
    """The stock shim, and runc behind belay's, say UNKNOWN, whatever is wrong."""
    return fails(code, *([] if lab.stock else texts), also=[ttrpc.UNKNOWN] if lab.stock or lab.runc_binary else [])


def limited(lab):
    c = lab.container("sleep", "100")
    c.bundle.config["linux"]["resources"] = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 100},
                                             "cpu": {"shares": 512}}
    c.bundle.write()
    return c


def memory_limit(c):
    return int(host.limit_of(c.pid(), "memory", "memory.limit_in_bytes", "memory.max"))


def pids_limit(c):
    return host.limit_of(c.pid(), "pids", "pids.max", "pids.max")


def test_what_is_given_is_changed_and_the_rest_is_left_alone(lab):
    c = limited(lab).run()
    update(c, {"memory": {"limit": 96 * MIB}})
    assert (memory_limit(c), pids_limit(c)) == (96 * MIB, "100")
    update(c, {"pids": {"limit": 50}})
    assert (memory_limit(c), pids_limit(c)) == (96 * MIB, "50")
    update(c, {})
    assert (memory_limit(c), pids_limit(c)) == (96 * MIB, "50")


def test_before_the_start_and_while_it_is_paused(lab):
    c = limited(lab).create()
    update(c, {"pids": {"limit": 60}})
    assert pids_limit(c) == "60"
    c.start()
    c.task.Pause()
    update(c, {"pids": {"limit": 70}})
    assert pids_limit(c) == "70"
    assert c.status() == "PAUSED"
    c.task.Resume()


def test_the_type_url_and_annotations_are_of_no_matter(lab):
    c = limited(lab).run()
    update(c, {"pids": {"limit": 60}}, type_url="", annotations={"a": "b"})
    assert pids_limit(c) == "60"


def test_what_is_no_resources_is_refused_and_changes_nothing(lab):
    c = limited(lab).run()
    for bad in (b"{", b"[]", b'{"pids": {"limit": "many"}}', b'{"pids": 3}')[:1 if lab.runtime == "crun" else 4]:
        with refused(lab, ttrpc.INVALID_ARGUMENT, "update"):
            update(c, bad)
    if not lab.stock:  # which ends by a nil pointer
        with fails(ttrpc.INVALID_ARGUMENT, "update: there are no resources"):
            c.task.Update()
    assert (memory_limit(c), pids_limit(c)) == (64 * MIB, "100")


def test_a_container_that_has_ended_has_nothing_to_update(lab):
    c = limited(lab).run()
    c.kill()
    c.wait()
    with refused(lab, ttrpc.FAILED_PRECONDITION, "update a stopped container"):
        update(c, {"pids": {"limit": 60}})
    c.delete()
    with fails(ttrpc.NOT_FOUND):
        update(c, {"pids": {"limit": 60}})


def test_many_at_once(lab):
    c = limited(lab).run()
    value = lambda n: protos.any_pb2.Any(value=json.dumps({"pids": {"limit": n}}).encode())  # noqa: E731
    answers = [c.task.start.Update(resources=value(n)) for n in range(20, 40)]
    for answer in answers:
        answer.result()
    assert pids_limit(c) in {str(n) for n in range(20, 40)}
