"""A third module of that server, where everything is called like something that generated modules use themselves."""

from __future__ import annotations

import dataclasses
from datetime import datetime as Moment
from decimal import Decimal as Price
from typing import Any as Whatever
from uuid import UUID as Key

import pydantic
from msgspec import Struct, field

from liverpc import Contract, Events, RoomKey, event, public, room

Whole = int
Real = float
Text = str
Raw = bytes
Flag = bool
Rows = list

_guard = public()


class Color(Struct):
    red: Whole = 0


class Fields(Struct, kw_only=True):
    list: Whole = 1
    str: Real = 0.5
    int: Text = "i"
    float: Raw = b""
    bytes: Flag = True
    msgspec: Whole = 2
    datetime: Moment | None = None
    uuid: Key | None = None
    decimal: Price | None = None
    enum: Whole = 3
    Color: Color
    rows: Rows[Whole] = field(default_factory=Rows)
    tags: set[Text] = field(default_factory=set)
    renamed: Rows[Moment] = field(name="the-renamed", default_factory=Rows)


@dataclasses.dataclass
class Choices:
    Any: Whole
    ClassVar: Whatever = None
    Literal: Whole = 4


class Secrets(pydantic.BaseModel):
    title: str
    token: pydantic.SecretStr = pydantic.SecretStr("CANARY")
    mode: str = "v1"


class FromNames(Events):
    def list(self, data: Rows[Whole]) -> None: ...
    def int(self, data: Whole) -> None: ...
    def Payload(self, data: Choices) -> None: ...


class Names(Contract[FromNames], path="/names"):
    @event
    async def fields(self, data: Fields) -> Fields:
        return data

    @event
    async def options(self, data: Choices) -> Choices:
        return data

    @event(name="list")
    async def list_(self) -> Rows[Whole]:
        return [1]

    @event(name="set")
    async def set_(self) -> set[Text]:
        return {"s"}

    @event(name="dict")
    async def dict_(self) -> dict[Text, Whole]:
        return {"d": 1}

    @event(name="tuple")
    async def tuple_(self) -> tuple[Whole, ...]:
        return (1, 2)

    @event(name="int")
    async def int_(self) -> Whole:
        return 1

    @event(name="name")
    async def name_(self) -> Text:
        return "n"

    @event(name="events")
    async def events_(self) -> Text:
        return "e"

    @event(name="Action")
    async def action_(self) -> Whatever:
        return "A"

    @event(name="Color")
    async def color(self, data: Color) -> Color:
        return data

    @event
    async def secrets(self, data: Secrets) -> list[Text]:
        return [data.mode, *(["unchanged"] if data.token.get_secret_value().startswith("CAN") else [])]

    @room.expose
    def str(self, data: Text) -> RoomKey:
        return data
