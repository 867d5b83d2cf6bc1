"""Throttled and debounced publishes, and cooldowns. Numbers in names are acceptance cases."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc import Limits, LiveError
from liverpc.backends.memory import memory_cluster
from liverpc.hub.hub import Hub
from liverpc.policies.pacing import Pacing
from liverpc.telemetry import Published, Telemetry
from liverpc.testing import virtual_loop_factory


class Cursor(msgspec.Struct):
    key: int | str
    x: int = 0


class Kit:
    """A pacing, and what it published when."""

    def __init__(self, max_keys: int = 5000) -> None:
        loop = asyncio.get_running_loop()
        self.telemetry = Telemetry()
        cluster = memory_cluster()
        self.hub = Hub(self.telemetry, cluster.bus, cluster.log, Limits(), monotonic=loop.time)
        self.failures: list[tuple[Any, BaseException]] = []
        self.sent: list[tuple[float, Any]] = []
        self.telemetry.published.append(self._keep)
        self.pacing = Pacing(self.hub, self.telemetry.counters, max_keys=max_keys, failed=self._failed)

    def _keep(self, event: Published) -> None:
        self.sent.append((asyncio.get_running_loop().time(), event.data))

    def _failed(self, origin: Any, error: BaseException) -> None:
        self.failures.append((origin, error))

    def throttle(self, data: Any, interval: float = 1.0) -> None:
        self.pacing.throttle("rows", "update", data, interval, "origin")

    def debounce(self, data: Any, interval: float = 1.0) -> None:
        self.pacing.debounce("rows", "update", data, interval, "origin")


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=virtual_loop_factory) as runner:
        runner.run(scenario())  # type: ignore[arg-type]


async def test_80_throttle_sends_the_first_at_once_and_the_last_at_the_end_of_the_interval() -> None:
    kit = Kit()
    for number in range(5):
        kit.throttle(number)
    await asyncio.sleep(10)
    assert kit.sent == [(0.0, 0), (1.0, 4)]


async def test_80_throttle_sends_nothing_more_without_a_second_value() -> None:
    kit = Kit()
    kit.throttle("only")
    await asyncio.sleep(10)
    assert kit.sent == [(0.0, "only")]


async def test_a_value_right_after_a_trailing_one_waits_for_the_next_interval() -> None:
    kit = Kit()
    kit.throttle(1)
    kit.throttle(2)
    await asyncio.sleep(1.1)
    kit.throttle(3)
    await asyncio.sleep(10)
    assert kit.sent == [(0.0, 1), (1.0, 2), (2.0, 3)]


async def test_none_is_a_value() -> None:
    kit = Kit()
    kit.throttle(1)
    kit.throttle(None)
    kit.debounce(None)
    await asyncio.sleep(2)
    assert kit.sent == [(0.0, 1), (1.0, None), (1.0, None)]


# acceptance 81
@pytest.mark.parametrize(
    "make",
    [
        lambda key, x: {"key": key, "x": x},
        lambda key, x: Cursor(key, x),
        lambda key, x: {"id": key, "x": x},
        lambda key, x: {"id": 7, "key": key, "x": x},
    ],
)
async def test_81_values_with_different_keys_do_not_displace_each_other(make: Callable[[Any, int], Any]) -> None:
    kit = Kit()
    for x in range(2):
        for key in ("ann", "bob", 1, "1"):
            kit.throttle(make(key, x))
            kit.debounce(make(key, x), 3.0)
    await asyncio.sleep(5)
    for end in (1.0, 3.0):
        sent = [data for at, data in kit.sent if at == end]
        assert len(sent) == 4
        assert all(make(key, 1) in sent for key in ("ann", "bob", 1, "1"))


async def test_values_on_other_topics_and_events_do_not_displace_each_other() -> None:
    kit = Kit()
    for topic, event in (("a", "x"), ("a", "y"), ("b", "x")):
        kit.pacing.throttle(topic, event, (topic, event), 1.0, None)
    assert [data for _, data in kit.sent] == [("a", "x"), ("a", "y"), ("b", "x")]


async def test_84_debounce_sends_the_last_value_after_silence_and_each_value_starts_anew() -> None:
    kit = Kit()
    for number in range(5):
        kit.debounce(number)
        await asyncio.sleep(0.9)
    await asyncio.sleep(10)
    [(at, value)] = kit.sent
    assert value == 4
    assert at == pytest.approx(4.6)


async def test_a_shorter_interval_counts_at_once() -> None:
    kit = Kit()
    kit.debounce(1, 10.0)
    kit.debounce(2, 1.0)
    await asyncio.sleep(20)
    assert kit.sent == [(1.0, 2)]


# acceptance 85
@pytest.mark.parametrize("way", ["throttle", "debounce"])
async def test_85_beyond_the_limit_everything_is_published_at_once(way: str) -> None:
    kit = Kit(max_keys=3)
    send = getattr(kit, way)
    for x in range(3):
        for key in range(4):
            send({"key": key, "x": x})
    at_once = [data["x"] for at, data in kit.sent if data["key"] == 3 and at == 0.0]
    assert at_once == [0, 1, 2]
    assert kit.telemetry.counters.paced_overflows == 3
    await asyncio.sleep(10)
    last = {data["key"]: data["x"] for _, data in kit.sent}
    assert last == {0: 2, 1: 2, 2: 2, 3: 2}
    send({"key": 9, "x": 0})
    assert kit.telemetry.counters.paced_overflows == 3, "there is room again once the others are done"


@pytest.mark.parametrize("way", ["throttle", "debounce"])
@pytest.mark.parametrize("topic", ["__rpc", "", 'a"b'])
async def test_a_bad_name_reaches_the_caller(way: str, topic: str) -> None:
    kit = Kit()
    for names in ((topic, "x"), ("rows", 'a"b')):
        with pytest.raises(LiveError, match="INVALID_TOPIC"):
            getattr(kit.pacing, way)(*names, 1, 1.0, None)
    await asyncio.sleep(5)
    assert kit.sent == []


@pytest.mark.parametrize("way", ["throttle", "debounce"])
async def test_data_without_json_form_reaches_the_caller_and_displaces_nothing(way: str) -> None:
    kit = Kit()
    send = getattr(kit, way)
    with pytest.raises(TypeError):
        send(object())
    send(1)
    send(2)
    with pytest.raises(TypeError):
        send(object())
    await asyncio.sleep(5)
    assert kit.sent[-1] == (1.0, 2)


@pytest.mark.parametrize("way", ["throttle", "debounce"])
@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("inf"), True, "1"])
async def test_an_interval_that_is_none_reaches_the_caller(way: str, interval: Any) -> None:
    kit = Kit()
    with pytest.raises(LiveError, match="INVALID_ARG"):
        getattr(kit, way)(1, interval)
    assert kit.sent == []


async def test_what_waits_is_kept_as_it_was() -> None:
    kit = Kit()
    row: dict[str, Any] = {"key": 1, "x": 0}
    cursor = Cursor(2)
    kit.debounce(row)
    kit.debounce(cursor)
    row["x"] = object()
    cursor.x = 5
    await asyncio.sleep(2)
    assert sorted((data for _, data in kit.sent), key=str) == [{"key": 1, "x": 0}, {"key": 2, "x": 0}]


async def test_what_was_not_changed_is_published_as_it_is() -> None:
    kit = Kit()
    cursor = Cursor(1)
    kit.debounce(cursor)
    await asyncio.sleep(2)
    assert kit.sent[0][1] is cursor


async def test_a_late_failure_is_reported_with_its_origin_and_the_next_value_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kit = Kit()
    kit.throttle(1)
    kit.throttle(2)

    def broken(*args: Any) -> None:
        raise RuntimeError("bus")

    monkeypatch.setattr(kit.hub, "publish", broken)
    await asyncio.sleep(1.5)
    monkeypatch.undo()
    assert [(origin, str(error)) for origin, error in kit.failures] == [("origin", "bus")]
    kit.throttle(3)
    await asyncio.sleep(1)
    assert kit.sent[-1] == (2.0, 3)


async def test_closing_sends_what_waits_and_leaves_nothing_to_wait_for() -> None:
    kit = Kit()
    kit.throttle("first")
    kit.throttle("last")
    kit.debounce("debounced")
    kit.pacing.close()
    assert [data for _, data in kit.sent] == ["first", "last", "debounced"]
    kit.throttle("a")
    kit.throttle("b")
    kit.debounce("c")
    assert [data for _, data in kit.sent[3:]] == ["a", "b", "c"]
    await asyncio.sleep(10)
    assert len(kit.sent) == 6
    kit.pacing.open()
    kit.debounce("d")
    assert len(kit.sent) == 6
    await asyncio.sleep(1)
    assert len(kit.sent) == 7


CALLS = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 3.0]), st.sampled_from("ab")), max_size=30)


# acceptance 80, 81
@settings(deadline=None)
@given(calls=CALLS)
def test_throttled_publishes_keep_their_distance_and_the_last_value_arrives(calls: list[tuple[float, str]]) -> None:
    async def scenario() -> None:
        kit = Kit()
        last: dict[str, int] = {}
        for number, (pause, key) in enumerate(calls):
            await asyncio.sleep(pause)
            kit.throttle({"key": key, "n": number})
            last[key] = number
        await asyncio.sleep(5)
        for key, number in last.items():
            mine = [(at, data["n"]) for at, data in kit.sent if data["key"] == key]
            assert all(later[0] - earlier[0] >= 1.0 for earlier, later in pairwise(mine))
            assert [n for _, n in mine] == sorted({n for _, n in mine})
            assert mine[-1][1] == number

    run(scenario)


# acceptance 84
@settings(deadline=None)
@given(calls=CALLS)
def test_debounced_publishes_come_after_silence_and_only_then(calls: list[tuple[float, str]]) -> None:
    async def scenario() -> None:
        kit = Kit()
        made: dict[str, list[tuple[float, int]]] = {}
        now = 0.0
        for number, (pause, key) in enumerate(calls):
            await asyncio.sleep(pause)
            now += pause
            kit.debounce({"key": key, "n": number})
            made.setdefault(key, []).append((now, number))
        await asyncio.sleep(5)
        for key, mine in made.items():
            following = [at for at, _ in mine[1:]] + [float("inf")]
            ends = [(at + 1.0, n, then) for (at, n), then in zip(mine, following, strict=True)]
            sent = {(at, data["n"]) for at, data in kit.sent if data["key"] == key}
            assert {(end, n) for end, n, then in ends if then > end} <= sent
            # A value at the very end of the silence may come before or after the timer.
            assert sent <= {(end, n) for end, n, then in ends if then >= end}

    run(scenario)


async def test_88_skip_is_false_first_and_true_until_the_time_is_over() -> None:
    kit = Kit()
    skip = kit.pacing.skip
    assert [skip("a/b", "k", 1.0) for _ in range(3)] == [False, True, True]
    await asyncio.sleep(0.5)
    assert skip("a/b", "k", 1.0) is True
    await asyncio.sleep(0.5)
    assert skip("a/b", "k", 1.0) is False
    assert skip("a/b", "k", 1.0) is True


async def test_keys_of_other_paths_cool_down_by_themselves() -> None:
    kit = Kit()
    assert [kit.pacing.skip(path, key, 1.0) for path in ("a/b", "a/c") for key in ("k", "l")] == [False] * 4


# acceptance 88
@pytest.mark.parametrize(("key", "seconds"), [("", 1), (5, 1), (None, 1), ("x" * 257, 1), ("k", 0), ("k", "1")])
async def test_88_bad_arguments_are_refused(key: Any, seconds: Any) -> None:
    with pytest.raises(LiveError, match="INVALID_ARG"):
        Kit().pacing.skip("a/b", key, seconds)


async def test_the_longest_key_is_taken() -> None:
    assert Kit().pacing.skip("a/b", "x" * 256, 1) is False


async def test_beyond_the_limit_nothing_is_skipped_until_there_is_room() -> None:
    kit = Kit(max_keys=2)
    skip = kit.pacing.skip
    assert not skip("p", "a", 5.0)
    assert not skip("p", "b", 60.0)
    assert [skip("p", "c", 5.0) for _ in range(3)] == [False] * 3
    assert kit.telemetry.counters.paced_overflows == 3
    assert skip("p", "a", 5.0) is True
    await asyncio.sleep(5)
    assert [skip("p", "c", 5.0) for _ in range(2)] == [False, True]
