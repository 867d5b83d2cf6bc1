"""``top``: the figures of the moment, again and again."""

from __future__ import annotations

import sys
from typing import Any, Literal

from liverpc.inspector.protocol import State
from liverpc_devtools.core import records
from liverpc_devtools.core.attach import Attachment
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.target import Target
from liverpc_devtools.core.text import clean, clock
from liverpc_devtools.headless.output import emit, tell

__all__ = ["next_due", "top"]

_PATHS = 20  # in a table


async def top(target: Target, *, interval: float, number: int | None, form: Literal["json", "table"] = "json") -> None:
    """Write the figures of the moment, again and again.

    Args:
        target: The server.
        interval: Seconds from one record to the next, and before the first.
        number: Stop after so many; None for no end.
        form: A JSON object a line, or a table for people.
    """
    async with await Attachment.open(target, "observe") as attachment:
        tell(attachment.welcome)
        model, left = Model(), number
        model.attached(attachment.welcome, attachment.send)
        due = model.now() + interval
        while left is None or left > 0:
            frame = await attachment.receive()
            if frame is not None:
                model.apply(frame)
            if isinstance(frame, State) and frame.at >= due:  # a state comes four times a second
                due = next_due(due, frame.at, interval)
                figures = records.top(model, frame.at)
                if form == "json":
                    emit(figures)
                else:
                    sys.stdout.write(_table(figures))
                    sys.stdout.flush()
                left = None if left is None else left - 1


def next_due(due: float, at: float, interval: float) -> float:
    """When the record after one that was due and came at ``at`` is due: in step, and none is made up for."""
    return due + interval * (1 + (at - due) // interval)


def _table(figures: dict[str, Any]) -> str:
    """A line for the server, and one for each of the busiest paths."""
    names = ("connections", "calls_per_s", "errors_per_s", "published_per_s", "delivered_per_s", "pending")
    lines = [f"{clock(figures['wall'], millis=False)}  " + "  ".join(f"{name} {figures[name]:g}" for name in names)]
    lines.append(f"  {'path':<32} {'calls/s':>9} {'errors':>8} {'p50 ms':>9} {'p99 ms':>9}")
    for path in figures["paths"][:_PATHS]:
        name = clean(path["path"])[-32:]
        rates = f"{path['calls_per_s']:>9.1f} {path['errors']:>8} {path['p50_ms']:>9.1f} {path['p99_ms']:>9.1f}"
        lines.append(f"  {name:<32} {rates}")
    return "\n".join(lines) + "\n\n"
