# SPDX-License-Identifier: Apache-2.0
"""How long a containerd takes to come back that has many containers, beside one whose containers are the stock shim's.

One daemon each, and one without a container, all with their own state in one mount namespace; each is killed and started
again in turn. The time is from its start until it answers, which is when it has connected to every shim again: then all
of them must be in its list, running.
"""
import concurrent.futures
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import daemon  # noqa: E402
import host  # noqa: E402

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Fleet:
    """A containerd and its containers."""

    def __init__(self, name, base, image, shim, n):
        self.name = name
        self.ids = [f"{name}-{i}" for i in range(n)]
        self.daemon = daemon.Daemon("/usr/bin", base / name, shim, f"reattach-{name}")
        self.daemon.start()
        self.daemon.import_image(image)
        self._all(lambda ident: self.daemon.run_detached(ident, "/payload", "pause"))

    def _all(self, what):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(what, self.ids))

    def restart(self):
        """(ms until it answers, ms of its CPU until then)"""
        path = self.daemon.dir / "containerd.sock"
        self.daemon.stop(signal.SIGKILL)
        path.unlink()
        begin = time.monotonic()
        process = subprocess.Popen(["/usr/bin/containerd", "-c", self.daemon.dir / "config.toml"], env=self.daemon.env,
                                   cwd=self.daemon.dir, stdin=subprocess.DEVNULL, stdout=self.daemon.log,
                                   stderr=self.daemon.log)
        self.daemon.process = process
        while not answers(path):
            if process.poll() is not None or time.monotonic() - begin > 120:
                sys.exit(f"containerd did not come back:\n{self.daemon.log_text()[-2000:]}")
            time.sleep(0.001)
        taken = time.monotonic() - begin
        fields = host.read(f"/proc/{process.pid}/stat").rpartition(b")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
        running = [ident for ident, (_, status) in self.daemon.tasks().items() if status == "RUNNING"]
        if sorted(running) != sorted(self.ids):
            sys.exit(f"{self.name}: {len(running)} of {len(self.ids)} containers are there after a restart")
        return taken * 1000, cpu * 1000

    def shims_mib(self):
        """PSS of all its shims."""
        kib = 0
        for pid in self.daemon.shim_pids():
            for line in host.read(f"/proc/{pid}/smaps_rollup").decode().splitlines():
                if line.startswith("Pss:"):
                    kib += int(line.split()[1])
        return kib / 1024

    def end(self):
        self._all(lambda ident: (self.daemon.ctr("task", "rm", "-f", ident), self.daemon.ctr("container", "rm", ident)))
        self.daemon.stop()


def answers(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(str(path))
        except OSError:
            return False
    return True


def measure(tools, shims, work, n, rounds):
    """{name: (median ms, least, most, ms of CPU, MiB of shims)}; `none` is a containerd without containers."""
    base = pathlib.Path(work) / "reattach"
    host.isolate(base)
    rootfs = base / "rootfs"
    rootfs.mkdir()
    shutil.copy(pathlib.Path(tools) / "payload", rootfs / "payload")
    daemon.write_image(base / "image.tar", rootfs)
    fleets = []
    try:
        for name, shim in shims.items():
            fleets.append(Fleet(name, base, base / "image.tar", shim, n))
        fleets.append(Fleet("none", base, base / "image.tar", next(iter(shims.values())), 0))
        samples = {fleet.name: [] for fleet in fleets}
        for i in range(rounds + 1):
            for fleet in fleets:
                sample = fleet.restart()
                if i > 0:  # the first one warms the page cache
                    samples[fleet.name].append(sample)
        result = {}
        for fleet in fleets:
            times, cpu = zip(*samples[fleet.name])
            result[fleet.name] = (statistics.median(times), min(times), max(times), statistics.median(cpu),
                                  fleet.shims_mib())
        return result
    finally:
        for fleet in fleets:
            fleet.end()
        host.remove_cgroups(host.CGROUP)
        host.unmount_below(base)
        host.unmount(base)


def markdown(result, n):
    ours, theirs, none = (result[name] for name in ("belay", "stock", "none"))

    def ratio(a, b):
        return f"1/{b / a:.1f}" if b > a else f"{a / b:.2f}"

    def spread(row):
        return f"{row[0]:.0f} ({row[1]:.0f} to {row[2]:.0f})"

    rows = [
        ("until containerd answers (ms)", spread(ours), spread(theirs), ratio(ours[0], theirs[0]), spread(none)),
        ("of that, beyond one without containers (ms)", f"{ours[0] - none[0]:.0f}", f"{theirs[0] - none[0]:.0f}",
         ratio(max(ours[0] - none[0], 1), max(theirs[0] - none[0], 1)), ""),
        ("containerd's CPU until then (ms)", f"{ours[3]:.0f}", f"{theirs[3]:.0f}", ratio(ours[3], theirs[3]),
         f"{none[3]:.0f}"),
        ("memory of the shims, PSS (MiB)", f"{ours[4]:.0f}", f"{theirs[4]:.0f}", ratio(ours[4], theirs[4]), ""),
    ]
    lines = [f"| {n} containers | belay | stock shim + runc | belay / stock | no container |", "|---|--:|--:|--:|--:|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
