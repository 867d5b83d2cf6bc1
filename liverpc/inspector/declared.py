"""What a server declares, for people who want to call it: paths with their schemas, guards and policies."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

import msgspec

from liverpc.declare.bytes import BinaryFunction, UploadFunction
from liverpc.declare.functions import Channel, RpcFunction, StreamFunction
from liverpc.declare.guards import Guard
from liverpc.declare.inroom import BesideRoom, MoveCursor
from liverpc.declare.members import EventHandler, Room
from liverpc.declare.options import StreamOptions
from liverpc.declare.registry import AnyContract, Entry, Registry
from liverpc.declare.rooms import RoomFunction
from liverpc.inspector.awaiting import roots, shown
from liverpc.inspector.protocol import Declarations, Declared
from liverpc.inspector.redact import Redactor
from liverpc.policies.declared import NO_FALLBACK, Policies, RateLimit
from liverpc.policies.running import RunningPolicies
from liverpc.rooms.catalogue import is_of_contract
from liverpc.schema.documents import json_schemas

__all__ = ["Declarer"]

_MAX_BYTES = 512 * 1024  # of all that is told
_MAX_DOC = 500  # characters
_VALUES = ("default", "examples")  # of a schema, whatever is said about them
_encode = msgspec.json.Encoder().encode

Parameters = list[tuple[str, Any, bool, Any]]  # name, annotation, whether it must be given, else its default
_ABSENT: Any = inspect.Parameter.empty


class Declarer:
    """Tells what a server declares. It is kept: declarations do not change, only what is redacted may.

    Args:
        registry: Of the server.
        policies: Likewise; what is configured for all functions is among them.
        redactor: Defaults of what it covers are not told.
    """

    def __init__(self, registry: Registry, policies: RunningPolicies, redactor: Redactor) -> None:
        self._registry = registry
        self._policies = policies
        self._redactor = redactor
        self._told: tuple[frozenset[str], Declarations] | None = None  # and which keys it leaves the defaults of out

    def told(self, users: list[str]) -> Declarations:
        """All of it, at most 512 KiB; what had to be left out is named.

        Args:
            users: As whom calls can be tried.
        """
        keys = self._redactor.keys
        if self._told is None or self._told[0] is not keys:
            self._told = keys, _fitting(self._all())
        return msgspec.structs.replace(self._told[1], users=users)

    def _all(self) -> Declarations:
        rows = [*self._of_functions(), *self._of_contracts()]
        annotations = [each for _, parameters, result in rows for each in (*(p[1] for p in parameters), result)]
        found, definitions = json_schemas(annotations)
        schemas = iter(found)
        for row, parameters, _ in rows:
            for name, _, required, default in parameters:
                schema = self._without_secrets(next(schemas))
                if (
                    not required
                    and name.lower() not in self._redactor.keys
                    and (plain := _plain(default)) is not _ABSENT
                ):
                    schema = {**schema, "default": self._redactor(plain)}
                row.parameters.append((name, schema, required))
            row.result.update(self._without_secrets(next(schemas)))
        paths = sorted((row for row, _, _ in rows), key=lambda row: row.path)
        return Declarations(paths, self._without_secrets(definitions))

    def _without_secrets(self, schema: Any) -> Any:
        """A copy without the defaults and examples of members whose values are redacted, however deep these are."""
        if isinstance(schema, list):
            return [self._without_secrets(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        copy: dict[str, Any] = {}
        for key, value in schema.items():
            if key == "properties" and isinstance(value, dict):
                copy[key] = {name: self._member(name, member) for name, member in value.items()}
            elif key in _VALUES:
                copy[key] = self._redactor(value)
            else:
                copy[key] = self._without_secrets(value)
        return copy

    def _member(self, name: str, schema: Any) -> Any:
        if isinstance(schema, dict) and name.lower() in self._redactor.keys:
            schema = {key: value for key, value in schema.items() if key not in _VALUES}
        return self._without_secrets(schema)

    # -- functions

    def _of_functions(self) -> Iterator[tuple[Declared, Parameters, Any]]:
        for entry in self._registry.entries:
            if is_of_contract(entry.path):
                continue
            declaration: Any = entry.declaration
            handler = declaration.room.handler if isinstance(declaration, MoveCursor) else declaration.handler
            row = Declared(
                entry.path,
                entry.kind,
                _doc(declaration),
                _place(handler),
                [],
                {},
                [*_checks(entry.guard), *_access(declaration)],
                list(self._of(entry)),
                _topic(declaration),
            )
            yield row, _parameters(declaration), declaration.result_type

    def _of(self, entry: Entry) -> Iterator[tuple[str, str]]:
        """The policies of a path, in the order in which they come into play."""
        declaration: Any = entry.declaration
        own = declaration.policies
        options = declaration.options if isinstance(declaration, StreamFunction | Channel) else None
        service = own.class_of_service if options is None else options.class_of_service
        if service is not None:
            yield "class of service", service
        limit = self._policies.rates.limit_of(entry.path, own.rate_limit, limitable=entry.limitable)
        if limit is not None:
            yield "rate limit", _limit(limit)
        if declaration.signature.schema is not None:
            yield "validated", _name(declaration.signature.schema)
        yield from _around(own, entry.path)
        if isinstance(declaration, RpcFunction) and declaration.thread:
            yield "runs in", "a worker thread"
        if isinstance(declaration, BinaryFunction):
            yield "max size", f"{declaration.max_size:,} bytes"
        if isinstance(declaration, UploadFunction):
            for name, value in msgspec.structs.asdict(declaration.limits).items():
                if value is not None:
                    yield name.replace("_", " "), f"{value:,}{' bytes' if name == 'max_size' else ''}"
        if options is not None:
            yield from _streaming(options)

    # -- contracts

    def _of_contracts(self) -> Iterator[tuple[Declared, Parameters, Any]]:
        for contract, guard in self._registry.contracts.items():
            checks = _checks(guard)
            yield self._opening(contract, checks)
            for member in (*contract.actions().values(), *contract.rooms().values()):
                if isinstance(member, EventHandler):
                    part, policies = "__event", list(self._of_action(contract, member))
                elif isinstance(member, Room) and member.exposed:
                    part, policies = "__join", []
                else:
                    continue
                row = Declared(
                    f"{contract.name}/{part}/{member.name}",
                    "rpc",
                    _doc(member),
                    _place(member.method.fn),
                    [],
                    {},
                    checks,
                    [("of a page", _pattern(contract)), *policies],
                )
                payload = member.payload
                parameters = [] if payload is None else [(payload.name, payload.type, payload.required, _ABSENT)]
                yield row, parameters, member.result_type if isinstance(member, EventHandler) else Any

    def _of_action(self, contract: AnyContract, action: EventHandler[Any, Any, Any, Any]) -> Iterator[tuple[str, str]]:
        if action.policies.rate_limit is not None:
            yield "rate limit", _limit(action.policies.rate_limit)
        yield from _around(action.policies, action.name)
        if action.serial:
            yield "serial", "one at a time for each connection"

    @staticmethod
    def _opening(contract: AnyContract, checks: list[str]) -> tuple[Declared, Parameters, Any]:
        file = getattr(sys.modules.get(contract.__module__), "__file__", None)
        place = _shown(file) if file else ""
        of_page = [("of a page", _pattern(contract))]
        row = Declared(f"{contract.name}/__open", "rpc", _doc(contract), place, [], {}, checks, of_page)
        parameters = [] if contract.params_type is None else [("params", contract.params_type, True, _ABSENT)]
        return row, parameters, Any


def _parameters(declaration: Any) -> Parameters:
    if isinstance(declaration, MoveCursor):  # it has the room's, whatever these are
        return [*_parameters(declaration.room), ("position", dict[str, Any], True, _ABSENT)]
    signature = declaration.signature
    types: Mapping[str, Any] = signature.sent_as()
    found: Parameters = [
        (each.name, types.get(each.name, Any), each.default is each.empty, each.default)
        for each in signature.parameters
    ]
    if signature.rest is not None:
        name = signature.rest.name
        found.append((f"*{name}", list[types.get(name, Any)], False, []))  # type: ignore[misc]  # it exists at run time
    return found


def _topic(declaration: Any) -> str:
    topics = getattr(declaration, "topics", None)
    return topics.text if topics is not None and (topics.static or topics.pattern) else ""


def _pattern(contract: AnyContract) -> str:
    return "" if contract.pattern is None else contract.pattern.text


# -- who may


def _checks(guard: Guard | None) -> list[str]:
    return [] if guard is None else [_name(check) for check in guard.checks]


def _access(declaration: Any) -> Iterator[str]:
    """What is asked when the arguments are known."""
    room = declaration if isinstance(declaration, RoomFunction) else getattr(declaration, "room", None)
    if isinstance(room, RoomFunction):
        yield from (f"room guard {_name(each)}" for each in room.checks)
    if isinstance(declaration, StreamFunction | Channel):
        if not isinstance(declaration, RoomFunction | BesideRoom) and declaration.options.access is not None:
            yield f"access {_name(declaration.options.access)}"
        if declaration.options.gate is not None:
            yield f"gate {_name(declaration.options.gate)}"
    elif declaration.access is not None:
        yield f"scoped {_name(declaration.access)}"


# -- what else


def _limit(limit: RateLimit) -> str:
    key = "" if limit.key is None else f", by {_name(limit.key)}"
    return f"{limit.points:,} per {limit.per:g} s{key}"


def _around(policies: Policies, path: str) -> Iterator[tuple[str, str]]:
    once, lock, breaker = policies.idempotent, policies.lock, policies.breaker
    if once is not None:
        key = "the caller's key" if once.key is None else f"the key of {_name(once.key)}"
        yield "idempotent", f"{key}, kept {once.ttl:g} s"
    if lock is not None:
        key = lock.key if isinstance(lock.key, str) else _name(lock.key)
        yield "lock", f"{key}, waits {'for ever' if lock.max_wait is None else f'{lock.max_wait:g} s'}"
    if breaker is not None:
        fallback = "" if breaker.fallback is NO_FALLBACK else ", with a fallback"
        again = f"tries again after {breaker.reset_after:g} s"
        yield "breaker", f"{breaker.name or path}: opens after {breaker.failures} failures, {again}{fallback}"


def _streaming(options: StreamOptions) -> Iterator[tuple[str, str]]:
    how = f"{options.merge} by {options.key}" if options.merge == "crud" else options.merge
    yield "merge", f"{how}, at most {options.max:,} rows" if options.max else how
    named = {"coalesced by": options.coalesce_by, "transformed by": options.transform}
    yield from ((title, _name(function)) for title, function in named.items() if function is not None)
    if options.volatile:
        yield "volatile", "a full socket misses events"
    if options.replay:
        yield "replay", "keeps events for clients that come back"
    if options.delta is not None:
        yield "delta", "tells who comes back what changed"
    if options.version is not None:
        yield "version", str(options.version)
    if options.stale_after is not None:
        yield "stale after", f"{options.stale_after:g} s without an event"
    if options.invalidate_on:
        yield "reloaded after", ", ".join(options.invalidate_on)


# -- for people


def _doc(of: Any) -> str:
    """The first paragraph of what is said about it."""
    text = inspect.cleandoc(of.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split())[:_MAX_DOC]


def _name(function: Any) -> str:
    """What a function, or a type, is called."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function) if callable(function) else function
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        return type(function).__qualname__
    if name == "_authenticated":
        return "authenticated"
    if name.endswith("<lambda>"):
        return f"lambda at {_place(function)}"
    if name.startswith("Access."):  # one of access.owner() and the like
        return f"access.{name.split('.')[1]}"
    return name.rpartition("<locals>.")[2]


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{_shown(code.co_filename)}:{code.co_firstlineno}" if code else ""


