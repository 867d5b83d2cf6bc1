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
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import msgspec

from liverpc.client.calls import Call, Calls
from liverpc.client.subscription import Subscription
from liverpc.config import ClientConfig
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.close import Advice, advice
from liverpc.wire.codec import (
    control_text,
    decode_batch,
    decode_reply,
    decode_server_frame,
    rpc_error,
)
from liverpc.wire.frames import RPC_TOPIC, Denied, EventBatch, EventFrame, Reply
from liverpc.wire.names import is_reserved

__all__ = ["QUEUE_MAX", "Call", "ClientCore", "Failure", "Status"]

Status = Literal["connecting", "connected", "reconnecting", "closed"]

QUEUE_MAX = 1000  # requests waiting for a connection; calls beyond fail with DISCONNECTED

_BACKOFF_FACTOR = 2.2
_BACKOFF_STEPS = 64  # beyond any sensible maximum, and far from overflowing a float
_THROTTLED_STEP = 5


class Failure(msgspec.Struct, frozen=True):
    """Why the connection was lost, refused or could not be opened."""

    code: int  #: a close code; 1006 without one, 4000 plus the status for a refused handshake
    reason: str
    advice: Advice


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

    Args:
        config: Time limits, back-off.
        monotonic: The clock all deadlines refer to.
        rng: For ids and for the back-off's jitter.
    """

    def __init__(
        self,
        config: ClientConfig | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config or ClientConfig()
        self.status: Status = "connecting"
        self.failure: Failure | None = None
        self.retry_delay: float | None = None
        self.refused = 0
        self._random = rng or random.Random()
        self._step = 0  # of the back-off
        self._failed_attempts = 0
        self._why_closed = ""
        # Without a connection, this is also the queue of what will be sent: a call that ended leaves it, and
        # so is never sent late.
        self._calls = Calls(monotonic, self._random)
        # Not capped: each frame belongs to a call or stream that somebody holds, and a socket that takes
        # none is lost before long.
        self._outbox: deque[str | Call] = deque()
        self._streams: dict[Subscription, Call | None] = {}  # with the request being answered
        self._topics: dict[str, list[Subscription]] = {}  # answered on this connection
        self._unheld: set[str] = set()  # topics to leave

    # -- the connection

    def connection_opened(self) -> None:
        """A socket is open: say hello, request every stream, send the calls that waited."""
        if self.status == "closed":
            return
        for subscription, request in self._streams.items():
            if request is None:
                self._request(subscription)
        self.status = "connected"
        self.failure = None
        self.retry_delay = None
        self._step = self._failed_attempts = 0
        requests = [request for request in self._streams.values() if request is not None]
        self._outbox.append(control_text("hello", caps=["batch"]))
        self._outbox.extend(requests)
        streams = set(requests)
        self._outbox.extend(call for call in self._calls.all() if call not in streams)

    def connection_lost(self, code: int, reason: str = "") -> None:
        """The socket is closed, or an attempt to open one failed; ``retry_delay`` says what to do now.

        Calls that were made on an open connection fail with ``DISCONNECTED``; those made since wait on. A
        code that forbids retrying, or one failure too many, closes the client.

        Args:
            code: The close code; 1006 without one, 4000 plus the status for a refused handshake.
            reason: For people.
        """
        if self.status == "closed":
            return
        was_open = self.status == "connected"
        kind = advice(code)
        if not was_open:
            self._failed_attempts += 1
            if self.config.max_attempts is not None and self._failed_attempts >= self.config.max_attempts:
                kind = Advice.TERMINAL
                reason = f"gave up after {self._failed_attempts} failed attempts: {reason or f'code {code}'}"
        self.failure = Failure(code, reason, kind)
        told = f"{code} {reason}".strip()
        if kind is Advice.TERMINAL:
            self._close(f"the connection is closed for good: {told}")
            return
        if kind is Advice.THROTTLE:
            self._step = max(self._step, _THROTTLED_STEP)
        delay = min(self.config.backoff_base * _BACKOFF_FACTOR**self._step, self.config.backoff_max)
        self.retry_delay = delay * self._random.uniform(*self.config.jitter)
        self._step = min(self._step + 1, _BACKOFF_STEPS)
        if was_open:
            self._suspend(told)

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
        while self._outbox:
            item = self._outbox.popleft()
            if isinstance(item, str):
                yield item
            elif not item.done:
                yield item.text

    @property
    def has_outgoing(self) -> bool:
        """Whether :meth:`outgoing` may have something to yield."""
        return bool(self._outbox)

    def closed_error(self) -> RpcError:
        """What everything gets once the status is ``closed``; a new one for each, for exceptions collect traces."""
        return RpcError(ErrorCode.CONNECTION_CLOSED, self._why_closed)

    def receive(self, text: str | bytes) -> None:
        """Take one message. What is not understood is ignored."""
        if self.status != "connected":
            return
        frame = decode_server_frame(text)
        if isinstance(frame, EventFrame):
            self._event(frame)
        elif isinstance(frame, EventBatch):
            for event in decode_batch(frame):
                self._event(event)
        elif isinstance(frame, Denied) and isinstance(frame.topic, str):
            error = RpcError(frame.reason, f"the server refuses the topic {frame.topic!r}")
            for subscription in tuple(self._topics.get(frame.topic, ())):
                subscription.fail(error)

    # -- time

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has something to do next; None: nothing is due."""
        return self._calls.next_deadline()

    def tick(self) -> None:
        """End the requests whose time is up with ``TIMEOUT``."""
        self._calls.expire()

    # -- calls

    def call(
        self,
        path: str,
        args: list[Any],
        *,
        timeout: float | None = None,
        on_done: Callable[[Call], object] | None = None,
    ) -> Call:
        """Start a call. Without a connection it waits for one and its time runs.

        Args:
            path: For example ``chat/send``.
            args: Anything with a JSON form.
            timeout: Seconds until it fails with ``TIMEOUT``; ``math.inf``: never. Default: the configuration's.
            on_done: Called once when it ends, perhaps before this method returns; not after :meth:`cancel`.

        Raises:
            TypeError: An argument has no JSON form.
        """
        timeout = self.config.timeout if timeout is None else timeout
        call = self._calls.new(path, args, timeout, on_done)
        if self.status == "closed":
            call.end(self.closed_error())
        elif self.status != "connected" and len(self._calls) >= QUEUE_MAX:
            self.refused += 1
            why = f"there is no connection, and {QUEUE_MAX} requests wait for one already"
            call.end(RpcError(ErrorCode.DISCONNECTED, why))
        else:
            self._start(call)
        return call

    def cancel(self, call: Call) -> None:
        """Forget a call: its answer is ignored, and it is not sent if it was not yet."""
        self._calls.cancel(call)

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
            self._request(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening. Harmless when done already."""
        if subscription not in self._streams:
            return
        request = self._streams.pop(subscription)
        if request is not None:
            self._calls.cancel(request)
        topic = subscription.topic
        if topic is not None and subscription in self._topics.get(topic, ()):
            self._topics[topic].remove(subscription)
            if not self._topics[topic]:
                del self._topics[topic]
                self._unheld.add(topic)
        self._say_goodbyes()

    # -- inside: requests

    def _start(self, call: Call) -> None:
        self._calls.add(call)
        if self.status == "connected":
            self._outbox.append(call)

    def _request(self, subscription: Subscription) -> None:
        self._streams[subscription] = call = self._calls.new(
            subscription.path,
            subscription.args,
            subscription.timeout,
            partial(self._answered, subscription),
            stream=True,
        )
        self._start(call)

    def _answered(self, subscription: Subscription, call: Call) -> None:
        self._streams[subscription] = None
        outcome = call.outcome
        if isinstance(outcome, Reply):
            if outcome.topic is not None:
                self._topics.setdefault(outcome.topic, []).append(subscription)
                self._unheld.discard(outcome.topic)
            subscription.load(outcome)
        elif outcome is not None:
            subscription.fail(outcome)
        self._say_goodbyes()

    # -- inside: frames

    def _event(self, frame: EventFrame) -> None:
        if frame.topic != RPC_TOPIC:
            for subscription in tuple(self._topics.get(frame.topic, ())):
                subscription.apply(frame)
            return
        call = self._calls.get(frame.event)
        reply = decode_reply(frame)
        if call is None:
            # Nobody waits for it any more; yet if it opened a stream, the server thinks we listen.
            if reply is not None and reply.topic is not None:
                self._unheld.add(reply.topic)
                self._say_goodbyes()
        elif reply is None:
            self._calls.finish(call, RpcError(ErrorCode.INVALID_RESULT, f"{call.path}: the reply is not readable"))
        else:
            self._calls.finish(call, reply if reply.ok else rpc_error(reply))

    def _say_goodbyes(self) -> None:
        """Unsubscribe from the topics nobody holds.

        Not while a stream request is being answered: it may be about such a topic, and the server might
        handle it before the goodbye.
        """
        if not self._unheld or any(self._streams.values()):
            return
        for topic in sorted(self._unheld):
            if topic not in self._topics and not is_reserved(topic):
                self._outbox.append(control_text("unsubscribe", topic=topic))
        self._unheld.clear()

    # -- inside: losing the connection

    def _suspend(self, told: str) -> None:
        self.status = "reconnecting"
        self._forget_connection()
        for subscription, request in self._streams.items():
            # Whoever opened a stream that was never answered still waits, for as long as was agreed.
            if request is not None and subscription.answered:
                self._calls.cancel(request)
                self._streams[subscription] = None
        opening = set(self._streams.values())
        for call in self._calls.all():
            if call not in opening:
                self._calls.finish(call, RpcError(ErrorCode.DISCONNECTED, f"the connection was lost: {told}"))
        for subscription in tuple(self._streams):
            if subscription in self._streams:  # a callback may have left it, or closed the client
                subscription.suspend()

    def _close(self, why: str) -> None:
        self.status = "closed"
        self.retry_delay = None
        self._why_closed = why
        self._forget_connection()
        streams, self._streams = self._streams, {}
        for request in streams.values():
            if request is not None:
                self._calls.cancel(request)
        for call in self._calls.all():
            self._calls.finish(call, self.closed_error())
        for subscription in streams:
            subscription.fail(self.closed_error())

    def _forget_connection(self) -> None:
        self._outbox.clear()
        self._topics.clear()
        self._unheld.clear()
