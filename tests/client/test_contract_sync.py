"""Pages of contracts for programs that block, against our own server on another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import msgspec
import pytest

from liverpc import Contract, LiveServer, event, public, room
from liverpc.client import ClientConfig, RpcError, sync
from liverpc.declare.keys import RoomKey
from liverpc.pages import Events

pytestmark = pytest.mark.realtime

_guard = public()


class Message(msgspec.Struct):
    text: str


class Params(msgspec.Struct):
    room_id: str


class Topic(msgspec.Struct):
    name: str


class ToClient(Events):
    def message(self, data: Message) -> None: ...


class Talk(Contract[ToClient, Params], path="/talks/{room_id}"):
    @room.private(auto_join=True)
    def everybody(self) -> RoomKey:
        return self.params.room_id

    @room.expose
    def topic(self, data: Topic) -> RoomKey | None:
        return None if data.name == "secret" else data.name

    @event
    def say(self, data: Message) -> int:
        self.everybody.emit.message(data)
        return len(data.text)


class Lobby(Contract[ToClient], path="/lobby"):
    visits = 0

    @event
    def hello(self) -> str:
        self.client.message(Message("welcome"))
        return "hello"

    @event(idempotent=True)
    def visit(self) -> int:
        type(self).visits += 1
        return type(self).visits


@pytest.fixture
def base() -> Iterator[str]:
    started: threading.Event = threading.Event()
    ports: list[int] = []
    stop: list[asyncio.Event] = []

    async def main() -> None:
        async with LiveServer([Talk, Lobby]).serve(port=0) as listening:
            stop.append(asyncio.Event())
            ports.append(listening.port)
            loops.append(asyncio.get_running_loop())
            started.set()
            await stop[0].wait()

    loops: list[asyncio.AbstractEventLoop] = []
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(5.0)
    yield f"ws://127.0.0.1:{ports[0]}"
    loops[0].call_soon_threadsafe(stop[0].set)
    thread.join()


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "liverpc client"]


def test_a_page_calls_joins_and_hears(base: str) -> None:
    page = sync.connect(Talk, base, room_id="a")
    with pytest.raises(RuntimeError, match="not open: use it in its `with` block"):
        page.call(Talk.say, Message("hi"))
    with page:
        assert (page.status, page.error, page.joined, page.refused) == ("connected", None, ("everybody",), ())
        heard: list[str] = []
        stop = page.on(ToClient.message, lambda message: heard.append(message.text))
        messages = page.events(ToClient.message, timeout=5.0)
        assert page.call(Talk.say, Message("hi")) == 2
        assert next(messages) == Message("hi")
        stop()
        page.call(Talk.say, Message("ho"))
        assert (next(messages), heard) == (Message("ho"), ["hi"])
        page.join(Talk.topic, Topic("art"))
        page.leave(Talk.topic, Topic("art"))
        page.leave(Talk.topic)
        with pytest.raises(RpcError, match="JOIN_REJECTED"):
            page.join(Talk.topic, Topic("secret"))
        page.on_join_lost(print)()
        page.on_status(print)()
        with pytest.raises(TimeoutError):
            next(page.events(ToClient.message, timeout=0.05))
        with pytest.raises(RuntimeError, match="a page is opened once"):
            page.open()
    assert (page.status, page.client.status) == ("closed", "closed")
    assert list(messages) == []
    with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
        page.call(Talk.say, Message("hi"))


def test_several_contracts_share_a_client(base: str) -> None:
    with sync.connect(Talk, base, Params("b")) as page:
        with page.client.open(Lobby) as lobby:
            messages = lobby.events(ToClient.message, timeout=5.0)
            assert lobby.call(Lobby.hello) == "hello"
            assert next(messages) == Message("welcome")
            with pytest.raises(RuntimeError, match="has 'lobby' open already"):
                page.client.open(Lobby).open()
        assert (lobby.status, page.status) == ("closed", "connected")
        with page.client.open(Lobby) as lobby:
            assert lobby.call(Lobby.hello) == "hello"


def test_what_cannot_be_opened_is_told_and_leaves_no_thread(base: str) -> None:
    with pytest.raises(TypeError, match="needs room_id"):
        sync.connect(Talk, base)
    with pytest.raises(RpcError, match=r"TIMEOUT: .*HTTP 404"):
        sync.connect(Lobby, f"{base}/elsewhere", config=ClientConfig(connect_timeout=0.2)).open()


def test_a_page_says_which_request_it_is(base: str) -> None:
    with sync.connect(Lobby, base) as page:
        keyed = page.using(idempotency_key="k")
        first = keyed.call(Lobby.visit)
        assert (keyed.call(Lobby.visit), page.call(Lobby.visit)) == (first, first + 1)
