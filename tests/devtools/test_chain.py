from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from liverpc.inspector.protocol import ConnectionEvent, Event
from liverpc_devtools.core.chain import chain
from liverpc_devtools.widgets.palette import ASCII, UNICODE
from liverpc_devtools.widgets.sparkline import graph, spark
from liverpc_devtools.widgets.waterfall import bar
from tests.devtools.attach_frames import call, pub

CALL = call(
    1100.0, id=1, steps=[("guard", 0.0, 0.1), ("handler", 0.1, 1.2), ("encode", 1.3, 0.2)], published=["a", "b"]
)
PUBLISH = pub("a", 1099.9995, id=2, cause=1, sent_ms=2.0)
REACTION = pub("c", 1100.001, seq=2, id=3, cause=2, waiting=1)


def test_a_call_unfolds_into_its_steps_its_publishes_and_what_these_led_to() -> None:
    found = chain(CALL, [REACTION, PUBLISH, CALL])
    assert [(part.depth, part.name) for part in found.parts] == [
        (0, "chat/send"),
        (1, "guard"),
        (1, "handler"),
        (1, "a"),
        (2, "c"),
        (1, "encode"),
    ]
    assert [round(part.begin, 3) for part in found.parts] == [0.0, 0.0, 0.1, 1.0, 2.5, 1.3]
    assert round(found.length, 3) == 3.0
    assert found.parts[4].problem
    assert found.missing == ["1 publish of these calls not captured"]  # the one on b


def test_from_any_event_the_chain_begins_with_the_first_cause() -> None:
    assert chain(REACTION, [REACTION, PUBLISH, CALL]) == chain(CALL, [REACTION, PUBLISH, CALL])


def test_what_was_not_captured_is_said() -> None:
    found = chain(REACTION, [])
    assert [part.name for part in found.parts] == ["c"]
    assert found.missing == ["what led to c was not captured, is not kept any more, or still runs"]
    assert chain(pub(), []).missing == ["this server does not tell what led to what"]
    assert "the steps of the call were not measured" in chain(call(id=5), []).missing


def test_what_came_of_each_part_is_told() -> None:
    closed = ConnectionEvent(1100.0, "c9", "close", code=4403, reason="kicked", id=8, cause=1)
    failure = call(1100.5, ok=False, id=9, cause=1, fault="error#3")
    texts = [part.text for part in chain(CALL, [CALL, PUBLISH, REACTION, closed, failure]).parts if part.event]
    assert texts == [
        "OK",
        "updated  to 2, all took it in 2.00ms",
        "updated  to 2, 1 had not taken it",
        "close 4403 kicked",
        "ERR RATE_LIMITED  fault error#3",
    ]


def test_names_of_others_do_nothing_to_the_terminal() -> None:
    found = chain(call(id=1, steps=[("\x1b[2J", 0.0, 1.0)]), [])
    assert found.parts[1].name == "\\x1b[2J"


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), max_size=12))
def test_whatever_causes_are_told_each_event_stands_there_at_most_once(links: list[tuple[int, int]]) -> None:
    events: list[Event] = [pub(at=1100.0 + index, id=id_, cause=cause) for index, (id_, cause) in enumerate(links)]
    for event in events:
        ids = [part.event.id for part in chain(event, events).parts if part.event is not None]
        assert len(ids) == len(set(ids))


def test_a_very_long_chain_is_cut_and_says_so() -> None:
    events = [pub(at=1100.0 + number, id=number, cause=number - 1) for number in range(1, 3001)]
    found = chain(events[-1], events)
    assert len(found.parts) == 400
    assert "2,600 further parts are not shown" in found.missing


def test_bars_stand_where_they_belong() -> None:
    assert bar(0.0, 10.0, 10.0, 4, UNICODE) == "████"
    assert bar(5.0, 2.5, 10.0, 4, UNICODE) == "  █ "
    assert bar(10.0, 0.0, 10.0, 4, ASCII) == "   #"
    assert bar(2.5, None, 10.0, 4, UNICODE) == " ●  "
    assert bar(0.0, None, 0.0, 2, UNICODE) == "● "


def test_a_graph_tells_nothing_known_from_zero() -> None:
    assert spark([None, 0.0, 1.0, 2.0], UNICODE) == " ▁▄█"
    assert spark([None, 0.0, 2.0], ASCII) == " _#"
    assert spark([0.0, 0.0], UNICODE) == "▁▁"
    assert graph([1.0, 2.0, 0.0], 2, UNICODE) == [" █ ", "██▁"]
