"""Who gets a connection when many ask, whom a proxy speaks for, and how long a request's headers may be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress

import pytest

from liverpc import ConfigError, LiveServer
from liverpc.client.socket import HandshakeRefused
from liverpc.config import Limits
from liverpc.hub.link import ConnectRequest, Refuse
from liverpc.transports import handshake
from liverpc.transports.handshake import Admission, proxies_of
from liverpc.transports.memory import MemoryTransport
from tests.transports.transport_kit import (
    HEAD,
    EchoApplication,
    Peer,
    Served,
    serving,
    turns,
    until,
    without_sockets,
)

FAR = "192.0.2.1"


async def opened(transport: MemoryTransport, address: str = FAR) -> bool:
    try:
        socket = await transport.connect(address=address)
    except HandshakeRefused as refused:
        assert refused.status == 429
        return False
    await socket.close()
    return True


async def count(transport: MemoryTransport, attempts: int, address: str = FAR) -> int:
    return sum([await opened(transport, address) for _ in range(attempts)])


# Upgrades per address


async def test_an_address_gets_so_many_connections_and_no_more() -> None:
    application = EchoApplication(Limits(upgrades_per_address=5))
    transport = MemoryTransport(application)
    assert [await opened(transport) for _ in range(7)] == [True] * 5 + [False] * 2
    assert application.counters.upgrades_limited == 2
    assert application.counters.handshakes_refused == 2
    assert await count(transport, 6, "192.0.2.2") == 5


async def test_the_window_slides() -> None:
    transport = MemoryTransport(EchoApplication(Limits(upgrades_per_address=10, upgrade_window_seconds=10)))
    await asyncio.sleep(9)
    assert await count(transport, 20) == 10
    await asyncio.sleep(2)  # a new window began, the old one counts for nine tenths
    assert await count(transport, 20) == 1
    await asyncio.sleep(4)
    assert await count(transport, 20) == 4
    await asyncio.sleep(20)
    assert await count(transport, 20) == 10


@pytest.mark.parametrize(("limit", "early", "late"), [(1, 1, 0), (2, 2, 0), (2, 1, 1), (10, 3, 7), (10, 10, 0)])
async def test_who_comes_back_when_told_gets_in_and_not_much_earlier(limit: int, early: int, late: int) -> None:
    upgrades = handshake._Upgrades(Limits(upgrades_per_address=limit), asyncio.get_running_loop().time)
    assert [upgrades.wait(FAR) for _ in range(early)] == [0] * early
    await asyncio.sleep(8)
    assert [upgrades.wait(FAR) for _ in range(late)] == [0] * late
    await asyncio.sleep(1)
    wait = upgrades.wait(FAR)
    await asyncio.sleep(wait - 0.1)
    assert upgrades.wait(FAR) > 0
    await asyncio.sleep(0.101)
    assert upgrades.wait(FAR) == 0


async def test_a_limited_proxy_that_nobody_trusts_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    transport = MemoryTransport(EchoApplication(Limits(upgrades_per_address=1)))
    for headers in ({}, {"X-Forwarded-For": "198.51.100.9"}):
        for _ in range(3):
            with suppress(HandshakeRefused):
                socket = await transport.connect(address=FAR, headers=headers)
                await socket.close()
    (record,) = caplog.records
    assert "trusted_proxies" in record.getMessage()
    assert FAR in record.getMessage()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "memory", ""])
async def test_the_machine_itself_is_not_limited(address: str) -> None:
    transport = MemoryTransport(EchoApplication(Limits(upgrades_per_address=1)))
    assert await count(transport, 5, address) == 5


async def test_a_network_of_one_host_is_one_address() -> None:
    transport = MemoryTransport(EchoApplication(Limits(upgrades_per_address=1)))
    assert await opened(transport, "2001:db8::1")
    assert not await opened(transport, "2001:db8::2:1")
    assert await opened(transport, "2001:db8:0:1::1")
    assert await opened(transport, "::ffff:192.0.2.1")
    assert not await opened(transport, "192.0.2.1")


async def test_the_table_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "_MAX_ADDRESSES", 3)
    transport = MemoryTransport(EchoApplication(Limits(upgrades_per_address=1)))
    addresses = [f"192.0.2.{number}" for number in range(4)]
    for address in addresses:
        assert await opened(transport, address)
    assert len(transport._admission._upgrades._running) == 3
    assert not await opened(transport, addresses[3])
    assert await opened(transport, addresses[0])  # forgotten: it came first


@pytest.mark.realtime
async def test_one_too_many_is_429_and_told_when_to_come_back() -> None:
    application = EchoApplication(Limits(upgrades_per_address=2, linger_seconds=0.1))
    forwarded = HEAD % b"X-Forwarded-For: 198.51.100.9\r\n"
    async with proxied(application) as served:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(forwarded)
            assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
            writer.close()
        answer = await served.raw(forwarded)
        assert answer.startswith(b"HTTP/1.1 429 ")
        wait = int(answer.partition(b"Retry-After: ")[2].partition(b"\r\n")[0])
        assert 10 <= wait <= 15  # of two in one window, one counts till the middle of the next
        # Plain requests are not upgrades.
        assert (await served.raw(b"GET /healthz HTTP/1.0\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n")).endswith(b"ok\n")


# Decisions under way


@pytest.mark.parametrize("fill", [2, 3, 4])
async def test_so_many_decisions_may_be_under_way(fill: int) -> None:
    application = EchoApplication(Limits(handshakes_in_flight=3))
    may_decide = asyncio.Event()

    async def decide(request: ConnectRequest) -> None:
        await may_decide.wait()

    application.echo.decision = decide
    async with without_sockets(application) as listener:
        peers = [Peer(listener) for _ in range(fill)]
        refused = [peer for peer in peers if peer.transport.sent.startswith(b"HTTP/1.1 503 ")]
        assert len(refused) == max(0, fill - 3)
        assert application.counters.handshake_overflows == len(refused)
        peers[0].lose()  # who leaves makes room
        await turns()
        assert not Peer(listener).transport.sent
        may_decide.set()
        await turns()
        assert Peer(listener).transport.sent == b""
        await turns()
        assert not listener.admission.deciding


# Proxies


def peer(address: str, headers: Mapping[str, str], *proxies: str, secure: bool = False) -> tuple[str, bool]:
    def start(coroutine: object) -> asyncio.Task[object]:
        raise AssertionError("nothing is decided here")

    admission = Admission(EchoApplication(), now=lambda: 0.0, start=start, proxies=proxies_of(proxies))
    return admission.peer(address, secure, headers)


@pytest.mark.parametrize(
    ("address", "forwarded", "proxies", "expected"),
    [
        ("10.0.0.1", "192.0.2.1", (), "10.0.0.1"),
        ("192.0.2.9", "192.0.2.1", ("10.0.0.0/8",), "192.0.2.9"),  # anybody can write a header
        ("10.0.0.1", "192.0.2.1", ("10.0.0.1",), "192.0.2.1"),
        ("10.0.0.1", "", ("10.0.0.1",), "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1", ("10.0.0.0/8",), "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.2", ("10.0.0.0/8",), "192.0.2.1"),
        ("10.0.0.1", "6.6.6.6,192.0.2.1,10.0.0.2", ("10.0.0.1",), "10.0.0.2"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ("10.0.0.0/8",), "10.0.0.3"),
        ("10.0.0.1", "6.6.6.6, unknown, 10.0.0.2", ("10.0.0.0/8",), "10.0.0.2"),
        ("10.0.0.1", "192.0.2.1:4711", ("10.0.0.0/8",), "192.0.2.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", ("10.0.0.0/8",), "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", ("10.0.0.0/8",), "2001:db8::1"),
        ("::ffff:10.0.0.1", "192.0.2.1", ("10.0.0.0/8",), "192.0.2.1"),
        ("fd00::1", "192.0.2.1", ("fd00::/8", "10.0.0.0/8"), "192.0.2.1"),
        ("", "192.0.2.1", ("0.0.0.0/0",), ""),
        ("", "192.0.2.1", ("unix",), "192.0.2.1"),
        ("", "6.6.6.6, 192.0.2.1, 10.0.0.2", ("10.0.0.0/8", "unix"), "192.0.2.1"),
        ("", "", ("unix",), ""),
        ("10.0.0.1", "192.0.2.1", ("unix",), "10.0.0.1"),
        ("memory", "192.0.2.1", ("unix",), "memory"),
    ],
)
def test_the_right_most_address_counts_that_is_no_trusted_proxy(
    address: str, forwarded: str, proxies: tuple[str, ...], expected: str
) -> None:
    assert peer(address, {"x-forwarded-for": forwarded}, *proxies)[0] == expected


@pytest.mark.parametrize(
    ("proto", "secure", "expected"),
    [
        ("https", False, True),
        ("WSS", False, True),
        ("http", True, False),
        ("https, http", False, False),
        ("", True, True),
        ("", False, False),
    ],
)
def test_a_trusted_proxy_says_whether_the_client_came_over_tls(proto: str, secure: bool, expected: bool) -> None:
    headers = {"x-forwarded-proto": proto}
    assert peer("10.0.0.1", headers, "10.0.0.1", secure=secure) == ("10.0.0.1", expected)
    assert peer("10.0.0.2", headers, "10.0.0.1", secure=secure) == ("10.0.0.2", secure)


def test_a_proxy_that_is_no_address_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"trusted_proxies .*'nginx'"):
        LiveServer(trusted_proxies=["10.0.0.1", "nginx"])


def proxied(application: EchoApplication) -> AbstractAsyncContextManager[Served]:
    return serving(application, proxies=proxies_of(["127.0.0.1"]))


@pytest.mark.realtime
async def test_every_door_knows_whom_the_proxy_speaks_for() -> None:
    application = EchoApplication(Limits(linger_seconds=0.1))
    lines = b"X-Forwarded-For: 6.6.6.6, 198.51.100.9\r\nX-Forwarded-Proto: https\r\n"
    async with proxied(application) as served:
        await served.raw(b"GET /healthz HTTP/1.0\r\n" + lines + b"\r\n")
        assert application.requests[0].address == "198.51.100.9"
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(HEAD % lines)
        await until(lambda: application.sessions)
        request = application.sessions[0].request
        assert (request.address, request.secure) == ("198.51.100.9", True)
        writer.close()


async def test_an_owner_of_the_socket_may_know_the_client_better() -> None:
    application = EchoApplication()
    seen: list[Mapping[str, str]] = []

    def peer_of(headers: Mapping[str, str]) -> tuple[str, bool]:
        seen.append(headers)
        return "198.51.100.9", True

    registry: set[object] = set()
    async with without_sockets(application) as listener:
        peer = Peer(listener, registry=registry, peer_of=peer_of)
        assert registry == {peer.protocol}
        request = application.sessions[0].request
        assert (request.address, request.secure) == ("198.51.100.9", True)
        assert seen[0]["host"] == "x"
        peer.lose()
        assert registry == set()


async def test_another_owners_connections_are_upgrades_only() -> None:
    async with without_sockets(EchoApplication()) as listener:
        peer = Peer(listener, head=b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", registry=set())
        assert peer.transport.sent.startswith(b"HTTP/1.1 400 ")


# Headers


def status(answer: bytes) -> int:
    return int(answer[9:12])


async def both(served: Served, lines: bytes) -> tuple[int, int]:
    """What an upgrade and a plain request with these headers are answered."""
    plain = await served.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n")
    return status(await served.raw(HEAD % lines, eof=True)), status(plain)


@pytest.mark.realtime
@pytest.mark.parametrize(("extra", "expected"), [(-1, (101, 200)), (0, (101, 200)), (1, (431, 431))])
async def test_a_request_may_have_so_many_headers(extra: int, expected: tuple[int, int]) -> None:
    async with serving(EchoApplication(Limits(headers=20, linger_seconds=0.1))) as served:
        upgrade, _ = await both(served, b"X: y\r\n" * (15 + extra))
        _, plain = await both(served, b"X: y\r\n" * (18 + extra))
        assert (upgrade, plain) == expected


@pytest.mark.realtime
@pytest.mark.parametrize(("extra", "expected"), [(-1, (101, 200)), (0, (101, 200)), (1, (431, 431))])
@pytest.mark.parametrize("lines", [1, 2])
async def test_cookies_may_be_so_long(lines: int, extra: int, expected: tuple[int, int]) -> None:
    size = 1000 + extra
    head = b"Cookie: %s\r\n" % (b"x" * size) if lines == 1 else b"Cookie: %s\r\nCookie: y\r\n" % (b"x" * (size - 3))
    async with serving(EchoApplication(Limits(cookie_bytes=1000, linger_seconds=0.1))) as served:
        assert await both(served, head) == expected


async def test_cookies_on_several_lines_are_one_list() -> None:
    application = EchoApplication()
    async with without_sockets(application) as listener:
        Peer(listener, head=HEAD % b"Cookie: a=1\r\nCookie: b=2\r\n")
        assert application.sessions[0].request.cookies == {"a": "1", "b": "2"}


async def test_a_refusal_by_the_endpoint_comes_after_the_limits() -> None:
    application = EchoApplication(Limits(upgrades_per_address=1))
    application.echo.refusal = Refuse(403, "no")
    transport = MemoryTransport(application)
    statuses = []
    for _ in range(2):
        with pytest.raises(HandshakeRefused) as refused:
            await transport.connect(address=FAR)
        statuses.append(refused.value.status)
    assert statuses == [403, 429]
