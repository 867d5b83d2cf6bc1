"""Control frames, and messages that are no frames of ours (docs/protocol.md sections 2 and 4)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from liverpc.declare.context import Context, Services
from liverpc.declare.hooks import Hooks
from liverpc.hub.connection import Connection
from liverpc.hub.tasks import EXITS, passes
from liverpc.streams.subscribe import Streams
from liverpc.uploads.uploads import Uploads
from liverpc.wire.binary import BYTES_MIN, UPLOAD_CONTROL
from liverpc.wire.codec import encode
from liverpc.wire.control import decode_object
from liverpc.wire.frames import SUBSCRIBE_BATCH_MAX, ControlFrame
from liverpc.wire.names import is_reserved

__all__ = ["Controls"]

log = logging.getLogger("liverpc.hooks")

_RESUMED = encode({"type": "resumed"})


class Controls:
    """What a server does with everything a client sends that is no call.

    Hooks of the application run in it; what they leave to await becomes a task of the connection and counts as
    one of its calls, so that a client that sends faster than they work is not read from.

    Args:
        services: For the hooks' contexts.
        streams: Whose topics are subscribed to.
        uploads: Whose limits clients are told.
        hooks: Of the application.
    """

    def __init__(self, services: Services, streams: Streams, uploads: Uploads, hooks: Hooks) -> None:
        self._services = services
        self._requests = services.hub.requests
        self._depth = services.hub.limits.depth
        self._streams = streams
        self._uploads = uploads
        self._hooks = hooks

    def obey(self, connection: Connection, frame: ControlFrame) -> bool:
        """Do what a control frame says. False when it is of an unknown type or malformed: nothing was done."""
        kind = frame.type
        if kind == "hello":
            caps = frame.caps if isinstance(frame.caps, list) else []
            connection.batches = "batch" in caps
            connection.paces_uploads = "upload" in caps
            if connection.paces_uploads:
                connection.send(self._uploads.limits_frame())
        elif kind == "subscribe":
            self._streams.bare.subscribe(self._context(connection, "__subscribe__"), [frame.topic], frame.ref)
        elif kind == "subscribe-batch" and isinstance(frame.topics, list):
            topics = frame.topics[:SUBSCRIBE_BATCH_MAX]
            self._streams.bare.subscribe(self._context(connection, "__subscribe__"), topics, frame.ref)
        elif kind == "unsubscribe" and isinstance(frame.topic, str):
            if not is_reserved(frame.topic):  # rooms of contracts are left by their own calls
                self._streams.unsubscribe(connection, frame.topic)
        elif kind == "resume" and isinstance(frame.session_id, str) and _are_numbers(frame.seqs):
            self._resume(connection, frame.session_id, frame.seqs)
        elif kind == "reply":
            self._requests.answered(connection, frame.ref, frame.data, frame.error)
        else:
            return False
        return True

    def unhandled(self, connection: Connection, payload: bytes, text: bool) -> None:
        """Hand a message that is no frame of ours to the application, if it wants such."""
        hooks = self._hooks
        if not text and len(payload) >= BYTES_MIN and payload[0] <= UPLOAD_CONTROL:  # whatever is wrong with it
            return
        found = decode_object(payload, self._depth) if hooks.on_json_message is not None else None
        ctx = self._context(connection, "__message__")
        if found is not None:
            self._call(ctx, hooks.on_json_message, connection, found)
        else:
            self._call(ctx, hooks.on_unhandled, connection, payload)

    def _context(self, connection: Connection, path: str) -> Context[Any]:
        return Context(self._services, connection, path, started_at=self._services.hub.monotonic())

    def _resume(self, connection: Connection, session: str, seqs: dict[str, int]) -> None:
        ctx = self._context(connection, "__resume__")
        self._call(ctx, self._hooks.on_resume, ctx, session, seqs, then=lambda: connection.send(_RESUMED))

    # -- hooks

    def _call(
        self,
        ctx: Context[Any],
        hook: Callable[..., Any] | None,
        *args: Any,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        """Call a hook, and ``then`` when it is done, however it went."""
        if hook is not None:
            try:
                result = hook(*args)
            except EXITS:
                raise
            except BaseException as error:  # such as the panics of extensions: the connection must go on
                _failed(ctx, error)
            else:
                if isawaitable(result):
                    ctx.connection.calls.start(ctx, self._wait(ctx, result, then))
                    return
        then()

    async def _wait(self, ctx: Context[Any], waiting: Awaitable[Any], then: Callable[[], object]) -> None:
        try:
            await waiting
        except BaseException as error:  # as above
            if passes(error, gone=ctx.connection.closed):
                raise
            _failed(ctx, error)
        finally:
            then()
            ctx.connection.calls.finished(ctx)


def _failed(ctx: Context[Any], error: BaseException) -> None:
    log.error("a hook for %s failed (connection %s)", ctx.path, ctx.connection.id, exc_info=error)
    ctx.services.report(ctx.path, error, ctx)


def _are_numbers(seqs: object) -> bool:
    return isinstance(seqs, dict) and all(type(seq) is int for seq in seqs.values())
