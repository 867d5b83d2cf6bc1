"""Values made readable: payloads, arguments, results."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from liverpc_devtools.core.text import clean
from liverpc_devtools.widgets.palette import Line, Piece, segments, style, wrap

__all__ = ["Payload", "pretty", "raw"]

_MAX_LINES = 2000
_MAX_DEPTH = 24
_MAX_KEY = 24


def pretty(value: Any, indent: int = 0) -> list[Line]:
    """``value``, decoded JSON, as indented lines; keys of scalars are aligned. At most 2,000 lines."""
    lines: list[Line] = []
    _write(lines, value, indent, 0)
    if len(lines) > _MAX_LINES:
        more = len(lines) - _MAX_LINES
        del lines[_MAX_LINES:]
        lines.append([(" " * indent + f"{more:,} more line{'s' if more > 1 else ''}", "dim")])
    return lines


def raw(value: Any) -> list[Line]:
    """``value`` as the JSON it came as."""
    return [[(clean(_dump(value)), "text")]]


def _write(lines: list[Line], value: Any, indent: int, depth: int) -> None:
    pad = " " * indent
    if not (isinstance(value, dict | list) and value) or depth == _MAX_DEPTH:
        lines.append([(pad, ""), _scalar(value)])
    elif isinstance(value, dict):
        names = {key: clean(key) for key in value}
        widest = max((len(names[k]) for k, v in value.items() if not _nested(v)), default=0)
        for key, each in value.items():
            if _nested(each):
                lines.append([(pad + names[key], "key")])
                _write(lines, each, indent + 2, depth + 1)
            else:
                name = names[key].ljust(min(widest, _MAX_KEY))
                lines.append([(f"{pad}{name}  ", "key"), _scalar(each)])
    else:
        for each in value:
            if _nested(each):
                start = len(lines)
                _write(lines, each, indent + 2, depth + 1)
                text, name = lines[start][0]
                lines[start][0] = (f"{pad}- {text[indent + 2 :]}", name)
            else:
                lines.append([(f"{pad}- ", "dim"), _scalar(each)])


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _scalar(value: Any) -> Piece:
    text = clean(_dump(value))
    if isinstance(value, str):
        return text, "warn" if value.startswith("[") and value.endswith("]") else "string"
    if isinstance(value, bool) or value is None:
        return text, "accent"
    return text, "number" if isinstance(value, int | float) else "text"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class Payload(ScrollView, can_focus=True):
    """Lines to read, wrapped to the width."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_down", "a line down", show=False, id="payload.down"),
        Binding("k,up", "scroll_up", "a line up", show=False, id="payload.up"),
        Binding("pagedown,ctrl+d", "page_down", "a page down", show=False, id="payload.page_down"),
        Binding("pageup,ctrl+u", "page_up", "a page up", show=False, id="payload.page_up"),
        Binding("g,home", "scroll_home", "the first line", show=False, id="payload.first"),
        Binding("G,end", "scroll_end", "the last line", show=False, id="payload.last"),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  Textual's name for it
        super().__init__(id=id)
        self._lines: list[Line] = []
        self._wrapped: list[Line] = []
        self._wrapping = True
        self._told: tuple[Hashable, object] | None = None

    @property
    def wrapping(self) -> bool:
        """Whether lines longer than the width go on below, or are cut."""
        return self._wrapping

    @wrapping.setter
    def wrapping(self, wrapping: bool) -> None:
        self._wrapping = wrapping
        self._wrap()

    def show(self, lines: list[Line], *, top: bool) -> None:
        """Show ``lines``, from the first when ``top``, else where the reader is."""
        if lines == self._lines:
            return
        self._lines = lines
        self._wrap()
        if top:
            self.scroll_to(y=0, animate=False, immediate=True)

    def tell(self, of: Hashable, version: object, lines: Callable[[], list[Line]]) -> None:
        """Show what is to be told of something, from its first line when it is something else than before.

        Args:
            of: Identifies it.
            version: Of what is told: payloads are large, and their lines are made only when it or ``of`` is another.
            lines: Makes them.
        """
        before, self._told = self._told, (of, version)
        if before != self._told:
            self.show(lines(), top=before is None or before[0] != of)

    def _wrap(self) -> None:
        cells = max(self.scrollable_content_region.width - 2, 8)
        self._wrapped = [each for line in self._lines for each in (wrap(line, cells) if self._wrapping else [line])]
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._wrapped))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        line = self._wrapped[index] if index < len(self._wrapped) else []
        return Strip(segments([(" ", ""), *line])).adjust_cell_length(
            self.scrollable_content_region.width, style("text")
        )

    def on_resize(self, event: Resize) -> None:
        self._wrap()
