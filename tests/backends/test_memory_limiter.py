"""The limiter in memory: what it forgets, whom that can hurt, and what holds for any sequence of hits."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.backends.memory import World
from liverpc.backends.memory.limiter import MemoryLimiter
from liverpc.backends.ports import LocalLimiter
from liverpc.config import Limits


class Watch:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def limiter(watch: Watch | None = None, *, keys: int = 5, guests: int = 3) -> MemoryLimiter:
    return MemoryLimiter(watch or Watch(), Limits(rate_limit_keys=keys, rate_limit_guests=guests))


def spend(limits: MemoryLimiter, key: str, *, guest: bool = False) -> None:
    assert limits.hit_now(key, limit=1, per=60, guest=guest).allowed


def is_spent(limits: MemoryLimiter, key: str, *, guest: bool = False) -> bool:
    return not limits.hit_now(key, limit=1, per=60, guest=guest).allowed


def test_it_answers_at_once() -> None:
    assert isinstance(World().limiter, LocalLimiter)


async def test_both_ways_to_ask_count_the_same_hits() -> None:
    limits = limiter()
    assert limits.hit_now("k", limit=2, per=60).remaining == 1
    assert (await limits.hit("k", limit=2, per=60)).remaining == 0
    assert not limits.hit_now("k", limit=2, per=60).allowed


@pytest.mark.parametrize("guest", [False, True])
@pytest.mark.parametrize("others", [3, 4, 5])
def test_a_full_limiter_refuses_nobody_and_forgets_who_was_hit_longest_ago(others: int, guest: bool) -> None:
    limits = limiter(keys=5, guests=5)
    spend(limits, "k", guest=guest)
    for n in range(others):
        spend(limits, f"other {n}", guest=guest)
    assert limits.evicted == max(0, others - 4)
    assert is_spent(limits, "other 0", guest=guest)
    assert is_spent(limits, "k", guest=guest) == (others < 5)


def test_a_refused_hit_keeps_a_key_in_mind() -> None:
    limits = limiter(keys=5)
    spend(limits, "k")
    for n in range(20):
        assert is_spent(limits, "k")
        spend(limits, f"other {n}")
    assert is_spent(limits, "k")


def test_guests_make_nobody_elses_hits_forgotten() -> None:
    limits = limiter(keys=5, guests=3)
    for n in range(5):
        spend(limits, f"user {n}")
    for n in range(100):
        spend(limits, f"guest {n}", guest=True)
    assert limits.evicted == 97
    assert all(is_spent(limits, f"user {n}") for n in range(5))
    assert all(is_spent(limits, f"guest {n}", guest=True) for n in range(97, 100))


def test_users_make_no_guests_hits_forgotten() -> None:
    limits = limiter(keys=5, guests=3)
    spend(limits, "guest", guest=True)
    for n in range(100):
        spend(limits, f"user {n}")
    assert is_spent(limits, "guest", guest=True)


def test_a_key_of_guests_and_others_is_safe_from_guests() -> None:
    limits = limiter(keys=5, guests=3)
    spend(limits, "shared", guest=True)
    assert is_spent(limits, "shared")
    for n in range(100):
        spend(limits, f"guest {n}", guest=True)
    assert is_spent(limits, "shared", guest=True)
    assert is_spent(limits, "shared")


def test_what_owes_nothing_goes_first_and_is_not_counted() -> None:
    watch = Watch()
    limits = limiter(watch, keys=5)
    for n in range(5):
        spend(limits, f"early {n}")
    watch.now = 60.0
    for n in range(5):
        spend(limits, f"late {n}")
    assert limits.evicted == 0
    spend(limits, "one more")
    assert limits.evicted == 1


def test_the_table_shrinks_after_a_rush() -> None:
    watch = Watch()
    limits = limiter(watch, keys=1000)
    for n in range(1000):
        spend(limits, f"rush {n}")
    for n in range(1000):
        watch.now += 60.0
        spend(limits, f"calm {n}")
    assert len(limits._known) == 1


def test_what_was_never_allowed_takes_no_room() -> None:
    limits = limiter()
    for n in range(10):
        assert not limits.hit_now(f"k{n}", limit=1, per=60, cost=2).allowed
    assert not limits._known


@pytest.mark.parametrize("now", [0.0, 0.1, 12_345.678, 1e6 + 0.1])
@pytest.mark.parametrize("limit", [3, 7, 49, 1000])
def test_rounding_costs_no_hit(now: float, limit: int) -> None:
    limits = limiter(Watch(now))
    decisions = [limits.hit_now("k", limit=limit, per=0.7) for _ in range(limit + 1)]
    assert [d.allowed for d in decisions] == [True] * limit + [False]
    assert [d.remaining for d in decisions] == [*range(limit - 1, -1, -1), 0]


# Laws

STEPS = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 0.2), st.floats(0.0, 3.0)), max_size=80)
LIMITS = st.integers(1, 12)
TIMES = st.floats(0.05, 100.0)
STARTS = st.sampled_from([0.0, 12_345.678, 1e6 + 0.1])


@given(STEPS, LIMITS, TIMES, STARTS)
def test_no_window_sees_more_than_twice_the_limit(steps: list[float], limit: int, per: float, start: float) -> None:
    # acceptance 115
    watch = Watch(start)
    limits = limiter(watch)
    allowed = []
    for step in steps:  # in parts of the window
        watch.now += step * per
        if limits.hit_now("k", limit=limit, per=per).allowed:
            allowed.append(watch.now)
    for index, first in enumerate(allowed):
        assert bisect_right(allowed, first + per) - index <= 2 * limit


@given(STEPS, LIMITS, TIMES, STARTS, st.data())
def test_who_waits_as_told_is_allowed_and_half_a_step_earlier_not(
    steps: list[float], limit: int, per: float, start: float, data: st.DataObject
) -> None:
    # acceptance 109
    watch = Watch(start)
    limits = limiter(watch)
    for step in steps:
        watch.now += step * per
        cost = data.draw(st.integers(1, limit))
        decision = limits.hit_now("k", limit=limit, per=per, cost=cost)
        assert decision.allowed == (decision.retry_after == 0)
        if not decision.allowed:
            told = watch.now
            watch.now += max(0.0, decision.retry_after - per / limit / 2)
            assert not limits.hit_now("k", limit=limit, per=per, cost=cost).allowed
            watch.now = told + decision.retry_after
            assert limits.hit_now("k", limit=limit, per=per, cost=cost).allowed


@given(STEPS, LIMITS, TIMES, STARTS)
def test_so_many_as_it_says_are_allowed_now(steps: list[float], limit: int, per: float, start: float) -> None:
    watch = Watch(start)
    limits = limiter(watch)
    for step in steps:
        watch.now += step * per
        remaining = limits.hit_now("k", limit=limit, per=per).remaining
        more = [limits.hit_now("k", limit=limit, per=per).allowed for _ in range(limit + 1)]
        assert more == [True] * remaining + [False] * (limit + 1 - remaining)


HITS = st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.floats(0.0, 1.0)), max_size=120)


@given(HITS, st.integers(1, 4), st.integers(1, 4))
def test_hits_count_until_as_many_others_of_the_kind_were_hit(
    hits: list[tuple[int, bool, float]], keys: int, guests: int
) -> None:
    watch = Watch()
    bounded, boundless = limiter(watch, keys=keys, guests=guests), limiter(watch, keys=1000, guests=1000)
    later: dict[str, set[str]] = {}  # by key: the others of its kind hit since it was
    loose: set[str] = set()  # keys whose hits may be forgotten
    for number, guest, step in hits:
        watch.now += step
        key = f"{'guest' if guest else 'user'} {number}"
        if len(later.get(key, ())) >= (guests if guest else keys):
            loose.add(key)
        answers = [each.hit_now(key, limit=2, per=5.0, guest=guest) for each in (bounded, boundless)]
        assert answers[0] == answers[1] or key in loose
        for other, since in later.items():
            if other != key and other[0] == key[0]:
                since.add(key)
        later[key] = set()
        assert len(bounded._known) <= keys
        assert len(bounded._guests) <= guests
