"""One accepted client."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from liverpc.hub.link import ConnectRequest, Link
from liverpc.hub.tasks import RunningCalls
from liverpc.wire.framing import text_frame

if TYPE_CHECKING:
    from liverpc.hub.topic import Subscription

__all__ = ["Connection", "identify"]

_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


def identify(user: Any) -> str | None:
    """A user's id: field ``id``, else ``user_id``, else ``userId``, of an object or a mapping, as a string."""
    if user is None:
        return None
    fields: Any = user if isinstance(user, Mapping) else _NO_FIELDS
    for name in ("id", "user_id", "userId"):
        value = fields.get(name, None) if fields else getattr(user, name, None)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


class Connection:
    """One client's socket, as handlers and the hub see it.

    Attributes:
        id: Unique among all connections ever; the ``sessionId`` the client was welcomed with.
        user: What ``on_connect`` returned, exactly; None for anonymous.
        user_id: Who that is, for people and devtools; None for anonymous.
        request_id: The request's ``X-Request-ID`` when that is printable and short, else made up.
        request: The handshake.
        state: The application's own data on this connection.
        subscriptions: Live and loading ones, by topic.
        streams: How many streams they serve.
        calls: Unfinished handlers.
        closed: The socket is gone; nothing may be attached to it any more.
    """

    __slots__ = (
        "_holding",
        "_max_calls",
        "calls",
        "calls_total",
        "closed",
        "frames_in",
        "id",
        "link",
        "opened_at",
        "request",
        "request_id",
        "state",
        "streams",
        "subscriptions",
        "user",
        "user_id",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 - the attribute's name
        *,
        link: Link,
        request: ConnectRequest,
        user: Any,
        request_id: str,
        calls: RunningCalls[Any],
        max_calls: int,
        opened_at: float,
    ) -> None:
        self.id = id
        self.link = link
        self.request = request
        self.user = user
        self.user_id = identify(user)
        self.request_id = request_id
        self.state: dict[str, Any] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.streams = 0
        self.closed = False
        self.calls = calls
        self.opened_at = opened_at  # loop time
        self.frames_in = 0
        self.calls_total = 0
        self._max_calls = max_calls
        self._holding = False  # reading is stopped because too many calls run

    def send(self, payload: bytes) -> bool:
        """Send one frame to this client alone; False when the socket is gone."""
        return self.link.send(text_frame(payload))

    def close(self, code: int, reason: str = "") -> None:
        """Close the socket after what is queued was sent."""
        self.link.close(code, reason)

    def call_started(self) -> None:
        """Stop reading when too many calls of this client are unfinished."""
        if len(self.calls.of) >= self._max_calls and not self._holding:
            self._holding = True
            self.link.hold()

    def call_finished(self) -> None:
        """The counterpart: read again when half of them are done."""
        self.calls.finished()
        if self._holding and len(self.calls.of) <= self._max_calls // 2:
            self._holding = False
            self.link.release()

    def __repr__(self) -> str:
        return f"<Connection {self.id[:8]} of {self.user_id or 'anonymous'}>"
