"""Contracts as classes: what they know of themselves, and what their instances do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from liverpc import Contract, Events, LiveError, RoomKey, event, room
from liverpc.declare.contract import EventHandler
from liverpc.pages import PageContract, Payload, payloads_of


class Message(msgspec.Struct):
    id: str


class Secret(Message):
    password: str = "hunter2"


class Params(msgspec.Struct):
    room_id: str


class Locals(msgspec.Struct):
    user: str | None


class ToClient(Events):
    def message(self, data: Message) -> None: ...
    def maybe(self, data: Message | None = None) -> None: ...
    def cleared(self) -> None: ...


class Chat(Contract[ToClient, Params, Locals], path="/rooms/{room_id}"):
    """A page."""

    @room.private(auto_join=True)
    def chat(self) -> RoomKey:
        return ("chat", self.params.room_id)

    @room.private
    def tenant(self) -> RoomKey:
        return self.require(self.locals.user)

    @room.expose
    async def project(self, data: Message) -> RoomKey | None:
        return data.id or None

    @event
    async def send(self, data: Message) -> Message:
        """Sends."""
        self.chat.emit.message(data)
        return data

    @event(name="wipe", serial=True)
    def clear(self, data: Message | None = None) -> None:
        self.chat.emit_others.cleared()


def wire(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


# -- what they know


def test_a_contract_knows_its_types_names_and_members() -> None:
    assert (Chat.name, Chat.events, Chat.params_type, Chat.locals_type) == ("chat", ToClient, Params, Locals)
    assert list(Chat.actions()) == ["wipe", "send"]
    assert list(Chat.rooms()) == ["chat", "project", "tenant"]
    assert Chat.send.payload == Payload("data", Message)
    assert Chat.actions()["wipe"].payload == Payload("data", Message | None, required=False)
    assert (Chat.send.result_type, Chat.clear.result_type) == (Message, type(None))
    assert (Chat.chat.auto_join, Chat.project.exposed, Chat.clear.serial) == (True, True, True)
    assert Chat.send.__doc__ == "Sends."
    assert payloads_of(ToClient) == {"message": Message, "maybe": Message | None, "cleared": type(None)}
    Chat.resolve()


def test_only_the_events_are_required() -> None:
    class Lobby(Contract[ToClient], path="/lobby"): ...

    assert (Lobby.events, Lobby.params_type, Lobby.locals_type) == (ToClient, None, None)
    assert Lobby.params_from({}) is None
    Lobby.resolve()


E = TypeVar("E", bound=Events)
L = TypeVar("L")
T = TypeVar("T")


class Base(Contract[E, Params, L], Generic[L, E]):
    @event
    def ping(self) -> str:
        return "pong"


class Listed(Contract[ToClient, list[T]], Generic[T]): ...


def test_types_come_through_generic_bases_and_subclasses() -> None:
    class Concrete(Base[Locals, ToClient], path="/a/{room_id}"): ...

    class Further(Concrete, path="/b/{room_id}"): ...

    class Numbers(Listed[int]): ...

    for contract in (Concrete, Further):
        assert (contract.events, contract.params_type, contract.locals_type) == (ToClient, Params, Locals)
        contract.resolve()
    assert (Base.events, Base.params_type, Base.locals_type, Base.pattern) == (Events, Params, None, None)
    assert Numbers.params_type == list[int]
    assert list(Further.actions()) == ["ping"]
    assert (Further.name, Further.pattern and Further.pattern.text) == ("further", "/b/{room_id}")


def test_members_may_come_from_other_bases_abstract_ones_as_well() -> None:
    class Pinging:
        @event
        def ping(self: Any) -> str:
            return "pong"

    class Described(ABC):
        @abstractmethod
        def describe(self) -> str: ...

    class Page(Pinging, Described, Contract[ToClient], path="/"):
        def describe(self) -> str:
            return "page"

    assert list(Page.actions()) == ["ping"]
    assert Page(None, None).describe() == "page"


def test_members_are_looked_for_once_for_each_class() -> None:
    class Below(Chat):
        @event
        def more(self) -> None: ...

    assert Chat.actions() is Chat.actions()
    assert Chat.rooms() is Chat.rooms()
    assert Below.actions().keys() - Chat.actions().keys() == {"more"}


def test_a_subclass_may_replace_and_drop_members() -> None:
    class Other(Chat, path="/other/{room_id}"):
        send = None  # type: ignore[assignment]  # wrong on purpose

        @event(name="wipe")
        def clear(self, data: Message | None = None) -> None: ...

    assert list(Other.actions()) == ["wipe"]
    assert not Other.actions()["wipe"].serial  # type: ignore[attr-defined]  # known at run time only


def test_annotations_may_name_types_of_the_declaring_function() -> None:
    class Local(msgspec.Struct):
        n: int

    class Sends(Events):
        def number(self, data: Local) -> None: ...

    class Page(Contract[Sends], path="/"):
        @event
        def take(self, data: Local) -> Local:
            self.client.number(data)
            return data

    Page.resolve()
    assert Page.take.payload == Payload("data", Local)
    assert Page(None, None).take(Local(1)) == Local(1)


# -- instances


async def test_methods_can_be_called_in_a_test_and_what_they_emit_is_checked() -> None:
    chat = Chat(Params("general"), Locals(None))
    assert await chat.send(Message("1")) == Message("1")
    with pytest.raises(TypeError, match=r"^ToClient\.message sends Message.*got `str`"):
        await chat.send("text")  # type: ignore[arg-type]  # wrong on purpose
    chat.clear()
    await chat.chat.join()
    chat.chat.leave()
    with pytest.raises(LiveError, match="UNAUTHENTICATED"):
        chat.require(chat.locals.user)
    assert chat.require("ann") == "ann"
    assert repr(chat.chat) == "<room chat of Chat>"


class Heard:
    """Keeps what a contract does."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def emit(self, room: Any, key: Any, event: str, payload: Any, others: bool) -> None:
        self.calls.append((room.name, key, event, wire(payload), others))

    def send(self, event: str, payload: Any) -> None:
        self.calls.append((event, wire(payload)))

    async def join(self, room: Any, key: Any) -> None: ...
    def leave(self, room: Any, key: Any) -> None: ...


