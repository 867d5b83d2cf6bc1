"""The client. Importing it loads no network library and nothing of the server."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liverpc._types import remote
    from liverpc.client.aio import Client, ClientCounters, connect
    from liverpc.client.batch import Batch, Reply
    from liverpc.client.failure import Failure, FailureClass
    from liverpc.client.handles import StreamHandle
    from liverpc.config import ClientConfig
    from liverpc.errors import RpcError

__all__ = [
    "Batch",
    "Client",
    "ClientConfig",
    "ClientCounters",
    "Failure",
    "FailureClass",
    "Reply",
    "RpcError",
    "StreamHandle",
    "connect",
    "remote",
]

_HOME = {
    "Batch": "liverpc.client.batch",
    "Client": "liverpc.client.aio",
    "ClientConfig": "liverpc.config",
    "ClientCounters": "liverpc.client.aio",
    "Failure": "liverpc.client.failure",
    "FailureClass": "liverpc.client.failure",
    "Reply": "liverpc.client.batch",
    "RpcError": "liverpc.errors",
    "StreamHandle": "liverpc.client.handles",
    "connect": "liverpc.client.aio",
    "remote": "liverpc._types",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
