# SPDX-License-Identifier: Apache-2.0
"""crun's own tests in Python: one result for each test and runtime.

They speak crun's command line. A runtime that lacks --cgroup-manager and --config is reached through a wrapper
which drops the one and copies the file of the other.
"""
import os
import pathlib
import shutil
import sys
import tempfile

import isolated

WRAPPER = """#!/bin/bash
args=()
while [ $# -gt 0 ]; do
        case $1 in
        --cgroup-manager) shift ;;
        --cgroup-manager=*) ;;
        --config) [ "$2" = config.json ] || cp "$2" config.json; shift ;;
        *) args+=("$1") ;;
        esac
        shift
done
exec %s "${args[@]}"
"""

# Debian has no libmount for Python. The tests use three things of it: the file of a table, the mount at a target,
# and its two sets of options.
LIBMOUNT = '''
class Mount:
    def __init__(self, fields):
        mark = fields.index("-")
        self.target = fields[4]
        self.vfs_options = fields[5]
        self.fs_options = fields[mark + 3]


class Table:
    def __init__(self, path):
        with open(path) as lines:
            self.mounts = [Mount(line.split()) for line in lines if line.strip()]

    def find_target(self, target):
        return next((m for m in reversed(self.mounts) if m.target == target), None)
'''

# CRIU is not part of Debian 12.
LEFT_OUT = {"test_checkpoint_restore.py"}


def run(source_dir, init, runtimes, results_dir, only, known):
    """known: names of results that there must be, those of some tests at least."""
    results = {}
    files = sorted(p.name for p in (source_dir / "tests").glob("test_*.py") if p.name not in LEFT_OUT)
    for name, runtime in runtimes.items():
        logs = results_dir / "crun" / name
        logs.mkdir(parents=True, exist_ok=True)
        for file in files:
            if only and file not in only:
                continue
            out, err = logs / f"{file}.out", logs / f"{file}.err"
            with tempfile.TemporaryDirectory(prefix="oci-") as scratch:
                status, left = run_file(source_dir, init, runtime, file, pathlib.Path(scratch), out, err)
            found = isolated.points(out.read_text(errors="replace"))
            for word, test in found:
                results.setdefault(f"{file[5:-3]}: {test}", {})[name] = {"verdict": word}
            if status is None:
                print(f"crun {name} {file}: timeout", flush=True)
            count = [sum(1 for what, _ in found if what == word) for word in ("ok", "skip", "fail")]
            print(f"crun {name} {file}: {count[0]}/{count[1]}/{count[2]}", flush=True)
            for line in left:
                print(f"left behind: {line}", file=sys.stderr)
    # A test that was never reached has failed, in all runs or in this one.
    for row in known:
        if not only or f"test_{row.split(':')[0]}.py" in only:
            results.setdefault(row, {})
    for row in results.values():
        for name in runtimes:
            row.setdefault(name, {"verdict": "fail"})
    return results


def run_file(source_dir, init, runtime, file, scratch, out, err):
    scratch.chmod(0o755)
    shutil.copytree(source_dir / "tests", scratch / "tests")
    shutil.copy2(init, scratch / "tests" / "init")
    (scratch / "tests" / "libmount.py").write_text(LIBMOUNT)
    path = runtime["path"]
    if runtime["wrapped"]:
        wrapper = scratch / "runtime"
        wrapper.write_text(WRAPPER % path)
        wrapper.chmod(0o755)
        path = str(wrapper)
    env = dict(os.environ, OCI_RUNTIME=path, INIT=str(scratch / "tests" / "init"), PYTHONDONTWRITEBYTECODE="1",
               TMPDIR=str(scratch))
    args = ["/usr/bin/python3", f"tests/{file}"]
    if file == "test_tty.py":
        args = ["script", "-qec", " ".join(args), "/dev/null"]
    return isolated.run("crun", args, scratch, env, out, err, 90, netns=True, hide_unified=runtime["hide_unified"])
