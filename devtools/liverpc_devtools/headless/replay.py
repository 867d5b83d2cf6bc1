"""``replay --json``: the events of a recording as ``tail`` writes them."""

from __future__ import annotations

from liverpc.inspector.protocol import Events, Welcome
from liverpc_devtools.core.recorded import Recording
from liverpc_devtools.headless.output import narrate
from liverpc_devtools.headless.tail import Sink, Wish

__all__ = ["replay"]


def replay(recording: Recording, wish: Wish, begin: float) -> int:
    """Write the events from a moment on, as fast as they can be read; returns the exit code."""
    sink, begun = Sink(wish), False
    for entry in recording.entries(recording.member_at(begin)):
        if isinstance(entry.frame, Welcome):
            if begun:
                sink.writer.clock(entry.frame)
            else:
                sink.writer.begin(entry.frame)
            begun = True
        if entry.at < begin:
            continue
        if entry.lost:
            sink.writer.gap(entry.lost, 1.0)
        if isinstance(entry.frame, Events) and sink.take(entry.frame) is not None:
            break
    for each in recording.problems:
        narrate(each)
    return sink.code or 0
