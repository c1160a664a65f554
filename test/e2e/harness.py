# SPDX-License-Identifier: Apache-2.0
"""A Lab: everything that one test may use, and the check that nothing of it is left."""
import collections
import contextlib
import functools
import itertools
import os
import pathlib
import shutil
import subprocess

import pytest

import host
import protos
from bundle import Bundle
from events import Containerd
from shim import Container

_numbers = itertools.count(1)

CGROUP = host.CGROUP


class Lab:
    def __init__(self, shim, base, template, stock, runc_binary=None):
        number = next(_numbers)
        self.shim = pathlib.Path(shim)
        self.stock = stock
        self.runc_binary = runc_binary
        self.template = template
        self.namespace = f"e2e-{number}"
        self.token = f"{os.getpid()}.{number}"
        self.token_variable = f"{host.TOKEN}={self.token}"
        self.dir = base / str(number)
        self.dir.mkdir(mode=0o711)
        self.grpc_address = str(self.dir / "containerd.sock")
        self.containerd = Containerd(self.dir / "containerd.sock.ttrpc")
        self.containers = []
        self.paths = itertools.count(1)
        self.stale_sockets = False
        self.log = ""

    @functools.cached_property
    def sanitized(self):
        """Whether the shim was built with ASan: then what it has freed stays in memory for long, and memory says nothing."""
        return b"__asan_init" in self.shim.read_bytes()

    @property
    def runtime(self):
        """What runs the containers: "belay" (the engine), "runc" or "crun"."""
        if self.runc_binary:
            return pathlib.Path(self.runc_binary).name
        return "runc" if self.stock else "belay"

    def new_path(self, name):
        """A path that nothing else has used."""
        return self.dir / f"{next(self.paths)}-{name}"

    def container(self, *args, ident=None):
        """A bundle that runs args; no shim yet. Change its .config, then .create() or .run()."""
        ident = ident or f"c{len(self.containers)}"
        bundle = Bundle(self.dir / "bundles" / ident, self.template, args, f"/{CGROUP}/{self.namespace}-{ident}",
                        self.token_variable)
        c = Container(self, ident, bundle)
        self.containers.append(c)
        return c

    def binary_options(self):
        """The `options` of a Create; the runtime's state is where the test ends with it."""
        if not self.runc_binary:
            return {}
        options = protos.runc.Options(binary_name=self.runc_binary, root=str(self.dir / "runtime"))
        return {"options": protos.wrap(options)}

    def run(self, *args, edit=None, **create):
        """A whole container life; its status and output."""
        c = self.container(*args)
        if edit:
            edit(c)
        c.pipes("stdout", "stderr").create(**create)
        c.start()
        result = c.finish_output(c.wait().status)
        c.delete()
        c.finish()
        return result

    def sh(self, script, edit=None, **create):
        return self.run("sh", "-c", script, edit=edit, **create)

    def processes(self):
        """All that this test has started and that still lives: by the token, or by the cgroup."""
        token = f"{self.token_variable}\0".encode()
        group = f"/{CGROUP}/{self.namespace}-".encode()
        return [int(p) for p in os.listdir("/proc") if p.isdigit() and (
            token in host.read(f"/proc/{p}/environ") or group in host.read(f"/proc/{p}/cgroup"))]

    def running(self, command):
        """True if one of them is this command line."""
        return any(host.cmdline(p) == command for p in self.processes())

    def cgroups(self):
        return [c for c in host.cgroups_below(CGROUP) if c.name.startswith(self.namespace + "-")]

    def leftovers(self):
        """In words, whatever should not be there any more."""
        found = [f"process {p}: {host.cmdline(p)}" for p in self.processes()]
        found += [f"mount {m}" for m in host.mounts_below(self.dir)]
        found += [f"cgroup {c}" for c in self.cgroups()]
        sockets = pathlib.Path("/run/containerd/s")
        if sockets.is_dir() and not self.stale_sockets:
            found += [f"socket {s}" for s in sockets.iterdir()]
        return found

    def close(self):
        """The orderly end of a test that has passed so far."""
        for c in self.containers:
            c.finish()
        try:  # a shim that has answered for the last time takes some milliseconds to end
            host.wait_for(lambda: not self.leftovers(), "nothing to be left behind")
        except AssertionError:
            raise AssertionError("left behind:\n" + "\n".join(self.leftovers())) from None
        check_for_sanitizers(self.logs())

    def logs(self):
        """All that the shims have logged."""
        self.log += "".join(f"--- log of {c.id}\n{c.shim.read_log()}" for c in self.containers)
        return self.log

    def clean(self):
        """Whatever happened: nothing may disturb the next test."""
        for path in self.cgroups():
            host.thaw(path)
        host.kill_all(self.processes)
        for c in self.containers:
            c.shim.close()
            for p in (c, *c.execs):
                p.close_pipes()
        self.containerd.stop()
        host.unmount_below(self.dir)
        for path in self.cgroups():
            host.wait_for(lambda p=path: _rmdir(p), f"rmdir {path}")
        shutil.rmtree("/run/containerd/s", ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def baseline(container):
    """The shim holds nothing after the block that it did not hold before: no descriptor, no pipe, no child. Not looked
    for in the stock shim, which keeps some (docs/conformance.md)."""
    if container.lab.stock:
        yield None
        return
    before = container.shim.holds()
    if not container.created:  # what is kept: the connection and the queue of events
        before += collections.Counter({"socket:[]": 1, f"{container.bundle.path}/events": 1})
    if not host.V2:  # v1's OOM watch (shim/oom.c) has one, but while the host has none left
        before["anon_inode:inotify"] = 1
    yield before
    container.shim.wait_for_no_more_than(before)


@contextlib.contextmanager
def lab_of(request, runc_binary):
    """For the `lab` fixture. runc_binary: what every Create names in options.binary_name; None: nothing."""
    config = request.config
    the_lab = Lab(config.shim, config.base, config.template, config.stock, runc_binary)
    try:
        yield the_lab
        if not getattr(request.node, "call_failed", True):
            the_lab.close()
    finally:
        print(the_lab.logs())
        the_lab.clean()


def runtime_binary(name, base):
    """What to write into options.binary_name for an installed runtime. crun takes no host whose cgroups are
    hybrid, so there it runs where the v2 tree is hidden."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    if name != "crun" or not (host.CGROUP_ROOT / "unified").is_dir():
        return path
    wrapper = base / "crun"
    if not wrapper.exists():
        wrapper.write_text("#!/bin/sh\nexec unshare -m --propagation slave sh -c "
                           f"'umount {host.CGROUP_ROOT}/unified; exec \"$0\" \"$@\"' {path} \"$@\"\n")
        wrapper.chmod(0o755)
    return str(wrapper)


def check_for_sanitizers(text):
    """A report of ASan, LSan or UBSan fails the test, also when the shim has done its work."""
    assert "Sanitizer:" not in text and "runtime error:" not in text, text


def _rmdir(path):
    try:
        path.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def find_shim(option):
    """The binary under test, and whether it is the stock shim."""
    if option:
        path = pathlib.Path(option).resolve()
    else:
        top = pathlib.Path(__file__).parent.parent.parent
        path = pathlib.Path(os.environ.get("BELAY_BIN_DIR", top / "out/bin")).resolve() / "containerd-shim-belay-v2"
    if not path.exists():
        raise FileNotFoundError(f"no shim at {path}: build it (./dev build), or name one with --shim")
    version = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=20 * host.SLOWNESS)
    return path, "Go version" in version.stdout and "belay" not in version.stdout

