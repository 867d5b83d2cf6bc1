"""The form for a fault: what it asks for, what it previews, and what it takes until it arms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from textual.widget import Widget
from textual.widgets import Button, Input

from liverpc.inspector.protocol import Blast, ChaosArm, ChaosRule, Err, Ok, ServerInfo
from liverpc_devtools.core.faults import ACTIONS
from liverpc_devtools.core.model import Model
from liverpc_devtools.widgets import chaosform
from liverpc_devtools.widgets.chaosform import ChaosForm, Choice
from tests.devtools.attach_frames import full, welcome
from tests.devtools.conftest import TOPICS, Bench, OpenBench, fed

NARROW = Blast(
    publishes=31, of_publishes=156, calls=4, of_calls=40, topics=1, of_topics=18, connections=2, of_connections=41
)
WIDE = Blast(
    publishes=312, of_publishes=1560, calls=4, of_calls=40, topics=9, of_topics=18, connections=30, of_connections=41
)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(chaosform, "PREVIEW_AFTER", 3600)  # nobody waits here: Dry run and Arm ask at once
    yield


def armed(it: Bench) -> list[ChaosArm]:
    return [each for each in it.of(ChaosArm) if not each.dry]


def asked(it: Bench) -> list[ChaosArm]:
    return [each for each in it.of(ChaosArm) if each.dry]


async def form(it: Bench, action: str = "drop", **values: str) -> ChaosForm:
    await it.press("x")
    screen = it.app.screen
    assert isinstance(screen, ChaosForm)
    screen.query_one(Choice).choose(action)
    await it.pilot.pause()
    for name, value in values.items():
        screen.query_one(f"#{name}", Input).value = value
    await it.pilot.pause()
    return screen


async def push(it: Bench, button: str = "arm") -> str:
    it.app.screen.query_one(f"#{button}", Button).press()
    return await it.text()


async def answer(it: Bench, answer: Blast | str) -> str:
    number = asked(it)[-1].id
    return await fed(it, Err(number, answer) if isinstance(answer, str) else Ok(number, blast=answer))


async def test_it_arms_after_the_server_said_what_would_be_struck(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        await fed(it, full(topics=TOPICS))
        await form(it)
        assert it.app.screen.query_one("#topic", Input).value == "board:1"  # the selected one
        assert "asking what it would strike" in await push(it)
        assert armed(it) == []
        await answer(it, NARROW)
        (arm,) = armed(it)
        assert (arm.rule.action, arm.rule.topic, arm.rule.rate, arm.rule.limit) == ("drop", "board:1", 0.2, 5000)
        assert (arm.ttl, arm.detach, len(it.app.screen_stack)) == (60, False, 1)
        done = [each.cli for each in it.app.log_of_commands.entries]
        assert done[-1] == "liverpc-tui chaos ws://localhost:1 set drop 20% --topic board:1 --limit 5000 --for 60s"


async def test_the_preview_says_what_would_be_struck(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        await form(it, topic="board:*", seed="rep-1")
        await push(it, "dry")
        text = await answer(it, NARROW)
        assert "would have met 31 of the last 156 publishes" in text
        assert "1 of 18 topics, 2 of 41 connections" in text
        command = (
            "liverpc-tui chaos ws://localhost:1 set drop 20% --topic 'board:*' --seed rep-1 --limit 5000 --for 60s"
        )
        assert command in " ".join(text.split())
        assert "careful" not in text
        await push(it)  # known already
        assert (len(asked(it)), len(armed(it))) == (1, 1)


async def test_the_preview_comes_by_itself_after_a_change(bench: OpenBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaosform, "PREVIEW_AFTER", 0.001)
    async with bench(granted="chaos") as it:
        screen = await form(it, topic="board:*")
        while not asked(it):
            await it.pilot.pause(0.001)
        assert "would have met" in await answer(it, NARROW)
        screen.query_one("#topic", Input).value = "board:7"
        while asked(it)[-1].rule.topic != "board:7":
            await it.pilot.pause(0.001)
        assert "would have met" not in await it.text()
        assert armed(it) == []


async def test_an_answer_to_what_was_changed_since_arms_nothing(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        screen = await form(it, topic="board:*")
        await push(it)
        screen.query_one("#topic", Input).value = "*"
        await it.pilot.pause()
        await answer(it, NARROW)
        assert (armed(it), it.app.screen) == ([], screen)


async def test_who_would_strike_nearly_all_types_the_servers_name(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        for topic, blast, why in (
            ("board:*", WIDE, "it concerns 30 of 41 connections"),
            ("*", NARROW, "it concerns every topic"),
        ):
            screen = await form(it, topic=topic)
            await push(it)
            text = await answer(it, blast)
            assert f"{why}: type the server's name" in text.replace("\n", " ")
            line = screen.query_one("#server", Input)
            assert (armed(it), it.app.focused) == ([], line)
            await push(it)
            line.value = "prod-b"
            await push(it)
            assert armed(it) == []
            line.value = "prod-a"
            await push(it)
            assert len(armed(it)) == 1
            it.sent.clear()


async def test_what_the_server_would_refuse_is_told_and_not_armed(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        screen = await form(it, topic="board:*")
        await push(it)
        assert "the server would refuse it: outside \\x1b[31m your scope" in await answer(
            it, "outside \x1b[31m your scope"
        )
        assert (armed(it), it.app.screen, list(it.model.notes)) == ([], screen, [])
        screen.query_one("#connection", Input).value = "c1"
        screen.query_one("#topic", Input).value = "*"  # of one connection: no name has to be typed
        await it.pilot.pause()
        await push(it)
        await answer(it, NARROW)
        assert [each.rule.connection for each in armed(it)] == ["c1"]


def test_an_answer_counts_for_the_last_question_only() -> None:
    model, told = Model(), list[Blast | str]()
    first = model.preview(ChaosRule(), 60, told.append)
    second = model.preview(ChaosRule(rate=1), 60, told.append)
    model.apply(Ok(first, blast=WIDE))
    model.apply(Err(second, "no"))
    model.apply(Ok(second, blast=WIDE))
    assert (told, list(model.notes)) == (["no"], [])


async def test_without_a_session_nothing_is_armed(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        await form(it, topic="board:*")
        it.model.detached("connection refused", 3.0)
        assert "not attached now" in await push(it)
        assert it.of(ChaosArm) == []


async def test_only_the_fields_that_an_action_looks_at_are_asked_for(bench: OpenBench) -> None:
    async with bench(granted="chaos", size=(100, 40)) as it:
        screen = await form(it)
        for action, known in ACTIONS.items():
            screen.query_one(Choice).choose(action)
            await it.pilot.pause()
            text = await it.text()
            assert f"[{action}]" in text
            assert known.sentence in text
            shown = {each.id for each in screen.query(Input) if isinstance(each.parent, Widget) and each.parent.display}
            assert shown == {*known.fields, "ttl"}


async def test_a_text_somebody_wrote_stays_when_the_action_changes(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        screen = await form(it, "drop", rate="7%")
        await it.press("right")
        assert screen.query_one(Choice).chosen == "delay"
        assert screen.query_one("#rate", Input).value == "7%"
        assert screen.query_one("#seconds", Input).value == "300ms"
        await it.press("left", "left")
        assert screen.query_one(Choice).chosen == "loader"


async def test_enter_and_arrows_go_from_field_to_field_and_arm_nothing(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        screen = await form(it, topic="board:1")
        assert it.app.focused is screen.query_one(Choice)
        await it.press("down", "down", "up", "up")
        assert it.app.focused is screen.query_one(Choice)
        for name in ("topic", "event", "connection", "user", "share", "rate", "seed", "limit", "ttl", "arm"):
            await it.pilot.press("enter")
            assert it.app.focused is screen.query_one(f"#{name}")
        assert it.of(ChaosArm) == []
        await it.press("enter")
        assert (len(asked(it)), armed(it)) == (1, [])


WRONG = {
    "topic": (" ", "name a topic, or * for all"),
    "rate": ("2", "from 0 to 1"),
    "share": ("none", "a share is a number"),
    "ttl": ("1h", "at most 900 seconds"),
    "limit": ("many", "whole number"),
}


async def test_it_says_what_is_wrong_and_where(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        screen = await form(it, topic="board:1")
        for field, (value, problem) in WRONG.items():
            assert problem not in await it.text()
            line = screen.query_one(f"#{field}", Input)
            before, line.value = line.value, value
            await it.pilot.pause()
            assert problem in await it.text()  # while it is written
            assert screen.query_one(f"#field-{field}").has_class("-wrong")
            assert problem in await push(it)
            assert it.app.focused is line
            line.value = before
            await it.pilot.pause()
        assert it.of(ChaosArm) == []


async def test_an_empty_form_does_not_complain_before_it_is_used(bench: OpenBench) -> None:
    async with bench(granted="chaos", screen="rpc") as it:
        await form(it, rate="30%")
        assert "name a topic" not in await it.text()
        assert "name a topic" in await push(it)


async def test_actions_and_buttons_can_be_clicked_and_the_form_left(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        screen = await form(it, topic="board:1")
        await it.pilot.click("#action", offset=(8, 0))
        assert screen.query_one(Choice).chosen == "delay"
        await it.pilot.click("#dry")
        assert len(asked(it)) == 1
        await it.pilot.click("#cancel")
        assert len(it.app.screen_stack) == 1
        await form(it)
        await it.press("escape")
        assert (len(it.app.screen_stack), armed(it)) == (1, [])


@pytest.mark.parametrize("size", [(60, 20), (80, 24)])
async def test_the_buttons_are_there_however_small_the_screen_is(bench: OpenBench, size: tuple[int, int]) -> None:
    async with bench(granted="chaos", size=size) as it:
        screen = await form(it, "delay", topic="board:*")
        await push(it, "dry")
        assert "Dry run" in await answer(it, WIDE)
        assert screen.query_one("#buttons").region.bottom <= size[1]


async def test_who_may_not_is_told_how_to_get_the_right(bench: OpenBench) -> None:
    async with bench() as it:
        for changes, why in (
            ({"granted": "observe"}, "attach with --chaos"),
            ({"granted": "observe", "denied": ["chaos: the token opens \x1b[31m"]}, "the token opens \\x1b[31m"),
            ({"granted": "chaos", "chaos": False}, "Inspect(chaos=True)"),
        ):
            it.model.apply(welcome(**changes))
            it.model.notes.clear()
            await it.press("x")
            assert why in [each.message for each in it.app._notifications][-1]
            assert len(it.app.screen_stack) == 1


async def test_a_hostile_name_of_a_server_is_harmless(bench: OpenBench) -> None:
    async with bench(granted="chaos") as it:
        it.model.apply(welcome(granted="chaos", server=ServerInfo("[red]\x1b[31m", "1", 1, 1.0)))
        await form(it, topic="*")
        await push(it)
        text = await answer(it, NARROW)
        assert "type [red]\\x1b[31m" in text
        assert "\x1b" not in text
