#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Are our .proto files wire-compatible with containerd's?

Compares every message, field, enum and method with the files of Debian's
golang-github-containerd-containerd-dev (1.6.20), in both directions, and what that version does not
have with the table below. Run as compare.py PROTO_DIR; 77 means that the package is not installed.
"""
import os
import subprocess
import sys
import tempfile

try:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field, FileDescriptorSet
except ImportError:
    print("skip: python3-protobuf is not installed")
    sys.exit(77)

GOCODE = "/usr/share/gocode/src"
CONTAINERD = "github.com/containerd/containerd/"
CGROUPS = "github.com/containerd/cgroups/"
GOGO = GOCODE + "/github.com/gogo/protobuf"

# theirs, include paths, ours
FILES = [
    ("runtime/v2/task/shim.proto", [GOGO], "containerd/task/v2/task.proto"),
    ("runtime/v2/runc/options/oci.proto", [GOGO], "containerd/runc/v1/options.proto"),
    ("runtime/linux/runctypes/runc.proto", [GOGO], "containerd/linux/runc/options.proto"),
    ("api/types/mount.proto", [GOGO], "containerd/types/mount.proto"),
    ("api/types/task/task.proto", [GOGO], "containerd/v1/types/task.proto"),
    ("api/events/task.proto", [GOGO], "containerd/events/task.proto"),
    ("api/services/ttrpc/events/v1/events.proto", [GOGO],
     "containerd/services/events/ttrpc/v1/events.proto"),
    ("pkg/runtimeoptions/v1/api.proto", [], "runtimeoptions/v1/options.proto"),
    (CGROUPS + "stats/v1/metrics.proto", [GOGO], "io/containerd/cgroups/v1/metrics.proto"),
    (CGROUPS + "v2/stats/metrics.proto", [GOGO], "io/containerd/cgroups/v2/metrics.proto"),
]

# Moved to another package after 1.6; a message's name is not on the wire.
MOVED = {"containerd.services.events.ttrpc.v1.Envelope": "containerd.types.Envelope"}

# In their files, but never sent to a shim or by one.
UNUSED = {"containerd.v1.types.Process", "containerd.linux.runc.RuncOptions",
          "containerd.linux.runc.CheckpointOptions", "containerd.linux.runc.ProcessDetails"}

# What 1.6.20 lacks: message or enum: name=number type, ... Types as protoc names them.
NEWER = """
containerd.runc.v1.Options: task_api_address=12 string, task_api_version=13 uint32
containerd.runc.v1.CheckpointOptions: parent_path=10 string
runtimeoptions.v1.Options: config_body=3 bytes
containerd.types.RuntimeVersion: version=1 string, revision=2 string
containerd.types.RuntimeInfo: name=1 string, version=2 containerd.types.RuntimeVersion, \
 options=3 google.protobuf.Any, features=4 google.protobuf.Any, annotations=5 map
containerd.runtime.bootstrap.v1.LogLevel: LOG_LEVEL_INFO=0, LOG_LEVEL_TRACE=-8, \
 LOG_LEVEL_DEBUG=-4, LOG_LEVEL_WARN=4, LOG_LEVEL_ERROR=8, LOG_LEVEL_FATAL=10, LOG_LEVEL_PANIC=12
containerd.runtime.bootstrap.v1.Capability: CAPABILITY_UNSPECIFIED=0
containerd.runtime.bootstrap.v1.Extension: value=1 google.protobuf.Any
containerd.runtime.bootstrap.v1.BootstrapParams: instance_id=1 string, namespace=2 string, \
 log_level=3 containerd.runtime.bootstrap.v1.LogLevel, containerd_version=4 string, \
 containerd_ttrpc_address=5 string, containerd_grpc_address=6 string, containerd_binary=7 string, \
 extensions=8 repeated containerd.runtime.bootstrap.v1.Extension, socket_dir=9 string
containerd.runtime.bootstrap.v1.BootstrapResult: version=1 int32, address=2 string, \
 protocol=3 string, capabilities=4 repeated containerd.runtime.bootstrap.v1.Capability, \
 metadata=5 map
io.containerd.cgroups.v2.Metrics: network=9 repeated io.containerd.cgroups.v2.NetworkStat
io.containerd.cgroups.v2.PSIData: avg10=1 double, avg60=2 double, avg300=3 double, total=4 uint64
io.containerd.cgroups.v2.PSIStats: some=1 io.containerd.cgroups.v2.PSIData, \
 full=2 io.containerd.cgroups.v2.PSIData
io.containerd.cgroups.v2.CPUStat: psi=7 io.containerd.cgroups.v2.PSIStats, nr_bursts=8 uint64, \
 burst_usec=9 uint64
