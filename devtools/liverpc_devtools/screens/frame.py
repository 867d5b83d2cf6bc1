"""What stands around the views: servers, state, figures, faults, tabs above, keys below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.binding import Binding
from textual.widget import Widget

from liverpc_devtools.core.keymap import shown
from liverpc_devtools.core.text import clean
from liverpc_devtools.screens.server import ServerPane, titles
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets import bars
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece, width

__all__ = ["Frame", "key_of"]

_AT_END = ("app.chaos", "app.help", "app.quit_or_back")  # shown however narrow it is
_NAME = 18  # cells of a server's name on its tab
_WORDS = (6, 5, 4, 3, 0)  # letters of the titles of screens when there is no room for all


def key_of(binding: Binding, keymap: dict[str, str]) -> str:
    """The keys of a binding, those of the user first, as people know them."""
    return shown(keymap.get(binding.id or "", binding.key))


class Frame:
    """The bars. Whoever owns it puts them on the screen and says what they are about."""

    def __init__(self, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self._bars = {
            "servers": Bar("head", id="servers-tabs"),
            "status": Bar("bar", id="status"),
            "health": Bar("head", id="health"),
            "chaos": Bar("chaos", id="chaos"),
            "tabs": Bar("base", id="tabs"),
            "keys": Bar("bar", id="keys"),
        }

    @property
    def above(self) -> list[Widget]:
        """From the top."""
        return [each for name, each in self._bars.items() if name != "keys"]

    @property
    def below(self) -> Widget:
        return self._bars["keys"]

    def servers(self, panes: Sequence[ServerPane], here: ServerPane | None) -> None:
        """The tabs of the servers, ``here`` or all of them being shown; nothing while there is only one."""
        bar = self._bars["servers"]
        bar.display = len(panes) > 1
        left: list[Line] = []
        actions = {}
        for number, (pane, name) in enumerate(zip(panes, titles(panes), strict=True), 1):
            name = clean(name)[:_NAME]
            text = f"[{number} {name}]" if pane is here else f" {number} {name} "
            actions[text] = f"app.server({number - 1})"
            left.append([(text, "accent" if pane is here else "head"), bars.state(pane.model, self._glyphs), (" ", "")])
        everything = "[All]" if here is None else " All "
        actions[everything] = f"app.server({len(panes)})"
        bar.show(left, [(everything, "accent" if here is None else "head")], actions)

    def server(self, pane: ServerPane) -> None:
        """What is known of the server that is shown."""
        model = pane.model
        self._bars["status"].display = self._bars["health"].display = True
        self._bars["status"].show(*bars.status(model, pane.url, self._glyphs, readonly=pane.readonly))
        self._bars["health"].show(*bars.health(model))

    def faults(self, panes: Iterable[ServerPane], here: ServerPane | None) -> None:
        """The faults of the server that is shown, else of the first that has some."""
        armed = [each for each in panes if each.model.chaos]
        bar = self._bars["chaos"]
        bar.display = bool(armed)
        if armed:
            pane = here if here in armed else armed[0]
            left, right = bars.chaos(pane.model)
            if pane is not here:
                left.insert(0, [(f" {clean(pane.title)}:", "alarm")])
            bar.show(left, right, {"  X disarm ": "app.disarm"})

    def all_servers(self) -> None:
        """No single server is shown."""
        self._bars["status"].display = self._bars["health"].display = False

    def tabs(self, views: dict[str, View], current: str, cells: int) -> None:
        """The views, and what the current one leaves out."""
        left: list[Line] = []
        actions: dict[str, str] = {}
        marks = views[current].marks()
        for name, view in views.items():
            here = name == current
            title = f"{view.DIGIT} {view.TITLE}".strip()
            text = f"[{title}]" if here else f" {title} "
            actions[text] = f"app.view('{name}')"
            left.append([(text, "accent" if here else "head"), (f" {view.figure()}  ", "text" if here else "dim")])
        names = [line[:1] for line in left]
        own = [line if line[0][1] == "accent" else line[:1] for line in left]
        # One word after the other becomes shorter, in the end a digit: " 2 Streams ", " 2 Stre", " 2 Str", " 2 ".
        *cut, digits = [[line if line[0][1] == "accent" else [_shortened(line[0], n)] for line in own] for n in _WORDS]
        fewest, bare = ([line[:1] for line in each] for each in (cut[-1], digits))
        room = cells - width(marks)
        shown = next((each for each in (left, own, names, *cut, fewest, digits) if sum(map(width, each)) <= room), bare)
        for line, action in zip(shown, list(actions.values()), strict=True):
            actions[line[0][0]] = action
        self._bars["tabs"].show(shown, marks, actions)

    def keys(self, bindings: Iterable[Binding], keymap: dict[str, str]) -> None:
        """The keys that do something now."""
        lines: dict[bool, list[Line]] = {True: [], False: []}
        taken: set[str] = set()
        for each in bindings:
            key, _, word = (each.key_display or "").partition(" ")
            key = key_of(each, keymap) if each.id in keymap else key
            if key in taken:  # the screen's own use of it comes first
                continue
            taken.add(key)
            lines[each.id in _AT_END].append([(f" {key}", "accent"), (f" {word} ", "dim")])
        self._bars["keys"].show(lines[False], [piece for line in lines[True] for piece in line])


def _shortened(tab: Piece, letters: int) -> Piece:
    """The tab of a screen with so many letters of its title."""
    text, name = tab
    digit, _, title = text.strip().partition(" ")
    return f" {digit} {title[:letters]}".rstrip() + " ", name
