#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""clang's own warnings about all that a build compiles, tests included; any is an error.

usage: clang.py [BUILD]      BUILD: a meson build directory, default out/debug
       clang.py --self-test

gcc compiles the tree and clang the fuzz targets, and each warns of what the other does not. Works on the compile
database of a build made by either compiler. Skipped (77) without clang.
"""
import concurrent.futures
import json
import os
import shlex
import shutil
import subprocess
import sys

import source

# What gcc knows and clang does not is no finding.
EXTRA_ARGS = ('-fsyntax-only', '-Werror', '-Wno-unknown-warning-option', '-Wno-ignored-optimization-argument')
WITH_ARGUMENT = ('-o', '-MF', '-MQ', '-MT')  # options that make a file: they and what follows go


def command(entry):
    """The database's command, as one that only looks."""
    words = iter(entry.get('arguments') or shlex.split(entry['command']))
    if os.path.basename(next(words)) == 'ccache':
        next(words)
    kept = []
    for word in words:
        if word in WITH_ARGUMENT:
            next(words)
        elif word not in ('-c', '-MD', '-MMD'):
            kept.append(word)
    return ['clang', *kept, *EXTRA_ARGS]


def run_one(root, entry):
    run = subprocess.run(command(entry), cwd=entry['directory'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, check=False)
    path = os.path.relpath(os.path.join(entry['directory'], entry['file']), root)
    return f'{path}: {run.stdout.strip()}' if run.returncode != 0 else None


def check(root, build):
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as f:
        entries = json.load(f)
    # What the build makes itself is not ours to mend; a file that is compiled twice is looked at once.
    entries = {entry['file']: entry for entry in entries
               if not os.path.realpath(os.path.join(entry['directory'], entry['file'])).startswith(
                   os.path.realpath(build) + '/')}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(filter(None, pool.map(lambda entry: run_one(root, entry), entries.values())))


def self_test():
    cleanup = 'void drop(int *p);\n\nint work(void);\nint work(void)\n{\n'
    samples = {
        'test/unused.c': cleanup + '        __attribute__((cleanup(drop))) int a = 1;\n        return 0;\n}\n',
        'build/made.c': cleanup + '        int a = 1;\n        return 0;\n}\n',
        'pkg/good.c': cleanup + '        __attribute__((cleanup(drop))) int a = 1;\n        return a;\n}\n',
    }
    directory = source.write_tree(samples)
    root = directory.name
    with open(os.path.join(root, 'build/compile_commands.json'), 'w', encoding='utf-8') as f:
        json.dump([{'directory': root, 'file': path, 'command': f'cc -Wall -Wlogical-op -MD -MF a.d -o a.o -c {path}'}
                   for path in samples], f)
    findings = check(root, os.path.join(root, 'build'))
    failures = [] if any(f.startswith('test/unused.c: ') and '-Wunused-variable' in f for f in findings) else [
        'test/unused.c: not found: -Wunused-variable']
    return failures + [f'found in a good sample: {f}' for f in findings if not f.startswith('test/unused.c: ')]


def main():
    arguments = sys.argv[1:]
    if arguments == ['--self-test']:
        findings = self_test()
    else:
        findings = check(source.ROOT, os.path.abspath(arguments[0] if arguments else
                                                      os.path.join(source.ROOT, 'out/debug')))
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)


if __name__ == '__main__':
    if not shutil.which('clang'):
        print('clang is not here')
        sys.exit(77)
    main()
