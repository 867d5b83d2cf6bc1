"""The client. Importing it loads no network library and nothing of the server."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liverpc._types import Created, Deleted, Updated, remote
    from liverpc.client.aio import Client, ClientCounters
    from liverpc.client.batch import Batch, Reply
    from liverpc.client.changes import create_optimistic
    from liverpc.client.contract import ContractPage
    from liverpc.client.derived import Derived, combine, map_rows
    from liverpc.client.failure import Failure, FailureClass
    from liverpc.client.handles import StreamHandle
    from liverpc.client.offline import OfflineQueue, QueuedCall
    from liverpc.client.opening import connect
    from liverpc.client.readable import Readable
    from liverpc.client.uploading import Progress, UploadHandle
    from liverpc.client.when import when
    from liverpc.config import ClientConfig
    from liverpc.errors import RpcError

__all__ = [
    "Batch",
    "Client",
    "ClientConfig",
    "ClientCounters",
    "ContractPage",
    "Created",
    "Deleted",
    "Derived",
    "Failure",
    "FailureClass",
    "OfflineQueue",
    "Progress",
    "QueuedCall",
    "Readable",
    "Reply",
    "RpcError",
    "StreamHandle",
    "Updated",
    "UploadHandle",
    "combine",
    "connect",
    "create_optimistic",
    "map_rows",
    "remote",
    "when",
]

_HOME = {
    "Batch": "liverpc.client.batch",
    "Client": "liverpc.client.aio",
    "ClientConfig": "liverpc.config",
    "ClientCounters": "liverpc.client.aio",
    "ContractPage": "liverpc.client.contract",
    "Created": "liverpc._types",
    "Deleted": "liverpc._types",
    "Derived": "liverpc.client.derived",
    "Failure": "liverpc.client.failure",
    "FailureClass": "liverpc.client.failure",
    "OfflineQueue": "liverpc.client.offline",
    "Progress": "liverpc.client.uploading",
    "QueuedCall": "liverpc.client.offline",
    "Readable": "liverpc.client.readable",
    "Reply": "liverpc.client.batch",
    "RpcError": "liverpc.errors",
    "StreamHandle": "liverpc.client.handles",
    "Updated": "liverpc._types",
    "UploadHandle": "liverpc.client.uploading",
    "combine": "liverpc.client.derived",
    "connect": "liverpc.client.opening",
    "create_optimistic": "liverpc.client.changes",
    "map_rows": "liverpc.client.derived",
    "remote": "liverpc._types",
    "when": "liverpc.client.when",
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
