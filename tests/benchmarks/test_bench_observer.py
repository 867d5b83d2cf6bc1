"""What an attached observer costs the server, as a ratio within one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import pytest

from tests.benchmarks.bench_kit import EchoLoad, FanOutLoad, bench_server, cpu_seconds, pin

pytestmark = pytest.mark.bench

ROUNDS = 16
SECONDS = 1.5


class Load(Protocol):
    def run(self, seconds: float) -> int: ...
    def close(self) -> None: ...


@contextmanager
def observer(url: str, *options: str) -> Iterator[None]:
    command = [sys.executable, "-m", "liverpc_devtools.cli", "tail", url, *options]
    with tempfile.TemporaryFile() as printed:
        tail = subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL)
        pin(tail.pid, 1)
        try:
            while os.fstat(printed.fileno()).st_size == 0:  # the first line says that it is attached
                assert tail.poll() is None
                time.sleep(0.05)
            yield
        finally:
            tail.terminate()
            tail.wait()


@pytest.mark.parametrize(
    ("make", "options"),
    [
        pytest.param(EchoLoad, (), id="echo"),
        pytest.param(FanOutLoad, (), id="fan-out"),
        # As the TUI does for the topic it has open: it is captured with a budget of its own.
        pytest.param(FanOutLoad, ("--topic", "load:bench"), id="fan-out, topic open"),
    ],
)
def test_throughput_with_one_attached_observer(make: Callable[[int], Load], options: tuple[str, ...]) -> None:
    pin(os.getpid(), 1)
    with bench_server() as (pid, port, url):
        load = make(port)
        load.run(1.0)
        rates: dict[bool, list[float]] = {False: [], True: []}
        costs: dict[bool, list[float]] = {False: [], True: []}

        def measure(attached: bool) -> None:
            before = cpu_seconds(pid)
            done = load.run(SECONDS)
            rates[attached].append(done / SECONDS)
            costs[attached].append((cpu_seconds(pid) - before) / done * 1e6)

        for number in range(ROUNDS):  # in turn, so that a drift of the machine falls on both
            if number % 2:
                measure(False)
            with observer(url, *options):
                load.run(0.2)
                measure(True)
            if not number % 2:
                measure(False)
        load.close()
    ratio = statistics.median(with_ / without for with_, without in zip(rates[True], rates[False], strict=True))
    cpu = statistics.median(without / with_ for with_, without in zip(costs[True], costs[False], strict=True))
    for name, attached in (("without", False), ("with", True)):
        rate, cost = statistics.median(rates[attached]), statistics.median(costs[attached])
        print(
            f"\n{make.__name__} {' '.join(options)} {name} an observer: {rate:,.0f}/s, {cost:.2f} us CPU each", end=""
        )
    print(f"\n{make.__name__} {' '.join(options)}: throughput ratio {ratio:.3f}, CPU ratio {cpu:.3f}")
