"""The client without I/O: calls, streams and reconnecting as plain functions.

A shell owns the socket and the clock. It tells the core what happened (:meth:`ClientCore.connection_opened`,
:meth:`~ClientCore.receive`, :meth:`~ClientCore.connection_lost`, :meth:`~ClientCore.tick`) and sends what
:meth:`~ClientCore.outgoing` yields. Everything happens inside those calls: results and events arrive as
callbacks, so one thread or greenlet can send a call and read until it is done::

    core.connection_opened()
    call = core.call("chat/send", ["hi"])
    for text in core.outgoing():
        send(text)
    while not call.done:
        core.receive(recv())
    message = call.result(Message)
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from liverpc.client.calls import Batch, Call, Calls
from liverpc.client.failure import Backoff, Failure, FailureClass
from liverpc.client.inbox import Inbox, Push
from liverpc.client.outbox import Outbox
from liverpc.client.streams import Streams
from liverpc.client.subscription import Subscription
from liverpc.config import ClientConfig
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.close import Advice, advice
from liverpc.wire.codec import answer_text, call_text, control_text
from liverpc.wire.frames import EventFrame

__all__ = ["QUEUE_MAX", "UNSENT_MAX", "Call", "ClientCore", "Status"]

Status = Literal["connecting", "connected", "reconnecting", "closed"]

QUEUE_MAX = 1000  # requests waiting for a connection; calls beyond fail with DISCONNECTED
UNSENT_MAX = 4 << 20  # characters waiting for the socket; what is fired or answered beyond is dropped


class ClientCore:
    """One client: the state that survives reconnects. Not thread-safe; never blocks.

    After every method that may have made frames or deadlines, a shell looks at :meth:`outgoing` and
    :meth:`next_deadline`.

    Attributes:
        status: ``connecting`` until the first open, then ``connected`` or ``reconnecting``; ``closed`` is
            final.
        failure: Why the connection was last lost; None while connected and after :meth:`close`.
        retry_delay: Seconds to wait before the next attempt, while there shall be one.
        refused: Calls that failed because too many waited for a connection already.
        dropped: Calls that :meth:`fire` did not send.
        unanswered: Questions whose answer :meth:`answer` did not send.
        inbox: What arrives; it has the server's health and passes its questions on.

    Args:
        config: Time limits, back-off.
        monotonic: The clock all deadlines refer to.
        wall: Seconds since the epoch, by a clock that goes on while the device sleeps.
        rng: For ids and for the back-off's jitter.
    """

    def __init__(
        self,
        config: ClientConfig | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config or ClientConfig()
        self.status: Status = "connecting"
        self.failure: Failure | None = None
        self.retry_delay: float | None = None
        self.refused = 0
        self.dropped = 0
        self.unanswered = 0
        rng = rng or random.Random()
        self._backoff = Backoff(self.config, rng)
        self._why_closed = ""
        # Without a connection, this is also the queue of what will be sent: a call that ended leaves it, and
        # so is never sent late.
        self._calls = Calls(monotonic, wall, rng)
        self._outbox = Outbox(self._calls)
        self._streams = Streams(self._calls, self._start, self._outbox.put)
        self.inbox = Inbox(self._calls, self._streams)

    # -- the connection

    def connection_opened(self) -> None:
        """A socket is open: say hello, request every stream, send the calls that waited."""
        if self.status == "closed":
            return
        requests = self._streams.reopen()  # before the status says that they may be sent
        self.status = "connected"
        self.failure = None
        self.retry_delay = None
        self.inbox.connection_opened()
        self._backoff.reset()
        self._outbox.put(control_text("hello", caps=["batch"]))
        # Streams first, then everything else in its order; a batch as the one frame it is.
        for item in dict.fromkeys((*requests, *(call.batch or call for call in self._calls.all()))):
            self._outbox.put(item)

    def connection_lost(self, code: int, reason: str = "") -> None:
        """The socket is closed, or an attempt to open one failed; ``retry_delay`` says what to do now.

        Calls that were made on an open connection fail with ``DISCONNECTED``; those made since wait on. A
        code that forbids retrying, or one failure too many, closes the client.

        Args:
            code: The close code; 1006 without one, 4000 plus the status for a refused handshake.
            reason: For people.
        """
        kind = advice(code)
        self._lost(Failure("ws-close", FailureClass(kind), reason, code=code), kind)

    def preflight_failed(self, status: int | None, reason: str = "") -> None:
        """The auth request before an attempt failed. A 4xx closes the client, everything else is tried again.

        Args:
            status: The HTTP status; None: there was no answer.
            reason: For people.
        """
        final = status is not None and 400 <= status < 500
        failure = Failure("auth-preflight", FailureClass.AUTH, reason, status=status)
        self._lost(failure, Advice.TERMINAL if final else Advice.RETRY)

    def retry_afresh(self) -> None:
        """The world has changed, and earlier failures say nothing any more: the waits begin anew."""
        self._backoff.reset()

    def close(self) -> None:
        """End the client: unfinished calls, streams and whatever is asked later get ``CONNECTION_CLOSED``."""
        if self.status != "closed":
            self.failure = None
            self._close("the client was closed")

    def outgoing(self) -> Iterator[str]:
        """The frames to send now, in order, each handed out once.

        What ended before the iterator reaches it is left out: a shell that waits for the socket between two
        frames never sends a call that failed meanwhile.
        """
        return self._outbox.take()

    @property
    def has_outgoing(self) -> bool:
        """Whether :meth:`outgoing` may have something to yield."""
        return bool(self._outbox)

    @property
    def quiescent(self) -> bool:
        """Whether no stream is loading or reconnecting. Streams with an error have settled, too."""
        return self._streams.quiescent

    def closed_error(self) -> RpcError:
        """What everything gets once the status is ``closed``; a new one for each, for exceptions collect traces."""
        return RpcError(ErrorCode.CONNECTION_CLOSED, self._why_closed)

    def receive(self, text: str | bytes) -> None:
        """Take one message. What is not understood is ignored."""
        if self.status == "connected":
            self.inbox.take(text)

    # -- time

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do next; None: nothing is due."""
        return self._calls.next_deadline()

    def tick(self) -> None:
        """End the requests whose time is up: with ``TIMEOUT``, or ``DISCONNECTED`` when the device slept."""
        self._calls.expire()

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
        """Start a call. Without a connection it waits for one and its time runs.

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
            self._start(call)
            if key is not None:
                self._calls.offer(key, call)
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
        if self.status != "connected" or self._outbox.unsent > UNSENT_MAX:
            self.dropped += 1
            return False
        self._outbox.put(text)
        return True

    def cancel(self, call: Call) -> None:
        """Forget a call: its answer is ignored, and it is not sent if it was not yet.

        Others who share the request still get the answer.
        """
        self._calls.cancel(call)

    @property
    def turn_is_open(self) -> bool:
        """Whether :meth:`end_turn` has something to do."""
        return self._calls.offers

    def end_turn(self) -> None:
        """Calls made from now on share no request with those made before."""
        self._calls.end_turn()

    # -- streams

    def subscribe(
        self,
        path: str,
        args: list[Any],
        *,
        result_type: Any = Any,
        timeout: float | None = None,
        on_change: Callable[[Subscription], object] | None = None,
        on_event: Callable[[EventFrame], object] | None = None,
    ) -> Subscription:
        """Start listening to a stream and stay subscribed through reconnects.

        Args:
            path: For example ``chat/messages``.
            args: Anything with a JSON form.
            result_type: The type of the whole value; rows of a ``list[Row]`` are converted one by one.
            timeout: Seconds until an unanswered request turns the stream to ``error``, where it stays until
                the next reconnect. Default: the configuration's.
            on_change: Called after each change of value or status.
            on_event: Called with each event instead: nothing is decoded, there is no value.

        Raises:
            TypeError: An argument has no JSON form.
        """
        subscription = Subscription(
            path,
            args,
            result_type=result_type,
            timeout=self.config.timeout if timeout is None else timeout,
            on_change=on_change,
            on_event=on_event,
        )
        if self.status == "closed":
            subscription.fail(self.closed_error())
        else:
            self._streams.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening. Harmless when done already."""
        self._streams.remove(subscription)

    # -- the server's questions

    def answer(self, push: Push, *, data: Any = None, error: str | None = None) -> None:
        """Answer a question, unless the connection it came on is gone or more than 4 MiB wait for the socket.

        Args:
            push: The question.
            data: The answer. What has no JSON form, or is larger than a control frame may be, becomes an error.
            error: Why there is none, for people.
        """
        gone = self.status != "connected" or push.connection != self.inbox.connection
        if gone or self._outbox.unsent > UNSENT_MAX:
            self.unanswered += 1
            return
        self._outbox.put(answer_text(push.request.ref, data, error))

    # -- inside: requests

    def _admits(self, calls: list[Call]) -> bool:
        """Whether there is room for more requests; if not, they have ended."""
        if self.status == "closed":
            code, why = ErrorCode.CONNECTION_CLOSED, self._why_closed
        elif self.status != "connected" and len(self._calls) + len(calls) > QUEUE_MAX:
            self.refused += len(calls)
            code, why = ErrorCode.DISCONNECTED, f"there is no connection, and {QUEUE_MAX} requests wait for one already"
        else:
            return True
        for call in calls:
            call.end(RpcError(code, why))
        return False

    def _start(self, call: Call) -> None:
        self._calls.add(call)
        if self.status == "connected":
            self._outbox.put(call)

    # -- inside: losing the connection

    def _lost(self, failure: Failure, what: Advice) -> None:
        if self.status == "closed":
            return
        was_open = self.status == "connected"
        if not was_open:
            self._backoff.failed += 1
            if what is not Advice.TERMINAL and self._backoff.exhausted:
                what = Advice.TERMINAL
                reason = f"gave up after {self._backoff.failed} failed attempts: {failure.reason or failure}"
                failure = msgspec.structs.replace(failure, failure_class=FailureClass.EXHAUSTED, reason=reason)
        self.failure = failure
        if what is Advice.TERMINAL:
            self._close(f"the connection is closed for good: {failure}")
            return
        self.retry_delay = self._backoff.delay(what)
        if was_open:
            self._suspend(str(failure))

    def _suspend(self, told: str) -> None:
        self.status = "reconnecting"
        self._forget_connection()
        opening = self._streams.opening()
        for call in self._calls.all():
            if call not in opening:
                self._calls.answer(call, RpcError(ErrorCode.DISCONNECTED, f"the connection was lost: {told}"))
        self._streams.suspend()

    def _close(self, why: str) -> None:
        self.status = "closed"
        self.retry_delay = None
        self._why_closed = why
        self._forget_connection()
        streams = self._streams.drop()
        for call in self._calls.all():
            self._calls.answer(call, self.closed_error())
        for subscription in streams:
            subscription.fail(self.closed_error())

    def _forget_connection(self) -> None:
        self._outbox.clear()
        self._streams.forget_connection()
        self._calls.end_turn()
