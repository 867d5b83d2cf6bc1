"""What is wrong with a contract: said while the class is made, or when its types are looked at, with file and line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import msgspec
import pytest

from liverpc import Contract, DeclarationError, Events, RoomKey, event, room


class Message(msgspec.Struct):
    id: str


class Params(msgspec.Struct):
    room_id: str


class Typed(msgspec.Struct, rename="camel"):
    room_id: UUID
    page: int


class ToClient(Events):
    def message(self, data: Message) -> None: ...


class Chat(Contract[ToClient, Params], path="/rooms/{room_id}"):
    @event
    def send(self, data: Message) -> None: ...

    @event(name="wipe")
    def clear(self) -> None: ...


# -- what is refused while the class is made


def declare(**members: Any) -> type[Contract[Any, Any, Any]]:
    """A contract with these members, as its class statement would make it."""
    body = type(Contract).__prepare__("Page", (Contract,))
    body["__module__"], body["__qualname__"] = __name__, "Page"
    for name, member in members.items():
        body[name] = member
    made: Any = type(Contract)
    return made("Page", (Contract,), body, path="/")  # type: ignore[no-any-return]  # made at run time


class Bad:
    """Methods that cannot be members, each by what is said of it."""

    def two_payloads(self, a: int, b: int) -> None: ...
    def any_number(self, *a: int) -> None: ...
    def no_annotation(self, a) -> None: ...  # type: ignore[no-untyped-def]  # wrong on purpose
    def no_result(self, a: int): ...  # type: ignore[no-untyped-def]  # wrong on purpose
    def keyword_only(self, *, a: int) -> None: ...
    def a_generator(self) -> Iterator[int]:
        yield 1

    async def an_async_generator(self) -> AsyncIterator[int]:
        yield 1

    def without_self() -> None: ...  # type: ignore[misc]  # wrong on purpose
    def _hidden(self) -> str:
        return ""

    def größe(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (Bad.two_payloads, "one payload at most"),
        (Bad.any_number, "one payload at most"),
        (Bad.no_annotation, "annotate 'a'"),
        (Bad.no_result, "annotate what it returns"),
        (Bad.keyword_only, "keyword-only"),
        (Bad.a_generator, "generator"),
        (Bad.an_async_generator, "generator"),
        (Bad.without_self, "needs self"),
        (Bad._hidden, "the name '_hidden'"),
        (Bad.größe, "the name 'größe'"),
    ],
)
def test_a_method_that_cannot_be_a_member_is_refused_with_file_and_line(fn: Any, reason: str) -> None:
    line = fn.__code__.co_firstlineno
    with pytest.raises(DeclarationError, match=rf"test_contract_mistakes\.py, line {line}.*{reason}"):
        declare(**{fn.__name__: event(fn)})


@pytest.mark.parametrize("decorator", [event, room.private, room.expose])
def test_what_is_no_method_is_refused(decorator: Callable[[Any], Any]) -> None:
    wrong: Any
    for wrong in (5, staticmethod(Bad.größe), classmethod(lambda cls: None), property(Bad.größe), len, Chat.send):
        with pytest.raises(DeclarationError, match="take a method"):
            decorator(wrong)


def test_private_rooms_take_no_payload_and_all_rooms_give_a_key() -> None:
    def project(self: Any, data: Message) -> RoomKey:
        return data.id

    def nothing(self: Any) -> None: ...

    with pytest.raises(DeclarationError, match="a private room takes no payload"):
        room.private(project)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(DeclarationError, match="needs auto_join=True"):
        room.private(required=True)
    for decorator in (room.private, room.expose):
        with pytest.raises(DeclarationError, match=r"nothing.*returns the key"):
            declare(nothing=decorator(nothing)).resolve()  # type: ignore[arg-type]  # wrong on purpose


def test_a_member_under_another_name_is_refused() -> None:
    with pytest.raises(DeclarationError, match="is called shout here"):
        declare(shout=Chat.send)


BODY = """
from liverpc import Contract, Events, event, room

class Page(Contract[Events], path="/"):
    @event
    def chat(self) -> str: ...

    {second}
