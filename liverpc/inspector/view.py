"""What one kind of observer may see: a level and a scope, applied to everything that leaves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from math import inf
from typing import Any

import msgspec

from liverpc.config import Level
from liverpc.declare.context import Context
from liverpc.declare.registry import Registry
from liverpc.hub.connection import Connection
from liverpc.hub.hub import Hub
from liverpc.hub.topic import TopicState
from liverpc.inspector.awaiting import awaited
from liverpc.inspector.changes import Changes
from liverpc.inspector.figures import Load, PathFigures, breaker_infos, lock_infos
from liverpc.inspector.protocol import (
    Awaited,
    CallEvent,
    ChaosRule,
    ConnectionEvent,
    ConnectionInfo,
    ConnectionStats,
    Event,
    PendingCall,
    PublishEvent,
    State,
    StreamInfo,
    StreamStats,
    UploadInfo,
    UploadTotals,
)
from liverpc.inspector.protocol import frames as protocol
from liverpc.policies.faults import Fault, FaultRule, FaultRules
from liverpc.policies.running import RunningPolicies
from liverpc.telemetry import Counters, Latencies
from liverpc.uploads.running import RunningUpload
from liverpc.uploads.uploads import Uploads
from liverpc.wire.names import glob

__all__ = ["TURNS", "Source", "View"]

TURNS = 4  # states in which all connections are looked at: of thousands at once, the server would be late for others
_MAX_PENDING = 200
_MAX_NUMBERS = 20_000  # ids that are remembered for one scoped observer
_MAX_UPLOADS = 200
_PART_ROWS = 500  # streams and connections in one part of a full state


class Source(msgspec.Struct):
    """What a server has to show."""

    hub: Hub
    registry: Registry
    counters: Counters
    faults: FaultRules
    uploads: Uploads
    policies: RunningPolicies
    paths: PathFigures
    deliveries: Latencies


class View:
    """One level and scope; observers with equal views share the same bytes.

    A holder of a scoped token sees its topics, the connections subscribed to them and the calls that
    published on them; paths, totals, running calls, uploads, locks and breakers are no topic's business and are left
    out.

    Attributes:
        anonymous: It sees no users.
    """

    def __init__(self, source: Source, level: Level, topics: tuple[str, ...]) -> None:
        self.key = (level == "metrics", topics)
        self._source = source
        self.anonymous = level == "metrics"
        self._numbers: OrderedDict[int, int] = OrderedDict()  # ids, and what a scoped observer is told
        self._last_number = 0
        self._globs = None if "*" in topics else [glob(pattern) for pattern in topics]

    @property
    def scoped(self) -> bool:
        """Whether there are topics it may not see."""
        return self._globs is not None

    def covers(self, topic: str) -> bool:
        """Whether a topic, or every topic a glob names, lies inside the scope."""
        return self._globs is None or any(matches(topic) for matches in self._globs)

    # -- state

    def full(self, rev: int, at: float, load: Load) -> Iterator[State]:
        """Everything there is, in parts of bounded size with one ``rev``."""
        hub = self._source.hub
        topics = [topic for topic in hub.topics.values() if self.covers(topic.wire)]
        connections = [each for each in hub.connections.values() if self.shows(each)]
        figures = self._figures(rev, at, load, True)
        for start in range(0, max(len(topics), len(connections), 1), _PART_ROWS):
            end = start + _PART_ROWS
            yield msgspec.structs.replace(
                figures,
                full=True,
                more=end < max(len(topics), len(connections)),
                streams=[_stream(topic) for topic in topics[start:end]],
                stream_stats=[_stream_stats(topic) for topic in topics[start:end]],
                connections=[self._connection(each) for each in connections[start:end]],
                connection_stats=[_connection_stats(each) for each in connections[start:end]],
            )

    def delta(self, changes: Changes, rev: int, at: float, load: Load, turn: int) -> State:
        """What changed, and the figures of one connection in :data:`TURNS`.

        ``turn`` says which, from 0; in that one is what is too dear to be told each time.
        """
        hub = self._source.hub
        changed = [hub.topics[name] for name in changes.topics if name in hub.topics]
        topics = [topic for topic in changed if self.covers(topic.wire)]
        # With a scope, a connection comes into sight with its first topic there, and leaves with the last.
        seen = changes.opened if self._globs is None else changes.opened | changes.joined
        opened = [hub.connections[each] for each in seen if each in hub.connections]
        looked_at = chain(opened, islice(hub.connections.values(), turn, None, TURNS))
        return msgspec.structs.replace(
            self._figures(rev, at, load, turn == 0),
            streams=[_stream(topic) for topic in topics if topic.name in changes.born],
            stream_stats=[_stream_stats(topic) for topic in topics],
            streams_gone=[number for number, name in changes.ended.items() if self.covers(name)],
            connections=[self._connection(each) for each in opened if self.shows(each)],
            connection_stats=[_connection_stats(each) for each in looked_at if self.shows(each)],
            connections_gone=list(changes.closed) if self._globs is None else self._out_of_sight(changes),
        )

    def _figures(self, rev: int, at: float, load: Load, thorough: bool) -> State:
        """What every state carries in full."""
        source = self._source
        if self._globs is not None:
            return State(rev=rev, at=at, chaos=self.rules(at), busy=round(load.busy, 4))
        paths, path_stats = source.paths.rows()
        locks = source.policies.locks
        pending, pending_total = self._pending()
        uploads, limits = source.uploads.running, source.hub.limits
        return State(
            rev=rev,
            at=at,
            paths=paths,
            path_stats=path_stats,
            pending=pending,
            pending_total=pending_total,
            uploads=[self._upload(each) for each in uploads[:_MAX_UPLOADS]],
            upload_totals=UploadTotals(
                len(uploads), limits.uploads, source.uploads.buffered, limits.uploads_buffer_bytes
            ),
            counters=asdict(source.counters),
            chaos=self.rules(at),
            busy=round(load.busy, 4),
            lag=round(load.lag, 4),
            memory=load.memory,
            latencies=source.paths.latencies() if thorough else [],
            deliveries=source.deliveries.sparse() if thorough else [],
            locks=[] if self.anonymous else lock_infos(locks),  # their keys may name users
            locks_total=len(locks),
            breakers=breaker_infos(source.policies.breakers.rows()),
        )

    def _out_of_sight(self, changes: Changes) -> list[str]:
        connections = self._source.hub.connections
        return [
            connection
            for connection, topics in changes.left.items()
            if any(map(self.covers, topics))
            and (connection not in connections or not self.shows(connections[connection]))
        ]

    def rules(self, at: float) -> list[ChaosRule]:
        """The faults in force."""
        return self._rules(self._source.faults.rules, at)

    def ended_rules(self, at: float) -> list[ChaosRule]:
        """The last faults that ended."""
        return self._rules(self._source.faults.ended, at)

    def _rules(self, rules: Iterable[FaultRule], at: float) -> list[ChaosRule]:
        return [self._rule(rule, at) for rule in rules if self.shows_fault(rule.fault)]

    def _rule(self, rule: FaultRule, at: float) -> ChaosRule:
        fault: dict[str, Any] = {**msgspec.structs.asdict(rule.fault), **self._hidden(rule.fault)}
        return ChaosRule(
            **fault,
            id=rule.number,
            by=rule.by,
            hits=rule.hits,
            seen=rule.seen,
            left=0.0 if rule.expires_at == inf else round(rule.expires_at - at, 1),
        )

    def shows_fault(self, fault: Fault) -> bool:
        """Whether a fault may be seen. Calls are no topic's business."""
        return self._globs is None or (fault.place != "call" and self.covers(fault.topic))

    def _hidden(self, fault: Fault) -> dict[str, str]:
        """What of its target may not be seen."""
        if self._globs is None:
            return {"user": ""} if self.anonymous else {}
        found = self._source.hub.connections.get(fault.connection)
        return {"user": "", "connection": fault.connection if found is not None and self.shows(found) else ""}

    def shows(self, connection: Connection) -> bool:
        """Whether a connection may be seen."""
        return self._globs is None or any(self.covers(each.topic.wire) for each in connection.subscriptions.values())

    def _connection(self, connection: Connection) -> ConnectionInfo:
        return ConnectionInfo(connection.id, *self._who(connection), connection.opened_at)

    def _upload(self, upload: RunningUpload) -> UploadInfo:
        buffer = upload.buffer
        return UploadInfo(
            upload.connection.id,
            upload.id,
            upload.path,
            *self._who(upload.connection),
            upload.started_at,
            upload.size,
            buffer.received,
            buffer.taken,
            buffer.buffered,
            upload.state,
        )

    def _who(self, connection: Connection) -> tuple[str, str]:
        """User and address."""
        return ("", "") if self.anonymous else (connection.user_id or "", connection.request.address)

    def _carries(self, path: str) -> str:
        entry = self._source.registry.paths.get(path)
        return entry.kind if entry is not None and entry.kind in protocol.CARRIERS else ""

    def _pending(self) -> tuple[list[PendingCall], int]:
        calls = [
            PendingCall(
                connection.id,
                _id(ctx),
                ctx.path,
                "" if self.anonymous else connection.user_id or "",
                ctx.started_at,
                self._carries(ctx.path),
            )
            for connection in self._source.hub.connections.values()
            if connection.calls.of
            for ctx in connection.calls.of
        ]
        calls.sort(key=lambda call: call.started_at)
        return calls[:_MAX_PENDING], len(calls)

    def awaited(self, connection: str, call: str, started_at: str = "") -> Awaited | None:
        """Where a call or an upload waits; None when no such one runs.

        Args:
            connection: Its id.
            call: The id of the call, as :class:`PendingCall` has it.
            started_at: Likewise, to tell calls with the same id apart; empty: the first one.
        """
        source = self._source
        found = source.hub.connections.get(connection)
        if found is None:
            return None
        locks, now = source.policies.locks, source.hub.monotonic()
        for ctx, task in found.calls.of.items():
            if _id(ctx) == call and started_at in ("", repr(ctx.started_at)):
                return awaited(task, locks, source.hub.requests, now)
        for upload in source.uploads.running:
            if upload.connection is found and upload.id == call and upload.task is not None:
                return awaited(upload.task, locks, source.hub.requests, now)
        return None

    # -- events

    def real_id(self, number: int) -> int:
        """The id of the event that the observer knows by this one; 0: none that is remembered."""
        if self._globs is None:
            return number
        return next((real for real, shown in self._numbers.items() if shown == number), 0)

    def _shown_id(self, real: int) -> int:
        """Ids count all events, and how much happens elsewhere is no business of a scoped observer."""
        if not real:
            return 0
        if real not in self._numbers:
            self._last_number += 1
            self._numbers[real] = self._last_number
            if len(self._numbers) > _MAX_NUMBERS:
                self._numbers.popitem(last=False)
        return self._numbers[real]

    def event(self, event: Event, payload: bool) -> Event | None:
        """The event as this observer may see it; None when it may not."""
        seen = self._seen(event, payload)
        if seen is None or self._globs is None:
            return seen
        rule = self._source.faults.named(seen.fault) if seen.fault else None
        return msgspec.structs.replace(
            seen,
            id=self._shown_id(seen.id),
            cause=self._shown_id(seen.cause),
            fault=seen.fault if rule is not None and self.shows_fault(rule.fault) else "",
        )

    def _seen(self, event: Event, payload: bool) -> Event | None:
        if isinstance(event, PublishEvent):
            if not self.covers(event.topic):
                return None
            hidden = {"data": msgspec.UNSET}
        elif isinstance(event, CallEvent):
            if self._globs is not None and not any(self.covers(topic) for topic in event.published):
                return None
            if self._globs is not None:
                event = msgspec.structs.replace(event, published=list(filter(self.covers, event.published)))
            hidden = {"args": msgspec.UNSET, "result": msgspec.UNSET}
        else:
            if self._globs is not None:
                return None
            hidden = {}
        if self.anonymous:
            user = {} if isinstance(event, PublishEvent) else {"user": ""}
            address = {"address": "", "reason": ""} if isinstance(event, ConnectionEvent) else {}
            return msgspec.structs.replace(event, **hidden, **user, **address)
        return event if payload or not hidden else msgspec.structs.replace(event, **hidden)


def _id(ctx: Context[Any]) -> str:
    return (ctx.call or "")[: protocol.Limits.MAX_CALL_ID]


def _stream(topic: TopicState) -> StreamInfo:
    return StreamInfo(topic.number, topic.wire, topic.merge, topic.path)


def _stream_stats(topic: TopicState) -> StreamStats:
    return StreamStats(
        topic.number,
        len(topic.subscriptions),
        topic.published,
        topic.delivered,
        topic.dropped,
        topic.bytes,
        topic.last_event,
        topic.last_at,
        topic.seq,
        topic.last_error,
        topic.replay_depth,
        sum(subscription.held for subscription in topic.holding),
        topic.reloads,
        topic.coalesced,
        topic.volatile_drops,
    )


def _connection_stats(connection: Connection) -> ConnectionStats:
    return ConnectionStats(
        connection.id,
        len(connection.subscriptions),
        connection.frames_in,
        connection.calls_total,
        len(connection.calls.of),
        connection.link.buffered,
    )
