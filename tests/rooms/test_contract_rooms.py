"""Who is in the rooms of contracts, what they hear, and what those hear who may not join."""

from __future__ import annotations

import asyncio
import enum
import json
import os
import types
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc import Limits, LiveError
from liverpc.backends.ports import Frame
from liverpc.declare.keys import room_key
from liverpc.policies.faults import Fault
from liverpc.rooms.groups import group_of
from liverpc.telemetry import CallFinished, Published
from tests.rooms.contract_kit import NOT_FOUND, REJECTED, App, Message, Page, serve

NULL = {"ok": True, "data": None}
P1 = {"project_id": "p1"}


# -- events


async def test_a_message_goes_to_the_room_of_its_url_sender_included() -> None:
    # acceptance 241
    async with serve(App().Chat) as env:
        ann, bob = await Page.open(env, "/rooms/general"), await Page.open(env, "/rooms/general")
        other = await Page.open(env, "/rooms/random")
        await env.settle()
        assert await ann.call("chat/__event/send", {"text": "hi"}) == {"ok": True, "data": {"text": "hi"}}
        assert [frame["event"] for frame in ann.events] == ["message"]  # before the answer
        assert await ann.heard() == await bob.heard() == [("chat/chat", "message", {"text": "hi"})]
        assert await other.heard() == []


async def test_an_invalid_payload_is_refused_and_nothing_is_sent() -> None:
    # acceptance 242
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a")
        wrong: list[list[Any]] = [[], [{}], [{"text": 1}], [{"text": "x", "more": 1}], [None]]
        for args in wrong:
            assert (await page.call("chat/__event/send", *args))["code"] == "VALIDATION"
        assert await page.heard() == []
        assert (await page.call("chat/__event/send", {"text": "x"}, "surplus"))["ok"]


async def test_others_and_one_connection_alone_can_be_spoken_to() -> None:
    async with serve(App().Chat) as env:
        ann, bob = await Page.open(env, "/rooms/a"), await Page.open(env, "/rooms/a")
        await env.settle()
        await ann.call("chat/__event/others", {"text": "x"})
        await ann.call("chat/__event/whisper")
        assert await ann.heard() == [
            ("chat/__client", "message", {"text": "psst"}), ("chat/__client", "cleared", None),
        ]  # fmt: skip
        assert await bob.heard() == [("chat/chat", "message", {"text": "x"})]
        await bob.call("chat/__event/send", {"text": "y"})
        assert [frame["seq"] for frame in ann.events or [await ann.recv()]] == [2]


async def test_the_server_speaks_to_a_room_without_a_connection() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await env.settle()
        chat = env.server.contract(app.Chat)
        chat.chat.at("chat", "a").emit.message(Message("job"))
        chat.chat.at("chat", "b").emit.cleared()
        assert await page.heard() == [("chat/chat", "message", {"text": "job"})]
        with pytest.raises(TypeError, match=r"say which: \.chat\.at"):
            chat.chat.emit.cleared()
        with pytest.raises(TypeError, match="no client"):
            chat.client.cleared()
        with pytest.raises(TypeError, match="no connection"):
            await chat.chat.at("x").join()
        with pytest.raises(TypeError):
            chat.chat.at("chat", "a").emit.message("no message")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="part 1 of the key"):
            chat.chat.at("").emit.cleared()
        with pytest.raises(TypeError, match="no contract of this server"):
            env.server.contract(App().Chat)


async def test_numbers_count_the_events_of_one_room() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        for project in ("p1", "p2"):
            await page.call("chat/__join/project", {"project_id": project})
        chat = env.server.contract(app.Chat)
        for project in ("p1", "p2", "p1"):
            chat.project.at("project", project).emit.cleared()
        assert [(await page.recv())["seq"] for _ in range(3)] == [1, 1, 2]


async def test_faults_are_asked_with_the_name_that_clients_know() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await env.settle()
        env.server.faults.arm(Fault(topic="chat/ch*", seed="s"))
        await page.call("chat/__event/send", {"text": "lost"})
        await page.call("chat/__event/whisper")
        assert {topic for topic, _, _ in await page.heard()} == {"chat/__client"}
        assert env.counters.fault_drops == 1


