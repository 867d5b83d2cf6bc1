from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from liverpc.contrib.prometheus import PrometheusSink
from loadtest._figures import Figures
from loadtest._outlets import Failures, Outlets, Totals, parse_address
from loadtest._result import Result, Second
from tests.loadtest.load_kit import ROOT
from tests.loadtest.made_up import (
    SECONDS,
    made_up_failures,
    made_up_latencies,
    made_up_result,
    made_up_second,
    made_up_totals,
)
from tests.loadtest.watch_kit import FAKE, fetch, watched

Shown = dict[tuple[str, ...], float]


def shown(figures: Any) -> Shown:
    """The samples of a page for Prometheus, by name and the values of its labels."""
    sink = PrometheusSink()
    sink.bind(figures)
    return parsed(sink.render().decode())


def parsed(page: str) -> Shown:
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return {(sample.name.removeprefix("liverpc_load_"), *sample.labels.values()): sample.value for sample in samples}


def fed(figures: Figures, number: int) -> Figures:
    figures.second(made_up_second(number), made_up_totals(number), made_up_failures(number))
    return figures


def test_a_second_is_shown_with_its_totals_in_seconds_bytes_and_shares() -> None:
    page = shown(fed(Figures("fanout"), 20))
    assert page["run", "fanout"] == 1
    assert page["operations_total", "PUB deliver"] == 1000
    assert page["failures_total", "TIMEOUT", "RPC <img src=x onerror=alert(1)>"] == 2
    assert page["latency_seconds_count", "PUB deliver"] == page["latency_seconds_bucket", "+Inf", "PUB deliver"] == 1000
    assert page["latency_seconds_sum", "PUB deliver"] == pytest.approx(4.0, rel=0.01)
    counts = [count for name, count in page.items() if name[0].endswith("_bucket") and name[2] == "PUB deliver"]
    assert counts == sorted(counts)
    assert page["latency_seconds_bucket", "0.002", "PUB deliver"] == 0
    assert page["latency_seconds_bucket", "0.003", "PUB deliver"] == pytest.approx(250, abs=10)
    assert page["latency_seconds_bucket", "0.01", "PUB deliver"] == 1000
    assert page[("users",)] == 50
    second = made_up_second(20)
    assert second.server is not None
    assert second.generator is not None
    assert page[("server_lag_seconds",)] == pytest.approx((second.server.lag_ms or 0) / 1000)
    assert page[("server_resident_memory_bytes",)] == second.server.rss_bytes
    assert page[("generator_cpu_ratio",)] == second.generator.cpu
    assert not any(name[0] in ("lost_total", "figure", "exit_code") for name in page)


def test_what_is_not_known_of_the_server_is_left_out() -> None:
    assert not any(name[0].startswith("server_") for name in shown(fed(Figures("fanout"), 13)))


def test_the_result_is_shown_until_another_run_begins() -> None:
    figures = fed(Figures("fanout"), 59)
    figures.finished(made_up_result())
    page = shown(figures)
    assert (page[("exit_code",)], page[("lost_total",)], page["figure", "p99_ms"]) == (3, 7, 9.1)
    assert page["operations_total", "PUB deliver"] == 59 * 50
    figures.begin()
    assert shown(figures) == {("run", "fanout"): 1}


@pytest.mark.parametrize("series", [49, 50, 51, 80])
def test_series_and_codes_beyond_a_number_are_told_together(series: int) -> None:
    figures = Figures("rpc")
    totals = {("RPC", f"p{number:02}"): made_up_latencies(2, 1.0) for number in range(series)}
    failures = {("RPC", "p00", f"C{number:02}"): 3 for number in range(series)}
    figures.second(made_up_second(5), {}, {})
    figures.second(made_up_second(6), totals, failures)
    page = shown(figures)
    done = {name[1]: value for name, value in page.items() if name[0] == "operations_total"}
    codes = {name[1]: value for name, value in page.items() if name[0] == "failures_total"}
    assert len(done) == len(codes) == min(series, 51)
    assert done.get("other", 0) == page.get(("latency_seconds_count", "other"), 0) == max(0, series - 50) * 2
    assert codes.get("other", 0) == max(0, series - 50) * 3


