"""Calls that wait for a connection, and how they are sent when there is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from liverpc.client.calls import Batch, Call, Calls
from liverpc.errors import ConfigError, ErrorCode, RpcError

__all__ = ["OfflineCalls", "OfflineQueue", "QueuedCall"]

log = logging.getLogger("liverpc.client")

_GROUP = 10  # requests at a time under replay="concurrent"


class QueuedCall(msgspec.Struct, frozen=True, eq=False):
    """A call that waits, as :class:`OfflineQueue`'s functions see it. Equal to itself only."""

    path: str  #: for example ``chat/send``
    args: list[Any]  #: in wire order and as plain JSON values; a copy
    idempotency_key: str | None
    age: float  #: seconds since it was made


@dataclass(frozen=True, kw_only=True, slots=True)
class OfflineQueue:
    """Lets calls and batches that are made without a connection wait for it: ``connect(url, offline=OfflineQueue())``.

    They are sent in order once there is a connection, behind the requests for streams. Their timeout runs from
    then on. When the connection is lost again meanwhile, those that were not sent wait on, in their order. One
    that was sent and not answered may have run: it fails with ``DISCONNECTED``, unless it has an idempotency
    key; then it is sent again. Calls made before all are sent wait behind them.

    Functions are called where the client runs, in the middle of its work: they must not block. One that raises
    is logged, and the calls it was to decide on fail with ``STALE``.

    Raises:
        ConfigError: A member has a value it cannot have.
        TypeError: There is no such member.
    """

    #: Calls that wait at most, those of a batch one by one; beyond, the oldest fails with ``QUEUE_FULL``.
    max_calls: int = 100
    #: Seconds since it was made after which a call fails with ``STALE`` instead of being sent; None: never.
    max_age: float | None = None
    #: Asked when a call's turn has come; a call for which the answer is false fails with ``STALE``.
    before_replay: Callable[[QueuedCall], object] | None = None
    #: ``sequential``: each call is sent when the one before is answered; ``concurrent``: ten at a time. A function
    #: gets all of them, oldest first, and returns those to send one after the other; the rest fails with ``STALE``.
    #: A batch counts as one call here, and is sent when the first of its calls is due.
    replay: Literal["sequential", "concurrent"] | Callable[[list[QueuedCall]], Sequence[QueuedCall]] = "sequential"

    def __post_init__(self) -> None:
        calls: object = self.max_calls
        age: object = self.max_age
        asked: object = self.before_replay
        if not isinstance(calls, int) or calls < 1:
            raise ConfigError(f"OfflineQueue: max_calls is a number above 0, not {self.max_calls!r}")
        if age is not None and not (isinstance(age, int | float) and age > 0):
            raise ConfigError(f"OfflineQueue: max_age is a number of seconds above 0, or None, not {self.max_age!r}")
        if asked is not None and not callable(asked):
            raise ConfigError(f"OfflineQueue: before_replay is a function or None, not {self.before_replay!r}")
        if not callable(self.replay) and self.replay not in ("sequential", "concurrent"):
            raise ConfigError(f"OfflineQueue: replay is 'sequential', 'concurrent' or a function, not {self.replay!r}")


class _Made(NamedTuple):
    """When a call began to wait, on two clocks: the first cannot be set, the second goes on while the device sleeps."""

    monotonic: float
    wall: float


_Queue = dict[str, _Made]  # by id of the request


