#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes follow the layers: cmd -> shim -> pkg/* -> pkg/base, with proto as a leaf.

The tables below are the rule. An edge that is not in them is an error, and so is an entry of a table that
allows nothing any more. Adding an edge is a decision about the design, to be taken with this file.
"""
import os
import re

import source

# Who may include whom, by directory. Everybody may include itself.
EDGES = {
    'pkg/base': (),
    'pkg/loop': ('pkg/base',),
    'pkg/state': ('pkg/base',),
    'pkg/ttrpc': ('pkg/base', 'pkg/loop'),
    'pkg/reaper': ('pkg/base', 'pkg/loop'),
    'pkg/log': ('pkg/base',),
    'pkg/io': ('pkg/base', 'pkg/loop', 'pkg/reaper', 'pkg/log', 'proto'),
    'pkg/oci': ('pkg/base',),
    'pkg/cgroup': ('pkg/base', 'pkg/loop', 'pkg/oci'),
    'pkg/engine': ('pkg/base', 'pkg/loop', 'pkg/reaper', 'pkg/oci', 'pkg/cgroup', 'proto'),
    'pkg/runc': ('pkg/base', 'pkg/loop', 'pkg/reaper', 'proto'),
    'shim': ('pkg/base', 'pkg/loop', 'pkg/state', 'pkg/ttrpc', 'pkg/reaper', 'pkg/log', 'pkg/io', 'pkg/oci', 'pkg/cgroup',
             'pkg/engine', 'pkg/runc', 'proto'),
    'cmd': ('pkg/base', 'pkg/loop', 'pkg/state', 'pkg/ttrpc', 'pkg/reaper', 'shim', 'proto'),
}

# Edges of single files, beyond their directory's: (file, header).
EXTRA = {
    ('cmd/containerd-shim-belay-v2/delete.c', 'pkg/engine/engine.h'):
        'delete cleans up after a shim that is gone, without a loop or a service',
    ('cmd/containerd-shim-belay-v2/info.c', 'pkg/engine/engine.h'):
        '-info prints the features document of the engine',
    ('cmd/containerd-shim-belay-v2/info.c', 'pkg/runc/runc.h'):
        '-info prints that of a runtime binary when the options name one',
    ('cmd/containerd-shim-belay-v2/daemon.h', 'pkg/engine/engine.h'):
        'the daemon makes the engine and hands it to the service, which does not know which it is',
}

# The headers that a package shows to others. pkg/base shows all.
PUBLIC = {
    'pkg/loop': ('loop.h',),
    'pkg/state': ('vault.h',),
    'pkg/ttrpc': ('ttrpc.h', 'limits.h'),
    'pkg/reaper': ('reaper.h',),
    'pkg/log': ('log.h',),
    'pkg/io': ('stdio.h', 'ring.h', 'pump.h'),
    'pkg/oci': ('spec.h', 'mount_options.h'),
    'pkg/cgroup': ('cgroup.h', 'stats.h', 'oom.h', 'systemd.h'),
    'pkg/engine': ('engine.h',),
    'pkg/runc': ('runc.h',),
}

# Libraries, by the beginning of the header's name: who may include them.
LIBRARIES = {
    'event2/': ('pkg/loop/',),
    'event.h': (),
    # The command line writes JSON for people and makes config.json; it is not in a shim's process.
    'json-c/': ('pkg/oci/', 'pkg/engine/features.c', 'cmd/belay/metrics_json.c', 'cmd/belay/oci_record.c',
                'cmd/belay/out.c', 'cmd/belay/resources.c', 'cmd/belay/spec.c'),
    'protobuf-c/': ('pkg/ttrpc/', 'shim/', 'cmd/'),
    'seccomp.h': ('pkg/engine/',),
    'sys/capability.h': ('pkg/engine/',),
    'systemd/': ('cmd/belay-systemd/',),
    'pthread.h': (),
    'threads.h': (),
    'syslog.h': (),
}

# What the service knows nothing of: kernel detail belongs in pkg/.
NOT_IN_SHIM = ('sys/mount.h', 'linux/mount.h', 'sched.h', 'linux/sched.h', 'sys/prctl.h',
               'linux/prctl.h')

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^">]+)[">]', re.M)


def layer_of(path):
    parts = path.split('/')
    return '/'.join(parts[:2]) if parts[0] == 'pkg' else parts[0]


def is_generated(header):
    return header.endswith('.pb-c.h')


def is_configured(root, path, header):
    """A header that the build makes from a template in the same part of the tree."""
    top = path.split('/')[0]
    return any(os.path.basename(f) == header + '.in' for f in source.files(root, (top,), ('.in',)))


def check_own(path, header):
    """An include of this tree; None if it is fine."""
    mine, theirs = layer_of(path), 'proto' if is_generated(header) else layer_of(header)
    if mine == theirs or (path, header) in EXTRA:
        return None
    if mine not in EDGES:
        return f'{mine} is not in the table of layers'
    if theirs not in EDGES[mine]:
        return f'{mine} may not include {theirs} ({header})'
    if theirs in PUBLIC and os.path.basename(header) not in PUBLIC[theirs]:
        return f'{header} is internal to {theirs}'
    return None


def check_system(path, header):
    if path.startswith('shim/') and header in NOT_IN_SHIM:
        return f'<{header}> belongs below pkg/'
    for prefix, users in LIBRARIES.items():
        if header.startswith(prefix) and not path.startswith(users or ('\0',)):
            return f'only {" and ".join(users) or "nobody"} may include <{header}>'
    return None


def check_file(root, path, used):
    # Comments go, the quotes of an include stay.
    text = source.code_only(source.read(root, path), keep_strings=True)
    for match in INCLUDE.finditer(text):
        header = match.group(2)
        where = f'{path}:{source.line_of(text, match.start(2))}: '
        if is_generated(header):
            problem = check_own(path, header)
        elif is_configured(root, path, header):
            problem = None
        elif match.group(1) == '<':
            problem = check_system(path, header)
        elif os.path.exists(os.path.join(root, header)):
            problem = check_own(path, header)
            used.add((path, header))
        else:
            problem = f'"{header}" is not a path from the top of the tree'
        if problem:
            yield where + problem


def check(root, with_tables=True):
    used = set()
    findings = []
    for path in source.files(root, source.PROGRAM):
        findings += check_file(root, path, used)
    if with_tables:
        findings += [f'test/lint/layers.py: {path} does not include {header}; take it from EXTRA'
                     for path, header in EXTRA if (path, header) not in used]
    return findings


def self_test():
    good = {
        'pkg/base/fd.h': '',
        'pkg/loop/loop.h': '#include <event2/event.h>\n',
        'pkg/loop/queue.h': '#include "pkg/loop/loop.h"\n',
        'pkg/oci/spec.h': '#include "pkg/base/fd.h"\n#include <json-c/json.h>\n',
        'pkg/engine/engine.h': '#include "pkg/oci/spec.h"\n#include <sched.h>\n#include <seccomp.h>\n',
        'pkg/engine/plan.h': '',
        'shim/server.h': '#include "pkg/engine/engine.h"\n#include "a/task.pb-c.h"\n',
        'cmd/x/version.h.in': '',
        'cmd/x/main.c': '#include "shim/server.h"\n#include "version.h"\n/* #include "pkg/oci/spec.h" */\n',
    }
    bad = {
        'pkg/base/up.c': ('#include "pkg/loop/loop.h"\n', 'pkg/base may not include pkg/loop'),
        'pkg/oci/side.c': ('\n#include "pkg/engine/engine.h"\n', 'pkg/oci may not include pkg/engine'),
        'pkg/ttrpc/p.c': ('#include <x/task.pb-c.h>\n', 'pkg/ttrpc may not include proto'),
        'pkg/io/event.c': ('# include <event2/event.h>\n', 'only pkg/loop/'),
        'pkg/engine/json.c': ('#include <json-c/json.h>\n', 'only pkg/oci/'),
        'pkg/engine/inside.c': ('#include "pkg/loop/queue.h"\n', 'internal to pkg/loop'),
        'pkg/new/x.c': ('#include "pkg/base/fd.h"\n', 'not in the table'),
        'shim/mount.c': ('#include <sys/mount.h>\n', 'belongs below pkg/'),
        'shim/plan.c': ('#include "pkg/engine/plan.h"\n', 'internal to pkg/engine'),
        'shim/thread.c': ('#include <pthread.h>\n', 'only nobody'),
        'shim/relative.c': ('#include "server.h"\n', 'not a path from the top'),
        'cmd/x/spec.c': ('#include "pkg/oci/spec.h"\n', 'cmd may not include pkg/oci'),
    }
    failures = source.self_test(lambda root: check(root, with_tables=False), bad, good)
    directory = source.write_tree(good)
    if not any('take it from EXTRA' in f for f in check(directory.name)):
        failures.append('an unused entry of EXTRA is not found')
    return failures


if __name__ == '__main__':
    source.main(check, self_test)
