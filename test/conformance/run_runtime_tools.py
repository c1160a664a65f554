# SPDX-License-Identifier: Apache-2.0
"""The validation programs of the runtime-tools: one result for each program and runtime."""
import os
import pathlib
import re
import sys
import tempfile

import isolated

# These print no test points when all is well: a YAML block with an error is their only complaint.
SILENT = re.compile(r'^\s*"?error"?: ', re.M)


def verdict(status, text):
    found = isolated.points(text)
    count = {word: sum(1 for what, _ in found if what == word) for word in ("ok", "skip", "fail")}
    if status is None:
        word = "fail"
    elif status != 0 or count["fail"] or (not found and SILENT.search(text)):
        word = "fail"
    elif found and not count["ok"]:
        word = "skip"
    else:
        word = "ok"
    return word, count


def run(suite_dir, runtimes, results_dir, only):
    programs = sorted(path.name for path in (suite_dir / "validation").iterdir())
    results = {}
    for name, runtime in runtimes.items():
        for program in programs:
            if only and program not in only:
                continue
            logs = results_dir / "runtime-tools" / name
            logs.mkdir(parents=True, exist_ok=True)
            out, err = logs / f"{program}.out", logs / f"{program}.err"
            with tempfile.TemporaryDirectory(prefix="oci-") as scratch:
                os.chmod(scratch, 0o755)
                env = dict(os.environ, RUNTIME=runtime["path"], TMPDIR=scratch)
                status, left = isolated.run("runtime-tools", [str(suite_dir / "validation" / program)], suite_dir, env,
                                            out, err, 60, hide_unified=runtime["hide_unified"])
            word, count = verdict(status, out.read_text(errors="replace"))
            results.setdefault(program, {})[name] = dict(count, verdict=word, status=status)
            print(f"runtime-tools {name} {program}: {word} {count['ok']}/{count['skip']}/{count['fail']}"
                  + (" (timeout)" if status is None else ""), flush=True)
            for line in left:
                print(f"left behind: {line}", file=sys.stderr)
    return results
