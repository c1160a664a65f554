# SPDX-License-Identifier: Apache-2.0
"""A containerd of our own, and ctr to talk to it."""
import collections
import contextlib
import datetime
import hashlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import tarfile
import threading

import pytest

import host

IMAGE = "docker.io/library/e2e:latest"

CONFIG = """version = 2
root = "{dir}/root"
state = "{dir}/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.nri.v1.nri"]
[grpc]
  address = "{dir}/containerd.sock"
[debug]
  level = "debug"
"""


def write_image(path, rootfs):
    """An OCI image of one layer in a tar, as `ctr images import` takes it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(rootfs, arcname=".")
    blobs = {}

    def blob(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    layer = blob(layer.getvalue(), "application/vnd.oci.image.layer.v1.tar")
    config = blob(json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode(),
        "application/vnd.oci.image.config.v1+json")
    manifest = blob(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer]}).encode(), "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "latest"}
    manifest["platform"] = {"architecture": "amd64", "os": "linux"}
    with tarfile.open(path, "w") as tar:
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
                 "index.json": json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode(),
                 **{f"blobs/sha256/{digest}": data for digest, data in blobs.items()}}
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Daemon:
    """name: what tells its shims from those of the others of this run. Those of a run beside this one are not its own
    either: who ends what it finds would end them."""

    def __init__(self, binaries, directory, shim, name, runc_binary=None):
        if runc_binary and "belay" in pathlib.Path(shim).name:
            pytest.skip("ctr names a runtime binary to io.containerd.runc.v2 alone")
        token = f"{os.getpid()}.{name}"
        self.runc_flags = ["--runc-binary", runc_binary] if runc_binary else []
        self.binaries = pathlib.Path(binaries)
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(mode=0o711)
        self.shim = pathlib.Path(shim)
        self.namespace = host.CGROUP  # ctr's default cgroup is /NAMESPACE/ID
        self.env = {**os.environ, "PATH": f"{self.dir}/bin:{self.shim.parent}:{self.binaries}:/usr/sbin:/usr/bin:/sbin:/bin",
                    host.TOKEN: token}
        self.token_variable = f"{host.TOKEN}={token}"
        self.process = None
        (self.dir / "config.toml").write_text(CONFIG.format(dir=self.dir))
        self.log = open(self.dir / "log", "ab")

    @property
    def runtime(self):
        """The name that containerd resolves through PATH: containerd-shim-X-v2 is io.containerd.X.v2."""
        return "io.containerd." + self.shim.name.removeprefix("containerd-shim-").replace("-", ".")

    def start(self):
        self.process = subprocess.Popen([self.binaries / "containerd", "-c", self.dir / "config.toml"], env=self.env,
                                        cwd=self.dir, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        host.wait_for(lambda: self.process.poll() is not None or
                      subprocess.run([*self.argv(), "version"], env=self.env, capture_output=True).returncode == 0,
                      "containerd answers", timeout=120)
        assert self.process.poll() is None, self.log_text()[-3000:]

    def stop(self, signo=signal.SIGTERM):
        self.process.send_signal(signo)
        self.process.wait(120)

    def restart(self, signo=signal.SIGTERM, while_down=lambda: None):
        self.stop(signo)
        while_down()
        self.start()

    def configure(self, text):
        """More of config.toml, for the next start."""
        with open(self.dir / "config.toml", "a") as config:
            config.write(text)

    def log_text(self):
        return (self.dir / "log").read_text(errors="replace")

    def returns(self):
        """Of each time that containerd came back, the lines of its log while it loads its tasks, and the next."""
        found, loading = [], False
        for line in self.log_text().splitlines():
            if 'msg="loading tasks in namespace"' in line:
                found.append([])
                loading = True
            if loading:
                found[-1].append(line)
                loading = 'msg="loading plugin' not in line
        return found

    def longest_return(self):
        """The most seconds that it took to load its tasks."""
        def at(line):
            return datetime.datetime.fromisoformat(re.match(r'time="(\S{26})', line)[1])

        return max((at(lines[-1]) - at(lines[0])).total_seconds() for lines in self.returns())

    def given_up(self):
        """The ids of the shims that containerd gave up as it came back, in its own words: those that had
        ended, and those that did not answer in time."""
        return {re.search(r" id=(\S+)", line)[1] for lines in self.returns() for line in lines
                if 'msg="cleaning up after shim disconnected"' in line}

    def argv(self):
        # Its own limit of 10 s for a connection is too little for fifty at once on a slow machine.
        return [str(self.binaries / "ctr"), "--connect-timeout", "60s", "-a", f"{self.dir}/containerd.sock", "-n",
                self.namespace]

    def ctr(self, *args, check=False, timeout=60, **more):
        done = subprocess.run([*self.argv(), *map(str, args)], env=self.env, capture_output=True, text=True,
                              timeout=timeout * host.SLOWNESS, stdin=subprocess.DEVNULL, **more)
        if check:
            assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done

    def popen(self, *args, **more):
        return subprocess.Popen([*self.argv(), *map(str, args)], env=self.env, **more)

    def import_image(self, tar):
        self.ctr("images", "import", tar, check=True)
        assert IMAGE in self.ctr("images", "ls", "-q", check=True).stdout.split()

    def run_argv(self, ident, *command, flags=(), runtime=None):
        flags = [*([] if runtime else self.runc_flags), *flags]  # ctr gives no options to a runtime by path
        return ["run", "--runtime", str(runtime or self.runtime), *flags, IMAGE, ident, *command]

    def run(self, ident, *command, flags=("--rm",), runtime=None, **more):
        return self.ctr(*self.run_argv(ident, *command, flags=flags, runtime=runtime), **more)

    def run_detached(self, ident, *command):
        self.run(ident, *command, flags=("-d",), check=True)

    def tasks(self):
        """{id: (pid, status)}"""
        lines = self.ctr("task", "ls", check=True).stdout.splitlines()[1:]
        return {line.split()[0]: (int(line.split()[1]), line.split()[2]) for line in lines}

    def bundle(self, ident):
        return self.dir / "state/io.containerd.runtime.v2.task" / self.namespace / ident

    def shim_pids(self):
        token = f"{self.token_variable}\0".encode()
        return host.eldest([int(p) for p in os.listdir("/proc") if p.isdigit() and token in host.read(f"/proc/{p}/environ")
                            and os.path.basename(host.cmdline(p).split(" ")[0]) == self.shim.name])

    def shims(self):
        """(id, pid) of each."""
        argvs = [(host.cmdline(pid).split(), pid) for pid in self.shim_pids()]
        return [(argv[argv.index("-id") + 1], pid) for argv, pid in argvs if "-id" in argv]

    def shim_of(self, ident):
        return next(pid for other, pid in self.shims() if other == ident)

    def remove_task(self, ident):
        """The exit status of a task that has ended; its removal."""
        done = self.ctr("task", "rm", ident)
        told = re.search(r"exit with non-zero exit code (\d+)", done.stderr)
        return int(told[1]) if told else done.returncode

    def remove(self, ident):
        self.ctr("task", "rm", "-f", ident)
        self.ctr("container", "rm", ident)

    def leftovers(self):
        """What there is of containers, tasks, shims, bundles, mounts, cgroups, sockets and FIFOs."""
        found = [f"task {t}" for t in self.tasks()]
        found += [f"container {c}" for c in self.ctr("container", "ls", "-q", check=True).stdout.split()]
        found += [f"shim {p}: {host.cmdline(p)}" for p in self.shim_pids()]
        bundles = self.dir / "state/io.containerd.runtime.v2.task" / self.namespace
        found += [f"bundle {b}: {os.listdir(b)}" for b in bundles.iterdir()] if bundles.is_dir() else []
        found += [f"mount {m}" for m in host.mounts_below(self.dir / "state")]
        found += [f"cgroup {c}" for c in host.cgroups_below(self.namespace)]
        sockets = pathlib.Path("/run/containerd/s")
        found += [f"socket {s}" for s in sockets.iterdir()] if sockets.is_dir() else []
        return found

    def clean(self):
        """Whatever happened, the next test begins with nothing."""
        for ident in {*self.tasks(), *self.ctr("container", "ls", "-q").stdout.split()}:
            self.remove(ident)
        for pid in self.shim_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in pathlib.Path("/run/containerd/s").glob("*"):
            path.unlink()


class Listener:
    """ctr events, for the life of one containerd: the exits that it tells, {(container, process): statuses}."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.process = daemon.popen("events", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL, text=True)
        self.exits = collections.defaultdict(list)
        self.hears = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.hears.set()
            if " /tasks/exit " in line:
                event = json.loads(line[line.index("{"):])
                self.exits[event["container_id"], event["id"]].append(event.get("exit_status", 0))

    def wait(self):
        """Until it hears. ctr says nothing when it listens; an event of ours tells."""
        for n in range(200):
            self.daemon.ctr("images", "label", IMAGE, f"n={n}", check=True)
            if self.hears.wait(0.1 * host.SLOWNESS):
                return self
        raise AssertionError("ctr events hears nothing")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()
        return self.exits
