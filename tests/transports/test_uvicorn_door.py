"""uvicorn's ``--ws`` class, called as uvicorn calls it."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from liverpc.config import Limits
from liverpc.hub.link import ConnectRequest, Refuse
from liverpc.transports.uvicorn import LiveDoor
from liverpc.transports.ws import LiveProtocol
from tests.transports.asgi_kit import HostedEcho
from tests.transports.transport_kit import HEAD, FakeTransport, frame, unframe


class SocketTransport(FakeTransport):
    """Knows its protocol, as those of the loop do."""

    def __init__(self, peer: Any = ("192.0.2.7", 1234)) -> None:
        super().__init__()
        self.peer = peer
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peer if name == "peername" else default


async def beside(scope: Any, receive: Any, send: Any) -> None:
    """The application beside liverpc: stays until its peer leaves."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


class Uvicorn:
    """One uvicorn server, as far as a WebSocket class sees it."""

    def __init__(self, state: dict[str, Any], **options: Any) -> None:
        self.config = Config(beside, log_config=None, ws="liverpc.transports.uvicorn:LiveDoor", **options)
        self.config.load()
        self.server_state = ServerState()
        self.app_state = state

    def upgrade(self, head: bytes = HEAD % b"", *, peer: Any = ("192.0.2.7", 1234)) -> SocketTransport:
        transport = SocketTransport(peer)
        door: Any = self.config.ws_protocol_class
        assert door is LiveDoor
        protocol = door(config=self.config, server_state=self.server_state, app_state=self.app_state, newer=1)
        protocol.connection_made(transport)
        protocol.data_received(head)
        transport.set_protocol(protocol)
        return transport


def test_without_uvicorn_the_cure_is_named() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; import liverpc.transports.uvicorn"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'liverpc[uvicorn]'" in run.stderr


async def test_the_path_decides_who_gets_the_socket() -> None:
    application = HostedEcho(Limits(drain_seconds=1, close_seconds=1))
    async with application.lifespan() as state:
        uvicorn = Uvicorn(state)
        ours = uvicorn.upgrade()
        foreign = uvicorn.upgrade((HEAD % b"").replace(b"GET /ws", b"GET /other?x=/ws"))
        assert len(uvicorn.server_state.connections) == 2
        ours.protocol.data_received(frame(1, b"at once"))  # before the door has stepped aside
        await asyncio.sleep(0)
        assert isinstance(ours.protocol, LiveProtocol)
        assert isinstance(foreign.protocol, WebSocketsSansIOProtocol)
        ours.protocol.data_received(frame(1, b"later"))
        await asyncio.sleep(0)
        answers = unframe(bytes(ours.sent).partition(b"\r\n\r\n")[2])
        assert [data for _, data in answers] == [b"at once", b"later"]
        for transport in (ours, foreign):
            transport.protocol.connection_lost(None)
        assert uvicorn.server_state.connections == set()
        await asyncio.sleep(0.1)  # the application of the foreign one ends


async def test_one_shutdown_says_goodbye_to_all() -> None:
    application = HostedEcho(Limits(drain_seconds=1, close_seconds=1))
    async with application.lifespan() as state:
        uvicorn = Uvicorn(state)
        sockets = [uvicorn.upgrade() for _ in range(3)]
        await asyncio.sleep(0)
        for connection in list(uvicorn.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0.5)
        for socket in sockets:
            first, data = unframe(bytes(socket.sent).partition(b"\r\n\r\n")[2])[-1]
            assert (first, data[:2]) == (0x88, (1001).to_bytes(2, "big"))
            socket.protocol.connection_lost(None)


async def test_an_empty_state_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    uvicorn = Uvicorn({})
    with caplog.at_level(logging.WARNING, "liverpc"):
        for _ in range(3):
            transport = uvicorn.upgrade()
            await asyncio.sleep(0)
            assert isinstance(transport.protocol, WebSocketsSansIOProtocol)
            transport.protocol.connection_lost(None)
    assert caplog.text.count("FastAPI(lifespan=server.lifespan)") == 1
    await asyncio.sleep(0.1)


async def test_a_server_that_has_stopped_gets_no_sockets() -> None:
    application = HostedEcho()
    async with application.lifespan() as state:
        pass
    transport = Uvicorn(state).upgrade()
    await asyncio.sleep(0)
    assert isinstance(transport.protocol, WebSocketsSansIOProtocol)
    transport.protocol.connection_lost(None)
    await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("patience", "drain", "close"),
    [(None, 6.0, 3.0), (9, 6.0, 3.0), (8, 8 / 3, 8 / 3), (3, 1.0, 1.0), (0, 0.1, 0.1)],
)
async def test_goodbyes_fit_into_uvicorns_patience(patience: int | None, drain: float, close: float) -> None:
    application = HostedEcho(Limits(drain_seconds=6, close_seconds=3))
    async with application.lifespan() as state:
        uvicorn = Uvicorn(state, timeout_graceful_shutdown=patience)
        sockets = [uvicorn.upgrade() for _ in range(2)]
        await asyncio.sleep(0)
        assert application.listener is not None
        limits = application.listener.limits
        assert (limits.drain_seconds, limits.close_seconds) == (drain, close)
        for socket in sockets:
            socket.protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("peer", "trusted", "seen"),
    [
        (("192.0.2.7", 1), "192.0.2.7", ("203.0.113.9", True)),
        (("192.0.2.7", 1), "*", ("203.0.113.9", True)),
        (("192.0.2.7", 1), "192.0.2.8", ("192.0.2.7", False)),
        (("2001:db8::1", 1, 0, 0), "192.0.2.8", ("2001:db8::1", False)),
        ("", "192.0.2.8", ("", False)),
    ],
)
async def test_uvicorns_rules_say_who_the_peer_is(peer: Any, trusted: str, seen: tuple[str, bool]) -> None:
    asked: list[ConnectRequest] = []

    def decide(request: ConnectRequest) -> Refuse:
        asked.append(request)
        return Refuse(403)

    application = HostedEcho(Limits(linger_seconds=0.1))
    application.echo.decision = decide
    forwarded = b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
    async with application.lifespan() as state:
        transport = Uvicorn(state, forwarded_allow_ips=trusted).upgrade(HEAD % forwarded, peer=peer)
        await asyncio.sleep(0)
        transport.protocol.connection_lost(None)
    assert [(request.address, request.secure) for request in asked] == [seen]


async def test_an_application_that_fails_to_say_whose_a_path_is_leaves_nobody_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = HostedEcho()
    async with application.lifespan() as state:
        uvicorn = Uvicorn(state)

        def endpoint(path: str) -> Any:
            raise RuntimeError("a secret")

        application.endpoint = endpoint  # type: ignore[method-assign]
        transport = uvicorn.upgrade()
        assert bytes(transport.sent).startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in bytes(transport.sent)
        assert transport.is_closing()
        transport.protocol.connection_lost(None)
    assert "it could not be decided" in caplog.text
