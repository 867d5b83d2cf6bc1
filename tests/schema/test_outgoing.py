"""What leaves the server: compared with its declared type, and never more than that has."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from liverpc.errors import DeclarationError
from liverpc.schema.outgoing import Outgoing

D = TypeVar("D")


class Message(msgspec.Struct):
    id: str
    n: int = 0


class Secret(Message):
    password: str = "hunter2"


class Renamed(msgspec.Struct, rename="camel"):
    is_new: bool


class Thread(msgspec.Struct):
    messages: list[Message]
    by_name: dict[str, Message] = {}
    parent: Thread | None = None


class Added(msgspec.Struct, tag=True):
    message: Message


class Removed(msgspec.Struct, tag=True):
    id: str


class Row(msgspec.Struct, array_like=True):
    a: int


class LongRow(Row):
    secret: int = 42


class OtherRow(msgspec.Struct, array_like=True):
    b: int


class Pair(NamedTuple):
    a: int


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class MoreStrict(Strict):
    password: str = "hunter2"


class Box(msgspec.Struct, Generic[D]):
    value: D


class Colour(enum.Enum):
    RED = "red"


class Movie(TypedDict):
    title: str


@dataclass
class Data:
    id: str


@dataclass
class MoreData(Data):
    password: str = "hunter2"


class Other(msgspec.Struct):
    id: str


def send(annotation: Any, value: Any) -> str:
    raw = Outgoing(annotation, "ToClient.message", "here")(value)
    return msgspec.json.encode({"data": raw}).decode()[8:-1]


NOW = datetime(2026, 1, 2, tzinfo=UTC)
FITTING: list[tuple[Any, Any, str]] = [
    (Message, Message("a"), '{"id":"a","n":0}'),
    (Renamed, Renamed(True), '{"isNew":true}'),
    (Thread, Thread([Message("a")], parent=Thread([])),
     '{"messages":[{"id":"a","n":0}],"by_name":{},"parent":{"messages":[],"by_name":{},"parent":null}}'),
    (Added | Removed, Removed("a"), '{"type":"Removed","id":"a"}'),
    (Message | None, None, "null"),
    (list[Message], [Message("a")], '[{"id":"a","n":0}]'),
    (Row, Row(1), "[1]"),
    (Box[Message], Box(Message("a")), '{"value":{"id":"a","n":0}}'),
    (Movie, {"title": "a"}, '{"title":"a"}'),
    (Data, Data("a"), '{"id":"a"}'),
    (dict[str, int], {"a": 1}, '{"a":1}'),
    (dict[int, str], {1: "a"}, '{"1":"a"}'),
    (Annotated[int, msgspec.Meta(ge=0)], 1, "1"),
    (Any, {"a": [1]}, '{"a":[1]}'),
    (None, None, "null"),
    (Colour, Colour.RED, '"red"'),
    (datetime, NOW, '"2026-01-02T00:00:00Z"'),
    (UUID, UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
    (Decimal, Decimal("1.50"), '"1.50"'),
    (bytes, b"ab", '"YWI="'),
    (set[int], {1}, "[1]"),
    (frozenset[int], frozenset([1]), "[1]"),
    (tuple[int, str], (1, "a"), '[1,"a"]'),
    (Sequence[int], (1,), "[1]"),
    (Pair, Pair(1), "[1]"),
    (Any, Row(1), "[1]"),
    (int, 10**30, "1" + "0" * 30),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "text"), FITTING)
def test_a_value_that_fits_is_sent_as_it_is(annotation: Any, value: Any, text: str) -> None:
    assert send(annotation, value) == text


STRIPPED: list[tuple[Any, Any, str]] = [
    (Message, Secret("a"), '{"id":"a","n":0}'),
    (Message | None, Secret("a"), '{"id":"a","n":0}'),
    (list[Message], [Secret("a")], '[{"id":"a","n":0}]'),
    (list[Message], [{"id": "a", "password": "hunter2"}], '[{"id":"a","n":0}]'),
    (Thread, Thread([], {"x": Secret("a")}), '{"messages":[],"by_name":{"x":{"id":"a","n":0}},"parent":null}'),
    (Box[Message], Box(Secret("a")), '{"value":{"id":"a","n":0}}'),
    (Added | Removed, Added(Secret("a")), '{"type":"Added","message":{"id":"a","n":0}}'),
    (Row, LongRow(1), "[1]"),
    (Movie, {"title": "a", "password": "hunter2"}, '{"title":"a"}'),
    (Data, MoreData("a"), '{"id":"a"}'),
]


@pytest.mark.parametrize(("annotation", "value", "text"), STRIPPED)
def test_what_the_declared_type_does_not_have_never_leaves(annotation: Any, value: Any, text: str) -> None:
    assert send(annotation, value) == text


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=5))
def test_no_member_leaves_that_is_not_declared(members: dict[str, int]) -> None:
    assert msgspec.json.decode(send(Movie, {**members, "title": "a"})) == {"title": "a"}


def misfit(**fields: Any) -> Message:
    message = Message("a")
    for name, value in fields.items():
        setattr(message, name, value)
    return message


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

WRONG: list[tuple[Any, Any, str]] = [
    (Message, Other("a"), "Message.*got Other"),
    (Message, {"id": "a"}, "Message.*got dict"),
    (Message | None, {"id": "a"}, "Message.*got dict"),
    (Message, MoreData("a"), "got MoreData"),
    (Message, "text", "str"),
    (Message, None, "null"),
    (Movie, Message("a"), "Movie.*got Message"),
    (dict[str, str], Other("a"), "got Other"),
    (int, {"a": 1}, "got dict"),
    (Row, OtherRow(1), "Row.*got OtherRow"),
    (Row, [1], "Row.*got list"),
    (Row | None, (1,), "Row.*got tuple"),
    (list[int], Row(1), "got Row"),
    (Pair, Row(1), "Pair.*got Row"),
    (tuple[int, ...], Row(1), "got Row"),
    (Data, Other("a"), "got Other"),
    (Added | Removed, Message("a"), "got Message"),
    (Message, misfit(id=5), "at id: Expected `str`, got `int`"),
    (Thread, Thread([], {"x": misfit(n="1")}), r"at by_name\.\.{3}\.n: Expected `int`, got `str`"),
    (Thread, Thread([Message("a"), misfit(n=None)]), r"at messages\.1\.n: Expected `int`, got `null`"),
    (Annotated[int, msgspec.Meta(ge=0)], -1, "int"),
    (int, True, "got `bool`"),
    (float, float("nan"), "null"),
    (Strict, {"id": "a"}, "got dict"),
    (Strict, MoreStrict("a"), "unknown field `password`"),
    (None, 1, "null"),
    (Any, object(), "object"),
    (str, "\ud800", "surrogates"),
    (Any, CYCLE, "recursion"),
]


@pytest.mark.parametrize(("annotation", "value", "fault"), WRONG)
def test_what_does_not_fit_is_a_type_error_that_says_where(annotation: Any, value: Any, fault: str) -> None:
    with pytest.raises(TypeError, match=rf"(?s)^ToClient\.message sends .*{fault}"):
        send(annotation, value)


@pytest.mark.parametrize("annotation", [complex, list[object | complex], Message | Other])
def test_a_type_that_clients_cannot_read_is_refused_with_its_place(annotation: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^here is annotated with"):
        Outgoing(annotation, "ToClient.message", "here")


# -- pydantic


class Model(BaseModel):
    text: str
    hidden: str = Field(default="h", exclude=True)
    when: datetime = Field(default=NOW, serialization_alias="sentAt")


class Leaking(Model):
    password: str = "hunter2"


class Holder(msgspec.Struct):
    model: Model


def test_models_are_written_by_pydantic() -> None:
    text = '{"text":"a","sentAt":"2026-01-02T00:00:00Z"}'
    assert send(Model, Model(text="a")) == text
    assert send(Model, Leaking(text="a")) == text
    assert send(list[Model] | None, [Leaking(text="a")]) == f"[{text}]"
    assert send(Model | None, None) == "null"


@pytest.mark.parametrize("value", [{"text": "a", "password": "x"}, 5, Message("a"), Model.model_construct(text=5)])
def test_what_is_no_such_model_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^ToClient\.message sends Model"):
        send(Model, value)


def test_models_inside_other_classes_are_refused_when_they_are_declared() -> None:
    with pytest.raises(DeclarationError, match="Model"):
        Outgoing(Holder, "ToClient.message", "here")
    with pytest.raises(DeclarationError, match="Other"):
        Outgoing(Model | Other, "ToClient.message", "here")
