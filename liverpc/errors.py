"""Everything the library raises, and what of it may cross the wire.

The tree::

    LiveRpcError
    ├── LiveError           raised by handlers and the library on purpose; goes to the caller as it is
    ├── RpcError            what a client's call or stream got instead of a value
    ├── PushFailed          a client could not answer what the server asked it
    ├── Reject              refuses a connection in ``on_connect``
    ├── DeclarationError    a declaration or an option is wrong; names file and line
    ├── ConfigError         a setting is wrong; names the setting and what it takes
    ├── AttachError         a devtools session could not be opened or was ended
    └── MissingExtraError   an optional package is not installed; names the extra

What a peer sees is decided by type alone: a :class:`LiveError` goes out with its code, message and
issues; every other exception becomes ``INTERNAL_ERROR`` with a fixed text, and its details stay in the
server's log (docs/protocol.md section 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Self

import msgspec

__all__ = [
    "AttachError",
    "ConfigError",
    "DeclarationError",
    "ErrorCode",
    "Issue",
    "LiveError",
    "LiveRpcError",
    "MissingExtraError",
    "PushFailed",
    "Reject",
    "RpcError",
]


class ErrorCode(StrEnum):
    """The codes the library itself uses. Applications may use any other string."""

    INVALID_REQUEST = "INVALID_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    VALIDATION = "VALIDATION"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    CONFLICT = "CONFLICT"
    LOCK_TIMEOUT = "LOCK_TIMEOUT"
    LOCK_QUEUE_FULL = "LOCK_QUEUE_FULL"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    TOO_MANY_UPLOADS = "TOO_MANY_UPLOADS"
    FLOW_BACKPRESSURE = "FLOW_BACKPRESSURE"
    CANCELLED = "CANCELLED"
    JOIN_REJECTED = "JOIN_REJECTED"
    INVALID_TOPIC = "INVALID_TOPIC"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    TIMEOUT = "TIMEOUT"
    # Made by the client, never sent.
    DISCONNECTED = "DISCONNECTED"
    CONNECTION_CLOSED = "CONNECTION_CLOSED"
    QUEUE_FULL = "QUEUE_FULL"
    STALE = "STALE"
    STREAM_ERROR = "STREAM_ERROR"
    INVALID_RESULT = "INVALID_RESULT"
    SOURCE_ERROR = "SOURCE_ERROR"


class Issue(msgspec.Struct, frozen=True):
    """One thing that is wrong with an argument."""

    path: list[str]  #: where: the parameter's name, then fields and list positions, all as strings
    message: str  #: what, for people


class LiveRpcError(Exception):
    """Base of all errors of the library."""


class _CodedError(LiveRpcError):
    """An error with a machine-readable code; survives pickling and ``to_dict``/``from_dict``."""

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        issues: Sequence[Issue] = (),
        retry_after: float | None = None,
    ) -> None:
        self.code = str(code)
        self.message = message or self.code
        self.issues = tuple(issues)
        self.retry_after = retry_after
        super().__init__(self.code, self.message)

    def __str__(self) -> str:
        text = self.message if self.message == self.code else f"{self.code}: {self.message}"
        if self.issues:
            text += " (" + "; ".join(f"{'.'.join(i.path) or 'arguments'}: {i.message}" for i in self.issues) + ")"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data: ``code``, ``message`` and, when present, ``issues`` and ``retry_after``."""
        data: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.issues:
            data["issues"] = [{"path": list(i.path), "message": i.message} for i in self.issues]
        if self.retry_after is not None:
            data["retry_after"] = self.retry_after
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(
            data["code"],
            data.get("message", ""),
            issues=[Issue(list(i["path"]), i["message"]) for i in data.get("issues", ())],
            retry_after=data.get("retry_after"),
        )


def _rebuild(cls: type[_CodedError], data: dict[str, Any]) -> _CodedError:
    return cls.from_dict(data)


class LiveError(_CodedError):
    """An error meant for the caller: code, message and issues reach it unchanged.

    Args:
        code: Machine-readable; one of :class:`ErrorCode` or the application's own.
        message: For people. Defaults to the code.
        issues: What is wrong with which argument (``VALIDATION``).
        retry_after: Seconds after which a retry makes sense; milliseconds on the wire.
    """


class RpcError(_CodedError):
    """What a client's call or stream got instead of a value.

    ``code`` is the server's, or one made by the client: ``TIMEOUT`` (no answer in time),
    ``DISCONNECTED`` (the connection was lost first; the call may have run), ``CONNECTION_CLOSED``
    (closed for good), ``QUEUE_FULL`` and ``STALE`` (made without a connection, and dropped by the
    offline queue; ``QUEUE_FULL`` also when too many optimistic changes of a stream wait),
    ``INVALID_RESULT`` (a call's result that does not fit the declared type), ``STREAM_ERROR`` (a
    stream's value that does not).
    """


class PushFailed(LiveRpcError):
    """A client answered a request of the server with an error, or left before it answered.

    No ``LiveError``: its text is the client's, and must not reach other clients.
    """


class Reject(LiveRpcError):
    """Refuses a connection; raise it in ``on_connect``.

    Args:
        code: ``UNAUTHENTICATED`` closes with 4401 and ``FORBIDDEN`` with 4403 (clients stop trying),
            ``THROTTLED`` with 4429 (clients come back much later).
        reason: Sent as the close reason; at most 123 bytes of it arrive.
        before_upgrade: Answer HTTP 401, 403 or 429 instead. Browsers see such a refusal only as a lost
            connection and keep retrying.
    """

    CLOSE_CODES: Mapping[str, int] = {"UNAUTHENTICATED": 4401, "FORBIDDEN": 4403, "THROTTLED": 4429}

    def __init__(self, code: str, reason: str = "", *, before_upgrade: bool = False) -> None:
        if code not in self.CLOSE_CODES:
            raise ConfigError(f"Reject takes one of {', '.join(self.CLOSE_CODES)}, not {code!r}")
        self.code = code
        self.reason = reason
        self.before_upgrade = before_upgrade
        super().__init__(code, reason)

    @property
    def close_code(self) -> int:
        """The WebSocket close code for this refusal; minus 4000 it is the HTTP status."""
        return self.CLOSE_CODES[self.code]


class DeclarationError(LiveRpcError, TypeError):
    """A declaration is wrong; raised where it stands, at import or when the server is made."""


class ConfigError(LiveRpcError, ValueError):
    """A setting has a value it cannot have."""


class AttachError(LiveRpcError):
    """A devtools session could not be opened, or the server ended it.

    ``kind`` is ``refused`` (token), ``absent`` (no devtools there), ``unreachable`` or ``version``.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class MissingExtraError(LiveRpcError, ImportError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, *, extra: str, what: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed: pip install 'liverpc[{extra}]'"
        )
