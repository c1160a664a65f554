#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures belay beside the stock shim with runc: the same bundles, in turn, in one run.

Prints a table of medians and ratios; with --write it also leaves docs/benchmarks.md and docs/bench.svg.
Seconds differ from machine to machine; the ratios are what counts.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import bundle
import chart
import engine
import io_paths
import leftovers
import reattach

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
STOCK = "/usr/bin/containerd-shim-runc-v2"

# key, label, unit, target: at most this share of the stock shim's, or, above 1, at most so many units (None: shown only)
ROWS = [
    ("start", "shim start to first answer", "ms", None),
    ("create", "Create", "ms", None),
    ("start_rpc", "Start", "ms", None),
    ("exit_to_wait", "exit to Wait's answer", "ms", None),
    ("delete", "Delete", "ms", None),
    ("shutdown", "Shutdown", "ms", None),
    ("delete_action", "`delete` action", "ms", None),
    ("killed", "`delete` after the shim was killed", "ms", None),
    ("killed_500", "the same with 500 processes", "ms", None),
    ("life", "whole life, back to back", "ms", 1 / 5),
    ("life_p99", "whole life, p99", "ms", None),
    ("life_cold", "whole life, 100 ms apart", "ms", 1 / 5),
    ("exec", "exec to exit", "ms", 1 / 6),
    ("exec_p99", "exec to exit, p99", "ms", None),
    ("exec_cpu", "the shim's own CPU for an exec, without runc's", "ms", None),
    ("state", "State", "ms", 1 / 2),
    ("state_p99", "State, p99", "ms", None),
    ("state_per_s", "State calls per second, 32 at once", "1/s", None),
    ("stats", "Stats", "ms", 1 / 8),
    ("stats_p99", "Stats, p99", "ms", None),
    ("stats_one_cpu", "Stats, client and shim on one CPU", "ms", 1 / 8),
    ("stats_two_cpus", "Stats, each on a CPU of its own", "ms", None),
    ("stats_cpu", "shim CPU for a Stats", "ms", 1 / 8),
    ("pids", "Pids", "ms", 1 / 50),
    ("rss_idle", "RSS, idle", "kB", None),
    ("pss_idle", "PSS, idle", "kB", None),
    ("anon_idle", "anonymous memory, idle", "kB", 150),
    ("rss_after", "RSS after the execs", "kB", None),
    ("anon_after", "anonymous memory after the execs", "kB", None),
    ("threads", "threads", "", None),
    ("mib_per_s", "stdout", "MiB/s", None),
    ("shim_cpu_ms_per_gib", "shim CPU for a GiB of stdout", "ms", None),
]


class Runner:
    def __init__(self, tools, work):
        self.tools = pathlib.Path(tools)
        self.work = work
        self.n = 0

    def run(self, what, shim, args, *extra):
        """One measurement in a fresh bundle; times come in microseconds."""
        self.n += 1
        container_id = f"b{os.getpid()}-{self.n}"
        where = bundle.make(self.work, self.tools / "payload", container_id, args)
        try:
            done = subprocess.run([self.tools / "bench", what, shim, where, container_id, *map(str, extra)],
                                  capture_output=True, text=True, timeout=600)
            if done.returncode != 0:
                sys.exit(f"bench {what} {shim}: {done.stderr}")
            return json.loads(done.stdout)
        finally:
            shutil.rmtree(where.parent, ignore_errors=True)  # a shim that ends takes files away, too


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def lives(runner, shims, n, pause):
    samples = {name: [] for name in shims}
    for _ in range(n):
        for name, path in shims.items():
            time.sleep(pause)
            samples[name].append(runner.run("life", path, ["stamp"]))
    return samples


def lives_part(runner, shims, quick):
    lives(runner, shims, 3, 0)  # warm the page cache
    result = {name: {} for name in shims}
    for name, samples in lives(runner, shims, 20 if quick else 100, 0).items():
        for key in samples[0]:
            result[name][key] = statistics.median(s[key] for s in samples)
        result[name]["life_p99"] = percentile([s["life"] for s in samples], 0.99)
    return result


def cold_part(runner, shims, quick):
    lives(runner, shims, 3, 0)
    return {name: {"life_cold": statistics.median(s["life"] for s in samples)}
            for name, samples in lives(runner, shims, 10 if quick else 50, 0.1).items()}


def in_turn(runner, shims, n, what, args, *extra):
    """Medians of n rounds."""
    rounds = {name: [] for name in shims}
    for _ in range(n):
        for name, path in shims.items():
            rounds[name].append(runner.run(what, path, args, *extra))
    return {name: {key: statistics.median(s[key] for s in samples) for key in samples[0]}
            for name, samples in rounds.items()}


