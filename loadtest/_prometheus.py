"""The figures of a run as a page that Prometheus reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gevent.pywsgi import WSGIHandler, WSGIServer

from liverpc.contrib.prometheus import PrometheusSink
from liverpc.errors import ConfigError
from loadtest._figures import Figures
from loadtest._outlets import Failures, Totals
from loadtest._result import Result, Second

__all__ = ["PrometheusPage"]

log = logging.getLogger("loadtest")

_SCRAPES = 8  # at once; further ones wait
_SCRAPE_SECONDS = 5.0  # until a scraper that neither asks nor reads is cut off


class PrometheusPage:
    """An outlet that answers ``GET /metrics``; docs/load-tests.md lists the figures.

    A page is made when it is asked for. Scrapers that hang keep their own greenlets, a few at most, and nobody else.

    Args:
        scenario: Its name.
        address: Host and port to listen on. The address in use is logged, for port 0 means any that is free.

    Raises:
        ConfigError: It cannot listen there.
    """

    def __init__(self, scenario: str, address: tuple[str, int]) -> None:
        self._figures = Figures(scenario)
        self._sink = PrometheusSink()
        figures: Any = self._figures  # of Metrics, bind() uses families() only
        self._sink.bind(figures)
        self._server = WSGIServer(address, self._answer, spawn=_SCRAPES, log=None, handler_class=_Handler)
        try:
            self._server.start()
        except OSError as error:
            reason = str(error.strerror).partition(":")[0]  # gevent adds the address in its own way
            raise ConfigError(f"--prometheus cannot listen on {address[0]}:{address[1]}: {reason}") from None
        host, port = self._server.address[:2]
        log.info("figures for Prometheus: http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)

    def begin(self) -> None:
        self._figures.begin()

    def second(self, second: Second, totals: Totals, failures: Failures, /) -> None:
        self._figures.second(second, totals, failures)

    def finished(self, result: Result, /) -> None:
        self._figures.finished(result)

    def close(self) -> None:
        self._server.stop(timeout=0)

    def _answer(self, request: Mapping[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        if request["PATH_INFO"] == "/metrics":
            kind, status, body = self._sink.content_type, "200 OK", self._sink.render()
        else:
            kind, status, body = "text/plain", "404 Not Found", b"the figures are at /metrics\n"
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
        begin(status, headers)
        return [body]


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent ships no types that mypy follows
    # It is compared with the first argument of an error, and that of a timeout is a text.
    ignored_socket_errors = (*WSGIHandler.ignored_socket_errors, "timed out")  # pyright: ignore[reportAssignmentType]  # see above

    def handle(self) -> None:
        self.socket.settimeout(_SCRAPE_SECONDS)
        super().handle()
