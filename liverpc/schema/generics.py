"""What the type parameters of a generic class are for those who derive from it."""

from __future__ import annotations

from typing import Any, get_args, get_origin

__all__ = ["type_arguments"]


def type_arguments(cls: type, base: type) -> tuple[Any, ...]:
    """The arguments that ``cls`` gives to its generic ``base``, also through other generic bases.

    Type variables stand where nothing is given yet; nothing at all when ``cls`` derives from ``base`` without any.
    """
    for given in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin: Any = get_origin(given) or given
        if origin is base:
            return get_args(given)
        if isinstance(origin, type) and issubclass(origin, base):
            parameters = getattr(origin, "__parameters__", ())
            meant = dict(zip(parameters, get_args(given), strict=False))
            return tuple(_put(argument, meant) for argument in type_arguments(origin, base))
    return ()


def _put(argument: Any, meant: dict[Any, Any]) -> Any:
    """The argument with type variables replaced, also inside, as in ``list[T]``."""
    inner = getattr(argument, "__parameters__", ())
    if not inner or isinstance(argument, type):
        return meant.get(argument, argument) if not isinstance(argument, list | dict) else argument
    return argument[tuple(meant.get(variable, variable) for variable in inner)]