io.containerd.cgroups.v2.MemoryStat: max_usage=36 uint64, swap_max_usage=37 uint64, \
 psi=38 io.containerd.cgroups.v2.PSIStats, workingset_refault_anon=39 uint64, \
 workingset_refault_file=40 uint64, workingset_activate_anon=41 uint64, \
 workingset_activate_file=42 uint64
io.containerd.cgroups.v2.MemoryEvents: oom_group_kill=6 uint64
io.containerd.cgroups.v2.IOStat: psi=2 io.containerd.cgroups.v2.PSIStats
io.containerd.cgroups.v2.HugeTlbStat: failcnt=4 uint64
io.containerd.cgroups.v2.NetworkStat: name=1 string, rx_bytes=2 uint64, rx_packets=3 uint64, \
 rx_errors=4 uint64, rx_dropped=5 uint64, tx_bytes=6 uint64, tx_packets=7 uint64, \
 tx_errors=8 uint64, tx_dropped=9 uint64
"""


def compile_files(includes, files):
    """protoc's view of files: (declared in files themselves, declared anywhere)."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(
            ["protoc", *["-I" + i for i in includes], "--include_imports",
             "--descriptor_set_out=" + out.name, *files],
            check=True, stderr=subprocess.PIPE, text=True)
        return FileDescriptorSet.FromString(out.read())


def field_type(field, maps):
    if field.type_name.lstrip(".") in maps:
        return "map"
    if field.type_name:
        kind = MOVED.get(field.type_name[1:], field.type_name[1:])
    else:
        kind = Field.Type.Name(field.type)[len("TYPE_"):].lower()
    return "repeated " + kind if field.label == Field.LABEL_REPEATED else kind


def declarations(file_set, only=None):
    """{name: {number: (name, type)}}; a method's number is its name."""
    found = {}
    maps = {f"{file.package}.{m.name}.{n.name}"
            for file in file_set.file for m in file.message_type for n in m.nested_type
            if n.options.map_entry}
    for file in file_set.file:
        if only and file.name != only:
            continue
        for message in file.message_type:
            found[f"{file.package}.{message.name}"] = {
                f.number: (f.name, field_type(f, maps)) for f in message.field}
            for nested in message.nested_type:
                assert nested.options.map_entry, nested.name
                kinds = [Field.Type.Name(f.type) for f in nested.field]
                assert kinds == ["TYPE_STRING", "TYPE_STRING"], nested.name
        for enum in file.enum_type:
            found[f"{file.package}.{enum.name}"] = {v.number: (v.name, "") for v in enum.value}
        for service in file.service:
            found[f"{file.package}.{service.name}"] = {
                m.name: (m.input_type, m.output_type, m.client_streaming, m.server_streaming)
                for m in service.method}
    return {MOVED.get(name, name): body for name, body in found.items()}


def newer():
    table = {}
    for line in NEWER.strip().splitlines():
        name, fields = line.split(": ")
        table[name] = {}
        for field in fields.split(","):
            field_name, _, rest = field.strip().partition("=")
            number, _, kind = rest.partition(" ")
            table[name][int(number)] = (field_name, kind.strip())
    return table


def main():
    root = sys.argv[1]
    if not os.path.isdir(os.path.join(GOCODE, CONTAINERD)):
        print("skip: golang-github-containerd-containerd-dev is not installed")
        return 77

    ours_files = [os.path.relpath(os.path.join(d, f), root)
                  for d, _, names in os.walk(root) for f in names if f.endswith(".proto")]
    ours = declarations(compile_files([root], ours_files))
    ours = {name: body for name, body in ours.items() if not name.startswith(("google.", "belay."))}

    wanted = newer()
    for theirs, includes, _ in FILES:
        path = theirs if theirs.startswith(CGROUPS) else CONTAINERD + theirs
        for name, body in declarations(
                compile_files([GOCODE, *includes], [path]), only=path).items():
            if name not in UNUSED:
                wanted[name] = {**wanted.get(name, {}), **body}

    v2, v3 = "containerd.task.v2.Task", "containerd.task.v3.Task"
    wanted[v3] = wanted[v2]

    errors = []
    for name in sorted(wanted.keys() | ours.keys()):
        if name not in wanted:
            errors.append(f"{name}: neither in containerd 1.6.20 nor in the table")
            continue
        for number in sorted(wanted[name].keys() | ours.get(name, {}).keys(), key=str):
            theirs, own = wanted[name].get(number), ours.get(name, {}).get(number)
            if theirs != own:
                errors.append(f"{name}, {number}: containerd has {theirs}, we have {own}")

    print("\n".join(errors) or f"{len(wanted)} declarations agree")
    assert len(wanted[v2]) == 17 and len(wanted) > 50, "the comparison has lost its subject"
    return 1 if errors else 0


sys.exit(main())
