"""Parts of a server to test alone: a context for handlers, and guards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from liverpc._types import Topic
from liverpc.backends.memory import memory_cluster
from liverpc.clock import SeededClock
from liverpc.config import Limits, PressureThresholds
from liverpc.declare.context import Context, Services
from liverpc.declare.guards import Guard
from liverpc.declare.inroom import RoomContext, RoomHere
from liverpc.declare.occupancy import Nobody
from liverpc.declare.uploading import IncomingUpload, UploadBuffer, UploadContext
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection, identify
from liverpc.hub.hub import Hub
from liverpc.hub.link import ConnectRequest
from liverpc.hub.noclient import connection_without_client
from liverpc.hub.tasks import Background
from liverpc.policies.admission import Admission
from liverpc.policies.pacing import Pacing
from liverpc.policies.pressure import PressureGauge
from liverpc.policies.running import RunningPolicies
from liverpc.telemetry import Published, Telemetry

__all__ = [
    "TestContext",
    "TestRoomContext",
    "TestUploadContext",
    "create_room_context",
    "create_test_context",
    "create_upload_context",
    "expect_guard_rejects",
]


class TestContext(Context[Any]):
    """A context without a client. ``events`` lists what was published with it: (topic, event, data)."""

    __test__ = False

    events: list[tuple[str, str, Any]] = msgspec.field(default_factory=list)


class TestUploadContext(UploadContext[Any], kw_only=True):
    """A context with an upload that no client sends. ``events`` as in :class:`TestContext`."""

    __test__ = False

    events: list[tuple[str, str, Any]] = msgspec.field(default_factory=list)


class TestRoomContext(RoomContext[Any], kw_only=True):
    """A context of a room's action. ``events`` as in :class:`TestContext`."""

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
    events: list[Any] = []
    return TestContext(*_surroundings(user, headers, events), path, events=events)


def create_upload_context(
    chunks: Iterable[bytes] = (),
    *,
    size: int | None = None,
    error: LiveError | None = None,
    user: Any = None,
    path: str = "test/upload",
    headers: dict[str, str] | None = None,
) -> TestUploadContext:
    """A context to call an upload's handler with directly: ``await store(create_upload_context([b"ab"]), "name")``.

    Each chunk arrives when the handler asks for it. Otherwise as :func:`create_test_context`.

    Args:
        chunks: What ``ctx.upload`` gives, in order; empty ones are left out, as a server does.
        size: What the client announced.
        error: The upload ends early with it, behind the chunks: ``LiveError("CANCELLED", "...")``.
        user: The caller.
        path: The path that was called.
        headers: Of the caller's handshake.
    """
    waiting = filter(None, chunks)
    buffer = UploadBuffer(lambda: None)

    def arrive() -> None:
        if (chunk := next(waiting, None)) is not None:
            buffer.put(chunk, last=False)
        elif error is not None:
            buffer.abort(error)
        else:
            buffer.put(b"", last=True)

    buffer.before_take = arrive
    upload = IncomingUpload("00000001", size, buffer)
    events: list[Any] = []
    return TestUploadContext(*_surroundings(user, headers, events), path, upload=upload, events=events)


def create_room_context(
    topic: Topic[Any],
    *,
    user: Any = None,
    path: str = "test/action",
    headers: dict[str, str] | None = None,
) -> TestRoomContext:
    """A context to call a room's action with directly:
    ``await add_card(create_room_context(board.topic("b1"), user=ANN), "b1", "Milk")``.

    Nobody is in the room. Otherwise as :func:`create_test_context`.
    """
    events: list[Any] = []
    ctx = TestRoomContext(*_surroundings(user, headers, events), path, events=events)
    ctx.here = RoomHere(ctx, topic.name)
    return ctx


def _surroundings(user: Any, headers: dict[str, str] | None, events: list[Any]) -> tuple[Services, Connection]:
    """A server's services without a server, and a connection without a client; ``events`` gets what is published."""

    def keep(published: Published) -> None:
        events.append((published.topic, published.event, published.data))

    telemetry = Telemetry()
    telemetry.published.append(keep)
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
        rooms=Nobody(),
        policies=RunningPolicies.of(cluster, Background(), limits, telemetry.counters, _now),
        refresh=_refresh,
    )
    request = ConnectRequest("/ws", headers=headers)
    return services, connection_without_client(hub, SeededClock(), request, user=user, user_id=identify(user))


async def _refresh(connection: Connection) -> bool:
    raise RuntimeError("there is no client here whose session could be refreshed")


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
