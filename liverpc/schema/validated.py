"""A schema that is no annotation: what ``@live.validated`` reads an argument with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, NewType, get_origin

import msgspec

from liverpc.errors import DeclarationError, ErrorCode, Issue, LiveError
from liverpc.schema.models import adapter_of, is_adapter, is_fault, issues_of
from liverpc.schema.signature import UNREADABLE, Signature, json_decoder, located, split, unreadable, where

__all__ = ["with_schema"]

_CURE = "take a type that msgspec reads, a pydantic model or TypeAdapter, or a plain function of the value"
_plain: Callable[[Any], Any] = msgspec.json.Decoder().decode


def with_schema(signature: Signature, schema: Any, *, position: int = 0) -> Signature:
    """The same parameters, of which one is read by a schema and no more by its annotation.

    Args:
        signature: Of the handler; stays as it is.
        schema: A type that msgspec reads, a pydantic model or ``TypeAdapter``, or a plain function of the plain JSON
            value, whose result the handler gets and whose ``ValueError`` or ``TypeError`` refuses.
        position: Of the parameter.

    Raises:
        DeclarationError: There is no such parameter, it has a schema already, or ``schema`` is none.
    """
    place = where(signature.fn)
    if isinstance(signature, _WithSchema):
        raise DeclarationError(f"{place}: @live.validated is there twice; make one schema of both")
    if position >= len(signature.parameters):
        needed = ["ctx", *(["data"] if signature.data else []), *signature.names, "value"]
        raise DeclarationError(
            f"{place}: @live.validated is for an argument, and there is none: it needs ({', '.join(needed)})"
        )
    if not _is_type(schema) and not is_adapter(schema):
        if not callable(schema):
            raise DeclarationError(f"{place}: @live.validated({schema!r}) has no schema; {_CURE}")
        if any(map(inspect.iscoroutinefunction, (schema, type(schema).__call__))):
            raise DeclarationError(
                f"{place}: @live.validated({schema!r}) is async, but values are checked without waiting; {_CURE}, and "
                "look up what takes time in the handler or in @live.scoped"
            )
    return _WithSchema(signature, schema, position)


def _is_type(schema: Any) -> bool:
    return isinstance(schema, type | NewType | UnionType) or get_origin(schema) is not None


class _Unfit(Exception):
    """A value that does not fit; the paths of its issues begin in it."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = issues


class _WithSchema(Signature):
    def __init__(self, signature: Signature, schema: Any, position: int) -> None:
        vars(self).update(vars(signature), _each=[])
        self._schema = schema
        self._position = position
        self._read: Callable[[msgspec.Raw], Any] | None = None

    @property
    def schema(self) -> Any:
        return self._schema

    def sent_as(self) -> dict[str, Any]:
        readable = _is_type(self._schema) or is_adapter(self._schema)
        return {**self.hints(), self.names[self._position]: self._schema if readable else Any}

    def read_as(self) -> dict[str, Any]:
        return {**self.hints(), self.names[self._position]: msgspec.Raw}

    def resolve(self) -> None:
        if self._read is None:
            self._read = self._reader()
        super().resolve()

    @property
    def exact(self) -> Callable[[Any], Sequence[Any]]:
        self.resolve()
        return _in_full

    def decode(self, raw: msgspec.Raw | bytes) -> Sequence[Any]:
        arguments = [*super().decode(raw)]
        given = arguments[self._position]
        if isinstance(given, msgspec.Raw):  # and no default
            assert self._read is not None
            try:
                arguments[self._position] = self._read(given)
            except _Unfit as unfit:
                raise self._refused(self._at_parameter(unfit)) from None
        return arguments

    def _refusal(self, raw: msgspec.Raw | bytes) -> LiveError:
        """What is wrong with the others, and with this one."""
        refusal = super()._refusal(raw)
        if refusal.code != ErrorCode.VALIDATION or len(given := split(raw)) <= self._position:
            return refusal
        assert self._read is not None
        try:
            self._read(given[self._position])
        except _Unfit as unfit:
            return self._refused([*self._at_parameter(unfit), *refusal.issues])
        return refusal

    def _at_parameter(self, unfit: _Unfit) -> list[Issue]:
        name = self.names[self._position]
        alone = len(self.parameters) == 1 and self.rest is None
        return [Issue(i.path if alone and i.path else [name, *i.path], i.message) for i in unfit.issues]

    @staticmethod
    def _refused(issues: Sequence[Issue]) -> LiveError:
        return LiveError(ErrorCode.VALIDATION, "Validation failed", issues=issues)

    def _reader(self) -> Callable[[msgspec.Raw], Any]:
        schema, place = self._schema, where(self.fn)
        try:
            adapter = schema if is_adapter(schema) else adapter_of(schema) if _is_type(schema) else None
            if adapter is not None:
                return _fitting(lambda raw: adapter.validate_json(bytes(raw)))
            if _is_type(schema):
                return _fitting(json_decoder(schema))
        except TypeError as error:
            raise unreadable(f"{place}: what @live.validated", schema, error) from None

        def read(raw: msgspec.Raw) -> Any:
            try:
                value = _plain(raw)
            except UNREADABLE as error:
                raise _Unfit(_issues(error)) from None
            try:
                result = schema(value)
            except (ValueError, TypeError) as error:
                raise _Unfit(_issues(error)) from None
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise TypeError(f"{place}: the function of @live.validated gave something to await; {_CURE}")
            return result

        return read


def _in_full(raw: Any) -> Sequence[Any]:
    """Leave all to ``decode``: a function that checks a value should see it once."""
    raise LookupError


def _fitting(decode: Callable[[Any], Any]) -> Callable[[msgspec.Raw], Any]:
    def read(raw: msgspec.Raw) -> Any:
        try:
            return decode(raw)
        except (ValueError, RecursionError) as error:
            raise _Unfit(_issues(error)) from None

    return read


def _issues(error: Exception) -> list[Issue]:
    if is_fault(error):
        return issues_of(error)
    return [Issue(*located(str(error) or "Invalid value"))]
