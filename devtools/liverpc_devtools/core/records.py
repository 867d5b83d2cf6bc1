"""What a model and its rows look like as JSON, with names that stay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from liverpc.inspector.protocol import ChaosRule, Event, RoomTotals, UploadTotals, Welcome
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Path

__all__ = ["SCHEMA", "event", "fields", "rule", "snapshot", "top"]

SCHEMA = 1  #: version of the records


def snapshot(model: Model, welcome: Welcome, members: list[dict[str, Any]]) -> dict[str, Any]:
    """All that a model knows.

    Args:
        model: Of a server.
        welcome: What it said about itself.
        members: Of its rooms, as records.
    """
    return {
        "t": "snapshot",
        "schema": SCHEMA,
        "server": msgspec.to_builtins(welcome.server),
        "granted": welcome.granted,
        "at": model.now(),
        "wall": model.wall(model.now()),
        "streams": [
            {
                **fields(row.info, "topic", "merge", "path"),
                **fields(row.stats, "subscribers", "published", "delivered", "dropped", "bytes"),
                **fields(row.stats, "event", "at", "seq", "error", "replay_depth", "held", "reloads"),
                **fields(row.stats, "coalesced", "volatile_drops"),
            }
            for row in sorted(model.rows.streams.values(), key=lambda each: each.info.topic)
        ],
        "paths": [_path(row) for row in sorted(model.rows.paths.values(), key=lambda each: each.info.path)],
        "pending": [
            fields(each, "connection", "call", "path", "user", "started_at", "carries") for each in model.pending
        ],
        **_policies(model),
        "uploads": [
            {
                **fields(row.info, "connection", "id", "path", "user", "address", "started_at", "size"),
                **fields(row.info, "received", "taken", "buffered", "state"),
            }
            for row in model.uploads.rows
            if row.ended_at is None
        ],
        "upload_totals": _totals(model.uploads.totals),
        "rooms": [msgspec.structs.asdict(row) for row in model.rooms.rows.values()],
        "room_members": members,
        "room_totals": _totals(model.rooms.totals),
        "refused_joins": [msgspec.structs.asdict(each) for each in model.rooms.refused],
        "connections": [
            {
                **fields(row.info, "id", "user", "address", "opened_at"),
                **fields(row.stats, "topics", "frames_in", "calls", "pending", "buffered"),
            }
            for row in model.rows.connections.values()
        ],
        "calls": [event(each) for each in model.calls],
        "calls_left_out": model.calls.left_out,
        "counters": dict(sorted(model.counters.items())),
        "chaos": [rule(each) for each in model.chaos],
    }


def top(model: Model, at: float) -> dict[str, Any]:
    """The figures of a server at its time ``at``, the busiest path first."""
    totals = model.rows.totals
    paths = sorted(model.rows.paths.values(), key=lambda each: each.calls.rate(at), reverse=True)
    return {
        "t": "top",
        "schema": SCHEMA,
        "at": at,
        "wall": model.wall(at),
        "connections": len(model.rows.connections),
        "calls_per_s": round(totals.calls.rate(at), 3),
        "errors_per_s": round(totals.errors.rate(at), 3),
        "published_per_s": round(totals.published.rate(at), 3),
        "delivered_per_s": round(totals.delivered.rate(at), 3),
        "pending": model.pending_total,
        "paths": [{**_path(row), "calls_per_s": round(row.calls.rate(at), 3)} for row in paths],
        **_policies(model),
        "devtools": model.busy,
    }


def fields(row: Any, *names: str) -> dict[str, Any]:
    """Some of a row's fields."""
    return {name: getattr(row, name) for name in names}


def event(given: Event) -> dict[str, Any]:
    """Something that happened, without what was not recorded of it."""
    values: Iterable[tuple[str, Any]] = msgspec.structs.asdict(given).items()
    kind = given.__struct_config__.tag
    return {"kind": kind, **{name: value for name, value in values if value is not msgspec.UNSET}}


def rule(given: ChaosRule) -> dict[str, Any]:
    """A fault in force."""
    return msgspec.structs.asdict(given)


def _path(row: Path) -> dict[str, Any]:
    stats = row.stats
    mean = stats.total / stats.calls if stats.calls else 0.0
    times = {"mean": mean, "max": stats.max, "p50": stats.p50, "p95": stats.p95, "p99": stats.p99}
    return {
        "path": row.info.path,
        **fields(stats, "calls", "errors", "limited", "shed"),
        "codes": dict(stats.codes),
        **{f"{name}_ms": round(seconds * 1000, 3) for name, seconds in times.items()},
    }


def _policies(model: Model) -> dict[str, Any]:
    return {
        "locks": [msgspec.structs.asdict(each) for each in model.locks],
        "locks_total": model.locks_total,
        "breakers": [msgspec.structs.asdict(each) for each in model.breakers],
    }


def _totals(totals: UploadTotals | RoomTotals | None) -> dict[str, Any] | None:
    return None if totals is None else msgspec.structs.asdict(totals)
