"""One use of a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from liverpc.client.listeners import guarded
from liverpc.client.store import Store, StreamObserver, StreamStatus
from liverpc.errors import RpcError
from liverpc.wire.frames import EventFrame

__all__ = ["StreamStatus", "Subscription"]


class Subscription:
    """Shows a stream, and everything it shows is as of now; made by :meth:`ClientCore.subscribe`.

    Subscriptions of the same stream share one request and one value. One that has left shows on what it
    showed last.

    Args:
        path: For example ``chat/messages``.
        args: Anything with a JSON form.
        result_type: The type of the whole value; rows of a ``list[Row]`` are converted one by one.
        timeout: Seconds until an unanswered request turns the stream to ``error``. Of several subscriptions
            of a stream, that of the first counts.
        schema_version: The version of the rows' schema to ask for; None: the server's.
        on_change: Called after each change of value or status.
        on_event: Called with each event instead: nothing is decoded, there is no value, and nothing is shared.
        observer: Told each step by which the value comes about, before ``on_change``; nothing is shared, either.
    """

    def __init__(
        self,
        path: str,
        args: list[Any],
        *,
        result_type: Any = Any,
        timeout: float,
        schema_version: int | None = None,
        on_change: Callable[[Subscription], object] | None = None,
        on_event: Callable[[EventFrame], object] | None = None,
        observer: StreamObserver | None = None,
    ) -> None:
        self.store = Store(
            path,
            args,
            result_type=result_type,
            timeout=timeout,
            schema_version=schema_version,
            on_event=on_event,
            observer=observer,
        )
        self._on_change = on_change
        self._value: Any = None
        self._value_version = 0
        self._earlier = 0  # versions, of a value that was shown before it shared a store
        self._error: RpcError | None = None
        self._error_of: RpcError | None = None

    @property
    def path(self) -> str:
        """The stream's path."""
        return self.store.path

    @property
    def status(self) -> StreamStatus:
        """``loading`` until the first answer; ``connected``; ``reconnecting`` while the connection is lost;
        ``error`` when the server refused the stream, did not answer in time or sent a value that does not
        fit, and when the connection is closed for good.
        """
        return self.store.status

    @property
    def error(self) -> RpcError | None:
        """Why, exactly while the status is ``error``; an object of this subscription's own."""
        error = self.store.error
        if error is not self._error_of:
            self._error_of = error
            self._error = None if error is None else RpcError.from_dict(error.to_dict())
        return self._error

    @property
    def topic(self) -> str | None:
        """What the server calls the events, once known."""
        return self.store.topic

    @property
    def version(self) -> int:
        """Counts the values; 0 means there was none yet."""
        return self._earlier + self.store.version

    @property
    def answered(self) -> bool:
        """Whether the server has answered those who use the stream now, be it with an error."""
        return self.store.answered

    @property
    def has_value(self) -> bool:
        """Whether there is a value; a stream whose gate was shut has none any more."""
        return self.store.has_value

    @property
    def has_more(self) -> bool:
        """Whether the server has further pages."""
        return self.store.has_more

    @property
    def value(self) -> Any:
        """The current value, which stays through errors and reconnects; the same object until it changes.

        A list, or under ``set`` a dict, is this subscription's own and may be changed. Its rows are shared by
        all who show the stream.

        Raises:
            LookupError: There is none.
        """
        store = self.store
        if not store.has_value:
            why = "its gate is shut at present" if store.gated else f"its status is {store.status!r}"
            raise LookupError(f"{store.path} has no value yet; {why}")
        if self._value_version != store.version:
            value = store.value
            self._value = value.copy() if type(value) in (list, dict) else value
            self._value_version = store.version
        return self._value

    def hydrate(self, value: Any) -> None:
        """Show a value until the server's comes, unless there is one. One that does not fit is logged instead.

        Args:
            value: Of the declared type, or its JSON form.
        """
        self.store.hydrate(value)

    # -- for Streams and Store

    def join(self, store: Store) -> None:
        """Show another's store from now on."""
        if self.store.has_value and not store.has_value:
            store.hydrate(self.store.value)
        self._earlier = self.store.version
        self.store = store
        self._value_version = 0

    def leave(self) -> None:
        """Show on what is shown now."""
        if self.store.has_value:
            _ = self.value  # the copy must not ask for it later
        self.store = self.store.last()

    def tell(self) -> None:
        if self._on_change is not None:
            guarded(self._on_change, self)
