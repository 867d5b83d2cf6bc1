"""A page in Locust's web interface with what Locust's own charts do not know."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from loadtest._result import Result, Second

__all__ = ["SECONDS_MAX", "WebPage"]

SECONDS_MAX = 3600  #: of a run, that the page shows: the last ones
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
_LINK = (
    b'<a href="liverpc" style="position:fixed;left:1rem;bottom:1rem;z-index:9999;padding:.4rem .9rem;'
    b'border-radius:1rem;background:#15795a;color:#fff;font:14px sans-serif;text-decoration:none">liverpc</a>'
)


class WebPage:
    """An outlet that is the page ``/liverpc`` of Locust's web interface, with a link to it on Locust's own.

    The page stands alone, and asks for what is new once a second. It is behind ``--web-login`` as Locust's are. When
    a run is over it keeps the result until the next one begins.

    Args:
        web_ui: Locust's, before it is started.
        scenario: Its name.
    """

    def __init__(self, web_ui: Any, scenario: str) -> None:
        self._scenario = scenario
        self._run = 0
        self._empty()
        self._page = Path(__file__).with_name("_web.html").read_bytes()
        pages = Blueprint("liverpc", __name__)
        pages.add_url_rule("/liverpc", "page", web_ui.auth_required_if_enabled(self._show))
        pages.add_url_rule("/liverpc/data.json", "data", web_ui.auth_required_if_enabled(self._data))
        web_ui.app.register_blueprint(pages, url_prefix=web_ui.app.blueprints["locust"].url_prefix)
        web_ui.app.after_request(_link)

    def begin(self) -> None:
        self._run = max(self._run + 1, time.time_ns() // 1_000_000)  # another one, even if Locust was restarted
        self._empty()

    def _empty(self) -> None:
        self._seconds: deque[Second] = deque(maxlen=SECONDS_MAX)
        self._count = 0
        self._result: Result | None = None

    def second(self, second: Second, _totals: object, _failures: object, /) -> None:
        self._seconds.append(second)
        self._count += 1

    def finished(self, result: Result, /) -> None:
        self._result = result

    def close(self) -> None:
        pass

    def _show(self) -> Response:
        return Response(self._page, mimetype="text/html", headers={"Content-Security-Policy": _POLICY})

    def _data(self) -> Response:
        """Everything of the run, or what is new to a page that tells in ``run`` and ``from`` what it has."""
        known = request.args.get("from", 0, int) if request.args.get("run", 0, int) == self._run else 0
        skipped = max(0, known - (self._count - len(self._seconds)))
        data: dict[str, Any] = {
            "scenario": self._scenario,
            "run": self._run,
            "count": self._count,
            "seconds": list(islice(self._seconds, skipped, None)),
            "kept": SECONDS_MAX,
        }
        if self._result is not None:
            told = ("verdict", "exit_code", "error", "rows", "events")
            latencies = self._result.latencies.items()
            data["result"] = {name: getattr(self._result, name) for name in told} | {
                "latencies": {name: msgspec.structs.replace(series, buckets=[]) for name, series in latencies}
            }
        return Response(msgspec.json.encode(data), mimetype="application/json", headers={"Cache-Control": "no-store"})


def _link(response: Response) -> Response:
    if request.endpoint == "locust.index" and response.status_code == 200:
        response.set_data(response.get_data().replace(b"</body>", _LINK + b"</body>"))
    return response
