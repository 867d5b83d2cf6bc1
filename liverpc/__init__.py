"""liverpc: call server functions over one WebSocket, and subscribe to streams that merge events into state.

Names are imported when they are first used, so that a client does not pay for the server, nor the reverse.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liverpc._types import Locals, Page, Present, Remote, Topic, remote
    from liverpc.clock import Clock
    from liverpc.config import ClientConfig, DevWarnings, Inspect, Limits, PressureThresholds, Token
    from liverpc.declare.access import access
    from liverpc.declare.context import Context
    from liverpc.declare.contract import Contract, event, room
    from liverpc.declare.discover import discover
    from liverpc.declare.guards import guard, public
    from liverpc.declare.inroom import RoomContext
    from liverpc.declare.keys import RoomKey
    from liverpc.declare.live import live
    from liverpc.declare.options import Delta
    from liverpc.declare.pipe import pipe
    from liverpc.declare.topics import Topics, define_topics
    from liverpc.declare.uploading import IncomingUpload, UploadContext
    from liverpc.errors import (
        AttachError,
        ConfigError,
        DeclarationError,
        ErrorCode,
        Issue,
        LiveError,
        LiveRpcError,
        MissingExtraError,
        PushFailed,
        Reject,
        RpcError,
    )
    from liverpc.hub.connection import Connection
    from liverpc.hub.link import ConnectRequest, HttpRequest, HttpResponse
    from liverpc.pages import Events
    from liverpc.policies.declared import RateLimit
    from liverpc.policies.pressure import Pressure, PressureReason
    from liverpc.process import Listening
    from liverpc.server import LiveServer

__version__ = "0.1.0"

_HOME = {
    "AttachError": "errors",
    "ClientConfig": "config",
    "Clock": "clock",
    "ConfigError": "errors",
    "ConnectRequest": "hub.link",
    "Connection": "hub.connection",
    "Context": "declare.context",
    "Contract": "declare.contract",
    "DeclarationError": "errors",
    "Delta": "declare.options",
    "DevWarnings": "config",
    "ErrorCode": "errors",
    "Events": "pages",
    "HttpRequest": "hub.link",
    "HttpResponse": "hub.link",
    "IncomingUpload": "declare.uploading",
    "Inspect": "config",
    "Issue": "errors",
    "Limits": "config",
    "Listening": "process",
    "LiveError": "errors",
    "LiveRpcError": "errors",
    "LiveServer": "server",
    "Locals": "_types",
    "MissingExtraError": "errors",
    "Page": "_types",
    "Present": "_types",
    "Pressure": "policies.pressure",
    "PressureReason": "policies.pressure",
    "PressureThresholds": "config",
    "PushFailed": "errors",
    "RateLimit": "policies.declared",
    "Reject": "errors",
    "Remote": "_types",
    "RoomContext": "declare.inroom",
    "RoomKey": "declare.keys",
    "RpcError": "errors",
    "Token": "config",
    "Topic": "_types",
    "Topics": "declare.topics",
    "UploadContext": "declare.uploading",
    "access": "declare.access",
    "define_topics": "declare.topics",
    "discover": "declare.discover",
    "event": "declare.contract",
    "guard": "declare.guards",
    "live": "declare.live",
    "pipe": "declare.pipe",
    "public": "declare.guards",
    "remote": "_types",
    "room": "declare.contract",
}

__all__ = [
    "AttachError",
    "ClientConfig",
    "Clock",
    "ConfigError",
    "ConnectRequest",
    "Connection",
    "Context",
    "Contract",
    "DeclarationError",
    "Delta",
    "DevWarnings",
    "ErrorCode",
    "Events",
    "HttpRequest",
    "HttpResponse",
    "IncomingUpload",
    "Inspect",
    "Issue",
    "Limits",
    "Listening",
    "LiveError",
    "LiveRpcError",
    "LiveServer",
    "Locals",
    "MissingExtraError",
    "Page",
    "Present",
    "Pressure",
    "PressureReason",
    "PressureThresholds",
    "PushFailed",
    "RateLimit",
    "Reject",
    "Remote",
    "RoomContext",
    "RoomKey",
    "RpcError",
    "Token",
    "Topic",
    "Topics",
    "UploadContext",
    "access",
    "define_topics",
    "discover",
    "event",
    "guard",
    "live",
    "pipe",
    "public",
    "remote",
    "room",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'liverpc' has no attribute {name!r}")
    value = getattr(import_module(f"liverpc.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
