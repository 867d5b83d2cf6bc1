"""Where the figures of a run go while it lasts: each outlet is fed once a second by the leading process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from liverpc.contrib.locust.histogram import Histogram
from loadtest._result import Result, Second

__all__ = ["Failures", "Outlet", "Outlets", "Totals", "open_outlets", "parse_address"]

log = logging.getLogger("loadtest")

Totals = Mapping[tuple[str, str], Histogram]  #: latencies by kind and name
Failures = Mapping[tuple[str, str, str], int]  #: by kind, name and code


class Outlet(Protocol):
    """Takes the figures of one run after the other. It must not wait, for the run does."""

    def begin(self) -> None:
        """A run begins."""

    def second(self, second: Second, totals: Totals, failures: Failures, /) -> None:
        """One second is over. ``totals`` and ``failures`` are the run's own and go on growing."""

    def finished(self, result: Result, /) -> None:
        """The run is over; another one may follow."""

    def close(self) -> None:
        """The process ends."""


class Outlets:
    """Several outlets as one. What one of them raises is logged once, and breaks neither the run nor the others."""

    def __init__(self, outlets: Iterable[Outlet] = ()) -> None:
        self._outlets = list(outlets)
        self._complained: set[int] = set()

    def begin(self) -> None:
        self._each(lambda outlet: outlet.begin())

    def second(self, second: Second, totals: Totals, failures: Failures, /) -> None:
        self._each(lambda outlet: outlet.second(second, totals, failures))

    def finished(self, result: Result, /) -> None:
        self._each(lambda outlet: outlet.finished(result))

    def close(self) -> None:
        self._each(lambda outlet: outlet.close())

    def _each(self, action: Callable[[Outlet], None]) -> None:
        for number, outlet in enumerate(self._outlets):
            try:
                action(outlet)
            except Exception:
                if number not in self._complained:
                    self._complained.add(number)
                    name = type(outlet).__name__
                    log.exception("%s failed; the run goes on, and its further failures are not logged", name)


def open_outlets(environment: Any, scenario: str) -> Outlets:
    """Those that the command line asks for, and the page of the web interface if there is one.

    Raises:
        ConfigError, MissingExtraError: One cannot be opened; the text says why.
    """
    given = environment.parsed_options
    outlets: list[Outlet] = []
    # Imported where they are asked for: they bring half of the server and packages that need not be installed.
    if given.prometheus:
        from loadtest._prometheus import PrometheusPage

        outlets.append(PrometheusPage(scenario, parse_address(given.prometheus)))
    if given.otlp:
        from loadtest._otel import OpenTelemetry

        outlets.append(OpenTelemetry(scenario))
    if environment.web_ui:
        from loadtest._web import WebPage

        outlets.append(WebPage(environment.web_ui, scenario))
    return Outlets(outlets)


def parse_address(text: str) -> tuple[str, int]:
    """``[HOST:]PORT``; the host is 127.0.0.1 when there is none, one with colons is in brackets.

    Raises:
        ValueError: It is something else.
    """
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or int(port) > 65535 or (colon and not bare) or (":" in bare and bare == host):
        raise ValueError(f"{text!r} is not like 9646, 0.0.0.0:9646 or [::1]:9646")
    return bare or "127.0.0.1", int(port)
