"""Glyphs and lines of styled text. Every colour comes with a word or a glyph that says the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.segment import Segment
from rich.style import Style

from liverpc_devtools.widgets.themes import theme

__all__ = [
    "ASCII",
    "UNICODE",
    "Glyphs",
    "Line",
    "Piece",
    "fit",
    "gauge",
    "segments",
    "style",
    "width",
    "wrap",
]

Piece = tuple[str, str]  # text and the name of a style
Line = list[Piece]


@dataclass(frozen=True)
class Glyphs:
    """The characters that are not part of anybody's text."""

    ellipsis: str
    cursor: str
    up: str
    down: str
    dot: str
    half: str
    ring: str
    cut: str
    spinner: str
    blocks: str  #: of a gauge: an empty cell, then fuller and fuller ones
    bars: str  #: of a graph: from the lowest to the highest
    marks: str  #: of a publish, a call, a connection, a gap, a fault, a note
    to: str
    branch: str  #: of what something led to


UNICODE = Glyphs(
    *("…", "▸", "▲", "▼", "●", "◐", "○", "✂", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "·▏▎▍▌▋▊▉█"),
    *("▁▂▃▄▅▆▇█", "▸◂⇅…✂•", "→", "└ "),
)
ASCII = Glyphs(*("~", ">", "^", "v", "*", "~", "o", "x", "|/-\\", "-#"), *("_.:-=+*#", "><=~x-", ">", "` "))


def style(name: str, ground: str = "base") -> Style:
    """The terminal style of a named colour on a named background."""
    worn = theme()
    return _parsed(worn.colours[name or "text"], worn.grounds[ground])


@lru_cache(maxsize=512)
def _parsed(colour: str, ground: str) -> Style:
    return Style.parse(f"{colour} on {ground}" if ground.startswith("#") else f"{colour} {ground}")


def width(line: Line) -> int:
    """Cells of a line."""
    return sum(cell_len(text) for text, _ in line)


def fit(text: str, cells: int, ellipsis: str, *, right: bool = False, end: bool = False) -> str:
    """``text`` in exactly so many cells, padded or cut, with ``end`` at its beginning."""
    length = cell_len(text)
    if length > cells:
        if cells <= 0:
            return ""
        if not end:
            return set_cell_size(text, cells - 1) + ellipsis
        kept = text[-cells:]
        while cell_len(kept) >= cells:
            kept = kept[1:]
        return ellipsis + set_cell_size(kept, cells - 1)
    padding = " " * (cells - length)
    return padding + text if right else text + padding


def gauge(share: float, cells: int, glyphs: Glyphs) -> str:
    """``share``, 0 to 1, as a bar of so many cells; full only when it is 1."""
    empty, steps = glyphs.blocks[0], glyphs.blocks[1:]
    whole, part = divmod(int(share * cells * len(steps)), len(steps))
    bar = steps[-1] * whole + (steps[part - 1] if part else "")
    return bar + empty * (cells - len(bar))


def wrap(line: Line, cells: int) -> list[Line]:
    """A long line as several, cut at words, the later ones indented two more than the first."""
    if width(line) <= cells:
        return [line]
    first = line[0][0] if line else ""
    indent = min(len(first) - len(first.lstrip(" ")) + 2, max(cells // 2, 0))
    lines: list[Line] = [[]]
    room, fresh = cells, max(cells - indent, 2)
    for text, name in line:
        rest = text
        while rest:
            part = _first_words(rest, room, fresh)
            if part:
                lines[-1].append((part, name))
            rest = rest[len(part) :]
            room -= cell_len(part)
            if rest:
                lines.append([(" " * indent, name)])
                room = fresh
    return lines


def _first_words(text: str, room: int, fresh: int) -> str:
    """What of a text goes into the rest of a line; a word is cut only if it is too long for a ``fresh`` one, too."""
    part = chop_cells(text, room)[0] if room > 0 else ""
    if part == text or " " in text[len(part) - 1 : len(part) + 1]:
        return part
    before, space, _ = part.rpartition(" ")
    if before.strip():
        return before + space
    return "" if room < fresh and cell_len(text.lstrip(" ").partition(" ")[0]) <= fresh else part


def segments(line: Line, ground: str = "base") -> list[Segment]:
    """A line for the terminal."""
    return [Segment(text, style(name, ground)) for text, name in line]
