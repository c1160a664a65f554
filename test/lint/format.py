#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""All C files are as clang-format 14 writes them with the tree's .clang-format.

Another major version would write them differently, so none but 14 is asked; without it the check is
skipped (exit status 77).
"""
import re
import shutil
import subprocess
import sys

import source

VERSION = '14'
DIRECTORIES = source.PROGRAM + ('test',)


def find_tool():
    for name in (f'clang-format-{VERSION}', 'clang-format'):
        path = shutil.which(name)
        if not path:
            continue
        text = subprocess.run([path, '--version'], stdout=subprocess.PIPE, text=True, check=True).stdout
        if re.search(rf'version {VERSION}\.', text):
            return path
    return None


def check(root):
    paths = source.files(root, DIRECTORIES)
    run = subprocess.run(
        [find_tool(), '--dry-run', '-Werror', f'--style=file:{source.ROOT}/.clang-format', *paths],
        cwd=root, stderr=subprocess.PIPE, text=True, check=False)
    wrong = sorted({m.group(1) for m in re.finditer(r'^(\S+?):\d+:\d+: error: ', run.stderr, re.M)})
    findings = [f'{path}: not as clang-format writes it' for path in wrong]
    if run.returncode != 0 and not findings:
        findings.append(f'clang-format: {run.stderr.strip()}')
    return findings


def self_test():
    good = {'pkg/a/good.c': 'int main(void)\n{\n        return 0;\n}\n'}
    bad = {
        'pkg/a/tabs.c': ('int main(void)\n{\n\treturn 0;\n}\n', 'not as clang-format'),
        'test/unit/brace.c': ('int main(void) {\n        return 0;\n}\n', 'not as clang-format'),
    }
    return source.self_test(check, bad, good)


if __name__ == '__main__':
    if not find_tool():
        print(f'clang-format {VERSION} is not here')
        sys.exit(77)
    source.main(check, self_test)