async def test_faults_strike_the_events_of_a_room_on_their_way_to_one_connection() -> None:
    app = App()
    async with serve(app.Chat) as env:
        ann, bob = await Page.open(env, "/rooms/a"), await Page.open(env, "/rooms/a")
        await env.settle()
        connection = env.server.connections[0].id
        env.server.faults.arm(Fault(topic="chat/*", event="message", connection=connection, limit=3))
        await bob.call("chat/__event/others", {"text": "lost"})
        await ann.call("chat/__event/send", {"text": "lost, too"})
        await ann.call("chat/__event/others", {"text": "for bob"})
        await ann.call("chat/__event/whisper")
        assert await ann.heard() == [
            ("chat/__client", "message", {"text": "psst"}), ("chat/__client", "cleared", None),
        ]  # fmt: skip
        assert [heard[2]["text"] for heard in await bob.heard()] == ["lost, too", "for bob"]
        assert env.counters.fault_losses == 2


async def test_faults_fail_actions_and_never_the_opening_of_a_contract() -> None:
    app = App()
    async with serve(app.Chat) as env:
        told: list[CallFinished] = []
        env.server.telemetry.call_finished.append(told.append)
        env.server.faults.arm(Fault(action="error", path="chat/*", code="BROKEN"))
        page = await Page.open(env, "/rooms/a")
        await env.settle()
        assert (await page.call("chat/__event/send", {"text": "x"}))["code"] == "BROKEN"
        assert [(each.path, each.code, each.fault) for each in told] == [
            ("chat/__open", None, ""), ("chat/__event/send", "BROKEN", "error#1"),
        ]  # fmt: skip


# -- actions


async def test_results_are_checked() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        app.result = "no number"
        assert (await page.call("chat/__event/odd"))["code"] == "INTERNAL_ERROR"
        app.result = 7
        assert (await page.call("chat/__event/odd"))["data"] == 7
        app.result = LiveError("MINE", "as raised")
        assert await page.call("chat/__event/fails") == {"ok": False, "code": "MINE", "error": "as raised"}
        app.result = ValueError("a secret")
        assert "secret" not in json.dumps(await page.call("chat/__event/fails"))


async def test_serial_actions_of_a_connection_run_in_turn_and_others_at_once() -> None:
    app = App()
    async with serve(app.Chat) as env:
        ann, bob = await Page.open(env, "/rooms/a"), await Page.open(env, "/rooms/a")
        await env.settle()
        app.log.clear()
        calls = [await ann.ask("chat/__event/in_turn", {"text": str(n)}) for n in range(3)]
        await env.settle()
        assert (await ann.call("chat/__event/odd"))["code"]
        await bob.call("chat/__event/in_turn", {"text": "bob"})
        for call in calls:
            await ann.answer(call)
        mine = [each for each in app.log if each[1] != "bob"]
        assert mine == [(what, str(n)) for n in range(3) for what in ("begin", "end")]
        assert app.log.index(("begin", "bob")) < app.log.index(("end", "0"))


