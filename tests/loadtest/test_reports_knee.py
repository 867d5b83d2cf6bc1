"""What moved first, in time series of each kind."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest._knee import headline, knee
from loadtest._result import Event, Result, Second, ServerSecond
from tests.loadtest.results_kit import ECHO, QUIET, quiet_server, result_of, seconds, series_of

SECONDS = 60
KNEE = 43
BENT = [2.0 + at % 3 * 0.1 + max(0, at - KNEE + 1) * 5 for at in range(SECONDS)]
FLAT = [2.0 + at % 3 * 0.1 for at in range(SECONDS)]


def server_with(**since: int) -> Callable[[int], ServerSecond]:
    """Figures that go up from that second on."""

    def at_second(at: int) -> ServerSecond:
        quiet = quiet_server(at)
        up = {"lag_ms": 50.0, "handler_ms": 40.0, "outbox_bytes": 500_000, "cpu": 0.99}
        return msgspec.structs.replace(quiet, **{name: up[name] for name, begin in since.items() if at >= begin})

    return at_second


def busy_generator(begin: int, **figures: float) -> list[Second]:
    busy = msgspec.structs.replace(QUIET, **figures)
    return seconds(BENT, generator=lambda at: busy if at >= begin else QUIET)


def bent(**since: int) -> Result:
    return result_of(seconds=seconds(BENT, server=server_with(**since)))


def names(result: Result) -> list[tuple[str, float]]:
    return [(each.signal.name, each.lead) for each in knee(result).moved]


def test_it_says_what_moved_first_and_by_how_much() -> None:
    found = knee(bent(handler_ms=KNEE - 2, lag_ms=KNEE - 1, outbox_bytes=KNEE + 1))
    assert (found.kind, found.at) == ("server", KNEE)
    assert found.text == (
        "At 43 s, 5,300/s, the client's p99 left its usual 2.1 ms. Handler time moved first, 2 s before it. "
        "Then: the server's loop lag 1 s before it, the outbox 1 s after it."
    )


@given(
    st.dictionaries(
        st.sampled_from(["lag_ms", "handler_ms", "outbox_bytes", "cpu"]), st.integers(25, KNEE + 5), min_size=1
    )
)
def test_whatever_moved_is_found_with_its_second_and_the_first_one_leads(since: dict[str, int]) -> None:
    found = knee(bent(**since))
    leads = [each.lead for each in found.moved]
    assert leads == sorted(leads, reverse=True)
    assert sorted(leads) == sorted(KNEE - begin for begin in since.values())
    assert found.kind == ("server" if min(since.values()) <= KNEE else "unexplained")


def test_what_moves_in_the_same_second_is_named_together() -> None:
    text = knee(bent(handler_ms=KNEE, lag_ms=KNEE)).text
    assert "The server's loop lag and handler time moved in the same second." in text


@pytest.mark.parametrize(
    ("figures", "name"),
    [
        ({"cpu": 0.8}, "The load generator's CPU"),
        ({"schedule_lag_ms": 20.0}, "The load generator's schedule"),
        ({"loop_lag_ms": 20.0}, "The load generator's timers"),
    ],
)
def test_when_the_generator_moved_first_it_is_the_generator(figures: dict[str, float], name: str) -> None:
    found = knee(result_of(seconds=busy_generator(KNEE - 3, **figures)))
    assert found.kind == "generator"
    assert f"{name} moved first, 3 s before it. So it is the load generator" in found.text


@pytest.mark.parametrize(
    ("begin", "kind"), [(-2, "generator"), (-1, "unclear"), (0, "unclear"), (1, "unclear"), (2, "server")]
)
def test_generator_and_server_within_a_second_cannot_be_told_apart(begin: int, kind: str) -> None:
    busy = msgspec.structs.replace(QUIET, cpu=0.95)
    both = seconds(
        BENT,
        server=server_with(lag_ms=KNEE - 2),
        generator=lambda at: busy if at >= KNEE - 2 + begin else QUIET,
    )
    found = knee(result_of(seconds=both))
    assert found.kind == kind
    assert ("cannot be told apart" in found.text) == (kind == "unclear")


def test_when_nothing_moved_it_says_so() -> None:
    found = knee(bent())
    assert found.kind == "unexplained"
    assert found.text.endswith("Nothing that was measured had moved before.")
    later = knee(bent(outbox_bytes=KNEE + 2)).text
    assert later.endswith("Nothing that was measured had moved before. The outbox followed 2 s later.")


def test_what_was_used_up_all_the_time_did_not_move() -> None:
    found = knee(bent(cpu=0))
    assert (found.kind, found.moved) == ("unexplained", ())
    assert found.text.endswith("Used up from the beginning: the server's CPU.")


def test_a_server_that_could_not_be_looked_at_is_not_acquitted() -> None:
    found = knee(result_of(seconds=seconds(BENT, server=lambda at: None)))
    assert found.kind == "blind"
    assert "the server could not be looked at" in found.text
    nothing = knee(result_of(seconds=seconds(BENT, server=lambda at: None, generator=lambda at: None)))
    assert "Neither the server nor the load generator could be looked at." in nothing.text


def test_figures_the_server_does_not_have_are_named() -> None:
    def without_handlers(at: int) -> ServerSecond:
        return msgspec.structs.replace(server_with(lag_ms=KNEE - 1)(at), handler_ms=None)

    found = knee(result_of(seconds=seconds(BENT, server=without_handlers)))
    assert found.kind == "server"
    assert found.text.endswith("Too little is known of handler time.")


def test_a_steady_run_has_no_knee() -> None:
    found = knee(result_of(seconds=seconds(FLAT)))
    assert (found.kind, found.at, found.moved) == ("steady", None, ())
    assert found.text.endswith("2.1 ms in the first third, 2.2 ms in its worst second.")


@pytest.mark.parametrize(("held", "kind"), [(2, "steady"), (3, "unexplained")])
def test_it_takes_three_seconds_in_a_row(held: int, kind: str) -> None:
    spike = [*FLAT[:40], *[50.0] * held, *FLAT[40 + held :]]
    assert knee(result_of(seconds=seconds(spike))).kind == kind


@pytest.mark.parametrize(("factor", "kind"), [(0.99, "steady"), (1.01, "unexplained")])
def test_twice_the_usual_is_the_threshold_of_calm_latencies(factor: float, kind: str) -> None:
    calm = [2.0] * 40 + [4.0 * factor] * 20
    assert knee(result_of(seconds=seconds(calm))).kind == kind


@pytest.mark.parametrize(("to", "kind"), [(1.09, "steady"), (1.11, "unexplained")])
def test_below_a_millisecond_of_rise_nothing_counts(to: float, kind: str) -> None:
    assert knee(result_of(seconds=seconds([0.1] * 40 + [to] * 20))).kind == kind


def test_restless_latencies_have_a_higher_threshold() -> None:
    restless = [2.0, 6.0, 10.0] * 10
    assert knee(result_of(seconds=seconds(restless + [20.0] * 10))).kind == "steady"
    assert knee(result_of(seconds=seconds(restless + [30.0] * 10))).kind == "unexplained"


def test_what_moved_long_before_and_calmed_down_is_no_cause() -> None:
    def early(at: int) -> ServerSecond:
        return msgspec.structs.replace(quiet_server(at), lag_ms=50.0 if 25 <= at < 30 else 0.8)

    assert knee(result_of(seconds=seconds(BENT, server=early))).kind == "unexplained"


def test_the_warm_up_is_not_what_is_usual() -> None:
    warm = [500.0] * 10 + FLAT[:30]
    assert knee(result_of(seconds=seconds(warm), warmup=10.0)).kind == "steady"


@pytest.mark.parametrize("length", [0, 14])
def test_a_short_run_says_nothing(length: int) -> None:
    assert knee(result_of(seconds=seconds(FLAT[:length]))).kind == "short"
    assert knee(result_of(seconds=seconds(FLAT[:15]))).kind == "steady"


def test_seconds_without_samples_are_skipped() -> None:
    gaps = [None if at % 5 == 4 else ms for at, ms in enumerate(BENT)]
    assert knee(result_of(seconds=seconds(gaps))).at == KNEE


def test_what_was_done_at_the_time_is_mentioned() -> None:
    events = [Event(KNEE - 1.5, "server frozen 200 ms"), Event(10.0, "long ago")]
    found = knee(result_of(seconds=seconds(BENT), events=events))
    assert found.text.endswith("At that time: server frozen 200 ms.")


def test_without_a_headline_the_largest_series_stands_for_the_clients() -> None:
    assert headline(result_of(headline="")) == ECHO
    two = {"a": series_of([1.0]), "b": series_of([1.0, 2.0])}
    assert headline(result_of(headline="gone", latencies=two)) == "b"
    assert headline(result_of(headline="", latencies={})) == ""
