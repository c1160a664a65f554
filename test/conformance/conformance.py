#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs suites that we did not write against belay, runc and crun, and compares with expected.json.

    conformance.py --suites DIR --belay PATH --results DIR [--runtime NAME]... [--suite NAME]... [--only TEST]...

DIR is what fetch.sh and build.sh made. The table goes to standard output and to results/table.md. A result of belay
that is not the expected one, better or worse, makes the exit status 1; those of the others are only told, since
they depend on the machine's packages.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import run_crun_tests
import run_runtime_tools

HERE = pathlib.Path(__file__).resolve().parent


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--suites", type=pathlib.Path, required=True)
    parser.add_argument("--belay", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--runtime", action="append", choices=("belay", "runc", "crun"))
    parser.add_argument("--suite", action="append", choices=("runtime-tools", "crun"))
    parser.add_argument("--only", action="append", help="a program, or a file test_*.py")
    return parser.parse_args()


def runtimes(opts):
    """crun 1.8 refuses a hybrid layout whose v2 part has a controller, so that part is hidden from it."""
    every = {
        "belay": {"path": str(opts.belay.resolve()), "hide_unified": False, "wrapped": True},
        "runc": {"path": "/usr/sbin/runc", "hide_unified": False, "wrapped": True},
        "crun": {"path": "/usr/bin/crun", "hide_unified": pathlib.Path("/sys/fs/cgroup/unified").is_dir(),
                 "wrapped": False},
    }
    return {name: every[name] for name in every if not opts.runtime or name in opts.runtime}


def version(path):
    run = subprocess.run([path, "--version"], capture_output=True, text=True)
    return run.stdout.splitlines()[0] if run.stdout else "?"


def totals(results, names):
    lines = []
    for suite, rows in results.items():
        for name in names:
            words = [row[name]["verdict"] for row in rows.values() if name in row]
            lines.append((suite, name, words.count("ok"), words.count("skip"), words.count("fail"), len(words)))
    return lines


def table(results, names, expected):
    """Every row that is not ok with all of them, with its reason."""
    text = ["| suite | runtime | ok | skipped | failed | of |", "|---|---|---|---|---|---|"]
    for line in totals(results, names):
        text.append("| " + " | ".join(str(field) for field in line) + " |")
    for suite, rows in results.items():
        text += ["", f"| {suite} | " + " | ".join(names) + " | why |", "|---" * (len(names) + 2) + "|"]
        for test in sorted(rows):
            words = [rows[test].get(name, {}).get("verdict", "-") for name in names]
            if any(word != "ok" for word in words):
                why = expected.get(suite, {}).get(test, {}).get("why", "")
                text.append(f"| {test} | " + " | ".join(words) + f" | {why} |")
    return "\n".join(text) + "\n"


def surprises(results, expected):
    found = []
    for suite, rows in results.items():
        for test, row in sorted(rows.items()):
            for name, result in row.items():
                want = expected.get(suite, {}).get(test, {}).get(name, "ok")
                if result["verdict"] not in want.split("|"):
                    found.append((name, f"{suite}: {test}: {name}: {result['verdict']}, expected {want}"))
    return found


def main():
    opts = options()
    names = runtimes(opts)
    expected = json.loads((HERE / "expected.json").read_text())
    only = set(opts.only or ())
    opts.results.mkdir(parents=True, exist_ok=True)
    for runtime in names.values():
        print(f"{runtime['path']}: {version(runtime['path'])}", flush=True)
    results = {}
    if not opts.suite or "runtime-tools" in opts.suite:
        results["runtime-tools"] = run_runtime_tools.run(opts.suites / "bin/runtime-tools", names, opts.results, only)
    if not opts.suite or "crun" in opts.suite:
        results["crun"] = run_crun_tests.run(opts.suites / "crun", opts.suites / "bin/crun/init", names, opts.results,
                                             only, expected.get("crun", {}))
    (opts.results / "results.json").write_text(json.dumps(results, indent=1, sort_keys=True))
    text = table(results, list(names), expected)
    (opts.results / "table.md").write_text(text)
    print("\n" + text)
    status = 0
    for name, line in surprises(results, expected):
        print(("UNEXPECTED " if name == "belay" else "note: ") + line)
        status = 1 if name == "belay" else status
    return status


if __name__ == "__main__":
    sys.exit(main())
