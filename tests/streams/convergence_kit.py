"""Streams whose state on the server is known, clients that come and go, and the question whether all agree in the end.

Everything in a run follows from its seed.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

from liverpc import ClientConfig, ErrorCode, Limits, LiveServer, RpcError, live, public
from liverpc.client import Client
from liverpc.clock import SeededClock
from liverpc.testing import TestEnv, VirtualLoop

__all__ = [
    "Board",
    "Diverged",
    "Visitor",
    "check",
    "make_boards",
    "make_server",
    "publish",
    "run_seed",
    "run_seeds",
    "settle",
]

Heal = Literal["replay", "stale"]
Change = tuple[str, Any]  # an event and its data

STALE = 5.0  # seconds
CONFIG = ClientConfig(backoff_base=0.2, backoff_max=2.0)


class Diverged(AssertionError):
    """A client shows something else than the server has."""


class Board(ABC):
    """A stream and its state, which changes only together with a publish.

    Attributes:
        heal: What brings back clients that missed something: the topic's log, or a reload.
    """

    merge: ClassVar[Any]
    options: ClassVar[dict[str, Any]] = {}
    waits = True  # the loader does

    def __init__(self, heal: Heal, rng: random.Random, stale: float) -> None:
        self.heal = heal
        self.rng = rng
        self.name = f"{type(self).__name__.lower()}_{heal}"
        self.topic = self.name
        self._count = 0
        healing: dict[str, Any] = {"replay": True} if heal == "replay" else {"stale_after": stale}
        stream = live.stream(self.topic, merge=self.merge, path=f"boards/{self.name}", **self.options, **healing)
        self.stream: Any = stream(self._load_slowly if self.waits else self._load)

    @abstractmethod
    def state(self) -> Any:
        """What every client should show."""

    @abstractmethod
    def change(self) -> Change:
        """Change the state at random, and say how."""

    def seen(self, value: Any) -> Any:
        """A client's value, without what does not matter."""
        return value

    def number(self) -> int:
        self._count += 1
        return self._count

    def _load(self, ctx: Any) -> Any:
        return self.state()

    async def _load_slowly(self, ctx: Any) -> Any:
        await asyncio.sleep(self.rng.choice((0.0, 0.05, 0.3)))
        found = self.state()
        await asyncio.sleep(self.rng.choice((0.0, 0.05, 0.3)))
        return found


