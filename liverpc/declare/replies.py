"""Where an answer goes: straight to the caller, or to where its call's slot says, such as the reply to a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.telemetry import Counters
from liverpc.wire.codec import answer_body, batch_reply, error_members, reply

if TYPE_CHECKING:
    from liverpc.declare.context import Context

__all__ = ["REPLY_ENVELOPE", "BatchReplies", "BatchSlot", "Follower", "Slot", "answer", "check_size"]

REPLY_ENVELOPE = 1024
"""Bytes that a reply holds at most besides its data."""

_NO_ROOM = LiveError(
    ErrorCode.PAYLOAD_TOO_LARGE,
    "the reply to the batch would be larger than clients take; ask for this alone, or in pages",
)


class Follower(Protocol):
    """What comes directly behind an answer, such as a stream's events."""

    def instead(self) -> bytes | None:
        """The answer has waited for others of its batch: what takes its place; None when it still holds."""
        ...

    def follow(self) -> None:
        """The answer was sent, and nothing took its place."""
        ...

    def abandon(self, error: BaseException) -> None:
        """The answer cannot be sent, because of ``error``, which takes its place."""
        ...


class Slot(Protocol):
    """Takes the answer to a call that is not answered by a reply of its own."""

    def put(self, call: str | None, members: bytes, follower: Follower | None) -> None:
        """The answer; for the arguments see :func:`answer`."""
        ...


class BatchReplies:
    """Collects the answers to one batch, and sends them as one frame when all are there.

    When that frame would be too large, ``PAYLOAD_TOO_LARGE`` takes the place of as many answers as needed, the
    longest first (docs/protocol.md section 4).

    Args:
        connection: The caller.
        size: How many answers there will be.
        largest: What clients take in one frame, which they count in UTF-16 code units.
        counters: Of the server.
        then: Called after each answer but the last.
    """

    __slots__ = ("_bodies", "_calls", "_connection", "_counters", "_followers", "_largest", "_missing", "_then")

    def __init__(
        self,
        connection: Connection,
        size: int,
        *,
        largest: int,
        counters: Counters,
        then: Callable[[], object] | None = None,
    ) -> None:
        self._then = then
        self._connection = connection
        self._largest = largest
        self._counters = counters
        self._bodies = [b""] * size
        self._calls = [""] * size
        self._missing = size
        self._followers: dict[int, Follower] = {}
        if not size:
            self._send()

    def put(self, position: int, call: str, members: bytes, follower: Follower | None) -> None:
        """The answer to one call; it is sent, and ``follower`` behind it, when the last one came.

        Args:
            position: Of the call in the batch.
            call: Its id.
            members: The answer.
            follower: What must come directly behind the reply.
        """
        self._bodies[position] = answer_body(call, members)
        self._calls[position] = call
        self._missing -= 1
        if follower is not None:
            self._followers[position] = follower
        if not self._missing:
            self._send()
        elif self._then is not None:
            self._then()

    def _send(self) -> None:
        for position, follower in list(self._followers.items()):
            members = follower.instead()
            if members is not None:
                self._bodies[position] = answer_body(self._calls[position], members)
                del self._followers[position]
        payload = batch_reply(self._bodies)
        if len(payload) > self._largest and (surplus := _units(payload) - self._largest) > 0:
            self._shorten(surplus)
            payload = batch_reply(self._bodies)
        self._connection.send(payload)
        for follower in self._followers.values():
            follower.follow()

    def _shorten(self, surplus: int) -> None:
        units = [_units(body) for body in self._bodies]
        for position in sorted(range(len(units)), key=units.__getitem__, reverse=True):
            body = answer_body(self._calls[position], error_members(_NO_ROOM))
            saved = units[position] - _units(body)
            if saved <= 0:  # what is left are long ids, which have to be repeated
                continue
            self._bodies[position] = body
            self._counters.batch_answers_replaced += 1
            if (follower := self._followers.pop(position, None)) is not None:
                follower.abandon(_NO_ROOM)
            surplus -= saved
            if surplus <= 0:
                return


class BatchSlot:
    """One call's place in a batch."""

    __slots__ = ("_position", "_replies")

    def __init__(self, replies: BatchReplies, position: int) -> None:
        self._replies = replies
        self._position = position

    def put(self, call: str | None, members: bytes, follower: Follower | None) -> None:
        """See :meth:`Slot.put`."""
        self._replies.put(self._position, call or "", members, follower)


def answer(ctx: Context[Any], members: bytes, follower: Follower | None = None) -> None:
    """Send a call's answer.

    Args:
        ctx: Of the call. Without an id nobody waits, and nothing is sent.
        members: From ``wire.codec.ok_members`` or ``error_members``.
        follower: What must come directly behind the answer.
    """
    if ctx.slot is not None:
        ctx.slot.put(ctx.call, members, follower)
        return
    if ctx.call is not None:
        ctx.connection.send(reply(ctx.call, members))
    if follower is not None:
        follower.follow()


def check_size(result: bytes, largest: int) -> None:
    """Refuse a result that browsers would drop without a word; its caller would wait for the timeout.

    Args:
        result: Encoded; quicker when it has no more than ``largest`` bytes.
        largest: What clients take, which they count in UTF-16 code units.

    Raises:
        LiveError: ``PAYLOAD_TOO_LARGE``.
    """
    if len(result) > largest and (units := _units(result)) > largest:
        raise LiveError(
            ErrorCode.PAYLOAD_TOO_LARGE,
            f"the result has {units} characters, clients take at most {largest}; return it in pages",
        )


def _units(text: bytes) -> int:
    """The UTF-16 code units of a UTF-8 text."""
    return len(text.decode().encode("utf-16-le")) // 2