async def test_actions_begin_in_the_order_of_their_frames() -> None:
    app = App()
    app.gates["send"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        texts = [str(n) for n in range(20)]
        calls = [await page.ask("chat/__event/send", {"text": text}) for text in texts]
        await env.settle()
        app.gates["send"].set()
        for call in calls:
            await page.answer(call)
        assert [each[1] for each in app.log if each[0] == "send"] == texts


async def test_actions_go_into_batches() -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await page.send(batch=[
            {"rpc": "chat/__event/send", "id": "1", "args": [{"text": "x"}]},
            {"rpc": "chat/__open", "id": "2", "args": [{"room_id": "a"}]},
            {"rpc": "chat/__event/nope", "id": "3", "args": []},
        ])  # fmt: skip
        while (frame := await page.recv())["event"] != "__batch":
            pass
        answers = frame["data"]["batch"]
        assert [(each["id"], each["ok"]) for each in answers] == [("1", True), ("2", True), ("3", False)]


# -- asking for rooms


async def test_a_room_that_may_be_asked_for() -> None:
    # acceptance 246
    app = App()
    async with serve(app.Chat) as env:
        ann, bob = await Page.open(env, "/rooms/a", user="ann"), await Page.open(env, "/rooms/b", user="bob")
        assert await ann.call("chat/__join/project", P1) == NULL
        assert await bob.call("chat/__join/project", P1) == NULL
        await ann.call("chat/__event/to_projects")
        assert await ann.heard() == await bob.heard() == [("chat/project", "cleared", None)]
        assert (await bob.call("chat/__join/project", {"project_id": "p1", "x": 1}))["code"] == "VALIDATION"
        assert (await bob.call("chat/__join/project"))["code"] == "VALIDATION"
        assert await bob.call("chat/__join/project", {"project_id": "p2"}) == REJECTED
        app.authorise = lambda contract, data: False
        assert await bob.call("chat/__join/project", {"project_id": "p3"}) == REJECTED
        app.authorise = lambda contract, data: ["project", "p4"]
        assert await bob.call("chat/__join/project", {"project_id": "p4"}) == NULL


async def test_every_refusal_to_join_is_the_same_byte_for_byte() -> None:
    app = App()
    refusals: list[Any] = [
        lambda contract, data: None, lambda contract, data: False, lambda contract, data: ("project", None),
        lambda contract, data: 1.5, lambda contract, data: os.environ["SECRET"], lambda contract, data: "\ud800",
        lambda contract, data: contract.require(None),
        lambda contract, data: (_ for _ in ()).throw(LiveError("MINE", "the project is p7", retry_after=3)),
    ]  # fmt: skip
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await page.call("chat/__open", {"room_id": "a"})
        frames = set()
        for app.authorise in refusals:
            await page.send(rpc="chat/__join/project", id="same", args=[P1])
            frames.add(await page.socket.recv())
        await page.send(rpc="chat/__join/tenant", id="same", args=[])
        frames.add(await page.socket.recv())
        assert len(frames) == 1
        assert env.server.rooms[1].refused == len(refusals) + 1
        assert "LiveError" not in str(env.server.rooms[1].refusals())


async def test_a_private_room_is_asked_for_without_a_payload() -> None:
    async with serve(App().Chat) as env:
        ann, bob = await Page.open(env, "/rooms/a", user="ann"), await Page.open(env, "/rooms/b", user="bob")
        cid, nobody = await Page.open(env, "/rooms/a", user="cid"), await Page.open(env, "/rooms/a")
        for page in (ann, bob, cid):
            assert await page.call("chat/__join/tenant") == NULL
        assert await nobody.call("chat/__join/tenant") == REJECTED
        dan = await Page.open(env, "/rooms/a", user="dan")  # a user without a tenant
        assert await dan.call("chat/__join/tenant") == REJECTED
        payloads: list[Any] = [None, {}, "red", {"tenant": "red"}, []]
        for payload in payloads:
            assert await cid.call("chat/__join/tenant", payload) == NOT_FOUND
            assert await cid.call("chat/__leave/tenant", payload) == NOT_FOUND
        await ann.call("chat/__event/to_tenant")
        assert await bob.heard() == [("chat/tenant", "cleared", None)]
        assert await cid.heard() == await dan.heard() == await nobody.heard() == []
        assert await bob.call("chat/__leave/tenant") == NULL
        await ann.call("chat/__event/to_tenant")
        assert await bob.heard() == []


async def test_what_is_joined_by_itself_is_not_left_by_asking() -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a")
        assert await page.call("chat/__leave/chat") == NULL
        assert await page.call("chat/__join/chat") == NULL
        assert await page.call("chat/__leave/chat") == NULL
        await page.call("chat/__event/send", {"text": "x"})
        assert len(await page.heard()) == 1


async def test_joining_again_changes_nothing_and_two_payloads_may_mean_one_room() -> None:
    app = App()
    app.authorise = lambda contract, data: "one"
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        one, other = {"project_id": 1}, {"project_id": 1, "also": "x"}
        for payload in (one, one, other, {"also": "x", "project_id": 1}):
            assert await page.call("chat/__join/project", payload) == NULL
        assert len(app.log) == 4  # two rooms of its own, and asked twice
        connection = env.server.connections[0]
        assert connection.streams == 2
        assert await page.call("chat/__leave/project", one) == NULL
        assert connection.streams == 2
        assert await page.call("chat/__leave/project", other) == NULL
        assert connection.streams == 1
        assert await page.call("chat/__leave/project", other) == NULL


async def test_leaving_needs_nobodys_leave_and_without_a_payload_leaves_all_that_were_asked_for() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        for project in ("p1", "p2"):
            await page.call("chat/__join/project", {"project_id": project})
        await page.call("chat/__event/enter", {"project_id": "p9"})
        app.authorise = lambda contract, data: None
        connection = env.server.connections[0]
        assert connection.streams == 4
        assert await page.call("chat/__leave/project", {"project_id": "p1"}) == NULL
        assert (await page.call("chat/__leave/project", {"project_id": "p1", "x": 1}))["code"] == "VALIDATION"
        assert connection.streams == 3
        assert await page.call("chat/__leave/project") == NULL
        assert connection.streams == 2
        await page.call("chat/__event/to_projects")
        assert await page.heard() == [("chat/project", "cleared", None)]  # p9, by the handler


async def test_leaving_during_the_decision_wins() -> None:
    app = App()
    app.gates["project"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        joining = [await page.ask("chat/__join/project", {"project_id": each}) for each in ("p1", "p2", "p1")]
        await env.settle()
        assert await page.call("chat/__leave/project", {"project_id": "p1"}) == NULL
        app.gates["project"].set()
        assert [await page.answer(call) for call in joining] == [NULL] * 3
        assert env.server.connections[0].streams == 2
        app.gates["project"].clear()
        joining = [await page.ask("chat/__join/project", P1)]
        await env.settle()
        await page.call("chat/__leave/project")
        app.gates["project"].set()
        await page.answer(joining[0])
        assert env.server.connections[0].streams == 1


async def test_handlers_let_their_connection_join_and_leave() -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        connection = env.server.connections[0]
        await page.call("chat/__join/project", P1)
        for _ in range(2):
            assert await page.call("chat/__event/enter_tenant") == NULL
            assert await page.call("chat/__event/enter", {"project_id": "p9"}) == NULL
            assert await page.call("chat/__event/enter", P1) == NULL
        assert connection.streams == 4
        for _ in range(2):
            assert await page.call("chat/__event/exit", P1) == NULL
        assert connection.streams == 3
        assert await page.call("chat/__join/project", P1) == NULL  # the wish was forgotten with it
        assert connection.streams == 4
        assert await page.call("chat/__event/exit_all") == NULL
        assert connection.streams == 1
        nobody = await Page.open(env, "/rooms/a")
        assert await nobody.call("chat/__event/enter_tenant") == REJECTED
        assert await nobody.call("chat/__event/to_tenant") == REJECTED
        assert await nobody.call("chat/__event/exit_all") == NULL
        assert await nobody.call("chat/__event/to_projects") == NULL


@pytest.mark.parametrize(("most", "fits"), [(1, 0), (2, 1), (3, 2)])
async def test_rooms_count_as_streams(most: int, fits: int) -> None:
    app = App()
    app.authorise = lambda contract, data: data.project_id
    async with serve(app.Chat, limits=Limits(streams_per_connection=most)) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        answers = [await page.call("chat/__join/project", {"project_id": n}) for n in range(1, 4)]
        assert [answer["ok"] for answer in answers] == [n < fits for n in range(3)]
        assert {answer["code"] for answer in answers if not answer["ok"]} == {"OVERLOADED"}
        app.authorise = lambda contract, data: None  # whether it would be allowed does not show
        assert (await page.call("chat/__join/project", {"project_id": 9}))["code"] == (
            "OVERLOADED" if fits < 3 else "JOIN_REJECTED"
        )


async def test_wishes_are_counted_even_when_they_mean_one_room() -> None:
    app = App()
    app.authorise = lambda contract, data: "one"
    async with serve(app.Chat, limits=Limits(rooms_per_contract=5)) as env:
        page = await Page.open(env, "/rooms/a")
        answers = [await page.call("chat/__join/project", {"project_id": n}) for n in range(6)]
        assert [answer["ok"] for answer in answers] == [True] * 5 + [False]


async def test_after_a_reconnect_everything_is_decided_anew() -> None:
    # acceptance 244
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        await page.call("chat/__join/project", P1)
        page.socket.cut()
        await asyncio.sleep(1)
        app.authorise = lambda contract, data: None
        page = await Page.open(env, "/rooms/a", user="ann")
        assert await page.call("chat/__join/project", P1) == REJECTED
        await page.call("chat/__event/send", {"text": "x"})
        assert len(await page.heard()) == 1


async def test_a_handler_that_outlives_its_connection_joins_nothing() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        await env.settle()
        contract = app.instances[0]
        page.socket.cut()
        await asyncio.sleep(1)
        await contract.tenant.join()
        await contract.project.at("p").join()
        contract.client.cleared()
        contract.chat.emit.cleared()
        contract.tenant.leave()
        assert not env.server._hub.topics


async def test_joining_many_groups_at_once_needs_a_key() -> None:
    app = App()
    async with serve(app.Chat) as env:
        await Page.open(env, "/rooms/a", user="ann")
        await env.settle()
        with pytest.raises(TypeError, match=r"say which: self\.project\.at"):
            await app.instances[0].project.join()


# -- keys


class Fruit(enum.StrEnum):
    APPLE = "apple"


def test_equal_keys_are_one_group_and_no_others() -> None:
    app = App()
    chat = app.Chat
    rooms: Any = chat.rooms()
    project = rooms["project"]
    identity = UUID(int=1)
    same: list[tuple[Any, Any]] = [("a", ("a",)), (["a", 1], ("a", 1)), (Fruit.APPLE, "apple"), (identity, (identity,))]
    for one, other in same:
        assert group_of(chat, project, room_key(one)).topic == group_of(chat, project, room_key(other)).topic
    different: list[Any] = [
        "a", ("a", "a"), ("chat", "a:b"), ("chat:a", "b"), 1, "1", identity, str(identity), identity.hex,
        ("a", 1), ("a", "1"), '["a","a"]', '"a"',
    ]  # fmt: skip
    topics = {group_of(chat, project, room_key(key)).topic for key in different}
    topics |= {group_of(chat, rooms["chat"], room_key(key)).topic for key in different}
    topics |= {group_of(_elsewhere(), project, room_key(key)).topic for key in different}
    assert len(topics) == 3 * len(different)


def _elsewhere() -> Any:
    return types.new_class("Other", (App().Chat,), {"path": "/other/{room_id}", "name": "chat"})


part = st.one_of(st.text(min_size=1), st.integers(-(2**63), 2**64 - 1), st.uuids())


@settings(max_examples=200, deadline=None)
@given(st.lists(part, min_size=1, max_size=3), st.lists(part, min_size=1, max_size=3))
def test_groups_are_equal_when_the_parts_are(one: list[Any], other: list[Any]) -> None:
    app = _APP
    project: Any = app.Chat.rooms()["project"]
    try:
        first, second = (group_of(app.Chat, project, room_key(key)) for key in (one, other))
    except ValueError:  # half a surrogate pair
        return
    alike = [(type(each), each) for each in one] == [(type(each), each) for each in other]
    assert (first.topic == second.topic) == alike


_APP = App()


# -- telemetry


async def test_observers_see_values_and_the_names_that_clients_know() -> None:
    app = App()
    async with serve(app.Chat) as env:
        published: list[Published] = []
        finished: list[CallFinished] = []
        env.server.telemetry.published.append(published.append)
        env.server.telemetry.call_finished.append(finished.append)
        page = await Page.open(env, "/rooms/a", user="ann")
        await page.call("chat/__event/send", {"text": "x"})
        assert [(each.topic, each.event, each.data, each.receivers) for each in published] == [
            ("chat/chat", "message", {"text": "x"}, 1),
        ]  # fmt: skip
        assert [(each.path, each.call, each.parameters, each.user, each.code) for each in finished] == [
            ("chat/__open", None, ("params", "pattern"), "ann", None),
            ("chat/__event/send", "c1", ("data",), "ann", None),
        ]  # fmt: skip
        assert finished[1].result == {"text": "x"}
        assert (finished[0].published, finished[1].published) == ((), ("chat/chat",))


# -- census


async def test_the_census_lists_who_is_where_and_why() -> None:
    async with serve(App().Chat) as env:
        ann, again = await Page.open(env, "/rooms/a", user="ann"), await Page.open(env, "/rooms/a", user="ann")
        guest = await Page.open(env, "/rooms/a")
        await ann.call("chat/__join/project", P1)
        await again.call("chat/__event/enter", P1)
        await guest.call("chat/__join/project", P1)
        census = env.server.rooms[1]
        rows = {row.name: row for row in census.rows()}
        assert set(rows) == {"chat/chat", "chat/project"}
        row = rows["chat/chat"]
        assert (row.kind, row.key, row.declared) == ("contract", '["chat","a"]', "/rooms/{room_id}")
        first, second, third = (connection.id for connection in env.server.connections)
        assert [(each.key, each.connections, each.how) for each in row.occupants] == [
            ("ann", (first, second), "auto"), (row.occupants[1].key, (third,), "auto"),
        ]  # fmt: skip
        assert row.occupants[1].key.startswith("__guest_")
        assert [(each.key, each.how) for each in rows["chat/project"].occupants] == [("ann", "asked")]
        assert len({row.number for row in rows.values()}) == 2
        last = census.refusals()[-1]
        assert (last.room, last.connection, last.user, last.reason) == ("chat/project", third, None, "refused")
        assert census.refused == 2  # and the tenant of the guest


async def test_only_the_last_hundred_refusals_are_kept() -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        for n in range(101):
            await page.call("chat/__join/project", {"project_id": n})
        assert (env.server.rooms[1].refused, len(env.server.rooms[1].refusals())) == (101, 100)


# -- other nodes


async def test_what_another_node_emits_arrives_under_the_name_that_clients_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await env.settle()
        hub = env.server._hub
        (topic,) = hub.topics
        sent: list[Frame] = []
        monkeypatch.setattr(hub._bus, "publish", sent.append)
        env.server.contract(app.Chat).chat.at("chat", "a").emit.message(Message("x"))
        assert [(frame.topic, frame.event) for frame in sent] == [(topic, "message")]
        hub.deliver(sent)
        assert [name for name, _, _ in await page.heard()] == ["chat/chat"] * 2
