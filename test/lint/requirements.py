#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the history of containerd's shims teaches about stdio, as numbered requirements: each is the subject of a test
that names it, in a test's docstring or in the comment above a C test. With --list: which tests those are.
"""
import ast
import re
import sys

import source

REQUIREMENTS = {
    50: 'to open stdin blocks neither Create nor Start',
    51: 'a client that never opens stdout hangs nobody',
    52: 'stdin that is not asked for is /dev/null, and no open pipe',
    53: 'a FIFO whose client is gone does not wedge the shim',
    54: 'Delete answers although a grandchild holds stdout',
    55: 'file:// for both streams is appended to, and closed after both have ended',
    56: 'large output of a terminal arrives whole',
    57: "no terminal's master is left after Delete, or after 100 execs",
    58: 'the reading end of stdin is closed when the copy ends',
    59: 'pipes belong to io_uid and io_gid, or to the user: /dev/stderr can be opened again',
    60: 'a logger that does not start leaves neither descriptors nor processes',
    61: 'a logger gets SIGTERM, and time to flush before SIGKILL',
    62: 'a binary-v2 logger that ends before it is ready fails Create',
    63: 'a logging program gets the output of a terminal',
    64: "the shim's FIFOs are as many as before after each container",
}
NUMBER = re.compile(r'\bR(\d+)\b')
C_TEST = re.compile(r'/\*((?:(?!\*/).)*)\*/\s*static void (\w+)\(void \*\*state\)', re.S)


def python_tests(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith('test_'):
            yield node.name, ast.get_docstring(node) or ''


def c_tests(text):
    return ((name, comment) for comment, name in C_TEST.findall(text))


def named(root):
    """{number: [path: test]}"""
    found = {}
    for path in source.files(root, ['test'], ('.c', '.py')):
        tests = python_tests if path.endswith('.py') else c_tests
        for name, text in tests(source.read(root, path)):
            for number in NUMBER.findall(text):
                found.setdefault(int(number), []).append(f'{path}: {name}')
    return found


def check(root):
    tests = named(root)
    return [f'R{number}: no test names it: {what}' for number, what in REQUIREMENTS.items() if number not in tests]


def self_test():
    samples = {
        'test/e2e/test_a.py': ''.join(f'def test_{n}():\n    """R{n}"""\n\n\n' for n in range(50, 59))
                              + 'def helper():\n    """R64"""\n\n\ndef test_none():\n    pass  # R64\n',
        'test/unit/test_a.c': '/* R60, R61 */\nstatic void a(void **state)\n{\n        /* R64 */\n}\n'
                              '/* As long as R62 and R63\n * say, and R59. */\nstatic void b(void **state)\n{\n}\n',
    }
    directory = source.write_tree(samples)
    findings = check(directory.name)
    return [] if len(findings) == 1 and findings[0].startswith('R64: ') else [f'not R64 alone: {findings}']


if __name__ == '__main__':
    if sys.argv[1:] == ['--list']:
        for number, tests in sorted(named(source.ROOT).items()):
            if number in REQUIREMENTS:
                print(f'R{number}: {REQUIREMENTS[number]}', *tests, sep='\n    ')
    else:
        source.main(check, self_test)
