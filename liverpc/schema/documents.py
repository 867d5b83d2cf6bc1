"""JSON schemas of annotations, for people and tools that compose calls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from liverpc.schema.models import adapter_of, is_adapter

__all__ = ["json_schemas"]


def json_schemas(annotations: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The schema of each annotation, and the definitions that they share.

    A reference is ``#/$defs/NAME``. Those in a pydantic model mean the ``$defs`` in its own schema, all others the
    shared definitions. What has no schema gets the one that everything fits, ``{}``.

    Args:
        annotations: Types that msgspec or pydantic read, or instances of ``pydantic.TypeAdapter``.
    """
    schemas: list[dict[str, Any]] = [{} for _ in annotations]
    readable: list[int] = []
    for index, annotation in enumerate(annotations):
        with suppress(Exception):  # of types without a schema, and of models with code of their own
            adapter = annotation if is_adapter(annotation) else adapter_of(annotation)
            if adapter is not None:
                schemas[index] = adapter.json_schema()
            else:
                msgspec.json.schema(annotation)
                readable.append(index)
    found, definitions = msgspec.json.schema_components(
        [annotations[index] for index in readable], ref_template="#/$defs/{name}"
    )
    for index, schema in zip(readable, found, strict=True):
        schemas[index] = schema
    return schemas, definitions