class Rows(Board):
    """``crud``. No key returns once deleted: events seen twice would put its row in another place."""

    merge = "crud"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[dict[str, Any]] = []

    def state(self) -> Any:
        return list(self.rows)

    def change(self) -> Change:
        number = self.number()
        known = self.rng.choice(self.rows)["id"] if self.rows else 0
        event = self.rng.choice(("created", "created", "replaced", "updated", "missing", "deleted"))
        if event == "created":
            row = {"id": number, "n": number}
            self.insert(row)
            return "created", row
        if event == "missing":
            return "updated", {"id": -1, "n": number}
        at = next((at for at, row in enumerate(self.rows) if row["id"] == known), None)
        if at is None:
            return "deleted", {"id": known}
        if event == "deleted":
            del self.rows[at]
            return event, {"id": known}
        self.rows[at] = {"id": known, "n": number}
        return "created" if event == "replaced" else event, self.rows[at]

    def insert(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


class Top(Rows):
    """``crud`` with ``prepend`` and ``max``. Events seen twice would push out rows, so its loader does not wait."""

    options: ClassVar[dict[str, Any]] = {"prepend": True, "max": 5}
    waits = False

    def insert(self, row: dict[str, Any]) -> None:
        self.rows = [row, *self.rows][:5]


class Latest(Board):
    """``latest``. Its events have no key, so its loader does not wait."""

    merge = "latest"
    options: ClassVar[dict[str, Any]] = {"max": 8}
    waits = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lines: list[int] = []

    def state(self) -> Any:
        return list(self.lines)

    def change(self) -> Change:
        number = self.number()
        self.lines = [*self.lines, number][-8:]
        return "line", number


class Value(Board):
    """``set``."""

    merge = "set"
    value: Any = 0

    def state(self) -> Any:
        return self.value

    def change(self) -> Change:
        number = self.number()
        self.value = self.rng.choice((number, {"n": number}, None))
        return "set", self.value


class Present(Board):
    """``presence``, whose rows come and go under few keys; their order means nothing."""

    merge = "presence"
    joining, leaving = "join", "leave"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: dict[str, dict[str, Any]] = {}

    def state(self) -> Any:
        return self.seen(self.rows.values())

    def seen(self, value: Iterable[dict[str, Any]]) -> Any:
        return sorted(value, key=lambda row: row["key"])

    def change(self) -> Change:
        number = self.number()
        key = self.rng.choice("abcde")
        event = self.rng.choice((self.joining, self.joining, self.joining, self.leaving, self.leaving, "set"))
        if event == "set":
            self.rows = {key: {"key": key, "n": number}}
            return event, self.state()
        if event == self.leaving:
            self.rows.pop(key, None)
            return event, {"key": key}
        self.rows[key] = {"key": key, "n": number}
        return event, self.rows[key]


class Pointers(Present):
    """``cursor``, likewise."""

    merge = "cursor"
    joining, leaving = "update", "remove"


def make_boards(rng: random.Random, stale: float) -> list[Board]:
    """One board of each kind for each way to heal; reloads come after so many seconds without an event."""
    heals: tuple[Heal, ...] = ("replay", "stale")
    return [
        kind(heal, random.Random(rng.random()), stale)
        for kind in (Rows, Top, Latest, Value, Present, Pointers)
        for heal in heals
    ]


def make_server(boards: Iterable[Board], limits: Limits) -> LiveServer:
    modules = {"boards": SimpleNamespace(**{board.name: board.stream for board in boards}, _guard=public())}
    return LiveServer(modules, limits=limits, clock=SeededClock())


def publish(server: LiveServer, board: Board) -> None:
    """Change a board and tell; nothing comes between the two."""
    event, data = board.change()
    server.publish_nowait(board.topic, event, data)


class Visitor:
    """A client on one board: comes and goes until the noise is over, and stays."""

    def __init__(self, name: str, client: Client, board: Board, rng: random.Random) -> None:
        self.name = name
        self.board = board
        self._client = client
        self._rng = rng

    async def visit(self, over: asyncio.Event) -> None:
        while True:
            self.handle = self._client.stream(self.board.stream)
            try:
                await self.handle.open()
            except RpcError as error:
                if error.code not in (ErrorCode.TIMEOUT, ErrorCode.DISCONNECTED):
                    raise
                continue
            if over.is_set() or self._rng.random() < 0.3:
                return
            try:
                async with asyncio.timeout(self._rng.expovariate(1)):
                    await over.wait()
            except TimeoutError:
                await self.handle.aclose()
                await asyncio.sleep(self._rng.choice((0.0, 0.0, 0.2)))

    async def back(self) -> None:
        """Wait until the stream is connected."""
        await self.handle.wait_for(lambda _: self.handle.status == "connected", timeout=60)

    def difference(self) -> str | None:
        """What the client shows and the server has, if that is not the same."""
        shown, state = self.board.seen(self.handle.get("nothing")), self.board.state()
        # Compared as text: True is not 1.
        if repr(shown) == repr(state) and self.handle.status == "connected":
            return None
        return f"{self.name} ({self.handle.status}), {self.board.name}: shows {shown!r}, the server has {state!r}"


async def settle(server: LiveServer, visitors: Sequence[Visitor], stale: float) -> None:
    """After the noise: let the clients come back, and find out what they missed."""
    for visitor in visitors:
        await visitor.back()
    for board in {visitor.board.name: visitor.board for visitor in visitors}.values():
        if board.heal == "replay":  # that an event is missing shows with the next
            publish(server, board)
    await asyncio.sleep(3 * stale)


def check(visitors: Sequence[Visitor]) -> None:
    """Raises :class:`Diverged` when a client shows something else than the server has."""
    differences = [difference for visitor in visitors if (difference := visitor.difference())]
    if differences:
        raise Diverged("\n".join(differences))


async def _converge(seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    boards = rng.sample(make_boards(rng, STALE), 4)  # few, so that much happens on each
    limits = Limits(replay_events=rng.choice((3, 10, 1000)), replay_topics=rng.choice((1, 3, 1000)))
    server = make_server(boards, limits)
    async with TestEnv(server, latency=rng.choice((0.0, 0.02))) as env:
        clients = [env.connect(config=CONFIG) for _ in range(rng.randint(2, 4))]
        visitors = [
            Visitor(f"client {number}", client, board, random.Random(rng.random()))
            for number, client in enumerate(clients, 1)
            for board in rng.sample(boards, 3)
        ]
        env.chaos.set(
            seed=f"run {seed}",
            drop_rate=rng.choice((0.0, 0.1, 0.3)),
            duplicate_rate=rng.choice((0.0, 0.2)),
            reorder_rate=rng.choice((0.0, 0.2)),
            delay=rng.choice(((0.0, 0.0), (0.0, 0.2))),
            disconnect_rate=rng.choice((0.0, 0.02)),
        )
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for visitor in visitors:
                group.create_task(visitor.visit(over))
            for _ in range(80):
                await asyncio.sleep(rng.choice((0.0, 0.0, 0.0, 0.01, 0.1, 0.2)))
                action = rng.random()
                if action < 0.9:
                    publish(server, rng.choice(boards))
                elif action < 0.92:
                    await server._cluster.log.clear(rng.choice(boards).topic)
                elif action < 0.95:
                    group.create_task(server.using(user=None).load(rng.choice(boards).stream))
                else:
                    rng.choice(clients).cut()
            over.set()
            env.chaos.clear()
        await settle(server, visitors, STALE)
        check(visitors)
        for board in boards:
            assert await server.using(user=None).load(board.stream) == board.state()
        chaos = env.chaos
        return {
            "published": server.counters.published,
            "delivered": server.counters.deliveries,
            "dropped": chaos.dropped,
            "duplicated": chaos.duplicated,
            "reordered": chaos.reordered,
            "delayed": chaos.delayed,
            "disconnected": chaos.disconnected,
        }


def run_seed(seed: int) -> dict[str, int]:
    """One run, on a loop of its own; returns what happened, and how often.

    Raises:
        Diverged: With the seed in the text.
    """

    async def main() -> dict[str, int]:
        report = await _converge(seed)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return report

    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main())
    except Diverged as error:
        raise Diverged(f"seed {seed}, to be repeated with LIVERPC_SEED={seed}:\n{error}") from None
    except BaseException as error:
        error.add_note(f"seed {seed}, to be repeated with LIVERPC_SEED={seed}")
        raise


def run_seeds(seeds: Iterable[int]) -> Counter[str]:
    """Several runs; returns what happened in all of them."""
    total: Counter[str] = Counter()
    for seed in seeds:
        total.update(run_seed(seed))
    return total
