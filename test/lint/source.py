# SPDX-License-Identifier: Apache-2.0
"""What the lint scripts share: the source tree, C text without comments, and how a script reports.

Every script can be run by hand from anywhere, with no arguments. With --self-test it lints samples of its
own instead, good and bad, and fails if it does not tell them apart: a lint that cannot fail is no lint.
"""
import os
import re
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Where the program's own C code lives. proto/ holds nothing that is written by hand.
PROGRAM = ('cmd', 'shim', 'pkg')


def files(root, directories, suffixes=('.c', '.h')):
    """Paths relative to root, sorted."""
    found = []
    for directory in directories:
        for path, directories_below, names in os.walk(os.path.join(root, directory)):
            directories_below[:] = [d for d in directories_below if not d.startswith(('.', '__'))]
            found += [os.path.relpath(os.path.join(path, name), root)
                      for name in names if name.endswith(suffixes)]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding='utf-8') as f:
        return f.read()


_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def _blank(text):
    return re.sub(r'[^\n]', ' ', text)


def code_only(text, keep_strings=False):
    """The text with comments (and the insides of literals) blanked; every byte keeps its place."""
    def replace(match):
        token = match.group()
        if token.startswith('/'):
            return _blank(token)
        if keep_strings:
            return token
        return token[0] + _blank(token[1:-1]) + token[-1]
    return _TOKEN.sub(replace, text)


def line_of(text, offset):
    return text.count('\n', 0, offset) + 1


def header_comment(text):
    match = re.match(r'\s*/\*.*?\*/', text, re.S)
    return match.group() if match else ''


def write_tree(samples):
    """A temporary directory with these files: {path: text}. The caller keeps the object alive."""
    directory = tempfile.TemporaryDirectory(prefix='lint-')
    for path, text in samples.items():
        full = os.path.join(directory.name, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, 'w', encoding='utf-8') as f:
            f.write(text)
    return directory


def self_test(check, bad, good):
    """check(root) gives findings, each beginning with a path. Every path in bad must be found, and none in
    good. What a bad sample maps to is (text, words): the finding must contain the words."""
    samples = {path: text for path, (text, _) in bad.items()}
    samples.update(good)
    directory = write_tree(samples)
    findings = check(directory.name)
    failures = []
    for path, (_, words) in bad.items():
        if not any(f.startswith(path + ':') and words in f for f in findings):
            failures.append(f'{path}: not found: {words}')
    for finding in findings:
        path = finding.split(':', 1)[0]
        if path not in bad:
            failures.append(f'found in a good sample: {finding}')
    return failures


def main(check, run_self_test):
    """Runs the one or the other; exit status 1 if there are findings."""
    if sys.argv[1:] == ['--self-test']:
        findings = run_self_test()
    else:
        findings = check(ROOT)
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
