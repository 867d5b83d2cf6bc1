from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot

from liverpc.inspector.protocol import ClientFrame, ServerFrame
from liverpc_devtools.app import DevtoolsApp
from liverpc_devtools.core.model import Model
from liverpc_devtools.screens.server import Served
from liverpc_devtools.widgets.table import Table
from tests.devtools.attach_frames import Hand, welcome
from tests.devtools.pressed import PRESSED


class Bench:
    """The program on a screen of a given size, its model fed by hand."""

    def __init__(self, app: DevtoolsApp, pilot: Pilot[None], model: Model, hand: Hand, sent: list[ClientFrame]) -> None:
        self.app = app
        self.pilot = pilot
        self.model = model
        self.hand = hand
        self.sent = sent

    def draw(self) -> None:
        """Bring the screen up to date without waiting for the next timer."""
        for table in self.app.query(Table):
            table.reload()
        self.app.flush()
        self.app.show_bars()  # which not every flush does

    async def text(self) -> str:
        """What the screen shows now: drawn until nothing changes, for what was drawn may have made room for more."""
        before, text = None, ""
        while text != before:
            self.draw()
            await self.pilot.pause()
            before, text = text, "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())
        return text

    async def press(self, *keys: str) -> str:
        """What the screen shows after these keys."""
        await self.pilot.press(*keys)
        return await self.text()

    async def written(self) -> str:
        """What the screen shows when files are written and read: threads of their own do that."""
        for worker in [each for each in self.app.workers if not each.name.startswith("link ")]:
            await worker.wait()
        return await self.text()

    async def line(self, part: str) -> str:
        """The first line that contains ``part``."""
        text = await self.text()
        found = [line for line in text.splitlines() if part in line]
        assert found, f"no line contains {part!r}:\n{text}"
        return found[0]

    def of(self, kind: type[Any]) -> list[Any]:
        """The frames of one kind that were sent."""
        return [each for each in self.sent if isinstance(each, kind)]


OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]
TURNS = 100  # in which whatever a key sets off is done


async def some_turns(_least: float = 0) -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
def keys_heard(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Notes the ids of the bindings whose keys did something; a test that has to press a key fails if it did not."""
    heard: set[str] = set()
    run = App.run_action

    async def run_and_note(app: App[None], action: Any, node: Any = None, *further: Any) -> bool:
        done = await run(app, action, node, *further)
        declared = [each for kind in type(node or app).__mro__ for each in kind.__dict__.get("BINDINGS", ())]
        if done:
            heard.update(
                each.id for each in declared if isinstance(each, Binding) and each.id and each.action == action
            )
        return done

    monkeypatch.setattr(App, "run_action", run_and_note)
    yield
    name = f"{request.path.stem.removeprefix('test_')}.{request.node.originalname.removeprefix('test_')}"
    missing = set(PRESSED.get(name, "").split()) - heard
    assert not missing, f"the table in pressed.py says that this test presses the keys of {missing}"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, keys_heard: None) -> OpenBench:
    for each in ("app", "pilot"):  # theirs sleeps, twice for each key, until the process uses little time
        monkeypatch.setattr(f"textual.{each}.wait_for_idle", some_turns)

    @asynccontextmanager
    async def open_bench(
        size: tuple[int, int] = (120, 36), granted: str = "observe", replayed: Served | None = None, **options: Any
    ) -> AsyncIterator[Bench]:
        hand, sent = Hand(), list[ClientFrame]()
        model = Model(monotonic=hand)
        model.attached(welcome(granted=granted), sent.append)
        if replayed is not None:
            model = replayed.model
            options |= {"link": replayed.feed, "readonly": True}
        app = DevtoolsApp(model, url="ws://localhost:1", **options)
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            yield Bench(app, pilot, model, hand, sent)
        assert app.return_code in (0, None)

    return open_bench


TOPICS = ("board:1", "board:2", "chat:general")


async def fed(bench: Bench, *frames: ServerFrame) -> str:
    for frame in frames:
        bench.model.apply(frame)
        bench.draw()
    return await bench.text()


def selected(text: str) -> str:
    """The row with the cursor."""
    return next(line for line in text.splitlines() if line.startswith("▸")).split()[1]


def column(text: str, titles: str, lines: int) -> list[str]:
    """The first words of the rows under a header."""
    rows = text.splitlines()
    start = next(index for index, line in enumerate(rows) if titles in line)
    return [row.replace("▸", " ").split()[0] for row in rows[start + 1 : start + 1 + lines]]
