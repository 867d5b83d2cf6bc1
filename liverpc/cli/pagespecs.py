"""What clients see of a server's contracts, ready to be written down in another module or language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.inspect import Type

from liverpc.cli.shapes import Shapes, pascal, tell_apart
from liverpc.pages import PageContract, Payload, events_of

__all__ = ["Member", "PageSpec", "described"]


class Member(msgspec.Struct):
    """An action, a room or an event."""

    name: str  #: on the wire
    payload: Type | None = None  #: None: it has none
    required: bool = True  #: whether the payload may not be left out
    result: Type | None = None  #: of an action


class PageSpec(msgspec.Struct):
    """One contract."""

    title: str  #: the class's name in the application, or one that tells it from others of that name
    events_title: str  #: likewise of the class of its events, which others may have, too
    name: str  #: on the wire
    pattern: str
    params: list[tuple[str, Type]]  #: the parts of the URL
    actions: list[Member] = []
    rooms: list[Member] = []
    events: list[Member] = []


def described(contracts: Sequence[type[PageContract[Any]]], *, readable: bool) -> tuple[list[PageSpec], Shapes]:
    """What clients see of contracts, and the classes in that.

    Args:
        contracts: In the order in which they are to be.
        readable: See :class:`Shapes`.

    Raises:
        ConfigError: A type has no form in JSON.
    """
    shapes = Shapes(readable=readable)
    titles = tell_apart(contracts, lambda each: each.__name__, lambda each: pascal(_fixed(each)) + each.__name__)
    owners = {contract.events: contract for contract in reversed(contracts)}
    events = tell_apart(owners, lambda each: each.__name__, lambda each: titles[owners[each]] + each.__name__)
    pages = [(each, _page(each, titles[each], events[each.events], shapes)) for each in contracts]
    declared: Any
    for contract, page in pages:  # what clients send, of all contracts, before what they receive
        for kind, members, known in (("", page.actions, contract.actions()), ("room ", page.rooms, contract.rooms())):
            for declared in known.values():
                place = f"{contract.__qualname__}, {kind}{declared.name}"
                members.append(_member(declared.name, declared.payload, place, shapes, sent=True))
    for contract, page in pages:
        for member in page.actions:
            declared = contract.actions()[member.name]
            member.result = shapes.add(
                declared.result_type, f"{contract.__qualname__}, result of {member.name}", sent=False
            )
        for name, payload in events_of(contract.events).items():
            page.events.append(_member(name, payload, f"{contract.events.__qualname__}.{name}", shapes, sent=False))
    return [page for _, page in pages], shapes


def _fixed(contract: type[PageContract[Any]]) -> str:
    """The parts of its URL that are not in braces."""
    return "" if contract.pattern is None else re.sub(r"\{[^}]*\}", "", contract.pattern.text)


def _page(contract: type[PageContract[Any]], title: str, events_title: str, shapes: Shapes) -> PageSpec:
    assert contract.pattern is not None  # or it would not be served
    place = f"{contract.__qualname__}, URL"
    types = {} if contract.params_type is None else shapes.add_members(contract.params_type, place)
    text = shapes.add(str, place, sent=True)
    params = [(name, types.get(name, text)) for name in contract.pattern.names]
    return PageSpec(title, events_title, contract.name, contract.pattern.text, params)


def _member(name: str, payload: Payload | None, place: str, shapes: Shapes, *, sent: bool) -> Member:
    if payload is None:
        return Member(name)
    return Member(name, shapes.add(payload.type, place, sent=sent), payload.required)
