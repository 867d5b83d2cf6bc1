"""Frames for tests of the model, and a clock that stands still."""

from __future__ import annotations

from typing import Any

from liverpc.inspector.protocol import (
    CallEvent,
    ConnectionInfo,
    ConnectionStats,
    PathInfo,
    PathStats,
    PublishEvent,
    ServerInfo,
    State,
    StreamInfo,
    StreamStats,
    Welcome,
)

WALL = 1_700_000_000.0


class Hand:
    """Monotonic time moved by hand; the server's is 1,000 seconds ahead."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def welcome(**changes: Any) -> Welcome:
    values: dict[str, Any] = {
        "v": 1,
        "session": "s",
        "granted": "observe",
        "denied": [],
        "server": ServerInfo("prod-a", "0.1.0", 1, WALL - 3600),
        "at": 1100.0,
        "wall": WALL,
        "redacted": [],
        "ring": 3,
        "history": 500,
        "chaos": True,
    }
    return Welcome(**values | changes)


def stream(number: int, topic: str) -> StreamInfo:
    return StreamInfo(number, topic, "crud", "board/list")


def figures(number: int, published: int = 0, delivered: int = 0, **changes: Any) -> StreamStats:
    values: dict[str, Any] = {"dropped": 0, "bytes": 0, "event": "updated", "at": 1100.0, "seq": published, "error": ""}
    return StreamStats(id=number, subscribers=2, published=published, delivered=delivered, **values | changes)


def full(rev: int = 1, topics: tuple[str, ...] = ("a", "b"), **changes: Any) -> State:
    values: dict[str, Any] = {
        "at": 1100.0,
        "streams": [stream(i, topic) for i, topic in enumerate(topics, 1)],
        "stream_stats": [figures(i) for i in range(1, len(topics) + 1)],
        "connections": [ConnectionInfo("c1", "u1", "10.0.0.1", 1000.0)],
        "connection_stats": [ConnectionStats("c1", 1, 5, 2, 0, 0)],
        "paths": [PathInfo(1, "chat/send")],
        "path_stats": [PathStats(1, 10, 1, 0.5, 0.2)],
    }
    return State(rev=rev, full=True, **values | changes)


def pub(topic: str = "a", at: float = 1100.0, seq: int = 1, **changes: Any) -> PublishEvent:
    return PublishEvent(at=at, topic=topic, event="updated", size=10, receivers=2, seq=seq, data={"n": seq}, **changes)


def call(at: float = 1100.0, *, ok: bool = True, number: int = 1, **changes: Any) -> CallEvent:
    code = "" if ok else "RATE_LIMITED"
    return CallEvent(at=at, path="chat/send", connection="c1", ms=1.5, ok=ok, call=f"k{number}", code=code, **changes)
