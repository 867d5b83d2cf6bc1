"""One accepted client."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.addresses import network_of
from liverpc.hub.link import ConnectRequest, Link
from liverpc.hub.requests import Requests
from liverpc.hub.tasks import RunningCalls
from liverpc.telemetry import CAUSE, Cause
from liverpc.wire.codec import encode, event_head, event_payload, event_prefix
from liverpc.wire.framing import text_frame
from liverpc.wire.names import topic_fault

if TYPE_CHECKING:
    from liverpc.hub.faults import DeliveryGate
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
        locals: What ``on_connect`` returned, exactly.
        user: The same, or its ``user`` when it is a ``liverpc.Locals``; None for anonymous.
        user_id: Who that is, for limits, presence, people and devtools; None for anonymous.
        request_id: The request's ``X-Request-ID`` when that is printable and short, else made up.
        request: The handshake.
        state: The application's own data on this connection.
        subscriptions: Live and loading ones, by topic.
        streams: How many streams they serve, a bare subscription counting as one.
        batches: The client reads several events in one frame.
        paces_uploads: It sends of an upload what it was told it may.
        signals: It gets the signals to its user; an application may set this to False.
        knows_frame_bytes: It was told how large a message may be.
        calls: Unfinished handlers, and hooks that wait.
        cause: What made the server say goodbye; None: nothing known did.
        gate: What events pass on their way to it, while a fault is in force; None: nothing.
        closed: The server has said goodbye, or the socket is gone; nothing may be attached to it any more.
        refreshes: How often ``on_connect`` was asked again who this is.
        refreshed_at: When it was last; loop time.
    """

    __slots__ = (
        "_requests",
        "batches",
        "calls",
        "calls_total",
        "cause",
        "closed",
        "frames_in",
        "gate",
        "id",
        "knows_frame_bytes",
        "link",
        "locals",
        "opened_at",
        "paces_uploads",
        "refreshed_at",
        "refreshes",
        "request",
        "request_id",
        "signals",
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
        user_id: str | None,
        request_id: str,
        calls: RunningCalls[Any],
        requests: Requests,
        opened_at: float,
        locals: Any = None,  # noqa: A002 - the attribute's name
    ) -> None:
        self.id = id
        self.link = link
        self.request = request
        self.user = user
        self.locals = user if locals is None else locals
        self.user_id = user_id
        self.request_id = request_id
        self.state: dict[str, Any] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.streams = 0
        self.batches = False
        self.signals = True
        self.paces_uploads = False
        self.knows_frame_bytes = False
        self.closed = False
        self.gate: DeliveryGate | None = None
        self.cause: Cause | None = None
        self.refreshes = 0
        self.refreshed_at = -inf
        self.calls = calls
        self._requests = requests
        self.opened_at = opened_at  # loop time
        self.frames_in = 0
        self.calls_total = 0

    @property
    def key(self) -> str:
        """Who this is to others: the user's id, or ``__guest_`` and a number, which no user's id can be."""
        if self.user_id is not None:
            return self.user_id
        # Of the id, which only this client and the server know, but does not tell it.
        return f"__guest_{int.from_bytes(sha256(self.id.encode()).digest()[:6], 'big')}"

    @property
    def owner(self) -> str:
        """Whose room in tables of all callers it takes: the user's; else that of all guests of its address."""
        if self.user_id is not None:
            return f"user\n{self.user_id}"
        network = network_of(self.request.address)
        return f"guest\n{self.id}" if network is None else f"address\n{network}"

    def send(self, payload: bytes) -> bool:
        """Send one frame to this client alone; False when the socket is gone."""
        return self.link.send(text_frame(payload))

    def send_event(self, topic: str, event: str, data: Any, seq: int | None = None) -> bool:
        """Send an event to this client alone, whether or not it listens to the topic.

        Args:
            topic: Any, reserved ones included, such as ``__replay:rows``.
            event: Its name.
            data: Anything with a JSON form.
            seq: A number that the client remembers for the topic, for its ``resume``; None: it has none.

        Returns:
            False when the socket is gone.

        Raises:
            LiveError: ``INVALID_TOPIC``: a name is malformed.
            TypeError: ``data`` has no JSON form.
        """
        for what, name in (("topic", topic), ("event", event)):
            if (fault := topic_fault(name, reserved=True)) is not None:
                raise LiveError(ErrorCode.INVALID_TOPIC, f"the {what} {name!r} {fault}")
        return self.send(event_payload(event_head(event_prefix(topic), event), encode(data), seq))

    async def ask(self, event: str, data: Any = None, *, timeout: float = 5.0) -> Any:  # noqa: ASYNC109 - part of the question
        """Ask this client something, and wait for what it answers.

        A call that asks its own client does not count towards ``limits.calls_in_flight`` while it waits.

        Args:
            event: Which of the client's handlers is asked.
            data: For it; anything with a JSON form.
            timeout: Seconds to wait for the answer.

        Returns:
            The answer as plain JSON values, unchecked; None when the client's handler returned nothing.

        Raises:
            PushFailed: The client answered with an error, whose text this is, or is gone.
            LiveError: ``TIMEOUT``: no answer in time. ``OVERLOADED``: ``limits.requests_in_flight`` of this
                connection are unanswered. A handler that does not catch it fails with it: the handler's caller gets
                this code and text.
            TypeError: ``data`` has no JSON form.
        """
        return await self._requests.ask(self, event, data, timeout)

    def close(self, code: int, reason: str = "") -> None:
        """Close the socket after what is queued was sent; nothing the client says is heard any more.

        Its handlers go on until the client has answered the goodbye, which takes ``limits.close_seconds`` at most, and
        are cancelled then.
        """
        if not self.closed:
            self.cause = CAUSE.get()
        self.closed = True
        self.link.close(code, reason)

    def __repr__(self) -> str:
        return f"<Connection {self.id[:8]} of {self.user_id or 'anonymous'}>"
