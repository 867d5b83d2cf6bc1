"""Whether a peer gets a connection; the same questions in the same order on every transport."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from inspect import isawaitable, iscoroutine
from typing import Any

from liverpc.hub.link import Application, ConnectRequest, Endpoint, Refuse

__all__ = ["admit", "clip", "decide", "verdict_of"]

log = logging.getLogger("liverpc.transports")

_MAX_REASON = 123  # bytes: what a close frame has room for
_FAILED = Refuse(500, "internal error")  # the details are in the log, they are nobody else's business


def admit(application: Application, request: ConnectRequest, *, draining: bool) -> Endpoint | Refuse:
    """The endpoint for a request, or why it may not even be asked who the peer is."""
    try:
        endpoint = application.endpoint(request.path)
        if endpoint is None:
            return Refuse(404, "nothing answers WebSockets here")
        if draining:
            return Refuse(503, "server going away")
        refusal = endpoint.refuses(request)
    except Exception:
        log.exception("the checks before a connection failed")
        return _FAILED
    if refusal is not None:
        return refusal
    spoken = endpoint.subprotocol
    offered = request.headers.get("sec-websocket-protocol", "").split(",")
    if spoken is not None and spoken not in (name.strip() for name in offered):
        return Refuse(400, f"this endpoint speaks {spoken}")
    return endpoint


def decide(endpoint: Endpoint, request: ConnectRequest) -> Any | Refuse | Coroutine[Any, Any, Any | Refuse]:
    """The endpoint's verdict, or a coroutine to run as a task whose outcome goes to :func:`verdict_of`."""
    try:
        verdict = endpoint.decide(request)
    except Exception:
        log.exception("deciding about a connection failed")
        return _FAILED
    # A coroutine is passed on as it is: cancelled before its first step, a wrapper would leave it unawaited.
    return _wait(verdict) if isawaitable(verdict) and not iscoroutine(verdict) else verdict


async def _wait(verdict: Awaitable[Any]) -> Any:
    return await verdict


def verdict_of(task: asyncio.Task[Any]) -> Any | Refuse:
    """What a finished, uncancelled task decided; an exception is logged and becomes HTTP 500."""
    error = task.exception()
    if error is None:
        return task.result()
    log.error("deciding about a connection failed", exc_info=error)
    return _FAILED


def clip(reason: str) -> str:
    """As much of ``reason`` as fits into a close frame, cut between characters."""
    return reason.encode(errors="replace")[:_MAX_REASON].decode(errors="ignore")
