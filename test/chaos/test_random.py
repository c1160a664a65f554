# SPDX-License-Identifier: Apache-2.0
"""Fatal signals, upgrades and SIGKILL at any time, from outside."""
import os
import signal
import threading

import pytest

import host
import protos
import ttrpc
from fault import fault, is_possible
from life import ShimGone

FATAL = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS]
MILLISECONDS = 60  # a life takes about so long


def strike(pid, delay, signo):
    def later():
        try:
            os.kill(pid, signo)
        except ProcessLookupError:
            pass

    timer = threading.Timer(delay, later)
    timer.start()
    return timer


def test_a_fatal_signal_at_any_time_loses_nothing(chaos):
    def run(life, plan, delay, signo):
        life.launch()
        timer = strike(life.c.shim.pid, delay, signo)
        life.lead()
        timer.join()
        life.end()

    for n in chaos.times():
        delay, signo = chaos.random.uniform(0, MILLISECONDS / 1000), chaos.random.choice(FATAL)
        chaos.life(f"{n}: {signo.name} after {delay:.4f} s", lambda life, plan: run(life, plan, delay, signo))
    chaos.finish()


@pytest.mark.share(2)
def test_a_fault_at_any_instruction_loses_nothing(chaos):
    if not is_possible():
        pytest.skip("the tests know the registers of x86-64 alone")

    def run(life, plan, delay, n_steps):
        life.launch()
        timer = threading.Timer(delay, fault, (life.c.shim.pid, n_steps))
        timer.start()
        life.lead()
        timer.join()
        life.end()

    for n in chaos.times():
        delay, n_steps = chaos.random.uniform(0, MILLISECONDS / 1000), int(10 ** chaos.random.uniform(0, 3.5))
        chaos.life(f"{n}: {n_steps} instructions after {delay:.4f} s", lambda life, plan: run(life, plan, delay, n_steps))
    chaos.finish()


def test_an_upgrade_at_any_time_loses_nothing(chaos):
    def run(life, plan, delays):
        life.launch()
        timers = [strike(life.c.shim.pid, delay, signal.SIGHUP) for delay in delays]
        life.lead()
        for timer in timers:
            timer.join()
        life.end()

    for n in chaos.times():
        delays = [chaos.random.uniform(0, MILLISECONDS / 1000) for _ in range(2)]
        chaos.life(f"{n}: SIGHUP after {delays} s", lambda life, plan: run(life, plan, delays))
    chaos.finish()


def test_sigkill_at_any_time_is_cleaned_up_after(chaos):
    def run(life, plan, delay):
        life.launch()
        timer = strike(life.c.shim.pid, delay, signal.SIGKILL)
        try:
            life.lead()
            life.call("Shutdown", life.c.task.Shutdown, now=False)
        except ShimGone:
            pass
        timer.join()
        life.after_death()

    for n in chaos.times():
        delay = chaos.random.uniform(0, MILLISECONDS / 1000)
        chaos.life(f"{n}: SIGKILL after {delay:.4f} s", lambda life, plan: run(life, plan, delay), may_die=True)
    chaos.finish()


def test_many_clients_of_a_shim_that_crashes_are_all_answered(chaos):
    """Calls that only look, from four connections, while the shim goes down four times."""
    def run(life, plan):
        c = life.c
        life.launch()
        life.create()
        assert life.start(c)
        clients = [ttrpc.Client(c.shim.address) for _ in range(4)]
        services = [c.shim.service(client=client) for client in clients]
        futures = []
        for round_ in range(4):
            os.kill(c.shim.pid, chaos.random.choice(FATAL))
            futures += [getattr(s.start, name)() for s in services for name in ("State", "Pids", "Connect") * 5]
            for future in futures[-20:]:
                try:
                    future.result(host.PATIENCE * host.SLOWNESS)
                except ttrpc.Error as error:
                    assert error.code == ttrpc.UNAVAILABLE, error
        for future in futures:
            assert future.done() or future.result(host.PATIENCE * host.SLOWNESS)
        for client in clients:
            client.close()
        assert c.task.Connect().shim_pid == c.shim.pid
        assert protos.status.Status.Name(c.state().status) == "RUNNING"
        life.finish(c, 7)
        life.delete(c)
        life.end()

    for n in chaos.times():
        chaos.life(n, run)
    chaos.finish()
