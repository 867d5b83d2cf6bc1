"""Explorer: what a server declares, with live figures; and from there to calling it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize

from liverpc.inspector.protocol import Declared
from liverpc_devtools.core.explored import PAGE, forbidden, signature
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.rows import Path
from liverpc_devtools.core.schemas import Schemas
from liverpc_devtools.core.text import clean, count, ms, rate
from liverpc_devtools.screens.view import View, number
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.composer import Composer
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload, pretty
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["ExplorerView"]

_WIDE = 150  # cells from which on the details stand beside the table
_FIRST = ("class of service", "rate limit")  # policies that come before the arguments are looked at
_AFTER = ("scoped ", "room guard ", "access ", "gate ")  # guards that come after that
_AROUND = ("idempotent", "lock", "breaker")


class ExplorerView(View):
    """Every declared path; below or beside it what stands at the selected one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "go to what is declared", key_display="enter details", id="explorer.open"),
        Binding("i", "compose", "write a call and send it as a test user", key_display="i call", id="explorer.compose"),
        Binding("v", "form", "types in words, or as JSON schema", key_display="v schema", id="explorer.form"),
    ]
    DIGIT = "E"
    TITLE = "Explorer"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        self._live: dict[str, Path] = {}
        table: Table[Declared] = Table(
            self._columns(),
            lambda: () if model.explored.declared is None else model.explored.declared.paths,
            lambda row: (row.path, dict(row.policies).get(PAGE)),
            facts=lambda row: (row.path, row.kind, row.guards, self._about(row)),
            fields={"path": lambda row: row.path, "kind": lambda row: row.kind, "is": self._about},
            glyphs=glyphs,
            sort=0,
            id="declarations",
        )
        super().__init__(model, glyphs, table, id="explorer")
        self._declarations = table
        self._title = Bar("bar", id="declaration-title")
        self._payload = Payload(id="declaration")
        self._as_schema = False
        self._shown: tuple[str, bool] | None = None

    def compose(self) -> ComposeResult:
        yield self._declarations
        with Vertical(id="declared"):
            yield self._title
            yield self._payload

    # -- for the app --------------------------------------------------------------------------------------

    def figure(self) -> str:
        declared = self.model.explored.declared
        return "" if declared is None else count(len(declared.paths))

    def happened(self) -> int:
        return self.model.rows.totals.calls.total

    def marks(self) -> Line:
        declared = self.model.explored.declared
        left_out = ", ".join(map(clean, declared.left_out)) if declared is not None else ""
        return [*([(f"left out: {left_out}  ", "warn")] if left_out else []), *super().marks()]

    def flush(self) -> None:
        self.model.explore()
        self._live = {row.info.path: row for row in self.model.rows.paths.values()}
        explored = self.model.explored
        waiting = "the server is asked what it declares" if explored.declared is None else "nothing is declared"
        self._declarations.empty = clean(explored.problem) or waiting
        super().flush()
        row = self._declarations.selected
        if row is None or explored.declared is None:
            self._title.show([[(" nothing selected", "dim")]], [])
            self._payload.show([], top=True)
            return
        schemas = Schemas(explored.declared.definitions)
        left: list[Line] = [[(f" {clean(row.path)} ", "strong"), (f"{clean(row.kind)} ", "dim")]]
        left.append([(f" {clean(row.place)} ", "key")])
        self._title.show(left, [("Schema" if self._as_schema else "Words", "accent"), (" ", "")])
        lines = _schema(row, explored.declared.definitions) if self._as_schema else self._words(row, schemas)
        key = row.path, self._as_schema
        self._payload.show(lines, top=key != self._shown)
        self._shown = key

    def on_resize(self, event: Resize) -> None:
        super().on_resize(event)
        self.set_class(event.size.width >= _WIDE, "-wide")

    # -- drawing ------------------------------------------------------------------------------------------

    def _columns(self) -> list[Column[Declared]]:
        def live(
            title: str, cells: int, value: Callable[[Path], float], cell: Callable[[Path], Piece], optional: int
        ) -> Column[Declared]:
            def shown(row: Declared) -> Piece:
                path = self._live.get(row.path)
                return ("", "") if path is None else cell(path)

            def sorts(row: Declared) -> float:
                path = self._live.get(row.path)
                return -1.0 if path is None else value(path)

            return Column(title, cells, shown, sorts, right=True, falling=True, optional=optional)

        return [
            Column("path", 20, lambda row: (clean(row.path), "strong"), lambda row: row.path, most=44, end=True),
            Column("kind", 7, lambda row: (clean(row.kind), "dim"), lambda row: row.kind),
            Column("who may", 10, _who, lambda row: _who(row)[0], most=40),
            live("calls", 7, lambda path: path.stats.calls, lambda path: number(path.stats.calls), 0),
            live("err %", 5, _share, _failed, 0),
            live("p50", 7, lambda path: path.stats.p50, partial(_time, "p50"), 2),
            live("p99", 7, lambda path: path.stats.p99, partial(_time, "p99"), 1),
            live("limited", 7, lambda path: path.stats.limited, lambda path: number(path.stats.limited), 3),
        ]

    def _about(self, row: Declared) -> tuple[str, ...]:
        path = self._live.get(row.path)
        return ("error",) if path is not None and path.stats.errors else ()

    def _words(self, row: Declared, schemas: Schemas) -> list[Line]:
        lines: list[Line] = [[(clean(row.doc), "text")]] if row.doc else []
        lines.append([(signature(row, schemas), "accent")])
        if row.topic:
            lines.append([("topic      ", "key"), (clean(row.topic), "text")])
        lines += [[], [("what a call goes through", "head")], *_pipeline(row)]
        lines += [[], [("since the server started", "head")], *self._figures(row)]
        why = forbidden(self.model.welcome, self.model.explored.declared, row)
        lines += [[], [(f"cannot be called from here: {why}", "warn") if why else ("i writes a call", "dim")]]
        return lines

    def _figures(self, row: Declared) -> list[Line]:
        path = self._live.get(row.path)
        if path is None:
            return [[("  never called", "dim")]]
        stats = path.stats
        times = {"p50": stats.p50, "p95": stats.p95, "p99": stats.p99, "max": stats.max}
        known = "  ".join(f"{name} {ms(value * 1000)}" for name, value in times.items() if value)
        calls = f"  {count(stats.calls)} calls, {rate(path.calls.rate(self.model.tick()))}/s  {known}"
        lines: list[Line] = [[(calls, "text")]]
        if stats.errors:
            codes = ", ".join(f"{clean(code)} {count(seen)}" for code, seen in stats.codes)
            lines.append([(f"  errors: {codes}", "error")])
        return lines

    # -- keys ---------------------------------------------------------------------------------------------

    def action_open(self) -> None:
        self.enter_details()
        self.screen.set_focus(self._payload)

    def action_form(self) -> None:
        self._as_schema = not self._as_schema

    def action_compose(self) -> None:
        row, declared = self._declarations.selected, self.model.explored.declared
        why = forbidden(self.model.welcome, declared, row)
        if why or row is None or declared is None:
            self.post_message(self.Say(f"it cannot be called from here: {why}"))
        else:
            self.app.push_screen(Composer(self.model, self.glyphs, row, declared, self._sent))

    def _sent(self, path: str, user: str) -> None:
        self.post_message(self.Did(f"# {path} was called as {user or 'nobody'}; there is no command for it"))


