# SPDX-License-Identifier: Apache-2.0
"""An unmodified Docker on a containerd of its own that finds belay under the stock shim's name.

Without network: no bridge, no iptables. ./dev compat installs Docker and runs this.
"""
import json
import os
import shutil
import subprocess
import time

import pytest

import host
from daemon import Daemon

pytestmark = pytest.mark.skipif(not shutil.which("dockerd"), reason="no dockerd: ./dev compat installs it")


class Docker:
    """dockerd and containerd below one folder; call it as one would call `docker`."""

    def __init__(self, config, binary):
        self.binary = binary
        self.dir = config.base / f"docker-{binary}"
        self.dir.mkdir()
        (self.dir / "bin").mkdir()
        shim = self.dir / "bin/containerd-shim-runc-v2"
        shutil.copy(config.shim, shim)
        self.containerd = Daemon("/usr/bin", self.dir / "containerd", shim, "docker")
        self.env = {**self.containerd.env, "DOCKER_HOST": f"unix://{self.dir}/docker.sock"}
        self.log = open(self.dir / "log", "ab")
        self.process = None

    def start(self):
        self.containerd.start()
        self.process = subprocess.Popen(
            ["dockerd", "--containerd", f"{self.containerd.dir}/containerd.sock", "--data-root", self.dir / "data",
             "--exec-root", self.dir / "exec", "-H", self.env["DOCKER_HOST"], "-p", self.dir / "pid", "--bridge", "none",
             "--iptables=false", "--ip-forward=false", "--storage-driver", "vfs", "--live-restore",
             "--cgroup-parent", f"/{host.CGROUP}",
             *([] if self.binary == "runc" else ["--add-runtime", f"e2e={self.binary}", "--default-runtime", "e2e"])],
            env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        host.wait_for(lambda: self.process.poll() is not None or self.raw("version").returncode == 0, "dockerd answers",
                      timeout=120)
        assert self.process.poll() is None, (self.dir / "log").read_text()[-3000:]

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(120)
        if self.containerd.process:
            self.containerd.stop()

    def raw(self, *args, stdin=""):
        return subprocess.run(["docker", *map(str, args)], env=self.env, capture_output=True, text=True, timeout=120,
                              input=stdin)

    def __call__(self, *args, status=0, stdin=""):
        done = self.raw(*args, stdin=stdin)
        assert done.returncode == status, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def run(self, *args, **more):
        return self("run", "--rm", "--network", "none", *args, **more)


# What Docker writes into options.binary_name: a runtime called belay is the engine, and without any setting it is
# runc, which then runs the container.
@pytest.fixture(scope="module", params=["belay", "runc"])
def docker(request):
    daemon = Docker(request.config, request.param)
    try:
        daemon.start()
        tar = subprocess.run(["tar", "-C", request.config.template, "-c", "."], capture_output=True, check=True).stdout
        subprocess.run(["docker", "import", "-", "e2e:1"], env=daemon.env, input=tar, capture_output=True, check=True)
        yield daemon
    finally:
        for name in daemon.raw("ps", "-aq").stdout.split():
            daemon.raw("rm", "-f", name)
        daemon.stop()
        host.unmount_below(daemon.dir)


def test_the_exit_status_is_the_container_s(docker):
    assert docker.run("e2e:1", "sh", "-c", "echo hello; exit 5", status=5) == "hello\n"


def test_stdin_is_read_to_its_end(docker):
    assert docker.run("-i", "e2e:1", "cat", stdin="input\n") == "input\n"


def test_a_terminal(docker):
    assert "/dev/pts/0" in docker.run("-t", "e2e:1", "readlink", "/proc/self/fd/0")


def test_limits_user_and_security_options(docker):
    out = docker.run("-m", "32m", "--pids-limit", "50", "--cpus", "0.5", "--user", "1000:1000", "--read-only",
                     "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "e2e:1", "cat", "/proc/self/status")
    status = dict(line.split(":\t", 1) for line in out.splitlines() if ":\t" in line)
    assert status["Uid"].split() == ["1000"] * 4 and status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_exec_kill_wait_and_start_again(docker):
    docker("run", "-d", "--name", "c1", "--network", "none", "e2e:1", "sleep", "1000")
    try:
        docker("exec", "c1", "sh", "-c", "exit 3", status=3)
        assert "sleep 1000" in docker("top", "c1")
        docker("pause", "c1")
        assert docker("inspect", "-f", "{{.State.Status}}", "c1") == "paused\n"
        docker("unpause", "c1")
        docker("update", "--pids-limit", "60", "c1")
        assert docker("exec", "c1", "echo", "goes on") == "goes on\n"
        docker("kill", "c1")
        assert docker("wait", "c1") == "137\n"
        docker("start", "c1")
        docker("stop", "-t", "0", "c1")
        assert docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "c1") == "exited 137\n"
    finally:
        docker("rm", "-f", "c1")


def test_stats(docker):
    docker("run", "-d", "--name", "c4", "--network", "none", "-m", "32m", "--pids-limit", "20", "e2e:1", "sh", "-c",
           "dd if=/dev/zero of=/dev/shm/x bs=1M count=8; sleep 1000 & while :; do :; done")
    try:
        host.wait_for(lambda: "sleep 1000" in docker("top", "c4"), "both processes")
        told = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "c4"))
        assert told["Name"] == "c4" and told["PIDs"] == "2"
        used, limit = told["MemUsage"].split(" / ")
        assert limit == "32MiB" and 8 < float(used.removesuffix("MiB")) < 32
        assert float(told["MemPerc"].removesuffix("%")) > 25 and float(told["CPUPerc"].removesuffix("%")) > 0
        assert "c4" in docker("stats", "--no-stream")  # of all, as a table
    finally:
        docker("rm", "-f", "c4")


