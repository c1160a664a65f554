# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the end-to-end tests, with a shim that is built to be broken, and a budget of time.

A test goes through its cases in an order that the seed makes, until it is through or its share of the time is over;
so each run looks at others. `--seed` and `--case` repeat what has failed.
"""
import importlib.util
import os
import pathlib
import random
import sys
import time

import pytest

HERE = pathlib.Path(__file__).parent
E2E = HERE.parent / "e2e"
sys.path[:0] = [str(HERE), str(E2E)]

_spec = importlib.util.spec_from_file_location("e2e_conftest", E2E / "conftest.py")
e2e = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(e2e)

import harness  # noqa: E402
import host  # noqa: E402
from life import Life  # noqa: E402
from plan import VARIABLE, Plan  # noqa: E402

pytest_unconfigure = e2e.pytest_unconfigure


def pytest_addoption(parser):
    e2e.pytest_addoption(parser)
    parser.addoption("--minutes", type=float, default=0.6, help="time for all tests together (default: 0.6)")
    parser.addoption("--seed", type=int, default=None, help="of an earlier run, to repeat it")
    parser.addoption("--case", default=None, help="this one alone, as a failure has named it")


def pytest_configure(config):
    e2e.pytest_configure(config)
    config.addinivalue_line("markers", "share(n): of the time for all tests, n times what others get")
    config.faults = config.shim.parent / "libfaults.so"
    if not config.faults.exists():
        pytest.exit(f"no {config.faults}: these tests need what `./dev chaos` builds", 1)
    if VARIABLE.encode() not in config.shim.read_bytes():
        pytest.exit(f"{config.shim} is built without the option chaos", 1)
    config.seed = config.getoption("--seed")
    if config.seed is None:
        config.seed = int.from_bytes(os.urandom(3), "little")


def pytest_report_header(config):
    return f"chaos: --seed {config.seed} --minutes {config.getoption('--minutes')}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    weights = [getattr(i.get_closest_marker("share"), "args", [1])[0] for i in items]
    for item, weight in zip(items, weights):
        item.seconds = config.getoption("--minutes") * 60 * weight / sum(weights)


class Chaos:
    """What a test breaks things with."""

    def __init__(self, request):
        self.request = request
        self.config = request.config
        self.random = random.Random(f"{self.config.seed} {request.node.name}")
        self.until = time.monotonic() + request.node.seconds
        self.n_cases = self.n_fired = 0
        self.problems = []
        self.files = None

    def cases(self, all_cases):
        """In the order of the seed, as many as there is time for; one at least."""
        all_cases = list(all_cases)
        wanted = self.config.getoption("--case")
        if wanted:
            all_cases = [c for c in all_cases if str(c) == wanted]
        self.random.shuffle(all_cases)
        self.n_all = len(all_cases)
        for case in all_cases:
            if self.n_cases and time.monotonic() > self.until:
                return
            self.n_cases += 1
            yield case

    def times(self):
        """Numbers of cases, for as long as there is time."""
        return self.cases(range(100000))

    def life(self, case, run, env=None, may_die=False, preload=False):
        """A life in a lab of its own; run(life, plan) leads it. A failure is noted, and the next case comes."""
        config = self.config
        lab = harness.Lab(config.shim, config.base, config.template, False)
        plan = Plan(lab.dir / "plan")
        env = {VARIABLE: plan.path, **({"LD_PRELOAD": str(config.faults)} if preload else {}), **(env or {})}
        life = Life(lab, env, may_die)
        try:
            run(life, plan)
            plan.disarm()
            self.n_fired += plan.points.n_fired + plan.faults.n_fired
            life.check_nothing_is_left(self.files or set(os.listdir(life.c.bundle.path)))
            self.files = self.files or set(os.listdir(life.c.bundle.path))
            lab.close()
        except Exception as error:  # whatever it is, the next case comes
            what = f"case {case}: {type(error).__name__}: {error}"
            if plan.points.n_fired or plan.faults.n_fired:
                what += f"\n  it was {plan.points.fired or plan.faults.fired}"
            self.problems.append(f"{what}\n  errors: {life.errors}\n  {(life.log + lab.logs()).strip()[-1500:]}")
        finally:
            lab.clean()
            plan.close()
        return life

    def finish(self):
        print(f"{self.n_cases} of {getattr(self, 'n_all', 0)} cases, {self.n_fired} times something broke")
        if self.problems:
            pytest.fail(f"{len(self.problems)} of {self.n_cases} cases (--seed {self.config.seed}):\n"
                        + "\n".join(self.problems[:20]), pytrace=False)


@pytest.fixture
def chaos(request):
    the_chaos = Chaos(request)
    # The files that an ordinary life leaves are no leak.
    the_chaos.life("ordinary", lambda life, plan: (life.launch(), life.lead(), life.end()), preload=True)
    assert not the_chaos.problems, the_chaos.problems
    yield the_chaos
