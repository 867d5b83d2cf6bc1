"""What an import drags in, looked at in a fresh interpreter: a static graph cannot see deferred imports."""

import json
import subprocess
import sys

import pytest

SERVER_HALF = ("liverpc.server", "liverpc.hub", "liverpc.declare", "liverpc.dispatch", "liverpc.transports", "h11")
CLIENT_HALF = ("liverpc.client", "websockets")
OPTIONAL = ("textual", "rich", "locust", "gevent", "redis", "asyncpg", "prometheus_client", "opentelemetry")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def within(loaded: set[str], names: tuple[str, ...]) -> list[str]:
    return sorted(m for m in loaded if any(m == name or m.startswith(name + ".") for name in names))


def test_importing_liverpc_loads_neither_half() -> None:
    loaded = loaded_by("import liverpc")
    assert within(loaded, (*SERVER_HALF, *CLIENT_HALF, *OPTIONAL, "msgspec", "asyncio")) == []


def test_the_client_loads_no_server_half_and_no_websocket_library() -> None:
    loaded = loaded_by("import liverpc.client\nliverpc.client.connect")
    assert within(loaded, (*SERVER_HALF, *OPTIONAL, "websockets")) == []


def test_the_server_loads_no_client_and_nothing_optional() -> None:
    loaded = loaded_by("from liverpc import LiveServer, live, guard")
    assert within(loaded, ("liverpc.client.aio", "liverpc.client.core", *OPTIONAL)) == []


def test_the_attach_protocol_loads_no_event_loop_and_no_half() -> None:
    loaded = loaded_by("import liverpc.inspector.protocol")
    assert within(loaded, (*SERVER_HALF, *CLIENT_HALF, *OPTIONAL, "asyncio", "socket")) == []


@pytest.mark.parametrize("module", ["cli", "headless", "core.attach", "core.model"])
def test_the_devtools_engine_loads_no_terminal_toolkit(module: str) -> None:
    loaded = loaded_by(f"import liverpc_devtools.{module}")
    assert within(loaded, ("textual", "rich")) == []


def test_the_pytest_plugin_loads_nothing_heavy() -> None:
    loaded = loaded_by("import liverpc.testing.plugin")
    assert within(loaded, (*SERVER_HALF, *CLIENT_HALF, *OPTIONAL)) == []
