"""Pydantic models and dataclasses in annotations. Pydantic itself reads and writes them, and nothing here needs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, get_args

from liverpc.errors import Issue

__all__ = [
    "MOST_ISSUES",
    "adapter_of",
    "fields_of",
    "is_adapter",
    "is_dataclass",
    "is_fault",
    "is_model",
    "issues_of",
    "keeps_extra",
    "plain",
]

MOST_ISSUES = 16  # a frame has room for many faults; one page of them says enough


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


def fields_of(model: Any) -> dict[str, Any]:
    """The fields of a model or dataclass as pydantic sees them, by name."""
    fields: dict[str, Any] = model.__pydantic_fields__ if is_dataclass(model) else model.model_fields
    return fields


def is_adapter(value: object) -> bool:
    """Whether it is a ``pydantic.TypeAdapter``."""
    pydantic: Any = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, getattr(pydantic, "TypeAdapter", ()))


def keeps_extra(annotation: Any) -> bool:
    """Whether a model says itself what becomes of members that it does not have."""
    return any(
        "extra" in (model.__pydantic_config__ if is_dataclass(model) else model.model_config)
        for model in _models(annotation)
    )


def plain(value: Any) -> Any:
    """A model as what it is in JSON; other values as they are."""
    return value.model_dump(mode="json", by_alias=True) if hasattr(type(value), "model_config") else value


def is_dataclass(annotation: Any) -> bool:
    """Whether it is a dataclass of pydantic; to everybody else it looks like any other, and its checks do not run."""
    return isinstance(annotation, type) and "__is_pydantic_dataclass__" in vars(annotation)


def is_model(annotation: Any) -> bool:
    """Whether it is a model or dataclass of pydantic."""
    return is_dataclass(annotation) or (isinstance(annotation, type) and hasattr(annotation, "model_config"))


def is_fault(error: Exception) -> bool:
    """Whether it is a ``pydantic.ValidationError``."""
    core: Any = sys.modules.get("pydantic_core")
    return core is not None and isinstance(error, core.ValidationError)


def issues_of(error: Any) -> list[Issue]:
    """What a ``pydantic.ValidationError`` says first, without the input."""
    return [
        Issue([str(step) for step in fault["loc"]], fault["msg"])
        for fault in error.errors(include_url=False, include_context=False, include_input=False)[:MOST_ISSUES]
    ]


def _models(annotation: Any) -> Iterator[Any]:
    if is_model(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
