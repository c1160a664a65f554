# SPDX-License-Identifier: Apache-2.0
"""Runs one program of a suite so that nothing of it stays on the machine.

The program gets mount and pid namespaces of its own with a fresh /run (where the runtimes keep their states), and
a time limit: when it ends, the kernel ends whatever it left behind. Cgroups outlive namespaces, so the tree is
compared before and after, and of the new names only those are removed that the suites are known to make: other
programs may use the same hierarchies at the same time.
"""
import os
import pathlib
import re
import select
import signal
import subprocess

CGROUPS = pathlib.Path("/sys/fs/cgroup")
SUITE_NAMES = {
    "runtime-tools": re.compile(r"^(testdir|cgrouptest|runc-cgroups-integration-test|"
                                r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$"),
    "crun": re.compile(r"^(frozen|test-tmp\w+|test-\w+-exec-cgroup-\w+)$"),
}

# The status goes through its own descriptor: the program may leave processes that hold its standard output.
SCRIPT = """
mount -t tmpfs tmpfs /run
[ -z "$HIDE_UNIFIED" ] || mount -t tmpfs tmpfs /sys/fs/cgroup/unified
"$@" 3>&-
echo $? >&3
"""


def cgroup_names(suite):
    """The suite's own cgroups that exist now, the topmost of each only. os.walk() would not do: the tree is the whole
    machine's, and others may have made it deeper than Python's stack and than a path may be."""
    found = set()
    to_look_at = [CGROUPS]
    while to_look_at:
        where = to_look_at.pop()
        try:
            names = [entry.name for entry in os.scandir(where) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        for name in names:
            if name.startswith("belay-test-"):
                continue  # our own end-to-end tests, at the same time, have a "frozen", too
            into = found.add if SUITE_NAMES[suite].match(name) else to_look_at.append
            into(os.path.join(where, name))
    return found


def thaw(tops):
    for top in tops:
        for where, _, files in os.walk(top):
            for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                if name in files:
                    try:
                        pathlib.Path(where, name).write_text(word)
                    except OSError:
                        pass


def remove(tops):
    """Says which of them could not be removed."""
    left = []
    for top in tops:
        for where, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(where)
            except FileNotFoundError:
                pass
            except OSError as error:
                left.append(f"{where}: {error.strerror}")
    return left


def run(suite, args, cwd, env, out, err, seconds, netns=False, hide_unified=False):
    """Gives (status or None for a timeout, cgroups that could not be removed)."""
    before = cgroup_names(suite)
    reader, writer = os.pipe()
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    if netns:
        command.append("--net")
    command += ["sh", "-c", SCRIPT.replace(">&3", f">&{writer}").replace("3>&-", f"{writer}>&-"), "sh", *args]
    env = dict(env, HIDE_UNIFIED="1" if hide_unified else "")
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stdout,
                                   stderr=stderr, pass_fds=[writer], start_new_session=True)
    os.close(writer)
    status = wait_status(reader, seconds)
    os.close(reader)
    # What is frozen cannot die, and its pid namespace not end.
    thaw(cgroup_names(suite) - before)
    if status is None:
        os.kill(process.pid, signal.SIGKILL)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        thaw(cgroup_names(suite) - before)
        process.kill()
        process.wait(20)
    return status, remove(cgroup_names(suite) - before)


def wait_status(reader, seconds):
    if not select.select([reader], [], [], seconds)[0]:
        return None
    text = os.read(reader, 16).decode().strip()
    return int(text) if text else None


POINT = re.compile(r"^(ok|not ok) +\d+(?: +- +(.*?))? *(?:# *(SKIP|TODO)\b *(.*))?$", re.I)


def points(text):
    """The points of a TAP stream as (verdict, description)."""
    found = []
    for line in text.replace("\r", "").splitlines():
        match = POINT.match(line)
        if match:
            verdict, description, directive, reason = match.groups()
            if directive and directive.upper() == "SKIP":
                found.append(("skip", description or reason))
            elif verdict == "ok" or directive:
                found.append(("ok", description or ""))
            else:
                found.append(("fail", description or ""))
    return found
