"""Locust without a server, whose outlets get made-up figures of a run and then its result, again and again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gevent
from locust import User, events, task

from loadtest._otel import OpenTelemetry
from loadtest._outlets import Outlets
from loadtest._prometheus import PrometheusPage
from loadtest._web import WebPage
from tests.loadtest.made_up import SECONDS, made_up_failures, made_up_result, made_up_second, made_up_totals

__all__ = ["Nobody"]


class Nobody(User):  # type: ignore[misc]  # Locust ships no types that mypy could follow
    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def rest(self) -> None:
        gevent.sleep(0.1)


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust has no types
def begin(environment: Any, **_: Any) -> None:
    made: list[Any] = []
    if environment.web_ui:
        made.append(WebPage(environment.web_ui, "fan<out>"))
        if environment.parsed_options.web_login:
            environment.web_ui.app.secret_key = "secret"
            environment.web_ui.login_manager.user_loader(lambda _: None)
    if "METRICS" in os.environ:
        made += [PrometheusPage("fanout", ("127.0.0.1", 0)), OpenTelemetry("fanout")]
    outlets = Outlets(made)
    environment.events.quitting.add_listener(lambda **_: outlets.close())
    environment.events.test_start.add_listener(lambda **_: gevent.spawn(feed, outlets))


def feed(outlets: Outlets) -> None:
    pace = float(os.environ.get("PACE", "0"))
    outlets.begin()
    for number in range(SECONDS):
        outlets.second(made_up_second(number), made_up_totals(number + 1), made_up_failures(number + 1))
        gevent.sleep(pace)
    outlets.finished(made_up_result())
