"""From a handler's signature to a decoder of its arguments.

Arguments travel as one JSON list. Each parameter after ``ctx`` takes one position; its annotation is its
schema, no annotation takes the decoded JSON as it came. Surplus positions are dropped, a missing one
without default is an issue (docs/protocol.md section 4).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import GenericAlias
from typing import Any, get_type_hints

import msgspec
from msgspec.inspect import CustomType, DataclassType, Field, Type, type_info

from liverpc.errors import DeclarationError, ErrorCode, Issue, LiveError
from liverpc.schema.models import is_dataclass, is_model

__all__ = ["UNREADABLE", "Signature", "issue_of", "json_decoder", "located", "split", "unreadable", "where"]

_LOCATION = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `([^`]*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[([^\]]*)\]")
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding JSON raises that does not fit."""
_JSON_SAMPLES: tuple[object, ...] = (None, True, 0, 0.0, "", [], {})  # one of each type that decoding makes
split: Callable[[msgspec.Raw | bytes], list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw]).decode
"""The items of a JSON list, not decoded."""


def where(fn: Callable[..., Any]) -> str:
    """``module.function (file, line n)``, for error messages."""
    name = f"{fn.__module__}.{getattr(fn, '__qualname__', repr(fn))}"
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{name} ({code.co_filename}, line {code.co_firstlineno})" if code else name


