#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs end-to-end tests, or a command, in the virtual machine with Debian's root file system.

    run.py [--systemd] [--append TEXT] [--junit FILE] [--timeout S] [PYTEST ARGUMENT...]
    run.py [--systemd] [--append TEXT] --command WORD...
    run.py [--systemd] [--append TEXT] --shell

Every test inside becomes a test of its own in FILE, also when the machine does not come to its end: what is known then is
what it has said on its console, and there is one failed test more, which has the console's last lines.
Exit status: 0 all passed, or there can be no machine here (then FILE has one skipped test that says why); 1 not.
"""
import argparse
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

import machine

NOT_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd]")
LINE = re.compile(r"^(\S+\.py)::(.+?) (PASSED|FAILED|SKIPPED|ERROR|XFAIL)\b")
CONSOLE_TAIL = 6000  # characters of it in the report
KINDS = {"FAILED": "failure", "ERROR": "error", "SKIPPED": "skipped"}


def watch(command, timeout):
    """Runs qemu and copies its console to ours as it comes; the whole of it, and whether it ended by itself."""
    qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + timeout
    console = b""
    try:
        while select.select([qemu.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            chunk = qemu.stdout.read1(1 << 16)
            if not chunk:
                return console.decode(errors="replace").replace("\r", ""), True
            console += chunk
            sys.stdout.write(chunk.decode(errors="replace").replace("\r", ""))
            sys.stdout.flush()
        return console.decode(errors="replace").replace("\r", ""), False
    finally:
        qemu.kill()
        qemu.wait()


def from_console(console):
    """A <testsuite> of what the console says of tests."""
    suite = ElementTree.Element("testsuite", name="vm")
    for line in console.splitlines():
        found = LINE.match(line)
        if found:
            name = found[1].removesuffix(".py").replace("/", ".")
            case = ElementTree.SubElement(suite, "testcase", classname=name, name=found[2])
            if found[3] in KINDS:
                ElementTree.SubElement(case, KINDS[found[3]], message="see the console")
    return suite


def add_case(suite, kind, message, text=""):
    case = ElementTree.SubElement(suite, "testcase", classname="test.vm.run", name="the_machine_comes_to_its_end")
    if kind:
        ElementTree.SubElement(case, kind, message=message).text = text


def result(vm, console, ended, timeout):
    """What the machine has left, or what can be said without it: a tree with all its tests."""
    junit = vm.read_result("junit.xml") if ended else None
    if junit:
        return ElementTree.fromstring(junit)
    console = NOT_XML.sub("?", console)  # such as a terminal's escapes
    suite = from_console(console)
    add_case(suite, "failure", "no results" if ended else f"not within {timeout} s", console[-CONSOLE_TAIL:])
    return suite


def write_skip(path, reason):
    suite = ElementTree.Element("testsuite", name="vm")
    add_case(suite, "skipped", reason)
    ElementTree.ElementTree(suite).write(path)


def parse(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--systemd", action="store_true", help="systemd is its init; otherwise nothing but the tests runs")
    parser.add_argument("--append", default="", metavar="TEXT",
                        help="for the kernel's command line: systemd.unified_cgroup_hierarchy=0")
    parser.add_argument("--junit", type=pathlib.Path)
    parser.add_argument("--timeout", type=int, default=1800)
    parser.add_argument("--skip", default="",
                        help="why nothing can be run; empty: run")
    parser.add_argument("--command", action="store_true")
    parser.add_argument("--shell", action="store_true")
    return parser.parse_known_args(argv)


def main():
    options, arguments = parse(sys.argv[1:])
    reason = options.skip or machine.missing()
    if not reason and not (machine.VM / "root.ext4").exists():
        reason = "no root file system for the virtual machine: ./dev test-vm makes it"
    if reason:
        print(f"skipped: {reason}", file=sys.stderr)
        if options.junit:
            write_skip(options.junit, reason)
        return 0
    with tempfile.TemporaryDirectory(prefix="belay-vm-") as work:
        return run(machine.Debian(pathlib.Path(work)), options, arguments)


def run(vm, options, arguments):
    if options.shell:
        vm.prepare({"command": "setsid\n-c\nsh\n-c\nexec bash -i </dev/ttyS0 >/dev/ttyS0 2>&1\n"})
        return subprocess.run(vm.command(options.systemd, options.append), check=False).returncode
    name = "command" if options.command else "args"
    vm.prepare({name: "".join(f"{a}\n" for a in arguments)})
    console, ended = watch(vm.command(options.systemd, options.append), options.timeout)
    if options.command:
        return 0 if ended and "belay-vm: status 0" in console.splitlines() else 1
    tree = result(vm, console, ended, options.timeout)
    if options.junit:
        ElementTree.ElementTree(tree).write(options.junit)
    return 1 if any(tree.find(f".//{kind}") is not None for kind in ("failure", "error")) else 0


if __name__ == "__main__":
    sys.exit(main())
