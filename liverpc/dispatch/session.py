"""A client connection's frames: which is a call, which a control frame, which nothing of ours."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from liverpc.config import Limits
from liverpc.dispatch.control import Controls
from liverpc.dispatch.pipeline import Pipeline
from liverpc.dispatch.uploads import UploadCalls
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.tasks import Background
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import ConnectionClosed, FrameIgnored, Telemetry, run_for
from liverpc.wire.binary import BINARY_CALL, BYTES_MIN, UPLOAD_CONTROL, decode_binary_call
from liverpc.wire.codec import (
    UNREADABLE,
    Ignored,
    decode_batch_calls,
    decode_call,
    decode_call_carefully,
)
from liverpc.wire.control import decode_control
from liverpc.wire.frames import NO_BATCH

__all__ = ["LiveSession"]


class LiveSession:
    """The session behind one client's socket (``hub.link.Session``)."""

    __slots__ = (
        "_background",
        "_connection",
        "_controls",
        "_counters",
        "_depth",
        "_hub",
        "_on_disconnect",
        "_pipeline",
        "_runners",
        "_shallow",
        "_streams",
        "_telemetry",
        "_uploads",
    )

    def __init__(
        self,
        connection: Connection,
        *,
        hub: Hub,
        pipeline: Pipeline,
        streams: Streams,
        uploads: UploadCalls,
        controls: Controls,
        telemetry: Telemetry,
        background: Background,
        limits: Limits,
        on_disconnect: Callable[[Connection, int, str], object],
    ) -> None:
        self._connection = connection
        self._hub = hub
        self._pipeline = pipeline
        self._runners = pipeline.runners
        self._streams = streams
        self._uploads = uploads
        self._controls = controls
        self._telemetry = telemetry
        self._counters = telemetry.counters
        self._background = background
        self._depth = limits.depth
        self._shallow = 2 * limits.depth
        self._on_disconnect = on_disconnect

    @property
    def running(self) -> int:
        """Unfinished handlers; of uploads, those that wait for nothing from the client."""
        return self._connection.calls.running

    def receive(self, payload: bytes, text: bool) -> None:
        """One message of the client (docs/protocol.md section 2)."""
        connection = self._connection
        connection.frames_in += 1
        self._counters.frames_in += 1
        try:
            # Nesting takes two characters a level: most frames are too short to be worth a closer look.
            if text and len(payload) <= self._shallow:
                frame = decode_call(payload)
            elif not text and len(payload) >= BYTES_MIN and payload[0] <= UPLOAD_CONTROL:
                if payload[0] == BINARY_CALL:
                    self._pipeline.binary(connection, decode_binary_call(payload))
                else:
                    self._uploads.receive(connection, payload)
                return
            else:
                frame = decode_call_carefully(payload, self._depth, text)
            run = self._runners.get(frame.rpc)
            if run is not None:
                run(connection, frame, None)
            elif frame.rpc is not UNSET:
                self._pipeline.call(connection, frame)
            elif frame.batch is not NO_BATCH:
                calls = decode_batch_calls(frame.batch)
                self._pipeline.batch(connection, calls, sequential=frame.sequential is True)
            elif not self._controls.obey(connection, decode_control(payload, text)):
                raise Ignored("not_ours")
        except Ignored as ignored:
            self._ignore(ignored, payload, text)
        except UNREADABLE:
            self._ignore(Ignored("malformed"), payload, text)

    def closed(self, code: int, reason: str) -> None:
        """The socket is gone: end its streams and cancel its handlers."""
        # The transport may have been resumed by some handler, which has nothing to do with it.
        run_for(self._connection.cause, self._closed, code, reason)

    def _closed(self, code: int, reason: str) -> None:
        connection = self._connection
        connection.closed = True
        self._hub.connections.pop(connection.id, None)
        self._hub.people.remove(connection)
        self._hub.requests.gone(connection)
        self._streams.closed(connection)
        self._uploads.closed(connection)
        fault = "" if connection.gate is None else connection.gate.gone()
        if connection.calls.of:
            self._background.start(connection.calls.aclose(), name=f"end of {connection!r}")
        self._counters.connections_closed += 1
        if self._telemetry.connection_closed:
            seconds = self._hub.monotonic() - connection.opened_at
            cause = self._telemetry.tracing.id_of(connection.cause)
            self._telemetry.connection_closed.emit(
                ConnectionClosed(connection.id, connection.user_id, code, reason, seconds, cause, fault)
            )
        self._on_disconnect(connection, code, reason)
        left = len(connection.subscriptions), connection.streams
        self._telemetry.invariant(left == (0, 0), "subscriptions", "a closed connection has %d, for %d streams", *left)

    def _ignore(self, ignored: Ignored, payload: bytes, text: bool) -> None:
        self._counters.frames_ignored += 1
        if self._telemetry.frame_ignored:
            self._telemetry.frame_ignored.emit(FrameIgnored(self._connection.id, ignored.reason, len(payload)))
        if ignored.frame is None:
            self._controls.unhandled(self._connection, payload, text)
        else:
            error = LiveError(
                ErrorCode.INVALID_REQUEST,
                f"the frame nests deeper than {self._depth} levels; flatten the arguments",
            )
            if ignored.frame.rpc is not UNSET:
                self._pipeline.refuse(self._connection, ignored.frame, error)
            else:
                self._pipeline.refuse_batch(self._connection, decode_batch_calls(ignored.frame.batch), error)