class Signature:
    """The parameters of one handler behind ``ctx``.

    Args:
        fn: The handler.
        local_names: What annotations may name besides the module's names.
        data: Behind ``ctx`` comes a parameter that is no argument on the wire.

    Building it is cheap and checks the shape; annotations are resolved by :meth:`resolve`, because at
    declaration time the names in them may not exist yet.
    """

    def __init__(
        self, fn: Callable[..., Any], local_names: Mapping[str, Any] | None = None, *, data: bool = False
    ) -> None:
        self.fn = fn
        self._local_names = local_names
        try:
            inspected = inspect.signature(fn)
        except (TypeError, ValueError):
            raise DeclarationError(f"{fn!r} has no signature to read; declare a plain function") from None
        given = list(inspected.parameters.values())
        if not given or given[0].kind not in (given[0].POSITIONAL_ONLY, given[0].POSITIONAL_OR_KEYWORD):
            raise DeclarationError(f"{where(fn)} needs ctx as its first parameter")
        self.first = given.pop(0)
        self.data: inspect.Parameter | None = None
        if data:
            if not given or given[0].kind not in (self.first.POSITIONAL_ONLY, self.first.POSITIONAL_OR_KEYWORD):
                raise DeclarationError(f"{where(fn)} needs a second parameter for the bytes: (ctx, data: bytes, ...)")
            self.data = given.pop(0)
        self.parameters: list[inspect.Parameter] = []
        self.rest: inspect.Parameter | None = None  # *args
        for parameter in given:
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = parameter
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self.parameters.append(parameter)
            elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                raise DeclarationError(
                    f"{where(fn)}: the keyword-only parameter {parameter.name!r} has no default, and callers "
                    "pass arguments by position; move it before the * or give it a default"
                )
        self.names = tuple(p.name for p in self.parameters)
        self._bound = inspected.replace(parameters=given)
        self._hints: dict[str, Any] | None = None
        self._exact: Callable[[Any], tuple[Any, ...]] | None = None
        self._decode: Callable[[Any], Any] | None = None
        self._each: list[Callable[[Any], Any]] = []
        self._decode_rest: Callable[[Any], Any] | None = None

    # -- types

    def hints(self) -> dict[str, Any]:
        """Resolved annotations by parameter name, and ``return``.

        Raises:
            DeclarationError: A name in them does not exist.
        """
        if self._hints is None:
            try:
                self._hints = get_type_hints(self.fn, localns=dict(self._local_names or {}), include_extras=True)
            except NameError as error:
                raise DeclarationError(
                    f"{where(self.fn)}: the annotations name {error.name!r}, which does not exist at run time. "
                    "Annotations are schemas here: import it outside `if TYPE_CHECKING:` (for ruff's TC rules: "
                    'lint.flake8-type-checking.runtime-evaluated-decorators = ["liverpc.live"])'
                ) from None
            self._local_names = None
        return self._hints

    @property
    def result(self) -> Any:
        """The declared result; ``Any`` without annotation."""
        return self.hints().get("return", Any)

    @property
    def schema(self) -> Any:
        """What reads one of the arguments instead of its annotation; None: nothing does."""
        return None

    def sent_as(self) -> dict[str, Any]:
        """The types of what callers send, by parameter name; ``Any`` for those left out."""
        return self.hints()

    def read_as(self) -> dict[str, Any]:
        """What the arguments are decoded to, by parameter name; ``Any`` for those left out."""
        return self.hints()

    def resolve(self) -> None:
        """Build the decoders.

        Raises:
            DeclarationError: An annotation cannot be read from JSON.
        """
        if self._decode is not None:
            return
        hints = self.read_as()
        fields: list[Any] = []
        for parameter in self.parameters:
            annotation = hints.get(parameter.name, Any)
            self._each.append(self._decoder(parameter.name, annotation))
            if parameter.default is parameter.empty:
                fields.append((parameter.name, annotation))
            else:
                # A factory, so that any default is taken as it is, as Python itself does.
                default: Any = msgspec.field(default_factory=partial(_same, parameter.default))
                fields.append((parameter.name, annotation, default))
        if self.rest is not None:
            self._decode_rest = self._decoder(self.rest.name, hints.get(self.rest.name, Any))
        else:
            exact = GenericAlias(tuple, tuple(hints.get(name, Any) for name in self.names))
            self._exact = msgspec.json.Decoder(exact).decode
        arguments = msgspec.defstruct("Arguments", fields, array_like=True)
        self._decode = msgspec.json.Decoder(arguments).decode

    def _decoder(self, name: str, annotation: Any) -> Callable[[Any], Any]:
        try:
            return json_decoder(annotation)
        except TypeError as error:
            raise unreadable(f"{where(self.fn)}: the parameter {name!r}", annotation, error) from None

    # -- arguments, server side

    @property
    def exact(self) -> Callable[[Any], Sequence[Any]]:
        """As :meth:`decode`, several times faster, for lists of exactly the parameters.

        For others it may raise anything: then :meth:`decode` has defaults, drops what is surplus, or says
        what is wrong.
        """
        self.resolve()
        return self._exact or self.decode

    def decode(self, raw: msgspec.Raw | bytes) -> Sequence[Any]:
        """The handler's arguments from a JSON list.

        Raises:
            LiveError: ``INVALID_REQUEST`` when ``raw`` is no list, ``VALIDATION`` with one issue per wrong
                argument otherwise.
        """
        if self._decode is None:
            self.resolve()
        assert self._decode is not None
        try:
            arguments: tuple[Any, ...] = msgspec.structs.astuple(self._decode(raw))
            if self._decode_rest is not None:
                surplus = split(raw)[len(arguments) :]
                arguments += tuple(self._decode_rest(item) for item in surplus)
        except UNREADABLE:
            raise self._refusal(raw) from None
        return arguments

    def _refusal(self, raw: msgspec.Raw | bytes) -> LiveError:
        try:
            items = split(raw)
        except UNREADABLE:
            return LiveError(ErrorCode.INVALID_REQUEST, "args must be a list of JSON values in UTF-8")
        issues: list[Issue] = []
        # A fault inside the only argument is located from there on: front ends map such paths to form fields.
        alone = len(self.parameters) == 1 and self.rest is None
        for position, parameter in enumerate(self.parameters):
            if position >= len(items):
                if parameter.default is parameter.empty:
                    issues.append(Issue([parameter.name], "Missing argument"))
                continue
            try:
                self._each[position](items[position])
            except UNREADABLE as error:
                issues.append(issue_of(parameter.name, str(error), alone))
        if self.rest is not None and self._decode_rest is not None:
            for position, item in enumerate(items[len(self.parameters) :]):
                try:
                    self._decode_rest(item)
                except UNREADABLE as error:
                    issue = issue_of(self.rest.name, str(error), alone=False)
                    issue.path.insert(1, str(position))
                    issues.append(issue)
        return LiveError(ErrorCode.VALIDATION, "Validation failed", issues=issues)

    # -- arguments, client side

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """The arguments in wire order.

        Raises:
            TypeError: They do not fit the parameters.
        """
        try:
            bound = self._bound.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.fn.__qualname__}: {error}") from None
        if not kwargs:
            return list(args)
        # A named argument after an omitted default: fill the gap, positions are all there is on the wire.
        last = max((i for i, name in enumerate(self.names) if name in bound.arguments), default=-1)
        bound.apply_defaults()
        values = [bound.arguments[name] for name in self.names[: last + 1]]
        return values + list(bound.arguments.get(self.rest.name, ()) if self.rest else ())

    # -- arguments, by name

    def named(self, arguments: Sequence[Any]) -> dict[str, Any]:
        """Decoded arguments by parameter name; surplus ones have none."""
        return dict(zip(self.names, arguments, strict=False))


