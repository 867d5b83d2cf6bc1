"""From the arguments of ``connect()`` to a connection."""

from __future__ import annotations

import ssl as ssl_module
import time
from collections.abc import Callable, Mapping
from functools import partial

from liverpc.client.connection import Connection
from liverpc.client.socket import Connector
from liverpc.config import ClientConfig
from liverpc.errors import ConfigError

__all__ = ["opener"]


def opener(
    url: str,
    *,
    config: ClientConfig | None,
    headers: Mapping[str, str] | None,
    ssl: ssl_module.SSLContext | None,
    auth: bool | str,
    connector: Connector | None = None,
    wall: Callable[[], float] = time.time,
) -> Callable[[], Connection]:
    """What makes the connection, to be called on its event loop; checks the arguments at once.

    Raises:
        ConfigError: As :func:`liverpc.client.connect`.
    """
    config = config or ClientConfig()
    silence: float | None = config.silence_seconds
    if connector is None:
        from liverpc.client.websocket import websocket_connector

        connector = websocket_connector(url, config=config, headers=headers, ssl=ssl, auth=auth)
        silence = None
    elif auth is not False:
        raise ConfigError("connect(): auth needs the sockets that connect() opens itself, not a connector")
    return partial(Connection, connector, config, silence=silence, wall=wall)
