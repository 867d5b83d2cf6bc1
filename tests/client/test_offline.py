"""The offline queue: calls made without a connection, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.server import ServerConnection, serve

from liverpc._types import remote
from liverpc.client import OfflineQueue, QueuedCall, connect, sync
from liverpc.client.calls import Call
from liverpc.client.core import QUEUE_MAX, ClientCore
from liverpc.client.offline import OfflineCalls
from liverpc.config import ClientConfig
from liverpc.errors import ConfigError, RpcError
from tests.client.client_kit import Script, until
from tests.client.core_kit import Now, failed, reply


def make(now: Now | None = None, wall: Now | None = None, **options: Any) -> ClientCore:
    config = ClientConfig(jitter=(1.0, 1.0))
    queue = OfflineQueue(**options)
    return ClientCore(config, offline=queue, monotonic=now or Now(), wall=wall or Now(), rng=random.Random(1))


def queue_of(core: ClientCore) -> OfflineCalls:
    assert core.offline is not None
    return core.offline


def paths(core: ClientCore) -> list[Any]:
    """What is sent now; a batch is the list of its paths."""
    frames = [json.loads(text) for text in core.outgoing()]
    return [
        [call["rpc"] for call in frame["batch"]] if "batch" in frame else frame["rpc"]
        for frame in frames
        if "type" not in frame
    ]


def code_of(call: Call) -> str:
    return failed(call).code


# -- sequential


def test_calls_made_offline_are_sent_one_after_the_other_behind_the_streams() -> None:  # acceptance 225
    core = make()
    first, second = core.call("a/1", []), core.call("a/2", [])
    stream = core.subscribe("a/stream", [])
    assert not core.has_outgoing
    core.connection_opened()
    assert [json.loads(text).get("rpc") for text in core.outgoing()] == [None, "a/stream", "a/1"]
    core.receive(reply(first, 1))
    assert paths(core) == ["a/2"]
    core.receive(reply(second, 2))
    assert (first.result(), second.result(), stream.status) == (1, 2, "loading")
    core.call("a/3", [])
    assert paths(core) == ["a/3"]


def test_a_failed_call_does_not_hold_up_the_next() -> None:
    core = make()
    first = core.call("a/1", [])
    core.call("a/2", [])
    core.connection_opened()
    assert paths(core) == ["a/1"]
    core.receive(reply(first, ok=False, code="NO", error="no"))
    assert (code_of(first), paths(core)) == ("NO", ["a/2"])


def test_the_timeout_runs_from_the_replay_and_a_timeout_lets_the_next_go() -> None:
    now = Now()
    core = make(now)
    first = core.call("a/1", [], timeout=5.0)
    second = core.call("a/2", [])
    now.seconds = 1000.0
    assert core.next_deadline() is None
    core.tick()
    core.connection_opened()
    assert core.next_deadline() == 1005.0
    assert paths(core) == ["a/1"]
    now.seconds = 1005.0
    core.tick()
    assert (code_of(first), paths(core)) == ("TIMEOUT", ["a/2"])
    assert core.next_deadline() == 1035.0
    assert not second.done


def test_calls_made_during_the_replay_wait_behind_it_and_are_then_sent_at_once() -> None:
    core = make()
    first, second = core.call("a/1", []), core.call("a/2", [])
    core.connection_opened()
    core.call("a/3", [])
    core.call("a/4", [])
    assert paths(core) == ["a/1"]
    core.receive(reply(first))
    assert paths(core) == ["a/2"]
    core.receive(reply(second))
    assert paths(core) == ["a/3", "a/4"]
    core.call("a/5", [])
    assert paths(core) == ["a/5"]


def test_a_cancelled_call_is_not_sent_and_makes_room() -> None:
    core = make(max_calls=2)
    first, second = core.call("a/1", []), core.call("a/2", [])
    core.cancel(second)
    third = core.call("a/3", [])
    core.connection_opened()
    assert paths(core) == ["a/1"]
    core.cancel(first)
    assert paths(core) == ["a/3"]
    assert not third.done


def test_identical_calls_share_a_place_and_a_deadline_of_their_own() -> None:
    now = Now()
    core = make(now)
    first = core.call("a/1", [1], shared=True)
    second = core.call("a/1", [1], shared=True)
    now.seconds = 100.0
    core.cancel(first)
    core.connection_opened()
    assert paths(core) == ["a/1"]
    assert core.next_deadline() == 130.0
    core.receive(reply(second, 7))
    assert second.result() == 7


def test_fire_is_never_queued() -> None:
    core = make()
    assert not core.fire("a/f", [])
    core.connection_opened()
    assert paths(core) == []


# -- limits


def test_beyond_the_cap_the_oldest_call_fails() -> None:  # acceptance 225
    core = make(max_calls=2)
    calls = [core.call("a/b", [number]) for number in range(2)]
    assert not any(call.done for call in calls)
    calls.append(core.call("a/b", [2]))
    assert code_of(calls[0]) == "QUEUE_FULL"
    assert not calls[1].done and not calls[2].done
    assert (queue_of(core).overflowed, queue_of(core).stale, core.refused) == (1, 0, 0)


def test_the_cap_is_the_queues_own() -> None:
    core = make(max_calls=QUEUE_MAX + 10)
    calls = [core.call("a/b", []) for _ in range(QUEUE_MAX + 10)]
    assert not any(call.done for call in calls)


def test_calls_made_during_the_replay_count_too() -> None:
    core = make(max_calls=2)
    first, second = core.call("a/1", []), core.call("a/2", [])
    core.connection_opened()
    core.call("a/3", [])
    assert not second.done
    core.call("a/4", [])
    assert (code_of(second), paths(core)) == ("QUEUE_FULL", ["a/1"])
    core.receive(reply(first))
    assert paths(core) == ["a/3", "a/4"]


@pytest.mark.parametrize(("slept", "code"), [(9.0, None), (10.0, None), (10.5, "STALE")])
@pytest.mark.parametrize("asleep", [False, True])
def test_a_call_that_waited_too_long_is_not_sent(
    slept: float, code: str | None, asleep: bool
) -> None:  # acceptance 225
    now, wall = Now(), Now()
    core = make(now, wall, max_age=10.0)
    call = core.call("a/1", [])
    (wall if asleep else now).seconds = slept
    assert not call.done
    core.connection_opened()
    assert (paths(core), call.done) == (([], True) if code else (["a/1"], False))
    assert queue_of(core).stale == bool(code)
    if code:
        assert code_of(call) == code


# -- what the application decides


def test_before_replay_sees_the_call_and_drops_it_with_a_false_answer() -> None:  # acceptance 225
    seen: list[QueuedCall] = []
    now = Now()

    def wanted(call: QueuedCall) -> bool:
        seen.append(call)
        return call.path != "a/2"

    core = make(now, before_replay=wanted)
    calls = [core.call(f"a/{at}", [at, {"x": None}], idempotency_key="k" if at == 2 else None) for at in (1, 2, 3)]
    now.seconds = 4.0
    core.connection_opened()
    assert len(seen) == 1  # the others are asked about when their turn comes
    assert paths(core) == ["a/1"]
    core.receive(reply(calls[0]))
    assert (code_of(calls[1]), paths(core)) == ("STALE", ["a/3"])
    assert [(call.path, call.args, call.idempotency_key, call.age) for call in seen] == [
        ("a/1", [1, {"x": None}], None, 4.0),
        ("a/2", [2, {"x": None}], "k", 4.0),
        ("a/3", [3, {"x": None}], None, 4.0),
    ]


def test_a_before_replay_that_raises_drops_the_call_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def wanted(_: QueuedCall) -> bool:
        raise ZeroDivisionError

    core = make(before_replay=wanted)
    call = core.call("a/1", [])
    core.connection_opened()
    assert (code_of(call), paths(core)) == ("STALE", [])
    assert "before_replay function failed on a/1" in caplog.text
    core.call("a/2", [])
    assert paths(core) == ["a/2"]


def test_a_before_replay_that_cancels_calls_does_not_change_the_order() -> None:
    def wanted(call: QueuedCall) -> bool:
        if call.path == "a/1":
            core.cancel(third)
        return True

    core = make(before_replay=wanted)
    core.call("a/1", [])
    core.call("a/2", [])
    third = core.call("a/3", [])
    core.connection_opened()
    assert paths(core) == ["a/1"]


def test_concurrent_replay_sends_ten_at_a_time() -> None:
    core = make(replay="concurrent")
    calls = [core.call("a/b", [number]) for number in range(13)]
    core.connection_opened()
    assert len(paths(core)) == 10
    for call in calls[:9]:
        core.receive(reply(call))
    assert paths(core) == []
    core.receive(reply(calls[9]))
    assert len(paths(core)) == 3


def test_a_replay_function_says_what_is_sent_and_in_which_order() -> None:
    def replay(calls: list[QueuedCall]) -> list[QueuedCall]:
        return [calls[2], calls[0], calls[2]]

    core = make(replay=replay)
    calls = [core.call(f"a/{at}", []) for at in (1, 2, 3)]
    core.connection_opened()
    assert (paths(core), code_of(calls[1])) == (["a/3"], "STALE")
    core.receive(reply(calls[2]))
    assert paths(core) == ["a/1"]
    core.receive(reply(calls[0]))
    assert (paths(core), queue_of(core).idle) == ([], True)


@pytest.mark.parametrize(
    "replay",
    [lambda calls: None, lambda calls: [1], lambda calls: [QueuedCall("a/1", [], None, 0.0)], lambda calls: 1 / 0],
)
def test_a_replay_function_that_fails_drops_all_calls(replay: Any, caplog: pytest.LogCaptureFixture) -> None:
    core = make(replay=replay)
    calls = [core.call("a/1", []), core.call("a/2", [])]
    core.connection_opened()
    assert ([code_of(call) for call in calls], paths(core)) == (["STALE", "STALE"], [])
    assert "replay function failed" in caplog.text
    assert queue_of(core).idle


def test_callbacks_may_make_and_cancel_calls_in_the_middle_of_a_replay() -> None:
    made: list[Call] = []

    def again(_: Call) -> None:
        made.append(core.call("a/again", []))
        core.cancel(second)

    core = make(replay=lambda calls: calls[1:])
    core.call("a/1", [], on_done=again)
    second, third = core.call("a/2", []), core.call("a/3", [])
    core.connection_opened()
    assert paths(core) == ["a/3"]
    core.receive(reply(third))
    assert paths(core) == ["a/again"]
    assert not made[0].done


WRONG = {"max_calls": (0, "5"), "max_age": (0.0, -1.0, "1h"), "replay": ("batch", None), "before_replay": ("no",)}


@pytest.mark.parametrize("options", [{name: value} for name, values in WRONG.items() for value in values])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"OfflineQueue: {next(iter(options))}"):
        OfflineQueue(**options)


def test_an_unknown_option_is_named() -> None:
    unknown: Any = {"max_call": 5}
    with pytest.raises(TypeError, match=r"OfflineQueue.*max_call"):
        OfflineQueue(**unknown)


# -- batches


def test_a_batch_made_offline_is_one_frame_and_one_step_of_the_replay() -> None:
    core = make()
    first = core.call("a/1", [])
    batch = core.batch([("b/1", []), ("b/2", [])])
    last = core.call("a/2", [])
    core.connection_opened()
    assert paths(core) == ["a/1"]
    core.receive(reply(first))
    assert paths(core) == [["b/1", "b/2"]]
    core.receive(reply(batch[0]))
    assert paths(core) == []
    core.receive(reply(batch[1]))
    assert (paths(core), last.done) == (["a/2"], False)


def test_a_batch_goes_without_the_calls_that_were_dropped() -> None:
    core = make(max_calls=3, before_replay=lambda call: call.path != "b/2")
    batch = core.batch([("b/1", []), ("b/2", []), ("b/3", []), ("b/4", [])])
    core.connection_opened()
    assert paths(core) == [["b/3", "b/4"]]
    assert [code_of(call) for call in batch[:2]] == ["QUEUE_FULL", "STALE"]


# -- losing the connection again


def test_a_replay_goes_on_where_the_connection_was_lost() -> None:
    core = make(replay="concurrent")
    calls = [core.call(f"a/{at}", [], idempotency_key="k" if at == 1 else None) for at in range(12)]
    core.connection_opened()
    frames = core.outgoing()
    taken = [json.loads(next(frames)) for _ in range(4)]  # hello and three calls
    assert [frame.get("rpc") for frame in taken] == [None, "a/0", "a/1", "a/2"]
    core.call("a/new", [])
    core.connection_lost(1006)
    assert [code_of(calls[at]) for at in (0, 2)] == ["DISCONNECTED"] * 2  # they may have run
    core.call("a/newer", [])
    core.connection_opened()
    assert paths(core) == ["a/1", *(f"a/{at}" for at in range(3, 12))]
    for call in calls:
        core.receive(reply(call))
    assert paths(core) == ["a/new", "a/newer"]


def test_what_the_socket_did_not_take_waits_for_the_next_connection() -> None:
    core = make()
    core.connection_opened()
    core.subscribe("a/stream", [])
    sent = core.call("a/1", [])
    assert paths(core) == ["a/stream", "a/1"]
    unsent = core.call("a/2", [])
    batch = core.batch([("b/1", []), ("b/2", [])])
    core.cancel(core.call("a/3", []))
    core.connection_lost(1006)
    assert (code_of(sent), unsent.done, batch[0].done) == ("DISCONNECTED", False, False)
    core.connection_opened()
    assert paths(core) == ["a/stream", "a/2"]
    core.receive(reply(unsent))
    assert paths(core) == [["b/1", "b/2"]]


def test_what_was_not_sent_keeps_its_age_and_counts_again() -> None:
    now = Now()
    core = make(now, max_age=50.0, max_calls=2)
    old = core.call("a/old", [])
    now.seconds = 40.0
    core.connection_opened()
    core.connection_lost(1006)
    now.seconds = 51.0
    core.connection_opened()
    assert code_of(old) == "STALE"
    calls = [core.call(f"a/{at}", []) for at in range(3)]
    core.connection_lost(1006)
    assert [call.done for call in calls] == [True, False, False]
    assert code_of(calls[0]) == "QUEUE_FULL"


def test_pages_of_a_stream_do_not_wait_in_the_queue() -> None:
    core = make(before_replay=lambda _: False)
    core.connection_opened()
    stream = core.subscribe("a/stream", [])
    (frame,) = [frame for text in core.outgoing() if "rpc" in (frame := json.loads(text))]
    page = {"ok": True, "data": [1], "topic": "t", "merge": "latest", "hasMore": True, "cursor": 1}
    core.receive(json.dumps({"topic": "__rpc", "event": frame["id"], "data": page}))
    outcomes: list[Any] = []
    assert core.streams.load_more(stream, [], outcomes.append)
    core.connection_lost(1006)  # before the socket took it
    assert [outcome.code for outcome in outcomes] == ["DISCONNECTED"]
    assert core.streams.load_more(stream, [], outcomes.append)
    core.connection_opened()
    assert paths(core) == ["a/stream", "a/stream"]


def test_a_call_sent_again_keeps_its_age_and_loses_its_old_deadline() -> None:
    now = Now()
    core = make(now, max_age=50.0)
    call = core.call("a/1", [], idempotency_key="k")
    core.connection_opened()
    assert paths(core) == ["a/1"]
    core.connection_lost(1006)
    now.seconds = 40.0
    core.tick()
    assert not call.done
    core.connection_opened()
    assert (paths(core), core.next_deadline()) == (["a/1"], 70.0)
    core.connection_lost(1006)
    now.seconds = 51.0
    core.connection_opened()
    assert code_of(call) == "STALE"


@pytest.mark.parametrize("code", [1008, 4401, 4403])
def test_a_terminal_close_ends_all_that_waits(code: int) -> None:  # acceptance 223
    core = make()
    calls = [core.call(f"a/{at}", []) for at in range(3)]
    core.connection_opened()
    assert paths(core) == ["a/0"]
    calls.append(core.call("a/new", []))
    core.connection_lost(code)
    calls.append(core.call("a/late", []))
    assert {code_of(call) for call in calls} == {"CONNECTION_CLOSED"}
    assert (core.next_deadline(), core.has_outgoing) == (None, False)


def test_without_a_queue_calls_wait_as_before() -> None:
    now = Now()
    core = ClientCore(monotonic=now, rng=random.Random(1))
    first, second = core.call("a/1", []), core.call("a/2", [], timeout=1.0)
    now.seconds = 1.0
    core.tick()
    core.connection_opened()
    assert (code_of(second), paths(core), first.done) == ("TIMEOUT", ["a/1"], False)


step = st.one_of(
    st.tuples(st.sampled_from(["open", "lose", "close"]), st.just(0)),
    st.tuples(st.sampled_from(["call", "key", "batch", "take", "answer", "cancel", "wait"]), st.integers(0, 20)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(step, max_size=60), st.sampled_from(["sequential", "concurrent", lambda calls: calls[::-1]]))
def test_whatever_happens_each_call_ends_once_and_runs_once_without_a_key(steps: Any, replay: Any) -> None:
    now, number = Now(), iter(range(1000))
    core = make(now, replay=replay, max_calls=6, max_age=70.0)
    calls: list[Call] = []
    ended: list[Call] = []
    cancelled: list[Call] = []
    sent: list[Any] = []
    up: list[Any] = []  # sent on this connection

    def take(count: int) -> None:
        for text, _ in zip(core.outgoing(), range(count), strict=False):
            frame = json.loads(text)
            up.extend(call for call in frame.get("batch", [frame]) if "rpc" in call)

    for kind, value in [*steps, ("lose", 0), ("open", 0)]:
        if kind == "open" and core.status not in ("connected", "closed"):
            core.connection_opened()
        elif kind == "lose":
            core.connection_lost(1006)
        elif kind == "close":
            core.connection_lost(1008)
        elif kind in ("call", "key"):
            name = next(number)
            key = f"k{name}" if kind == "key" else None
            calls.append(core.call("a/b", [name], idempotency_key=key, on_done=ended.append))
        elif kind == "batch":
            calls += core.batch([("a/b", [next(number)]) for _ in range(value % 4)], on_done=ended.append)
        elif kind == "take" and core.status == "connected":
            take(value + 1)
        elif kind == "answer" and value < len(up):
            core.receive(json.dumps({"topic": "__rpc", "event": up[value]["id"], "data": {"ok": True}}))
        elif kind == "cancel" and value < len(calls):
            cancelled += [] if calls[value].done else [calls[value]]
            core.cancel(calls[value])
        elif kind == "wait":
            now.seconds += value
            core.tick()
        if core.status != "connected":
            sent, up = [*sent, *up], []
    while core.status == "connected" and core.has_outgoing:  # a server that answers all: nothing waits for ever
        before = len(up)
        take(100)
        for frame in up[before:]:
            core.receive(json.dumps({"topic": "__rpc", "event": frame["id"], "data": {"ok": True}}))
    assert all(call.done for call in calls)
    assert sorted(id(call) for call in calls) == sorted(id(call) for call in (*ended, *cancelled))
    plain = [frame["args"][0] for frame in (*sent, *up) if "idempotencyKey" not in frame]
    assert len(plain) == len(set(plain))


# -- the shells


async def test_the_client_replays_what_was_called_while_it_reconnected() -> None:
    send: Any = remote("chat/send")
    script = Script()
    queue = OfflineQueue(max_calls=2)
    async with connect("ws://scripted/ws", connector=script, wall=lambda: 0.0, offline=queue) as client:
        script.pipes[0].lose()
        await until(lambda: client.status == "reconnecting")
        tasks = [asyncio.create_task(client.using(fresh=True).call(send, number)) for number in range(3)]
        with pytest.raises(RpcError, match="QUEUE_FULL"):
            await tasks[0]
        await until(lambda: len(script.pipes) == 1)
        while len(script.pipes) < 2:
            await asyncio.sleep(1.0)
        pipe = script.pipes[1]
        pipe.answer(await pipe.request(), "one")
        assert await tasks[1] == "one"
        pipe.answer(await pipe.request(), "two")
        assert await tasks[2] == "two"
        assert client.counters.calls_overflowed == 1


async def test_cancelling_the_call_whose_turn_it_is_lets_the_next_go() -> None:
    send: Any = remote("chat/send")
    script = Script()
    async with connect("ws://scripted/ws", connector=script, wall=lambda: 0.0, offline=OfflineQueue()) as client:
        script.pipes[0].lose()
        await until(lambda: client.status == "reconnecting")
        tasks = [asyncio.create_task(client.using(fresh=True).call(send, number)) for number in range(2)]
        while len(script.pipes) < 2:
            await asyncio.sleep(1.0)
        pipe = script.pipes[1]
        await pipe.request()
        tasks[0].cancel()
        pipe.answer(await pipe.request(), "next")
        assert await tasks[1] == "next"


async def test_closing_the_client_ends_what_waits() -> None:  # acceptance 223
    send: Any = remote("chat/send")
    script = Script()
    async with connect("ws://scripted/ws", connector=script, wall=lambda: 0.0, offline=OfflineQueue()) as client:
        script.pipes[0].lose()
        await until(lambda: client.status == "reconnecting")
        task = asyncio.create_task(client.call(send))
        await asyncio.sleep(0)
    with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
        await task


@pytest.mark.realtime
def test_the_blocking_client_has_the_queue_too() -> None:
    seen: list[tuple[str, str]] = []
    lost = threading.Event()

    def wanted(call: QueuedCall) -> bool:
        seen.append((call.path, threading.current_thread().name))
        return True

    def echo(connection: ServerConnection) -> None:
        for text in connection:
            frame = json.loads(text)
            if frame.get("rpc") == "demo/leave":
                connection.close()
            elif "id" in frame:
                data = {"ok": True, "data": frame["args"]}
                connection.send(json.dumps({"topic": "__rpc", "event": frame["id"], "data": data}))

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/ws"
        config = ClientConfig(backoff_base=0.5, jitter=(1.0, 1.0))
        with sync.connect(url, config=config, offline=OfflineQueue(before_replay=wanted)) as client:
            client.on_disconnect(lost.set)
            client.fire(remote("demo/leave"))
            assert lost.wait(5.0)
            assert client.call(remote("demo/echo"), 1) == [1]
            assert client.counters.calls_stale == 0
        server.shutdown()
        thread.join()
    assert seen == [("demo/echo", "liverpc client")]
