"""What a loader gives, and what clients get of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from liverpc._types import Page
from liverpc.declare.context import Context
from liverpc.declare.functions import Channel, StreamFunction
from liverpc.declare.inroom import BesideRoom
from liverpc.declare.options import StreamOptions

__all__ = ["Loaded", "load_value", "migrated", "shown", "transformed"]

log = logging.getLogger("liverpc.streams")

_REMOVALS = ("deleted", "leave", "remove")  # for them the key is enough


class Loaded(msgspec.Struct):
    """A stream's value, transformed."""

    data: Any
    has_more: bool | None = None  #: of a page; None: it is the whole value
    cursor: Any = None  #: likewise


async def load_value(
    declaration: StreamFunction[Any, Any, Any, Any] | Channel[Any, Any],
    ctx: Context[Any],
    arguments: Sequence[Any],
    *,
    reload: bool = False,
) -> Loaded:
    """Run the loader, take its page apart, transform what it gave.

    Args:
        declaration: Of the stream.
        ctx: Of a request.
        arguments: Validated.
        reload: There is a value already: a fallback must not take its place.

    Raises:
        LiveError: ``SERVICE_UNAVAILABLE``: its breaker is open, and there is no fallback.
        TypeError: It gave a page where there are no rows.
        Exception: The loader's or the transform's.
    """
    options = declaration.options
    if isinstance(declaration, Channel):
        return Loaded(None if options.merge == "set" else [])
    if isinstance(declaration, BesideRoom):
        return Loaded(declaration.current(ctx, arguments))
    settings = declaration.policies.breaker
    if settings is None:
        result = await _loaded(declaration, ctx, arguments)
    else:
        breaker = ctx.services.policies.breakers.of(ctx.path, settings)
        if breaker.admit():
            result = await breaker.watch(_loaded(declaration, ctx, arguments))
        elif reload or _has_value(ctx):
            raise breaker.refusal()
        else:
            result = await breaker.instead(settings.fallback, ctx, *arguments)
    if not isinstance(result, Page):
        return Loaded(transformed(options, result))
    if options.merge == "set" or not isinstance(result.data, list | tuple):
        raise TypeError(f"{declaration.path} gave a Page that is no list of rows")
    has_more = result.has_more and result.cursor is not None
    return Loaded(transformed(options, list(result.data)), has_more, result.cursor)


def _has_value(ctx: Context[Any]) -> bool:
    """Whether the client only wants more of the value, or to know what it missed."""
    return ctx.asked is not None and (ctx.asked.cursor is not None or ctx.asked.resync is True)


async def _loaded(declaration: StreamFunction[Any, Any, Any, Any], ctx: Context[Any], arguments: Sequence[Any]) -> Any:
    result = declaration.handler(ctx, *arguments)
    return await result if declaration.is_async else result


def shown(options: StreamOptions, event: str, data: Any) -> Any:
    """What clients see of an event. Of what is removed that is the key alone, when the transform makes nothing of it.

    Raises:
        Exception: The transform's.
    """
    try:
        return transformed(options, data)
    except Exception:
        key = options.key if options.merge == "crud" else "key"
        if event not in _REMOVALS:
            raise
        if isinstance(data, Mapping) and key in data:
            return {key: data[key]}
        if hasattr(data, key):
            return {key: getattr(data, key)}
        raise


def transformed(options: StreamOptions, data: Any) -> Any:
    """Each row as clients see it; under ``set`` the whole value."""
    return data if options.transform is None else _each(options.transform, options, data)


def migrated(options: StreamOptions, data: Any, client: int | None) -> Any:
    """Loaded rows for a client that understands an older version of the schema.

    Args:
        options: Of the stream.
        data: Transformed.
        client: Its version; None: it did not say.
    """
    version = options.version
    if version is None or client is None or not 1 <= client < version:
        return data
    for step in range(client, version):
        function = options.migrate.get(step)
        if function is not None:
            data = _each(function, options, data)
        else:
            log.warning("there is no migrate function for rows of version %d; they stay as they are", step)
    return data


def _each(function: Callable[[Any], Any], options: StreamOptions, data: Any) -> Any:
    if data is None:
        return None
    if isinstance(data, list | tuple) and options.merge != "set":
        return [function(row) for row in data]
    return function(data)
