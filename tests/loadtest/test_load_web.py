from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Blueprint, Flask

from loadtest._web import SECONDS_MAX, WebPage
from tests.loadtest.made_up import HOSTILE, made_up_result, made_up_second
from tests.loadtest.watch_kit import FAKE, data_when, fetch, free_port, watched


class Site:
    """A page on a web server that has nothing of Locust's but what the page uses."""

    def __init__(self) -> None:
        app = Flask(__name__)
        app.register_blueprint(Blueprint("locust", __name__))
        self._client = app.test_client()
        self.page = WebPage(SimpleNamespace(app=app, auth_required_if_enabled=lambda view: view), "fanout")

    def seconds(self, *numbers: int) -> None:
        for number in numbers:
            self.page.second(made_up_second(number), {}, {})

    def data(self, query: str = "") -> Any:
        return self._client.get(f"/liverpc/data.json{query}").get_json()

    def having(self, seconds: int) -> str:
        """The query of a page that has so many seconds of this run."""
        return f"?run={self.data()['run']}&from={seconds}"

    def numbers(self, query: str = "") -> list[int]:
        """Which seconds are told."""
        return [int(second["at"]) + 3 for second in self.data(query)["seconds"]]


@pytest.fixture
def site() -> Site:
    return Site()


def test_before_a_run_there_is_nothing_but_the_scenario(site: Site) -> None:
    assert site.data() == {"scenario": "fanout", "run": 0, "count": 0, "seconds": [], "kept": SECONDS_MAX}


def test_a_page_that_says_what_it_has_is_told_what_is_new(site: Site) -> None:
    site.page.begin()
    site.seconds(0, 1, 2)
    assert site.numbers() == [0, 1, 2]
    assert site.numbers(site.having(2)) == [2]
    assert site.numbers(site.having(3)) == site.numbers(site.having(99)) == []
    assert site.numbers("?run=0&from=2") == site.numbers("?run=x&from=y") == site.numbers(site.having(-1)) == [0, 1, 2]


def test_the_last_hour_is_kept(site: Site) -> None:
    site.page.begin()
    site.seconds(*range(SECONDS_MAX))
    assert site.numbers() == [*range(SECONDS_MAX)]
    site.seconds(SECONDS_MAX)
    assert site.numbers() == [*range(1, SECONDS_MAX + 1)]
    assert site.numbers(site.having(SECONDS_MAX)) == [SECONDS_MAX]
    assert site.data()["count"] == SECONDS_MAX + 1


def test_the_result_stays_until_another_run_begins(site: Site) -> None:
    site.page.begin()
    site.seconds(0, 1)
    site.page.finished(made_up_result())
    run = site.data()["run"]
    result = site.data(site.having(2))["result"]
    assert (result["verdict"], result["exit_code"]) == ("FAIL", 3)
    assert [row["key"] for row in result["rows"]] == ["published", "lost", "p99_ms"]
    assert result["latencies"]["PUB deliver"]["count"] == 3000
    assert result["latencies"]["PUB deliver"]["buckets"] == []
    assert site.numbers() == [0, 1]
    site.page.begin()
    fresh = site.data(site.having(2))
    assert (fresh["run"] > run, fresh["count"], fresh["seconds"], "result" in fresh) == (True, 0, [], False)
    site.seconds(5)
    assert site.numbers(f"?run={run}&from=2") == [5]


def test_the_page_needs_nothing_from_elsewhere_and_makes_no_markup_of_what_it_is_told() -> None:
    text = (Path(__file__).parents[2] / "loadtest" / "_web.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\bsrc=|@import|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_locust_links_to_the_page(environ: dict[str, str]) -> None:
    port = free_port()
    web = ("--web-host", "127.0.0.1", "--web-port", str(port), "--web-base-path", "/tests")
    with watched(*web, "--autostart", "-u", "1", environ=environ, file=FAKE):
        result = data_when(port, "result", path="/tests/liverpc/data.json")
        assert HOSTILE in result["seconds"][0]["done"]
        assert '<a href="liverpc"' in fetch(port, "/tests/")[2]
        assert "liverpc" not in fetch(port, "/tests/stats/requests")[2]
        status, headers, page = fetch(port, "/tests/liverpc")
        assert status == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert HOSTILE not in page
        fetch(port, "/tests/stop", "")
        assert fetch(port, "/tests/swarm", "user_count=1&spawn_rate=1")[0] == 200
        assert (
            data_when(port, "result", after=result["run"], path="/tests/liverpc/data.json")["count"] == result["count"]
        )


def test_the_page_is_behind_the_login(environ: dict[str, str]) -> None:
    port = free_port()
    with watched("--web-host", "127.0.0.1", "--web-port", str(port), "--web-login", environ=environ, file=FAKE):
        for path in ("/liverpc", "/liverpc/data.json", "/"):
            status, headers, body = fetch(port, path)
            assert (status, headers["Location"].partition("?")[0]) == (302, "/login")
            assert "liverpc load" not in body
            assert "scenario" not in body


def test_a_run_of_several_processes_is_watched(environ: dict[str, str]) -> None:
    web, master = free_port(), str(free_port())
    arguments = ["--scenario", "fanout", "--serve", "-u", "10", "-t", "3s", "--processes", "2"]
    arguments += ["--master-port", master, "--master-bind-port", master, "--prometheus", "0"]
    arguments += ["--web-host", "127.0.0.1", "--web-port", str(web), "--autostart"]
    with watched(*arguments, environ=environ) as run:
        port = int(run.until(r"Prometheus: http://127\.0\.0\.1:(\d+)/metrics"))
        data = data_when(web, "result")
        page = fetch(port, "/metrics")[2]
    last = data["seconds"][-1]
    assert last["users"] == 10
    assert last["generator"]["cpu"] > 0
    assert max(each["server"]["connections"] for each in data["seconds"] if each["server"]) >= 10
    assert (data["result"]["verdict"], data["result"]["error"]) == ("PASS", "")
    figures = {row["key"]: row.get("number") for row in data["result"]["rows"]}
    assert figures["lost"] == 0
    assert f'operations_total{{series="PUB deliver"}} {data["result"]["latencies"]["PUB deliver"]["count"]}.0' in page
    assert "liverpc_load_lost_total 0.0" in page
    assert "liverpc_load_exit_code 0.0" in page
