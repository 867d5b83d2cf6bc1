"""Which declaration answers on which path; built once when a server is made."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, TypeAlias

from liverpc.declare.bytes import BinaryDecorator, BinaryFunction, UploadDecorator, UploadFunction
from liverpc.declare.contract import Contract
from liverpc.declare.decorators import ChannelDecorator, Draft, StreamDecorator
from liverpc.declare.functions import Channel, Declaration, RpcFunction, StreamFunction, TopicSource, first_part
from liverpc.declare.guards import Check, Guard, Public, combined
from liverpc.declare.inroom import BesideRoom, InRoom
from liverpc.declare.rooms import RoomDecorator, RoomFunction
from liverpc.errors import ConfigError, DeclarationError
from liverpc.schema.signature import where
from liverpc.telemetry import Latencies, Tally
from liverpc.wire.names import is_path

__all__ = ["AnyContract", "Entry", "Kind", "Modules", "Naming", "Registry"]

log = logging.getLogger("liverpc.guards")

Naming = Literal["snake", "camel"]
AnyContract: TypeAlias = type[Contract[Any, Any, Any]]
Modules = Sequence[ModuleType | AnyContract] | Mapping[str, Any]
Kind = Literal["rpc", "stream", "channel", "binary", "upload"]
_KINDS: tuple[tuple[type, Kind], ...] = (
    (Channel, "channel"),
    (StreamFunction, "stream"),
    (BinaryFunction, "binary"),
    (UploadFunction, "upload"),
    (Declaration, "rpc"),
)

_OF_ROOMS = (InRoom, BesideRoom)  # they come with their room, and with that one's guard
_UNFINISHED = (StreamDecorator, ChannelDecorator, BinaryDecorator, UploadDecorator, RoomDecorator)

# Options that apply to a topic: streams on one may not say different things.
_OF_TOPICS = ("merge", "volatile", "coalesce_by", "transform", "replay")


class Entry(Tally):
    """One path, everything the pipeline needs to answer on it, and what is counted of its calls.

    Attributes:
        path: As declared, in snake case; the name in devtools and logs whichever spelling was called.
        kind: ``rpc``, ``stream``, ``channel``, ``binary`` or ``upload``.
        is_stream: It is one of the two that clients subscribe to.
        guard: Of its module.
        limitable: Rate limits for all functions hold for it.
        direct: The handler never waits: unless its guard does, a call needs no task.
    """

    __slots__ = ("declaration", "direct", "guard", "is_stream", "kind", "limitable", "number", "path")

    def __init__(self, path: str, number: int, declaration: Declaration[Any, Any, Any], guard: Guard | None) -> None:
        super().__init__()
        self.path = path
        self.number = number
        self.declaration = declaration
        self.guard = guard
        self.kind: Kind = next(kind for base, kind in _KINDS if isinstance(declaration, base))
        self.is_stream = self.kind in ("stream", "channel")
        self.limitable = not self.is_stream and "rate_limit" in declaration.takes_policies
        self.direct = isinstance(declaration, RpcFunction) and not (
            declaration.is_async or declaration.thread or isinstance(declaration, InRoom)
        )


class Registry:
    """Paths of one server.

    Args:
        modules: Modules, whose last name part begins the path; or a mapping from that first part to a
            module or any object with attributes.
        naming: ``camel`` answers each path in camel case besides its own spelling.
        guards: Run before the guard of every module, also where there is none.

    Attributes:
        contracts: The contracts, each with its guard.
        unguarded: Modules with declarations, without ``_guard`` and ``public()``, when there are no ``guards``; they
            are warned of.

    Raises:
        DeclarationError: Two declarations on one path, a ``_guard`` that is none, annotations that do not
            resolve, a module without declarations, a ``live.stream(...)`` or ``live.channel(...)`` that
            decorates nothing.
        ConfigError: ``modules`` is of the wrong shape.
    """

    def __init__(self, modules: Modules, *, naming: Naming = "snake", guards: Sequence[Check | Guard] = ()) -> None:
        if naming not in ("snake", "camel"):
            raise ConfigError(f"naming takes 'snake' or 'camel', not {naming!r}")
        self.entries: list[Entry] = []
        self.contracts: dict[AnyContract, Guard | None] = {}
        self.unguarded: list[str] = []
        self._guards = guards
        self._by_path: dict[str, Entry] = {}
        self._topics: dict[str | re.Pattern[str], StreamFunction[Any, Any, Any, Any] | Channel[Any, Any]] = {}
        self._loaders: dict[TopicSource, tuple[str, StreamFunction[Any, Any, Any, Any]]] = {}
        for first, module in self._named(modules):
            self._add_module(first, module, naming)
        if self.unguarded:
            log.warning(
                "anybody may call what is in %s: give the module a `_guard = guard(...)`, or mark it with "
                "`_guard = public()`",
                ", ".join(self.unguarded),
            )

    @staticmethod
    def _named(modules: Modules) -> list[tuple[str | None, Any]]:
        if isinstance(modules, Mapping):
            return [(first, _with_guard(module)) for first, module in modules.items()]
        if isinstance(modules, ModuleType):
            raise ConfigError(f"modules= takes a list: modules=[{modules.__name__.rpartition('.')[2]}]")
        if isinstance(modules, type):
            raise ConfigError(f"modules= takes a list: modules=[{modules.__name__}]")
        named: list[tuple[str | None, Any]] = []
        for module in modules:
            if isinstance(module, type) and issubclass(module, Contract):
                named.append((module.__name__, _with_guard(module)))
            elif isinstance(module, ModuleType | SimpleNamespace):
                named.append((None, module))
            else:
                raise ConfigError(
                    f"modules= takes modules and contracts, or a mapping of names to them; not {module!r}"
                )
        return named

    def _add_module(self, first: str | None, module: Any, naming: Naming) -> None:
        members: Mapping[str, Any] = vars(module)
        label = first or str(getattr(module, "__name__", repr(module)))
        guard = members.get("_guard")
        if guard is not None and not isinstance(guard, Guard | Public):
            raise DeclarationError(f"{label}._guard is {guard!r}; make it with guard(...) or public()")
        own = guard if isinstance(guard, Guard) else None
        found = 0
        for name, declaration in members.items():
            _check_path(declaration, getattr(module, "__name__", None))
            if _is_contract(declaration, None if first else getattr(module, "__name__", None)) and name[:1] != "_":
                found += 1
                self._add_contract(declaration, combined(*self._guards, own))
            if isinstance(declaration, Draft):
                raise DeclarationError(f"{label}.{name} has {declaration.policies[0]} but no @live: add it above")
            if isinstance(declaration, _UNFINISHED) and not name.startswith("_"):
                raise DeclarationError(f"{label}.{name} {declaration.unused()}")
            if not isinstance(declaration, Declaration) or name[:1] == "_" or isinstance(declaration, _OF_ROOMS):
                continue
            if first is None and declaration.__module__ != getattr(module, "__name__", declaration.__module__):
                continue  # imported from elsewhere: it belongs to its own module, with that module's guard
            found += 1
            prefix = first or first_part(getattr(module, "__name__", declaration.__module__))
            path = declaration.explicit_path or f"{prefix}/{name}"
            if isinstance(declaration, RoomFunction):
                for part, member in declaration.parts():
                    self._add(f"{path}/{part}", member, combined(*self._guards, own), naming)
            else:
                self._add(path, declaration, combined(*self._guards, own), naming)
        if not found:
            raise DeclarationError(
                f"module {label} declares nothing with @live, and no contract with path=; what it imports from "
                "elsewhere, and names that begin with _, do not count"
            )
        if guard is None and not self._guards:
            self.unguarded.append(label)

    def _add_contract(self, contract: AnyContract, guard: Guard | None) -> None:
        if contract in self.contracts:
            raise DeclarationError(f"{contract.__module__}.{contract.__qualname__} is listed twice in modules=")
        contract.resolve()
        self.contracts[contract] = guard

    def enter(self, path: str, declaration: Declaration[Any, Any, Any], guard: Guard | None) -> Entry:
        """Number what answers on a path on some connections only; its caller knows on which."""
        if path in self._by_path:
            other = where(self._by_path[path].declaration.handler)
            raise DeclarationError(f"two declarations answer on {path!r}: {other} and {where(declaration.handler)}")
        entry = Entry(path, len(self.entries) + 1, declaration, guard)
        self.entries.append(entry)
        return entry

    def measure(self) -> None:
        """Keep from now on how long the calls of each path take; a second time changes nothing."""
        for entry in self.entries:
            entry.latencies = entry.latencies or Latencies()

    def _add(self, path: str, declaration: Declaration[Any, Any, Any], guard: Guard | None, naming: Naming) -> None:
        place = where(declaration.handler)
        if not is_path(path):
            raise DeclarationError(f"{place}: the path {path!r} is not letters, digits, _ and - in parts joined by /")
        declaration.resolve()
        entry = Entry(path, len(self.entries) + 1, declaration, guard)
        self.entries.append(entry)
        spellings = {path, _camel(path)} if naming == "camel" else {path}
        for spelling in spellings:
            other = self._by_path.setdefault(spelling, entry)
            if other.declaration is declaration and other is not entry:
                raise DeclarationError(
                    f"{place} answers on {spelling!r} already: its module is listed twice in modules=, or a second "
                    "name in the module stands for it"
                )
            if other is not entry:
                raise DeclarationError(
                    f"two declarations answer on {spelling!r}: {where(other.declaration.handler)} and {place}"
                )
        if isinstance(declaration, StreamFunction | Channel):
            self._check_events(declaration, place)
        if isinstance(declaration, StreamFunction):
            self._check_reloads(declaration, path)

    def _check_events(self, stream: StreamFunction[Any, Any, Any, Any] | Channel[Any, Any], place: str) -> None:
        """Several streams may show one topic, but then they must agree on what its events mean."""
        topic = stream.topics.static or stream.topics.pattern
        if topic is None:
            return
        other = self._topics.setdefault(topic, stream)
        if isinstance(stream, RoomFunction) and isinstance(other, RoomFunction) and other is not stream:
            raise DeclarationError(
                f"{place}: the topic {stream.topics.text!r} is that of the room {where(other.handler)}; give each room "
                "a topic of its own"
            )
        for option in _OF_TOPICS:
            here, there = getattr(stream.options, option), getattr(other.options, option)
            if here != there and (option == "merge" or (here and there)):
                raise DeclarationError(
                    f"{place}: the topic {stream.topics.text!r} has {option}={here!r} here and {option}={there!r} in "
                    f"{where(other.handler)}; events mean one thing per topic"
                )

    def _check_reloads(self, stream: StreamFunction[Any, Any, Any, Any], path: str) -> None:
        """Of a stream and its pipes only one is reloaded: what it gives goes to everybody on the topic."""
        # Pipes have the very source of their stream.
        other_path, other = self._loaders.setdefault(stream.topics, (path, stream))
        for options in (stream.options, other.options) if other.handler is not stream.handler else ():
            if options.stale_after is not None or options.invalidate_on:
                raise DeclarationError(
                    f"{path} and {other_path} are a stream and its pipe, or two pipes of it, with stale_after= or "
                    "invalidate_on=: a reload would send the value of one to the clients of both; let clients reach "
                    "only one of them, by a name with _ in front of the other"
                )

    @property
    def paths(self) -> Mapping[str, Entry]:
        """Who answers where, in every spelling."""
        return self._by_path


def _with_guard(module: Any) -> Any:
    """A contract that is listed itself, as if it were alone in its module; everything else as it is."""
    if not (isinstance(module, type) and issubclass(module, Contract)):
        return module
    return SimpleNamespace(_guard=getattr(sys.modules.get(module.__module__), "_guard", None), contract=module)


def _is_contract(value: object, module: str | None) -> bool:
    """Whether this is a contract that can be served, and stands in that module; None: it may come from elsewhere."""
    if not isinstance(value, type) or not issubclass(value, Contract) or value.pattern is None:
        return False
    return module is None or value.__module__ == module


def _check_path(value: object, module: str | None) -> None:
    """Refuse a contract of that module that nobody could reach, unless it is a base of others."""
    if not isinstance(value, type) or not issubclass(value, Contract) or value.pattern is not None:
        return
    if module is not None and value.__module__ != module:
        return
    if value.__name__[:1] != "_" and not vars(value)["__parameters__"] and (value.actions() or value.rooms()):
        raise DeclarationError(
            f"{value.__module__}.{value.__qualname__} has no path=: give it one, or put its module below a package "
            "called routes; the name of a base of contracts begins with _"
        )


def _camel(path: str) -> str:
    return re.sub(r"(?<=[A-Za-z0-9])_([a-z0-9])", lambda match: match[1].upper(), path)
