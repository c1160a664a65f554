#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cppcheck over all of cmd, shim and pkg: a second opinion. Suppressions, with reasons, are in cppcheck.txt.

Skipped (77) without cppcheck.
"""
import os
import shutil
import subprocess
import sys

import source


def check(root):
    directories = [d for d in source.PROGRAM if os.path.isdir(os.path.join(root, d))]
    run = subprocess.run(
        ['cppcheck', '--quiet', '--language=c', '--std=c11', '--library=posix,gnu', '-D_GNU_SOURCE', '-D__linux__',
         '-I.', '--enable=warning,portability,performance', '--error-exitcode=1', f'-j{os.cpu_count() or 1}',
         f'--suppressions-list={source.ROOT}/test/lint/cppcheck.txt',
         '--template={file}:{line}: {severity}: {message} [{id}]', *directories],
        cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    findings = sorted(set(filter(None, run.stdout.split('\n'))))
    if run.returncode != 0 and not findings:
        findings.append(f'cppcheck: exit status {run.returncode}')
    return findings


def self_test():
    good = {'pkg/a/good.c': 'int main(void)\n{\n        return 0;\n}\n'}
    bad = {
        'pkg/a/null.c': ('int work(int *p)\n{\n        int x = *p;\n\n        return p ? x : 0;\n}\n', 'nullPointer'),
        'shim/format.c': ('#include <stdio.h>\nvoid work(void)\n{\n        printf("%s", 7);\n}\n',
                          'invalidPrintfArgType'),
        'cmd/bounds.c': ('int work(void)\n{\n        int a[3] = {0};\n\n        return a[3];\n}\n', 'arrayIndexOutOfBounds'),
    }
    return source.self_test(check, bad, good)


if __name__ == '__main__':
    if not shutil.which('cppcheck'):
        print('cppcheck is not here')
        sys.exit(77)
    source.main(check, self_test)
