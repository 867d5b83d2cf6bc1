"""Where an answer goes: straight to the caller, or into the one reply of the batch its call came in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.wire.codec import batch_reply, reply

if TYPE_CHECKING:
    from liverpc.declare.context import Context

__all__ = ["BatchReplies", "BatchSlot", "Follower", "answer", "check_size"]


class Follower(Protocol):
    """What comes directly behind an answer, such as a stream's events."""

    def instead(self) -> bytes | None:
        """The answer has waited for others of its batch: what takes its place; None when it still holds."""
        ...

    def follow(self) -> None:
        """The answer was sent, and nothing took its place."""
        ...


class BatchReplies:
    """Collects the answers to one batch, and sends them as one frame when all are there.

    Args:
        connection: The caller.
        size: How many answers there will be.
        then: Called after each answer but the last.
    """

    __slots__ = ("_bodies", "_connection", "_followers", "_missing", "_then")

    def __init__(self, connection: Connection, size: int, then: Callable[[], object] | None = None) -> None:
        self._then = then
        self._connection = connection
        self._bodies = [b""] * size
        self._missing = size
        self._followers: list[tuple[int, Follower]] = []
        if not size:
            self._send()

    def put(self, position: int, body: bytes, follower: Follower | None) -> None:
        """The answer to one call; it is sent, and ``follower`` behind it, when the last one came."""
        self._bodies[position] = body
        self._missing -= 1
        if follower is not None:
            self._followers.append((position, follower))
        if not self._missing:
            self._send()
        elif self._then is not None:
            self._then()

    def _send(self) -> None:
        following: list[Follower] = []
        for position, follower in self._followers:
            body = follower.instead()
            if body is None:
                following.append(follower)
            else:
                self._bodies[position] = body
        self._connection.send(batch_reply(self._bodies))
        for follower in following:
            follower.follow()


class BatchSlot:
    """One call's place in a batch."""

    __slots__ = ("position", "replies")

    def __init__(self, replies: BatchReplies, position: int) -> None:
        self.replies = replies
        self.position = position


def answer(ctx: Context[Any], body: bytes, follower: Follower | None = None) -> None:
    """Send a call's answer.

    Args:
        ctx: Of the call. Without an id nobody waits, and nothing is sent.
        body: From ``wire.codec.ok_body`` or ``error_body``.
        follower: What must come directly behind the answer.
    """
    if ctx.slot is not None:
        ctx.slot.replies.put(ctx.slot.position, body, follower)
        return
    if ctx.call is not None:
        ctx.connection.send(reply(ctx.call, body))
    if follower is not None:
        follower.follow()


def check_size(result: bytes, largest: int) -> None:
    """Refuse a result that browsers would drop without a word; its caller would wait for the timeout.

    Args:
        result: Encoded, and longer than ``largest`` bytes.
        largest: What clients take, which they count in UTF-16 code units.

    Raises:
        LiveError: ``PAYLOAD_TOO_LARGE``.
    """
    units = len(result.decode().encode("utf-16-le")) // 2
    if units > largest:
        raise LiveError(
            ErrorCode.PAYLOAD_TOO_LARGE,
            f"the result has {units} characters, clients take at most {largest}; return it in pages",
        )
