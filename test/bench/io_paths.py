# SPDX-License-Identifier: Apache-2.0
"""The streams: bytes per second of each path that output and input take, and what they cost the shim and its helpers
(log writers, logging programs), apart from who writes and who reads. Beside the stock shim, where it has the path;
beside conmon, which writes its k8s-file from the same payload, with runc; and beside a pipe between two processes.

The payload writes lines of one size, 64 KiB in a call, and the files are on a tmpfs. All paths and all shims in turn.
"""
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import bundle
import leftovers

LINE = 128

# key, label, MiB in a run, who has it beside belay
PATHS = [
    ("fifo", "FIFO", 1024, ["stock"]),
    ("stdin", "stdin, FIFO", 1024, ["stock"]),
    ("file", "`file://`", 512, ["stock"]),
    ("logger", "`binary://`, a logger that copies to a file", 512, ["stock"]),
    ("log-raw", "`log://`, raw", 512, []),
    ("log-cri", "`log://`, cri; conmon's k8s-file", 256, ["conmon"]),
    ("log-json", "`log://`, json", 256, []),
    ("log-spill", "`log://`, cri, policy=spill", 256, []),
    ("terminal", "terminal, FIFO", 64, ["stock"]),
    ("terminal-log", "terminal, `log://`, cri; conmon's k8s-file", 64, ["conmon"]),
    ("attach", "Attach, `log://`, raw", 256, []),
    ("exec", "ExecStream", 256, []),
]
PIPE_MIB = 1024
BUDGET_S = 240
WHO = ["belay", "stock", "conmon"]


class Bench:
    def __init__(self, tools, shims, work):
        self.tools = pathlib.Path(tools)
        self.shims = shims
        self.work = pathlib.Path(work)
        self.n = 0

    def command(self, who, path, mebibytes, where, container_id):
        tool, payload = str(self.tools / "bench-io"), str(self.tools / "payload")
        if who == "conmon":
            what = "conmon-terminal" if path.startswith("terminal") else "conmon"
            return [tool, what, shutil.which("conmon"), where, container_id, str(mebibytes), str(LINE), shutil.which("runc")]
        return [tool, path, self.shims[who], where, container_id, str(mebibytes), str(LINE), payload]

    def make(self, path, mebibytes, container_id):
        args = {"stdin": ["sink", str(mebibytes), "/"], "exec": ["pause"]}
        where = bundle.make(self.work, self.tools / "payload", container_id,
                            args.get(path, ["lines", str(mebibytes), str(LINE), "/"]))
        config = json.loads((where / "config.json").read_text())
        config["process"]["terminal"] = path.startswith("terminal")
        (where / "config.json").write_text(json.dumps(config))
        return where

    def once(self, who, path, mebibytes):
        self.n += 1
        container_id = f"s{self.n}"
        where = self.make(path, mebibytes, container_id)
        try:
            return run(self.command(who, path, mebibytes, str(where), container_id), f"{who}, {path}")
        except BaseException:
            leftovers.remove(self.shims.get(who), where, container_id)
            raise
        finally:
            shutil.rmtree(where.parent)

    def pipe(self):
        folder = self.work / "pipe"
        folder.mkdir()
        try:
            return run([str(self.tools / "bench-io"), "pipe", str(self.tools / "payload"), str(folder), "-", str(PIPE_MIB),
                        str(LINE)], "a pipe")
        finally:
            shutil.rmtree(folder)


def run(command, what):
    """{"speed": GiB/s, "cpu": s/GiB, "peak": kB}"""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        sys.exit(f"{what}: not over after 120 s")
    if done.returncode != 0:
        sys.exit(f"{what}: {done.stdout}{done.stderr}")
    got = json.loads(done.stdout)
    size = got["bytes"] / (1 << 30)
    return {"speed": size / got["seconds"], "cpu": got["cpu"] / size, "peak": got["shim_kb"], "helpers": got["helpers_kb"]}


def check():
    """What is missing is named before anything runs."""
    missing = [name for name in ("conmon", "runc") if not shutil.which(name)]
    if missing:
        sys.exit(f"bench --io: not installed: {', '.join(missing)}; ./dev bench installs Debian's packages")


def medians(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def measure(tools, shims, work, rounds, wanted=()):
    """How many rounds there were, {path: {who: medians}}, and in that {"pipe": {"pipe": medians}}"""
    check()
    bench = Bench(tools, shims, work)
    samples = {"pipe": {"pipe": []}}
    start = time.monotonic()
    for i in range(rounds):
        # A busy machine gets fewer rounds, not a longer bench.
        if i > 0 and (time.monotonic() - start) * (i + 1) / i > BUDGET_S:
            rounds = i
            break
        samples["pipe"]["pipe"].append(bench.pipe())
        for path, _, mebibytes, others in PATHS:
            if wanted and path not in wanted:
                continue
            for who in ["belay", *others]:
                samples.setdefault(path, {}).setdefault(who, []).append(bench.once(who, path, mebibytes))
    return rounds, {path: {who: medians(taken) for who, taken in by.items()} for path, by in samples.items()}


def times(ours, theirs):
    """How many times better or worse, as a bench's reader wants it."""
    if theirs == 0 or ours == 0:
        return ""
    return f"{ours / theirs:.2f}" if ours / theirs > 0.1 else f"1/{theirs / ours:.0f}"


def table(result, key, shown, with_pipe):
    """One figure of all paths; ratios are belay's to the other's."""
    limit = result["pipe"]["pipe"][key]
    lines = ["| | belay | stock shim | conmon | belay / stock | belay / conmon |" + (" belay / pipe |" if with_pipe else ""),
             "|---|--:|--:|--:|--:|--:|" + ("--:|" if with_pipe else "")]
    for path, label, _, _ in PATHS:
        by = {who: taken[key] for who, taken in result.get(path, {}).items()}
        if not by:
            continue
        cells = [shown(by[who]) if who in by else "" for who in WHO]
        cells += [times(by["belay"], by[who]) if who in by else "" for who in WHO[1:]]
        cells += [times(by["belay"], limit)] if with_pipe else []
        lines.append(f"| {label} | {' | '.join(cells)} |")
    if with_pipe:
        lines.append(f"| a pipe between two processes | {shown(limit)} | | | | | |")
    return "\n".join(lines)


def memory(taken):
    return f"{taken['peak'] / 1024:.1f}" + (f" + {taken['helpers'] / 1024:.1f}" if taken["helpers"] else "")


def memory_table(result):
    """A helper is a fork or a program of its own; pages that both have count twice."""
    lines = ["| | belay | stock shim | conmon | belay / stock | belay / conmon |", "|---|--:|--:|--:|--:|--:|"]
    for path, label, _, _ in PATHS:
        by = result.get(path)
        if not by:
            continue
        total = {who: taken["peak"] + taken["helpers"] for who, taken in by.items()}
        cells = [memory(by[who]) if who in by else "" for who in WHO]
        cells += [times(total["belay"], total[who]) if who in by else "" for who in WHO[1:]]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def markdown(result):
    return "\n\n".join([
        "GiB/s:", table(result, "speed", lambda v: f"{v:.2f}", True),
        "Seconds of CPU for a GiB, of the shim and its helpers:", table(result, "cpu", lambda v: f"{v:.3f}", False),
        "Peak RSS in MiB, of the shim + of its helpers:", memory_table(result),
    ])