def killed_part(runner, shims, quick):
    result = in_turn(runner, shims, 5 if quick else 20, "killed", ["crowd", "1"])
    for name, values in in_turn(runner, shims, 3 if quick else 10, "killed", ["crowd", "500"]).items():
        result[name]["killed_500"] = values["killed"]
    return result


def calls_part(runner, shims, quick):
    return in_turn(runner, shims, 1 if quick else 5, "calls", ["pause"])


def busy_part(runner, shims, quick):
    return in_turn(runner, shims, 1 if quick else 3, "busy", ["pause"], 200 if quick else 1000)


def stdout_part(runner, shims, quick):
    mebibytes = 512 if quick else 2048
    return in_turn(runner, shims, 3, "stdout", ["spew", str(mebibytes)], mebibytes)


# What measures, and the rows that it gives. The calls are among what the busy part does, too, after its execs: alone
# they are measured if nothing else of it is asked for.
CALLS = {"state", "state_p99", "state_per_s", "stats", "stats_p99", "stats_one_cpu", "stats_two_cpus", "stats_cpu",
         "pids"}
PARTS = [
    (lives_part, {"start", "create", "start_rpc", "exit_to_wait", "delete", "shutdown", "delete_action", "life",
                  "life_p99"}),
    (killed_part, {"killed", "killed_500"}),
    (cold_part, {"life_cold"}),
    (busy_part, CALLS | {"exec", "exec_p99", "exec_cpu", "rss_idle", "pss_idle", "anon_idle", "rss_after",
                         "anon_after", "threads"}),
    (stdout_part, {"mib_per_s", "shim_cpu_ms_per_gib"}),
]


def measure(runner, shims, quick, only):
    result = {name: {} for name in shims}
    for part, keys in PARTS:
        wanted = keys & set(only) if only else keys
        if part is busy_part and wanted and wanted <= CALLS:
            part = calls_part
        for name, values in (part(runner, shims, quick) if wanted else {}).items():
            result[name].update({key: values[key] for key in wanted})
    return result


def shown(value, unit):
    if unit == "ms":
        return f"{value / 1000:.3f}" if value < 10000 else f"{value / 1000:.1f}"
    return f"{value:,.0f}"


def table(result):
    """Rows of (label, belay, stock, ratio, target)."""
    rows = []
    for key, label, unit, target in ROWS:
        if key not in result["belay"]:
            continue
        ours, theirs = result["belay"][key], result["stock"][key]
        if key == "shim_cpu_ms_per_gib":  # already milliseconds
            ours, theirs = ours * 1000, theirs * 1000
        if ours == 0 or theirs == 0 or key == "exec_cpu":  # runc works for the stock shim, and is not in it
            ratio = ""
        elif unit in ("1/s", "MiB/s"):
            ratio = f"{ours / theirs:.1f} times"
        else:
            ratio = f"1/{theirs / ours:.1f}" if theirs > ours else f"{ours / theirs:.2f}"
        rows.append((f"{label}{f' ({unit})' if unit else ''}", shown(ours, unit), shown(theirs, unit), ratio,
                     verdict(ours, theirs, target)))
    return rows


def verdict(ours, theirs, target):
    if target is None:
        return ""
    most, text = (target, f"{target}") if target > 1 else (theirs * target, f"1/{1 / target:.0f}")
    return f"{'met' if ours <= most else 'MISSED'} ({text})"


def markdown(rows):
    lines = ["| | belay | stock shim + runc | belay / stock | target |", "|---|--:|--:|--:|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def tmpfs():
    """Bundles are on a tmpfs where containerd keeps them; on a disk one would measure the disk."""
    for path in ("/run", "/dev/shm"):
        kind = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=False).stdout
        if kind.strip() == "tmpfs":
            return path
    return None


