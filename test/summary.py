#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adds up what meson (testlog.json) and pytest (JUnit XML) left in a folder of results.

Prints one line for each suite and, last, "N passed, N failed, N skipped". Exits 1 if anything failed or if
nothing was run at all.
"""
import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def read_meson(path):
    passed = failed = skipped = 0
    for line in path.read_text().splitlines():
        result = json.loads(line)["result"]
        if result in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif result == "SKIP":
            skipped += 1
        else:
            failed += 1
    return passed, failed, skipped


def read_junit(path):
    passed = failed = skipped = 0
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        print(f"{path}: {error}")
        return 0, 1, 0
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main():
    total = [0, 0, 0]
    for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        counts = read_meson(path) if path.suffix == ".json" else read_junit(path)
        print(f"{path.stem}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
        total = [a + b for a, b in zip(total, counts)]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
