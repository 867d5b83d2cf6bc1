"""Numbers for the users of a run, none given to two users at the same time, in whatever process they are.

The process that leads the run gives them out; the others ask it. So it does not matter how Locust spreads users over
processes, which come late, or which user stops early.
"""

from __future__ import annotations

import itertools
from typing import Any

import gevent
from gevent.event import AsyncResult
from locust import events
from locust.runners import WorkerRunner

from liverpc.contrib.locust.people import Numbers
from liverpc.errors import ConfigError

__all__ = ["Seats", "seats_of"]

_ASK = "liverpc.seat.ask"
_GIVE_BACK = "liverpc.seat.back"
_GIVE = "liverpc.seat"
_ANSWER_SECONDS = 10.0


class Seats:
    """The numbers of one Locust environment; see :func:`seats_of`."""

    def __init__(self, environment: Any) -> None:
        self._runner = environment.runner
        self._numbers: dict[str, Numbers] = {}
        self._answers: dict[int, AsyncResult] = {}
        self._asked = itertools.count(1)
        if isinstance(self._runner, WorkerRunner):
            self._runner.register_message(_GIVE, self._given)
        else:
            self._runner.register_message(_ASK, self._asked_by)
            self._runner.register_message(_GIVE_BACK, self._given_back)

    def take(self, name: str) -> int:
        """The lowest free number of a series, from 0 on.

        Raises:
            ConfigError: The leading process does not answer.
        """
        if not isinstance(self._runner, WorkerRunner):
            return self._series(name).take()
        number = next(self._asked)
        answer: Any = AsyncResult()
        self._answers[number] = answer
        self._runner.send_message(_ASK, {"id": number, "name": name})
        try:
            seat: int = answer.get(timeout=_ANSWER_SECONDS)
            return seat
        except gevent.Timeout:
            raise ConfigError("the master gives out no numbers: start it with the same locustfile") from None
        finally:
            del self._answers[number]

    def give_back(self, name: str, seat: int) -> None:
        """A user has ended, and another one may have its number."""
        if isinstance(self._runner, WorkerRunner):
            self._runner.send_message(_GIVE_BACK, {"name": name, "seat": seat})
        else:
            self._series(name).give_back(seat)

    def _series(self, name: str) -> Numbers:
        return self._numbers.setdefault(name, Numbers())

    def _asked_by(self, msg: Any, **_: Any) -> None:
        seat = self._series(msg.data["name"]).take()
        self._runner.send_message(_GIVE, {**msg.data, "seat": seat}, msg.node_id)

    def _given(self, msg: Any, **_: Any) -> None:
        asked = self._answers.get(msg.data["id"])
        if asked is not None:
            asked.set(msg.data["seat"])
        else:  # who asked was stopped meanwhile
            self.give_back(msg.data["name"], msg.data["seat"])

    def _given_back(self, msg: Any, **_: Any) -> None:
        self._series(msg.data["name"]).give_back(msg.data["seat"])


def seats_of(environment: Any) -> Seats:
    """The numbers of a Locust environment, which must have a runner; made at the first call."""
    seats: Seats | None = getattr(environment, "liverpc_seats", None)
    if seats is None:
        seats = environment.liverpc_seats = Seats(environment)
    return seats


def _prepare(environment: Any, **_: Any) -> None:
    if environment.runner is not None:
        seats_of(environment)


# A master has no users that would make them, and is asked all the same.
events.init.add_listener(_prepare)
