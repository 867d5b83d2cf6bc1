"""The blocking client, against a server on another thread."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from liverpc import remote
from liverpc.client import ClientConfig, ClientCounters, Created, RpcError, sync
from liverpc.errors import ConfigError

pytestmark = pytest.mark.realtime

QUICK = ClientConfig(backoff_base=0.01, connect_timeout=5.0, timeout=5.0)
ECHO: Any = remote("demo/echo")
ROWS: Any = remote("demo/rows", returns=list[int])


class Demo:
    """Echoes calls, loads ``demo/rows``, never answers ``demo/hang`` and keeps what is sent."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.connections: list[ServerConnection] = []
        self.news = threading.Condition()

    def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        for text in connection:
            frame = json.loads(text)
            with self.news:
                self.frames.append(frame)
                self.news.notify_all()
            if "batch" in frame:
                bodies = [self._body(call) for call in frame["batch"]]
                self.say(topic="__rpc", event="__batch", data={"batch": bodies})
            elif "id" in frame and frame["rpc"] != "demo/hang":
                self.say(topic="__rpc", event=frame["id"], data=self._body(frame))

    def _body(self, frame: Any) -> Any:
        if frame["rpc"] == "demo/fail":
            return {"id": frame["id"], "ok": False, "code": "NOPE", "error": "no"}
        members: Any = {"topic": "rows", "merge": "latest", "data": [0]} if frame["rpc"] == "demo/rows" else {}
        if frame["rpc"] == "demo/pages":
            at = frame.get("cursor", 0)
            members = {"topic": "pages", "data": [{"id": at}], "hasMore": at < 2, "cursor": at + 1}
        return {"id": frame["id"], "ok": True, "data": frame["args"]} | members

    def say(self, **frame: Any) -> None:
        self.connections[-1].send(json.dumps(frame))

    def event(self, data: Any) -> None:
        self.say(topic="rows", event="said", data=data)

    def wait(self, condition: Callable[[Any], object]) -> Any:
        with self.news:
            assert self.news.wait_for(lambda: any(condition(frame) for frame in self.frames), 5.0)
            return next(frame for frame in self.frames if condition(frame))


@pytest.fixture
def demo() -> Demo:
    return Demo()


@pytest.fixture
def url(demo: Demo) -> Iterator[str]:
    with serve(demo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/ws"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "liverpc client"]


@pytest.fixture
def client(url: str, demo: Demo) -> Iterator[sync.Client]:
    with sync.connect(url, config=QUICK) as client:
        demo.wait(lambda frame: frame.get("type") == "hello")
        yield client


def test_a_call_returns_the_converted_result(client: sync.Client) -> None:
    assert client.status == "connected"
    assert client.call(remote("demo/echo", returns=list[int]), 1) == [1]
    with pytest.raises(RpcError, match="NOPE: no"):
        client.call(remote("demo/fail"))
    with pytest.raises(TypeError):
        client.call(ECHO, object())
    with pytest.raises(RpcError, match="TIMEOUT"):
        client.using(timeout=0.05).call(remote("demo/hang"))


def test_it_works_where_an_event_loop_runs(url: str) -> None:
    async def notebook() -> Any:
        with sync.connect(url, config=QUICK) as client:
            return client.call(ECHO, 1)

    assert asyncio.run(notebook()) == [1]


def test_many_threads_may_use_it_and_each_call_is_a_request(client: sync.Client, demo: Demo) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: client.call(ECHO, 7), range(100))) == [[7]] * 100
    assert sum(frame.get("rpc") == "demo/echo" for frame in demo.frames) == 100


def test_a_key_travels(client: sync.Client, demo: Demo) -> None:
    client.using(idempotency_key="k").call(ECHO)
    assert demo.wait(lambda frame: "rpc" in frame)["idempotencyKey"] == "k"


def test_a_batch_is_one_frame(client: sync.Client, demo: Demo) -> None:
    with client.batch(sequential=True) as batch:
        first = batch.call(remote("demo/echo", returns=list[int]), 1)
        second = batch.call(remote("demo/fail"))
    assert first.result() == [1]
    with pytest.raises(RpcError, match="NOPE"):
        second.result()
    assert demo.wait(lambda frame: "batch" in frame)["sequential"] is True
    with pytest.raises(ZeroDivisionError), client.batch() as batch:
        batch.call(ECHO, "unsent")
        raise ZeroDivisionError
    client.call(ECHO)
    assert "unsent" not in json.dumps(demo.frames)


def test_what_is_fired_arrives(client: sync.Client, demo: Demo) -> None:
    assert client.fire(ECHO, 5)
    assert demo.wait(lambda frame: "rpc" in frame) == {"rpc": "demo/echo", "args": [5]}
    assert client.counters == ClientCounters()


