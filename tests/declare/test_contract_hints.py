"""What is nearly a contract: refused with what to write instead."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import msgspec
import pydantic
import pytest

from liverpc import ConfigError, Contract, DeclarationError, Events, LiveServer, Locals, RoomKey, event, room

HEAD = "from liverpc import *\n"
Ident = NewType("Ident", str)


class Message(msgspec.Struct):
    id: str


class ToClient(Events):
    def message(self, data: Message) -> None: ...


class Session(Locals, frozen=True):
    user: str


class Chat(Contract[ToClient, None, Session], path="/chat"):
    @event
    def send(self, data: Message) -> None: ...

    @room.expose
    def project(self, data: Message) -> RoomKey | None: ...


def run(tmp_path: Path, source: str, name: str = "page") -> ModuleType:
    module = ModuleType(name)
    exec(compile(HEAD + source, tmp_path / f"{name}.py", "exec"), vars(module))
    return module


SEND = "\n    @event\n    def send(self) -> None: ...\n"


# -- contracts that nobody serves


@pytest.mark.parametrize("source", [f"class D(Contract[Events]):{SEND}", f"class D(Contract):{SEND}"])
def test_a_contract_without_path_is_refused(tmp_path: Path, source: str) -> None:
    served = f"class C(Contract[Events], path='/'):{SEND}"
    with pytest.raises(DeclarationError, match=r"page\.D has no path=: give it one, or put its module below a package"):
        LiveServer([run(tmp_path, f"{served}\n{source}")])


def test_a_contract_without_path_is_refused_when_it_is_listed_itself(tmp_path: Path) -> None:
    declared = run(tmp_path, f"class D(Contract[Events]):{SEND}").D
    for modules in ([declared], {"chat": declared}):
        with pytest.raises(DeclarationError, match=r"page\.D has no path="):
            LiveServer(modules)


@pytest.mark.parametrize(
    "base",
    [
        f"class _Base(Contract[Events]):{SEND}",
        "class Base(Contract[Events]): ...",
        f"from typing import TypeVar\nE = TypeVar('E', bound=Events)\nclass Base(Contract[E]):{SEND}",
    ],
)
def test_bases_of_contracts_need_no_path(tmp_path: Path, base: str) -> None:
    LiveServer([run(tmp_path, f"{base}\nclass C(Contract[Events], path='/'):{SEND}")])


def test_a_base_that_was_imported_needs_no_path(tmp_path: Path) -> None:
    base = run(tmp_path, f"class Base(Contract[Events]):{SEND}", "base").Base
    module = run(tmp_path, f"class C(Contract[Events], path='/'):{SEND}")
    module.Base = base  # type: ignore[attr-defined]  # known at run time only
    LiveServer([module])


def test_a_contract_instead_of_a_list_is_told_how_to_list_it() -> None:
    wrong: Any = Chat
    with pytest.raises(ConfigError, match=r"modules=\[Chat\]"):
        LiveServer(wrong)


# -- rooms


def room_of(result: Any) -> type[Contract[Any, Any, Any]]:
    def chat(self: Any) -> Any: ...

    chat.__annotations__["return"] = result
    body = type(Contract).__prepare__("Page", (Contract,))
    body |= {"__module__": __name__, "__qualname__": "Page", "chat": room.private(chat)}
    made: Any = type(Contract)
    return made("Page", (Contract,), body, path="/")  # type: ignore[no-any-return]  # made at run time


@pytest.mark.parametrize(
    "result",
    [float, bytes, dict[str, str], Message, bool, None, tuple[str, float], str | float, Annotated[float, 1], set[str]],
)
def test_rooms_that_cannot_give_a_key_are_refused(result: Any) -> None:
    with pytest.raises(DeclarationError, match=r"chat \(.*line \d+\): a room's method returns the key"):
        room_of(result).resolve()


def test_rooms_say_what_they_return(tmp_path: Path) -> None:
    source = "class Page(Contract[Events], path='/'):\n    @room.private\n    def chat(self): ..."
    with pytest.raises(DeclarationError, match=r"page\.py, line 3\): annotate the key that it returns"):
        run(tmp_path, source).Page.resolve()


@pytest.mark.parametrize(
    "result",
    [
        RoomKey,
        RoomKey | None,
        str,
        int,
        UUID,
        str | None,
        tuple[str, int],
        tuple[str, ...],
        list[str],
        Sequence[UUID],
        Literal["a"],
        str | Literal[False],
        str | bool,
        Ident,
        Any,
        Annotated[str, 1],
        Awaitable[str],
        Callable,
        object,
    ],
)
def test_rooms_that_may_give_a_key_are_taken(result: Any) -> None:
    if result is Callable:
        with pytest.raises(DeclarationError):
            room_of(result).resolve()
    else:
        room_of(result).resolve()


@pytest.mark.parametrize("decorator", ["room", "room()", "room.expose()", "room.expose(auto_join=True)"])
def test_a_room_decorator_that_is_none_says_which_there_are(tmp_path: Path, decorator: str) -> None:
    source = f"class Page(Contract[Events], path='/'):\n    @{decorator}\n    def chat(self) -> str: ..."
    with pytest.raises(DeclarationError, match=r"write @room\.(private|expose)"):
        run(tmp_path, source)


def test_members_are_shown_by_their_names() -> None:
    assert (repr(Chat.project), repr(Chat.send)) == ("Chat.project", "Chat.send")


# -- what does not belong into a class


@pytest.mark.parametrize("decorator", ["live", "live.stream('t')", "live.room('t:{x}')"])
def test_live_in_a_contract_is_refused(tmp_path: Path, decorator: str) -> None:
    source = f"class Page(Contract[Events], path='/'):\n    @{decorator}\n    async def send(self, x: int) -> list: ..."
    with pytest.raises(DeclarationError, match=r"send.*@live.* a contract.*@event"):
        run(tmp_path, source)


def test_attributes_in_events_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"ToPage \(.*line 2\): write `def message\(self, data: int\) -> None"):
        run(tmp_path, "class ToPage(Events):\n    message: int")
    with pytest.raises(DeclarationError, match=r"def message\(self, data: '?Message"):
        run(tmp_path, "class ToPage(Events):\n    message: 'Message'")
    run(tmp_path, "class ToPage(Events):\n    _private: int")


def test_what_comes_first_in_a_contract_is_said(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"what stands first in Contract\[\.\.\.\] is what the server sends"):
        run(tmp_path, "class Page(Contract[int], path='/'): ...")


@pytest.mark.parametrize(
    "init",
    ["self", "self, params", "self, a, b, c", "self, params, locals, *, more", "self, *, params, locals"],
)
def test_an_init_that_takes_something_else_is_refused(tmp_path: Path, init: str) -> None:
    source = f"class Page(Contract[Events], path='/'):\n    def __init__({init}) -> None: ..."
    with pytest.raises(DeclarationError, match=r"Page \(.*line 2\): its __init__ takes self, params and locals"):
        run(tmp_path, source)


@pytest.mark.parametrize("init", ["self, params, locals", "self, p, l, more=1", "self, *args", "self, *a, **k"])
def test_an_init_that_takes_params_and_locals_is_taken(tmp_path: Path, init: str) -> None:
    run(tmp_path, f"class Page(Contract[Events], path='/'):\n    def __init__({init}) -> None: ...")


# -- paths and parameters


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/r/{room_id}/", r"without the slash at its end: '/r/\{room_id\}'"),
        ("/r/:room_id", r"write '/r/\{room_id\}'"),
        ("/:a/x/:b", r"write '/\{a\}/x/\{b\}'"),
    ],
)
def test_paths_of_other_frameworks_are_told_apart(tmp_path: Path, path: str, hint: str) -> None:
    with pytest.raises(DeclarationError, match=hint):
        run(tmp_path, f"class Page(Contract[Events], path={path!r}): ...")


class Model(pydantic.BaseModel):
    room_id: list[str]


def params_of(kind: Any) -> Any:
    return msgspec.defstruct("Params", [("room_id", kind)])


@pytest.mark.parametrize("kind", [list[str], dict[str, str], set[str], tuple[str, str], Message, list[str] | None])
def test_parts_of_the_url_that_no_text_fits_are_refused(kind: Any) -> None:
    params: Any = params_of(kind)

    class Page(Contract[ToClient, params], path="/{room_id}"): ...

    with pytest.raises(DeclarationError, match=r"Params\.room_id is .*, and a part of a URL is text"):
        Page.resolve()


def test_models_with_parts_that_no_text_fits_are_refused() -> None:
    class Page(Contract[ToClient, Model], path="/{room_id}"): ...

    with pytest.raises(DeclarationError, match=r"Params\.room_id is .*, and a part of a URL is text"):
        Page.resolve()


@pytest.mark.parametrize("kind", [str, int, UUID, bool, float, str | None, Literal["a", "b"], Any, int | list[int]])
def test_parts_of_the_url_that_a_text_fits_are_taken(kind: Any) -> None:
    params: Any = params_of(kind)

    class Page(Contract[ToClient, params], path="/{room_id}"): ...

    Page.resolve()


# -- locals


def warned(caplog: pytest.LogCaptureFixture, **options: Any) -> list[str]:
    with caplog.at_level(logging.WARNING, "liverpc.rooms"):
        LiveServer({"chat": Chat}, guards=[lambda ctx: None], **options)
    return [each.getMessage() for each in caplog.records if each.name == "liverpc.rooms"]


def test_locals_that_nobody_makes_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = warned(caplog)
    assert "Chat" in line
    assert "on_connect" in line


def test_locals_that_on_connect_makes_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    def on_connect(request: Any) -> Session:
        return Session(user="ann")

    assert warned(caplog, on_connect=on_connect) == []


def test_contracts_without_locals_are_not_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.WARNING, "liverpc.rooms"):
        LiveServer([run(tmp_path, f"_guard = public()\nclass C(Contract[Events], path='/'):{SEND}")])
    assert caplog.records == []
