"""Graphs made of characters."""

from __future__ import annotations

from collections.abc import Sequence

from textual.events import Click
from textual.strip import Strip
from textual.widget import Widget

from liverpc_devtools.widgets.palette import Glyphs, Line, fit, segments, style, width

__all__ = ["Figures", "graph", "spark"]

Values = Sequence[float | None]


def spark(values: Values, glyphs: Glyphs) -> str:
    """A line with one character for each value, from 0 to the highest; a space where nothing is known."""
    return graph(values, 1, glyphs)[0]


def graph(values: Values, lines: int, glyphs: Glyphs) -> list[str]:
    """Columns as high as the values, the highest ``lines`` lines high, from the top line to the bottom one.

    Nothing known is a space; 0 is the lowest bar of the bottom line, so that it does not look like nothing known.
    """
    bars = glyphs.bars
    steps, highest = len(bars) * lines, max((each for each in values if each is not None), default=0.0)
    heights = [None if each is None else max(round(each / highest * steps), 1) if highest > 0 else 1 for each in values]
    rows = []
    for line in reversed(range(lines)):
        below = line * len(bars)
        rows.append("".join(_cell(each, below, bars) for each in heights))
    return rows


def _cell(height: int | None, below: int, bars: str) -> str:
    if height is None or height <= below:
        return " "
    return bars[min(height - below, len(bars)) - 1]


class Figures(Widget, can_focus=True):
    """A block of figures with a title: a place to go somewhere from.

    Args:
        title: Its heading.
        opened: Where ``enter`` and a click lead: a view, and its filter.
    """

    def __init__(self, title: str, opened: tuple[str, str], *, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self._title = title
        self.opened = opened
        self._note: Line = []
        self._lines: list[Line] = []

    @property
    def room(self) -> tuple[int, int]:
        """Cells and lines for figures."""
        return max(self.size.width - 2, 0), max(self.size.height - 1, 0)

    def show(self, lines: list[Line], note: Line) -> None:
        """Show these lines, and a note beside the title."""
        if (lines, note) != (self._lines, self._note):
            self._lines, self._note = lines, note
            self.refresh()

    def render_line(self, y: int) -> Strip:
        cells = self.size.width
        if y == 0:
            name = "accent" if self.has_focus else "strong"
            room = max(cells - width(self._note) - 3, 0)
            title = self._title if len(self._title) <= room else fit(self._title, room, "")
            return Strip(segments([(f" {title}  ", name), *self._note], "bar")).adjust_cell_length(
                cells, style("text", "bar")
            )
        line = self._lines[y - 1] if y <= len(self._lines) else []
        return Strip(segments([(" ", ""), *line])).adjust_cell_length(cells, style("text"))

    def on_click(self, event: Click) -> None:
        self.focus()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()
