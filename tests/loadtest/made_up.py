"""The figures of a run that never was."""

from __future__ import annotations

import math

from liverpc.contrib.locust.histogram import Histogram
from loadtest._report import series
from loadtest._result import Event, Health, Result, Row, Second, ServerSecond

SECONDS = 60
HOSTILE = "RPC <img src=x onerror=alert(1)>"


def made_up_latencies(samples: int, milliseconds: float) -> Histogram:
    """Samples from half to one and a half of so many milliseconds, evenly spread."""
    histogram = Histogram()
    for number in range(samples):
        histogram.add(milliseconds * (0.5 + number / samples) / 1000)
    return histogram


def made_up_totals(seconds: int) -> dict[tuple[str, str], Histogram]:
    """So many seconds after the beginning."""
    return {
        ("PUB", "deliver"): made_up_latencies(seconds * 50, 4.0),
        ("RPC", "<img src=x onerror=alert(1)>"): made_up_latencies(seconds * 10, 8.0),
    }


def made_up_failures(seconds: int) -> dict[tuple[str, str, str], int]:
    """Likewise."""
    return {("RPC", "<img src=x onerror=alert(1)>", "TIMEOUT"): seconds // 10}


def made_up_second(number: int) -> Second:
    """One second of it; the server is not heard from in some of them."""
    swing = 1 + math.sin(number / 5)
    server = ServerSecond(0.5 + swing, 2.0 + swing, int(4096 * swing), 51, 60_000_000 + number * 10_000, 0.3, 40)
    return Second(
        at=number - 3.0,
        users=min(50, number * 10),
        wanted=50.0 if number > 2 else 0.0,
        done={"PUB deliver": 50 if number > 2 else 0, HOSTILE: 10},
        p50={"PUB deliver": 3.0 + swing, HOSTILE: 6.0},
        p99={"PUB deliver": 6.0 + 3 * swing, HOSTILE: 11.0},
        failed=int(number % 10 == 9),
        generator=Health(0.2 + swing / 20, 0.4 * swing, 0.6),
        server=None if number % 20 == 13 else server,
    )


def made_up_result() -> Result:
    """How it ended."""
    return Result(
        scenario="fanout",
        options={},
        started="2026-01-01T00:00:00Z",
        warmup=0.0,
        measured=SECONDS - 3.0,
        users=50,
        processes=1,
        exit_code=3,
        verdict="FAIL",
        rows=[
            Row(key="published", metric="publishes", value="2850", number=2850.0),
            Row(key="lost", metric="lost", value="7", number=7.0, limit="0", mark="FAIL", kind="must"),
            Row(
                key="p99_ms", metric="<b>p99</b>", value="9.1 ms", number=9.1, limit="< 50 ms", mark="ok", kind="limit"
            ),
        ],
        headline="PUB deliver",
        latencies={f"{kind} {name}": series(each, {}) for (kind, name), each in made_up_totals(SECONDS).items()},
        seconds=[made_up_second(number) for number in range(SECONDS)],
        events=[Event(20.0, "server <killed>"), Event(24.0, "server started")],
    )
