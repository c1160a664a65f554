# SPDX-License-Identifier: Apache-2.0
"""What the tests need of the machine, and what may be left on it afterwards: nothing.

The whole run lives in a mount namespace of its own with a private /run/containerd. Everything that a test starts carries a token in its environment; that is how leftovers are found.
"""
import ctypes
import errno
import os
import pathlib
import select
import signal
import subprocess
import time

CLONE_NEWNS = 0x20000
PR_SET_CHILD_SUBREAPER = 36
TOKEN = "BELAY_E2E_TOKEN"
CGROUP_ROOT = pathlib.Path("/sys/fs/cgroup")
CGROUP = f"belay-test-{os.getpid()}"  # the top of all cgroups of this run
KERNEL = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))
V2 = (CGROUP_ROOT / "cgroup.controllers").exists()  # cgroup v2 alone; otherwise v1, perhaps with an empty v2 beside it
SLOWNESS = float(os.environ.get("BELAY_SLOWNESS", 1))  # by what a time limit that is there to end a test is multiplied
PATIENCE = 30  # seconds for what takes milliseconds, of which an unknown machine may make a hundred times as many

_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans():
    """From here on the tests run in a child of this process, which only reaps.

    Shims and containers that lose their parent come to a subreaper that collects them at once, as
    init does on a real machine. Were that pytest itself, it would have to know its own children
    from theirs.
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def isolate(base):
    """Once, before any thread exists: a mount namespace, /run/containerd, a tmpfs on base."""
    if _libc.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS): the tests need root")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for path in (pathlib.Path("/run/containerd"), base):
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "belay-e2e", path], check=True)


def or_lost(status):
    """Before Linux 6.15 the status of a process is lost if its parent, who is not belay, reaps it first: docs/oci-cli.md."""
    return (status,) if KERNEL >= (6, 15) else (status, 255)


def wait_for(condition, what, timeout=PATIENCE):
    """The first true value of condition(). Only for what the kernel gives no event for. what: a text, or a function
    that makes it."""
    timeout *= SLOWNESS
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(0.005)


def lowest_free_fd(pid):
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return min(set(range(len(used) + 1)) - used)


def has_no_reader(fd):
    """Of a writing end of a FIFO."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def status_kib(pid, field):
    """Of /proc/PID/status."""
    return int(read(f"/proc/{pid}/status").split(f"{field}:".encode())[1].split()[0])


def readable(fd, timeout):
    return bool(select.select([fd], [], [], timeout)[0])


