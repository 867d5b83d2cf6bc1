"""The screen of the faults: what it shows, and what its keys do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from liverpc.inspector.protocol import (
    ChaosArm,
    ChaosChanged,
    ChaosClear,
    ChaosRenew,
    ChaosRule,
    Err,
    Ok,
    State,
)
from liverpc_devtools.core import fault_words, faults
from liverpc_devtools.core.effect import STRUCK, Effect
from liverpc_devtools.widgets.chaosform import ChaosForm, Choice, PresetMenu
from tests.devtools.attach_frames import full, welcome
from tests.devtools.conftest import Bench, OpenBench, fed

DROP = ChaosRule("drop", 0.2, topic="board:*", seed="rep-1", id=1, by="al@laptop", hits=4, seen=20, limit=50, left=41.0)
DELAY = ChaosRule("delay", 1.0, connection="c8f", id=2, by="eve", seconds=0.08, jitter=0.04, seed="x1", left=130.0)


async def armed(it: Bench, *rules: ChaosRule) -> str:
    return await fed(it, ChaosChanged(active=list(rules), text="armed"))


async def test_the_faults_in_force_are_told(bench: OpenBench) -> None:
    async with bench(granted="chaos", screen="chaos", size=(140, 36)) as it:
        it.model.apply(Ok(it.model.arm(DELAY, 60), rule=2))
        text = await armed(it, DROP, DELAY)
        first = next(line for line in text.splitlines() if "rep-1" in line and "CHAOS" not in line)
        for part in ("1", "drop 20%", "topic board:*", "0:41", "4/50", "20", "al@laptop"):
            assert part in first
        second = next(line for line in text.splitlines() if "x1" in line)
        for part in ("delay 80ms+-40ms", "topic * conn c8f", "2:10", "you"):
            assert part in second
        assert "9 Chaos] 2" in text
        assert "Publishes get lost" in text  # of the selected one
        it.app.view.table.needle = "fault:delay"
        text = await it.text()
        assert ("topic * conn c8f" in text, "topic board:*" in text.partition("seed")[2]) == (True, False)


async def test_without_a_fault_it_says_what_to_do(bench: OpenBench) -> None:
    async with bench(granted="chaos", screen="chaos") as it:
        assert "no fault is in force; x injects one, a offers some" in await it.text()
        it.model.apply(welcome(granted="observe"))
        assert "attach with --chaos" in await it.text()


def states(it: Bench, rounds: Sequence[tuple[dict[str, int], list[ChaosRule]]]) -> None:
    for number, (counters, rules) in enumerate(rounds):
        it.hand.now += 1
        it.model.apply(State(rev=2 + number, at=1100.0 + number, counters=counters, chaos=rules))


async def test_the_effect_is_what_grew_since_the_first_fault(bench: OpenBench) -> None:
    async with bench(granted="chaos", screen="chaos") as it:
        await fed(it, full(counters={"published": 100, "resumes": 7}))
        struck = [ChaosRule(rate=0.2, id=1, hits=n, seen=5 * n, left=60) for n in (1, 3, 6, 6)]
        states(it, [({"published": 100 + 10 * n, "resumes": 7 + n}, [each]) for n, each in enumerate(struck, 1)])
        text = await it.text()
        assert "struck      6" in text
        assert "6 of 30 (20.0%)" in text
        assert "published   40" in text
        assert "streams     4 resumed, 0 loaded anew" in text
        graph = next(line for line in text.splitlines() if line.strip().startswith("struck/s"))
        assert "max 3" in graph
        assert "only what was struck is the faults' own" in text
        it.model.apply(State(rev=9, at=1105.0, counters={"published": 500}, chaos=[]))
        it.hand.now += 4
        assert " over for 3" in await it.text()


async def test_figures_of_a_lost_session_say_how_old_they_are(bench: OpenBench) -> None:
    async with bench(screen="chaos") as it:
        await armed(it, DROP)
        it.hand.now += 5
        assert "as of 5.0s ago" in await it.text()


async def test_t_lets_the_selected_fault_live_longer(bench: OpenBench) -> None:
    async with bench(granted="chaos", screen="chaos") as it:
        await armed(it, DROP, DELAY)
        await it.press("j", "t")
        assert [(each.rule, each.ttl) for each in it.of(ChaosRenew)] == [(2, 190.0)]
        assert it.app.log_of_commands.entries[-1].cli == "liverpc-tui chaos ws://localhost:1 renew 2 --for 190s"
        await armed(it, ChaosRule(rate=1, id=3, left=880.0))
        await it.press("t")
        assert it.of(ChaosRenew)[-1].ttl == 900.0
        await armed(it, ChaosRule(rate=1, id=4))
        await it.press("t")
        assert len(it.of(ChaosRenew)) == 2
        assert "fault 4 has no end" in "".join(each.message for each in it.app._notifications)
        assert "refused: there is no fault 3" in await fed(it, Err(it.of(ChaosRenew)[-1].id, "there is no fault 3"))


async def test_c_removes_the_selected_fault_and_shift_x_all(bench: OpenBench) -> None:
    async with bench(screen="chaos") as it:  # whoever looks on may end faults
        await it.press("c")
        assert it.of(ChaosClear) == []
        await armed(it, DROP, DELAY)
        await it.press("j", "c")
        assert [each.rule for each in it.of(ChaosClear)] == [2]
        assert it.app.log_of_commands.entries[-1].cli == "liverpc-tui chaos ws://localhost:1 clear 2"
        await it.press("X")
        assert [each.rule for each in it.of(ChaosClear)] == [2, 0]
        await it.press("t")
        assert it.of(ChaosRenew) == []  # that takes more
        it.model.apply(welcome(granted="metrics"))
        await it.press("c")
        assert [each.rule for each in it.of(ChaosClear)] == [2, 0]


async def test_a_new_fault_is_asked_for(bench: OpenBench) -> None:
    async with bench(granted="chaos", screen="chaos") as it:
        for key in ("plus", "x"):
            await it.press(key)
            assert isinstance(it.app.screen, ChaosForm)
            assert it.of(ChaosArm) == []
            await it.press("escape")


async def test_a_preset_fills_the_form(bench: OpenBench) -> None:
    async with bench(granted="chaos", screen="chaos", size=(120, 40)) as it:
        text = await it.press("a")
        assert isinstance(it.app.screen, PresetMenu)
        for preset in faults.PRESETS:
            assert preset.name in text
        text = await it.press("j", "j", "k", "enter")
        assert isinstance(it.app.screen, ChaosForm)
        assert it.app.screen.query_one(Choice).chosen == "delay"
        assert ("300ms" in text, "200ms" in text, it.of(ChaosArm)) == (True, True, [])
        await it.press("escape", "a", "escape")
        assert len(it.app.screen_stack) == 1


async def test_enter_leads_to_the_details_where_there_is_no_room(bench: OpenBench) -> None:
    async with bench(screen="chaos", size=(60, 16)) as it:
        await armed(it, DROP)
        assert "Publishes get lost" not in await it.text()
        assert "Publishes get lost" in await it.press("enter")
        assert "--limit 50" in await it.press("G")
        await it.press("escape")
        assert "Publishes get lost" not in await it.text()


async def test_y_copies_the_command(bench: OpenBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with bench(screen="chaos") as it:
        await armed(it, DROP)
        lines = (await it.press("y")).splitlines()
        titles = [line for line in lines if "row" in line or "JSON" in line or "as `chaos` command" in line]
        assert "as `chaos` command" in titles[2]
        await it.press("j", "j", "enter")
        assert it.app.clipboard == (
            "liverpc-tui chaos ws://localhost:1 set drop 20% --topic 'board:*' --seed rep-1 --limit 50 --for 41s"
        )


async def test_what_other_people_wrote_is_harmless(bench: OpenBench) -> None:
    evil = "\x1b[31m[red]\u202e"
    async with bench(screen="chaos", size=(200, 40)) as it:
        text = await armed(it, ChaosRule(evil, 1.0, topic=evil, seed=evil, by=evil, id=1, left=9, connection=evil))
        assert "does not know that fault" in text
        assert "\\x1b[31m[red]" in text
        assert not {"\x1b", "\u202e"} & set(text)


async def test_every_screen_tells_of_every_action(bench: OpenBench) -> None:
    async with bench(size=(160, 30)) as it:
        for action in faults.ACTIONS:
            await armed(it, ChaosRule(action, 0.5, id=1, by="al", left=30, share=0.1))
            line = await it.line("CHAOS ARMED by al")
            assert f": {action}" in line
            assert "share 10%" in line


@pytest.mark.parametrize("size", [(40, 10), (200, 60)])
async def test_every_size_of_the_screen_is_filled(bench: OpenBench, size: tuple[int, int]) -> None:
    async with bench(size=size, screen="chaos", ascii_only=True) as it:
        text = await armed(it, DROP, DELAY)
        assert (len(text.splitlines()), text.isascii()) == (size[1], True)
        assert "drop 20%" in text


# -- the figures --------------------------------------------------------------------------------------------


def add(effect: Effect, at: float, hits: dict[int, int], **counters: int) -> None:
    effect.add(at, counters, [ChaosRule(id=number, hits=each) for number, each in hits.items()])


def test_hits_of_ended_faults_still_count() -> None:
    effect = Effect()
    add(effect, 1.0, {1: 4})
    add(effect, 2.0, {1: 6, 2: 1})
    add(effect, 3.0, {2: 3})
    assert effect.since(STRUCK) == 9
    add(effect, 4.0, {})
    assert (effect.began, effect.ended, effect.since(STRUCK)) == (1.0, 4.0, 9)
    add(effect, 5.0, {3: 2})  # a new run
    assert (effect.began, effect.ended, effect.since(STRUCK)) == (5.0, None, 2)


def test_what_was_counted_before_is_not_the_faults() -> None:
    effect = Effect()
    assert effect.since("published") == 0
    add(effect, 1.0, {}, published=50)
    add(effect, 1.25, {1: 0}, published=60)
    add(effect, 1.5, {1: 0}, published=75)
    assert effect.since("published") == 25


def test_rates_leave_the_second_that_runs_out() -> None:
    effect = Effect()
    for at, published in ((10.0, 100), (10.9, 110), (11.2, 130), (13.1, 190), (14.0, 500)):
        add(effect, at, {1: 0}, published=published)
    assert effect.rates("published", seconds=4) == [10, 20, 0, 60]
    assert Effect().rates("published", seconds=3) == [0, 0, 0]


@pytest.mark.parametrize("action", faults.ACTIONS)
def test_texts_describe_a_rule_completely(action: str) -> None:
    samples: dict[str, Any] = {
        "topic": "a:*",
        "path": "b/*",
        "event": "e",
        "connection": "c",
        "user": "u",
        "share": 0.125,
    }
    samples |= {"rate": 0.05, "seconds": 1.5, "jitter": 0.0125, "copies": 3, "code": "1013", "seed": "s", "limit": 7}
    rule = ChaosRule(action, **{name: each for name, each in samples.items() if name in faults.ACTIONS[action].fields})
    assert faults.make_rule(action, faults.texts(rule)) == rule


def test_what_is_asked_for_is_told_in_few_words() -> None:
    words: list[tuple[Callable[[ChaosRule], str], ChaosRule, str]] = [
        (fault_words.effect, ChaosRule("drop", 1.0), "drop 100%"),
        (fault_words.effect, ChaosRule("partition"), "partition"),
        (fault_words.effect, ChaosRule("duplicate", 0.1, copies=3), "duplicate 3 copies 10%"),
        (fault_words.effect, ChaosRule("error", 0.3, code="BUSY"), "error BUSY 30%"),
        (fault_words.effect, ChaosRule("disconnect", 1.0, seconds=5), "disconnect over 5s"),
        (fault_words.target, ChaosRule("error", path="chat/*", user="ann"), "path chat/* user ann"),
        (fault_words.target, ChaosRule("loader", topic="*", path="chat/*"), "path chat/*"),
        (fault_words.target, ChaosRule("loader"), "topic *"),
        (fault_words.target, ChaosRule("drop", topic="a", event="e", share=0.5), "topic a event e share 50%"),
    ]
    for tell, rule, text in words:
        assert tell(rule) == text


def test_what_is_sweeping() -> None:
    assert fault_words.sweeping(ChaosRule("drop", topic="*")) == "it concerns every topic"
    assert fault_words.sweeping(ChaosRule("error", path="**")) == "it concerns every path"
    assert fault_words.sweeping(ChaosRule("loader")) == "it concerns every topic and path"
    assert fault_words.sweeping(ChaosRule("disconnect")) == "it concerns every connection"
    for rule in (
        ChaosRule("drop", topic="a:*"),
        ChaosRule("loader", path="a/*"),
        ChaosRule("drop", user="ann"),
        ChaosRule("disconnect", share=0.1),
    ):
        assert fault_words.sweeping(rule) == ""
