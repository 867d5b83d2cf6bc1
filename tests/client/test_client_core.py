from __future__ import annotations

import json
import math
import random
import re
from typing import Annotated, Any

import msgspec
import pytest

from liverpc.client.calls import Call
from liverpc.client.core import QUEUE_MAX, ClientCore
from liverpc.client.failure import Failure, FailureClass
from liverpc.errors import Issue, RpcError
from tests.client.core_kit import Now, failed, make, opened, reply, sent, status_of


class Message(msgspec.Struct):
    id: int
    text: str = ""


# -- opening


def test_the_first_frame_is_hello_with_batch_support() -> None:
    core = make()
    assert status_of(core) == "connecting"
    core.connection_opened()
    assert status_of(core) == "connected"
    assert list(core.outgoing()) == ['{"type":"hello","caps":["batch","upload"]}']
    assert not core.has_outgoing


def test_before_opening_nothing_is_sent_and_calls_wait_in_order() -> None:
    core = make()
    for path in ("a/one", "a/two"):
        core.call(path, [])
    stream = core.subscribe("a/stream", [])
    assert sent(core) == []
    core.connection_opened()
    hello, *rest = sent(core)
    assert hello["type"] == "hello"
    assert [frame["rpc"] for frame in rest] == ["a/stream", "a/one", "a/two"]
    assert stream.status == "loading"


# -- calls


def test_a_call_is_sent_with_the_keys_in_the_order_servers_look_for() -> None:
    core = opened()
    call = core.call("chat/send", ["hi", {"room": 1}])
    assert list(core.outgoing()) == [
        f'{{"rpc":"chat/send","id":"{call.id}","args":["hi",{{"room":1}}]}}',
    ]


def test_ids_are_four_random_characters_and_a_counter_in_base_36() -> None:
    core = opened()
    ids = [core.call("a/b", []).id for _ in range(38)]
    assert len({name[:4] for name in ids}) == 1
    assert re.fullmatch("[0-9a-z]{4}", ids[0][:4])
    assert [name[4:] for name in ids][:12] == list("0123456789ab")
    assert [name[4:] for name in ids][-3:] == ["z", "10", "11"]
    assert ClientCore(rng=random.Random(2)).call("a/b", []).id[:4] != ids[0][:4]


def test_a_reply_ends_its_call_with_the_converted_result() -> None:
    core = opened()
    ended: list[Call] = []
    call = core.call("chat/send", ["hi"], on_done=ended.append)
    other = core.call("chat/send", ["ho"])
    assert not call.done
    with pytest.raises(RuntimeError, match="not done"):
        call.result()
    core.receive(reply(call, {"id": 1, "text": "hi"}))
    assert ended == [call]
    assert call.result(Message) == Message(1, "hi")
    assert call.result() == {"id": 1, "text": "hi"}
    assert not other.done
    core.receive(reply(call, "again"))
    assert ended == [call]


def test_absent_data_is_null() -> None:
    core = opened()
    call = core.call("a/b", [])
    core.receive(json.dumps({"topic": "__rpc", "event": call.id, "data": {"ok": True}}))
    assert call.result(None) is None


def test_the_declared_type_may_carry_anything_in_its_annotations() -> None:
    core = opened()
    call = core.call("a/b", [])
    core.receive(reply(call, 3))
    assert call.result(Annotated[int, {"unit": "s"}]) == 3


def test_a_result_that_does_not_fit_says_which_path_and_what() -> None:
    core = opened()
    call = core.call("chat/send", [])
    core.receive(reply(call, {"id": "one"}))
    with pytest.raises(RpcError, match=r"chat/send .* Message: Expected `int`, got `str` - at `\$.id`") as caught:
        call.result(Message)
    assert caught.value.code == "INVALID_RESULT"


def test_an_error_reply_carries_code_text_issues_and_waiting_time() -> None:
    core = opened()
    call = core.call("a/b", [])
    issues = [{"path": ["text"], "message": "Too short"}]
    core.receive(reply(call, ok=False, code="VALIDATION", error="Validation failed", issues=issues, retryAfter=1500))
    error = failed(call)
    assert (error.code, error.message, error.retry_after) == ("VALIDATION", "Validation failed", 1.5)
    assert error.issues == (Issue(["text"], "Too short"),)