def wait_gone(pid, timeout=PATIENCE):
    """Waits for the end of a process that is not our child."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        # Older kernels (6.1) say EINVAL of one that is just being reaped.
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return
        raise
    try:
        if not readable(fd, timeout * SLOWNESS):
            raise AssertionError(f"process {pid} still runs after {timeout} s: {cmdline(pid)}")
    finally:
        os.close(fd)


def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def cmdline(pid):
    return read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def kill_all(find):
    """Kills what find() lists until there is nothing. For a test that has failed."""
    for _ in range(5):
        pids = find()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not pids:
            break
        for pid in pids:
            wait_gone(pid)


def mounts_below(path):
    """Mount points below path, deepest last, without path itself."""
    prefix = str(path).rstrip("/") + "/"
    points = [line.split()[4] for line in read("/proc/self/mountinfo").decode().splitlines()]
    return [p for p in points if p.startswith(prefix)]


def unmount_below(path):
    for point in reversed(mounts_below(path)):
        subprocess.run(["umount", "-l", point], check=False)


def mount_readonly_tmpfs(path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "belay-e2e", path], check=True)


def hierarchies():
    """The top of each cgroup hierarchy."""
    if V2:
        return [CGROUP_ROOT]
    # systemd makes links: cpu for cpu,cpuacct.
    return [p for p in CGROUP_ROOT.iterdir() if p.is_dir() and not p.is_symlink()]


def mount_tmpfs(path, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)


def bind(source, path):
    subprocess.run(["mount", "--bind", source, path], check=True)


def make_cgroup(name):
    """The same path in every hierarchy."""
    paths = [h / name.lstrip("/") for h in hierarchies()]
    for path in paths:
        path.mkdir(parents=True)
        if path.parts[4] == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                for p in (path.parent, path):
                    (p / file).write_text((CGROUP_ROOT / "cpuset" / file).read_text())
    return paths


def cgroups_below(name):
    """Directories below /name in every hierarchy."""
    return [d for h in hierarchies() if (h / name).is_dir() for d in (h / name).rglob("*") if d.is_dir()]


def thaw(path):
    for file, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if (path / file).exists():
            (path / file).write_text(thawed)


def remove_cgroups(name):
    for path in sorted(cgroups_below(name), reverse=True):
        thaw(path)
        _rmdir(path)
    for hierarchy in hierarchies():
        _rmdir(hierarchy / name)


def remove_cgroup(path):
    """As soon as what was in it has ended."""
    wait_for(lambda: _rmdir(path) or not path.exists(), f"{path} to be empty")


def _rmdir(path):
    try:
        path.rmdir()
    except OSError:
        pass


def cgroup_file(pid, controller, name):
    """Path of a control file of the cgroup that a process is in; on v2, where all are in one, of any controller."""
    for line in read(f"/proc/{pid}/cgroup").decode().splitlines():
        _, controllers, path = line.split(":", 2)
        if V2:
            return CGROUP_ROOT / path.lstrip("/") / name
        if controller in controllers.split(","):
            return CGROUP_ROOT / controller / path.lstrip("/") / name
    raise AssertionError(f"{pid} has no cgroup for {controller}")


def freezer_file(pid):
    """Path of the file that freezes the cgroup of a process: freezer.state, or cgroup.freeze on v2."""
    if (CGROUP_ROOT / "freezer").is_dir():
        return cgroup_file(pid, "freezer", "freezer.state")
    path = read(f"/proc/{pid}/cgroup").decode().split("::", 1)[1].splitlines()[0]
    return CGROUP_ROOT / path.lstrip("/") / "cgroup.freeze"


def limit_of(pid, controller, v1_file, v2_file):
    """What stands in a control file of the cgroup that a process is in, on whichever version."""
    if (CGROUP_ROOT / controller).is_dir():
        return read(cgroup_file(pid, controller, v1_file)).decode().strip()
    return read(freezer_file(pid).with_name(v2_file)).decode().strip()


def open_fds(pid):
    """{fd: target} of a process."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            pass
    return found


def parent(pid):
    """0: it is gone."""
    stat = read(f"/proc/{pid}/stat")
    return int(stat.rpartition(b")")[2].split()[1]) if stat else 0


def eldest(pids):
    """Those of them that are no child of another one: the shims among all that have a shim's command line, as its forks
    have, too. (The lowest pid is no sign: they begin anew.)"""
    return [pid for pid in pids if parent(pid) not in pids]


def children(pid):
    """{pid: name} of the children of a process that have not been reaped, also of those that it has adopted."""
    found = {}
    for child in filter(str.isdigit, os.listdir("/proc")):
        stat = read(f"/proc/{child}/stat").decode(errors="replace")
        if stat and int(stat[stat.rindex(")") + 2:].split()[1]) == pid:
            found[int(child)] = stat[stat.index("(") + 1:stat.rindex(")")]
    return found


def socket_is_listening(address):
    needle = address.removeprefix("unix://").encode()
    return any(line.split()[-1:] == [needle] for line in read("/proc/net/unix").splitlines())


def unmount(path):
    subprocess.run(["umount", "-l", path], check=False)


def mount_shared_tmpfs(path):
    subprocess.run(["mount", "-t", "tmpfs", "belay-e2e", path], check=True)
    subprocess.run(["mount", "--make-rshared", path], check=True)
