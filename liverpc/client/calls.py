"""The requests a client waits for: who asked, in which frame, and until when."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from liverpc.client.convert import read_result
from liverpc.client.listeners import guarded
from liverpc.errors import ErrorCode, RpcError
from liverpc.wire.binary import binary_call
from liverpc.wire.codec import batch_text, call_text, canonical, rpc_error
from liverpc.wire.frames import Reply

__all__ = ["Batch", "Call", "Calls", "outcome_of"]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_SLEPT_SECONDS = 90.0  # a deadline noticed so long after the call was slept through, see Calls.expire

OnDone = Callable[["Call"], object]


class Call:
    """Somebody's wait for an answer; made by :meth:`ClientCore.call`. Several may wait for one request.

    Attributes:
        id: Of the request, unique among the client's.
        path: What is called.
        frame: The message: bytes when it carries data, otherwise text; empty once it has ended.
        timeout: Seconds it may take.
        deadline: When it ends with ``TIMEOUT``, on the core's clock; None: its time does not run yet.
        began: When its time began to run, on the wall clock.
        batch: What it is sent in; None: a frame of its own.
        outcome: The answer or the error it ended with; None before. It ends once.
    """

    __slots__ = ("_on_done", "batch", "began", "deadline", "frame", "id", "others", "outcome", "path", "timeout")

    def __init__(
        self,
        call: str,
        path: str,
        frame: str | bytes,
        timeout: float,
        now: float,
        began: float,
        on_done: OnDone | None,
    ) -> None:
        self.id = call
        self.path = path
        self.frame = frame
        self.timeout = timeout
        self.deadline: float | None = now + timeout
        self.began = began
        self.batch: Batch | None = None
        self.others: list[Call] | None = None  # who wait for the same answer; the first of all knows them
        self.outcome: Reply | RpcError | None = None
        self._on_done = on_done

    @property
    def done(self) -> bool:
        return self.outcome is not None

    def result(self, result_type: Any = Any) -> Any:
        """What the server returned, converted; another object each time.

        Raises:
            RpcError: The call failed, or the result does not fit (``INVALID_RESULT``).
            RuntimeError: It is not done.
        """
        if isinstance(self.outcome, RpcError):
            raise self.outcome
        if self.outcome is None:
            raise RuntimeError(f"the call of {self.path} is not done")
        return read_result(self.path, self.outcome.data, result_type)

    def end(self, outcome: Reply | RpcError, *, silently: bool = False) -> None:
        """For the core: it is over."""
        self.outcome = outcome
        self.frame = ""
        on_done, self._on_done = self._on_done, None
        if on_done is not None and not silently:
            guarded(on_done, self)


class Batch:
    """Calls that travel in one frame."""

    def __init__(self, calls: list[Call], *, sequential: bool) -> None:
        self.calls = calls
        self.sequential = sequential
        self.sent = False
        for call in calls:
            call.batch = self

    def text(self) -> str:
        """The frame, without the calls that have ended; empty when all have."""
        self.sent = True
        texts = [frame for call in self.calls if isinstance(frame := call.frame, str) and frame]
        return batch_text(texts, sequential=self.sequential) if len(texts) > 1 else "".join(texts)


class Calls:
    """All unfinished requests, oldest first.

    Args:
        now: The clock of the deadlines.
        wall: Seconds since the epoch, by a clock that goes on while the device sleeps.
        rng: For ids.
    """

    def __init__(self, now: Callable[[], float], wall: Callable[[], float], rng: random.Random) -> None:
        self._now = now
        self._wall = wall
        self._prefix = "".join(rng.choices(_DIGITS, k=4))
        self._counter = itertools.count()
        self._ties = itertools.count()
        self._pending: dict[str, Call] = {}  # by id; the first of those who wait for the same answer
        self._turn: dict[tuple[str, str | bytes], Call] = {}  # what may be shared until the turn ends
        self._timers: list[tuple[float, int, Call]] = []  # a heap; ended calls are skipped

    def __len__(self) -> int:
        return len(self._pending)

    def all(self) -> list[Call]:
        """One for each request, a copy."""
        return list(self._pending.values())

    def get(self, call: str) -> Call | None:
        return self._pending.get(call)

    def new(
        self,
        path: str,
        args: list[Any],
        timeout: float,
        on_done: OnDone | None,
        *,
        stream: bool = False,
        idempotency_key: str | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> Call:
        """A request with an id of its own, not waited for yet; TypeError when ``args`` has no JSON form.

        ``members`` are further ones of a stream request.
        """
        call = self._prefix + _base36(next(self._counter))
        text = call_text(path, call, args, stream=stream, idempotency_key=idempotency_key, members=members)
        return Call(call, path, text, timeout, self._now(), self._wall(), on_done)

    def new_binary(
        self, path: str, args: list[Any], data: bytes | bytearray | memoryview, timeout: float, on_done: OnDone | None
    ) -> Call:
        """The same with data beside the arguments; it has ended when path and arguments are too long for that."""
        name = self._prefix + _base36(next(self._counter))
        frame, error = b"", None
        try:
            frame = binary_call(path, name, args, data)
        except ValueError as too_long:
            error = RpcError(ErrorCode.PAYLOAD_TOO_LARGE, f"{path}: {too_long}")
        call = Call(name, path, frame, timeout, self._now(), self._wall(), on_done)
        if error is not None:
            call.end(error)
        return call

    def add(self, call: Call) -> None:
        """Wait for it."""
        self._pending[call.id] = call
        self._watch(call)

    def hold(self, calls: Iterable[Call]) -> None:
        """Wait for them without a limit until :meth:`release`. Others who share a request wait with it."""
        for first in calls:
            self._pending[first.id] = first
            for call in (first, *(first.others or ())):
                call.deadline = None
        self._timers = [timer for timer in self._timers if timer[2].deadline == timer[0]]
        heapq.heapify(self._timers)

    def release(self, names: Iterable[str]) -> list[Call]:
        """Let the time of these requests run from now on. Returns those that have not ended."""
        calls = [call for name in names if (call := self._pending.get(name)) is not None]
        now, wall = self._now(), self._wall()
        for first in calls:
            for call in (first, *(first.others or ())):
                call.deadline = now + call.timeout
                call.began = wall
                self._watch(call)
        return calls

    # -- identical calls

    def shared_key(self, path: str, args: list[Any], idempotency_key: str | None) -> tuple[str, str | bytes]:
        """What identical calls have in common: ``1``, ``1.0``, ``True`` and ``"1"`` differ, as on the wire."""
        return path, canonical(args) if idempotency_key is None else idempotency_key

    def offer(self, key: tuple[str, str | bytes], call: Call) -> None:
        """Let identical calls share this one until the end of the turn."""
        self._turn[key] = call

    def join(self, key: tuple[str, str | bytes], timeout: float, on_done: OnDone | None) -> Call | None:
        """Another one who waits for the identical call of this turn; None: there is none."""
        offered = self._turn.get(key)
        first = None if offered is None else self._pending.get(offered.id)
        if first is None:
            return None
        call = Call(first.id, first.path, first.frame, timeout, self._now(), self._wall(), on_done)
        first.others = first.others or []
        first.others.append(call)
        if first.deadline is None:
            call.deadline = None
        self._watch(call)
        return call

    @property
    def offers(self) -> bool:
        """Whether something can be shared."""
        return bool(self._turn)

    def end_turn(self) -> None:
        """Share nothing of what was called until now."""
        self._turn.clear()

    # -- ends

    def answer(self, request: Call, outcome: Reply | RpcError) -> None:
        """End a request for all who wait for it, unless it has ended."""
        first = self._pending.pop(request.id, None)
        if first is None:
            return
        first.end(outcome)
        for call in first.others or ():
            if not call.done:  # cancelled by the callback of one before
                call.end(_another(outcome))

    def cancel(self, call: Call) -> None:
        """End it without telling anyone, unless it has ended. Others wait on for the same answer."""
        self._end_one(call, RpcError(ErrorCode.DISCONNECTED, f"{call.path} was cancelled"), silently=True)

    def _end_one(self, call: Call, outcome: RpcError, *, silently: bool = False) -> None:
        if call.done:
            return
        first = self._pending.get(call.id)
        if first is call:
            if call.others:
                heir, *rest = call.others
                heir.others, call.others = rest, None
                self._pending[call.id] = heir
            else:
                del self._pending[call.id]
        elif first is not None and first.others:
            first.others.remove(call)
        call.end(outcome, silently=silently)

    # -- batches

    def answer_batch(self, answers: Iterable[tuple[str, Reply | RpcError]]) -> None:
        """End the calls of a batch. Those the server's answer does not mention fail.

        Args:
            answers: By id. One without an id is about the batch as a whole: that is the oldest unanswered
                one when no other answer says which.
        """
        batch: Batch | None = None
        error: RpcError | None = None
        for name, outcome in answers:
            call = self._pending.get(name)
            if call is not None:
                batch = batch or call.batch
                self.answer(call, outcome)
            elif not name and isinstance(outcome, RpcError):
                error = outcome
        if batch is None:
            sent = (call.batch for call in self._pending.values() if call.batch is not None and call.batch.sent)
            batch = next(sent, None)
        for call in batch.calls if batch is not None else ():
            missing = f"{call.path}: the server's answer to the batch says nothing of it"
            self.answer(call, _another(error) if error else RpcError(ErrorCode.INVALID_RESULT, missing))

    # -- deadlines

    def _watch(self, call: Call) -> None:
        if call.deadline is None or call.deadline == math.inf:
            return
        heapq.heappush(self._timers, (call.deadline, next(self._ties), call))
        # Answered calls stay in the heap until their deadline: at many calls a second, far more of them
        # than of living ones.
        if len(self._timers) > 2 * len(self._pending) + 64:
            self._timers = [timer for timer in self._timers if not timer[2].done]
            heapq.heapify(self._timers)

    def next_deadline(self) -> float | None:
        while self._timers and self._timers[0][2].done:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def expire(self) -> None:
        """End those whose time is up.

        With ``TIMEOUT``; or with ``DISCONNECTED`` when that is noticed so late that the device must have
        slept, for then nothing says that the server was slow.
        """
        now, wall = self._now(), self._wall()
        while (due := self.next_deadline()) is not None and due <= now:
            call = heapq.heappop(self._timers)[2]
            if wall - call.began > max(3 * call.timeout, _SLEPT_SECONDS):
                error = RpcError(ErrorCode.DISCONNECTED, f"{call.path} was not answered: this device slept meanwhile")
            else:
                error = RpcError(ErrorCode.TIMEOUT, f"{call.path} was not answered in time")
            self._end_one(call, error)


def _another(outcome: Reply | RpcError) -> Reply | RpcError:
    """Errors are not shared: they collect the traces of those who raise them."""
    return outcome if isinstance(outcome, Reply) else RpcError.from_dict(outcome.to_dict())


def outcome_of(path: str, reply: Reply | None) -> Reply | RpcError:
    """What a reply to a request of ``path`` says; None: it is not readable."""
    if reply is None:
        return RpcError(ErrorCode.INVALID_RESULT, f"{path}: the reply is not readable")
    return reply if reply.ok else rpc_error(reply)


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits
