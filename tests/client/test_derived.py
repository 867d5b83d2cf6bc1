"""Values made of streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar, assert_type, overload

import pytest

from liverpc.client import RpcError, StreamHandle, combine, map_rows, when
from liverpc.client.derived import Derived
from liverpc.client.readable import Readable
from liverpc.client.subscription import StreamStatus
from liverpc.client.waiting import Waiters
from tests.client.client_kit import MESSAGES, Script, client_of, until

T = TypeVar("T")
D = TypeVar("D")


class Box(Readable[T]):
    """A source in the test's hands."""

    def __init__(
        self, *values: T, opens: Callable[[], object] = lambda: None, closes: asyncio.Event | None = None
    ) -> None:
        self._path = "box"
        self._waiters = Waiters()
        self._values = list(values)
        self._opens = opens
        self._closes = closes
        self._closed = False
        self._count = len(values)
        self.uses = 0
        self.state: tuple[StreamStatus, RpcError | None] = ("connected", None)

    async def __aenter__(self) -> Self:
        result = self._opens()
        if isinstance(result, asyncio.Future):
            await result
        self.uses += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closes is not None:
            await self._closes.wait()
        self.uses -= 1
        self._closed = True
        self._waiters.wake()

    @property
    def value(self) -> T:
        if not self._values:
            raise LookupError
        return self._values[-1]

    @overload
    def get(self) -> T | None: ...
    @overload
    def get(self, default: D) -> T | D: ...
    def get(self, default: Any = None) -> Any:
        return self._values[-1] if self._values else default

    @property
    def status(self) -> StreamStatus:
        return self.state[0]

    @property
    def error(self) -> RpcError | None:
        return self.state[1]

    @property
    def _version(self) -> int:
        return self._count

    @property
    def _opened(self) -> bool:
        return True

    @property
    def _ended(self) -> bool:
        return self._closed

    def set(self, value: T) -> None:
        self._values.append(value)
        self._count += 1
        self._waiters.wake()

    def clear(self) -> None:
        self._values.clear()
        self._waiters.wake()

    def become(self, status: StreamStatus, error: RpcError | None = None) -> None:
        self.state = (status, error)
        self._waiters.wake()


async def collect(readable: Readable[T], into: list[T]) -> None:
    async for value in readable:
        into.append(value)  # noqa: PERF401 - each when it comes


def value_of(readable: Readable[T]) -> T:
    return readable.value  # a call, for type checkers believe that a value once compared stays so


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# -- combine


async def test_a_combination_has_a_value_once_all_sources_have_one() -> None:  # acceptance 217
    made: list[tuple[int, str]] = []

    def both(a: int, b: str) -> str:
        made.append((a, b))
        return f"{a}{b}"

    a, b = Box[int](), Box[str]()
    values: list[str] = []
    async with combine(a, b, both) as ab:
        task = asyncio.create_task(collect(ab, values))
        await turns()
        a.set(1)
        await turns()
        assert (ab.get(), ab.get("none"), made) == (None, "none", [])
        with pytest.raises(LookupError, match="no value yet"):
            _ = ab.value
        b.set("x")
        await turns()
        assert (values, made) == (["1x"], [(1, "x")])
        a.set(2)
        await turns()
        assert (values, made) == (["1x", "2x"], [(1, "x"), (2, "x")])
    await task
    assert ab.value == "2x"


async def test_changes_of_several_sources_at_once_are_one() -> None:
    a, b = Box(1), Box(1)
    values: list[int] = []
    async with combine(a, b, lambda a, b: a + b) as total:
        task = asyncio.create_task(collect(total, values))
        await turns()
        a.set(10)
        b.set(10)
        await turns()
        assert values == [2, 20]
    await task


async def test_a_source_that_is_there_twice_makes_no_intermediate_value() -> None:
    a = Box([1])
    values: list[float] = []
    doubled, halved = map_rows(a, lambda n: n * 2), map_rows(a, lambda n: n / 2)
    async with combine(doubled, halved, lambda d, h: sum(d) - sum(h)) as difference:
        task = asyncio.create_task(collect(difference, values))
        await turns()
        a.set([2])
        await turns()
        assert values == [1.5, 3.0]
    await task


async def test_the_same_object_again_is_no_change() -> None:
    same = object()
    a, b = Box(1), Box(1)
    values: list[object] = []
    async with combine(a, b, lambda a, b: same if a < 3 else a) as result:
        task = asyncio.create_task(collect(result, values))
        for number in (2, 3):
            await turns()
            a.set(number)
        await turns()
        assert values == [same, 3]
    await task


async def test_an_equal_object_is_a_change() -> None:
    a, b = Box(1), Box(1)
    values: list[list[int]] = []
    async with combine(a, b, lambda a, b: [b]) as result:
        task = asyncio.create_task(collect(result, values))
        await turns()
        a.set(2)
        await turns()
        assert values == [[1], [1]]
    await task


async def test_nothing_is_computed_before_somebody_asks() -> None:
    asked: list[int] = []
    a, b = Box(1), Box(1)
    async with combine(a, b, lambda a, b: asked.append(a)) as result:
        a.set(2)
        a.set(3)
        await turns()
        assert asked == []
        assert result.get() is None
        assert result.get() is None
        assert asked == [3]


async def test_what_the_function_raises_is_raised_to_who_asks_until_a_source_changes() -> None:
    a, b = Box(0), Box(1)
    async with combine(a, b, lambda a, b: b / a) as result:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                _ = result.value
        a.set(2)
        assert result.value == 0.5


async def test_a_function_as_source_is_used_along_and_anew_each_time() -> None:
    made: list[Box[int]] = []

    def make() -> Box[int]:
        made.append(Box(len(made)))
        return made[-1]

    a = Box(10)
    result = combine(a, make, lambda a, b: a + b)
    assert (made, result.get(), result.status) == ([], None, "loading")
    for number in range(2):
        async with result:
            assert (made[-1].uses, a.uses, result.value) == (1, 0, 10 + number)
            async with result:
                assert len(made) == number + 1
            assert made[-1].uses == 1
        assert (made[-1].uses, result.value) == (0, 10 + number)


async def test_a_source_that_cannot_be_opened_leaves_nothing_open() -> None:
    first, second = Box(1), Box(1, opens=lambda: 1 / 0)
    result = combine(lambda: first, lambda: second, lambda a, b: a + b)
    with pytest.raises(ZeroDivisionError):
        await result.__aenter__()
    assert (first.uses, result.get(), result._ended) == (0, None, True)


async def test_entering_at_the_same_time_opens_once_and_a_cancelled_one_does_not_disturb() -> None:
    gate = asyncio.get_running_loop().create_future()
    made: list[Box[int]] = []

    def make() -> Box[int]:
        made.append(Box(1, opens=lambda: gate))
        return made[-1]

    result = combine(make, Box(2), lambda a, b: a + b)
    entering = [asyncio.create_task(result.__aenter__()) for _ in range(3)]
    await turns()
    entering[1].cancel()
    await turns()
    gate.set_result(None)
    assert await entering[0] is await entering[2] is result
    await result.__aexit__(None, None, None)
    assert (len(made), made[0].uses, value_of(result)) == (1, 1, 3)
    await result.__aexit__(None, None, None)
    assert (made[0].uses, result._ended) == (0, True)


async def test_the_status_is_the_worst_and_the_error_the_first() -> None:
    a, b = Box(1), Box(1)
    error = RpcError("FORBIDDEN")
    async with combine(a, b, lambda a, b: a + b) as result:
        waiting = asyncio.create_task(result.wait_for(lambda _: result.status == "error"))
        assert (result.status, result.error) == ("connected", None)
        b.become("loading")
        a.become("reconnecting")
        assert result.status == "reconnecting"
        await turns()
        assert not waiting.done()
        b.become("error", error)
        assert (result.status, result.error) == ("error", error)
        assert await waiting == 2


async def test_waiting_ends_with_the_time_the_use_and_the_sources() -> None:
    a, b = Box(1), Box(1)
    async with combine(a, b, lambda a, b: a + b) as result:
        assert await result.wait_for(lambda value: value == 2) == 2
        with pytest.raises(TimeoutError, match=r"combine\(\): not what .* within 2 s; the last value was 2"):
            await result.wait_for(lambda value: value == 3, timeout=2.0)
        waiting = asyncio.create_task(result.wait_for(lambda value: value == 3))
        values: list[int] = []
        task = asyncio.create_task(collect(result, values))
        await turns()
        for box in (a, b):
            assert not task.done()
            await box.__aexit__(None, None, None)
            await turns()
        await task
        with pytest.raises(RpcError, match="CONNECTION_CLOSED"):
            await waiting
    assert values == [2]
    assert not a._waiters and not b._waiters and not result._waiters


@pytest.mark.parametrize(
    "arguments", [(), (Box(1),), (Box(1), lambda a: a), (Box(1), Box(2)), (Box(1), Box(2), Box(3)), (lambda: 1,)]
)
def test_a_combination_takes_two_sources_and_a_function(arguments: tuple[Any, ...]) -> None:  # acceptance 217
    with pytest.raises(TypeError, match="two sources at least"):
        combine(*arguments)


async def test_a_value_that_goes_takes_the_combination_along() -> None:
    a, b = Box(1), Box(1)
    values: list[int] = []
    async with combine(a, b, lambda a, b: a + b) as result, when(True, lambda: a) as stream:
        task = asyncio.create_task(collect(result, values))
        await turns()
        assert stream.get() == 1
        a.clear()
        await turns()
        assert (result.get("none"), stream.get("none"), values) == ("none", None, [2])
        a.set(1)
        await turns()
        assert (result.get(), stream.get(), values) == (2, 1, [2, 2])
    await task


async def test_a_stream_handle_that_is_not_open_is_refused() -> None:
    async with client_of(Script()) as client:
        with pytest.raises(RuntimeError, match="the handle of chat/messages is not open: enter it before"):
            await combine(client.stream(MESSAGES), Box(1), lambda a, b: a).__aenter__()


async def test_type_checkers_know_what_comes_out() -> None:
    a, b = Box(1), Box("x")
    pair = combine(a, lambda: b, lambda number, text: (number, text))
    assert_type(pair, Derived[tuple[int, str]])
    five = combine(a, b, pair, a, lambda: b, lambda a, b, c, d, e: [c])
    assert_type(five, Derived[list[tuple[int, str]]])
    assert_type(when(a, lambda: b), Derived[str | None])
    assert_type(map_rows(Box([1]), str), Derived[list[str]])
    async with five:
        assert five.value == [(1, "x")]


# -- map_rows


async def test_rows_are_mapped_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    rows = Box[Any]()
    async with map_rows(rows, lambda n: n + 1) as mapped:
        assert mapped.get() is None
        rows.set([1, 2])
        assert value_of(mapped) == [2, 3]
        rows.set(None)
        assert (value_of(mapped), caplog.text) == ([], "")
        rows.set({"a": 1})
        assert value_of(mapped) == []
        assert "map_rows() takes a list of rows, not dict" in caplog.text


# -- when


@pytest.mark.parametrize("off", [False, lambda: 0, Box[int](), Box(0)])
async def test_while_the_condition_is_false_nothing_is_opened(off: Any) -> None:  # acceptance 217
    made: list[Box[int]] = []

    def make() -> Box[int]:
        made.append(Box(1))
        return made[-1]

    stream = when(off, make)
    async with stream:
        assert (stream.value, stream.status, stream.error, made) == (None, "connected", None, [])
        assert await stream.wait_for(lambda value: value is None) is None


@pytest.mark.parametrize("on", [True, lambda: 1, Box("yes")])
async def test_while_it_is_true_the_stream_is_open(on: Any) -> None:
    box = Box(1)
    stream = when(on, lambda: box)
    async with stream:
        assert (stream.value, box.uses) == (1, 1)
        box.set(2)
        assert (value_of(stream), stream.status) == (2, "connected")
        box.become("reconnecting")
        assert stream.status == "reconnecting"
    assert (box.uses, value_of(stream)) == (0, 2)


async def test_switching_opens_and_leaves_a_new_stream_each_time() -> None:  # acceptance 217
    made: list[Box[str]] = []

    def make() -> Box[str]:
        made.append(Box(f"first of {len(made)}"))
        return made[-1]

    switch = Box(False)
    values: list[str | None] = []
    async with when(switch, make) as stream:
        task = asyncio.create_task(collect(stream, values))
        for on in (True, True, False, True):
            await turns()
            switch.set(on)
        await turns()
        assert values == [None, "first of 0", None, "first of 1"]
        assert [box.uses for box in made] == [0, 1]
    await task
    assert [box.uses for box in made] == [0, 0]
    assert not switch._waiters


async def test_switching_off_while_the_stream_opens_gives_it_up() -> None:
    never = asyncio.get_running_loop().create_future()
    switch = Box(0)
    async with when(switch, lambda: Box(1, opens=lambda: never)) as stream:
        switch.set(1)
        await turns()
        assert (stream.status, value_of(stream)) == ("loading", None)
        switch.set(0)
        await turns()
        assert (stream.status, never.cancelled()) == ("connected", True)


async def test_switching_on_again_while_the_stream_closes_opens_another() -> None:
    closes = asyncio.Event()
    made: list[Box[int]] = []

    def make() -> Box[int]:
        made.append(Box(len(made), closes=closes))
        return made[-1]

    switch = Box(1)
    async with when(switch, make) as stream:
        switch.set(0)
        await turns()
        switch.set(1)
        await turns()
        closes.set()
        await turns()
        assert (value_of(stream), [box.uses for box in made]) == (1, [0, 1])


async def test_a_stream_that_is_refused_raises_when_entered() -> None:
    def refuse() -> Box[int]:
        raise RpcError("FORBIDDEN")

    stream = when(True, refuse)
    with pytest.raises(RpcError, match="FORBIDDEN"):
        await stream.__aenter__()
    assert stream._ended


