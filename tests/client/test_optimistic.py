"""Changes before the server agrees, on the handles of an open client."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from liverpc import Context, LiveServer, live, public
from liverpc._types import remote
from liverpc.client import Client, Created, Deleted, RpcError, StreamHandle, Updated, create_optimistic
from liverpc.client.overlay import DEPTH_MAX
from liverpc.testing import TestEnv
from tests.client.client_kit import SEND, Pipe, Script, client_of, until


class Row(msgspec.Struct):
    id: int
    text: str = ""


ROWS: Any = remote("chat/rows", returns=list[Row])


class Opened:
    """A client and a stream with one row, and the pipe to their server."""

    def __init__(self, client: Client, handle: StreamHandle[list[Row]], pipe: Pipe) -> None:
        self.client = client
        self.handle = handle
        self.pipe = pipe

    def mutate(self, change: Any, *args: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self.handle.mutate(self.client.call(SEND, *args), optimistic=change))


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Opened]:
    script = Script()
    async with client_of(script, **settings) as client:
        pipe = script.pipes[0]
        handle: StreamHandle[list[Row]] = client.stream(ROWS)
        opening = asyncio.create_task(handle.open())
        pipe.answer(await pipe.request(), [{"id": 1}], topic="t", merge="crud", key="id")
        await opening
        yield Opened(client, handle, pipe)
        await handle.aclose()


# -- mutate


async def test_the_change_is_shown_before_the_call_begins_and_its_result_is_returned() -> None:  # acceptance 208
    async with opened() as at:
        seen: list[list[Row]] = []

        async def call() -> str:
            seen.append(at.handle.value)
            return "done"

        assert await at.handle.mutate(call(), optimistic=Created(Row(2))) == "done"
        assert seen == [[Row(1), Row(2)]]
        assert at.handle.value == [Row(1), Row(2)]


async def test_the_servers_event_before_the_reply_takes_the_changes_place() -> None:  # acceptance 208
    async with opened() as at:
        task = at.mutate(Created(Row(2, "mine")))
        request = await at.pipe.request()
        assert at.handle.value == [Row(1), Row(2, "mine")]
        at.pipe.event("created", {"id": 2, "text": "theirs"})
        at.pipe.answer(request, 7)
        values = [value async for value in _until(at.handle, Row(2, "theirs"))]
        assert all(len(value) == 2 for value in values)
        assert await task == 7
        assert at.handle.value == [Row(1), Row(2, "theirs")]


async def _until(handle: StreamHandle[list[Row]], row: Row) -> AsyncIterator[list[Row]]:
    async for value in handle:
        yield value
        if row in value:
            return


async def test_a_refused_call_takes_its_change_back_and_no_other() -> None:  # acceptance 208
    async with opened() as at:
        first, second = at.mutate(Created(Row(2)), 1), at.mutate(Updated(Row(1, "x")), 2)
        names = [await at.pipe.request(), await at.pipe.request()]
        at.pipe.event("created", {"id": 3})
        at.pipe.answer(names[0], ok=False, code="NO", error="no")
        with pytest.raises(RpcError, match="NO"):
            await first
        assert at.handle.value == [Row(1, "x"), Row(3)]
        at.pipe.answer(names[1], ok=False, code="NO", error="no")
        with pytest.raises(RpcError, match="NO"):
            await second
        assert at.handle.value == [Row(1), Row(3)]


async def test_cancelling_takes_the_change_back() -> None:
    async with opened() as at:
        task = at.mutate(Deleted(1))
        await at.pipe.request()
        assert at.handle.value == []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert at.handle.value == [Row(1)]


async def test_a_lost_connection_takes_the_change_back_and_a_reload_keeps_those_that_wait() -> None:
    async with opened(backoff_base=1.0) as at:
        task = at.mutate(Created(Row(2)))
        await at.pipe.request()
        rollback = at.handle.optimistic(Created(Row(3)))
        at.pipe.lose()
        with pytest.raises(RpcError, match="DISCONNECTED"):
            await task
        assert at.handle.value == [Row(1), Row(3)]
        script = at.client._connection._connector
        assert isinstance(script, Script)
        await at.handle.wait_for(lambda _: at.handle.status == "reconnecting")
        await until_connected(at.client)
        pipe = script.pipes[-1]
        pipe.answer(await pipe.request(), [{"id": 5}], topic="t", merge="crud", key="id")
        assert await at.handle.wait_for(lambda rows: Row(5) in rows) == [Row(5), Row(3)]
        rollback()
        assert at.handle.value == [Row(5)]


async def until_connected(client: Client) -> None:
    back = asyncio.Event()
    stop = client.on_connect(back.set)
    await back.wait()
    stop()


NO_NUMBER: Any = "1"
WRONG: list[Any] = ["created", None, Created(5), Created(Row(NO_NUMBER)), lambda rows: 1]


@pytest.mark.parametrize("change", WRONG)
async def test_what_is_no_change_is_refused_and_the_call_is_not_made(change: Any) -> None:
    async with opened() as at:
        before = at.handle.value
        call = at.client.call(SEND, "x")
        with pytest.raises(TypeError):
            await at.handle.mutate(call, optimistic=change)
        assert inspect.getcoroutinestate(call) == inspect.CORO_CLOSED
        assert at.handle.value is before
        assert at.pipe.sent == []


@pytest.mark.parametrize("call", [5, None, lambda: 5])
async def test_what_cannot_be_awaited_is_refused_before_anything_is_shown(call: Any) -> None:
    async with opened() as at:
        at.handle.enable_history()
        before = at.handle.value
        with pytest.raises(TypeError, match=f"takes the call itself.*it was given a {type(call).__name__}"):
            await at.handle.mutate(call, optimistic=Created(Row(2)))
        assert at.handle.value is before
        assert not at.handle.can_undo


@pytest.mark.parametrize("change", [Created, Updated, Deleted])
async def test_a_change_without_its_row_is_named(change: Any) -> None:
    async with opened() as at:
        handle: Any = at.handle
        missing = "key" if change is Deleted else "row"
        with pytest.raises(TypeError, match=rf"{change.__name__}\({missing}\) is missing its {missing}"):
            handle.optimistic(change)


async def test_wrong_arguments_leave_nothing_behind() -> None:
    async with opened() as at:
        with pytest.raises(TypeError):
            await at.mutate(Created(Row(2)), object())
        assert at.handle.value == [Row(1)]
        assert at.pipe.sent == []


async def test_a_full_queue_refuses_the_next_change_and_makes_no_call() -> None:  # acceptance 212
    async with opened() as at:
        rollbacks = [at.handle.optimistic(Created(Row(2 + n))) for n in range(DEPTH_MAX - 1)]
        rollbacks.append(at.handle.optimistic(Deleted(1)))
        before = at.handle.value
        with pytest.raises(RpcError, match="QUEUE_FULL"):
            await at.handle.mutate(at.client.call(SEND), optimistic=Created(Row(-1)))
        assert at.handle.value is before
        assert at.pipe.sent == []
        assert at.client.counters.changes_refused == 1
        rollbacks[0]()
        at.handle.optimistic(Created(Row(-1)))
        assert at.handle.value[-1] == Row(-1)


async def test_a_change_before_the_first_value_appears_with_it() -> None:
    script = Script()
    async with client_of(script) as client:
        pipe = script.pipes[0]
        handle: StreamHandle[list[Row]] = client.stream(ROWS)
        opening = asyncio.create_task(handle.open())
        request = await pipe.request()
        task = asyncio.create_task(handle.mutate(client.call(SEND), optimistic=Created(Row(2))))
        call = await pipe.request()
        assert handle.get() is None
        pipe.answer(request, [{"id": 1}], topic="t", merge="crud", key="id")
        await opening
        assert handle.value == [Row(1), Row(2)]
        pipe.answer(call)
        await task
        assert handle.value == [Row(1), Row(2)]
        await handle.aclose()


async def test_a_hydrated_value_is_not_changed_but_the_servers_is() -> None:
    script = Script()
    async with client_of(script) as client:
        pipe = script.pipes[0]
        handle: StreamHandle[list[Row]] = client.stream(ROWS)
        handle.hydrate([Row(9)])
        opening = asyncio.create_task(handle.open())
        request = await pipe.request()
        rollback = handle.optimistic(Created(Row(2)))
        assert handle.value == [Row(9)]
        pipe.answer(request, [{"id": 1}], topic="t", merge="crud", key="id")
        await opening
        assert handle.value == [Row(1), Row(2)]
        rollback()
        assert handle.value == [Row(1)]
        await handle.aclose()


async def test_a_stream_whose_gate_shuts_keeps_the_changes_for_its_next_value() -> None:
    async with opened(backoff_base=1.0) as at:
        at.handle.optimistic(Created(Row(2)))
        at.pipe.lose()
        await until_connected(at.client)
        script = at.client._connection._connector
        assert isinstance(script, Script)
        pipe = script.pipes[-1]
        pipe.answer(await pipe.request(), gated=True)
        await until(lambda: at.handle.get() is None)
        at.handle.optimistic(Deleted(1))
        assert at.handle.get() is None
        pipe.lose()
        await until_connected(at.client)
        pipe = script.pipes[-1]
        pipe.answer(await pipe.request(), [{"id": 1}, {"id": 3}], topic="t", merge="crud", key="id")
        assert await at.handle.wait_for(lambda rows: True) == [Row(3), Row(2)]


async def test_a_further_page_comes_below_the_changes_and_is_a_step_of_the_history() -> None:
    script = Script()
    async with client_of(script) as client:
        pipe = script.pipes[0]
        handle: StreamHandle[list[Row]] = client.stream(ROWS)
        opening = asyncio.create_task(handle.open())
        pipe.answer(await pipe.request(), [{"id": 1}], topic="t", merge="crud", key="id", hasMore=True, cursor=1)
        await opening
        handle.enable_history()
        handle.optimistic(Created(Row(9)))
        handle.undo()
        more = asyncio.create_task(handle.load_more())
        pipe.answer(await pipe.request(), [{"id": 2}], topic="t", merge="crud", key="id", hasMore=False)
        assert not await more
        assert handle.value == [Row(1), Row(2)]
        assert handle.undo()
        assert handle.value == [Row(1)]
        await handle.aclose()


async def test_a_handle_that_is_not_open_shows_no_changes() -> None:
    async with opened() as at:
        unopened: StreamHandle[list[Row]] = at.client.stream(ROWS)
        call = at.client.call(SEND)
        with pytest.raises(RuntimeError, match="not open"):
            await unopened.mutate(call, optimistic=Created(Row(2)))
        assert inspect.getcoroutinestate(call) == inspect.CORO_CLOSED
        await at.handle.aclose()
        with pytest.raises(RuntimeError, match="not open"):
            at.handle.optimistic(Created(Row(2)))


async def test_a_call_that_outlives_the_handle_returns_its_result() -> None:
    async with opened() as at:
        task = at.mutate(Created(Row(2)))
        request = await at.pipe.request()
        await at.handle.aclose()
        at.pipe.answer(request, 3)
        assert await task == 3
        assert at.handle.value == [Row(1), Row(2)]


# -- optimistic


async def test_a_change_can_be_taken_back_once() -> None:
    async with opened() as at:
        rollback = at.handle.optimistic(Deleted(1))
        assert at.handle.value == []
        rollback()
        assert at.handle.value == [Row(1)]
        before = at.handle.value
        rollback()
        assert at.handle.value is before


async def test_taking_back_keeps_what_came_later_and_what_was_confirmed() -> None:
    async with opened() as at:
        rollback = at.handle.optimistic(Created(Row(2)))
        confirmed = at.handle.optimistic(Created(Row(3)))
        at.pipe.event("created", {"id": 3, "text": "x"})
        await at.handle.wait_for(lambda rows: Row(3, "x") in rows)
        rollback()
        confirmed()
        assert at.handle.value == [Row(1), Row(3, "x")]


async def test_handles_of_one_stream_share_their_changes() -> None:
    async with opened() as at, at.client.stream(ROWS) as other:
        at.handle.optimistic(Created(Row(2)))
        assert other.value == at.handle.value == [Row(1), Row(2)]
        assert other.value is not at.handle.value


# -- create_optimistic


class Note(msgspec.Struct):
    id: int
    text: str


_guard = public()
_notes: list[Note] = []


@live
async def add(ctx: Context, id: int, text: str = "new") -> Note:  # noqa: A002 - the field's name
    note = Note(id, text.upper())
    _notes.append(note)
    ctx.publish(notes.topic(), "created", note)
    return note


@live.stream("notes", merge="crud", key="id")
async def notes(ctx: Context) -> list[Note]:
    return list(_notes)


def as_note(id: int, text: str = "new") -> Created[Note]:  # noqa: A002 - the field's name
    return Created(Note(id, text))


Add = Callable[..., Awaitable[Note]]
FORMS: dict[str, Callable[[Client, StreamHandle[list[Note]]], Add]] = {
    "direct": lambda client, handle: (
        lambda *a, **k: handle.mutate(client.call(add, *a, **k), optimistic=as_note(*a, **k))
    ),
    "curried": lambda client, handle: create_optimistic(client, add, handle, as_note),
    "of the stream": lambda client, handle: handle.create_optimistic(client, add, as_note),
}


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Client, StreamHandle[list[Note]]]]:
    _notes[:] = [Note(1, "ONE")]
    async with TestEnv(LiveServer([sys.modules[__name__]])) as env:
        client = env.connect()
        async with client.stream(notes) as handle:
            yield client, handle


@pytest.mark.parametrize("form", FORMS)
async def test_all_forms_do_the_same(form: str) -> None:  # acceptance 213
    async with served() as (client, handle):
        send = FORMS[form](client, handle)
        task = asyncio.ensure_future(send(2, text="two"))
        await until(lambda: len(handle.value) == 2)
        assert handle.value == [Note(1, "ONE"), Note(2, "two")]
        assert await task == Note(2, "TWO")
        assert handle.value == [Note(1, "ONE"), Note(2, "TWO")]


async def test_wrong_arguments_are_refused_before_anything_is_shown() -> None:  # acceptance 213
    async with served() as (client, handle):
        called: list[Any] = []
        stream: Any = notes

        def change(*args: Any, **kwargs: Any) -> Any:
            called.append(args)

        before = handle.value
        curried: Any = create_optimistic(client, add, handle, change)
        of_stream: Any = handle.create_optimistic(client, add, change)
        for send in curried, of_stream:
            with pytest.raises(TypeError):
                await send()
        assert called == []
        assert handle.value is before
        with pytest.raises(TypeError, match="is a stream"):
            create_optimistic(client, stream, handle, change)
        no_function: Any = Created(Note(2, "two"))
        with pytest.raises(TypeError, match="takes a function that makes the change"):
            create_optimistic(client, add, handle, no_function)


async def test_a_function_of_the_arguments_may_make_a_function() -> None:
    async with served() as (client, handle):
        send = handle.create_optimistic(client, add, lambda id, text="": lambda rows: [Note(id, text), *rows])  # noqa: A006 - as above
        task = asyncio.ensure_future(send(2))
        await until(lambda: len(handle.value) == 2)
        assert handle.value == [Note(2, ""), Note(1, "ONE")]
        await task
        assert handle.value == [Note(1, "ONE"), Note(2, "NEW")]


# -- history


async def test_undo_and_redo_on_a_handle() -> None:  # acceptance 214
    async with opened() as at:
        handle = at.handle
        assert not handle.can_undo
        assert not handle.undo()
        handle.optimistic(Created(Row(2)))
        assert handle.can_undo
        assert not handle.can_redo
        assert handle.undo()
        assert handle.value == [Row(1)]
        assert not handle.undo()
        assert handle.can_redo
        assert handle.redo()
        assert not handle.redo()
        assert handle.value == [Row(1), Row(2)]


async def test_a_step_back_means_that_the_last_successful_change_is_gone() -> None:
    async with opened() as at:
        handle = at.handle
        handle.enable_history()
        task = at.mutate(Created(Row(2, "draft")))
        request = await at.pipe.request()
        at.pipe.event("created", {"id": 2, "text": "final"})
        at.pipe.answer(request, None)
        await task
        refused = at.mutate(Created(Row(3)))
        at.pipe.answer(await at.pipe.request(), ok=False, code="NO", error="no")
        with pytest.raises(RpcError):
            await refused
        assert handle.value == [Row(1), Row(2, "final")]
        assert handle.undo()
        assert handle.value == [Row(1)]
        assert not handle.can_undo
        assert handle.redo()
        assert handle.value == [Row(1), Row(2, "final")]
        assert not handle.can_redo


async def test_steps_are_told_to_those_who_wait() -> None:
    async with opened() as at:
        at.handle.enable_history()
        at.handle.optimistic(Created(Row(2)))
        waiting = asyncio.create_task(at.handle.wait_for(lambda rows: len(rows) == 1))
        await asyncio.sleep(0)
        at.handle.undo()
        assert await waiting == [Row(1)]


async def test_a_paused_history_keeps_nothing() -> None:  # acceptance 214
    async with opened() as at:
        handle = at.handle
        handle.pause_history()
        handle.resume_history()
        handle.enable_history(limit=2)
        handle.pause_history()
        handle.optimistic(Created(Row(2)))
        handle.resume_history()
        handle.optimistic(Created(Row(3)))
        assert handle.undo()
        assert handle.value == [Row(1), Row(2)]
        assert handle.undo()
        assert handle.value == [Row(1)]
        assert not handle.undo()
