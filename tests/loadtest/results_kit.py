"""Results of runs that never were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from liverpc.contrib.locust.histogram import Histogram
from loadtest._report import series
from loadtest._result import Box, Health, Result, Row, Second, Series, ServerSecond

__all__ = ["BOX", "ECHO", "QUIET", "ServerLooks", "quiet_server", "result_of", "row", "seconds", "series_of"]

ECHO = "RPC load/echo"
QUIET = Health(cpu=0.2, schedule_lag_ms=0.4, loop_lag_ms=0.5)
BOX = Box(
    fingerprint="f1",
    cpu="Cpu 1",
    cores=2,
    kernel="Linux 6.1",
    python="3.11.7 CPython",
    versions={"liverpc": "1.0"},
    commit="abc1234",
)

ServerLooks = Callable[[int], ServerSecond | None]


def series_of(milliseconds: Sequence[float], failures: Mapping[str, int] | None = None) -> Series:
    histogram = Histogram()
    for each in milliseconds:
        histogram.add(each / 1000)
    return series(histogram, failures or {})


def row(key: str, number: float, /, **more: Any) -> Row:
    return msgspec.structs.replace(Row(key=key, metric=key, value=f"{number:g}", number=number), **more)


def quiet_server(at: int) -> ServerSecond:
    """Not quite the same each second."""
    return ServerSecond(
        lag_ms=0.8 + at % 3 * 0.1,
        handler_ms=0.5 + at % 2 * 0.1,
        outbox_bytes=1000 * (at % 4),
        connections=50,
        rss_bytes=60_000_000 + 10_000 * at,
        cpu=0.4,
        fds=70,
    )


def seconds(
    p99: Sequence[float | None],
    *,
    server: ServerLooks = quiet_server,
    generator: Callable[[int], Health | None] = lambda at: QUIET,
) -> list[Second]:
    """One for each p99 of :data:`ECHO`, at a rate that rises by 100 each second."""
    return [
        Second(
            at=float(at),
            users=50,
            wanted=1000.0 + 100 * at,
            done={ECHO: 1000 + 100 * at},
            p50={} if ms is None else {ECHO: ms / 2},
            p99={} if ms is None else {ECHO: ms},
            generator=generator(at),
            server=server(at),
        )
        for at, ms in enumerate(p99)
    ]


def result_of(**given: Any) -> Result:
    """A run that passed, but for what is given."""
    result = Result(
        scenario="rpc",
        options={"users": 50, "rate": 1000.0, "arrivals": "constant"},
        started="2026-03-01T12:00:00Z",
        warmup=0.0,
        measured=30.0,
        users=50,
        processes=1,
        exit_code=0,
        verdict="PASS",
        rows=[
            row("calls", 1000.0),
            row("failed", 0.0, limit="0", mark="ok", kind="must"),
            row("p99_ms", 2.0, value="2.00 ms", limit="<= 20", mark="ok", kind="limit", better="less"),
            row("rate", 1000.0, value="1000/s", better="more"),
        ],
        headline=ECHO,
        latencies={ECHO: series_of([1.0, 1.5, 2.0])},
        box=BOX,
    )
    return msgspec.structs.replace(result, **given)