@lru_cache(maxsize=256)  # paths are many, their files few
def _shown(file: str) -> str:
    return shown(file, list(roots()))


def _plain(value: Any) -> Any:
    """A default as JSON; absent when it is none, or has no such form."""
    try:
        return msgspec.json.decode(_encode(value)) if value is not _ABSENT else _ABSENT
    except Exception:  # of classes with code of their own
        return _ABSENT


def _fitting(declarations: Declarations) -> Declarations:
    """As much as may be told, what matters least left out first."""
    replace = msgspec.structs.replace
    left_out: list[str] = []

    def fits() -> bool:
        return len(_encode(declarations)) <= _MAX_BYTES

    if not fits():
        left_out.append("definitions of types")
        declarations = replace(declarations, definitions={}, left_out=left_out)
    if not fits():
        left_out.append("descriptions")
        declarations = replace(declarations, paths=[replace(each, doc="") for each in declarations.paths])
    if not fits():
        left_out.append("schemas")
        bare = [
            replace(each, parameters=[(name, {}, needed) for name, _, needed in each.parameters], result={})
            for each in declarations.paths
        ]
        declarations = replace(declarations, paths=bare)
    if not fits():
        room, kept = _MAX_BYTES - 4096, 0
        for each in declarations.paths:
            room -= len(_encode(each)) + 1
            if room < 0:
                break
            kept += 1
        left_out.append(f"{len(declarations.paths) - kept:,} paths")
        declarations = replace(declarations, paths=declarations.paths[:kept])
    return declarations
