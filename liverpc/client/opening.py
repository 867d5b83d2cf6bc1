"""How clients are made."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar, overload

from liverpc.client.aio import Client
from liverpc.client.connection import Connection
from liverpc.client.contract import ContractPage
from liverpc.client.offline import OfflineQueue
from liverpc.client.options import CallOptions
from liverpc.client.socket import Connector
from liverpc.client.urls import parts_of, path_of, url_of
from liverpc.config import ClientConfig
from liverpc.errors import ConfigError
from liverpc.pages import PageContract

__all__ = ["connect", "opener", "target_of"]

C = TypeVar("C", bound=PageContract[Any])
D = TypeVar("D")


@overload
def connect(
    url: str,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
    connector: Connector | None = None,
    wall: Callable[[], float] = time.time,
) -> Client: ...
@overload
def connect(
    contract: Callable[[D, Any], C],
    url: str,
    params: D,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
    connector: Connector | None = None,
    wall: Callable[[], float] = time.time,
) -> ContractPage[C]: ...
@overload
def connect(
    contract: type[C],
    url: str,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
    connector: Connector | None = None,
    wall: Callable[[], float] = time.time,
    **parts: str | int,
) -> ContractPage[C]: ...
def connect(
    target: Any,
    url: Any = None,
    params: Any = None,
    /,
    *,
    config: ClientConfig | None = None,
    headers: Mapping[str, str] | None = None,
    ssl: ssl_module.SSLContext | None = None,
    auth: bool | str = False,
    offline: OfflineQueue | None = None,
    connector: Connector | None = None,
    wall: Callable[[], float] = time.time,
    **parts: Any,
) -> Any:
    """A client of the server at a URL: ``async with connect("wss://example.org/ws") as client: …``.

    Or, with a contract, a page of it: ``async with connect(Chat, "wss://example.org", room_id="general") as page: …``.

    Entering waits for the first connection, and until the contract is open. Failed attempts are repeated until
    ``config.connect_timeout``; later losses are repaired in the background.

    Args:
        target: The URL, ``ws://`` or ``wss://``, with path. Credentials in it are sent as Basic authorization. Or the
            contract.
        url: With a contract: what comes before its path. A query stays.
        params: With a contract: the parts of its path, an object of the type it declares for them; or by name.
        config: Time limits, back-off, sizes.
        headers: Sent with every handshake, such as ``Authorization`` or ``Cookie``.
        ssl: For ``wss://``. Default: the system's certificate authorities.
        auth: Before each attempt, POST to this path of the same host; True: to ``/__ws/auth``. The cookies
            it sets are sent with the handshake and later requests. A 4xx answer ends the client, other
            failures are repeated.
        offline: Lets calls made without a connection wait for the next one, with a cap, a filter and an order.
            Default: 1000 wait, and their time runs.
        connector: Opens the sockets instead; ``url``, ``headers`` and ``ssl`` are not used then. Its sockets
            count as lost after ``config.silence_seconds`` without a message.
        wall: Seconds since the epoch. When it jumps ahead the device has slept, and the client makes a new
            connection at once.
        parts: As ``params``. Those that are called like an argument of this function need ``params``.

    Raises:
        TypeError: A part of the contract's path is missing, empty, or there is one too many.
        ConfigError: The URL is no WebSocket URL, its credentials cannot be sent, or it does not go with
            ``ssl``; a header cannot be sent, or brings other credentials; ``auth`` is no path, or there is a
            ``connector``.
        RuntimeError: No event loop is running; ``liverpc.client.sync`` needs none.

    Entering raises:
        RpcError: ``CONNECTION_CLOSED`` when the server refuses the client for good, ``TIMEOUT`` when there
            was no connection in time; the text tells the last reason. With a contract, also what
            :meth:`ContractPage.open` raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "connect() needs a running event loop: call it in an async function; without one, use "
            "liverpc.client.sync.connect()"
        ) from None
    place, filled = target_of(target, url, params, parts)
    make = opener(
        place, config=config, headers=headers, ssl=ssl, auth=auth, offline=offline, connector=connector, wall=wall
    )
    connection = make()
    client = Client(connection)
    if filled is None:
        return client
    return ContractPage(client, connection, CallOptions(), target, filled, owns=True)


def target_of(target: Any, url: Any, params: Any, parts: Mapping[str, Any]) -> tuple[str, dict[str, str] | None]:
    """The URL that the first arguments of :func:`connect` mean, and the parts of its path if they name a contract.

    Raises:
        TypeError: They do not fit together.
    """
    if isinstance(target, str):
        if url is not None or parts:
            what = next(iter(parts), "a second URL")
            raise TypeError(f"connect() with a URL takes no {what}; with a contract, the contract comes first")
        return target, None
    filled = parts_of(target, params, parts)
    if not isinstance(url, str):
        raise TypeError(f"connect({target.__qualname__}, ...) needs the server's URL, such as 'wss://example.org'")
    return url_of(target, url, filled), filled


def opener(
    url: str,
    *,
    config: ClientConfig | None,
    headers: Mapping[str, str] | None,
    ssl: ssl_module.SSLContext | None,
    auth: bool | str,
    offline: OfflineQueue | None,
    connector: Connector | None = None,
    wall: Callable[[], float] = time.time,
) -> Callable[[], Connection]:
    """What makes the connection, to be called on its event loop; checks the arguments at once.

    Raises:
        ConfigError: As :func:`connect`.
    """
    config = config or ClientConfig()
    silence: float | None = config.silence_seconds
    if connector is None:
        from liverpc.client.websocket import websocket_connector

        connector = websocket_connector(url, config=config, headers=headers, ssl=ssl, auth=auth)
        silence = None
    elif auth is not False:
        raise ConfigError("connect(): auth needs the sockets that connect() opens itself, not a connector")
    return partial(Connection, connector, config, offline=offline, silence=silence, wall=wall, path=path_of(url))
