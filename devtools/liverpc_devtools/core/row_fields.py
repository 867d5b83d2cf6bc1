"""What a filter can ask of the rows of the screens."""

from __future__ import annotations

from liverpc.inspector.protocol import RefusedJoin, RoomInfo, SubscriptionInfo
from liverpc_devtools.core.fields import Fields
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Connection, Stream
from liverpc_devtools.core.upload_rows import Upload

__all__ = [
    "REFUSED_FIELDS",
    "ROOM_FIELDS",
    "SLOW_BYTES",
    "SUBSCRIPTION_FIELDS",
    "connection_fields",
    "stream_fields",
    "upload_fields",
]

SLOW_BYTES = 64 * 1024  #: a socket with as much to take is slow


#: of who listens to what
SUBSCRIPTION_FIELDS: Fields[SubscriptionInfo] = {
    "topic": lambda row: row.topic,
    "conn": lambda row: row.connection,
    "user": lambda row: row.user,
    "bytes": lambda row: row.buffered,
    "held": lambda row: row.held,
    "is": lambda row: () if row.live else ("pending",),
}


def stream_fields(model: Model) -> Fields[Stream]:
    """Of topics."""
    return {
        "topic": lambda row: row.info.topic,
        "merge": lambda row: row.info.merge,
        "path": lambda row: row.info.path,
        "event": lambda row: row.stats.event,
        "code": lambda row: row.stats.error,
        "subs": lambda row: row.stats.subscribers,
        "seq": lambda row: row.stats.seq,
        "bytes": lambda row: row.stats.bytes,
        "age": lambda row: (model.now() - row.stats.at) * 1000 if row.stats.at else None,
        "rate": lambda row: row.published.rate(model.tick()),
        "out": lambda row: row.delivered.rate(model.tick()),
        "drop": lambda row: row.stats.dropped,
        "coal": lambda row: row.stats.coalesced,
        "miss": lambda row: row.stats.volatile_drops,
        "held": lambda row: row.stats.held,
        "replay": lambda row: row.stats.replay_depth,
        "reload": lambda row: row.stats.reloads,
        "is": _about_stream,
    }


def connection_fields(model: Model) -> Fields[Connection]:
    """Of connections."""
    return {
        "conn": lambda row: row.info.id,
        "user": lambda row: row.info.user,
        "address": lambda row: row.info.address,
        "age": lambda row: (model.now() - row.info.opened_at) * 1000,
        "topics": lambda row: row.stats.topics,
        "rate": lambda row: row.frames.rate(model.tick()),
        "calls": lambda row: row.stats.calls,
        "pending": lambda row: row.stats.pending,
        "bytes": lambda row: row.stats.buffered,
        "is": lambda row: ("slow",) if row.stats.buffered >= SLOW_BYTES else (),
    }


#: of rooms
ROOM_FIELDS: Fields[RoomInfo] = {
    "kind": lambda row: row.kind,
    "name": lambda row: row.name,
    "topic": lambda row: row.name,
    "key": lambda row: row.key,
    "path": lambda row: row.declared,
    "members": lambda row: row.members,
    "conns": lambda row: row.connections,
    "grace": lambda row: row.away,
    "cursors": lambda row: row.cursors,
}

#: of joins that were refused
REFUSED_FIELDS: Fields[RefusedJoin] = {
    "name": lambda row: row.room,
    "conn": lambda row: row.connection,
    "user": lambda row: row.user,
    "reason": lambda row: row.reason,
}


def upload_fields(model: Model) -> Fields[Upload]:
    """Of uploads."""
    return {
        "path": lambda row: row.info.path,
        "user": lambda row: row.info.user,
        "conn": lambda row: row.info.connection,
        "address": lambda row: row.info.address,
        "bytes": lambda row: row.info.received,
        "size": lambda row: row.info.size,
        "done": lambda row: None if row.share is None else row.share * 100,
        "rate": lambda row: row.rate(model.tick()),
        "buffer": lambda row: row.info.buffered,
        "state": lambda row: row.state,
        "ms": lambda row: row.seconds(model.tick()) * 1000,
        "code": lambda row: "" if row.answer is None else row.answer.code,
        "is": _about_upload,
    }


def _about_upload(row: Upload) -> tuple[str, ...]:
    if row.answer is not None:
        return () if row.answer.ok else ("error",)
    return ("pending",) if row.ended_at is None else ()


def _about_stream(row: Stream) -> tuple[str, ...]:
    stats = row.stats
    given = {"error": stats.error, "dropped": stats.dropped, "fault": stats.dropped, "volatile": stats.volatile_drops}
    return tuple(word for word, holds in given.items() if holds)
