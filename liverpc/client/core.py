"""The client without I/O: calls, streams, uploads and reconnecting as plain functions.

A shell owns the socket and the clock. It tells the core what happened (:meth:`ClientCore.connection_opened`,
:meth:`~ClientCore.receive`, :meth:`~ClientCore.connection_lost`, :meth:`~ClientCore.tick`) and sends what
:meth:`~ClientCore.outgoing` yields. Everything happens inside those calls: results and events arrive as
callbacks, so one thread or greenlet can send a call and read until it is done::

    core.connection_opened()
    call = core.call("chat/send", ["hi"])
    for message in core.outgoing():
        send(message)
    while not call.done:
        core.receive(recv())
    message = call.result(Message)
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from liverpc.client.calls import Batch, Call, Calls
from liverpc.client.failure import Backoff
from liverpc.client.inbox import Inbox
from liverpc.client.link import Link, Status
from liverpc.client.offline import OfflineCalls, OfflineQueue
from liverpc.client.opened import OpenContracts
from liverpc.client.outbox import UNSENT_MAX, Outbox
from liverpc.client.store import StreamObserver
from liverpc.client.streams import Streams
from liverpc.client.subscription import Subscription
from liverpc.client.uploads import Upload, Uploads
from liverpc.config import ClientConfig
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.codec import call_text, control_text
from liverpc.wire.frames import EventFrame

__all__ = ["QUEUE_MAX", "UNSENT_MAX", "Call", "ClientCore", "Status", "Upload"]

QUEUE_MAX = 1000  # requests waiting for a connection; calls beyond fail with DISCONNECTED


class ClientCore(Link):
    """One client: the state that survives reconnects. Not thread-safe; never blocks.

    After every method that may have made frames or deadlines, a shell looks at :meth:`outgoing`, :meth:`next_deadline`
    and :attr:`turn_is_open`. A turn is what lies between two calls of :meth:`end_turn`.

    Attributes, besides those of :class:`Link`:
        refused: Calls that failed because too many waited for a connection already.
        dropped: Calls that :meth:`fire` did not send.
        contracts: What it has open.
        streams: What it listens to.
        uploads: What it uploads.
        inbox: What arrives; it has the server's health, passes its questions on and takes the answers.
        offline: The queue of the calls made without a connection; None: they wait as the requests of streams do.

    Args:
        config: Time limits, back-off.
        offline: Gives the client such a queue.
        monotonic: The clock all deadlines refer to.
        wall: Seconds since the epoch, by a clock that goes on while the device sleeps.
        rng: For ids and for jitter.
    """

    def __init__(
        self,
        config: ClientConfig | None = None,
        *,
        offline: OfflineQueue | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config or ClientConfig()
        rng = rng or random.Random()
        super().__init__(self.config, rng)
        self.refused = 0
        self.dropped = 0
        # Without a connection, this is also the queue of what will be sent: a call that ended leaves it, and
        # so is never sent late.
        self._calls = Calls(monotonic, wall, rng)
        self.uploads = Uploads(self.config.upload_frame_bytes, monotonic, self._refusal)
        self._outbox = Outbox(self._calls, self.uploads)
        self.offline: OfflineCalls | None = None
        if offline is not None:
            self.offline = OfflineCalls(offline, self._calls, self._outbox.put, monotonic, wall)

        def backoff() -> Backoff:
            return Backoff(self.config, rng)

        self.contracts = OpenContracts(self._calls, self._start, self._end_calls, now=monotonic, backoff=backoff)
        self.streams = Streams(
            self._calls,
            self._start,
            self._outbox.put,
            now=monotonic,
            backoff=backoff,
            grace=self.config.resume_grace,
        )
        self.inbox = Inbox(self._calls, self.contracts, self.streams, self.uploads, self._outbox)

    # -- the connection

    def connection_opened(self) -> None:
        """A socket is open: say hello, open contracts and streams, send the calls that waited."""
        if self.status == "closed":
            return
        requests = [*self.contracts.reopen(), *self.streams.reopen()]  # before the status says that they may be sent
        self._opened()
        self.inbox.connection_opened()
        self.uploads.connection_opened()
        self._outbox.put(control_text("hello", caps=["batch", "upload"]))
        # Contracts and streams first, then everything else in its order; a batch as the one frame it is.
        waiting = (call for call in self._calls.all() if call.deadline is not None)  # the others: offline.start()
        for item in dict.fromkeys((*requests, *(call.batch or call for call in waiting))):
            self._outbox.put(item)
        if self.offline is not None:
            self.offline.start()

    def outgoing(self) -> Iterator[str | bytes]:
        """The messages to send now, in order, each handed out once; those of uploads whenever nothing else waits.

        What ended before the iterator reaches it is left out: a shell that waits for the socket between two
        frames never sends a call that failed meanwhile. After :meth:`close`, what nobody waits for is left: what was
        fired or answered before, and what gives uploads up. A shell sends it before it says goodbye.
        """
        return self._outbox.take()

    @property
    def has_outgoing(self) -> bool:
        """Whether :meth:`outgoing` may have something to yield."""
        return bool(self._outbox)

    @property
    def quiescent(self) -> bool:
        """Whether no stream is loading or reconnecting; one with an error has settled."""
        return self.streams.quiescent

    def receive(self, text: str | bytes) -> None:
        """Take one message. What is not understood is ignored."""
        if self.status == "connected":
            self.inbox.take(text)
            if self.offline is not None:
                self.offline.advance()

    # -- time

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do next; None: nothing is due."""
        parts = (self._calls, self.contracts, self.streams, self.uploads)
        return min((due for part in parts if (due := part.next_deadline()) is not None), default=None)

    def tick(self) -> None:
        """Do what is due. Requests whose time is up get ``TIMEOUT``, or ``DISCONNECTED`` when the device slept."""
        self._calls.expire()
        self.contracts.expire()
        self.streams.expire()
        self.uploads.expire()
        if self.offline is not None:
            self.offline.advance()

    # -- calls

    def call(
        self,
        path: str,
        args: list[Any],
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        shared: bool = False,
        on_done: Callable[[Call], object] | None = None,
    ) -> Call:
        """Start a call. Without a connection it waits for one and its time runs; in an offline queue it does not.

        Args:
            path: For example ``chat/send``.
            args: Anything with a JSON form.
            timeout: Seconds until it fails with ``TIMEOUT``; ``math.inf``: never. Default: the configuration's.
            idempotency_key: Lets the server recognise a repetition.
            shared: Make one request of this and of the identical shared calls before :meth:`end_turn`: those
                of the same path with the same key or, without key, the same arguments.
            on_done: Called once when it ends, perhaps before this method returns; not after :meth:`cancel`.

        Raises:
            TypeError: An argument has no JSON form.
        """
        timeout = self.config.timeout if timeout is None else timeout
        key = self._calls.shared_key(path, args, idempotency_key) if shared else None
        if key is not None and (joined := self._calls.join(key, timeout, on_done)) is not None:
            return joined
        call = self._calls.new(path, args, timeout, on_done, idempotency_key=idempotency_key)
        if self._admits([call]):
            self._begin(call)
            if key is not None:
                self._calls.offer(key, call)
        return call

    def binary(
        self,
        path: str,
        args: list[Any],
        data: bytes | bytearray | memoryview,
        *,
        timeout: float | None = None,
        on_done: Callable[[Call], object] | None = None,
    ) -> Call:
        """Start a call that carries bytes, which are copied; the rest is as for :meth:`call`.

        It fails with ``PAYLOAD_TOO_LARGE`` when path and arguments have more than 65 535 bytes, or the message is
        larger than the server has said it takes.

        Raises:
            TypeError: An argument has no JSON form.
        """
        call = self._calls.new_binary(path, args, data, self.config.timeout if timeout is None else timeout, on_done)
        if not call.done and self._admits([call]):
            self._begin(call)
        return call

    def batch(
        self,
        requests: list[tuple[str, list[Any]]],
        *,
        sequential: bool = False,
        timeout: float | None = None,
        on_done: Callable[[Call], object] | None = None,
    ) -> list[Call]:
        """Start several calls in one frame (docs/protocol.md section 4); one alone is an ordinary call.

        Args:
            requests: Path and arguments of each; 50 at most, which whoever collects them sees to.
            sequential: The server runs one after the other, not all at once.
            timeout: As for :meth:`call`, of each.
            on_done: Called for each, as for :meth:`call`.

        Raises:
            TypeError: An argument has no JSON form. Nothing is sent then.
        """
        timeout = self.config.timeout if timeout is None else timeout
        calls = [self._calls.new(path, args, timeout, on_done) for path, args in requests]
        if self._admits(calls):
            item = Batch(calls, sequential=sequential) if len(calls) > 1 else None
            if self.offline is not None and not self.offline.idle:
                self.offline.add(calls)
                return calls
            for call in calls:
                self._calls.add(call)
            if self.status == "connected":
                for each in calls if item is None else (item,):
                    self._outbox.put(each)
        return calls

    def fire(self, path: str, args: list[Any]) -> bool:
        """Send a call nobody waits for.

        Returns:
            False, and the call is dropped, without a connection or when more than 4 MiB wait for the socket.

        Raises:
            TypeError: An argument has no JSON form.
        """
        text = call_text(path, None, args)
        if self.status != "connected" or self._outbox.full:
            self.dropped += 1
            return False
        self._outbox.put(text)
        return True

    def cancel(self, call: Call) -> None:
        """Forget a call: its answer is ignored, and it is not sent if it was not yet.

        Others who share the request still get the answer.
        """
        self._calls.cancel(call)
        if self.offline is not None:
            self.offline.forget(call.id)
            self.offline.advance()

    @property
    def turn_is_open(self) -> bool:
        """Whether :meth:`end_turn` has something to do."""
        return self._calls.offers or self.streams.turn_is_open

    def end_turn(self) -> None:
        """Calls made from now on share no request with those made before; streams that nobody uses are left."""
        self._calls.end_turn()
        self.streams.end_turn()

    # -- streams

    def subscribe(
        self,
        path: str,
        args: list[Any],
        *,
        result_type: Any = Any,
        timeout: float | None = None,
        schema_version: int | None = None,
        on_change: Callable[[Subscription], object] | None = None,
        on_event: Callable[[EventFrame], object] | None = None,
        observer: StreamObserver | None = None,
    ) -> Subscription:
        """Start listening to a stream and stay subscribed through reconnects.

        The arguments are those of :class:`Subscription`; the timeout is the configuration's by default.

        Raises:
            TypeError: An argument has no JSON form.
        """
        subscription = Subscription(
            path,
            args,
            result_type=result_type,
            timeout=self.config.timeout if timeout is None else timeout,
            schema_version=schema_version,
            on_change=on_change,
            on_event=on_event,
            observer=observer,
        )
        return self.listen(subscription)

    def listen(self, subscription: Subscription) -> Subscription:
        """The same with a subscription that exists and was not used yet; returns it."""
        if self.status == "closed":
            subscription.store.fail(self.closed_error())
        else:
            self.streams.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening; the server is told by :meth:`end_turn`, unless somebody came back. Harmless when done."""
        self.streams.remove(subscription)

    # -- inside: requests

    def _admits(self, calls: list[Call]) -> bool:
        """Whether there is room for more requests; if not, they have ended."""
        reason = self._refusal(len(calls)) if self.offline is None or self.status == "closed" else None
        if reason is None:
            return True
        self.refused += len(calls) if self.status != "closed" else 0
        for call in calls:
            call.end(RpcError(*reason))
        return False

    def _refusal(self, count: int = 1) -> tuple[ErrorCode, str] | None:
        """Why so many more requests cannot be; None: they can."""
        if self.status == "closed":
            return ErrorCode.CONNECTION_CLOSED, self._why_closed
        if self.status != "connected" and len(self._calls) + len(self.uploads) + count > QUEUE_MAX:
            return ErrorCode.DISCONNECTED, f"there is no connection, and {QUEUE_MAX} requests wait for one already"
        return None

    def _begin(self, call: Call) -> None:
        if self.offline is None or self.offline.idle:
            self._start(call)
        else:
            self.offline.add([call])

    def _start(self, call: Call) -> None:
        self._calls.add(call)
        if self.status == "connected":
            self._outbox.put(call)

    def _end_calls(self, calls: Collection[Call], why: str) -> None:
        for call in calls:
            self._calls.answer(call, RpcError(ErrorCode.CONNECTION_CLOSED, why))
            if self.offline is not None:
                self.offline.forget(call.id)
        if self.offline is not None:  # not before, for it would send the next of them
            self.offline.advance()

    # -- inside: losing the connection, for Link

    def _suspend(self, told: str) -> None:
        opening = self.contracts.opening() | self.streams.opening()
        waiting = {call.id for call in opening}
        if self.offline is not None:
            waiting |= self.offline.suspend(name for name in self._outbox.requests() if name not in waiting)
        self._outbox.clear()
        self._forget_connection()
        for call in self._calls.all():
            if call.id not in waiting:
                self._calls.answer(call, RpcError(ErrorCode.DISCONNECTED, f"the connection was lost: {told}"))
        self.uploads.connection_lost(
            lambda upload: RpcError(ErrorCode.DISCONNECTED, f"{upload.path}: the connection was lost: {told}")
        )
        self.contracts.suspend()
        self.streams.suspend()

    def _end(self, *, lost: bool) -> None:
        if lost:
            self._outbox.clear()
        self._forget_connection()
        contracts, stores = self.contracts.drop(), self.streams.drop()
        for call in self._calls.all():
            self._calls.answer(call, self.closed_error())
        self.uploads.close(lambda _: self.closed_error(), lost=lost)
        for contract in contracts:
            contract.become("closed", self.closed_error())
        for store in stores:
            store.fail(self.closed_error())

    def _forget_connection(self) -> None:
        self.inbox.connection_lost()
        self.streams.forget_connection()
        self._calls.end_turn()
