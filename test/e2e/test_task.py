# SPDX-License-Identifier: Apache-2.0
"""The life of a container through the task service, from Create to Delete."""
import signal


def test_a_container_lives_and_ends_with_its_own_status(lab):
    c = lab.container("sh", "-c", "exit 3").run()
    assert c.wait().status == 3
    assert c.status() == "STOPPED"
    assert c.delete().exit_status == 3


def test_sh(lab):
    r = lab.sh("id; cat /proc/self/cgroup; echo err >&2")
    print(r)
    assert r.status == 0
