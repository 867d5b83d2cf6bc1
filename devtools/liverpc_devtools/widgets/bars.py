"""The lines around the views: server, health, faults, tabs, keys."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from liverpc_devtools.core import fault_words
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import age, clean, clock, count, duration, rate, size
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece, style, width

__all__ = ["Bar", "chaos", "health", "state", "status"]


class Bar(Widget):
    """One line: groups of pieces from the left, and pieces at the right end.

    When both do not fit, groups of the left are left out, the last first, and then pieces of the right likewise.
    """

    def __init__(self, ground: str, *, id: str) -> None:  # noqa: A002  Textual's name for it
        super().__init__(id=id)
        self._ground = ground
        self._left: list[Line] = []
        self._right: Line = []
        self._actions: dict[str, str] = {}

    def show(self, left: list[Line], right: Line, actions: dict[str, str] | None = None) -> None:
        """Show these pieces; a click on a piece that is a key of ``actions`` runs the action."""
        if (left, right) != (self._left, self._right):
            self._left, self._right, self._actions = left, right, actions or {}
            self.refresh()

    def render_line(self, y: int) -> Strip:
        cells, groups = self.size.width, list(self._left)
        while len(groups) > 1 and sum(map(width, groups)) + width(self._right) > cells:
            groups.pop()
        left = [piece for group in groups for piece in group]
        room = max(cells - width(left), 0)
        right = list(self._right)
        while right and width(right) > room:
            right.pop()
        gap = (" " * (room - width(right)), "")
        line = [self._segment(text, name) for text, name in (*left, gap, *right)]
        return Strip(line).adjust_cell_length(cells, style("text", self._ground))

    def _segment(self, text: str, name: str) -> Segment:
        shown = style(name, self._ground)
        if text in self._actions:
            shown += Style.from_meta({"@click": self._actions[text]})
        return Segment(text, shown)


def state(model: Model, glyphs: Glyphs) -> Piece:
    """How the session is, in a glyph and a word."""
    if model.tape is not None and model.tape.player is not None:
        player = model.tape.player
        return f"{glyphs.cursor} recording {duration(int(player.time()))}", "ok" if player.moving else "warn"
    return {
        "connecting": (f"{glyphs.ring} connecting", "warn"),
        "live": (f"{glyphs.dot} live", "ok"),
        "stale": (f"{glyphs.half} stale {age(model.silence)}", "warn"),
        "reconnecting": (f"{glyphs.half} reconnecting in {age(model.retry_in)}", "warn"),
        "gone": (f"{glyphs.ring} gone", "error"),
    }[model.phase]


def status(model: Model, url: str, glyphs: Glyphs, *, readonly: bool = False) -> tuple[list[Line], Line]:
    """Which server, and how the session is."""
    word = state(model, glyphs)
    welcome = model.welcome
    name = clean(welcome.server.name) if welcome is not None else "liverpc"
    left: list[Line] = [[(f" {name}  ", "strong"), word], [(f"  {clean(model.reason or url)}", "dim")]]
    if model.tape is not None and model.tape.recorder.on:
        left.insert(1, [(f"  {glyphs.dot} REC {size(model.tape.recorder.size)}", "error")])
    if welcome is None:
        return left, []
    wall = model.wall(model.now())
    right: Line = [
        (f" {welcome.granted}{' read only' if readonly else ''}", "accent"),
        (f"  {clock(wall, millis=False)}", "text"),
        (f"  up {age(wall - welcome.server.started)}  v{clean(welcome.server.version)} ", "dim"),
    ]
    return left, right


def health(model: Model) -> tuple[list[Line], Line]:
    """The figures of the whole server, and what is missing from them."""
    now, totals = model.now(), model.rows.totals
    errors = totals.errors.rate(now)
    figures = [
        ("conns", count(len(model.rows.connections)), "text"),
        ("streams", count(len(model.rows.streams)), "text"),
        ("calls", f"{rate(totals.calls.rate(now))}/s", "text"),
        ("errors", f"{rate(errors)}/s", "error" if errors >= 0.05 else "text"),
        ("pub", f"{rate(totals.published.rate(now))}/s", "text"),
        ("out", f"{rate(totals.delivered.rate(now))}/s", "text"),
        ("devtools", f"{model.busy:.1%}", "warn" if model.busy > 0.02 else "text"),
    ]
    left: list[Line] = [[(f" {title} ", "dim"), (f"{figure}  ", name)] for title, figure, name in figures]
    right: Line = []
    if model.sample <= 0:
        right.append(("sampled none ", "warn"))
    elif model.sample < 1:
        right.append((f"sampled 1:{round(1 / model.sample)} ", "warn"))
    if model.lost:
        right.append((f" lost {count(model.lost)} ", "warn"))
    return left, right


def chaos(model: Model) -> tuple[list[Line], Line]:
    """The faults in force: the first, how many more, and how to end them."""
    rule, more = model.chaos[0], len(model.chaos) - 1
    limit = f"/{count(rule.limit)}" if rule.limit else ""
    known = "CHAOS ARMED" if model.phase in ("live", "stale") else "CHAOS WAS ARMED"
    texts = [
        f" {known} by {clean(rule.by) or '?'}: {fault_words.effect(rule)} {fault_words.target(rule)}",
        f"  {duration(model.chaos_left(rule))} left" if rule.left else "",
        f"  hits {count(rule.hits)}{limit} of {count(rule.seen)}",
        f"  +{more} more" if more else "",
        f"  seed {clean(rule.seed)}",
    ]
    return [[(text, "alarm")] for text in texts if text], [("  X disarm ", "alarm")]