def unreadable(what: str, annotation: Any, error: Exception) -> DeclarationError:
    """What to raise when a type cannot be read from JSON.

    Args:
        what: Place and name of what is annotated with it.
        annotation: The type.
        error: The reason.
    """
    return DeclarationError(
        f"{what} is annotated with {annotation!r}, which cannot be read from JSON ({error}). Use builtin types, "
        "msgspec structs, dataclasses, TypedDicts or attrs classes"
    )


def json_decoder(annotation: Any) -> Callable[[Any], Any]:
    """Decodes JSON to a type; raises one of :data:`UNREADABLE` when it does not fit.

    Raises:
        TypeError: The type cannot be read from JSON.
    """
    decode = msgspec.json.Decoder(annotation).decode
    if (foreign := _without_json(type_info(annotation), set())) is not None:
        if is_model(foreign):
            raise TypeError(f"pydantic reads {foreign.__qualname__}; as a first argument, let @live.validated do it")
        raise TypeError(f"no JSON value is a {foreign.__qualname__}")
    return decode


def _without_json(part: Any, seen: set[int]) -> type | None:
    """A class anywhere in a type that no JSON becomes, or that would not be checked: msgspec refuses values only."""
    if isinstance(part, tuple):
        return next((found for item in part if (found := _without_json(item, seen)) is not None), None)
    if isinstance(part, Field):
        return _without_json(part.type, seen) if part.required else None  # a field with a default may be for us alone
    if not isinstance(part, Type) or id(part) in seen:
        return None
    if isinstance(part, CustomType):
        return None if any(isinstance(sample, part.cls) for sample in _JSON_SAMPLES) else part.cls
    if isinstance(part, DataclassType) and is_dataclass(part.cls):
        return part.cls
    seen.add(id(part))
    return _without_json(tuple(getattr(part, name) for name in part.__struct_fields__), seen)


def _same(value: Any) -> Any:
    return value


def issue_of(parameter: str, text: str, alone: bool) -> Issue:
    """What msgspec says of an argument.

    Args:
        parameter: The argument's name.
        text: Of the error.
        alone: There is no other argument: the path of a fault inside begins behind the name.
    """
    inside, message = located(text)
    return Issue(inside if alone and inside else [parameter, *inside], message)


def located(text: str) -> tuple[list[str], str]:
    """What an error of msgspec says: where in the value, and what."""
    match = _LOCATION.search(text)
    inside = [field or index for field, index in _STEP.findall(match[1])] if match else []
    message = text[: match.start()] if match else text
    if missing := _MISSING.match(message):
        inside.append(missing[1])  # msgspec locates the object, front ends show the fault at its field
    return inside, message
