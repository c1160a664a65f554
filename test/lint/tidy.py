#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over all of cmd, shim and pkg, with the tree's .clang-tidy; any warning is an error.

usage: tidy.py [BUILD]      BUILD: a meson build directory, default out/debug
       tidy.py --self-test

Works on the compile database of a build made by either compiler. Skipped (77) without clang-tidy.
"""
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys

import source

# What gcc knows and clang does not is no finding, and -Werror is the compilers' business.
EXTRA_ARGS = ('--extra-arg=-Wno-unknown-warning-option', '--extra-arg=-Wno-error')

# For files that this build does not compile, but another one (a static one, say) does.
OTHER_FLAGS = ('--', '-std=gnu17', '-D_GNU_SOURCE', '-DBELAY_CHAOS', f'-I{source.ROOT}')

# Not checked, and why.
SKIPPED = {
    'pkg/loop/no_resolver.c': 'defines functions of libc, with names of its own for their parameters',
}


def from_root(root, build, path):
    """clang-tidy names a file from the top, from the build directory or in full, as it comes."""
    for base in (root, build):
        if os.path.exists(os.path.join(base, path)):
            return os.path.relpath(os.path.join(base, path), root)
    return path


def run_one(root, build, path, flags=()):
    run = subprocess.run(
        ['clang-tidy', '--quiet', '-p', build, f'--config-file={source.ROOT}/.clang-tidy',
         '--warnings-as-errors=*', *EXTRA_ARGS, os.path.join(root, path), *flags],
        cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    text = re.sub(r'^(\S+?)(?=:\d+:\d+: (?:error|warning|note): )',
                  lambda m: from_root(root, build, m.group(1)), run.stdout, flags=re.M).strip()
    if run.returncode == 0 and not text:
        return None
    return text or f'{path}: clang-tidy: {run.stderr.strip()}'


def compiled_files(root, build):
    """Of the database, what lies in the program's directories; paths relative to root."""
    with open(os.path.join(build, 'compile_commands.json'), encoding='utf-8') as f:
        entries = json.load(f)
    found = set()
    for entry in entries:
        path = os.path.relpath(os.path.join(entry['directory'], entry['file']), root)
        if path.startswith(tuple(d + '/' for d in source.PROGRAM)):
            found.add(path)
    return found


def check(root, build):
    compiled = compiled_files(root, build)

    def run(path):
        return run_one(root, build, path, () if path in compiled else OTHER_FLAGS)
    paths = [path for path in source.files(root, source.PROGRAM, ('.c',)) if path not in SKIPPED]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(filter(None, pool.map(run, paths)))


def self_test():
    good = {'pkg/a/good.c': '#include <stdlib.h>\n\nint main(void)\n{\n        return abs(-1) - 1;\n}\n'}
    bad = {
        'pkg/a/null.c': ('int work(int *p);\nint work(int *p)\n{\n        if (!p)\n'
                         '                return *p;\n        return 0;\n}\n',
                         'clang-analyzer-core.NullDereference'),
        'pkg/a/cloexec.c': ('#include <fcntl.h>\n\nint work(void);\nint work(void)\n{\n'
                            '        return open("/", O_RDONLY);\n}\n', 'android-cloexec-open'),
        'shim/atoi.c': ('#include <stdlib.h>\n\nint work(const char *s);\nint work(const char *s)\n{\n'
                        '        return atoi(s);\n}\n', 'cert-err34-c'),
    }
    samples = {path: text for path, (text, _) in bad.items()} | good
    # shim/atoi.c stands for what this build does not compile.
    directory = source.write_tree(samples)
    root = directory.name
    os.mkdir(os.path.join(root, 'build'))
    with open(os.path.join(root, 'build/compile_commands.json'), 'w', encoding='utf-8') as f:
        json.dump([{'directory': root, 'file': path, 'command': f'cc -Wlogical-op -Werror -c {path}'}
                   for path in samples if path != 'shim/atoi.c'], f)
    findings = check(root, os.path.join(root, 'build'))
    text = '\n'.join(findings)
    failures = [f'{path}: not found: {words}' for path, (_, words) in bad.items()
                if not any(f.startswith(path) and words in f for f in findings)]
    if 'good.c' in text:
        failures.append(f'found in a good sample: {text}')
    return failures


def main():
    arguments = sys.argv[1:]
    if arguments == ['--self-test']:
        findings = self_test()
    else:
        build = os.path.abspath(arguments[0] if arguments else os.path.join(source.ROOT, 'out/debug'))
        findings = check(source.ROOT, build)
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)


if __name__ == '__main__':
    if not shutil.which('clang-tidy'):
        print('clang-tidy is not here')
        sys.exit(77)
    main()