def test_events(docker):
    begin = time.time()
    docker("run", "-d", "--name", "c5", "--network", "none", "-m", "32m", "e2e:1", "sleep", "1000")
    docker("exec", "c5", "true")
    docker("exec", "c5", "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=60", status=137)
    docker("pause", "c5")
    docker("unpause", "c5")
    docker("update", "--pids-limit", "60", "c5")
    docker("kill", "c5")
    docker("wait", "c5")
    docker("rm", "c5")
    # With the type: `container=c5` alone takes the network, too, whenever its random id begins with c5.
    told = docker("events", "--since", f"{begin:.9f}", "--until", f"{time.time():.9f}", "--filter", "type=container",
                  "--filter", "container=c5", "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}").splitlines()
    lines = [line.replace(" <no value>", "").strip() for line in told]
    assert [line for line in lines if not line.startswith(("exec_create", "exec_start"))] == [
        "create", "start", "exec_die 0", "oom", "exec_die 137", "pause", "unpause", "update", "kill", "die 137",
        "destroy"], lines


def test_a_program_that_is_not_there(docker):
    docker.run("e2e:1", "/nope", status=127)
    docker.run("e2e:1", "/etc", status=126)


def test_an_oom_kill_is_told(docker):
    docker("run", "--name", "c2", "--network", "none", "-m", "16m", "e2e:1", "dd", "if=/dev/zero", "of=/dev/shm/x",
           "bs=1M", "count=60", status=137)
    try:
        assert docker("inspect", "-f", "{{.State.OOMKilled}}", "c2") == "true\n"
    finally:
        docker("rm", "c2")


def test_a_container_lives_through_a_restart_of_dockerd(docker):
    docker("run", "-d", "--name", "c3", "--network", "none", "e2e:1", "sleep", "1000")
    try:
        pid = docker("inspect", "-f", "{{.State.Pid}}", "c3").strip()
        docker.stop()
        docker.start()
        assert docker("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "c3") == f"running {pid}\n"
        docker("kill", "c3")
        assert docker("wait", "c3") == "137\n"
    finally:
        docker("rm", "-f", "c3")


def test_nothing_is_left(docker):
    def left():
        return (docker.containerd.shim_pids(), host.cgroups_below(host.CGROUP),
                os.listdir(docker.containerd.dir / "state/io.containerd.runtime.v2.task/moby"))

    host.wait_for(lambda: not any(left()), lambda: f"nothing to be left: {left()}")


def test_what_docker_names_as_the_runtime_runs_the_container(docker):
    ident = docker("run", "-d", "--network", "none", "e2e:1", "sleep", "1000").strip()
    bundle = next(p for p in docker.dir.rglob(f"{ident}/config.json")).parent
    assert (bundle / "runtime").exists() == (docker.binary == "runc")
    assert (bundle / "engine.state").exists() == (docker.binary == "belay")
    docker("rm", "-f", ident)
