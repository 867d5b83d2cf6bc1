"""A client connection's frames: which is a call, which a control frame, which nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from liverpc.config import Limits
from liverpc.dispatch.pipeline import Pipeline
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.tasks import Background
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import ConnectionClosed, FrameIgnored, Telemetry
from liverpc.wire.codec import Ignored, decode_client_frame, encode
from liverpc.wire.frames import SUBSCRIBE_BATCH_MAX, ClientFrame
from liverpc.wire.names import topic_fault

__all__ = ["LiveSession"]


class LiveSession:
    """The session behind one client's socket (``hub.link.Session``)."""

    __slots__ = (
        "_background",
        "_connection",
        "_counters",
        "_depth",
        "_gone",
        "_hub",
        "_pipeline",
        "_streams",
        "_telemetry",
    )

    def __init__(
        self,
        connection: Connection,
        *,
        hub: Hub,
        pipeline: Pipeline,
        streams: Streams,
        telemetry: Telemetry,
        background: Background,
        limits: Limits,
        gone: Callable[[Connection, int, str], object],
    ) -> None:
        self._connection = connection
        self._hub = hub
        self._pipeline = pipeline
        self._streams = streams
        self._telemetry = telemetry
        self._counters = telemetry.counters
        self._background = background
        self._depth = limits.depth
        self._gone = gone

    @property
    def running(self) -> int:
        """Unfinished handlers."""
        return len(self._connection.calls.of)

    def receive(self, payload: bytes, text: bool) -> None:
        """One message of the client (docs/protocol.md section 2)."""
        connection = self._connection
        connection.frames_in += 1
        self._counters.frames_in += 1
        try:
            frame = decode_client_frame(payload, self._depth, text)
        except Ignored as ignored:
            self._ignore(ignored, len(payload))
            return
        if frame.rpc is not msgspec.UNSET:
            self._pipeline.call(connection, frame)
        else:
            self._control(frame, len(payload))

    def closed(self, code: int, reason: str) -> None:
        """The socket is gone: end its streams and cancel its handlers."""
        connection = self._connection
        connection.closed = True
        self._hub.connections.pop(connection.id, None)
        self._streams.closed(connection)
        if connection.calls.of:
            self._background.start(connection.calls.aclose(), name=f"end of {connection!r}")
        self._counters.connections_closed += 1
        if self._telemetry.connection_closed:
            seconds = self._hub.monotonic() - connection.opened_at
            self._telemetry.connection_closed.emit(
                ConnectionClosed(connection.id, connection.user_id, code, reason, seconds)
            )
        self._gone(connection, code, reason)

    def _ignore(self, ignored: Ignored, size: int) -> None:
        self._counters.frames_ignored += 1
        if self._telemetry.frame_ignored:
            self._telemetry.frame_ignored.emit(FrameIgnored(self._connection.id, ignored.reason, size))
        if ignored.frame is not None:
            error = LiveError(
                ErrorCode.INVALID_REQUEST,
                f"the frame nests deeper than {self._depth} levels; flatten the arguments",
            )
            self._pipeline.refuse(self._connection, ignored.frame, error)

    # -- control frames (docs/protocol.md section 4)

    def _control(self, frame: ClientFrame, size: int) -> None:
        kind = frame.type
        if kind == "hello":
            pass  # it announces what the client can do beyond single frames, which is all we send
        elif kind == "subscribe":
            self._subscribe([frame.topic], frame.ref)
        elif kind == "subscribe-batch" and isinstance(frame.topics, list):
            topics = frame.topics[:SUBSCRIBE_BATCH_MAX]
            # Refusals for malformed topics come first, as front ends are used to.
            self._subscribe(sorted(topics, key=lambda topic: self._fault(topic) is None), frame.ref)
        elif kind == "unsubscribe" and isinstance(frame.topic, str):
            self._streams.unsubscribe(self._connection, frame.topic)
        else:
            self._ignore(Ignored("not_ours"), size)

    def _fault(self, topic: Any) -> str | None:
        # A topic the connection holds already is fine whatever characters its stream gave it.
        if isinstance(topic, str) and topic in self._connection.subscriptions:
            return None
        if (fault := topic_fault(topic)) is not None:
            return fault
        return None if topic.isascii() and "\x7f" not in topic else "is not plain ASCII"

    def _subscribe(self, topics: list[Any], ref: Any) -> None:
        """Acknowledge topics the connection holds through a stream.

        Any other well-formed topic gets no answer: it would bypass the stream's own checks, and a denial
        would put an error on healthy streams, whose clients ask for their topics before they ask for the
        streams again after a reconnect.
        """
        answerable = isinstance(ref, str | int | float) and not isinstance(ref, bool)
        for topic in topics:
            fault = self._fault(topic)
            if not answerable:
                continue
            if fault is not None:
                denial = {"type": "subscribe-denied", "topic": topic, "ref": ref, "reason": "INVALID_TOPIC"}
                self._connection.send(encode(denial))
            elif topic in self._connection.subscriptions:
                self._connection.send(encode({"type": "subscribed", "topic": topic, "ref": ref}))
