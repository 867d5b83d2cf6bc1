"""The asyncio client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import msgspec

from liverpc._types import Binary, P, R, Rpc, Stream, T, Upload
from liverpc.client.batch import Batch
from liverpc.client.connection import Connection
from liverpc.client.contract import ContractPage
from liverpc.client.core import Status
from liverpc.client.failure import Failure
from liverpc.client.handles import StreamHandle
from liverpc.client.inbox import Health
from liverpc.client.options import CallOptions, check_data, check_target
from liverpc.client.push import PushHandler
from liverpc.client.sources import Data, Source
from liverpc.client.uploading import UploadHandle
from liverpc.client.urls import parts_of
from liverpc.pages import PageContract

__all__ = ["Client", "ClientCounters"]

C = TypeVar("C", bound=PageContract[Any])
D = TypeVar("D")


class ClientCounters(msgspec.Struct, frozen=True):
    """What a client has refused and dropped since it was made; all zero in a program that is well."""

    calls_refused: int = 0  #: failed at once with ``DISCONNECTED``: 1000 waited for a connection already
    fires_dropped: int = 0  #: for which ``fire`` returned False
    questions_refused: int = 0  #: answered with an error: 64 handlers of ``on_push`` ran already
    answers_dropped: int = 0  #: of handlers; their connection was gone, or more than 4 MiB waited to be sent
    calls_overflowed: int = 0  #: of the offline queue, failed with ``QUEUE_FULL``
    calls_stale: int = 0  #: of the offline queue, failed with ``STALE``
    streams_evicted: int = 0  #: values kept for handles to come that were forgotten early: 1000 were kept
    events_dropped: int = 0  #: held back because earlier ones were missing, 1000 for one stream; all was asked for anew
    resyncs: int = 0  #: requests for events that were missing
    changes_refused: int = 0  #: optimistic changes, failed with ``QUEUE_FULL``: 1000 of the stream waited already
    uploads_refused: int = 0  #: as ``calls_refused``
    contract_events_dropped: int = 0  #: nobody took them from ``page.events()``, where 1000 waited already
    contract_events_unreadable: int = 0  #: their payload did not fit its declared type


class Client:
    """A connection to a server that comes back when it is lost; made by :func:`connect`.

    ``async with`` opens it, which waits for the first connection, and closes it. All of it belongs to the
    event loop it was made on; it is not thread-safe.
    """

    def __init__(self, connection: Connection, options: CallOptions | None = None) -> None:
        self._connection = connection
        self._options = options or CallOptions()

    # -- life

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close for good. Unfinished calls, uploads and open streams get ``CONNECTION_CLOSED``. Harmless when closed.

        What was fired before, answered, or cancelled of uploads is still sent, if the network takes it within a second.
        """
        await self._connection.close()

    @property
    def status(self) -> Status:
        """``connecting`` until the first connection, then ``connected`` or ``reconnecting``; ``closed`` is final."""
        return self._connection.core.status

    @property
    def failure(self) -> Failure | None:
        """Why the connection was last lost or refused; None while connected and after :meth:`aclose`."""
        return self._connection.core.failure

    @property
    def health(self) -> Health:
        """What the server last said of itself on this connection: ``degraded``, otherwise ``healthy``."""
        return self._connection.core.inbox.health

    @property
    def quiescent(self) -> bool:
        """Whether no stream is loading or reconnecting. A stream with an error has settled, too."""
        return self._connection.core.quiescent

    @property
    def counters(self) -> ClientCounters:
        """What was refused and dropped so far; the next ones are another object."""
        core, pushes = self._connection.core, self._connection.pushes
        offline = core.offline
        return ClientCounters(
            calls_refused=core.refused,
            fires_dropped=core.dropped,
            questions_refused=pushes.refused,
            answers_dropped=core.inbox.unanswered,
            calls_overflowed=offline.overflowed if offline else 0,
            streams_evicted=core.streams.counters.evicted,
            events_dropped=core.streams.counters.overflowed,
            resyncs=core.streams.counters.resyncs,
            changes_refused=core.streams.counters.changes_refused,
            calls_stale=offline.stale if offline else 0,
            uploads_refused=core.uploads.refused,
            contract_events_dropped=core.contracts.dropped,
            contract_events_unreadable=core.contracts.unreadable,
        )

    async def wait_quiescent(self) -> None:
        """Return when :attr:`quiescent` is true; at once if it is."""
        await self._connection.wait_quiescent()

    # -- news

    def on_status(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call ``callback`` with the new status after each change.

        Returns:
            A function that ends it.
        """
        return self._connection.on_status.add(callback)

    def on_health(self, callback: Callable[[Health], object]) -> Callable[[], None]:
        """Call ``callback`` with the new health after each change. Returns a function that ends it."""
        return self._connection.on_health.add(callback)

    def on_connect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback`` when the connection is back; not for the first one. Returns a function that ends it."""
        return self._connection.on_transition(callback, back=True)

    def on_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback`` when the connection has ended, however. Returns a function that ends it."""
        return self._connection.on_transition(callback, back=False)

    def on_push(self, event: str, handler: PushHandler) -> Callable[[], None]:
        """Let ``handler`` answer what the server asks under the name ``event``.

        It gets the question's data, decoded; what it returns, or the coroutine it returns, is the answer.
        A ``LiveError`` or ``RpcError`` it raises is told to the server, of any other exception only that
        there was one. The frame with the answer has 8191 bytes at most. 64 handlers run at the same time;
        further questions are answered with an error. A later handler for the same event replaces this one. Without
        any handler at all the client answers nothing.

        Returns:
            A function that removes this handler, and no other.
        """
        return self._connection.pushes.on(event, handler)

    def on_signal(self, event: str, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Call ``callback`` with the data of each signal of this name to the user of this client.

        Returns:
            A function that ends it. Others for the same signal are not concerned.
        """
        return self._connection.core.inbox.signals.on(event, callback)

    # -- use

    def using(
        self, *, timeout: float | None = None, fresh: bool | None = None, idempotency_key: str | None = None
    ) -> Client:
        """The same connection with other options for calls and streams; what is not given stays as it is.

        Args:
            timeout: Seconds a call's result, or a stream's first answer, may take. Default: as configured. Of an
                upload: seconds for all of it; default: any number.
                Calls with a timeout of their own are never shared.
            fresh: Make a request of its own of each call. Otherwise identical calls of one loop turn share
                one; see :meth:`call`.
            idempotency_key: Lets the server recognise a repetition of the call; 1 to 256 characters.

        Raises:
            ValueError: The timeout or the key cannot be.
        """
        return Client(self._connection, self._options.using(timeout, fresh, idempotency_key))

    async def call(self, fn: Rpc[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function on the server.

        Identical calls, those of the same function with the same arguments, become one request when they
        are made in the same turn of the event loop. Each gets a result object of its own. Calls with an
        idempotency key are identical when path and key are.

        While the connection is lost, the call waits for the next one, in the :class:`OfflineQueue` if there is
        one; otherwise 1000 calls do so at most. A cancelled call is forgotten: the server may still run it if
        it was sent.

        Raises:
            RpcError: The server answered with an error; or ``TIMEOUT``, ``DISCONNECTED`` (the connection was
                lost meanwhile, or this device slept; the call may have run), ``CONNECTION_CLOSED``,
                ``INVALID_RESULT``; with an offline queue also ``QUEUE_FULL`` and ``STALE``.
            TypeError: The arguments do not fit the function, or have no JSON form.
        """
        check_target(fn, Rpc, "call()")
        result: R = await self._connection.call(fn.path, fn.bind(args, kwargs), fn.result_type, self._options)
        return result

    def batch(self, *, sequential: bool = False) -> Batch:
        """Several calls in one frame, sent when the block ends: ``async with client.batch() as batch: …``.

        Leaving the block waits for all answers. One call alone is sent as an ordinary call, none not at all,
        and after an exception in the block nothing is.

        Args:
            sequential: The server runs one call after the other, and goes on after failures.

        Raises:
            ValueError: This client has an idempotency key, which belongs to one call.
        """
        return Batch(self._connection, self._options, sequential=sequential)

    def fire(self, fn: Rpc[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Call a function and never hear of it again.

        Returns:
            False when the call was dropped: there is no connection, or more than 4 MiB wait to be sent.

        Raises:
            TypeError: The arguments do not fit the function, or have no JSON form.
        """
        check_target(fn, Rpc, "fire()")
        return self._connection.fire(fn.path, fn.bind(args, kwargs))

    async def binary(self, fn: Binary[P, R], data: Data, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function with bytes, all in one message. Larger amounts, and files, are better uploaded.

        Otherwise as :meth:`call`, but each is a request of its own, and those in an offline queue are never sent twice.

        Args:
            fn: The function.
            data: What it gets behind its context; perhaps nothing.
            args: Its other arguments.
            kwargs: The same by name.

        Raises:
            RpcError: As :meth:`call`; ``PAYLOAD_TOO_LARGE`` also when the arguments have more than 65 535 bytes, or the
                message is larger than the server is known to take.
            TypeError: The data is not bytes; the arguments do not fit the function, or have no JSON form.
            ValueError: This client has an idempotency key, which binary calls cannot carry.
        """
        check_target(fn, Binary, "binary()")
        check_data(data)
        options = self._options.keyless("a binary call")
        result: R = await self._connection.binary(fn.path, fn.bind(args, kwargs), data, fn.result_type, options)
        return result

    def upload(self, fn: Upload[P, R], source: Source, /, *args: P.args, **kwargs: P.kwargs) -> UploadHandle[R]:
        """Send any amount of bytes to a function that takes them as they come: ``await client.upload(put, path)``.

        It begins by itself. While the connection is lost, an upload that has not begun waits as calls do; one that has
        begun ends with ``DISCONNECTED``. It takes as long as it takes, unless ``using(timeout=)`` says otherwise: that
        is for the whole of it.

        The memory it needs does not depend on its size. Chunks pass no other frame: a call made meanwhile waits
        behind one of them at most. The server says how much each upload may send ahead of its function.

        Args:
            fn: The function.
            source: ``bytes``, a ``Path``, a file opened in binary mode, one whose ``read`` is a coroutine function, or
                an iterable or asynchronous iterable of bytes. Paths and files are read on a thread; other iterators
                are asked on the loop and must not block. Paths and iterators are closed in the end, files are not.
                What holds the bytes must not change meanwhile.
            args: Arguments of the function.
            kwargs: The same by name.

        Raises:
            TypeError: The source is none of these; the arguments do not fit the function, or have no JSON form.
            ValueError: This client has an idempotency key, which uploads cannot carry.

        Awaiting raises:
            RpcError: See :meth:`UploadHandle.__await__`.
        """
        return self._upload(fn, source, args, kwargs)

    def _upload(
        self,
        fn: Upload[..., R],
        source: Source,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        in_thread: bool = False,
    ) -> UploadHandle[R]:
        check_target(fn, Upload, "upload()")
        options = self._options.keyless("an upload")
        return self._connection.upload(fn, fn.bind(args, kwargs), source, options, in_thread=in_thread)

    def stream(self, fn: Stream[P, T], /, *args: P.args, **kwargs: P.kwargs) -> StreamHandle[T]:
        """A stream of the server, not opened yet: ``async with client.stream(messages) as handle: …``.

        Raises:
            TypeError: The arguments do not fit the stream.
        """
        check_target(fn, Stream, "stream()")
        return StreamHandle(self._connection, fn.path, fn.bind(args, kwargs), fn.result_type, self._options.timeout)

    @overload
    def open(self, contract: Callable[[D, Any], C], params: D, /) -> ContractPage[C]: ...
    @overload
    def open(self, contract: type[C], /, **parts: str | int) -> ContractPage[C]: ...
    def open(self, contract: Any, params: Any = None, /, **parts: Any) -> ContractPage[Any]:
        """A contract on this connection, not opened yet: ``async with client.open(Chat, room_id="b") as page: …``.

        A client has each contract, by its name, once at a time. Leaving the block leaves its rooms.

        Args:
            contract: The class.
            params: Of the URL; or its parts by name. What the connection's own URL is does not matter.
            parts: The same by name.

        Raises:
            TypeError: A part is missing, empty, no text or number, or there is one too many; or the class has no
                ``path=``.
            ValueError: This client has an idempotency key, which belongs to one call.
        """
        return ContractPage(self, self._connection, self._options, contract, parts_of(contract, params, parts))
