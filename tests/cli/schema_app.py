"""A server whose contracts have every kind of type, and secrets that no generated client may have.

Whatever is called or says CANARY, in any spelling, belongs to the server alone.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import pydantic
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from liverpc import ConnectRequest, Contract, Events, LiveServer, Locals, RoomKey, event, public, room
from tests.cli import schema_names, schema_other

__all__ = [
    "Board",
    "Chat",
    "Message",
    "OpenProject",
    "Send",
    "Sent",
    "ToClient",
    "closed_projects",
    "make_server",
    "server",
]

_guard = public()
T = TypeVar("T")


def canary_now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


# -- every kind of type


class Zone(enum.Enum):  # behind those that have it as a default
    HERE = "here"
    THERE = "there"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Cat(Struct, tag=True):
    lives: int = 9


class Dog(Struct, tag="dog", tag_field="kind"):
    good: bool


class Fox(Struct, tag="fox", tag_field="kind"):
    """CANARY: the docstring of a payload."""


class Page(Struct, Generic[T]):
    rows: list[T]
    next_page: str | None = None


class Pair(Struct, array_like=True):
    a: int
    b: str = "x"


class Stamped(Struct, array_like=True):
    at: datetime = field(default_factory=canary_now)
    by: str = "x"


class Spot(NamedTuple):
    x: float
    y: float = 0.0


class Options(TypedDict):
    depth: int
    deep: NotRequired[bool]


Odd = TypedDict("Odd", {"a-b": int, "class": NotRequired[str]})


@dataclasses.dataclass
class Card:
    id: int
    tags: list[str] = dataclasses.field(default_factory=list)


@attrs.define
class Mark:
    x: int
    label: str = "x"


class Tree(Struct, rename="camel"):
    left_side: Tree | None = None
    made_at: Annotated[datetime, Meta(description="when it was */ planted")] = field(default_factory=canary_now)
    pet: Dog | Fox | None = None
    zone: Zone = Zone.HERE
    mode: Literal["a", "b", 1] | None = "a"
    note: str | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=5, extra={"canary": "CANARY"})] = 'it"s'
    message: schema_other.Message | None = None


class Everything(Struct):
    pair: Pair
    stamped: Stamped
    spot: Spot
    options: Options
    odd: Odd
    card: Card
    mark: Mark
    tree: Tree
    size: Size
    cat: Cat
    by_zone: dict[Zone, int]
    by_number: dict[int, list[Dog | Fox]]
    anything: Any
    raw: Raw
    uuid: UUID
    price: Decimal
    at: time
    day: date
    took: timedelta
    data: bytes
    numbers: set[int]
    words: frozenset[str]
    row: tuple[int, ...]
    both: tuple[int, str]
    share: float
    nothing: None
    sure: bool


class Pet(pydantic.BaseModel):
    """CANARY: the docstring of a model."""

    kind: Literal["pet"] = "pet"
    age: int = 3


class Toy(pydantic.BaseModel):
    kind: Literal["toy"]


Thing = Annotated[Pet | Toy, pydantic.Field(discriminator="kind")]


class Model(pydantic.BaseModel):
    the_id: int = pydantic.Field(alias="the-id")
    when: datetime | None = pydantic.Field(default=None, description="when it was made")
    inside: list[Model] = []
    thing: Thing


class Shown(pydantic.BaseModel):
    price: Decimal

    @pydantic.computed_field  # type: ignore[prop-decorator]  # as pydantic wants it
    @property
    def total(self) -> int:
        return 1  # CANARY: how it is computed


class Counted(Struct):
    page: Page[Card]
    numbers: Page[int]
    count: int = 0


class FromBoard(Events):
    def tree(self, data: Tree) -> None: ...
    def pet(self, data: Dog | Fox) -> None: ...
    def counted(self, data: Counted) -> None: ...
    def shown(self, data: Shown) -> None: ...
    def things(self, data: list[Thing]) -> None: ...
    def cleared(self) -> None: ...


class BoardParams(Struct):
    board_id: int
    rest: str


class Board(Contract[FromBoard, BoardParams], path="/boards/{board_id}/{rest:path}"):
    """CANARY: the docstring of a contract."""

    @room.private
    def mine(self) -> RoomKey:
        """CANARY: the docstring of a room."""
        return ("CANARY-key", self.params.board_id)

    @room.expose
    def asked(self, data: Tree) -> RoomKey:
        return ("CANARY-key", data.name)

    @event
    async def everything(self, data: Everything) -> Everything:
        """CANARY: the docstring of an action."""
        return data

    @event
    async def model(self, data: Model) -> list[Model]:
        return [data]

    @event(name="delete-it")
    async def canary_remove(self, data: str | None = None) -> dict[str, int]:
        return {} if data is None else {data: 1}

    @event
    async def tidy(self) -> None:
        self._canary_helper()

    def _canary_helper(self) -> None: ...

    def canary_method(self) -> None: ...


# -- a page that lives


class User(Struct, frozen=True):
    id: str
    canary_secret: str = "CANARY"


class Session(Locals, frozen=True):
    user: User | None
    canary_token: str = "CANARY"


class Params(Struct):
    room_id: str


class Send(Struct):
    text: str


class Sent(Struct):
    id: str


class Message(Struct):
    room_id: str
    text: str


class OpenProject(Struct):
    project_id: str


class ToClient(Events):
    def message(self, data: Message) -> None: ...
    def note(self, data: str) -> None: ...


closed_projects: set[str] = {"zeus"}  # CANARY


class Chat(Contract[ToClient, Params, Session], path="/rooms/{room_id}"):
    @room.private(auto_join=True)
    def chat(self) -> RoomKey:
        return ("CANARY-key", self.params.room_id)

    @room.private
    def tenant(self) -> RoomKey:
        return self.require(self.locals.user).id

    @room.expose
    async def project(self, data: OpenProject) -> RoomKey | None:
        return None if data.project_id in closed_projects else data.project_id

    @event
    async def send(self, data: Send) -> Sent:
        self.chat.emit.message(Message(self.params.room_id, data.text))
        return Sent("1")

    @event
    async def tell_project(self, data: Send) -> None:
        self.project.emit.note(data.text)


async def on_connect(request: ConnectRequest) -> Session:
    return Session(None)


def make_server() -> LiveServer:
    return LiveServer([sys.modules[__name__], schema_other, schema_names], on_connect=on_connect)


server = make_server()
