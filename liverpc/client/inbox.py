"""What arrives at a client, and whom it concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from liverpc.client.calls import Calls, outcome_of
from liverpc.client.opened import OpenContracts
from liverpc.client.outbox import Outbox
from liverpc.client.signals import Signals
from liverpc.client.streams import Streams
from liverpc.client.uploads import Uploads
from liverpc.wire.codec import (
    answer_text,
    decode_batch,
    decode_batch_reply,
    decode_reply,
    decode_server_frame,
)
from liverpc.wire.frames import (
    BATCH_REPLY,
    HEALTH_TOPIC,
    RPC_TOPIC,
    SIGNAL_PREFIX,
    UPLOAD_TOPIC,
    Denied,
    EventBatch,
    EventFrame,
    ServerRequest,
    UploadCredit,
    UploadLimits,
)

__all__ = ["Health", "Inbox", "Push"]

Health = Literal["healthy", "degraded"]

_HEALTH: dict[str, Health] = {"degraded": "degraded", "recovered": "healthy"}


class Push(msgspec.Struct, frozen=True):
    """A question of the server, and the connection it came on; answered with :meth:`Inbox.answer`."""

    request: ServerRequest
    connection: int


class Inbox:
    """Takes the messages of one connection after the other.

    Attributes:
        connection: How many there were.
        health: What the server last said of itself on this one; ``healthy`` when it said nothing.
        unanswered: Questions whose answer :meth:`answer` did not send.
        signals: Hears the signals to this client's user.
        on_push: Gets each question of the server, when set; they go unanswered otherwise.
    """

    def __init__(
        self, calls: Calls, contracts: OpenContracts, streams: Streams, uploads: Uploads, outbox: Outbox
    ) -> None:
        self._calls = calls
        self._contracts = contracts
        self._streams = streams
        self._uploads = uploads
        self._outbox = outbox
        self._connected = False
        self.connection = 0
        self.unanswered = 0
        self.health: Health = "healthy"
        self.signals = Signals()
        self.on_push: Callable[[Push], object] | None = None

    def connection_opened(self) -> None:
        self._connected = True
        self.connection += 1
        self.health = "healthy"

    def connection_lost(self) -> None:
        self._connected = False

    def take(self, text: str | bytes) -> None:
        """Take one message. What is not understood is ignored."""
        frame = decode_server_frame(text)
        if isinstance(frame, EventFrame):
            self._event(frame)
        elif isinstance(frame, EventBatch):
            for event in decode_batch(frame):
                self._event(event)
        elif isinstance(frame, ServerRequest):
            if self.on_push is not None:
                self.on_push(Push(frame, self.connection))
        elif isinstance(frame, Denied) and isinstance(frame.topic, str):
            self._streams.denied(frame.topic, frame.reason)
        elif isinstance(frame, UploadCredit):
            self._uploads.take_credit(frame)
        elif isinstance(frame, UploadLimits):
            self._uploads.take_limits(frame)
            self._outbox.check_sizes()

    def answer(self, push: Push, *, data: Any = None, error: str | None = None) -> None:
        """Answer a question, unless the connection it came on is gone or more than 4 MiB wait for the socket.

        Args:
            push: The question.
            data: The answer. What has no JSON form, or is larger than a control frame may be, becomes an error.
            error: Why there is none, for people.
        """
        if not self._connected or push.connection != self.connection or self._outbox.full:
            self.unanswered += 1
            return
        self._outbox.put(answer_text(push.request.ref, data, error))

    def _event(self, frame: EventFrame) -> None:
        if frame.topic == RPC_TOPIC:
            self._answer(frame)
        elif frame.topic == UPLOAD_TOPIC:
            self._uploads.take_answer(frame.event, decode_reply(frame))
            self._outbox.check_sizes()
        elif frame.topic == HEALTH_TOPIC:
            self.health = _HEALTH.get(frame.event, self.health)
        elif frame.topic.startswith(SIGNAL_PREFIX):
            self.signals.take(frame)
        elif not self._contracts.take(frame):
            self._streams.event(frame)

    def _answer(self, frame: EventFrame) -> None:
        if frame.event == BATCH_REPLY:
            replies = decode_batch_reply(frame)
            self._calls.answer_batch((name, outcome_of("a call", reply)) for name, reply in replies)
            return
        call = self._calls.get(frame.event)
        reply = decode_reply(frame)
        if call is not None:
            self._calls.answer(call, outcome_of(call.path, reply))
        elif reply is not None and reply.topic is not None:
            self._streams.unexpected(reply.topic)
