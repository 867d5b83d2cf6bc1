"""What the fixture application does that no replayed transcript shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from liverpc.client.socket import HandshakeRefused, SocketClosed
from liverpc.transports.memory import MemorySocket, MemoryTransport
from liverpc.wire.binary import binary_call, upload_chunk, upload_header
from tests.wire.fixture_app import make_server
from tests.wire.fixture_world import REPLAYED


class Caller:
    """A client that knows no more of the protocol than ids."""

    def __init__(self, socket: MemorySocket) -> None:
        self.socket = socket
        self.events: list[tuple[str, str, Any]] = []

    async def say(self, frame: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(frame))

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """The next reply or other frame, or the next of this type; events on the way are kept."""
        while True:
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            if "topic" in frame and "event" in frame and frame["topic"] != "__rpc":
                self.events.append((frame["topic"], frame["event"], frame["data"]))
            elif frame.get("type") != "welcome" and kind in (None, frame.get("type")):
                return frame

    async def ask(self, path: str, *args: Any, stream: bool = False) -> dict[str, Any]:
        """The reply."""
        await self.say({"rpc": path, "id": "k", "args": args, "stream": stream})
        while (frame := await self.hear()).get("topic") != "__rpc":
            pass
        reply: dict[str, Any] = frame["data"]
        return reply

    async def subscribe(self, path: str, *args: Any) -> dict[str, Any]:
        return await self.ask(path, *args, stream=True)


@pytest.fixture
async def fixture_transport() -> AsyncIterator[MemoryTransport]:
    server = make_server()
    async with server.lifespan():
        transport = MemoryTransport(server)
        yield transport
        await transport.aclose()


async def sign_in(transport: MemoryTransport, token: str = "alice") -> Caller:
    return Caller(await transport.connect(query=f"token={token}"))


async def test_the_query_beside_the_token_is_ignored(fixture_transport: MemoryTransport) -> None:
    caller = Caller(await fixture_transport.connect(query="scenario=x&cid=1&token=bob"))
    assert (await caller.ask("demo/whoami"))["data"] == {"id": "bob", "name": "Bob", "role": "user"}


async def test_an_unknown_token_is_refused_with_http_401(fixture_transport: MemoryTransport) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        await sign_in(fixture_transport, "mallory")
    assert refused.value.status == 401


async def test_an_expired_token_closes_for_good(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport, "expired")
    with pytest.raises(SocketClosed) as closed:
        await caller.socket.recv()
    assert (closed.value.code, closed.value.reason) == (4401, "token expired")


@pytest.mark.parametrize("path", ["demo/crash", "demo/crashedLoader", "members/area"])
async def test_texts_of_accidents_stay_on_the_server(path: str, fixture_transport: MemoryTransport) -> None:
    caller = Caller(await fixture_transport.connect())
    reply = await caller.ask(path, stream=path.endswith("Loader"))
    assert reply["ok"] is False
    assert not any(word in json.dumps(reply) for word in ("hunter2", "secret", "internal guard text"))


@pytest.mark.parametrize(
    ("data", "args", "result"),
    [
        (b"", [], {"bytes": 0, "name": None, "first": None}),
        (b"\x07\x01", ["a"], {"bytes": 2, "name": "a", "first": 7}),
        (bytes(65_536), [], {"bytes": 65_536, "name": None, "first": 0}),
        (bytes(65_537), [], "PAYLOAD_TOO_LARGE"),
    ],
    ids=["nothing", "two bytes", "as much as it takes", "more"],
)
async def test_binary_calls_are_measured(
    data: bytes, args: list[Any], result: Any, fixture_transport: MemoryTransport
) -> None:
    caller = await sign_in(fixture_transport)
    await caller.socket.send(binary_call("demo/upload", "k", args, data))
    reply = (await caller.hear())["data"]
    assert reply.get("data", reply.get("code")) == result


@pytest.mark.parametrize("name", ["a", None])
async def test_uploads_are_digested_and_remembered(name: str | None, fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    assert (await caller.ask("demo/lastUpload", name))["data"] is None
    header = upload_header("demo/uploadFile", [name] if name else [], None)
    await caller.socket.send(upload_chunk(1, 0, b"he", last=False, header=header))
    assert (await caller.ask("demo/lastUpload", name))["data"] == {"state": "running", "bytes": 0, "name": name}
    await caller.socket.send(upload_chunk(1, 1, b"llo", last=True))
    assert (await caller.ask("demo/lastUpload", name))["data"] == {"state": "done", "bytes": 5, "name": name}
    [(_, event, answer)] = caller.events
    digest = hashlib.sha256(b"hello").hexdigest()
    assert (event, answer["data"]) == ("00000001", {"bytes": 5, "sha256": digest, "name": name})


async def test_uploads_have_at_most_two_mebibytes(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    for stream, size in ((1, 2 << 20), (2, (2 << 20) + 1)):
        header = upload_header("demo/uploadFile", ["a"], size)
        await caller.socket.send(upload_chunk(stream, 0, b"", last=size == 2 << 20, header=header))
    await caller.ask("demo/slow", 1)
    assert sorted((event, answer.get("code")) for _, event, answer in caller.events) == [
        ("00000001", None),
        ("00000002", "PAYLOAD_TOO_LARGE"),
    ]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("demo/secretStream", "FORBIDDEN"),
        ("demo/brokenLoader", "LOAD_FAILED"),
        ("demo/crashedLoader", "INTERNAL_ERROR"),
        ("demo/reservedTopic", "INVALID_REQUEST"),
    ],
)
async def test_refused_streams_leave_no_subscription(path: str, code: str, fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    assert (await caller.subscribe(path))["code"] == code
    for topic in ("demo:secret", "demo:broken", "demo:crashed", "__sneaky"):
        assert (await caller.ask("demo/subscriberCount", topic))["data"] == 0


async def test_admins_may_read_the_secret_stream(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport, "admin")
    assert (await caller.subscribe("demo/secretStream"))["data"] == [{"id": 1}]


async def test_a_room_has_its_own_topic(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    reply = await caller.subscribe("demo/roomMessages", "r1")
    assert (reply["data"], reply["topic"]) == ([], "demo:room:r1")
    await caller.ask("demo/sendMessage", "r2", {"id": 1})
    await caller.ask("demo/sendMessage", "r1", {"id": 2})
    assert caller.events == [("demo:room:r1", "created", {"id": 2})]


@pytest.mark.parametrize("room", ["", "Upper", "x" * 33, "r1\n", 5])
async def test_a_malformed_room_is_refused_before_it_becomes_a_topic(
    room: object, fixture_transport: MemoryTransport
) -> None:
    caller = await sign_in(fixture_transport)
    reply = await caller.subscribe("demo/roomMessages", room)
    assert (reply["code"], reply["issues"][0]["path"]) == ("VALIDATION", ["room_id"])


async def test_channels_start_empty_and_carry_events(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    typing = await caller.subscribe("demo/typing", "r1")
    assert (typing["data"], typing["merge"], typing["channel"]) == ([], "presence", True)
    notice = await caller.subscribe("demo/announcement")
    assert (notice["data"], notice["merge"], notice["channel"]) == (None, "set", True)
    await caller.ask("demo/setTyping", "r1", True)
    await caller.ask("demo/setTyping", "r1", False)
    await caller.ask("demo/announce", "soon")
    assert caller.events == [
        ("typing:r1", "join", {"key": "alice", "data": {"name": "Alice"}}),
        ("typing:r1", "leave", {"key": "alice"}),
        ("demo:announcement", "set", {"text": "soon"}),
    ]


async def test_pointers_and_refreshes_are_published_as_given(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    assert (await caller.subscribe("demo/pointers"))["merge"] == "cursor"
    await caller.subscribe("demo/todos")
    await caller.ask("demo/pointersEvent", "update", {"key": "a", "x": 1})
    await caller.ask("demo/refreshTodos", [{"id": "only"}])
    assert caller.events == [
        ("demo:pointers", "update", {"key": "a", "x": 1}),
        ("demo:todos", "refreshed", [{"id": "only"}]),
    ]
    assert (await caller.ask("demo/updateTodo", {"id": "gone"}))["code"] == "NOT_FOUND"


async def test_locked_and_forbidden_topics_are_refused(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    assert (await caller.subscribe("demo/deniedByHook"))["code"] == "NO_ENTRY"
    topics = ["free", "locked:stream", "forbidden:x"]
    await caller.say({"type": "subscribe-batch", "topics": topics, "ref": 1})
    heard = [await caller.hear() for _ in topics]
    assert [(frame["type"], frame.get("reason")) for frame in heard] == [
        ("subscribed", None),
        ("subscribe-denied", "NO_ENTRY"),
        ("subscribe-denied", "FORBIDDEN"),
    ]
    assert (await caller.ask("demo/subscriberCount", "free"))["data"] == 1


async def test_a_user_is_asked_on_the_latest_connection(fixture_transport: MemoryTransport) -> None:
    caller, older, newer = [await sign_in(fixture_transport, name) for name in ("alice", "bob", "bob")]
    await caller.say({"rpc": "demo/pushUser", "id": "p", "args": ["bob", 1]})
    request = await newer.hear("request")
    assert (request["event"], request["data"]) == ("confirm", 1)
    await newer.say({"type": "reply", "ref": request["ref"], "data": "yes"})
    assert (await caller.hear())["data"]["data"] == "yes"
    assert (await older.ask("demo/echo", 1))["data"] == 1
    assert older.events == []


async def test_nobody_asks_anonymous_callers(fixture_transport: MemoryTransport) -> None:
    callers = [Caller(await fixture_transport.connect()) for _ in range(2)]
    assert (await callers[0].ask("demo/pushMe", 1))["data"]["code"] == "NOT_FOUND"
    for path in ("demo/notifyMe", "demo/signalMe"):
        assert (await callers[0].ask(path, 1))["data"] is True
    for caller in callers:
        await caller.say({"rpc": "demo/echo", "id": "k"})
        assert (await caller.hear())["topic"] == "__rpc", "a request of the server would have come before"
        assert caller.events == []


async def test_signals_reach_every_connection_of_the_user_and_nobody_else(
    fixture_transport: MemoryTransport,
) -> None:
    first, second, stranger = [await sign_in(fixture_transport, name) for name in ("alice", "alice", "bob")]
    for number in (1, 2):
        await first.ask("demo/signalMe", {"n": number})
    for caller in (first, second, stranger):
        await caller.ask("demo/echo")
    signals = [("__signal:alice", "ping", {"n": 1}), ("__signal:alice", "ping", {"n": 2})]
    assert (first.events, second.events, stranger.events) == (signals, signals, [])


async def resumed(caller: Caller, seqs: dict[str, int]) -> list[tuple[str, str, Any]]:
    """What a client gets that has seen this much."""
    caller.events.clear()
    await caller.say({"type": "resume", "sessionId": "before", "lastSeenSeqs": seqs})
    await caller.hear("resumed")
    return caller.events


async def test_resuming_brings_what_was_missed(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    for number in range(3):
        await caller.ask("demo/pushReplayed", {"id": f"x{number}"})
    await caller.ask("demo/reset")
    topic = "__replay:demo:replayed"
    assert await resumed(caller, {"demo:replayed": 1, "demo:todos": 7}) == [
        (topic, "msg", {"seq": 2, "event": "created", "data": {"id": "x1"}}),
        (topic, "msg", {"seq": 3, "event": "created", "data": {"id": "x2"}}),
        (topic, "end", None),
    ]
    assert await resumed(caller, {"demo:replayed": 3}) == [(topic, "end", None)]
    assert await resumed(caller, {"demo:todos": 7}) == []


@pytest.mark.parametrize(("seen", "count", "end"), [(1, 1000, None), (0, 0, {"truncated": True})])
async def test_a_gap_that_is_not_kept_any_more_is_said(
    seen: int, count: int, end: Any, fixture_transport: MemoryTransport
) -> None:
    caller = await sign_in(fixture_transport)
    for number in range(1001):
        await caller.ask("demo/pushReplayed", {"id": number})
    events = await resumed(caller, {REPLAYED: seen})
    assert len(events) == count + 1
    assert events[-1] == (f"__replay:{REPLAYED}", "end", end)


async def test_the_replayed_streams_have_their_values_and_events(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    assert (await caller.subscribe("demo/replayed"))["data"] == [{"id": "r0"}]
    assert (await caller.subscribe("demo/replayedFeed"))["data"] == []
    assert (await caller.ask("demo/pushReplayed", {"id": "x"}))["data"] == 2
    assert (await caller.ask("demo/pushReplayedFeed", {"n": 1}))["data"] == 1
    assert caller.events == [(REPLAYED, "created", {"id": "x"}), ("demo:replayed-feed", "item", {"n": 1})]
    assert (await caller.subscribe("demo/replayedFeed"))["data"] == [{"n": 1}]


async def test_reset_restores_the_beginning(fixture_transport: MemoryTransport) -> None:
    caller = await sign_in(fixture_transport)
    await caller.ask("demo/bump")
    await caller.ask("demo/deleteTodo", "t1")
    assert (await caller.ask("demo/reset"))["data"] is True
    assert (await caller.subscribe("demo/counter"))["data"] == 0
    assert [row["id"] for row in (await caller.subscribe("demo/todos"))["data"]] == ["t1", "t2"]


@pytest.mark.realtime
@pytest.mark.parametrize("fast_path", [True, False], ids=["fast", "library"])
async def test_one_byte_more_than_a_mebibyte_closes_with_1009(fast_path: bool) -> None:
    frame = '{"rpc":"demo/nothing","id":"k","args":["%s"]}'
    async with (
        make_server(fast_path=fast_path).serve("127.0.0.1", 0) as at,
        connect(at.url, compression=None, proxy=None) as socket,
    ):
        await socket.recv()
        await socket.send(frame % ("x" * (2**20 - len(frame) + 2)))
        assert json.loads(await socket.recv())["data"]["ok"] is True
        await socket.send(frame % ("x" * (2**20 - len(frame) + 3)))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


@pytest.mark.realtime
async def test_only_pages_of_the_same_host_may_connect() -> None:
    async with make_server().serve("127.0.0.1", 0) as at:
        async with connect(at.url, origin=Origin(f"http://{at.host}:{at.port}"), proxy=None) as socket:
            assert json.loads(await socket.recv())["type"] == "welcome"
        with pytest.raises(InvalidStatus) as refused:
            await connect(at.url, origin=Origin("http://elsewhere.example"), proxy=None)
        assert refused.value.response.status_code == 403