def _who(row: Declared) -> Piece:
    return (clean(", ".join(row.guards)), "text") if row.guards else ("anybody", "dim")


def _share(path: Path) -> float:
    return path.stats.errors / path.stats.calls if path.stats.calls else 0.0


def _failed(path: Path) -> Piece:
    share = _share(path) * 100
    return (f"{share:.1f}" if share < 99.95 else "100", "error") if path.stats.errors else ("0", "dim")


def _time(name: str, path: Path) -> Piece:
    seconds = getattr(path.stats, name)
    return ms(seconds * 1000) if seconds else "", "text"


def _pipeline(row: Declared) -> Iterator[Line]:
    """The steps of a call in their order, then what else is declared."""
    policies = [(clean(name), clean(text)) for name, text in row.policies]

    def step(name: str, text: str) -> Line:
        return [(f"  {name:<17}", "key"), (text, "text")]

    for guard in row.guards:
        if not guard.startswith(_AFTER):
            yield step("guard", clean(guard))
    yield from (step(name, text) for name, text in policies if name in _FIRST)
    if row.parameters:
        yield step("arguments", ", ".join(clean(name) for name, _, _ in row.parameters))
    for guard in row.guards:
        if guard.startswith(_AFTER):
            name, _, text = clean(guard).rpartition(" ")
            yield step(name, text)
    yield from (step(name, text) for name, text in policies if name in _AROUND)
    yield step("function" if row.kind in ("rpc", "binary", "upload") else "loader", clean(row.place))
    yield from (step(name, text) for name, text in policies if name not in (*_FIRST, *_AROUND))


def _schema(row: Declared, definitions: dict[str, Any]) -> list[Line]:
    lines: list[Line] = []
    for name, schema, required in row.parameters:
        lines.append([(clean(name), "head"), ("" if required else "  may be left out", "dim")])
        lines += [[("  ", ""), *line] for line in pretty(schema)]
    lines.append([("result", "head")])
    lines += [[("  ", ""), *line] for line in pretty(row.result)]
    for name in _used([*(schema for _, schema, _ in row.parameters), row.result], definitions):
        lines.append([(f"#/$defs/{clean(name)}", "head")])
        lines += [[("  ", ""), *line] for line in pretty(definitions[name])]
    return lines


def _used(schemas: list[Any], definitions: dict[str, Any]) -> list[str]:
    """The definitions that schemas refer to, and those that these refer to."""
    found: list[str] = []
    rest = list(schemas)
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rpartition("/")[2]
            if name in definitions and name not in found:
                found.append(name)
                rest.append(definitions[name])
            rest += part.values()
        elif isinstance(part, list):
            rest += part
    return sorted(found)