def served() -> tuple[Chat, Heard]:
    chat, heard = Chat(Params("general"), Locals(None)), Heard()
    chat.served = heard
    return chat, heard


def test_what_is_emitted_has_only_the_members_of_its_declared_type() -> None:
    chat, heard = served()
    chat.chat.emit.message(Secret("1"))
    chat.chat.emit_others.message(data=Message("2"))
    chat.project.at("p1", 5).emit.cleared()
    chat.client.maybe()
    assert heard.calls == [
        ("chat", None, "message", {"id": "1"}, False),
        ("chat", None, "message", {"id": "2"}, True),
        ("project", b'["p1",5]', "cleared", None, False),
        ("maybe", None),
    ]


def test_what_does_not_fit_is_not_emitted_at_all() -> None:
    chat, heard = served()
    emit: Any = chat.chat.emit
    calls: list[Callable[[], object]] = [
        lambda: emit.message(Params("1")),
        lambda: emit.message({"id": "1"}),
        lambda: emit.message(),
        lambda: emit.message(Message("1"), Message("2")),
        lambda: emit.message(Message("1"), more=1),
        lambda: emit.cleared(Message("1")),
        lambda: emit.message(Message(5)),  # type: ignore[arg-type]  # wrong on purpose
    ]
    for wrong in calls:
        with pytest.raises(TypeError, match=r"ToClient\.(message|cleared)"):
            wrong()
    with pytest.raises(AttributeError, match="ToClient has no event 'massage'"):
        emit.massage(Message("1"))
    with pytest.raises(AttributeError):
        emit._names()
    assert heard.calls == []


@pytest.mark.parametrize("key", [(), (None,), ("",), (True,), (("a",),)])
def test_a_group_without_a_usable_key_is_refused_where_it_is_named(key: Any) -> None:
    chat, heard = served()
    with pytest.raises(ValueError, match="key"):
        chat.project.at(*key).emit.cleared()
    assert heard.calls == []


# -- payloads and results


def test_members_decode_their_payload_and_refuse_what_it_does_not_have() -> None:
    assert Chat.send.decode(b'[{"id":"1"},"more"]') == (Message("1"),)
    assert Chat.project.decode(b'[{"id":"1"}]') == (Message("1"),)
    assert Chat.clear.decode(b"[]") == ()
    assert Chat.tenant.decode(b"[5]") == ()
    for member in (Chat.send, Chat.project):
        with pytest.raises(LiveError) as refused:
            member.decode(b'[{"id":"1","admin":true}]')
        assert [issue.path for issue in refused.value.issues] == [["admin"]]
    with pytest.raises(LiveError, match="INVALID_REQUEST"):
        Chat.tenant.decode(b"{}")


class Model(BaseModel):
    n: int = Field(alias="theN")