@pytest.mark.parametrize("data", ["null", "3", '{"ok":1}', "[]"])
def test_an_unreadable_reply_ends_the_call_instead_of_letting_it_wait(data: str) -> None:
    core = opened()
    call = core.call("a/b", [])
    core.receive(f'{{"topic":"__rpc","event":"{call.id}","data":{data}}}')
    assert failed(call).code == "INVALID_RESULT"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"type":"welcome","sessionId":"x"}',
        '{"type":"resumed"}',
        '{"type":"ping"}',
        '{"type":"batch","events":3}',
        '{"type":"subscribed","topic":"t","ref":1}',
        '{"type":"subscribe-denied","topic":["t"],"ref":1}',
        '{"topic":"unknown","event":"created","data":{}}',
        '{"topic":"__rpc","event":"nobody","data":{"ok":true}}',
        '{"topic":"__rpc","event":"nobody","data":null}',
        "[" * 5000,
        b"\xff",
        b'{"topic":"\xff","event":"created"}',
    ],
)
def test_frames_that_mean_nothing_change_nothing(text: str | bytes) -> None:
    core = opened()
    call = core.call("a/b", [])
    sent(core)
    core.receive(text)
    assert not call.done
    assert not core.has_outgoing


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("value", [object(), "\ud800", CYCLE])
def test_arguments_without_json_form_are_refused_before_anything_is_sent(value: Any) -> None:
    core = opened()
    for shared in (False, True):
        with pytest.raises(TypeError):
            core.call("a/b", [value], shared=shared)
    with pytest.raises(TypeError):
        core.fire("a/b", [value])
    with pytest.raises(TypeError):
        core.batch([("a/b", [1]), ("a/b", [value])])
    with pytest.raises(TypeError):
        core.subscribe("a/b", [value])
    assert not core.has_outgoing
    assert core.next_deadline() is None


def test_a_call_times_out_at_its_deadline_and_not_before() -> None:
    now = Now()
    core = opened(now, timeout=30.0)
    slow, quick, never = (core.call("a/b", [], timeout=limit) for limit in (None, 5.0, math.inf))
    assert core.next_deadline() == 5.0
    now.seconds = math.nextafter(5.0, 0.0)
    core.tick()
    assert not quick.done
    now.seconds = 5.0
    core.tick()
    assert failed(quick).code == "TIMEOUT"
    assert core.next_deadline() == 30.0
    now.seconds = 1e9
    core.tick()
    assert failed(slow).code == "TIMEOUT"
    assert not never.done
    assert core.next_deadline() is None


def test_deadlines_of_answered_calls_do_not_pile_up() -> None:
    core = opened()
    waiting = core.call("a/b", [])
    for _ in range(10_000):
        core.receive(reply(core.call("a/b", [])))
        sent(core)
    assert len(core._calls._timers) < 200
    assert core.next_deadline() == waiting.deadline


def test_an_answer_after_the_timeout_is_ignored() -> None:  # acceptance 222
    now = Now()
    core = opened(now)
    ended: list[Call] = []
    call = core.call("a/b", [], timeout=1.0, on_done=ended.append)
    now.seconds = 1.0
    core.tick()
    core.receive(reply(call, 1))
    assert failed(call).code == "TIMEOUT"
    assert ended == [call]


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_call_that_failed_while_it_waited_is_never_sent(how: str) -> None:
    now = Now()
    core = make(now)
    call = core.call("a/dead", [], timeout=1.0)
    core.call("a/alive", [])
    if how == "timeout":
        now.seconds = 1.0
        core.tick()
    else:
        core.cancel(call)
    core.connection_opened()
    assert [frame.get("rpc") for frame in sent(core)] == [None, "a/alive"]


def test_a_call_cancelled_while_its_frame_waits_for_the_socket_is_not_sent() -> None:
    core = opened()
    core.call("a/first", [])
    second = core.call("a/second", [])
    frames = core.outgoing()
    assert "a/first" in next(frames)
    core.cancel(second)
    assert list(frames) == []


def test_a_cancelled_call_tells_nobody() -> None:
    core = opened()
    ended: list[Call] = []
    call = core.call("a/b", [], on_done=ended.append)
    core.cancel(call)
    core.receive(reply(call))
    core.cancel(call)
    assert (ended, call.done, core.next_deadline()) == ([], True, None)


def test_without_a_connection_a_thousand_calls_wait_and_the_next_fails_at_once() -> None:
    core = make()
    calls = [core.call("a/b", []) for _ in range(QUEUE_MAX)]
    assert not any(call.done for call in calls)
    assert core.refused == 0
    refused = core.call("a/b", [])
    assert failed(refused).code == "DISCONNECTED"
    assert "1000" in failed(refused).message
    assert core.refused == 1
    core.cancel(calls[0])
    assert not core.call("a/b", []).done
    core.connection_opened()
    assert len(sent(core)) == 1 + QUEUE_MAX
    assert not core.call("a/b", []).done


def test_an_error_in_a_callback_is_logged_and_disturbs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Call) -> None:
        raise ZeroDivisionError

    core = opened()
    first = core.call("a/b", [], on_done=broken)
    second = core.call("a/b", [])
    core.receive(reply(first, 1))
    core.receive(reply(second, 2))
    assert second.result() == 2
    assert "a callback raised" in caplog.text


# -- losing the connection


def test_losing_the_connection_fails_what_was_called_on_it() -> None:
    core = opened()
    call = core.call("a/b", [])
    core.connection_lost(1006, "gone")
    assert status_of(core) == "reconnecting"
    assert core.failure == Failure("ws-close", FailureClass.RETRY, "gone", code=1006)
    assert failed(call).code == "DISCONNECTED"
    core.connection_opened()
    assert [frame.get("rpc") for frame in sent(core)] == [None]
    assert core.failure is None
    assert core.retry_delay is None


