# SPDX-License-Identifier: Apache-2.0
"""config.json, `process`: what the program finds itself to be."""
import pytest

import host


def editor(**changes):
    def edit(c):
        c.config["process"].update(changes)
    return edit


def status_of(lab, edit=None, exec_=None):
    """/proc/self/status as a dict."""
    r = lab.run("cat", "/proc/self/status", edit=edit)
    assert r.status == 0, r
    return dict(line.split(":", 1) for line in r.out.splitlines())


def mask(*numbers):
    return f"{sum(1 << n for n in numbers):016x}"


CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE, CAP_NET_RAW = 0, 5, 10, 13


def test_the_environment_is_exactly_what_was_asked_for(lab):
    r = lab.run("env", edit=editor(env=["PATH=/bin", "A=1", "B=two words", "EMPTY="]))
    env = [line for line in r.out.splitlines() if not line.startswith((host.TOKEN, "HOME="))]
    assert sorted(env) == ["A=1", "B=two words", "EMPTY=", "PATH=/bin"]


def test_home_is_taken_from_passwd_when_it_is_missing(lab):
    assert lab.sh("echo $HOME").out == "/root\n"
    assert lab.sh("echo $HOME", editor(user={"uid": 1000, "gid": 1000})).out == "/home/user\n"
    assert lab.sh("echo $HOME", editor(env=["PATH=/bin", "HOME=/mine"])).out == "/mine\n"


def test_the_program_is_found_in_the_containers_path(lab):
    def edit(c):
        own = c.bundle.rootfs / "special"
        own.mkdir()
        (own / "tool").symlink_to("/bin/busybox")
        c.config["process"].update(args=["sh", "-c", "echo $0", "x"], env=["PATH=/special:/bin"])
        (own / "sh").symlink_to("/bin/busybox")

    assert lab.run("sh", edit=edit).status == 0
    r = lab.run("/bin/sh", "-c", "echo absolute")
    assert r.out == "absolute\n"


def test_arguments_arrive_unchanged(lab):
    args = ["", "a b", "ä€", "-x", "*", "line\nbreak", "x" * 5000]
    r = lab.run("sh", "-c", 'for a in "$@"; do echo "[$a]"; done', "sh", *args)
    assert r.out == "".join(f"[{a}]\n" for a in args)


def test_the_working_directory(lab):
    assert lab.run("pwd", edit=editor(cwd="/tmp")).out == "/tmp\n"
    r = lab.run("pwd", edit=editor(cwd="/made/on/demand"))
    assert r.out == "/made/on/demand\n"


def test_user_and_groups(lab):
    out = lab.sh("id -u; id -g; id -G", editor(user={"uid": 1234, "gid": 2345, "additionalGids": [7, 8]})).out
    assert out == "1234\n2345\n2345 7 8\n"


def test_the_shims_groups_do_not_leak_into_the_container(lab):
    fields = status_of(lab)
    assert fields["Groups"].split() in ([], ["0"])
    assert fields["Uid"].split() == ["0"] * 4


def test_umask(lab):
    assert lab.sh("umask").out == "0022\n"
    assert lab.sh("umask", editor(user={"uid": 0, "gid": 0, "umask": 0o27})).out == "0027\n"


def test_capabilities_are_exactly_what_was_asked_for(lab):
    caps = {k: ["CAP_CHOWN", "CAP_KILL"] for k in ("bounding", "permitted", "effective")}
    fields = status_of(lab, editor(capabilities=caps))
    for kind in ("CapBnd", "CapPrm", "CapEff"):
        assert fields[kind].strip() == mask(CAP_CHOWN, CAP_KILL)
    for kind in ("CapInh", "CapAmb"):
        assert fields[kind].strip() == mask()


