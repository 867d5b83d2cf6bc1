"""One server on the screen: its model and its views."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast
from urllib.parse import urlsplit

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import ContentSwitcher

from liverpc_devtools.core.model import Model
from liverpc_devtools.screens.calls import CallsView
from liverpc_devtools.screens.chaos import ChaosView
from liverpc_devtools.screens.connections import ConnectionsView
from liverpc_devtools.screens.events import EventsView
from liverpc_devtools.screens.explorer import ExplorerView
from liverpc_devtools.screens.overview import OverviewView
from liverpc_devtools.screens.recording import RecordView
from liverpc_devtools.screens.rooms import RoomsView
from liverpc_devtools.screens.streams import StreamsView
from liverpc_devtools.screens.uploads import UploadsView
from liverpc_devtools.screens.view import View
from liverpc_devtools.widgets.palette import Glyphs

__all__ = ["Feed", "Served", "ServerPane", "titles"]


class Feed(Protocol):
    """Whatever keeps a model fed."""

    async def run(self) -> None:
        """Feed it until cancelled."""
        ...


@dataclass(frozen=True)
class Served:
    """A server that is watched.

    Args:
        model: What is known of it.
        feed: Feeds the model while the program runs; None: somebody else does.
        url: For people.
        name: A context, as ``@prod``; empty: the URL. Views are saved under it.
        readonly: Nothing that changes the server is offered.
    """

    model: Model
    feed: Feed | None = None
    url: str = ""
    name: str = ""
    readonly: bool = False


class ServerPane(Vertical):
    """The views of a server, one of which is shown.

    Args:
        served: The server.
        glyphs: What it is drawn with.
        screen: The view shown first.
    """

    VIEWS: ClassVar[dict[str, type[View]]] = {
        "overview": OverviewView,
        "streams": StreamsView,
        "rpc": CallsView,
        "connections": ConnectionsView,
        "events": EventsView,
        "rooms": RoomsView,
        "uploads": UploadsView,
        "chaos": ChaosView,
        "record": RecordView,
        "explorer": ExplorerView,
    }

    def __init__(self, served: Served, glyphs: Glyphs, *, screen: str, id: str) -> None:  # noqa: A002  Textual's name for it
        super().__init__(name=served.name or served.url, id=id)
        self.model = model = served.model
        self.url = served.url
        self.feed = served.feed
        self.readonly = served.readonly
        self.views: dict[str, View] = {
            each: cast("Callable[[Model, Glyphs], View]", kind)(model, glyphs) for each, kind in self.VIEWS.items()
        }
        for view in self.views.values():
            view.url = served.name or served.url or view.url
        self.current = screen

    def compose(self) -> ComposeResult:
        with ContentSwitcher(initial=self.current, id="views"):
            yield self.view  # the others when they are shown first: ten at once would delay the start

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self.views[self.current]

    @property
    def title(self) -> str:
        """What the server calls itself, or what we call it until it does."""
        welcome = self.model.welcome
        return welcome.server.name if welcome is not None else self.name or "liverpc"

    async def show(self, screen: str) -> None:
        """Show another view; returns when it can take keys."""
        if screen != self.current:
            self.view.left()
        self.current = screen
        if self.is_mounted:
            switcher = self.query_one("#views", ContentSwitcher)
            if not self.view.is_attached:
                await switcher.mount(self.view)
            switcher.current = screen
            self.view.table.reload()
            self.view.flush()


def titles(panes: Sequence[ServerPane]) -> list[str]:
    """What to call the servers: by their names, and where several have the same, by what they were attached with."""
    names = Counter(each.title for each in panes)
    return [each.title if names[each.title] == 1 else _place(each) for each in panes]


def _place(pane: ServerPane) -> str:
    place = pane.name or pane.title
    return urlsplit(place).netloc or place.rpartition("/")[2]
