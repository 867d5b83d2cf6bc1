"""Simulated visitors of the demo."""

from __future__ import annotations

import asyncio
import io
import random
import time
from contextlib import suppress
from dataclasses import dataclass

from liverpc import RpcError
from liverpc.client import Client, ContractPage, StreamHandle, UploadHandle, connect
from liverpc.demo import board, chat, files, rooms, ticker, till
from liverpc.demo.world import PROJECTS, TEAMS, Todo, team_of

__all__ = ["stay", "visit"]

ROOMS = ("general", "random", "help")
LINES = (
    "hello",
    "anyone else seeing this?",
    "deploy is through",
    "looks good to me",
    "lunch?",
    "who broke the build",
    "never mind, it was me",
)
READ_SECONDS = 0.1  # each 16 KiB of an upload, so that there is something to see
FILES = ("holiday.jpg", "minutes.pdf", "backup.tar", "demo.mp4")
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(2_000)
CARDS = ("write the docs", "water the plants", "fix the flaky test", "review the change", "call the bank")


async def visit(url: str, name: str, rng: random.Random) -> None:
    """Come and go, for ever."""
    while True:
        async with connect(f"{url}?user={name}") as client:
            await stay(client, name, rng)
        await asyncio.sleep(rng.uniform(2, 15))


async def stay(client: Client, name: str, rng: random.Random) -> None:
    """For some minutes: read along, talk, work on a board, upload, and now and then do something wrong."""
    room_id = rng.choice(ROOMS)
    board_id = rng.choice(("everybody", team_of(name)))
    async with (
        client.open(rooms.Chat, room_id=room_id) as page,
        client.stream(chat.messages, room_id),
        client.stream(board.board, board_id) as cards,
        client.stream(board.who, board_id),
        client.stream(board.board.cursors, board_id),
        client.stream(board.progress),
        client.stream(ticker.prices),
        client.stream(ticker.headline),
        client.stream(files.recent),
    ):
        await page.join(rooms.Chat.team)
        here = _Visitor(client, rng, page, cards, room_id, board_id)
        deeds = {
            here.say: 3,
            here.say_on_the_page: 2,
            here.tell_the_team: 1,
            here.open_a_project: 2,
            here.close_projects: 1,
            here.add_a_card: 3,
            here.toggle_a_card: 2,
            here.clean_up: 1,
            here.point: 4,
            here.pay: 1,
            here.pay_twice: 0.5,
            here.say_nothing: 1,
            here.trespass: 1,
            here.send_a_picture: 1,
            here.send_a_file: 2,
            here.give_up_on_a_file: 0.3,
        }
        for deed in rng.choices(list(deeds), list(deeds.values()), k=rng.randrange(60, 300)):
            await asyncio.sleep(rng.expovariate(1.0))
            # What goes wrong is part of the show: the devtools have failed calls to look at.
            with suppress(RpcError):
                await deed()


@dataclass
class _Visitor:
    client: Client
    rng: random.Random
    page: ContractPage[rooms.Chat]
    cards: StreamHandle[list[Todo]]
    room_id: str
    board_id: str
    upload: UploadHandle[files.Stored] | None = None

    async def say(self) -> None:
        await self.client.call(chat.send, self.room_id, self._line())

    async def say_on_the_page(self) -> None:
        await self.page.call(rooms.Chat.send, rooms.Send(self._line()))

    async def tell_the_team(self) -> None:
        await self.page.call(rooms.Chat.tell_team, rooms.Send(self._line()))

    async def open_a_project(self) -> None:
        await self.page.join(rooms.Chat.project, rooms.OpenProject(self.rng.choice(PROJECTS)))
        await self.page.call(rooms.Chat.tell_projects, rooms.Send(self._line()))

    async def close_projects(self) -> None:
        await self.page.leave(rooms.Chat.project)

    async def add_a_card(self) -> None:
        await self.client.call(board.add_card, self.board_id, self.rng.choice(CARDS))

    async def toggle_a_card(self) -> None:
        if self.cards.value:
            await self.client.call(board.toggle, self.board_id, self.rng.choice(self.cards.value).id)

    async def clean_up(self) -> None:
        if len(self.cards.value) > 8:
            await self.client.call(board.remove, self.board_id, self.cards.value[0].id)
            await self.client.call(board.archive, self.board_id)

    async def point(self) -> None:
        position = {"x": self.rng.randrange(1000), "y": self.rng.randrange(1000)}
        await self.client.call(board.board.move_cursor, self.board_id, position)

    async def pay(self) -> None:
        await self.client.call(till.pay, self.rng.randrange(1, 100))

    async def pay_twice(self) -> None:
        keyed = self.client.using(idempotency_key=f"{self.rng.getrandbits(64):x}", fresh=True)
        amount = self.rng.randrange(1, 100)
        await asyncio.gather(keyed.call(till.pay, amount), keyed.call(till.pay, amount))

    async def say_nothing(self) -> None:
        await self.client.call(chat.send, self.room_id, "")

    async def trespass(self) -> None:
        await self.client.call(board.toggle, self.rng.choice(TEAMS), -1)

    async def send_a_picture(self) -> None:
        await self.client.binary(files.avatar, PICTURE)

    async def send_a_file(self) -> None:
        if self.upload is None or self.upload.done:
            self.upload = self.client.upload(files.store, _SlowFile(self.rng), self.rng.choice(FILES))

    async def give_up_on_a_file(self) -> None:
        if self.upload is not None:
            self.upload.cancel()

    def _line(self) -> str:
        return self.rng.choice(LINES)


class _SlowFile(io.BytesIO):
    """A file that is read for some seconds."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng.randbytes(rng.randrange(200_000, 2_000_000)))

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(READ_SECONDS)  # on a thread of its upload
        return super().read(16_384)
