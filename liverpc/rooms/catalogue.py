"""Which contracts a server has, under which names, and on which URLs."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

import msgspec

from liverpc.declare.functions import Channel, StreamFunction
from liverpc.declare.registry import AnyContract, Entry
from liverpc.errors import ConfigError, DeclarationError, ErrorCode, Issue, LiveError
from liverpc.pages import UrlPattern
from liverpc.schema.incoming import split_args
from liverpc.schema.signature import where

__all__ = [
    "Catalogue", "Route", "check_locals", "check_topics", "is_of_contract", "parts_of", "wrong_params",
]  # fmt: skip

log = logging.getLogger("liverpc.rooms")

_PARTS = frozenset(("__open", "__close", "__event", "__join", "__leave"))
_decode_parts = msgspec.json.Decoder(dict[str, str | int]).decode
_decode_pattern = msgspec.json.Decoder(str | None).decode


def is_of_contract(path: str) -> bool:
    """Whether a path could be one of a contract, be there such a contract or not."""
    return path.split("/", 2)[1] in _PARTS


def wrong_params(error: Exception) -> LiveError:
    """The answer to an opening whose parts of the URL do not fit."""
    return LiveError(ErrorCode.VALIDATION, "Validation failed", issues=[Issue(["params"], str(error))])


def parts_of(args: msgspec.Raw) -> tuple[dict[str, str], str | None]:
    """The URL's parts, and the pattern if it is given, from the arguments of an opening.

    Raises:
        LiveError: ``INVALID_REQUEST``: they are no list. ``VALIDATION``: they are of the wrong kind.
    """
    given = split_args(args)
    try:
        parts = {name: str(part) for name, part in _decode_parts(given[0]).items()} if given else {}
        pattern = _decode_pattern(given[1]) if len(given) > 1 else None
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # of huge numbers there is no text
        raise wrong_params(error) from None
    return parts, pattern


class Route(msgspec.Struct, frozen=True):
    """A URL that fits a pattern."""

    contracts: tuple[AnyContract, ...]  #: all that have the pattern
    parts: dict[str, str]  #: of the URL, decoded


class Catalogue:
    """The contracts of a server.

    Args:
        contracts: Them.
        reserved: Paths on which something else answers.

    Raises:
        DeclarationError: Two contracts have the same name and pattern, or two patterns fit the same URLs.
        ConfigError: A pattern is one of the other paths.
    """

    def __init__(self, contracts: Iterable[AnyContract], reserved: Iterable[str]) -> None:
        self._reserved = frozenset(reserved)
        self._named: dict[str, list[AnyContract]] = {}
        on: dict[str, tuple[UrlPattern, list[AnyContract]]] = {}  # by the pattern without its names
        for contract in contracts:
            pattern = contract.pattern
            assert pattern is not None
            if pattern.text in self._reserved:
                raise ConfigError(f"{_place(contract)}: path={pattern.text!r} is a path of the server; take another")
            for other in self._named.setdefault(contract.name, []):
                if other.pattern is not None and other.pattern.text == pattern.text:
                    raise DeclarationError(
                        f"{_place(other)} and {_place(contract)} are both {contract.name!r} on {pattern.text!r}; give "
                        "one of them another name="
                    )
            self._named[contract.name].append(contract)
            known, there = on.setdefault(re.sub(r"\{[^}:]*", "{", pattern.text), (pattern, []))
            if known.text != pattern.text:
                raise DeclarationError(
                    f"{_place(there[0])} and {_place(contract)} are on the same URLs, as {known.text!r} and "
                    f"{pattern.text!r}; call the parts of both the same"
                )
            there.append(contract)
        self._patterns = sorted(on.values(), key=lambda each: (each[0].rank, each[0].text))

    def route(self, path: str) -> Route | None:
        """What is on a percent-encoded path; None: nothing, or its parts do not fit what is declared."""
        if path in self._reserved:
            return None
        for pattern, contracts in self._patterns:
            parts = pattern.match(path)
            if parts is not None:
                try:
                    for contract in contracts:
                        contract.params_from(parts)
                except ValueError:
                    return None
                return Route(tuple(contracts), parts)
        return None

    def pick(self, name: str, pattern: str | None) -> AnyContract | None:
        """The contract of a name; when several have it, the one with the pattern."""
        named = self._named.get(name, [])
        if pattern is None:
            return named[0] if len(named) == 1 else None
        return next((each for each in named if each.pattern is not None and each.pattern.text == pattern), None)


def check_locals(contracts: Iterable[AnyContract], on_connect: Callable[..., Any] | None) -> None:
    """Compare what the contracts expect of ``on_connect`` with what it says it returns, where both are classes.

    Raises:
        ConfigError: They differ.
    """
    expecting = [contract for contract in contracts if _is_class(contract.locals_type)]
    if not expecting:
        return
    if on_connect is None:
        names = ", ".join(f"{_place(each)} ({each.locals_type.__qualname__})" for each in expecting)
        log.warning("there is no on_connect to return the Locals of %s; they are None", names)
        return
    try:
        returned: Any = get_type_hints(inspect.unwrap(on_connect)).get("return")
    except Exception:  # annotations that exist for checkers only may raise anything, and some callables have none
        return
    for contract in expecting:
        wanted = contract.locals_type
        if _is_class(returned) and not issubclass(returned, wanted):
            raise ConfigError(
                f"{_place(contract)} is declared with Locals {wanted.__qualname__}, but on_connect "
                f"({getattr(on_connect, '__qualname__', on_connect)}) returns {returned.__qualname__}"
            )


def check_topics(contracts: Iterable[AnyContract], entries: Iterable[Entry]) -> None:
    """Keep streams off the topics below a contract's name, which clients take for those of its events.

    Raises:
        DeclarationError: A stream or channel is there, or its template begins so. Of others it cannot be told.
    """
    taken = {contract.name: contract for contract in contracts}
    for entry in entries:
        declaration = entry.declaration
        if isinstance(declaration, StreamFunction | Channel):
            name, slash, _ = declaration.topics.text.partition("/")
            if slash and name in taken:
                raise DeclarationError(
                    f"{where(declaration.handler)}: the topic {declaration.topics.text!r} begins with the name of "
                    f"{_place(taken[name])}, as those of its events do; give the stream another one"
                )


def _is_class(annotation: Any) -> bool:
    return isinstance(annotation, type) and annotation is not Any


def _place(contract: AnyContract) -> str:
    return f"{contract.__module__}.{contract.__qualname__}"
