"""The generated Python client at work; what type checkers say of it is in ``tests/typing/typed_generated.py``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from liverpc import Events, RpcError
from liverpc.pages import PageContract, payloads_of
from liverpc.testing import TestEnv
from tests.cli import schema_app, schema_names
from tests.typing import generated_client as client

TREE = {"leftSide": {"name": "l", "note": "n"}, "zone": "there", "mode": 1, "pet": {"kind": "dog", "good": True}}
EVERYTHING = {
    "pair": [1, "y"],
    "stamped": ["2026-01-31T12:00:00Z", "y"],
    "spot": [0.5, 1.5],
    "options": {"depth": 1, "deep": True},
    "odd": {"a-b": 1, "class": "c"},
    "card": {"id": 1, "tags": ["t"]},
    "mark": {"x": 1, "label": "l"},
    "tree": TREE,
    "size": 2,
    "cat": {"type": "Cat", "lives": 7},
    "by_zone": {"here": 1},
    "by_number": {"5": [{"kind": "fox"}, {"kind": "dog", "good": False}]},
    "anything": [None, {"a": 1}],
    "raw": {"r": 1},
    "uuid": "5f0c1ad7-9a2e-4c44-9b8e-0d1b7ad1c001",
    "price": "1.50",
    "at": "12:30:00",
    "day": "2026-01-31",
    "took": "PT90S",
    "data": "AAEC",
    "numbers": [1],
    "words": ["w"],
    "row": [1, 2],
    "both": [1, "b"],
    "share": 0.5,
    "nothing": None,
    "sure": True,
}
SAMPLES = [
    (schema_app.Everything, client.Everything, EVERYTHING),
    (schema_app.Tree, client.Tree, TREE),
    (schema_app.Counted, client.Counted, {"page": {"rows": [{"id": 1}]}, "numbers": {"rows": [1], "next_page": "n"}}),
]


@pytest.fixture
async def env() -> AsyncIterator[TestEnv]:
    async with TestEnv(schema_app.make_server()) as made:
        yield made


@pytest.mark.parametrize(("original", "generated", "sample"), SAMPLES)
def test_a_generated_type_has_the_json_of_its_original(original: Any, generated: Any, sample: Any) -> None:
    text = msgspec.json.encode(sample)
    travelled = msgspec.json.encode(msgspec.json.decode(text, type=generated))
    assert msgspec.json.decode(travelled, type=original) == msgspec.json.decode(text, type=original)


def test_a_member_with_a_computed_default_may_be_left_out() -> None:
    assert "madeAt" not in msgspec.json.decode(msgspec.json.encode(client.Tree()))


@pytest.mark.parametrize("name", sorted(client.__all__))
def test_every_type_can_be_read(name: str) -> None:
    made = getattr(client, name)
    if not issubclass(made, PageContract | Events):
        msgspec.json.Decoder(made)


def test_members_that_are_called_like_what_the_module_uses_are_all_there() -> None:
    assert set(client.Names.actions()) == set(schema_names.Names.actions())
    assert set(client.Names.rooms()) == {"str"}
    assert client.Names.name == "names"
    assert payloads_of(client.FromNames) == {"list": list[int], "int": int, "Payload": client.Choices}


async def test_they_travel(env: TestEnv) -> None:
    async with env.open(client.Names) as page:
        when = datetime(2026, 1, 31, tzinfo=UTC)
        fields = client.Fields(Color=client.Color2(red=3), float=b"f", tags={"t"}, datetime=when)
        assert await page.call(client.Names.fields, fields) == fields
        assert await page.call(client.Names.list) == [1]
        assert await page.call(client.Names.set) == {"s"}
        assert await page.call(client.Names.dict) == {"d": 1}
        assert await page.call(client.Names.tuple) == (1, 2)
        assert await page.call(client.Names.int) == 1
        assert await page.call(client.Names.name2) == "n"
        await page.join(client.Names.str, "s")


async def test_what_is_left_out_is_left_to_the_server(env: TestEnv) -> None:
    assert msgspec.json.encode(client.Secrets(title="t")) == b'{"title":"t"}'
    assert msgspec.json.encode(client.Tree()) == b"{}"
    assert msgspec.json.encode(client.Pair(1)) == b'[1,"x"]'  # in a list, no position can be left out
    async with env.open(client.Names) as page:
        assert await page.call(client.Names.secrets, client.Secrets(title="t")) == ["v1", "unchanged"]
        assert await page.call(client.Names.secrets, client.Secrets(title="t", token="new", mode="v2")) == ["v2"]


def test_no_default_is_a_secret() -> None:
    assert client.Secrets(title="t").token is msgspec.UNSET


def test_defaults_are_those_of_the_server() -> None:
    tree = client.Tree()
    assert (tree.zone, tree.mode, tree.name, tree.left_side) == (client.Zone.HERE, "a", 'it"s', None)


# acceptance 241, 242
async def test_a_page_calls_joins_and_hears(env: TestEnv) -> None:
    async with (
        env.open(client.RoomsChat, room_id="general") as page,
        env.open(client.RoomsChat, room_id="random") as other,
    ):
        heard: list[client.SchemaAppMessage] = []
        page.on(client.RoomsChatToClient.message, heard.append)
        other.on(client.RoomsChatToClient.message, heard.append)
        assert await page.call(client.RoomsChat.send, client.Send("hi")) == client.Sent("1")
        assert heard == [client.SchemaAppMessage("general", "hi")]

        notes = asyncio.Queue[str]()
        page.on(client.RoomsChatToClient.note, notes.put_nowait)
        await page.join(client.RoomsChat.project, client.OpenProject("apollo"))
        await page.call(client.RoomsChat.tell_project, client.Send("lift-off"))
        assert await notes.get() == "lift-off"
        with pytest.raises(RpcError, match="JOIN_REJECTED"):
            await page.join(client.RoomsChat.project, client.OpenProject("zeus"))


async def test_every_kind_of_payload_travels(env: TestEnv) -> None:
    async with env.open(client.Board, board_id=5, rest="a/b") as page:
        everything = msgspec.convert(EVERYTHING, client.Everything, strict=False, str_keys=True)
        back = await page.call(client.Board.everything, everything)
        assert (back.pair, back.by_number, back.tree.pet) == (
            everything.pair,
            everything.by_number,
            everything.tree.pet,
        )
        model = client.Model(the_id=1, thing=client.Pet(age=4), inside=[client.Model(the_id=2, thing=client.Toy())])
        assert [each.the_id for each in await page.call(client.Board.model, model)] == [1]
        assert await page.call(client.Board.delete_it) == {}
        assert await page.call(client.Board.delete_it, "x") == {"x": 1}
        await page.call(client.Board.tidy)


async def test_contracts_of_one_name_are_told_apart_by_their_pattern(env: TestEnv) -> None:
    async with env.open(client.MailChat) as page:
        assert await page.call(client.MailChat.send, client.SchemaOtherMessage("s")) == client.SchemaOtherMessage("s")


async def test_a_payload_of_another_shape_is_refused_before_it_is_sent(env: TestEnv) -> None:
    async with env.open(client.RoomsChat, room_id="general") as page:
        nothing: Any = ()
        with pytest.raises(TypeError, match="needs its payload"):
            await page.call(client.RoomsChat.send, *nothing)
