"""Functions that take bytes: ``@live.binary`` and ``@live.upload``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Generic, TypeAlias, TypeVar

import msgspec

from liverpc._types import Binary, P, R, Upload, User
from liverpc.declare.context import Context
from liverpc.declare.decorators import Coro, declared
from liverpc.declare.functions import Declaration, X
from liverpc.declare.uploading import UploadContext
from liverpc.errors import DeclarationError, ErrorCode, LiveError
from liverpc.schema.signature import where

__all__ = [
    "BINARY_MAX",
    "BinaryDecorator",
    "BinaryFunction",
    "UploadCaps",
    "UploadDecorator",
    "UploadFunction",
    "too_large",
]

BINARY_MAX = 10_485_760  # bytes, when a function does not say
U = TypeVar("U")
BinaryFn: TypeAlias = Callable[Concatenate[Context[U], bytes, P], Coro[R]]
UploadFn: TypeAlias = Callable[Concatenate[UploadContext[U], P], Coro[R]]


class UploadCaps(msgspec.Struct, frozen=True):
    """What an upload's function takes at most, in bytes and in uploads; see :meth:`Live.upload`."""

    max_size: int
    max_per_connection: int | None
    max_concurrent: int | None
    reauth_every: int | None


class BinaryFunction(Declaration[Concatenate[bytes, P], X, User], Binary[P, R], Generic[P, X, R, User]):
    """What ``@live.binary`` makes of a function."""

    takes_data = True
    takes_policies = frozenset(("class_of_service", "rate_limit", "lock", "breaker"))

    def __init__(self, handler: Callable[..., Any], *, max_size: int, path: str | None = None) -> None:
        super().__init__(handler, path=path)
        _check_sizes(self, {"max_size": max_size})
        if not self.is_async:
            raise DeclarationError(f"{where(handler)}: @live.binary takes an async function; this one is a plain one")
        self.max_size = max_size

    def resolve(self) -> None:
        """As for functions; and the data is annotated with ``bytes``."""
        data = self.signature.data
        assert data is not None
        if self.signature.hints().get(data.name, bytes) not in (bytes, Any):
            raise DeclarationError(
                f"{where(self.handler)}: its second parameter is {str(data)!r}, but the data comes there: "
                f"def {self.__name__}(ctx: Context, {data.name}: bytes, ...)"
            )
        super().resolve()


class UploadFunction(Declaration[P, X, User], Upload[P, R], Generic[P, X, R, User]):
    """What ``@live.upload`` makes of a function."""

    takes_policies = BinaryFunction.takes_policies

    def __init__(self, handler: Callable[..., Any], *, limits: UploadCaps, path: str | None = None) -> None:
        super().__init__(handler, path=path)
        _check_sizes(self, msgspec.structs.asdict(limits))
        if not self.is_async:
            raise DeclarationError(
                f"{where(handler)}: @live.upload takes an async function, which waits for the chunks; this one is a "
                "plain one"
            )
        self.limits = limits


def _check_sizes(declaration: Declaration[Any, Any, Any], options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is None and name != "max_size":
            continue
        if type(value) is not int or value <= 0:
            raise DeclarationError(f"{where(declaration.handler)}: {name} is a positive number, not {value!r}")


def too_large(path: str, most: int) -> LiveError:
    """The error for more bytes than the function of a path takes."""
    return LiveError(ErrorCode.PAYLOAD_TOO_LARGE, f"{path} takes at most {most} bytes")


class BinaryDecorator:
    """``@live.binary(...)``: waits for the function."""

    def __init__(self, *, max_size: int, path: str | None, class_of_service: str | None) -> None:
        self._max_size = max_size
        self._path = path
        self._class = class_of_service

    def __call__(self, fn: BinaryFn[U, P, R], /) -> BinaryFunction[P, Coro[R], R, U]:
        function: BinaryFunction[P, Coro[R], R, U] = declared(
            fn, lambda handler: BinaryFunction(handler, max_size=self._max_size, path=self._path).of_class(self._class)
        )
        return function

    def unused(self) -> str:
        """What went wrong when a module holds this instead of a function."""
        return "is live.binary() without a function: decorate the function that takes the bytes with it"


class UploadDecorator:
    """``@live.upload(...)``: waits for the function."""

    def __init__(self, limits: UploadCaps, path: str | None, class_of_service: str | None) -> None:
        self._limits = limits
        self._path = path
        self._class = class_of_service

    def __call__(self, fn: UploadFn[U, P, R], /) -> UploadFunction[P, Coro[R], R, U]:
        function: UploadFunction[P, Coro[R], R, U] = declared(
            fn, lambda handler: UploadFunction(handler, limits=self._limits, path=self._path).of_class(self._class)
        )
        return function

    def unused(self) -> str:
        """What went wrong when a module holds this instead of a function."""
        return "is live.upload() without a function: decorate the function that reads the upload with it"