class Told:
    """An outlet that remembers, and fails when asked to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.told: list[str] = []

    def begin(self) -> None:
        self._note("begin")

    def second(self, second: Second, _totals: Totals, _failures: Failures, /) -> None:
        self._note(f"second {second.at:g}")

    def finished(self, result: Result, /) -> None:
        self._note(result.verdict)

    def close(self) -> None:
        self._note("close")

    def _note(self, text: str) -> None:
        self.told.append(text)
        if self.fails:
            raise RuntimeError("no room")


def test_an_outlet_that_fails_is_logged_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Told(fails=True), Told()
    outlets = Outlets([bad, good])
    outlets.begin()
    for number in (3, 4):
        outlets.second(made_up_second(number), {}, {})
    outlets.finished(made_up_result())
    outlets.close()
    assert bad.told == good.told == ["begin", "second 0", "second 1", "FAIL", "close"]
    assert [record.message.partition(";")[0] for record in caplog.records] == ["Told failed"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9646", ("127.0.0.1", 9646)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("box.local:80", ("box.local", 80)),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "box", ":80", "box:", "box:65536", "::1:80", "[]:80", "1:-1", "http://box:80"])
def test_another_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not like 9646"):
        parse_address(text)


def refusals(*without: str, environ: dict[str, str]) -> dict[str, str]:
    """Why outlets cannot be opened, by what was tried."""
    command = [sys.executable, str(Path(__file__).with_name("outlets_probe.py")), *without]
    out = subprocess.run(command, env=environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True).stdout
    said: dict[str, str] = json.loads(out)
    return said


def test_what_cannot_be_opened_is_said_with_the_cure(environ: dict[str, str]) -> None:
    said = refusals(environ=environ)
    assert said["nothing"] == said["prometheus"] == ""
    assert said["taken"].endswith("Address already in use")
    assert "OTEL_METRICS_EXPORTER=pigeon" in said["unknown"]
    assert "unset" in said["grpc"]
    assert "OTEL_METRIC_EXPORT_INTERVAL=soon" in said["interval"]
    said = refusals("prometheus_client", "opentelemetry", environ=environ)
    assert said["nothing"] == ""
    assert "pip install 'liverpc[prometheus]'" in said["prometheus"]
    assert "pip install 'liverpc[otel]'" in said["grpc"]


def test_scrapers_that_hang_delay_neither_others_nor_the_end(environ: dict[str, str]) -> None:
    environ = environ | {"METRICS": "1", "OTEL_METRICS_EXPORTER": "console"}
    with (
        ExitStack() as hanging,
        watched("--headless", "-u", "1", "-t", "1s", environ=environ, file=FAKE) as run,
    ):
        port = int(run.until(r"Prometheus: http://127\.0\.0\.1:(\d+)/metrics"))
        for said in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"):
            peer = hanging.enter_context(socket.create_connection(("127.0.0.1", port)))
            peer.sendall(said)
        run.until(r"(All users spawned)")
        status, headers, page = fetch(port, "/metrics")
        assert (status, headers["Connection"]) == (200, "close")
        assert headers["Content-Type"].startswith("text/plain")
        assert parsed(page)["run", "fanout"] == 1
        assert fetch(port, "/")[0] == 404
        out, log = run.process.communicate(timeout=10)
    assert run.process.returncode == 0
    assert "Traceback" not in run.log + log
    exported = [json.loads(each) for each in out.replace("\n}\n", "\n}\0").split("\0") if each.startswith("{")]
    scope = exported[-1]["resource_metrics"][0]["scope_metrics"][0]
    metrics = {metric["name"].removeprefix("liverpc_load_"): metric for metric in scope["metrics"]}
    assert metrics["lost"]["data"]["data_points"][0]["value"] == 7
    assert metrics["lost"]["data"]["is_monotonic"]
    latency = metrics["latency_seconds"]
    point = next(each for each in latency["data"]["data_points"] if each["attributes"] == {"series": "PUB deliver"})
    assert latency["unit"] == "s"
    assert sum(point["bucket_counts"]) == point["count"] == SECONDS * 50
    assert len(point["bucket_counts"]) == len(point["explicit_bounds"]) + 1
