"""Records of the log know which call they belong to, with logging and with structlog."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from liverpc import remote
from liverpc.contrib import logs
from liverpc.contrib import structlog as ours
from liverpc.testing import TestEnv
from tests.contrib.contrib_kit import make_server


class Lines(logging.Handler):
    """Keeps formatted records."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(user)s %(path)s %(connection)s %(request_id)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def app() -> Any:
    app = logging.getLogger("test.app")
    handler = Lines()
    app.addHandler(handler)
    yield app
    app.removeHandler(handler)


async def test_records_of_a_call_have_its_fields(app: logging.Logger) -> None:
    server = make_server(lambda: app.warning("hello"))
    [handler] = app.handlers
    assert isinstance(handler, Lines)
    handler.addFilter(logs.bind_calls(server))
    async with TestEnv(server) as env:
        client = env.connect(user={"id": "ann"}, headers={"X-Request-ID": "req-1"})
        await client.call(remote("m/echo"), "a secret")
        await env.connect(user=None, headers={"X-Request-ID": "req-2"}).subscribe(remote("m/rows"))
        app.warning("outside", extra={"path": "my own"})
        first, second = (connection.id for connection in server.connections)
    assert handler.lines == [
        f"ann m/echo {first} req-1 hello",
        f"None m/rows {second} req-2 hello",
        "None my own None None outside",
    ]


async def test_structlog_has_them_too() -> None:
    log = structlog.get_logger()
    server = make_server(lambda: log.info("hello"))
    ours.bind_calls(server)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with TestEnv(server) as env:
            client = env.connect(user={"id": "ann"}, headers={"X-Request-ID": "req-1"})
            await client.call(remote("m/echo"), "a secret")
            [connection] = server.connections
        log.info("outside")
    fields = {"connection": connection.id, "request_id": "req-1", "path": "m/echo", "user": "ann"}
    level = {"log_level": "info"}
    assert lines == [{"event": "hello", **level, **fields}, {"event": "outside", **level}]