"""


@pytest.mark.parametrize(
    "second",
    [
        "@room.private\n    def chat(self): ...",
        "@event\n    def chat(self) -> int: ...",
        "\n    def chat(self): ...",
        "\n    chat = 5",
    ],
)
def test_two_members_of_one_name_are_refused_with_both_lines(tmp_path: Path, second: str) -> None:
    with pytest.raises(DeclarationError, match=r"Page.*page\.py.*'chat' stands in line 6 and again in line 9"):
        run(tmp_path, BODY.format(second=second))


def run(tmp_path: Path, source: str) -> ModuleType:
    file = tmp_path / "page.py"
    module = ModuleType("page")
    exec(compile(source, file, "exec"), vars(module))
    return module


def test_what_is_no_member_may_stand_there_twice() -> None:
    class Page(Contract[ToClient], path="/"):
        n = 1
        n = 2

        @property
        def twice(self) -> int:
            return self.n

        @twice.setter
        def twice(self, value: int) -> None: ...

    assert Page(None, None).twice == 2


def test_two_members_of_one_name_on_the_wire_are_refused() -> None:
    with pytest.raises(DeclarationError, match=r"Page\.b .*Page\.a .* both 'a' on the wire"):

        class Page(Contract[ToClient], path="/"):
            @event
            def a(self) -> None: ...

            @event(name="a")
            def b(self) -> None: ...

    with pytest.raises(DeclarationError, match="both 'wipe' on the wire"):

        class Other(Chat, path="/other/{room_id}"):
            @event
            def wipe(self) -> None: ...


@pytest.mark.parametrize(
    "name",
    ["params", "locals", "client", "require", "served", "name", "pattern", "events", "actions", "rooms", "resolve"],
)
def test_names_that_contracts_need_themselves_are_refused(tmp_path: Path, name: str) -> None:
    for body in (f"@event\n    def {name}(self) -> str: ...", f"\n    {name} = 5"):
        source = f"from liverpc import *\nclass Page(Contract[Events], path='/'):\n    {body}"
        with pytest.raises(DeclarationError, match=rf"page\.py, line 4\): '{name}' means something else"):
            run(tmp_path, source)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("Contract[int], path='/'", "a subclass of Events that is defined above it; not <class 'int'>"),
        ("Contract['ToClient'], path='/'", "a subclass of Events that is defined above it"),
        ("Contract[Events], path='rooms'", "is no path"),
        ("Contract[Events], path='/', name='a/b'", "the name 'a/b'"),
        ("Contract[Events], path='/', name='__rpc'", "the name '__rpc'"),
        ("Contract[Events], path='/', name=''", "the name ''"),
    ],
)
def test_what_is_wrong_with_the_class_is_said_with_file_and_line(tmp_path: Path, arguments: str, reason: str) -> None:
    source = f"from liverpc import *\n\nclass Page({arguments}): ..."
    with pytest.raises(DeclarationError, match=rf"Page \(.*page\.py, line 3\).*{reason}"):
        run(tmp_path, source)


def test_names_are_in_snake_case_unless_given() -> None:
    class TeamChat2(Contract[Events]): ...

    class _Base(Contract[Events]): ...

    class HTTPPage(Contract[Events], name="page"): ...

    assert (TeamChat2.name, _Base.name, HTTPPage.name) == ("team_chat2", "base", "page")


# -- what is refused when types are looked at


def test_types_that_do_not_exist_are_named_when_the_contract_is_resolved() -> None:
    class Sends(Events):
        def message(self, data: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # wrong on purpose

    class Takes(Contract[Events], path="/"):
        @event
        def send(self, data: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # wrong on purpose

    class Emits(Contract[Sends], path="/"): ...

    for page in (Takes, Emits):
        with pytest.raises(DeclarationError, match=r"line \d+.*'Missing'"):
            page.resolve()


def test_types_without_a_json_form_are_refused_when_the_contract_is_resolved() -> None:
    class Sends(Events):
        def message(self, data: complex) -> None: ...

    def takes(self: Any, data: complex) -> None: ...
    def gives(self: Any) -> complex:
        return 1j

    class Emits(Contract[Sends], path="/"): ...

    for page, what in (
        (declare(takes=event(takes)), "takes.*the payload 'data'"),
        (declare(gives=event(gives)), "gives.*the result"),
        (Emits, r"Sends\.message: the payload"),
    ):
        with pytest.raises(DeclarationError, match=f"{what} is annotated with .*complex"):
            page.resolve()


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("async def message(self, data: int) -> None: ...", "message is no event"),
        ("message = 5", "message is no event"),
        ("def message(self, a: int, b: int) -> None: ...", "one payload"),
        ("def message(self, *a: int) -> None: ...", "one payload"),
        ("def message(self, *, a: int) -> None: ...", "one payload"),
        ("def message() -> None: ...", "takes self"),
        ("def message(self, a): ...", "annotate 'a'"),
    ],
)
def test_what_is_no_event_is_refused_with_file_and_line(tmp_path: Path, method: str, reason: str) -> None:
    with pytest.raises(DeclarationError, match=rf"ToPage \(.*page\.py, line 2\).*{reason}"):
        run(tmp_path, f"from liverpc import *\nclass ToPage(Events):\n    {method}")


# -- parameters


@pytest.mark.parametrize(
    ("params", "path", "reason"),
    [
        (None, "/{room_id}", "has room_id, and Params has no such field"),
        (Params, "/{room_id}/{page}", "has page, and Params has no such field"),
        (Params, "/", "Params has room_id, which is not in path='/'"),
        (Typed, "/{room_id}/{page}", "has room_id, and Params has no such field"),
        (dict[str, str], "/{room_id}", "make it a struct"),
        (str, "/", "make it a struct"),
    ],
)
def test_params_that_are_not_the_parts_of_the_path_are_refused(params: Any, path: str, reason: str) -> None:
    class Page(Contract[ToClient, params], path=path): ...

    with pytest.raises(DeclarationError, match=rf"Page.*{reason}"):
        Page.resolve()
