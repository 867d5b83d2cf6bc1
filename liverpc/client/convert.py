"""From the JSON a server sent to the type a declaration names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, UnsetType

from liverpc._types import Json
from liverpc.errors import ErrorCode, RpcError

__all__ = ["read_json", "read_result", "row_converter"]

read_json: Callable[[Raw], Json] = msgspec.json.Decoder().decode
"""The plain Python value of received JSON."""


def _decoder(result_type: Any) -> Callable[[bytes | Raw], Any]:
    return msgspec.json.Decoder(result_type).decode


_kept_decoder = lru_cache(maxsize=1024)(_decoder)


def read_result(path: str, data: Raw | UnsetType, result_type: Any) -> Any:
    """A call's result as ``result_type``. Absent data counts as ``null``.

    Raises:
        RpcError: ``INVALID_RESULT`` when it does not fit.
    """
    try:
        try:
            decode = _kept_decoder(result_type)
        except TypeError:  # not hashable: Annotated[int, {...}]
            decode = _decoder(result_type)
        return decode(b"null" if data is UNSET else data)
    except Exception as error:  # a type's own __post_init__ may raise anything
        raise RpcError(
            ErrorCode.INVALID_RESULT, f"{path} returned something that is not {_name(result_type)}: {error}"
        ) from error


def row_converter(merge: str, result_type: Any) -> Callable[[Json], Any] | None:
    """The ``convert`` of :func:`liverpc.merge.make_fold`: for one row, under ``set`` for the whole value.

    Raises:
        TypeError: The strategy makes lists and ``result_type`` is none.
    """
    while get_origin(result_type) is Annotated:
        result_type = get_args(result_type)[0]
    if merge == "set" or result_type is Any:
        target = result_type
    elif result_type is list or get_origin(result_type) in (list, Sequence):
        (target,) = get_args(result_type) or (Any,)
    else:
        raise TypeError(f"merge {merge!r} makes a list, the declared type is {_name(result_type)}")
    # JSON has string keys only: without str_keys a dict[int, ...] would never fit.
    return None if target is Any else partial(msgspec.convert, type=target, str_keys=True)


def _name(declared: Any) -> str:
    return declared.__name__ if isinstance(declared, type) and not get_args(declared) else repr(declared)