class Modelled(Events):
    def model(self, data: Model) -> None: ...


class Page(Contract[Modelled], path="/models"):
    @event
    def take(self, data: Model) -> Model:
        self.client.model(data)
        return data


def test_models_of_pydantic_travel_by_their_aliases() -> None:
    Page.resolve()
    (sent,) = Page.take.bind([Model(theN=1)], {})
    assert sent == {"theN": 1}
    (data,) = Page.take.decode(msgspec.json.encode([sent]))
    assert wire(Page.take.checked_result(Page(None, None).take(data))) == {"theN": 1}


def test_pages_are_told_what_is_missing_or_too_much_before_anything_is_sent() -> None:
    assert Chat.send.bind([], {"data": Message("1")}) == Chat.send.bind([Message("1")], {}) == [Message("1")]
    assert Chat.clear.bind([], {}) == Chat.tenant.bind([], {}) == []
    for member, args, kwargs, reason in (
        (Chat.send, [], {}, "send needs its payload, data"),
        (Chat.send, [1, 2], {}, "send takes one payload, data"),
        (Chat.send, [], {"date": 1}, "send takes one payload, data"),
        (Chat.tenant, [1], {}, "tenant takes no payload"),
    ):
        with pytest.raises(TypeError, match=reason):
            member.bind(args, kwargs)


def test_results_are_compared_with_what_the_method_says_it_returns() -> None:
    assert wire(Chat.send.checked_result(Secret("1"))) == {"id": "1"}
    assert wire(Chat.clear.checked_result(None)) is None
    with pytest.raises(TypeError, match=r"^Chat\.clear sends"):
        Chat.clear.checked_result(5)
    with pytest.raises(TypeError, match=r"^Chat\.send sends Message"):
        Chat.send.checked_result({"id": "1"})


# -- parameters


class Typed(msgspec.Struct, rename="camel"):
    room_id: UUID
    page: int
    archived: bool


@dataclass
class DataParams:
    room_id: int


class DictParams(TypedDict):
    room_id: int


class ModelParams(BaseModel):
    room: int = Field(alias="room_id")


@pydantic_dataclass
class CheckedParams:
    room_id: Annotated[int, Field(gt=0)]


ID = UUID(int=5)


@pytest.mark.parametrize(
    ("params", "path", "texts", "value"),
    [
        (Params, "/{room_id}", {"room_id": "general"}, Params("general")),
        (
            Typed,
            "/{roomId}/{page}/{archived}",
            {"roomId": str(ID), "page": "3", "archived": "true"},
            Typed(ID, 3, True),
        ),
        (DataParams, "/{room_id}", {"room_id": "1"}, DataParams(1)),
        (DictParams, "/{room_id}", {"room_id": "1"}, {"room_id": 1}),
        (ModelParams, "/{room_id}", {"room_id": "1"}, ModelParams(room_id=1)),
        (CheckedParams, "/{room_id}", {"room_id": "1"}, CheckedParams(1)),
    ],
)
def test_the_parts_of_a_url_become_params(params: Any, path: str, texts: dict[str, str], value: Any) -> None:
    class Page(Contract[ToClient, params], path=path): ...

    Page.resolve()
    assert Page.params_from(texts) == value
    name, text = next(iter(texts.items()))
    for wrong in ({}, {**texts, "more": "1"}, {**texts, name: ""}, {"other": text}):
        with pytest.raises(ValueError, match="page takes"):
            Page.params_from(wrong)
    if params is not Params:
        with pytest.raises(ValueError):
            Page.params_from({**texts, name: "nope"})


# -- bases and instances


def test_events_are_inherited_and_can_be_replaced() -> None:
    class More(ToClient):
        def message(self, data: Secret) -> None: ...  # type: ignore[override]  # wrong on purpose
        def more(self) -> None: ...

    assert payloads_of(More)["message"] is Secret
    assert set(payloads_of(More)) == {"message", "maybe", "cleared", "more"}
    assert payloads_of(ToClient)["message"] is Message


def test_clients_may_know_less_than_servers() -> None:
    class Known(PageContract[ToClient], path="/rooms/{room_id}", name="chat"): ...

    assert (Known.events, Known.name) == (ToClient, "chat")
    assert (Known.actions(), Known.rooms()) == ({}, {})


def test_members_are_declarations_on_the_class_and_methods_on_instances() -> None:
    assert isinstance(Chat.send, EventHandler)
    assert callable(Chat(Params("a"), Locals(None)).send)
