# SPDX-License-Identifier: Apache-2.0
"""A client that we did not write a line of the protocol for: Go, with Debian's ttrpc and containerd packages."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).parent / "go"
GOPATH = "/usr/share/gocode"


@pytest.fixture(scope="module")
def program(request):
    if not shutil.which("go") or not os.path.isdir(f"{GOPATH}/src/github.com/containerd/containerd/runtime/v2/task"):
        pytest.skip("needs golang-go, golang-github-containerd-ttrpc-dev, golang-github-containerd-containerd-dev")
    base = request.config.base / "go"
    (base / "src").mkdir(parents=True)
    shutil.copytree(SOURCE, base / "src/e2e")
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": f"{base}:{GOPATH}", "GOCACHE": str(base / "cache"),
           "GOFLAGS": "-p=2", "CGO_ENABLED": "0"}
    done = subprocess.run(["go", "build", "-o", base / "e2e", "e2e"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return base / "e2e"


def test_a_go_client_drives_a_container(lab, program):
    c = lab.container("sleep", "1000").launch()
    done = subprocess.run([program, c.shim.address, c.id, str(c.bundle.path)], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    c.created = c.deleted = True
    result = json.loads(done.stdout)
    assert len(set(result["Pids"])) == 1 and result["Pids"][0] > 0
    assert result["Status"] == "RUNNING" and result["NotExited"]
    assert result["Exec"]["Status"] == 5 and result["Execs"] == list(range(20))
    assert result["Exit"]["Status"] == 137 and not result["Exit"]["Exited"].startswith(("0001", "1970"))
    for name in ("StateBeforeCreateIsNotFound", "KillAfterExitIsNotFound", "WaitEndsWithItsContext", "AllAgree"):
        assert result[name], (name, result)
