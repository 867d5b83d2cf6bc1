"""Parts of a server to test alone: a context for handlers, and guards."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from liverpc.backends.memory import memory_cluster
from liverpc.clock import SeededClock
from liverpc.config import Limits, PressureThresholds
from liverpc.declare.context import Context, Services
from liverpc.declare.guards import Guard
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import identify
from liverpc.hub.hub import Hub
from liverpc.hub.link import ConnectRequest
from liverpc.hub.noclient import connection_without_client
from liverpc.policies.admission import Admission
from liverpc.policies.pacing import Pacing
from liverpc.policies.pressure import PressureGauge
from liverpc.telemetry import Published, Telemetry

__all__ = ["TestContext", "create_test_context", "expect_guard_rejects"]


class TestContext(Context[Any]):
    """A context without a client. ``events`` lists what was published with it: (topic, event, data)."""

    __test__ = False

    events: list[tuple[str, str, Any]] = msgspec.field(default_factory=list)


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()  # of the virtual loop, if it is one
    except RuntimeError:
        return time.monotonic()


def _ignore(*args: object) -> None:
    """Where errors go that the server would report to its application: they are logged already."""


def create_test_context(
    *, user: Any = None, path: str = "test/call", headers: dict[str, str] | None = None
) -> TestContext:
    """A context to call a handler or guard with directly: ``await send(create_test_context(user=ANN), "hi")``.

    Publishing with it works, is validated, and ends up in ``ctx.events``.
    """
    telemetry = Telemetry()
    clock = SeededClock()
    limits = Limits()
    cluster = memory_cluster()
    hub = Hub(telemetry, cluster.bus, cluster.log, limits, monotonic=_now)
    gauge = PressureGauge(hub, telemetry.counters, PressureThresholds())
    services = Services(
        hub,
        Pacing(hub, telemetry.counters, max_keys=limits.paced_keys, failed=_ignore),
        gauge,
        Admission(gauge),
        report=_ignore,
    )
    request = ConnectRequest("/ws", headers=headers)
    connection = connection_without_client(hub, clock, request, user=user, user_id=identify(user))
    ctx = TestContext(services, connection, path)

    def keep(published: Published) -> None:
        ctx.events.append((published.topic, published.event, published.data))

    telemetry.published.append(keep)
    return ctx


async def expect_guard_rejects(guard: Guard, *, user: Any = None, code: str = ErrorCode.FORBIDDEN) -> LiveError:
    """Assert that a guard refuses a user, and with which code; returns the error.

    Raises:
        AssertionError: The guard let the user pass, or refused with another code.
    """
    try:
        waiting = guard.check(create_test_context(user=user))
        if waiting is not None:
            await waiting
    except LiveError as error:
        if error.code != code:
            raise AssertionError(f"the guard refused with {error.code}, not {code}: {error.message}") from error
        return error
    raise AssertionError(f"the guard let {user!r} pass; expected {code}")