def test_calls_made_since_survive_further_failed_attempts() -> None:
    core = opened()
    core.connection_lost(1006)
    call = core.call("a/b", [])
    core.connection_lost(1006)
    core.connection_lost(1006)
    assert not call.done
    core.connection_opened()
    assert sent(core)[1]["id"] == call.id


def test_a_call_made_by_a_callback_of_the_loss_waits_for_the_next_connection() -> None:
    core = opened()
    again: list[Call] = []
    core.call("a/b", [], on_done=lambda _: again.append(core.call("a/again", [])))
    core.connection_lost(1006)
    assert not again[0].done
    core.connection_opened()
    assert [frame.get("rpc") for frame in sent(core)] == [None, "a/again"]


def test_frames_that_arrive_after_the_loss_are_ignored() -> None:
    core = opened()
    core.connection_lost(1006)
    call = core.call("a/b", [])
    core.receive(reply(call))
    assert not call.done


def test_the_waits_grow_by_two_point_two_up_to_the_maximum() -> None:
    core = make(backoff_base=3.0, backoff_max=300.0)
    delays: list[float] = []
    for _ in range(8):
        core.connection_lost(1006)
        assert core.retry_delay is not None
        delays.append(round(core.retry_delay, 2))
    assert delays == [3.0, 6.6, 14.52, 31.94, 70.28, 154.61, 300.0, 300.0]
    assert status_of(core) == "connecting"


def test_the_waits_begin_anew_after_every_open() -> None:
    core = make()
    for _ in range(5):
        core.connection_lost(1006)
    core.connection_opened()
    core.connection_lost(1006)
    assert core.retry_delay == 3.0


def test_waiting_for_years_does_not_overflow() -> None:
    core = make()
    for _ in range(2000):
        core.connection_lost(1006)
    assert core.retry_delay == 300.0


def test_the_waits_are_spread_by_the_jitter() -> None:
    core = make(jitter=(0.75, 1.25), backoff_max=3.0)
    delays = set()
    for _ in range(100):
        core.connection_lost(1006)
        assert core.retry_delay is not None
        delays.add(core.retry_delay)
    assert len(delays) > 90
    assert 2.25 <= min(delays) < 2.4
    assert 3.6 < max(delays) <= 3.75


def test_a_throttled_client_waits_as_after_five_failed_attempts_and_longer_each_time() -> None:
    core = opened()
    core.connection_lost(4429, "slow down")
    assert core.failure == Failure("ws-close", FailureClass.THROTTLE, "slow down", code=4429)
    assert core.retry_delay == pytest.approx(154.6, abs=0.1)
    core.connection_lost(4429)
    assert core.retry_delay == 300.0


@pytest.mark.parametrize("code", [1008, 4401, 4403])
def test_a_final_refusal_ends_everything(code: int) -> None:
    core = opened()
    call = core.call("a/b", [])
    core.connection_lost(code, "not you")
    assert (status_of(core), core.retry_delay) == ("closed", None)
    assert core.failure == Failure("ws-close", FailureClass.TERMINAL, "not you", code=code)
    assert failed(call).code == "CONNECTION_CLOSED"
    later = core.call("a/b", [])
    assert failed(later).code == "CONNECTION_CLOSED"
    assert f"{code} not you" in failed(later).message
    stream = core.subscribe("a/s", [])
    assert stream.error is not None
    assert (stream.status, stream.error.code) == ("error", "CONNECTION_CLOSED")
    assert core.next_deadline() is None
    core.connection_opened()
    core.connection_lost(1006)
    assert status_of(core) == "closed"
    assert sent(core) == []


def test_closing_ends_everything_without_a_failure() -> None:
    core = opened()
    call = core.call("a/b", [])
    core.connection_lost(1006)
    waiting = core.call("a/b", [])
    core.close()
    assert (status_of(core), core.failure, core.retry_delay) == ("closed", None, None)
    assert failed(call).code == "DISCONNECTED"
    assert failed(waiting).code == "CONNECTION_CLOSED"


@pytest.mark.parametrize(("limit", "closes_at"), [(1, 1), (3, 3), (None, None)])
def test_it_gives_up_after_as_many_failed_attempts_as_configured(limit: int | None, closes_at: int | None) -> None:
    core = opened(max_attempts=limit)
    core.connection_lost(1006)  # not an attempt
    for attempt in range(1, 11):
        assert status_of(core) == "reconnecting"
        core.connection_lost(1006, "nobody there")
        if attempt == closes_at:
            assert status_of(core) == "closed"
            assert core.failure is not None
            assert "nobody there" in core.failure.reason
            return
    assert closes_at is None


def test_errors_are_not_shared_between_calls() -> None:
    core = opened()
    first, second = core.call("a/b", []), core.call("a/b", [])
    core.close()
    assert failed(first) is not failed(second)
