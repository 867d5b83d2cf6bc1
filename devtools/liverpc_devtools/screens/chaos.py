"""Chaos: the faults in force, and what came of them."""

from __future__ import annotations

import shlex
from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from liverpc.inspector.protocol import ChaosRule
from liverpc.inspector.protocol.frames import LEVELS, Limits
from liverpc_devtools.core import fault_words, faults
from liverpc_devtools.core.effect import STRUCK
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import age, clean, count, duration
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.chaosform import ask_for_fault, ask_for_preset, forbidden
from liverpc_devtools.widgets.palette import Glyphs, Line, Piece
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.sparkline import graph
from liverpc_devtools.widgets.table import Column, Table

__all__ = ["ChaosView"]

_RENEWAL = 60.0  # seconds that a key adds
_TITLE = 12  # cells of what stands before a figure
_SECONDS = 120  # of a graph, at most
_TALL, _HIGH = 30, 3  # lines of the pane from which on graphs have so many
_GRAPHS = (
    ("struck/s", (STRUCK,)),
    ("resumed/s", ("resumes", "resume_misses")),
    ("closed/s", ("connections_closed",)),
    ("errors/s", ("call_errors",)),
)


class ChaosView(View):
    """Faults above; below, what happened since they were armed, and what the selected one is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "go to the effect and the fault", key_display="enter details", id="chaos.open"),
        Binding("plus", "new", "inject a fault", show=False, id="chaos.new"),
        Binding("a", "preset", "choose a fault from a menu", key_display="a presets", id="chaos.preset"),
        Binding("t", "renew", "let the fault live 60 seconds longer", key_display="t +60s", id="chaos.renew"),
        Binding("c", "clear", "remove the selected fault", key_display="c remove", id="chaos.clear"),
    ]
    DIGIT = "9"
    TITLE = "Chaos"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        table: Table[ChaosRule] = Table(
            _columns(model, glyphs),
            lambda: model.chaos,
            lambda rule: rule.id,
            facts=lambda rule: (rule.id, rule.action, rule.topic, rule.path, rule.by, rule.seed),
            fields={
                "fault": lambda rule: rule.action,
                "topic": lambda rule: rule.topic,
                "path": lambda rule: rule.path,
                "event": lambda rule: rule.event,
                "conn": lambda rule: rule.connection,
                "user": lambda rule: rule.user,
                "code": lambda rule: rule.code,
            },
            glyphs=glyphs,
            period=0.25,
            id="faults",
        )
        super().__init__(model, glyphs, table, id="chaos")
        self._faults = table
        self._title = Bar("bar", id="effect-title")
        self._effect = Payload(id="effect")

    def compose(self) -> ComposeResult:
        yield self._faults
        yield self._title
        yield self._effect

    def figure(self) -> str:
        return count(len(self.model.chaos)) if self.model.chaos else ""

    def happened(self) -> int:
        return self.model.effect.since(STRUCK)

    def flush(self) -> None:
        why = forbidden(self.model)
        self._faults.empty = f"no fault is in force; {why or 'x injects one, a offers some'}"
        super().flush()
        self.fit_table(len(self.model.chaos))
        self._title.show(*self._headline())
        rule = self._faults.selected
        lines = self._figures() if self.model.effect.began is not None else []
        self._effect.show([*lines, *([] if rule is None else self._details(rule))], top=False)

    # -- what came of them --------------------------------------------------------------------------------

    def _headline(self) -> tuple[list[Line], Line]:
        model, effect = self.model, self.model.effect
        left: list[Line] = [[(" Effect ", "strong")]]
        if effect.began is None:
            left.append([(" none since you attached ", "dim")])
        else:
            now = model.tick()
            left.append([(f" since {age(now - effect.began)} ", "text")])
            if effect.ended is not None:
                left.append([(f" over for {age(now - effect.ended)} ", "dim")])
        right: Line = []
        if model.phase != "live":
            right.append((f" as of {age(model.silence)} ago ", "warn"))
        return left, right

    def _figures(self) -> list[Line]:
        model, effect = self.model, self.model.effect
        seen = sum(rule.seen for rule in model.chaos)
        hits = sum(rule.hits for rule in model.chaos)
        struck = count(effect.since(STRUCK))
        if seen:
            struck += f"  those in force {count(hits)} of {count(seen)} ({hits / seen:.1%})"
        since = {name: count(effect.since(name)) for name in model.counters}
        told = [
            (
                "published",
                f"{since.get('published', '0')}  dropped by faults {since.get('fault_drops', '0')},"
                f" lost on the way {since.get('fault_losses', '0')}, left early {since.get('fault_hurried', '0')}",
            ),
            ("streams", f"{since.get('resumes', '0')} resumed, {since.get('resume_misses', '0')} loaded anew"),
            (
                "connections",
                f"{since.get('connections_closed', '0')} closed, {since.get('connections_opened', '0')} opened",
            ),
            ("calls", f"{since.get('calls', '0')}  failed {since.get('call_errors', '0')}"),
        ]
        lines: list[Line] = [_figure("struck", struck), *(_figure(title, text) for title, text in told)]
        for title, names in _GRAPHS:
            lines += self._graph(title, names)
        return [*lines, [("Whole server, whatever the reason; only what was struck is the faults' own.", "dim")]]

    def _graph(self, title: str, names: tuple[str, ...]) -> list[Line]:
        room = self._effect.size.width - _TITLE - 22
        rates = self.model.effect.rates(*names, seconds=max(min(room, _SECONDS), 1))
        if not any(rates):
            return []
        most = max(rates)
        high = _HIGH if self._effect.size.height >= _TALL else 1
        bars = graph(rates, high, self.glyphs)
        lines: list[Line] = [[(" " * _TITLE, "key"), (bar, "accent")] for bar in bars]
        lines[0].append((f" max {count(most)}", "dim"))
        lines[-1][0] = (f"{title:<{_TITLE}}", "key")
        lines[-1].append((f" now {count(rates[-1])}", "text"))
        return lines

    # -- the selected one ---------------------------------------------------------------------------------

    def _details(self, rule: ChaosRule) -> list[Line]:
        known = faults.ACTIONS.get(rule.action)
        lines: list[Line] = [
            [],
            [
                (f"fault {rule.id} ", "strong"),
                (f"{fault_words.effect(rule)}  ", "error"),
                (fault_words.target(rule), "text"),
            ],
            [(known.sentence if known is not None else "This program does not know that fault.", "dim")],
            _figure("by", f"{clean(rule.by) or '?'}{' (you)' if rule.id in self.model.mine else ''}"),
            _figure("seed", clean(rule.seed) or "-"),
            _figure("left", _left(self.model, rule)),
            _figure("hits", f"{_hits(rule)} of {count(rule.seen)} that matched"),
        ]
        return [*lines, _figure("command", self._command(rule))]

    def _command(self, rule: ChaosRule) -> str:
        return fault_words.command(rule, max(round(self.model.chaos_left(rule)), 1), self.url)

    # -- keys ---------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "open":
            return self._faults.selected is not None or self.model.effect.began is not None
        if action == "clear":
            return self._faults.selected is not None
        if action == "renew":
            return self._faults.selected is not None and self.model.may_arm
        return True

    def action_open(self) -> None:
        self.enter_details()
        self.screen.set_focus(self._effect)

    def action_new(self) -> None:
        ask_for_fault(self)

    def action_preset(self) -> None:
        ask_for_preset(self)

    def action_renew(self) -> None:
        rule = self._faults.selected
        if rule is None:
            return
        if not rule.left:
            self.post_message(self.Say(f"fault {rule.id} has no end: it is a test's own"))
            return
        ttl = min(round(self.model.chaos_left(rule)) + _RENEWAL, Limits.MAX_TTL)
        self.model.renew(rule.id, ttl)
        self.post_message(self.Did(f"liverpc-tui chaos {shlex.quote(self.url)} renew {rule.id} --for {ttl:g}s"))

    def action_clear(self) -> None:
        rule = self._faults.selected
        if rule is None:
            return
        if self.model.welcome is not None and LEVELS.index(self.model.welcome.granted) < LEVELS.index("observe"):
            self.post_message(self.Say("removing faults needs level observe"))
            return
        self.model.disarm(rule.id)
        self.post_message(self.Did(f"liverpc-tui chaos {shlex.quote(self.url)} clear {rule.id}"))


def _columns(model: Model, glyphs: Glyphs) -> list[Column[ChaosRule]]:
    return [
        Column("#", 3, lambda rule: (str(rule.id), "dim"), lambda rule: rule.id, right=True),
        Column("fault", 14, lambda rule: (fault_words.effect(rule), "error"), lambda rule: rule.action, most=30),
        Column("target", 16, lambda rule: (fault_words.target(rule), "strong"), fault_words.target, most=60),
        Column("seed", 8, lambda rule: (clean(rule.seed) or "-", "dim"), most=16, optional=2),
        Column("left", 5, partial(_time_left, model), lambda rule: rule.left or float("inf"), right=True),
        Column(
            "hits", 11, lambda rule: (_hits(rule), "number" if rule.hits else "dim"), _struck, right=True, falling=True
        ),
        Column("matched", 8, lambda rule: (count(rule.seen), "text"), lambda rule: rule.seen, right=True, optional=3),
        Column("by", 8, partial(_by, model), lambda rule: rule.by, most=24, optional=1),
    ]


def _figure(title: str, text: str) -> Line:
    return [(f"{title:<{_TITLE}}", "key"), (text, "text")]


def _struck(rule: ChaosRule) -> int:
    return rule.hits


def _hits(rule: ChaosRule) -> str:
    return count(rule.hits) + (f"/{count(rule.limit)}" if rule.limit else "")


def _left(model: Model, rule: ChaosRule) -> str:
    return duration(model.chaos_left(rule)) if rule.left else "no end"


def _time_left(model: Model, rule: ChaosRule) -> Piece:
    if not rule.left:
        return "no end", "dim"
    return _left(model, rule), "warn" if model.chaos_left(rule) < 10 else "text"


def _by(model: Model, rule: ChaosRule) -> Piece:
    return ("you", "accent") if rule.id in model.mine else (clean(rule.by) or "?", "text")
