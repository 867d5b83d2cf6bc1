"""What a blocking program holds of a batch, a stream and an upload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from liverpc._types import P, R, Rpc, T
from liverpc.client import batch, handles, uploading
from liverpc.client.batch import Reply
from liverpc.client.portal import Blocking, Portal
from liverpc.client.subscription import StreamStatus
from liverpc.client.sync_changes import BlockingChanges
from liverpc.client.uploading import Progress
from liverpc.errors import RpcError

__all__ = ["Batch", "StreamHandle", "UploadHandle"]

D = TypeVar("D")


class Batch:
    """Calls that are sent together when the block ends; made by :meth:`Client.batch`."""

    def __init__(self, portal: Portal, inner: batch.Batch) -> None:
        self._portal = portal
        self._inner = inner

    def call(self, fn: Rpc[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Reply[R]:
        """Add a call; raises what the asyncio client's batch does."""
        return self._inner.call(fn, *args, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.run(lambda: self._inner.__aexit__(kind, error, trace))


class StreamHandle(BlockingChanges[T]):
    """One use of a stream, kept up to date until it is closed; made by :meth:`Client.stream`.

    ``with handle:`` opens it, which returns after the first answer, and closes it.
    """

    def __init__(self, portal: Portal, inner: handles.StreamHandle[T]) -> None:
        self._portal = portal
        self._inner = inner
        inner.block = "with"

    def open(self) -> Self:
        """Subscribe and wait for the first answer; raises what the asyncio client's handle does."""
        self._portal.run(self._inner.open)
        return self

    def close(self) -> None:
        """Leave the stream. The last value stays readable, iterators end. Harmless when done already."""
        with suppress(RpcError):  # the client was closed, and the stream with it
            self._portal.run(self._inner.aclose)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def value(self) -> T:
        """The current value. It changes by becoming another object: keep it, and it stays as it is.

        Raises:
            LookupError: There is none yet.
        """
        return self._portal.do(lambda: self._inner.value)

    @overload
    def get(self) -> T | None: ...
    @overload
    def get(self, default: D) -> T | D: ...
    def get(self, default: Any = None) -> Any:
        """The current value, or ``default`` before the first one."""
        return self._portal.do(lambda: self._inner.get(default))

    @property
    def status(self) -> StreamStatus:
        """As of the asyncio client's handle."""
        return self._inner.status

    @property
    def error(self) -> RpcError | None:
        """Why the status is ``error``; else None."""
        return self._portal.do(lambda: self._inner.error)

    @property
    def has_more(self) -> bool:
        """Whether the server has further pages; see :meth:`load_more`."""
        return self._inner.has_more

    def hydrate(self, value: T) -> None:
        """Show a value until the server's comes, as of the asyncio client's handle."""
        self._portal.do(lambda: self._inner.hydrate(value))

    def load_more(self, *extra_args: Any) -> bool:
        """Add the next page and return whether there are further ones, as of the asyncio client's handle."""
        return self._portal.run(lambda: self._inner.load_more(*extra_args))

    def subscribe_at(self, schema_version: int) -> StreamHandle[T]:
        """Another handle, not opened yet, for rows as of this version of their schema."""
        return StreamHandle(self._portal, self._inner.subscribe_at(schema_version))

    def __iter__(self) -> Iterator[T]:
        """The current value, if there is one, then each new one until the handle or the client is closed."""
        return self.values()

    def values(self, timeout: float | None = None) -> Iterator[T]:
        """As iterating over the handle.

        Raises:
            TimeoutError: No new value came within ``timeout`` seconds; the iterator can be asked again.
        """
        return Blocking(self._portal, aiter(self._inner), timeout)

    def wait_for(self, predicate: Callable[[T], object], timeout: float = 5.0) -> T:
        """The first value, beginning with the current one, for which ``predicate`` is true.

        The predicate is called on the client's own thread, after each change of value, status or error.

        Raises:
            TimeoutError: There was none within ``timeout`` seconds; the text tells the last value and status.
            RpcError: The handle or the client was closed meanwhile.
        """
        return self._portal.run(lambda: self._inner.wait_for(predicate, timeout))


class UploadHandle(Generic[R]):
    """One upload, which goes on by itself; made by :meth:`Client.upload`.

    Callbacks are called on the client's own thread, where waiting for the client is a ``RuntimeError``. It may be
    under way already when they are added; of its end they are always told. Once the client is closed, that is
    before the function returns which adds them.
    """

    def __init__(self, portal: Portal, inner: uploading.UploadHandle[R]) -> None:
        self._portal = portal
        self._inner = inner

    def result(self, timeout: float | None = None) -> R:
        """Wait for the end and return what the function did. An interrupted wait leaves the upload as it is.

        Raises:
            TimeoutError: It did not end within ``timeout`` seconds; it goes on.
            RpcError: As the asyncio client's handle.
        """

        async def wait() -> R:
            async with asyncio.timeout(timeout):
                return await self._inner

        return self._inner._outcome() if self._inner.done else self._portal.run(wait)

    @property
    def done(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self._inner.done

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        return self._portal.do(lambda: self._inner.progress)

    def cancel(self) -> None:
        """Give it up, as with the asyncio client's handle."""
        self._portal.do(self._inner.cancel)

    def on_progress(self, callback: Callable[[Progress], object]) -> Callable[[], None]:
        """Call ``callback`` whenever more was sent. Returns a function that ends it, as the others do."""
        return self._stopper(lambda: self._inner.on_progress(callback))

    def on_complete(self, callback: Callable[[R], object]) -> Callable[[], None]:
        """Call ``callback`` with what the function returned; soon, if it has already."""
        return self._stopper(lambda: self._inner.on_complete(callback))

    def on_cancel(self, callback: Callable[[RpcError], object]) -> Callable[[], None]:
        """Call ``callback`` with the error when it ends with ``CANCELLED``, before those of :meth:`on_error`."""
        return self._stopper(lambda: self._inner.on_cancel(callback))

    def on_error(self, callback: Callable[[RpcError], object]) -> Callable[[], None]:
        """Call ``callback`` with the error when it ends with one; soon, if it has already."""
        return self._stopper(lambda: self._inner.on_error(callback))

    def __repr__(self) -> str:
        return repr(self._inner)

    def _stopper(self, register: Callable[[], Callable[[], None]]) -> Callable[[], None]:
        stop = self._portal.do(register)
        return lambda: self._portal.do(stop)
