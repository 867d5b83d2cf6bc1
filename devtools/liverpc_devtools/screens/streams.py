"""Streams: every topic somebody is subscribed to, and the last events of the selected one."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from liverpc.inspector.protocol import PublishEvent, SubscriptionInfo
from liverpc_devtools.core.fields import PUBLISH_FIELDS
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.row_fields import SUBSCRIPTION_FIELDS, stream_fields
from liverpc_devtools.core.rows import Stream
from liverpc_devtools.core.terms import Term, show
from liverpc_devtools.core.text import clean, count, ordinal
from liverpc_devtools.screens.details import publish_lines
from liverpc_devtools.screens.stream_columns import declared_lines, event_columns, stream_columns, subscriber_columns
from liverpc_devtools.screens.unfold import Unfold
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.bars import Bar
from liverpc_devtools.widgets.forms import FORMS, Form, following
from liverpc_devtools.widgets.palette import Glyphs, Line
from liverpc_devtools.widgets.payload import Payload
from liverpc_devtools.widgets.table import Table

__all__ = ["StreamsView"]

_WIDE = 100  # cells from which on the panes are named


_PANES = ("events", "subscribers", "schema")


class StreamsView(View):
    """Topics above; below, the last events of the selected topic, or who listens to it, or how it was declared."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "go to what is below; from there on", key_display="enter events", id="streams.open"),
        Binding("t", "pane", "events; subscribers; schema", key_display="t subscribers", id="streams.pane"),
        Binding("p", "pause", "pause the capture of this topic", key_display="p pause", id="streams.pause"),
        Binding("v", "form", "payload pretty, raw, as difference, as bytes", key_display="v form", id="streams.form"),
        Binding("c", "clear", "clear the events of the topic", key_display="c clear", id="streams.clear"),
        Binding("C", "clear_all", "clear the events of all topics", show=False, id="streams.clear_all"),
    ]
    DIGIT = "2"
    TITLE = "Streams"

    def __init__(self, model: Model, glyphs: Glyphs) -> None:
        table: Table[Stream] = Table(
            stream_columns(model),
            lambda: model.rows.streams.values(),
            lambda row: row.info.id,
            facts=lambda row: (row.info, row.stats.event, row.stats.error),
            fields=stream_fields(model),
            glyphs=glyphs,
            sort=0,
            empty="nobody is subscribed to anything yet",
            id="topics",
        )
        super().__init__(model, glyphs, table, id="streams")
        self._topics = table
        self._events: Table[PublishEvent] = Table(
            event_columns(model, glyphs),
            lambda: reversed(model.ring),
            lambda event: (event.at, event.seq),
            fields=PUBLISH_FIELDS,
            glyphs=glyphs,
            follow=True,
            period=0.1,
            id="ring-events",
        )
        self._subscribers: Table[SubscriptionInfo] = Table(
            subscriber_columns(),
            lambda: model.listeners.told or (),
            lambda row: row.connection,
            facts=lambda row: row,
            fields=SUBSCRIPTION_FIELDS,
            glyphs=glyphs,
            sort=0,
            id="subscribers",
        )
        self._payload = Payload(id="payload")
        self._schema = Payload(id="schema")
        self._title = Bar("bar", id="ring")
        self._figures = Bar("head", id="figures")
        self._pane = _PANES[0]
        self._form: Form = FORMS[0]

    def compose(self) -> ComposeResult:
        yield self._topics
        yield self._title
        yield self._figures
        with Horizontal(id="detail"):
            yield self._events
            yield self._payload
            yield self._subscribers
            yield self._schema

    def on_mount(self) -> None:
        self._show_pane()

    def figure(self) -> str:
        return count(len(self.model.rows.streams))

    def happened(self) -> int:
        return self.model.rows.totals.published.total

    def flush(self) -> None:
        super().flush()
        self.fit_table(len(self.model.rows.streams))
        selected = self._topics.selected
        self.model.pin([row.info.topic for row in self._topics.pinned.values()])
        if selected is not None:
            self.model.look_at(selected.info.topic)
        if self._pane == "events":
            self._events.empty = "paused" if self.model.paused else "no events kept yet"
            self._events.flush()
            self._show_payload()
        elif self._pane == "subscribers":
            self._show_subscribers(selected)
        else:
            self._show_schema(selected)
        self._show_title()
        self._show_figures(selected)

    def _show_payload(self) -> None:
        event = self._events.selected
        if event is None:
            self._payload.tell(None, None, list)
            return
        ring, form, glyphs = self.model.ring, self._form, self.glyphs
        of = (event.topic, event.at, event.seq)
        self._payload.tell(of, (form, event), lambda: publish_lines(event, form, ring, glyphs))

    def _show_subscribers(self, stream: Stream | None) -> None:
        listeners = self.model.listeners
        if stream is not None:
            self.model.listen("subscribers", stream.info.topic)
        asked = clean(listeners.problem) or "the server is asked who listens"
        self._subscribers.empty = asked if listeners.told is None else "nobody listens"
        self._subscribers.flush()

    def _show_schema(self, stream: Stream | None) -> None:
        self.model.explore()
        self._schema.show([] if stream is None else declared_lines(self.model, stream.info), top=False)

    def _show_title(self) -> None:
        model, topic = self.model, self.model.topic
        if topic is None:
            self._title.show([[(" no topic selected", "dim")]], [])
            return
        kept = len(model.ring)
        events = "event" if kept == 1 else "events"
        left: list[Line] = [[(f" {clean(topic)} ", "strong")], [(f" last {count(kept)} {events} ", "dim")]]
        if model.left_out:
            left.append([(f" {count(model.left_out)} older left out ", "warn")])
        if model.paused:
            left.append([(f" paused (+{count(model.missed)})", "warn")])
        if self._topics.pinned:
            left.append(self._events.notes())
        panes: Line = [(f"[{each}] " if each == self._pane else f"{each} ", "dim") for each in _PANES]
        if self._pane == "events":
            panes += [(self._form, "accent"), (" ", "")]
        self._title.show(left, panes if self.size.width >= _WIDE else panes[len(_PANES) :])

    def _show_figures(self, stream: Stream | None) -> None:
        """Those for which a narrow table has no room."""
        if stream is None:
            self._figures.show([[]], [])
            return
        stats = stream.stats
        figures = {
            "replay": stats.replay_depth,
            "reloads": stats.reloads,
            "held": stats.held,
            "coalesced": stats.coalesced,
            "missed": stats.volatile_drops,
        }
        left: list[Line] = [[(f" {title} ", "dim"), (f"{count(value)} ", "text")] for title, value in figures.items()]
        left.insert(0, [(" seq ", "dim"), (f"{ordinal(stats.seq)} ", "text")])
        self._figures.show([*left, [(f" {clean(stats.error)}", "error")]], [])

    # -- keys ---------------------------------------------------------------------------------------------

    def action_open(self) -> None:
        event = self._events.selected
        if self._pane == "events" and self.focused(self._payload) and event is not None:
            self.app.push_screen(Unfold(self.model, self.glyphs, event))
            return
        self.enter_details()
        panes: dict[str, Widget] = {"events": self._events, "subscribers": self._subscribers, "schema": self._schema}
        inner = panes[self._pane]
        if not self.focused(inner):
            self.screen.set_focus(inner)
        elif inner is self._events:
            self.screen.set_focus(self._payload)
        elif inner is self._subscribers and (row := self._subscribers.selected) is not None:
            self.post_message(self.Goto("connections", show(Term("conn", ":", row.connection))))

    def action_pane(self) -> None:
        inside = not (self.focused(self._topics) or self.has_class("-detail"))
        self._pane = _PANES[(_PANES.index(self._pane) + 1) % len(_PANES)]
        self._show_pane()
        self.flush()
        if inside:
            self.action_open()

    def _show_pane(self) -> None:
        for pane, widgets in {
            "events": (self._events, self._payload),
            "subscribers": (self._subscribers,),
            "schema": (self._schema,),
        }.items():
            for each in widgets:
                each.set_class(pane != self._pane, "-other")

    def action_pause(self) -> None:
        self.model.pause()

    def action_form(self) -> None:
        self._form = following(self._form)

    def action_clear(self) -> None:
        self.model.clear()
        self._events.reload()

    def action_clear_all(self) -> None:
        self.model.clear(everything=True)
        self._events.reload()