def test_a_stream_keeps_its_value_and_can_be_iterated_over(client: sync.Client, demo: Demo) -> None:
    with client.stream(ROWS) as rows:
        assert (rows.value, rows.get(), rows.status, rows.error) == ([0], [0], "connected", None)
        values = rows.values(timeout=0.05)
        assert next(values) == [0]
        with pytest.raises(TimeoutError):
            next(values)
        demo.event(1)
        assert rows.wait_for(lambda value: len(value) == 2) == [0, 1]
        assert next(values) == [0, 1]
        assert client.quiescent
        client.wait_quiescent(timeout=1.0)
        with pytest.raises(TimeoutError, match=r"the last value was \[0, 1\]"):
            rows.wait_for(lambda value: len(value) == 9, timeout=0.05)
    assert rows.value == [0, 1]
    assert list(rows) == [[0, 1]]
    demo.wait(lambda frame: frame.get("type") == "unsubscribe")


def test_a_change_is_shown_while_the_call_is_made(client: sync.Client) -> None:
    with client.stream(ROWS) as rows:
        seen: list[Any] = []

        def call() -> Any:
            seen.append(rows.value)
            return client.call(ECHO, 1)

        assert rows.mutate(call, optimistic=Created(1)) == [1]
        assert rows.value == [0, 1]
        with pytest.raises(RpcError, match="NOPE"):
            rows.mutate(lambda: client.call(remote("demo/fail")), optimistic=lambda value: value[::-1])
        send = rows.create_optimistic(client, ECHO, lambda row: Created(row))
        assert send(2) == [2]
        rollback = rows.optimistic(lambda value: seen.append(value))
        rollback()
        rollback()
        assert rows.value == [0, 1, 2]
        assert seen == [[0, 1], [0, 1, 2]]
    with pytest.raises(RuntimeError, match="not open"):
        rows.mutate(call, optimistic=Created(1))


def test_what_is_no_call_and_what_makes_no_change_is_refused(client: sync.Client) -> None:
    no_call: Any = [1]
    no_function: Any = Created(1)
    with client.stream(ROWS) as rows:
        with pytest.raises(TypeError, match=r"takes a function that makes the call.*given a list"):
            rows.mutate(no_call, optimistic=Created(1))
        assert (rows.value, rows.can_undo) == ([0], False)
        with pytest.raises(TypeError, match="takes a function that makes the change"):
            rows.create_optimistic(client, ECHO, no_function)


def test_an_interrupted_call_takes_its_change_back(client: sync.Client) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with client.stream(ROWS) as rows:
        with pytest.raises(KeyboardInterrupt):
            rows.mutate(interrupted, optimistic=Created(1))
        assert rows.value == [0]


def test_a_change_that_is_interrupted_while_it_is_made_is_taken_back(client: sync.Client) -> None:
    def change(rows: list[int]) -> list[int]:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return [*rows, 1]

    with client.stream(ROWS) as rows:
        with pytest.raises(KeyboardInterrupt):
            rows.mutate(lambda: client.call(ECHO, 1), optimistic=change)
        assert rows.value == [0]


def test_steps_back_and_forth(client: sync.Client) -> None:
    with client.stream(ROWS) as rows:
        rows.enable_history(limit=2)
        rows.optimistic(Created(1))
        assert (rows.can_undo, rows.undo(), rows.value, rows.can_undo) == (True, True, [0], False)
        assert (rows.can_redo, rows.redo(), rows.value, rows.can_redo) == (True, True, [0, 1], False)
        rows.pause_history()
        rows.optimistic(Created(2))
        rows.resume_history()
        assert rows.undo()
        assert rows.value == [0, 1]


def test_before_it_is_open_a_stream_has_no_value(client: sync.Client) -> None:
    rows = client.stream(ROWS)
    assert rows.get(3) == 3
    with pytest.raises(LookupError, match="open it with `with`"):
        _ = rows.value
    with pytest.raises(RpcError, match="NOPE"):
        client.stream(remote("demo/fail")).open()


def test_closing_the_client_ends_what_other_threads_wait_for(client: sync.Client, demo: Demo) -> None:
    rows = client.stream(ROWS).open()
    with ThreadPoolExecutor(2) as pool:
        hanging = pool.submit(client.call, remote("demo/hang"))
        iterating = pool.submit(list, rows)
        demo.wait(lambda frame: frame.get("rpc") == "demo/hang")
        client.close()
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            hanging.result(5.0)
        assert iterating.result(5.0) in ([[0]], [])
    assert (client.status, client.failure, rows.value) == ("closed", None, [0])
    with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
        client.call(ECHO)
    assert client.fire(ECHO) is False
    rows.close()
    client.close()


