"""The gevent shell around the devtools protocol: the server's own figures, and faults for the time of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gevent
import msgspec
from gevent.event import AsyncResult

from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.config import Level
from liverpc.contrib.locust.socket import GeventSocket, open_socket
from liverpc.contrib.locust.words import printable
from liverpc.errors import AttachError
from liverpc.inspector.protocol import (
    SUBPROTOCOL,
    AttachSession,
    ChaosArm,
    ChaosChanged,
    ChaosClear,
    ChaosRule,
    Err,
    Match,
    Ok,
    Resync,
    ServerFrame,
    ServerInfo,
    State,
    StreamStats,
    UploadTotals,
    Watch,
    Welcome,
    closed_early,
    refusal,
)

__all__ = ["Attachment", "Counts"]

_OPEN_SECONDS = 5.0
_ANSWER_SECONDS = 5.0
_BEAT_SECONDS = 0.5
_NO_EVENTS = Match(kind=["none"])


class Counts(msgspec.Struct, frozen=True):
    """What the server counted, at one moment after it was asked."""

    streams: dict[str, StreamStats]  #: by topic; those with subscribers
    rules: dict[int, ChaosRule]  #: faults in force
    connections: int  #: open ones
    uploads: UploadTotals | None  #: running ones; None: the token is scoped, or the server is older
    counters: dict[str, int]  #: ``telemetry.Counters``; empty with a scoped token


class Attachment:
    """A devtools session. Faults armed here end when it does, or when this process no longer runs.

    It asks the server not to record publishes and calls, which is most of the work that being watched makes. That
    holds while nobody else who watches wants them.

    Attributes:
        server: Who is looked at.
        local: Whether it is a process of this user on this machine; whoever opened the session says so.
    """

    server: ServerInfo
    local = False

    def __init__(
        self, socket: GeventSocket, session: AttachSession, on_state: Callable[[State], object] | None = None
    ) -> None:
        self._socket = socket
        self._session = session
        self._on_state = on_state
        self._answers: dict[int, AsyncResult] = {}
        self._states: list[AsyncResult] = []  # whoever waits for a whole state
        self._whole: list[State] = []  # the parts of one, so far
        self._over: dict[int, ChaosRule] = {}  # the last faults that ended
        self._ended: AttachError | None = None
        self._greenlets: list[Any] = []

    @classmethod
    def open(
        cls, url: str, token: str, *, want: Level = "chaos", on_state: Callable[[State], object] | None = None
    ) -> Attachment:
        """Attach for watching and, at level ``chaos``, for injecting faults.

        Args:
            url: As of :func:`~liverpc.inspector.protocol.attach_url`.
            token: Empty: none is sent.
            want: The level; ``metrics`` is enough for :meth:`counts`.
            on_state: Gets what the server tells by itself: first everything, perhaps in several parts, then four
                times a second what changed. Must not wait.

        Raises:
            AttachError: The token was refused or does not open enough, there are no devtools, or there is
                no server; the text is one sentence.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            socket = open_socket(url, headers=headers, subprotocol=SUBPROTOCOL, timeout=_OPEN_SECONDS)
        except HandshakeRefused as refused:
            raise refusal(url, refused.status, refused.text, with_token=bool(token)) from None
        except SocketClosed as closed:
            raise AttachError("absent", f"no devtools at {url}: {closed.reason}") from None
        except OSError as error:
            raise AttachError("unreachable", f"cannot attach to {url}: {error.strerror or error}") from None
        session = AttachSession(client="locust", want=want, monotonic=time.monotonic)
        session.send(Watch(id=session.new_id(), match=_NO_EVENTS, capture=True))
        attachment = cls(socket, session, on_state)
        try:
            welcome = attachment._greet(url)
        except BaseException:
            socket.abort()
            raise
        if want == "chaos" and welcome.granted != "chaos":
            socket.close()
            socket.abort()
            why = printable("; ".join(welcome.denied)) or f"the token opens {welcome.granted} only"
            raise AttachError("refused", f"{url} does not let this token inject faults: {why}")
        attachment.server = welcome.server
        attachment._greenlets = [gevent.spawn(attachment._read), gevent.spawn(attachment._beat)]
        return attachment

    def counts(self) -> Counts:
        """What the server has counted by now: everything is asked for, which is work when there are thousands of
        connections or topics.

        Raises:
            AttachError: The session ended, or the server did not answer.
        """
        self._session.send(Resync())
        waiter = AsyncResult()
        self._states.append(waiter)
        state: list[State] = self._wait(waiter)
        names = {info.id: info.topic for part in state for info in part.streams}
        stats = {names[each.id]: each for part in state for each in part.stream_stats if each.id in names}
        last = state[-1]
        return Counts(
            stats,
            {rule.id: rule for rule in last.chaos},
            connections=sum(len(part.connections) for part in state),
            uploads=last.upload_totals,
            counters=last.counters,
        )

    def arm(self, rule: ChaosRule, *, ttl: float) -> int:
        """Inject a fault for ``ttl`` seconds at most; returns its number.

        Raises:
            AttachError: The server refused.
        """
        number = self._session.new_id()
        return self._ask(number, ChaosArm(id=number, rule=rule, ttl=ttl)).rule

    def clear(self, rule: int) -> ChaosRule | None:
        """Remove a rule; one that is gone already is no error.

        Returns:
            Its final figures; None when it was gone already.
        """
        number = self._session.new_id()
        with suppress(AttachError):  # it has expired, or the session has ended and the server removes it
            self._ask(number, ChaosClear(id=number, rule=rule))
            return self._over.get(rule)  # of which the server tells before it answers
        return None

    def wait(self) -> None:
        """Wait until the session has ended, for whatever reason."""
        self._greenlets[0].join()

    def close(self) -> None:
        """End the session, and with it its faults. Harmless when it has ended."""
        gevent.killall(self._greenlets)
        self._socket.close()
        self._socket.abort()

    # -- inside

    def _greet(self, url: str) -> Welcome:
        try:
            with gevent.Timeout(_OPEN_SECONDS):
                self._send()
                # The whole state follows the welcome unasked; later ones are answers to counts().
                first = AsyncResult()
                self._states.append(first)
                while self._session.welcome is None or not first.ready():
                    for message in self._socket.recv():
                        self._take(message)
        except gevent.Timeout:
            raise AttachError("unreachable", f"{url} took the connection and kept silent") from None
        except SocketClosed as closed:
            raise closed_early(url, closed.code, closed.reason) from None
        return self._session.welcome

    def _ask(self, number: int, frame: ChaosArm | ChaosClear) -> Ok:
        waiter = self._answers[number] = AsyncResult()
        self._session.send(frame)
        try:
            answer: Ok = self._wait(waiter)
            return answer
        finally:
            self._answers.pop(number, None)

    def _wait(self, waiter: AsyncResult) -> Any:
        if self._ended is not None:
            raise self._ended
        try:
            self._send()
            return waiter.get(timeout=_ANSWER_SECONDS)
        except gevent.Timeout:
            raise AttachError("unreachable", f"the devtools did not answer within {_ANSWER_SECONDS:g} s") from None
        except SocketClosed as closed:
            raise AttachError("unreachable", f"the devtools session ended: {closed.reason or closed.code}") from None

    def _read(self) -> None:
        try:
            while True:
                for message in self._socket.recv():
                    self._take(message)
                self._send()
        except SocketClosed as closed:
            self._ended = AttachError("unreachable", f"the devtools session ended: {closed.reason or closed.code}")
        except AttachError as error:
            self._ended = error
        self._socket.close()  # a server that shuts down waits for it
        self._socket.abort()
        for waiter in [*self._answers.values(), *self._states]:
            waiter.set_exception(self._ended)

    def _beat(self) -> None:
        try:
            while True:
                gevent.sleep(_BEAT_SECONDS)
                self._session.tick()
                self._send()
        except SocketClosed:
            pass  # the reader says so

    def _take(self, message: bytes) -> None:
        frame: ServerFrame | None = self._session.receive(message)
        if isinstance(frame, State):
            if self._on_state is not None:
                self._on_state(frame)
            self._take_state(frame)
        elif isinstance(frame, ChaosChanged):
            self._over = {each.id: each for each in frame.ended}
        elif isinstance(frame, (Ok, Err)) and frame.id in self._answers:
            if isinstance(frame, Ok):
                self._answers[frame.id].set(frame)
            else:
                self._answers[frame.id].set_exception(AttachError("refused", printable(frame.text)))

    def _take_state(self, state: State) -> None:
        if not state.full:
            return
        self._whole.append(state)
        if state.more:
            return
        whole, self._whole = self._whole, []
        waiting, self._states = self._states, []
        for waiter in waiting:
            waiter.set(whole)

    def _send(self) -> None:
        self._socket.send(data.decode() for data in self._session.outgoing())
