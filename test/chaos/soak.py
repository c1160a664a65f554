#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Very many execs in one container, and very many lives of containers, with what the shim holds looked at all the while.

Fails if a status or an event is wrong (soak.c sees to that), if memory, descriptors, children, the state or the file of
events grow after a warm-up, or if anything is left in the end. Prints the figures of docs/reliability.md.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TEST = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TEST / "bench"), str(TEST / "e2e")]  # both have a bundle.py

import bundle  # noqa: E402
import host  # noqa: E402

WARM_UP = 0.1  # of the samples, before what is measured counts
HEAP_KB = 16  # a heap breathes by some pages
STATE_KB = 8  # a record may take a page more in each of its slots
STAGE = {"fds": 1, "children": 1}  # one may be at work when a life is looked at
ROUNDS = 30
LOOKS = 100  # at each series of lives


def median(values):
    return sorted(values)[len(values) // 2]


def check_flat(name, samples, series=1):
    """The samples are of one series or of several, in the order of their ends. Between execs a shim is looked at when it has
    given memory back (soak.c waits for that), so what has grown by more than some pages was never given back."""
    warm = samples[max(series, int(len(samples) * WARM_UP)):]
    problems = []
    for key, bound in (("anon_kb", HEAP_KB), ("vault_kb", STATE_KB), ("fds", 0), ("children", 0), ("events_bytes", 4096)):
        values = [s[key] for s in warm]
        quarter = max(1, len(values) // 4)
        begin, end = median(values[:quarter]), median(values[-quarter:])
        print(f"{name}: {key}: {begin} in the first quarter, {end} in the last; least {min(values)}, most {max(values)}")
        spread = STAGE[key] if series > 1 and bound == 0 else bound
        if end - begin > bound or (bound == 0 and max(values) - min(values) > spread):
            problems.append(f"{key} went from {begin} to {end}, between {min(values)} and {max(values)}")
    if problems:
        raise SystemExit(f"soak: {name}: not flat: " + "; ".join(problems))


class Soak:
    def __init__(self, binary, tools, work, samples):
        self.samples = samples
        self.binary = binary
        self.tools = pathlib.Path(tools)
        self.work = work
        self.running = []

    def begin(self, what, number, args, *numbers):
        ident = f"soak-{what}-{os.getpid()}-{number}"
        where = bundle.make(self.work, self.tools / "payload", ident, args)
        output = open(self.work / f"{ident}.json", "w+", encoding="utf-8")
        process = subprocess.Popen([self.tools / "soak", what, self.binary, where, ident, *map(str, numbers)], stdout=output)
        self.running.append(process)
        return process, output

    def finish(self, began):
        process, output = began
        status = process.wait()
        self.running.remove(process)
        output.seek(0)
        samples = [json.loads(line) for line in output]
        for sample in samples:
            print(json.dumps(sample), file=self.samples)
        output.close()
        if status:
            raise SystemExit(f"soak: the client ended with {status}")
        return samples

    def execs(self, n, workers):
        began = time.monotonic()
        samples = self.finish(self.begin("execs", 0, ["pause"], n, workers, min(ROUNDS, n // workers)))
        seconds = time.monotonic() - began
        print(f"execs: {n} by {workers} connections in {seconds:.0f} s, of which the rests are {sum(s['rested'] for s in samples):.0f}")
        check_flat("execs", samples)

    def lives(self, n, workers):
        began = time.monotonic()
        each = n // workers
        every = max(1, each // LOOKS)
        clients = [self.begin("lives", i, ["exit", "7"], each, every) for i in range(workers)]
        samples = sorted((s for c in clients for s in self.finish(c)), key=lambda s: s["seconds"])
        print(f"lives: {each * workers}, {workers} at a time, in {time.monotonic() - began:.0f} s")
        check_flat("lives", samples, workers)

    def end(self):
        for process in self.running:
            process.kill()
            process.wait()

    def leftovers(self):
        found = [f"mount {m}" for m in host.mounts_below(self.work)]
        found += [f"cgroup {c}" for c in host.cgroups_below("belay-bench") if f"-{os.getpid()}-" in c.name]
        found += [f"socket {s}" for s in pathlib.Path("/run/containerd/s").glob("*")]
        needle = str(self.work).encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            cwd = f"/proc/{pid}/cwd"
            try:
                if int(pid) != os.getpid() and os.readlink(cwd).encode().startswith(needle):
                    found.append(f"process {pid}: {host.cmdline(pid)}")
            except OSError:
                pass
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--tools", required=True, type=pathlib.Path)
    parser.add_argument("--execs", type=int, default=200000)
    parser.add_argument("--lives", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=4, help="that exec at once (default: 4)")
    parser.add_argument("--containers", type=int, default=2, help="that live at once (default: 2)")
    parser.add_argument("--samples", type=argparse.FileType("w"), default=open(os.devnull, "w", encoding="utf-8"),
                        help="a file for all that was looked at, as lines of JSON")
    args = parser.parse_args()
    host.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    work = pathlib.Path(tempfile.mkdtemp(prefix="belay-soak-"))
    host.isolate(work)
    soak = Soak(args.bin.resolve() / "containerd-shim-belay-v2", args.tools.resolve(), work, args.samples)
    try:
        if args.execs:
            soak.execs(args.execs, args.connections)
        if args.lives:
            soak.lives(args.lives, args.containers)
        host.wait_for(lambda: not soak.leftovers(), lambda: f"nothing to be left: {soak.leftovers()}")
        print("soak: flat, every status and every event right, nothing left")
    finally:
        soak.end()
        host.unmount(work)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