def test_a_user_has_no_capabilities_but_ambient_ones(lab):
    user = {"uid": 1000, "gid": 1000}
    caps = {k: ["CAP_KILL", "CAP_NET_BIND_SERVICE"] for k in ("bounding", "permitted", "effective")}
    fields = status_of(lab, editor(user=user, capabilities=caps))
    assert fields["CapEff"].strip() == fields["CapPrm"].strip() == mask()
    assert fields["CapBnd"].strip() == mask(CAP_KILL, CAP_NET_BIND_SERVICE)

    caps["inheritable"] = caps["ambient"] = ["CAP_NET_BIND_SERVICE"]
    fields = status_of(lab, editor(user=user, capabilities=caps))
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert fields[kind].strip() == mask(CAP_NET_BIND_SERVICE)


def test_no_capabilities_at_all(lab):
    for caps in ({}, {"bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": []}):
        fields = status_of(lab, editor(capabilities=caps))
        assert {fields[f"Cap{k}"].strip() for k in ("Bnd", "Eff", "Prm", "Inh", "Amb")} == {mask()}


@pytest.mark.runs_with("belay", why="it is one")
def test_a_capability_that_cannot_be_granted_is_no_error(lab, stock):
    """This root has no CAP_SYS_RESOURCE on some machines; the specification wants a warning."""
    if stock:
        pytest.skip("runc refuses it")
    caps = {k: ["CAP_SYS_RESOURCE", "CAP_KILL"] for k in ("bounding", "permitted", "effective")}
    fields = status_of(lab, editor(capabilities=caps))
    assert int(fields["CapEff"], 16) & 1 << CAP_KILL


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(lab, value):
    assert status_of(lab, editor(noNewPrivileges=value))["NoNewPrivs"].strip() == str(int(value))


def test_rlimits(lab):
    limits = [{"type": "RLIMIT_NOFILE", "hard": 100, "soft": 50}, {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
              {"type": "RLIMIT_STACK", "hard": 1 << 24, "soft": 1 << 23}]
    out = lab.run("cat", "/proc/self/limits", edit=editor(rlimits=limits)).out
    found = {line[:25].strip(): line[25:].split()[:2] for line in out.splitlines()}
    assert found["Max open files"] == ["50", "100"]
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max stack size"] == [str(1 << 23), str(1 << 24)]


def test_oom_score_adj(lab):
    assert lab.run("cat", "/proc/self/oom_score_adj", edit=editor(oomScoreAdj=500)).out == "500\n"


def test_without_oom_score_adj_it_is_inherited(lab):
    """From the shim: containerd's plus one, with the stock shim and runc, too."""
    c = lab.container("sh", "-c", "cat /proc/self/oom_score_adj; sleep 100").run()
    score = host.read(f"/proc/{c.pid()}/oom_score_adj")
    assert int(score) == min(int(host.read("/proc/self/oom_score_adj")) + 1, 1000)
    assert c.exec("cat", "/proc/self/oom_score_adj").run().out == score.decode()


def test_signals_are_at_their_defaults(lab):
    """A shim blocks and ignores signals; none of that may reach the program."""
    fields = status_of(lab)
    for kind in ("SigBlk", "SigIgn", "SigCgt"):
        assert int(fields[kind], 16) == 0, kind
    c = lab.container("sleep", "100").run()
    out = c.exec("cat", "/proc/self/status").run().out
    fields = dict(line.split(":", 1) for line in out.splitlines())
    for kind in ("SigBlk", "SigIgn"):
        assert int(fields[kind], 16) == 0, kind


def test_init_is_the_leader_of_a_session_of_its_own(lab):
    out = lab.sh("cut -d' ' -f1,5,6 /proc/self/stat; exec cut -d' ' -f1,5,6 /proc/self/stat").out.splitlines()
    assert out[1] == "1 1 1"


def test_the_container_does_not_see_itself_through_leftovers_of_the_shim(lab):
    """No parent death signal, dumpable again, no keyring or timer slack of ours."""
    fields = status_of(lab)
    assert fields["Threads"].strip() == "1"
    assert fields["TracerPid"].strip() == "0"
    r = lab.run("readlink", "/proc/self/exe")
    assert r.out == "/bin/busybox\n"
