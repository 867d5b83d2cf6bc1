"""A connection that no client is behind, for what runs inside the server's process."""

from __future__ import annotations

import contextvars
from typing import Any

from liverpc.clock import Clock
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.link import ConnectRequest, Tally
from liverpc.hub.tasks import RunningCalls

__all__ = ["connection_without_client"]


class _NoLink:
    """The link to nobody: what is sent goes nowhere."""

    buffered = 0

    def send(self, frame: bytes) -> bool:
        return False

    def send_volatile(self, tally: Tally, frame: bytes) -> bool:
        return False

    def send_latest(self, tally: Tally, key: object, frame: bytes) -> bool:
        return False

    def close(self, code: int, reason: str = "") -> None:
        pass

    def hold(self) -> None:
        pass

    def release(self) -> None:
        pass

    def stall(self) -> None:
        pass

    def unstall(self) -> None:
        pass


def connection_without_client(
    hub: Hub, clock: Clock, request: ConnectRequest, *, user: Any, user_id: str | None
) -> Connection:
    """For a context. The hub does not know it, and what is sent to it goes nowhere."""
    link = _NoLink()
    return Connection(
        clock.new_id(),
        link=link,
        request=request,
        user=user,
        user_id=user_id,
        request_id=clock.new_id(),
        calls=RunningCalls(contextvars.copy_context(), link, hub.limits.calls_in_flight),
        requests=hub.requests,
        opened_at=hub.monotonic(),
    )
