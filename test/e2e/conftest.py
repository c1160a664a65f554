# SPDX-License-Identifier: Apache-2.0
"""Fixtures. `lab` is all that most tests need; `stock` is true when the stock shim is under test."""
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import bundle  # noqa: E402
import harness  # noqa: E402
import host  # noqa: E402
from oci import Oci  # noqa: E402

TEST_SECONDS = int(600 * host.SLOWNESS)


def pytest_addoption(parser):
    parser.addoption("--shim", help="shim binary to test (default: $BELAY_BIN_DIR or out/bin); "
                     "/usr/bin/containerd-shim-runc-v2 shows where belay differs from the stock shim")
    parser.addoption("--runc-binary", help="an OCI runtime for the shim to drive (binary_name in its options): with "
                     "the stock shim and out/bin/belay, belay's engine under a shim that is not ours")
    parser.addoption("--containerd-dir", default="/usr/bin",
                     help="folder with the containerd and ctr to test with")
    parser.addoption("--restarts", type=int, default=4, help="how often test_reattach.py restarts containerd")


def pytest_configure(config):
    if os.getuid() != 0:
        pytest.exit("the end-to-end tests need root", 1)
    try:
        config.shim, config.stock = harness.find_shim(config.getoption("--shim"))
    except FileNotFoundError as error:
        pytest.exit(str(error), 1)
    host.adopt_orphans()
    config.addinivalue_line("markers", "runs_with(RUNTIME..., why=TEXT): what of \"belay\", \"runc\" and \"crun\" can pass "
                            "it (Lab.runtime), and why the others cannot")
    config.base = pathlib.Path(tempfile.mkdtemp(prefix="belay-e2e-"))
    host.isolate(config.base)
    config.template = bundle.make_rootfs(config.base / "template")


def pytest_unconfigure(config):
    host.remove_cgroups(harness.CGROUP)
    if hasattr(config, "base"):
        host.unmount_below(config.base)
        host.unmount(config.base)
        shutil.rmtree(config.base, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.call_failed = report.failed


@pytest.fixture(autouse=True)
def time_limit():
    def too_long(signo, stack):
        raise AssertionError(f"the test took more than {TEST_SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def stock(request):
    """True when /usr/bin/containerd-shim-runc-v2 or the like is under test, False for belay."""
    return request.config.stock


@pytest.fixture
def lab(request):
    binary = request.config.getoption("--runc-binary")
    if binary and "/" not in binary:
        binary = harness.runtime_binary(binary, request.config.base)
    with harness.lab_of(request, binary) as the_lab:
        marker = request.node.get_closest_marker("runs_with")
        if marker and the_lab.runtime not in marker.args:
            pytest.skip(f"{the_lab.runtime}: {marker.kwargs['why']}")
        yield the_lab


@pytest.fixture
def oci(lab, stock):
    if stock:
        pytest.skip("belay is not under test")
    cli = Oci(lab)
    yield cli
    for ident in cli.ids:
        cli("delete", "--force", ident)
    host.wait_for(lambda: not lab.processes(), "everything to be gone")