def test_it_reconnects_and_tells(client: sync.Client, demo: Demo) -> None:
    told: list[str] = []
    back = threading.Event()
    stop = client.on_status(told.append)
    client.on_connect(back.set)
    lost = threading.Event()
    client.on_disconnect(lost.set)
    demo.connections[0].socket.shutdown(2)
    assert lost.wait(5.0)
    assert back.wait(5.0)
    assert client.call(ECHO, 1) == [1]
    assert told == ["reconnecting", "connected"]
    stop()


def test_health_is_told(client: sync.Client, demo: Demo) -> None:
    told = threading.Event()
    client.on_health(lambda _: told.set())
    demo.say(topic="__realtime", event="degraded", data=None)
    assert told.wait(5.0)
    assert client.health == "degraded"


def test_push_handlers_run_on_other_threads_and_may_use_the_client(client: sync.Client, demo: Demo) -> None:
    stop = client.on_push("double", lambda data: client.call(ECHO, data * 2))
    demo.say(type="request", ref=1, event="double", data=4)
    assert demo.wait(lambda frame: frame.get("type") == "reply") == {"type": "reply", "ref": 1, "data": [8]}
    stop()


def test_a_push_handler_may_close_the_client(client: sync.Client, demo: Demo) -> None:
    closed = threading.Event()

    def leave(_: Any) -> None:
        client.close()
        closed.set()

    client.on_push("leave", leave)
    demo.say(type="request", ref=1, event="leave")
    assert closed.wait(5.0)
    assert client.status == "closed"


def test_a_callback_that_waits_for_its_client_is_told_so(
    client: sync.Client, demo: Demo, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Event()

    def wrong(_: Any) -> None:
        try:
            client.call(ECHO)
        finally:
            tried.set()

    client.on_health(wrong)
    demo.say(topic="__realtime", event="degraded")
    assert tried.wait(5.0)
    client.call(ECHO)
    assert "must not wait for that client" in caplog.text


def test_a_callback_cannot_close_its_client_and_breaks_nothing_by_trying(
    client: sync.Client, demo: Demo, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Event()

    def wrong(_: Any) -> None:
        try:
            client.close()
        finally:
            tried.set()

    client.on_health(wrong)
    demo.say(topic="__realtime", event="degraded")
    assert tried.wait(5.0)
    assert client.call(ECHO, 1) == [1]
    assert "must not wait for that client" in caplog.text


def test_an_interrupted_wait_leaves_the_client_in_order(client: sync.Client, demo: Demo) -> None:
    def interrupt() -> None:
        demo.wait(lambda frame: frame.get("rpc") == "demo/hang")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.call(remote("demo/hang"))
    thread.join()
    assert client.call(ECHO, 1) == [1]
    assert client._session.connection.core.next_deadline() is None


def test_a_server_that_is_not_there_is_an_error_and_leaves_nothing() -> None:
    client = sync.connect("ws://127.0.0.1:9/ws", config=ClientConfig(connect_timeout=0.1))
    with pytest.raises(RpcError, match="TIMEOUT"):
        client.__enter__()
    with pytest.raises(RuntimeError, match="opened once"):
        client.__enter__()
    client.close()


def test_what_is_not_open_cannot_be_used_and_what_is_wrong_is_told_at_once() -> None:
    client = sync.connect("ws://127.0.0.1:9/ws")
    with pytest.raises(RuntimeError, match="not open"):
        client.call(ECHO)
    client.close()
    with pytest.raises(ConfigError):
        sync.connect("http://example.org")
    with pytest.raises(ConfigError):
        sync.connect("ws://example.org/ws", auth="login")


def test_closing_takes_no_time_while_it_waits_to_reconnect(url: str, demo: Demo) -> None:
    with sync.connect(url, config=ClientConfig(backoff_base=60.0)) as client:
        lost = threading.Event()
        client.on_disconnect(lost.set)
        demo.wait(lambda frame: frame.get("type") == "hello")
        demo.connections[0].socket.shutdown(2)
        assert lost.wait(5.0)
        began = time.monotonic()
    assert time.monotonic() - began < 2.0


def test_pages_values_given_and_schema_versions(url: str, demo: Demo) -> None:
    pages: Any = remote("demo/pages")
    with sync.connect(url, config=QUICK) as client:
        handle = client.stream(pages)
        handle.hydrate([{"id": 7}])
        assert (handle.value, handle.has_more) == ([{"id": 7}], False)
        with pytest.raises(RuntimeError, match="is not open: use it in its `with` block"):
            handle.load_more()
        with handle:
            assert (handle.value, handle.has_more) == ([{"id": 0}], True)
            assert (handle.load_more("x"), handle.load_more(), handle.load_more()) == (True, False, False)
            assert [row["id"] for row in handle.value] == [0, 1, 2]
            with handle.subscribe_at(3) as older:
                assert older.value == [{"id": 0}]
            demo.wait(lambda frame: frame.get("schemaVersion") == 3)
            demo.wait(lambda frame: frame.get("cursor") == 1 and frame["args"] == ["x"])
