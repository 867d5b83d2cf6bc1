"""What a developer should know and would not see: warnings of development mode.

All of it listens to telemetry, so a server without development mode pays nothing for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from liverpc.config import DevWarnings
from liverpc.declare.context import Context
from liverpc.declare.inroom import BesideRoom
from liverpc.declare.options import StreamOptions
from liverpc.declare.registry import Registry
from liverpc.hub.hub import Hub
from liverpc.merge.folds import known_events
from liverpc.policies.locks import Locks
from liverpc.telemetry import CallFinished, Published, Subscribed, Telemetry, Unsubscribed
from liverpc.wire.codec import encode
from liverpc.wire.names import glob, is_reserved

__all__ = ["DevWarner"]

log = logging.getLogger("liverpc.dev")

SAMPLE_SECONDS = 5.0
_MAX_REMEMBERED = 1_000  # topics and paths that were warned of, and topics that are waited for
_SWALLOWED = "reqId"


class DevWarner:
    """Warns once per topic or path, on the logger ``liverpc.dev``.

    It remembers 1,000 warnings; from then on it is silent.
    """

    def __init__(self, settings: DevWarnings, hub: Hub, telemetry: Telemetry, registry: Registry, locks: Locks) -> None:
        self._settings = settings
        self._registry = registry
        self._hub = hub
        self._telemetry = telemetry
        self._locks = locks
        self._quiet = [glob(pattern) for pattern in settings.quiet]
        self._told: set[tuple[str, str]] = set()
        self._silent: dict[str, asyncio.TimerHandle] = {}
        self._published: Counter[str] = Counter()
        self._sampling: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen, on the running loop."""
        telemetry = self._telemetry
        telemetry.subscribed.append(self._on_subscribed)
        telemetry.unsubscribed.append(self._on_unsubscribed)
        telemetry.published.append(self._on_published)
        telemetry.call_finished.append(self._on_call)
        self._locks.on_wait = self._on_wait

    def stop(self) -> None:
        """Listen no more; no timer is left."""
        telemetry = self._telemetry
        telemetry.subscribed.remove(self._on_subscribed)
        telemetry.unsubscribed.remove(self._on_unsubscribed)
        telemetry.published.remove(self._on_published)
        telemetry.call_finished.remove(self._on_call)
        self._locks.on_wait = None
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        if self._sampling is not None:
            self._sampling.cancel()
            self._sampling = None
        self._published.clear()

    def _warn(self, kind: str, name: str, text: str, *args: object) -> None:
        known = (kind, name)
        if known in self._told or len(self._told) >= _MAX_REMEMBERED or any(quiet(name) for quiet in self._quiet):
            return
        self._told.add(known)
        log.warning(text, *args)

    # -- topics nobody publishes on

    def _on_subscribed(self, event: Subscribed) -> None:
        name = event.topic
        if name in self._silent or len(self._silent) >= _MAX_REMEMBERED or self._is_ours(name, event.path):
            return
        if not self._is_silent(name):  # a later subscriber
            return
        loop = asyncio.get_running_loop()
        self._silent[name] = loop.call_later(self._settings.silent_seconds, self._look_for_events, name)

    def _on_unsubscribed(self, event: Unsubscribed) -> None:
        if event.ended is not None and (timer := self._silent.pop(event.topic, None)) is not None:
            timer.cancel()

    def _is_ours(self, name: str, path: str) -> bool:
        """Whether the library publishes on a topic: the application can do nothing about how often."""
        entry = self._registry.paths.get(path)
        return is_reserved(name) or (entry is not None and isinstance(entry.declaration, BesideRoom))

    def _is_silent(self, name: str) -> bool:
        topic = self._hub.topics.get(name)
        return topic is not None and topic.published == 0

    def _look_for_events(self, name: str) -> None:
        del self._silent[name]
        if not self._is_silent(name):
            return
        self._warn(
            "silent",
            name,
            "the topic %r has subscribers for %g s and no event yet: is it published on under exactly this name?",
            name,
            self._settings.silent_seconds,
        )

    # -- locks

    def _on_wait(self, key: str, holder: object, waiter: object) -> None:
        assert isinstance(holder, Context)
        assert isinstance(waiter, Context)
        task = holder.connection.calls.of.get(holder)
        if self._hub.requests.asks(waiter.connection, task):
            self._warn(
                "deadlock",
                waiter.path,
                "%s waits for the lock %r, which %s holds while it waits for an answer of the same client: neither may "
                "ever come; ask before the lock is taken",
                waiter.path,
                key,
                holder.path,
            )

    # -- topics with many publishes

    def _on_published(self, event: Published) -> None:
        self._look_for_swallowed(event.topic, event.data)
        self._look_at_event(event)
        # Volatile and coalesced events have no number: to publish many of those is what they are for.
        if event.seq is None or event.remote:
            return
        self._published[event.topic] += 1
        if self._sampling is None:
            self._sampling = asyncio.get_running_loop().call_later(SAMPLE_SECONDS, self._sample)

    def _sample(self) -> None:
        self._sampling = None
        published, self._published = self._published, Counter()
        for name, count in published.items():
            rate = count / SAMPLE_SECONDS
            topic = self._hub.topics.get(name)
            if rate > self._settings.publish_rate and not self._is_ours(name, topic.path if topic else ""):
                self._warn(
                    "rate",
                    name,
                    "%.0f publishes a second on the topic %r: every subscriber gets each; ctx.throttle() sends the "
                    "last of an interval",
                    rate,
                    name,
                )

    # -- results

    def _on_call(self, event: CallFinished) -> None:
        if event.code is not None or event.result is None:
            return
        size = len(encode(event.result))
        if size > self._settings.reply_bytes:
            self._warn(
                "reply",
                event.path,
                "%s answered with %d bytes; return less, or in pages: browsers drop answers above 1 MiB",
                event.path,
                size,
            )
        if event.kind == "stream":
            self._look_for_swallowed(event.path, event.result)
            options = self._options(event.path)
            if options is not None and options.merge != "set" and not isinstance(event.result, list | tuple):
                self._warn(
                    "value",
                    event.path,
                    "%s gave a %s, which clients take for an empty list: under merge=%r a loader returns a list, or a "
                    "Page; one value is merge='set'",
                    event.path,
                    type(event.result).__name__,
                    options.merge,
                )

    # -- events that change nothing

    def _options(self, path: str) -> StreamOptions | None:
        entry = self._registry.paths.get(path)
        return None if entry is None else getattr(entry.declaration, "options", None)

    def _look_at_event(self, event: Published) -> None:
        topic = self._hub.topics.get(event.topic)
        options = None if topic is None else self._options(topic.path)
        known = None if options is None else known_events(options.merge)
        if options is None or known is None or event.remote:
            return
        if event.event not in known:
            self._warn(
                f"event {event.event}",
                event.topic,
                "the event %r on %r changes nothing: under merge=%r clients know %s",
                event.event,
                event.topic,
                options.merge,
                ", ".join(sorted(known)),
            )
            return
        key, row = options.key if options.merge == "crud" else "key", event.data
        if isinstance(row, list | tuple):  # of refreshed, or set
            row = row[0] if row else None
        if row is not None and not (key in row if isinstance(row, Mapping) else hasattr(row, key)):
            self._warn(
                "key",
                event.topic,
                "what was published on %r as %r has no field %r, by which clients tell rows apart; see key= of streams",
                event.topic,
                event.event,
                key,
            )

    def _look_for_swallowed(self, name: str, data: Any) -> None:
        row = data[0] if isinstance(data, list | tuple) and data else data
        if _SWALLOWED in row if isinstance(row, Mapping) else hasattr(row, _SWALLOWED):
            self._warn(
                "swallowed",
                name,
                "rows of %s have a field %r: browser clients take such events for their own and drop them; rename it",
                name,
                _SWALLOWED,
            )