def versions():
    def first_line(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    return f"{first_line('containerd', '--version')}; {first_line('runc', '--version')}; Linux {platform.release().split('-')[0]}"


def write_readme(path, rows):
    """The few rows that the README shows stand between two markers there."""
    wanted = ("whole life, back", "exec to exit (", "State (", "RSS, idle", "anonymous memory after", "threads", "shim CPU")
    short = markdown([row[:4] + ("",) for row in rows if row[0].startswith(wanted)])
    short = "\n".join(line.rsplit("|", 2)[0] + "|" for line in short.splitlines())
    text = path.read_text()
    start, end = "<!-- bench -->\n", "<!-- /bench -->"
    before, rest = text.split(start)
    path.write_text(before + start + short + "\n" + end + rest.split(end)[1])


def write_section(name, text):
    """docs/benchmarks.md has a section for each part of the benchmark, between two markers."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    path = DOCS / "benchmarks.md"
    before, rest = path.read_text().split(start)
    path.write_text(before + start + text + "\n" + end + rest.split(end)[1])


def shim_part(args, work):
    shims = {"belay": f"{args.bin}/containerd-shim-belay-v2", "stock": STOCK}
    result = measure(Runner(args.tools, work), shims, args.quick, args.only)
    rows = table(result)
    print(markdown(rows))
    if args.write:
        command = "./dev bench --write" + (" --quick" if args.quick else "")
        write_section("shim", markdown(rows) +
                      f"\n\nMedians unless it says p99; both shims in turn on the same bundles in one run: `{command}`, "
                      f"{datetime.date.today()}.\n{versions()}. The method is in `test/bench/bench.py`.")
        (DOCS / "bench.svg").write_text(chart.draw(result))
        write_readme(DOCS.parent / "README.md", rows)
    return 0


def engine_part(args, work):
    result = engine.measure(args.tools, args.bin, work, 20 if args.quick else 100)
    print(engine.markdown(result))
    if args.write:
        command = "./dev bench --engine --write" + (" --quick" if args.quick else "")
        write_section("engine", engine.markdown(result) +
                      f"\n\nMedians; all in turn on the same bundles in one run: `{command}`, {datetime.date.today()}.\n"
                      f"{versions()}. The method is in `test/bench/engine.py`, the floor is `test/bench/floor.c`.")
        (DOCS / "bench-engine.svg").write_text(engine.draw(result))
    return 0


def io_part(args, work):
    shims = {"belay": f"{args.bin}/containerd-shim-belay-v2", "stock": STOCK}
    rounds, result = io_paths.measure(args.tools, shims, work, 1 if args.quick else 5, args.path)
    text = io_paths.markdown(result)
    print(text)
    if args.write:
        command = "./dev bench --io --write" + (" --quick" if args.quick else "")
        conmon = subprocess.run(["conmon", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        write_section("io", text +
                      f"\n\nMedians of {rounds}; all in turn, with lines of {io_paths.LINE} bytes, in one run: `{command}`, "
                      f"{datetime.date.today()}.\n{versions()}; {conmon}. "
                      "The method is in `test/bench/io_paths.py` and `test/bench/io.c`.")
    return 0


def reattach_part(args, work):
    shims = {"belay": pathlib.Path(args.bin).resolve() / "containerd-shim-belay-v2", "stock": pathlib.Path(STOCK)}
    n, rounds = (40, 3) if args.quick else (200, 9)
    text = reattach.markdown(reattach.measure(args.tools, shims, work, n, rounds), n)
    print(text)
    if args.write:
        command = "./dev bench --reattach --write" + (" --quick" if args.quick else "")
        write_section("reattach", text +
                      f"\n\nMedians of {rounds} restarts after SIGKILL, in turn (least to most): `{command}`, "
                      f"{datetime.date.today()}.\n{versions()}. The method is in `test/bench/reattach.py`.")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="where belay's binaries are")
    parser.add_argument("--tools", required=True, help="where the benchmark's own are")
    parser.add_argument("--engine", action="store_true", help="the engine beside runc, crun and the floor, instead")
    parser.add_argument("--io", action="store_true", help="the streams beside the stock shim, conmon and a pipe, instead")
    parser.add_argument("--reattach", action="store_true",
                        help="containerd's return to many containers beside the stock shim's, instead")
    parser.add_argument("--path", action="append", default=[], choices=[path[0] for path in io_paths.PATHS],
                        help="with --io: this path only; may be repeated")
    parser.add_argument("--only", action="append", default=[], choices=[row[0] for row in ROWS], metavar="NAME",
                        help="of the whole shim's rows this one only, by its name in ROWS; may be repeated")
    parser.add_argument("--quick", action="store_true", help="a fifth of the runs")
    parser.add_argument("--write", action="store_true", help="write the figures to docs/ and README.md")
    args = parser.parse_args()
    if args.write and (args.path or args.only):
        parser.error("--write needs all paths and all rows")
    if args.only and (args.engine or args.io or args.reattach):
        parser.error("--only is for the rows of the whole shim")
    part = (engine_part if args.engine else io_part if args.io else reattach_part if args.reattach else shim_part)
    leftovers.adopt()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: told to end"))
    with tempfile.TemporaryDirectory(prefix="belay-bench.", dir=tmpfs()) as work:
        try:
            return part(args, work)
        finally:
            leftovers.end_all()
            bundle.remove_cgroup_parent()


if __name__ == "__main__":
    sys.exit(main())
