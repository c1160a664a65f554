#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Functions of at most 80 lines, files of at most 600.

A longer file passes if the comment at its top says why: "in one file because ...". The lines of a function
are those between its braces; clang-format puts both in the first column.
"""
import re

import source

FUNCTION_MAX = 80
FILE_MAX = 600
REASON = re.compile(r'in\s+(?:\*\s+)?one\s+(?:\*\s+)?file\s+(?:\*\s+)?because')


def function_name(lines, brace):
    """From the signature above the line of the opening brace."""
    for line in reversed(lines[max(0, brace - 10):brace]):
        match = re.match(r'\S.*?(\w+)\(', line)
        if match:
            return match.group(1)
    return '?'


def check_functions(path, text):
    lines = source.code_only(text).split('\n')
    start = None
    for number, line in enumerate(lines):
        if line == '{':
            start = number
        elif line.rstrip() == '}' and start is not None:
            length = number - start - 1
            if length > FUNCTION_MAX:
                yield (f'{path}:{start + 1}: {function_name(lines, start)} has {length} lines, '
                       f'more than {FUNCTION_MAX}')
            start = None


def check_file(path, text):
    n = text.count('\n')
    if n > FILE_MAX and not REASON.search(source.header_comment(text)):
        yield f'{path}:1: {n} lines, more than {FILE_MAX}, and no "in one file because" at the top'
    yield from check_functions(path, text)


def check(root):
    findings = []
    for path in source.files(root, source.PROGRAM):
        findings += check_file(path, source.read(root, path))
    return findings


def self_test():
    def function(lines):
        return 'static int work(int a,\n                int b)\n{\n' + '        a++;\n' * lines + '}\n'

    top = '/* SPDX\n *\n * All steps, in one\n * file because they share a table.\n */\n'
    good = {
        'pkg/a/short.c': function(80) * 3 + 'int x[] = {\n' + '1,\n' * 100 + '};\n',
        'pkg/a/reason.c': top + function(70) * 10,
    }
    bad = {
        'pkg/a/long.c': ('\n' + function(81), 'work has 81 lines'),
        'pkg/a/brace.c': (function(40) + function(1).replace('a++;', 'if (a) {\n' + 'a++;\n' * 90 + '        }'),
                          'lines, more than 80'),
        'shim/big.c': ('/* SPDX */\n' + function(70) * 10, 'more than 600'),
        'cmd/x/late.c': ('/* SPDX */\n' + function(70) * 10 + top, 'more than 600'),
    }
    return source.self_test(check, bad, good)


if __name__ == '__main__':
    source.main(check, self_test)
