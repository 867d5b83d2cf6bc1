"""The checks between a stream request and its topic (docs/protocol.md section 5, steps 3 to 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from liverpc.declare.access import holds
from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, StreamFunction
from liverpc.declare.guards import Guard, denied
from liverpc.declare.hooks import Hooks
from liverpc.errors import ErrorCode, LiveError
from liverpc.streams.topics import check_topic
from liverpc.wire.names import topic_fault

__all__ = ["enter", "enter_again"]

AnyStream = StreamFunction[Any, Any, Any, Any] | Channel[Any, Any]


async def enter(
    stream: AnyStream,
    ctx: Context[Any],
    raw_args: msgspec.Raw,
    hooks: Hooks,
) -> tuple[Sequence[Any], str | None]:
    """The validated arguments and the topic, for a caller who may have the stream; no topic: its gate is shut.

    Args:
        stream: What is asked for.
        ctx: Of the request.
        raw_args: As the client sent them.
        hooks: Of the application.

    Raises:
        LiveError: Why the caller may not: ``VALIDATION``, ``INVALID_REQUEST``, ``UNAUTHENTICATED``, ``FORBIDDEN``, or
            what ``on_topic`` says.
        Exception: What the application's functions raise.
    """
    arguments = stream.signature.decode(raw_args)
    return arguments, await _topic(stream, ctx, arguments, hooks)


async def enter_again(
    stream: AnyStream, ctx: Context[Any], arguments: Sequence[Any], hooks: Hooks, *, guard: Guard | None, topic: str
) -> None:
    """Whether a caller who has the stream may still have it, and on the same topic; its guard is asked first.

    Raises:
        LiveError: It may not.
        Exception: What the application's functions raise.
    """
    if guard is not None and (waiting := guard.check(ctx)) is not None:
        await waiting
    if await _topic(stream, ctx, arguments, hooks) != topic:
        raise denied(ctx)


async def _topic(
    stream: AnyStream,
    ctx: Context[Any],
    arguments: Sequence[Any],
    hooks: Hooks,
) -> str | None:
    options = stream.options
    if options.gate is not None and not await holds(options.gate, ctx, arguments):
        return None
    topic = stream.topics.resolve(ctx, arguments)
    if stream.topics.static is None:
        fault = topic_fault(topic)
        if fault is None and (owned := ctx.services.hub.owned) and "/" in topic and topic.partition("/")[0] in owned:
            fault = "begins with the name of a contract, as those of its events do"
        if fault is not None:
            raise LiveError(ErrorCode.INVALID_REQUEST, f"the stream's topic {fault}")
    if options.access is not None and not await holds(options.access, ctx, arguments):
        raise denied(ctx)
    await check_topic(hooks, ctx, topic)
    return topic
