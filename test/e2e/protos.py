# SPDX-License-Identifier: Apache-2.0
"""Python classes for our .proto files, made by protoc into a temporary folder when this is imported.

Nothing generated is kept in the tree. A test writes `from protos import task, events`.
"""
import atexit
import importlib
import importlib.util
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
PROTO = HERE.parent.parent / "proto"


def _generate():
    out = tempfile.mkdtemp(prefix="belay-e2e-protos-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    files = [str(p.relative_to(PROTO)) for p in sorted(PROTO.rglob("*.proto"))]
    subprocess.run(["protoc", f"-I{PROTO}", f"-I{HERE}", f"--python_out={out}", *files, "ttrpc.proto"],
                   check=True)
    sys.path.insert(0, out)
    return pathlib.Path(out)


OUT = _generate()


def _load_file(path):
    """A module of package io, which Python has one of its own of."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), OUT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


belay = importlib.import_module("belay.v1.belay_pb2")
envelope = importlib.import_module("ttrpc_pb2")
task = importlib.import_module("containerd.task.v2.task_pb2")
task_v3 = importlib.import_module("containerd.task.v3.task_pb2")
events = importlib.import_module("containerd.events.task_pb2")
forward = importlib.import_module("containerd.services.events.ttrpc.v1.events_pb2")
mount = importlib.import_module("containerd.types.mount_pb2")
introspection = importlib.import_module("containerd.types.introspection_pb2")
status = importlib.import_module("containerd.v1.types.task_pb2")
runc = importlib.import_module("containerd.runc.v1.options_pb2")
runtimeoptions = importlib.import_module("runtimeoptions.v1.options_pb2")
metrics_v1 = _load_file("io/containerd/cgroups/v1/metrics_pb2.py")
metrics_v2 = _load_file("io/containerd/cgroups/v2/metrics_pb2.py")
bootstrap = importlib.import_module("containerd.runtime.bootstrap.v1.bootstrap_pb2")
any_pb2 = importlib.import_module("google.protobuf.any_pb2")

BELAY = belay.DESCRIPTOR.services_by_name["Belay"]
TASK_V2 = task.DESCRIPTOR.services_by_name["Task"]
TASK_V3 = task_v3.DESCRIPTOR.services_by_name["Task"]


def message_class(descriptor):
    """The Python class of a message's descriptor."""
    try:
        from google.protobuf.message_factory import GetMessageClass
        return GetMessageClass(descriptor)
    except ImportError:  # python3-protobuf before 4.22
        from google.protobuf.message_factory import MessageFactory
        return MessageFactory().GetPrototype(descriptor)


def wrap(message, type_url=None):
    """An Any as containerd writes it: without the type.googleapis.com/ prefix."""
    return any_pb2.Any(type_url=type_url or message.DESCRIPTOR.full_name,
                       value=message if isinstance(message, bytes) else message.SerializeToString())
