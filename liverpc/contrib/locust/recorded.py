"""Users that do again what the clients of a recording did."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from locust import task

from liverpc.client.calls import Call
from liverpc.contrib.locust.mix import Mix, Recorded, is_whole
from liverpc.contrib.locust.seats import seats_of
from liverpc.contrib.locust.users import LiveUser
from liverpc.contrib.locust.words import printable
from liverpc.errors import RpcError
from liverpc.wire.frames import EventFrame

__all__ = ["RecordedUser", "Replayed"]

log = logging.getLogger("liverpc.contrib.locust")

_SERIES = "liverpc.recorded"
_IDLE_SECONDS = 3600.0


class Replayed:
    """What became of the calls and streams of all users of a class in this process.

    Attributes:
        started: Calls.
        failed: Those that did not end as the recorded ones, but with an error, or another one.
        pending: Those that are not answered yet.
        events: That streams brought.
        left_out: How many were not made for want of arguments, by path.
    """

    def __init__(self) -> None:
        self.started = self.failed = self.pending = self.events = 0
        self.left_out: dict[str, int] = {}
        self._told = False

    def tell(self, mix: Mix) -> None:
        """Let the log know, once, what is replayed and what is not."""
        if self._told:
            return
        self._told = True
        log.info(
            "the recording: %.1f s, %.1f connections, %.2f calls/s and connection",
            mix.seconds,
            mix.connections,
            mix.rate / max(mix.connections, 1.0),
        )
        for problem in mix.problems:
            log.warning("the recording: %s", problem)
        for path, why in mix.left_out.items():
            log.warning("%s is left out: %s", printable(path), why)

    def leave_out(self, path: str, why: str) -> None:
        """Count what is not made; the log tells it once for a path."""
        if path not in self.left_out:
            log.warning("%s is left out: %s", printable(path), why)
        self.left_out[path] = self.left_out.get(path, 0) + 1


class RecordedUser(LiveUser):
    """A user that stands for one connection of a recording of ``liverpc-tui record``.

    It listens to streams in the recorded proportion, and calls what was called, as often as one connection did on
    average, at random moments that do not depend on the answers: latencies count from the moment a call was due. As
    many users as there were connections make the recorded load. A call that was recorded with an error counts as a
    success when it ends with the same one.

    What cannot be repeated is left out, and named once in the log: calls of contracts, calls with bytes, and those
    whose arguments are not in the recording as they were, unless :meth:`arguments` knows them. Never is anything sent
    that was redacted.

    ::

        class Again(RecordedUser):
            recording = "monday.lrec.gz"
            speed = 2.0

            def arguments(self, path, recorded):
                if path == "auth/login":
                    return [self.person["user"], self.person["password"]]
                return super().arguments(path, recorded)

    Attributes:
        recording: The file, seen from the working directory; read when the class is made, which raises ``ConfigError``.
        speed: 2.0: twice as many calls per second.
        seed: Users with the same one, and the same number of users, do the same.
        mix: What is in the recording.
        replayed: What became of it in this process, for all users of the class.
    """

    abstract = True
    recording: str | os.PathLike[str]
    speed: float = 1.0
    seed: object = 1
    mix: Mix
    replayed: Replayed

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.replayed = Replayed()
        if "recording" in cls.__dict__:
            cls.mix = Mix.read(cls.recording)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._number: int | None = None
        self._own_seed = ""
        self._over = False
        self._calls: Iterator[tuple[float, Recorded]] | None = None
        self._due = 0.0
        self._next: Recorded | None = None

    def arguments(self, path: str, recorded: Recorded) -> list[Any] | None:
        """What to call a function with, or to ask a stream for; by default as recorded. Asked every time.

        Args:
            path: What is called.
            recorded: One of the recorded calls of this path: ``args`` has the arguments by name, ``missing`` says why
                they cannot be used as they are. Of a stream that was subscribed to before the recording began,
                ``topic`` is known instead.

        Returns:
            None: leave it out.
        """
        return None if recorded.missing else list(recorded.args.values())

    def on_start(self) -> None:
        """Connect and subscribe. An override calls it first."""
        super().on_start()
        self.replayed.tell(self.mix)
        self._number = seats_of(self.environment).take(_SERIES)
        self._own_seed = f"{self.seed} {self._number}"
        for recorded in self.mix.subscriptions(self._own_seed):
            args = self._known(recorded)
            if args is not None:
                with suppress(RpcError):  # recorded as a failure, with its code
                    self.stream(recorded.path, *args, on_event=self._heard)

    def on_stop(self) -> None:
        """Close the connection. An override calls it last."""
        self._over = True
        if self._number is not None:
            seats_of(self.environment).give_back(_SERIES, self._number)
            self._number = None
        super().on_stop()

    def wait_time(self) -> float:
        """Seconds until the next call is due."""
        return min(max(0.0, self._due - time.perf_counter()), _IDLE_SECONDS)

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def replay(self) -> None:
        """Call what is due, again and again."""
        self.call_what_is_due()  # which may be overridden: of a task, Locust would go on to do the old one, too

    def call_what_is_due(self) -> None:
        """Begin every call whose moment has come; nobody waits for the answers here."""
        if self._calls is None:
            self._calls = self.schedule(time.perf_counter())
            self._advance(self._calls)
        while self._next is not None and self._due <= time.perf_counter():
            due, recorded = self._due, self._next
            self._advance(self._calls)
            self.begin(due, recorded)

    def schedule(self, start: float) -> Iterator[tuple[float, Recorded]]:
        """This user's calls and when they are due, on the clock of ``start``; see :meth:`Mix.schedule`."""
        return self.mix.schedule(start, self._own_seed, speed=self.speed)

    def begin(self, due: float, recorded: Recorded) -> None:
        """Make a call, unless its arguments are not known, and do not wait for its answer."""
        args = self._known(recorded)
        if args is not None:
            self.replayed.started += 1
            self.replayed.pending += 1
            sent = time.perf_counter()
            self.client.begin(recorded.path, *args, on_done=partial(self._done, recorded, due, sent))

    def answered(self, recorded: Recorded, code: str, due: float, sent: float) -> None:
        """Record the end of a call that was due and sent then; ``code``: it ended with this, which was not recorded."""
        now, name = time.perf_counter(), printable(recorded.path)
        if code:
            self.recorder.fail("RPC", name, now - due, code)
        else:
            self.recorder.add("RPC", name, now - due)
            self.recorder.add("RPC", f"{name} from send", now - sent, part=True)

    def _advance(self, calls: Iterator[tuple[float, Recorded]]) -> None:
        self._due, self._next = next(calls, (float("inf"), None))

    def _known(self, recorded: Recorded) -> list[Any] | None:
        """The arguments; None when it is left out."""
        args = self.arguments(recorded.path, recorded)
        if args is None:
            self.replayed.leave_out(recorded.path, recorded.missing or "arguments() has returned None")
        elif not is_whole(args):
            self.replayed.leave_out(recorded.path, "arguments() has returned what was redacted or cut")
            args = None
        return args

    def _done(self, recorded: Recorded, due: float, sent: float, call: Call) -> None:
        self.replayed.pending -= 1
        if self._over:
            return  # nobody waits for its end any more
        code = call.outcome.code if isinstance(call.outcome, RpcError) else ""
        code = "" if code == recorded.code else code
        self.replayed.failed += bool(code)
        self.answered(recorded, code, due, sent)

    def _heard(self, _: EventFrame) -> None:
        self.replayed.events += 1
