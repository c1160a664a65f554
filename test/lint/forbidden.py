#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Calls that this tree does without, descriptors that are not CLOEXEC from birth, and paths of somebody's
machine.

A descriptor that must not be CLOEXEC (stdio) is marked where it is made, with the reason, in the form that
clang-tidy knows, too: // NOLINT(android-cloexec-open): it is stdio
"""
import re

import source

# Word by word: the call, and why not.
CALLS = {
    'dup': 'the copy is not CLOEXEC; use fcntl(F_DUPFD_CLOEXEC)',
    'system': 'runs a shell',
    'popen': 'runs a shell',
    'atoi': 'takes anything for a number; use str_to_u64()',
    'atol': 'takes anything for a number; use str_to_u64()',
    'atoll': 'takes anything for a number; use str_to_u64()',
    'strcpy': 'has no bound',
    'strcat': 'has no bound',
    'sprintf': 'has no bound',
    'vsprintf': 'has no bound',
    'gets': 'has no bound',
    'scanf': 'has no bound',
    'sscanf': 'overflows silently',
    'strtok': 'keeps state in a global',
    'alloca': 'has no bound',
    'signal': 'differs between systems; use sigaction(2), or a signalfd',
    'pthread_create': 'this program has one thread',
    'thrd_create': 'this program has one thread',
    'sleep': 'wait for an event',
    'usleep': 'wait for an event',
    'getpwnam': 'loads NSS modules',
    'getpwuid': 'loads NSS modules',
    'getgrnam': 'loads NSS modules',
    'syslog': 'the log is a descriptor that containerd reads',
    # Their younger siblings take flags:
    'accept': 'use accept4(SOCK_CLOEXEC)',
    'pipe': 'use pipe2(O_CLOEXEC)',
    'creat': 'use open(O_CLOEXEC)',
    'mkstemp': 'use mkostemp(O_CLOEXEC)',
    'epoll_create': 'use epoll_create1(EPOLL_CLOEXEC)',
    'inotify_init': 'use inotify_init1(IN_CLOEXEC)',
}

# Calls that make a descriptor: their flags must name CLOEXEC.
MAKERS = ('open', 'open64', 'openat', 'openat64', 'socket', 'socketpair', 'accept4', 'pipe2', 'eventfd',
          'memfd_create', 'epoll_create1', 'signalfd', 'timerfd_create', 'inotify_init1', 'dup3',
          'mkostemp', 'posix_openpt', 'fsopen', 'fsmount', 'fspick', 'open_tree')

WAIVER = re.compile(r'//\s*NOLINT\(android-cloexec-[a-z0-9-]+\): \S')

# The pieces keep this file from finding itself. The user called `user`, or by one letter, is somebody in a
# container of a test.
MACHINE_PATHS = re.compile('|'.join((
    '/ho' + r'me/(?!user\b)\w\w+', '/Us' + r'ers/\w', '/wo' + r'rk/(?:wt|main|shared)\b', '/tmp/be' + r'lay/\w+')))
TEXT_SUFFIXES = ('.c', '.h', '.py', '.sh', '.md', '.build', '.txt', '.json', '.proto', '.in', '.svg', '.toml')
TEXT_DIRECTORIES = source.PROGRAM + ('proto', 'test', 'docs', 'packaging')


def balanced(text, start):
    """The text between the parenthesis at start and its partner."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == '(':
            depth += 1
        elif text[i] == ')':
            depth -= 1
            if depth == 0:
                return text[start + 1:i]
    return text[start + 1:]


def names_cloexec(code, offset, arguments):
    """In the arguments themselves, or in what a variable among them was set to a few lines above."""
    if 'CLOEXEC' in arguments:
        return True
    before = '\n'.join(code[:offset].split('\n')[-25:])
    return any(re.search(rf'\b{name}\s*=\s*[^;]*CLOEXEC', before)
               for name in re.findall(r'\b[a-z_]\w*\b', arguments))


def is_declaration(code, offset):
    """`int open(…`: a type right before the name, not an operator or a statement's begin."""
    return re.search(r'\b(?!return\b|else\b)[a-z_]\w*[ \t]+\**$', code[:offset].rsplit('\n', 1)[-1])


def check_calls(path, text):
    code = source.code_only(text)
    lines = text.split('\n')
    names = '|'.join(sorted(set(CALLS) | set(MAKERS), key=len, reverse=True))
    for match in re.finditer(rf'(?<![\w.>])({names})\s*\(', code):
        name = match.group(1)
        line = source.line_of(code, match.start())
        if is_declaration(code, match.start()) or WAIVER.search(lines[line - 1]):
            continue
        if name in CALLS:
            yield f'{path}:{line}: {name}(): {CALLS[name]}'
        elif not names_cloexec(code, match.start(), balanced(code, match.end() - 1)):
            yield f'{path}:{line}: {name}() without CLOEXEC'
    for match in re.finditer(r'\bF_DUPFD\b', code):
        yield f'{path}:{source.line_of(code, match.start())}: F_DUPFD: use F_DUPFD_CLOEXEC'
    with_strings = source.code_only(text, keep_strings=True)
    for match in re.finditer(r'\bf(?:d|re)?open\s*\([^;]*?,\s*"([^"]*)"', with_strings):
        if 'e' not in match.group(1) and not match.group().startswith('fd'):
            yield f'{path}:{source.line_of(text, match.start())}: fopen() without "e" (CLOEXEC)'


def check_text(path, text):
    for match in MACHINE_PATHS.finditer(text):
        yield (f'{path}:{source.line_of(text, match.start())}: looks like a path of one machine: '
               f'{match.group()}')


def check(root):
    findings = []
    for path in source.files(root, source.PROGRAM):
        findings += check_calls(path, source.read(root, path))
    for path in source.files(root, TEXT_DIRECTORIES, TEXT_SUFFIXES):
        findings += check_text(path, source.read(root, path))
    return findings


def self_test():
    good = {
        'pkg/a/good.c': '/* dup(1) and open("x", 0) in a comment */\n'
                        'int fd = open("system(", O_RDONLY | O_CLOEXEC);\n'
                        'int a = socket(AF_UNIX, SOCK_STREAM |\n        SOCK_CLOEXEC, 0);\n'
                        'int flags = O_RDONLY | O_CLOEXEC;\n'
                        'int b = openat(dirfd, path, flags);\n'
                        'int c = my_dup(1) + loop_signal(2) + table->open(3) + x.accept(4);\n'
                        'int d = fcntl(fd, F_DUPFD_CLOEXEC, 3);\n'
                        'FILE *f = fopen("x", "re");\n'
                        'int e = open("/dev/null", O_RDWR); // NOLINT(android-cloexec-open): it is stdio\n',
    }
    bad = {}
    for name, why in CALLS.items():
        bad[f'pkg/calls/{name}.c'] = (f'int x = {name}(1);\n', why)
    for name in MAKERS:
        bad[f'shim/makers/{name}.c'] = (f'        fd = {name}(a,\n   b | c);\n', 'without CLOEXEC')
    bad['cmd/fcntl.c'] = ('fd = fcntl(1, F_DUPFD, 3);\n', 'F_DUPFD_CLOEXEC')
    bad['cmd/fopen.c'] = ('f = fopen(path, "r");\n', 'without "e"')
    bad['cmd/waiver.c'] = ('fd = open(p, 0); // NOLINT(android-cloexec-open)\n', 'without CLOEXEC')
    bad['docs/x.md'] = ('see /ho' + 'me/somebody/x\n', 'path of one machine')
    bad['test/x.py'] = ('D = "/tmp/be' + 'lay/x"\n', 'path of one machine')
    return source.self_test(check, bad, good)


if __name__ == '__main__':
    source.main(check, self_test)
