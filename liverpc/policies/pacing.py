"""Publishes that wait for their turn, and cooldowns.

Everything here is bounded by ``Limits.paced_keys``. Beyond it nothing is lost: what would have waited is published at
once, and what would have been skipped is not.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.hub import Hub
from liverpc.telemetry import CAUSE, Counters, run_for
from liverpc.wire.codec import encode
from liverpc.wire.names import topic_fault

__all__ = ["Pacing"]

log = logging.getLogger("liverpc.pacing")

Key: TypeAlias = tuple[str, str, bytes]
INVALID_ARG = "INVALID_ARG"
_MAX_SKIP_KEY = 256  # characters
_SWEEP_SECONDS = 1.0  # between two searches for cooldowns that are over


class _Kept:
    """A value that waits to be published, and who passed it."""

    __slots__ = ("_data", "_encoded", "cause", "origin")

    def __init__(self, data: Any, origin: Any) -> None:
        self._data = data
        self._encoded = encode(data)
        self.origin = origin
        self.cause = CAUSE.get()

    def value(self) -> Any:
        """What was passed; when it was changed since, the JSON it had then."""
        with suppress(Exception):  # it may have no JSON form any more, of which there are several signs
            if encode(self._data) == self._encoded:
                return self._data
        return msgspec.json.decode(self._encoded)


class _Wait:
    """The timer of one key. Until ``due`` nothing is published for it."""

    __slots__ = ("due", "event", "interval", "kept", "timer", "topic")

    def __init__(self, topic: str, event: str) -> None:
        self.topic = topic
        self.event = event
        self.interval = 0.0
        self.due = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.kept: _Kept | None = None


class Pacing:
    """The throttled and debounced publishes and the cooldowns of one server.

    Args:
        hub: Where it publishes.
        counters: Of the server.
        max_keys: How many keys may wait to be throttled, to be debounced, and cool down; each.
        failed: ``(origin, error)``, told when a publish fails that its caller no longer waits for.
    """

    def __init__(
        self, hub: Hub, counters: Counters, *, max_keys: int, failed: Callable[[Any, BaseException], object]
    ) -> None:
        self._hub = hub
        self._counters = counters
        self._max_keys = max_keys
        self._failed = failed
        self._throttled: dict[Key, _Wait] = {}
        self._debounced: dict[Key, _Wait] = {}
        self._cooling: dict[tuple[str, str], float] = {}
        self._swept_at = -math.inf
        self._closed = False

    def throttle(self, topic: str, event: str, data: Any, interval: float, origin: Any) -> None:
        """Publish at most once per ``interval``: the first value now, then the last one of each interval.

        Raises:
            LiveError: ``INVALID_TOPIC``, or ``INVALID_ARG`` for an interval that is none.
            TypeError: ``data`` has no JSON form.
        """
        _seconds("interval", interval)
        key = (topic, event, _key_field(data))
        wait = self._throttled.get(key)
        if wait is not None:
            wait.kept = _Kept(data, origin)
            wait.interval = interval
            return
        self._hub.publish(topic, event, data)
        if self._has_room(self._throttled):
            wait = self._throttled[key] = _Wait(topic, event)
            wait.interval = interval
            self._open(key, wait)

    def _open(self, key: Key, wait: _Wait) -> None:
        loop = asyncio.get_running_loop()
        wait.timer = loop.call_at(loop.time() + wait.interval, self._interval_over, key, wait)

    def _interval_over(self, key: Key, wait: _Wait) -> None:
        if wait.kept is None:
            del self._throttled[key]
        else:
            self._publish(wait)
            self._open(key, wait)

    def debounce(self, topic: str, event: str, data: Any, interval: float, origin: Any) -> None:
        """Publish the last value once nothing came for ``interval`` seconds. Errors as for :meth:`throttle`."""
        _seconds("interval", interval)
        key = (topic, event, _key_field(data))
        wait = self._debounced.get(key)
        if wait is None:
            if not self._has_room(self._debounced):
                self._hub.publish(topic, event, data)
                return
            _check_names(topic, event)
        kept = _Kept(data, origin)
        if wait is None:
            wait = self._debounced[key] = _Wait(topic, event)
        wait.kept = kept
        loop = asyncio.get_running_loop()
        wait.due = loop.time() + interval
        # A timer that fires too early is set again then: cheaper than a new one for every value.
        if wait.timer is None or wait.timer.when() > wait.due:
            if wait.timer is not None:
                wait.timer.cancel()
            wait.timer = loop.call_at(wait.due, self._maybe_silent, key, wait)

    def _maybe_silent(self, key: Key, wait: _Wait) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < wait.due:
            wait.timer = loop.call_at(wait.due, self._maybe_silent, key, wait)
            return
        del self._debounced[key]
        self._publish(wait)

    def forget(self, topic: str, event: str, data: Any) -> None:
        """Publish no more of what is throttled under the names of ``data``, now or later."""
        wait = self._throttled.pop((topic, event, _key_field(data)), None)
        if wait is not None and wait.timer is not None:
            wait.timer.cancel()

    def skip(self, scope: str, key: object, seconds: object) -> bool:
        """Whether ``key`` cools down; if not, it does so from now on, for ``seconds``.

        Args:
            scope: Keys of different scopes have nothing to do with each other.
            key: 1 to 256 characters.
            seconds: More than 0.

        Raises:
            LiveError: ``INVALID_ARG``.
        """
        if not isinstance(key, str) or not 0 < len(key) <= _MAX_SKIP_KEY:
            raise LiveError(INVALID_ARG, f"a key has 1 to {_MAX_SKIP_KEY} characters; {key!r:.40} has not")
        cooling = _seconds("seconds", seconds)
        now = self._hub.monotonic()
        until = self._cooling.get((scope, key))
        if until is not None and now < until:
            return True
        if until is None and len(self._cooling) >= self._max_keys:
            self._sweep(now)
            if len(self._cooling) >= self._max_keys:
                self._counters.paced_overflows += 1
                return False
        self._cooling[scope, key] = now + cooling
        return False

    def _sweep(self, now: float) -> None:
        """Forget cooldowns that are over, unless that was just done: it costs time for each."""
        if now >= self._swept_at + _SWEEP_SECONDS:
            self._swept_at = now
            self._cooling = {key: until for key, until in self._cooling.items() if now < until}

    def open(self) -> None:
        """Let publishes wait, as they do at first; undoes :meth:`close`."""
        self._closed = False

    def close(self) -> None:
        """Publish now what waits, and from now on everything at once. No timer is left."""
        self._closed = True
        waits = [*self._throttled.values(), *self._debounced.values()]
        self._throttled.clear()
        self._debounced.clear()
        for wait in waits:
            if wait.timer is not None:
                wait.timer.cancel()
            if wait.kept is not None:
                self._publish(wait)

    def _has_room(self, table: Mapping[Key, _Wait]) -> bool:
        if len(table) < self._max_keys:
            return not self._closed
        self._counters.paced_overflows += 1
        return False

    def _publish(self, wait: _Wait) -> None:
        kept, wait.kept = wait.kept, None
        assert kept is not None
        try:
            run_for(kept.cause, self._hub.publish, wait.topic, wait.event, kept.value())
        except Exception as error:
            log.exception("publishing %r on %r, which had to wait, failed", wait.event, wait.topic)
            self._failed(kept.origin, error)


def _key_field(data: Any) -> bytes:
    """What ``data`` has as ``key``, else as ``id``, in JSON, so that ``1`` is not ``"1"``; nothing without."""
    for name in ("key", "id"):
        key = data.get(name) if isinstance(data, Mapping) else getattr(data, name, None)
        with suppress(TypeError):  # a method of that name
            if key is not None:
                return encode(key)
    return b""


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise LiveError(INVALID_ARG, f"{name} is a number of seconds above 0, not {value!r}")
    return value


def _check_names(topic: str, event: str) -> None:
    for what, name, reserved in (("topic", topic, False), ("event", event, True)):
        if (fault := topic_fault(name, reserved=reserved)) is not None:
            raise LiveError(ErrorCode.INVALID_TOPIC, f"the {what} {name!r} {fault}")
