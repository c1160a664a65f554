# SPDX-License-Identifier: Apache-2.0
"""An event that is on its way to containerd when the shim goes on as another image: it is sent once."""
import shutil

from test_reexec import again, crash, only_belay, upgrade  # noqa: F401


def hold(lab):
    """containerd takes events and does not answer."""
    lab.containerd.answering.clear()


def let_go(lab):
    lab.containerd.answering.set()


def test_an_event_without_an_answer_is_not_sent_again(lab, again):  # noqa: F811
    c = lab.container("sleep", "1000").create()
    lab.containerd.wait(c.id, "/tasks/create")
    hold(lab)
    c.start()
    lab.containerd.wait(c.id, "/tasks/start")
    e = c.exec("sh", "-c", "exit 3").add()  # an event that waits for its turn
    for _ in range(2):
        again(c)
    let_go(lab)
    e.start()
    assert e.wait().status == 3
    e.delete()
    c.kill()
    c.wait()
    c.delete()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == ["create", "start", "exec-added/e0", "exec-started/e0", "exit/e0", "exit",
                                          "delete"]
    c.finish()


def test_an_answer_that_comes_while_the_next_image_does_is_heard(lab):
    c = lab.container("sleep", "1000").run()
    lab.containerd.wait(c.id, "/tasks/start")
    for n in range(12):
        hold(lab)
        c.exec("true", exec_id=f"e{n}").add()
        lab.containerd.wait(c.id, "/tasks/exec-added", n + 1)
        if n % 4 == 0:  # five crashes in ten seconds would be too many
            crash(c)
            let_go(lab)
        else:
            let_go(lab)
            upgrade(c)
    c.kill()
    c.wait()
    c.delete()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == ["create", "start", *(f"exec-added/e{n}" for n in range(12)), "exit", "delete"]
    c.finish()


def test_a_containerd_that_goes_meanwhile_is_sent_it_when_it_is_back(lab, again):  # noqa: F811
    c = lab.container("sleep", "1000").create()
    lab.containerd.wait(c.id, "/tasks/create")
    hold(lab)
    c.start()
    lab.containerd.wait(c.id, "/tasks/start")
    again(c)
    lab.containerd.server.drop()
    lab.containerd.received.clear()
    let_go(lab)
    lab.containerd.start()
    c.kill()
    c.wait()
    c.delete()
    lab.containerd.wait(c.id, "/tasks/delete")
    assert lab.containerd.order(c.id) == ["start", "exit", "delete"]
    c.finish()


def test_many_events_and_images(lab):
    c = lab.container("sleep", "1000").run()
    names = []
    for n in range(8):
        execs = [c.exec("sh", "-c", f"exit {k}", exec_id=f"x{n}-{k}").add() for k in range(4)]
        for e in execs:
            e.start()
        (crash if n % 4 == 1 else upgrade)(c)
        for k, e in enumerate(execs):
            assert e.wait().status == k
            e.delete()
            names.append(e.exec_id)
    c.kill()
    c.wait()
    c.delete()
    lab.containerd.wait(c.id, "/tasks/delete")
    order = lab.containerd.order(c.id)
    expected = [f"{what}/{name}" for name in names for what in ("exec-added", "exec-started", "exit")]
    assert sorted(order) == sorted(["create", "start", *expected, "exit", "delete"])
    c.finish()


def test_events_outlive_the_bundle_that_they_were_in(lab, again):  # noqa: F811
    """As containerd removes it that has given the shim up."""
    c = lab.container("sleep", "1000").run()
    lab.containerd.wait(c.id, "/tasks/start")
    lab.containerd.stop()
    c.exec("true", exec_id="e0").add()
    again(c)
    shutil.rmtree(c.bundle.path)
    c.exec("true", exec_id="e1").add()
    again(c)
    again(c)
    c.kill()
    c.wait()
    c.delete()
    lab.containerd.start()
    lab.containerd.wait(c.id, "/tasks/delete", timeout=20)
    assert lab.containerd.order(c.id) == ["create", "start", "exec-added/e0", "exec-added/e1", "exit", "delete"]
    c.bundle.path.mkdir()  # for `delete`
    c.finish()
