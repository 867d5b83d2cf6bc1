"""What is known of a run when it is over: the one thing that reports, comparisons and plots are made of."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["SHARES", "Box", "Event", "Health", "Mark", "Result", "Row", "Second", "Series", "ServerSecond"]

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}  #: percentiles that reports show

Mark = Literal["", "ok", "high", "FAIL", "INVALID"]


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the table. ``mark`` is empty for what is only told."""

    key: str  #: names the figure in profiles and comparisons, such as ``p99_ms``
    metric: str  #: the same for people
    value: str
    number: float | None = None  #: the value, where it is a number
    limit: str = ""
    mark: Mark = ""
    kind: Literal["told", "must", "limit", "health"] = "told"  #: a law, a goal of the profile, or the generator's own
    better: Literal["", "less", "more"] = ""  #: which way is better, for comparisons


class Series(msgspec.Struct, frozen=True):
    """The latencies of one kind of operation. Milliseconds, within 1 %."""

    count: int
    mean: float
    min: float
    max: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    buckets: list[tuple[int, int]] = []  #: of ``contrib.locust.Histogram``: nanoseconds and samples, ascending
    failures: dict[str, int] = {}  #: by code


class Health(msgspec.Struct, frozen=True):
    """The load generator itself, in one second; of several processes the worst."""

    cpu: float  #: share of one core, 0..1
    schedule_lag_ms: float  #: how late operations were started, p99
    loop_lag_ms: float  #: how late its own timers were, p99


class ServerSecond(msgspec.Struct, frozen=True):
    """The server in one second. What is not known is None."""

    lag_ms: float | None = None  #: how late its event loop was, at worst
    handler_ms: float | None = None  #: p99 of the time in functions, of the calls that ended in this second
    outbox_bytes: int | None = None  #: not yet taken by sockets, of all connections
    connections: int | None = None
    rss_bytes: int | None = None
    cpu: float | None = None  #: share of one core
    fds: int | None = None


class Second(msgspec.Struct, frozen=True):
    """One second of a run. Everything measured lies on this one time axis."""

    at: float  #: seconds since the first operation was due; negative before
    users: int
    wanted: float  #: operations per second that are due now; 0.0 when the scenario has no rate
    done: dict[str, int] = {}  #: samples, by series
    p50: dict[str, float] = {}  #: milliseconds, of this second, by series
    p99: dict[str, float] = {}
    failed: int = 0
    generator: Health | None = None
    server: ServerSecond | None = None


class Event(msgspec.Struct, frozen=True):
    """Something that was done at a moment, such as ``server killed``."""

    at: float  #: as :attr:`Second.at`
    text: str


class Box(msgspec.Struct, frozen=True):
    """Where it was measured. Runs are comparable when :attr:`fingerprint` is the same."""

    fingerprint: str  #: of CPU model, number of cores, kernel, Python and its build
    cpu: str
    cores: int
    kernel: str
    python: str  #: with build: ``3.11.7 CPython``, ``free-threaded`` where it is
    versions: dict[str, str] = {}  #: liverpc, locust, gevent, msgspec, websockets
    limits: dict[str, str] = {}  #: open files, port range, somaxconn…
    commit: str = ""  #: of the checkout, with ``+`` when it was changed; empty: none


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    schema: int = 2
    scenario: str
    profile: str = ""  #: its name; empty: none
    options: dict[str, Any]  #: everything that was asked for; no secrets
    started: str  #: UTC, ISO 8601
    warmup: float  #: seconds, not in the latencies
    measured: float  #: seconds
    users: int
    processes: int  #: that made load
    exit_code: int
    verdict: str
    error: str = ""
    rows: list[Row]
    headline: str = ""  #: the series that ``p50_ms`` and so on are of
    latencies: dict[str, Series]  #: by kind and name, such as ``RPC load/echo``
    floor: dict[str, Series] = {}  #: the same against a server that does nothing, if there was a calibration
    seconds: list[Second] = []
    events: list[Event] = []
    details: dict[str, Any] = {}  #: what the scenario adds, such as examples of lost messages
    box: Box | None = None
