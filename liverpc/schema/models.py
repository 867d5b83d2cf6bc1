"""Pydantic models in annotations. They are read and written by pydantic itself, and nothing here needs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args

from liverpc.errors import Issue

__all__ = ["adapter_of", "issues_of", "keeps_extra", "plain"]


def adapter_of(annotation: Any) -> Any:
    """A ``pydantic.TypeAdapter`` for a type that has models in it, also in lists, dicts and unions; None for others.

    Raises:
        TypeError: Pydantic does not know something else in it.
    """
    if next(_models(annotation), None) is None:
        return None
    pydantic: Any = sys.modules["pydantic"]  # a model does not exist without it
    try:
        return pydantic.TypeAdapter(annotation)
    except pydantic.errors.PydanticUserError as error:
        raise TypeError(str(error).partition("\n")[0]) from None


def keeps_extra(annotation: Any) -> bool:
    """Whether a model says itself what becomes of members that it does not have."""
    return any("extra" in model.model_config for model in _models(annotation))


def plain(value: Any) -> Any:
    """A model as what it is in JSON; other values as they are."""
    return value.model_dump(mode="json", by_alias=True) if hasattr(type(value), "model_config") else value


def issues_of(error: Any) -> list[Issue]:
    """What a ``pydantic.ValidationError`` says, without the input."""
    return [
        Issue([str(step) for step in fault["loc"]], fault["msg"])
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _models(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and hasattr(annotation, "model_config"):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
