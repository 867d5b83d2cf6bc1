"""The columns of the tables about streams, and how a stream was declared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter

from liverpc.inspector.protocol import PublishEvent, StreamInfo, SubscriptionInfo
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Stream
from liverpc_devtools.core.schemas import Schemas
from liverpc_devtools.core.text import age, clean, clock, count, ordinal, size
from liverpc_devtools.screens.view import number, per_second, short
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.table import Column

__all__ = ["declared_lines", "event_columns", "stream_columns", "subscriber_columns", "subscription_figures"]


def stream_columns(model: Model) -> list[Column[Stream]]:
    """Of topics."""
    return [
        Column("topic", 16, lambda row: (clean(row.info.topic), "strong"), lambda row: row.info.topic, most=44),
        Column("merge", 8, lambda row: (clean(row.info.merge), "dim"), lambda row: row.info.merge, optional=3),
        Column(
            "subs",
            5,
            lambda row: number(row.stats.subscribers),
            attrgetter("stats.subscribers"),
            right=True,
            falling=True,
        ),
        Column("last", 9, lambda row: (clean(row.stats.event), "text"), lambda row: row.stats.event, most=18),
        Column("age", 5, partial(_age, model), lambda row: -row.stats.at, right=True),
        Column("ev/s", 5, partial(_published, model), partial(_per_second, model), right=True, falling=True),
        Column("out/s", 6, partial(_delivered, model), partial(_out, model), right=True, falling=True),
        Column("drop", 5, _dropped, lambda row: row.stats.dropped, right=True, falling=True),
        _figure("coal", 6, "coalesced", optional=6),
        _figure("miss", 6, "volatile_drops", optional=7),
        _figure("held", 5, "held", optional=5),
        Column(
            "seq",
            8,
            lambda row: (ordinal(row.stats.seq), "text"),
            attrgetter("stats.seq"),
            right=True,
            optional=2,
            falling=True,
        ),
        _figure("replay", 6, "replay_depth", optional=8),
        _figure("reload", 6, "reloads", optional=9),
        Column("error", 11, _error, lambda row: row.stats.error, most=24, falling=True),
        Column(
            "opened by", 12, lambda row: (clean(row.info.path), "dim"), attrgetter("info.path"), most=32, optional=4
        ),
    ]


def _figure(title: str, width: int, name: str, *, optional: int) -> Column[Stream]:
    value: Callable[[Stream], int] = attrgetter(f"stats.{name}")
    return Column(title, width, lambda row: number(value(row)), value, right=True, optional=optional, falling=True)


def event_columns(model: Model, glyphs: Glyphs) -> list[Column[PublishEvent]]:
    """Of the events of one topic."""
    return [
        Column("time", 12, lambda event: (clock(model.wall(event.at)), "dim")),
        Column("event", 9, partial(_event, glyphs), most=20),
        Column(
            "seq",
            8,
            lambda event: ("" if event.seq is None else ordinal(event.seq), "text"),
            right=True,
            optional=1,
        ),
        Column("size", 7, lambda event: (size(event.size), "text"), right=True, optional=2),
        Column("to", 5, lambda event: number(event.receivers), right=True),
    ]


def subscriber_columns() -> list[Column[SubscriptionInfo]]:
    """Of who listens to one topic."""
    return [
        Column("conn", 8, lambda row: (clean(short(row.connection)), "strong"), attrgetter("connection"), most=24),
        Column("user", 9, lambda row: (clean(row.user) or "anonymous", "text"), attrgetter("user"), most=24),
        *subscription_figures(),
    ]


def subscription_figures() -> list[Column[SubscriptionInfo]]:
    """How a subscription is."""
    return [
        Column("state", 7, _state, lambda row: row.live),
        Column(
            "buffer",
            7,
            lambda row: (size(row.buffered), "text" if row.buffered else "dim"),
            attrgetter("buffered"),
            right=True,
            falling=True,
        ),
        Column("held", 5, lambda row: number(row.held), attrgetter("held"), right=True, falling=True),
    ]


def _state(row: SubscriptionInfo) -> Piece:
    return ("live", "ok") if row.live else ("loading", "warn")


def declared_lines(model: Model, info: StreamInfo) -> list[Line]:
    """How the stream was declared that opened a topic first."""
    explored = model.explored
    if explored.declared is None:
        return [[(clean(explored.problem) or "the server is asked what it declares", "dim")]]
    declared = next((each for each in explored.declared.paths if each.path == info.path), None)
    if declared is None:
        return [[(f"{clean(info.path) or 'what opened it'} is not among what the server declares", "dim")]]
    schemas = Schemas(explored.declared.definitions)
    figures = {
        "path": declared.path,
        "kind": f"{declared.kind}, {info.merge}",
        "topic": declared.topic or "computed",
        "at": declared.place,
        "guards": ", ".join(declared.guards) or "none",
        **dict(declared.policies),
        "takes": ", ".join(f"{name}: {schemas.words(schema)}" for name, schema, _ in declared.parameters) or "nothing",
        "gives": schemas.words(declared.result),
    }
    lines: list[Line] = [[(clean(declared.doc), "text")]] if declared.doc else []
    return lines + [[(f"{clean(title):<8}", "key"), (clean(text), "text")] for title, text in figures.items()]


def _event(glyphs: Glyphs, event: PublishEvent) -> Piece:
    name = clean(event.event)
    return (f"{glyphs.cut} {name}", "warn") if event.dropped else (name, "text")


def _age(model: Model, row: Stream) -> Piece:
    if not row.stats.at:
        return "", "dim"
    seconds = model.tick() - row.stats.at
    return age(seconds), "text" if seconds < 2 else "dim"


def _published(model: Model, row: Stream) -> Piece:
    return per_second(row.published.rate(model.tick()))


def _delivered(model: Model, row: Stream) -> Piece:
    return per_second(row.delivered.rate(model.tick()))


def _per_second(model: Model, row: Stream) -> float:
    return row.published.rate(model.tick())


def _out(model: Model, row: Stream) -> float:
    return row.delivered.rate(model.tick())


def _dropped(row: Stream) -> Piece:
    return count(row.stats.dropped), "warn" if row.stats.dropped else "dim"


def _error(row: Stream) -> Piece:
    return clean(row.stats.error), "error"