class OfflineCalls:
    """The queue of one client.

    Attributes:
        idle: Whether there is a connection and nothing waits: calls need not come here.
        overflowed: Calls that failed with ``QUEUE_FULL``.
        stale: Calls that failed with ``STALE``.

    Args:
        options: What the application wants.
        calls: All unfinished requests, those in the queue included.
        send: Sends a request.
        now: The clock of the deadlines.
        wall: Seconds since the epoch, by a clock that goes on while the device sleeps.
    """

    def __init__(
        self,
        options: OfflineQueue,
        calls: Calls,
        send: Callable[[Call | Batch], object],
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.idle = False
        self.overflowed = 0
        self.stale = 0
        self._options = options
        self._calls = calls
        self._send = send
        self._now = now
        self._wall = wall
        self._draining = False
        self._advancing = False
        self._sent: _Queue = {}  # unanswered
        self._due: _Queue = {}  # to be replayed on this connection
        self._waiting: _Queue = {}  # behind them, or all there are without a connection

    def add(self, calls: list[Call]) -> None:
        """Let calls wait that were made just now."""
        self._calls.hold(calls)
        self._waiting |= dict.fromkeys((call.id for call in calls), self._time())
        self._limit()

    def forget(self, name: str) -> None:
        """A call was cancelled."""
        if self._calls.get(name) is None:
            self._due.pop(name, None)
            self._waiting.pop(name, None)

    def start(self) -> None:
        """There is a connection: begin to send what waits."""
        names = tuple(self._waiting)
        chosen = self._choose(names)
        self._due = {name: self._waiting.pop(name) for name in chosen if name in self._waiting}
        left_out = [name for name in names if self._waiting.pop(name, None) is not None]
        self._draining = True  # not before: callbacks may lead to advance(), which would take this for the end
        for name in left_out:
            self._refuse(name, "was left out by the offline queue's replay function")
        self.advance()

    def advance(self) -> None:
        """Send what is due now, after a request may have ended."""
        if not self._draining or self._advancing:
            return
        self._advancing = True  # callbacks may lead here again, and must not overtake
        try:
            while True:
                self._sent = {name: made for name, made in self._sent.items() if self._calls.get(name) is not None}
                if self._sent or not self._due:
                    break
                self._send_group()  # what the server would not take has ended already
        finally:
            self._advancing = False
        self._finish()

    def suspend(self, unsent: Iterable[str]) -> set[str]:
        """The connection is lost.

        Args:
            unsent: The requests that the socket has not taken. Those for streams do not wait here.

        Returns:
            Those that wait for the next connection.
        """
        not_taken = dict.fromkeys(unsent, self._time())
        back: list[Call] = []
        for name in dict.fromkeys((*self._sent, *not_taken)):
            if (call := self._calls.get(name)) is not None:
                frame = _read_frame(call)
                if not frame.stream and (name in not_taken or frame.key is not None):
                    back.append(call)
        self._calls.hold(back)
        made = not_taken | self._sent  # those that were here before keep their time
        self._waiting = {call.id: made[call.id] for call in back} | self._due | self._waiting
        self._sent, self._due = {}, {}
        self._draining = self.idle = False
        self._limit()
        return set(self._waiting)

    # -- inside

    def _finish(self) -> None:
        if self._draining and not self._sent:
            self._draining = False
            self.idle = True
            # The rest was made on an open connection, where calls do not wait for each other.
            calls = self._calls.release(self._waiting)
            self._waiting = {}
            for item in dict.fromkeys(call.batch or call for call in calls):
                self._send(item)

    def _time(self) -> _Made:
        return _Made(self._now(), self._wall())

    def _limit(self) -> None:
        most = self._options.max_calls
        while len(self._due) + len(self._waiting) > most:
            queue = self._due or self._waiting
            name = next(iter(queue))
            del queue[name]
            if (call := self._calls.get(name)) is not None:
                self.overflowed += 1
                why = f"{call.path} was not sent: {most} later calls wait for a connection already"
                self._calls.answer(call, RpcError(ErrorCode.QUEUE_FULL, why))

    def _choose(self, names: Sequence[str]) -> Iterable[str]:
        """The calls to replay, in order."""
        replay = self._options.replay
        if not callable(replay):
            return names
        shown = {_show(call, self._age(name)): name for name in names if (call := self._calls.get(name))}
        try:
            return [shown[call] for call in replay(list(shown))] if shown else ()
        except Exception:
            log.exception("the offline queue's replay function failed, or returned what it was not given")
            return ()

    def _send_group(self) -> None:
        size = 0
        while self._due and size < (_GROUP if self._options.replay == "concurrent" else 1):
            if (item := self._take()) is not None:
                self._send(item)
                size += 1

    def _take(self) -> Call | Batch | None:
        """The next request; None when nothing of it shall be sent."""
        name = next(iter(self._due))
        first = self._calls.get(name)
        batch = None if first is None else first.batch
        names = [name] if batch is None else [call.id for call in batch.calls if call.id in self._due]
        for name in names:
            self._check(name)
        taken = {name: self._due.pop(name) for name in names if name in self._due}
        calls = self._calls.release(taken)
        self._sent |= {call.id: taken[call.id] for call in calls}
        return (batch or calls[0]) if calls else None

    def _check(self, name: str) -> None:
        """End a call that shall not be sent any more."""
        call, limit, wanted = self._calls.get(name), self._options.max_age, self._options.before_replay
        if call is None or name not in self._due:
            return
        age = self._age(name)
        if limit is not None and age > limit:
            self._refuse(name, f"was not sent: it waited for {age:.0f} s, longer than the offline queue's max_age")
        elif wanted is not None:
            try:
                if wanted(_show(call, age)):
                    return
            except Exception:
                log.exception("the offline queue's before_replay function failed on %s", call.path)
            self._refuse(name, "was dropped by the offline queue's before_replay function")

    def _refuse(self, name: str, why: str) -> None:
        if (call := self._calls.get(name)) is not None:
            self.stale += 1
            self._calls.answer(call, RpcError(ErrorCode.STALE, f"{call.path} {why}"))

    def _age(self, name: str) -> float:
        now, made = self._time(), self._due.get(name) or self._waiting[name]
        return max(now.monotonic - made.monotonic, now.wall - made.wall)


class _Frame(msgspec.Struct, rename={"key": "idempotencyKey"}):
    args: list[Any] = []
    key: str | None = None
    stream: bool = False


_decode_frame: Callable[[str | bytes], _Frame] = msgspec.json.Decoder(_Frame).decode


def _read_frame(call: Call) -> _Frame:
    frame = call.frame
    if isinstance(frame, bytes):  # the header of a binary call, docs/protocol.md section 11
        frame = frame[3 : 3 + int.from_bytes(frame[1:3], "big")]
    return _decode_frame(frame)


def _show(call: Call, age: float) -> QueuedCall:
    frame = _read_frame(call)
    return QueuedCall(call.path, frame.args, frame.key, age)
