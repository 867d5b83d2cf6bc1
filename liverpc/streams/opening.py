"""A stream request whose answer is known and not sent yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, StreamFunction
from liverpc.declare.registry import Entry
from liverpc.declare.replies import answer, check_size
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.topic import Subscription
from liverpc.wire.codec import encode, error_members, ok_members

if TYPE_CHECKING:
    from liverpc.streams.subscribe import ActiveStream, Streams

__all__ = ["Opening"]

AnyStream = StreamFunction[Any, Any, Any, Any] | Channel[Any, Any]


class Opening:
    """Either :meth:`answer` or :meth:`abandon` must follow, once.

    Attributes:
        value: What the client gets.
        members: Further members of the reply, encoded.
        stream: That will be live with the answer; None: it is a page, or a resync.
    """

    __slots__ = ("_ctx", "_entry", "_overflows", "_streams", "_subscription", "_topic", "members", "stream", "value")

    def __init__(
        self,
        streams: Streams,
        entry: Entry,
        ctx: Context[Any],
        topic: str | None,
        *,
        subscription: Subscription | None = None,
        stream: ActiveStream | None = None,
    ) -> None:
        """A request.

        Args:
            streams: Of the server.
            entry: Of the stream.
            ctx: Of the request.
            topic: Whose events the value goes with; None: the gate is shut.
            subscription: That is held for this request; None: its connection does not listen to the topic.
            stream: That will be live with the answer; None: it is a page, or a resync.
        """
        self._streams = streams
        self._entry = entry
        self._ctx = ctx
        self._topic = topic
        self._subscription = subscription
        self.stream = stream
        self._overflows = 0 if subscription is None else subscription.overflows
        self.value: Any = None
        self.members = b""

    def answer(self, largest: int) -> None:
        """Send the reply, and what was held back meanwhile.

        Args:
            largest: What a value may have with its ``members``, in UTF-16 code units.

        Raises:
            LiveError: ``OVERLOADED``: too much was held back. ``PAYLOAD_TOO_LARGE``.
            TypeError: The value has no JSON form.
        """
        try:
            members = self._members(largest)
        except BaseException as error:
            self.abandon(error)
            raise
        answer(self._ctx, members, self)

    def instead(self) -> bytes | None:
        """See :meth:`liverpc.declare.replies.Follower.instead`."""
        error = self._fault()
        if error is None:
            return None
        self.abandon(error)
        return error_members(error)

    def follow(self) -> None:
        """See :meth:`liverpc.declare.replies.Follower.follow`."""
        if self._subscription is not None:
            self._streams.settled(self._subscription, self.stream, self._entry)

    def abandon(self, error: BaseException) -> None:
        """Leave no trace, because of ``error``."""
        if self._topic is not None:
            self._streams.failed(self._entry, self._ctx, self._topic, self._subscription, self.stream, error)

    def _fault(self) -> LiveError | None:
        """Why there is no stream: it was refused while it loaded, or not all of its events could be held back."""
        if self.stream is not None and self.stream.refused is not None:
            return self.stream.refused
        if self._subscription is None or self._subscription.overflows == self._overflows:
            return None
        self._streams.counters.held_overflows += 1
        return LiveError(
            ErrorCode.OVERLOADED, f"too much was published on {self._topic!r} while it was being loaded; try again"
        )

    def _members(self, largest: int) -> bytes:
        if (error := self._fault()) is not None:
            raise error
        value = encode(self.value)
        if len(value) + len(self.members) > largest:
            check_size(value + self.members, largest)
        return ok_members(value, self._extra())

    def _extra(self) -> bytes:
        if self._topic is None:
            return b',"gated":true'
        declaration: Any = self._entry.declaration
        options = declaration.options
        extra = [b',"topic":', encode(self._topic), b',"merge":', encode(options.merge)]
        if options.merge == "crud":
            extra += [b',"key":', encode(options.key)]
        if options.prepend:
            extra.append(b',"prepend":true')
        if options.max:
            extra.append(b',"max":%d' % options.max)
        if isinstance(declaration, Channel):
            extra.append(b',"channel":true')
        extra.append(self.members)
        return b"".join(extra)
