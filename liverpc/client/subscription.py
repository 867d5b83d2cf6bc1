"""What a client knows of one stream: its value, and how replies and events change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec import UNSET

from liverpc.client.convert import read_json, row_converter
from liverpc.client.listeners import guarded
from liverpc.errors import ErrorCode, RpcError
from liverpc.merge import Fold, make_fold
from liverpc.wire.frames import EventFrame, Reply

__all__ = ["StreamStatus", "Subscription"]

StreamStatus = Literal["loading", "connected", "reconnecting", "error"]


class Subscription:
    """One use of a stream; made by :meth:`ClientCore.subscribe`, which also keeps it up to date.

    Attributes:
        path: The stream's path.
        args: Its arguments, in wire order.
        status: ``loading`` until the first answer; ``connected``; ``reconnecting`` while the connection is
            lost; ``error`` when the server refused the stream, did not answer in time or sent a value that
            does not fit, and when the connection is closed for good.
        error: Why, exactly while the status is ``error``.
        topic: What the server calls the events, once known.
        version: Counts the values; 0 means there is none yet.
        answered: Whether the server ever answered, be it with an error.
    """

    def __init__(
        self,
        path: str,
        args: list[Any],
        *,
        result_type: Any = Any,
        timeout: float,
        on_change: Callable[[Subscription], object] | None = None,
        on_event: Callable[[EventFrame], object] | None = None,
    ) -> None:
        self.path = path
        self.args = args
        self.timeout = timeout
        self.status: StreamStatus = "loading"
        self.error: RpcError | None = None
        self.topic: str | None = None
        self.version = 0
        self.answered = False
        self._result_type = result_type
        self._on_change = on_change
        self._on_event = on_event
        self._options: tuple[str, str, bool, int] | None = None
        self._fold: Fold | None = None

    @property
    def value(self) -> Any:
        """The current value, which stays through errors and reconnects.

        Raises:
            LookupError: There is none yet.
        """
        if self._fold is None or not self.version:
            raise LookupError(f"{self.path} has no value yet; its status is {self.status!r}")
        return self._fold.value

    # -- for ClientCore

    def load(self, reply: Reply) -> None:
        """Take the answer to a stream request."""
        self.answered = True
        self.topic = reply.topic
        if self._on_event is None:
            try:
                self._install(reply)
            except Exception as error:  # a type's own __post_init__ may raise anything
                self.fail(RpcError(ErrorCode.STREAM_ERROR, f"{self.path}: the initial data: {error}"))
                return
        self._become("connected")

    def _install(self, reply: Reply) -> None:
        data = None if reply.data is UNSET else read_json(reply.data)
        if reply.topic is None:
            if data is not None:
                raise TypeError("the answer names no topic; is this a call rather than a stream?")
            return  # the server has nothing to stream at present
        options = (reply.merge, reply.key, reply.prepend, reply.max)
        if options != self._options or self._fold is None:
            merge, key, prepend, limit = options
            convert = row_converter(merge, self._result_type)
            fold = make_fold(merge, key=key, prepend=prepend, max=limit, convert=convert)
        elif reply.channel and self.version:
            return  # channels have no loader: what was collected so far is all there is
        else:
            fold = self._fold
        if not (reply.channel and data is None):
            fold.load(data)
        self._fold = fold
        self._options = options
        self.version += 1

    def apply(self, frame: EventFrame) -> None:
        """Take an event of the topic."""
        if self._on_event is not None:
            guarded(self._on_event, frame)
            return
        if self._fold is None:
            return
        try:
            changed = self._fold.apply(frame.event, read_json(frame.data))
        except Exception as error:
            self.fail(RpcError(ErrorCode.STREAM_ERROR, f"{self.path}: the event {frame.event!r}: {error}"))
            return
        if changed:
            self.version += 1
            self._changed()

    def fail(self, error: RpcError) -> None:
        """Enter the status ``error``. The value stays."""
        self.answered = True
        self._become("error", error)

    def suspend(self) -> None:
        """The connection is lost."""
        if self.status != "loading":
            self._become("reconnecting")

    def _become(self, status: StreamStatus, error: RpcError | None = None) -> None:
        self.status = status
        self.error = error
        self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            guarded(self._on_change, self)