@pytest.mark.parametrize("refusal", [RpcError("FORBIDDEN"), ZeroDivisionError("x")])
async def test_one_that_is_refused_later_shows_until_it_is_switched_off(
    refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Box[int]:
        raise refusal

    switch = Box(0)
    async with when(switch, refuse) as stream:
        switch.set(1)
        await stream.wait_for(lambda _: stream.error)
        assert (stream.status, stream.value) == ("error", None)
        assert stream.error is not None
        assert stream.error.code == getattr(refusal, "code", "STREAM_ERROR")
        assert ("could not open" in caplog.text) == (not isinstance(refusal, RpcError))
        switch.set(0)
        await stream.wait_for(lambda _: stream.status == "connected")
        assert stream.error is None


async def test_a_condition_that_fails_counts_as_false(caplog: pytest.LogCaptureFixture) -> None:
    a, b, inner = Box(1), Box(1), Box("on")
    async with when(combine(a, b, lambda a, b: b / a), lambda: inner) as stream:
        assert value_of(stream) == "on"
        a.set(0)
        await stream.wait_for(lambda value: value is None)
        assert inner.uses == 0
        assert "condition of when() failed" in caplog.text


async def test_cancelling_the_entry_leaves_nothing_behind() -> None:
    never = asyncio.get_running_loop().create_future()
    stream = when(True, lambda: Box(1, opens=lambda: never))
    entering = asyncio.create_task(stream.__aenter__())
    await turns()
    entering.cancel()
    await asyncio.wait([entering])
    assert never.cancelled()
    assert stream._ended


async def test_entering_again_while_the_last_use_ends_waits_for_its_end() -> None:
    closes = asyncio.Event()
    made: list[Box[int]] = []

    def make() -> Box[int]:
        made.append(Box(len(made), closes=closes))
        return made[-1]

    stream = when(Box(1), make)
    await stream.__aenter__()
    leaving = asyncio.create_task(stream.__aexit__(None, None, None))
    await turns()
    entering = asyncio.create_task(stream.__aenter__())
    await turns()
    assert (leaving.done(), entering.done(), len(made)) == (False, False, 1)
    closes.set()
    await asyncio.gather(leaving, entering)
    assert (value_of(stream), [box.uses for box in made]) == (1, [0, 1])
    await stream.__aexit__(None, None, None)
    assert [box.uses for box in made] == [0, 0]


# -- what is no source


async def made_later() -> int:
    return 1


NO_SOURCES: list[Any] = [MESSAGES, None, 5, [1]]
SOURCES = r"functions that make one: lambda: client\.stream\(\.\.\.\)"


@pytest.mark.parametrize("source", NO_SOURCES, ids=str)
def test_what_is_no_source_is_refused_at_once(source: Any) -> None:
    with pytest.raises(TypeError, match=SOURCES):
        map_rows(source, str)
    with pytest.raises(TypeError, match=SOURCES):
        combine(Box(1), source, max)
    with pytest.raises(TypeError, match=SOURCES):
        when(source, lambda: Box(1))


@pytest.mark.parametrize("stream", [Box(1), *NO_SOURCES], ids=lambda value: type(value).__name__)
def test_when_wants_a_function_that_makes_its_stream(stream: Any) -> None:
    with pytest.raises(TypeError, match=r"when\(condition, lambda: client\.stream\(\.\.\.\)\)"):
        when(True, stream)


@pytest.mark.parametrize("make", [lambda: None, lambda: MESSAGES, made_later])
async def test_a_function_that_makes_no_source_is_refused_when_it_is_used(make: Any) -> None:
    for derived in map_rows(make, str), combine(Box(1), make, max), when(True, make):
        with pytest.raises(TypeError, match=SOURCES):
            async with derived:
                pass


# -- with streams


async def test_streams_of_a_client_are_sources() -> None:
    script = Script()
    async with client_of(script) as client:
        (pipe,) = script.pipes

        def messages(room: str) -> Callable[[], StreamHandle[list[int]]]:
            return lambda: client.stream(MESSAGES, room)

        switch = Box(False)
        pair = combine(messages("a"), when(switch, messages("b")), lambda a, b: (a, b))
        entering = asyncio.create_task(pair.__aenter__())
        pipe.answer(await pipe.request(), [1], topic="a")
        await entering
        assert value_of(pair) == ([1], None)
        switch.set(True)
        pipe.answer(await pipe.request(), [2], topic="b")
        assert await pair.wait_for(lambda value: value[1]) == ([1], [2])
        pipe.sent.clear()
        switch.set(False)
        assert await pair.wait_for(lambda value: not value[1]) == ([1], None)
        await until(lambda: pipe.sent)
        assert pipe.sent == [{"type": "unsubscribe", "topic": "b"}]
        pipe.sent.clear()
        await pair.__aexit__(None, None, None)
        await until(lambda: pipe.sent)
        assert pipe.sent == [{"type": "unsubscribe", "topic": "a"}]
