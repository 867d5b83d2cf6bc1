"""Results in memory: how many are kept, whose go first, and what one owner can do to another (nothing)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.backends.memory import World
from liverpc.backends.memory.idempotency import MemoryIdempotency
from liverpc.config import Limits

T = TypeVar("T")


def answer(coroutine: Coroutine[Any, Any, T]) -> T:
    """What an in-process store answers; it never waits."""
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    value: T = done.value.value
    return value


class Store:
    """A store with a clock that goes when it is told to."""

    def __init__(self, **limits: int) -> None:
        self.now = 0.0
        ids = count()
        self.store = MemoryIdempotency(lambda: str(next(ids)), lambda: self.now, Limits(**limits))

    def run(self, key: str, owner: str = "", size: int = 1, *, ttl: float = 3600.0, guest: bool = False) -> str:
        """A request: ``fresh`` when it had to run."""
        claim = answer(self.store.begin(key))
        if claim.state == "fresh":
            assert answer(self.store.commit(key, claim.token, b"1" * size, ttl=ttl, owner=owner, guest=guest))
        return claim.state

    def knows(self, key: str) -> bool:
        claim = answer(self.store.begin(key))
        if claim.state == "fresh":
            answer(self.store.abort(key, claim.token))
        return claim.state == "done"


@pytest.mark.parametrize("number", [99, 100, 101])
def test_one_owner_has_so_many_results_and_then_its_own_oldest_goes(number: int) -> None:
    store = Store()
    store.run("other", "bob")
    for n in range(number):
        store.run(f"k{n}", "ann")
    assert store.knows("k0") == (number <= 100)
    assert store.store.evicted == (number > 100)
    assert all(store.knows(f"k{n}") for n in range(1, number))
    assert store.knows("other")


def test_nobodys_results_have_the_bound_for_all_only() -> None:
    store = Store(idempotency_per_caller=5)
    for n in range(50):
        store.run(f"k{n}")
    assert store.knows("k0")


@pytest.mark.parametrize("guest", [False, True])
@pytest.mark.parametrize("number", [99, 100, 101])
def test_beyond_the_bound_for_all_the_oldest_tenth_goes(number: int, guest: bool) -> None:
    store = Store(idempotency_results=100, idempotency_guests=100, idempotency_per_caller=1)
    for n in range(number):
        store.run(f"k{n}", f"owner {n}", guest=guest)
    assert store.store.evicted == (10 if number > 100 else 0)
    assert store.knows("k9") == (number <= 100)
    assert all(store.knows(f"k{n}") for n in range(10, number))


async def test_no_running_claim_is_forgotten() -> None:
    world = World(limits=Limits(idempotency_results=10))
    running = await world.idempotency.begin("running")
    for n in range(100):
        claim = await world.idempotency.begin(f"k{n}")
        await world.idempotency.commit(f"k{n}", claim.token, b"1")
    assert world.idempotency.evicted == 90
    assert (await world.idempotency.begin("running")).state == "in_flight"
    assert await world.idempotency.commit("running", running.token, b"1")


def test_results_without_a_bound_of_an_owner_are_so_many_by_default() -> None:
    store = Store()
    for n in range(10_001):
        store.run(f"k{n}")
    assert store.store.evicted == 1000
    assert not store.knows("k999")
    assert store.knows("k1000")


def test_guests_make_no_others_results_forgotten() -> None:
    store = Store(idempotency_results=50, idempotency_guests=10, idempotency_bytes=80_000)
    for n in range(50):
        store.run(f"k{n}", f"user {n}", size=1000)
    for n in range(200):
        store.run(f"g{n}", f"guest {n}", size=2000, guest=True)
    assert all(store.knows(f"k{n}") for n in range(50))
    assert store.knows("g199")


def test_a_guest_and_a_user_of_one_name_are_two_owners() -> None:
    store = Store(idempotency_per_caller=1)
    store.run("u", "ann")
    store.run("g", "ann", guest=True)
    assert store.knows("u")
    assert store.knows("g")


# Bytes. Of 6400, guests have 800, the others 5600, and one owner 100.


@pytest.mark.parametrize("size", [49, 50, 51])
def test_one_owner_has_so_many_bytes_and_then_its_own_oldest_go(size: int) -> None:
    store = Store(idempotency_bytes=6400)
    store.run("other", "bob", 90)
    store.run("k0", "ann", 50)
    store.run("k1", "ann", size)
    assert store.knows("k0") == (size <= 50)
    assert store.knows("k1")
    assert store.knows("other")


def test_what_went_is_no_longer_held_against_its_owner() -> None:
    store = Store(idempotency_bytes=6400, idempotency_per_caller=3)
    for n in range(10):
        store.run(f"k{n}", "ann", 33)
    assert all(store.knows(f"k{n}") for n in (7, 8, 9))


def test_a_result_larger_than_an_owners_part_is_its_only_one() -> None:
    store = Store(idempotency_bytes=6400)
    store.run("other", "bob", 90)
    store.run("k0", "ann", 10)
    store.run("large", "ann", 5000)
    assert store.knows("large")
    assert not store.knows("k0")
    store.run("k1", "ann", 10)
    assert not store.knows("large")
    assert store.knows("k1")
    assert store.knows("other")


@pytest.mark.parametrize("guest", [False, True])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_beyond_the_bytes_for_all_the_oldest_go_until_a_tenth_is_free(over: int, guest: bool) -> None:
    store = Store(idempotency_bytes=64_000)
    room = 8_000 if guest else 56_000
    for n in range(40):
        store.run(f"k{n}", size=room // 40 if n else room // 40 + over, guest=guest)
    assert store.store.evicted == (3 if over > 0 else 0)  # a fortieth was free already
    assert store.knows("k2") == (over <= 0)
    assert all(store.knows(f"k{n}") for n in range(3, 40))


@pytest.mark.parametrize("over", [0, 1])
def test_what_does_not_fit_alone_is_not_kept_and_displaces_nothing(over: int) -> None:
    store = Store(idempotency_bytes=6400)
    store.run("other", "bob", 50)
    assert store.run("huge", "ann", 5600 + over) == "fresh"
    assert store.knows("huge") == (not over)
    assert store.knows("other") == bool(over)
    assert store.store.evicted == 1


# Time


def test_an_owners_results_that_are_over_go_before_its_oldest() -> None:
    store = Store(idempotency_per_caller=5)
    for n in range(3):
        store.run(f"long {n}", "ann", ttl=1000)
    for n in range(2):
        store.run(f"short {n}", "ann", ttl=10)
    store.now = 10.0
    store.run("more", "ann")
    assert store.store.evicted == 0
    assert store.knows("long 0")


def test_all_results_that_are_over_go_before_the_oldest() -> None:
    store = Store(idempotency_results=20)
    for n in range(3):
        store.run(f"long {n}", ttl=1000)
    for n in range(17):
        store.run(f"short {n}", ttl=10)
    store.now = 10.0
    store.run("more")
    assert store.store.evicted == 0
    assert store.knows("long 0")


def test_nothing_is_left_of_what_is_over() -> None:
    store = Store()
    for n in range(1000):
        store.run(f"rush {n}", f"owner {n % 50}", size=10)
    for n in range(1000):
        store.now += 3600.0
        store.run(f"calm {n}", "ann", size=7)
    results = store.store._known
    assert len(results._done) == 1
    assert results._size == 7
    assert list(results._owners) == ["ann"]


# Laws


class Step(NamedTuple):
    owner: str
    number: int
    size: int
    ttl: float
    pause: float
    guest: bool = False

    @property
    def key(self) -> str:
        return f"{self.owner} {self.guest} {self.number}"


def steps(owners: str, max_size: int, *, guests: bool) -> st.SearchStrategy[list[Step]]:
    step = st.builds(
        Step,
        owner=st.sampled_from(owners),
        number=st.integers(0, 12),
        size=st.one_of(st.integers(1, 4), st.integers(1, max_size)),
        ttl=st.sampled_from([0.0, 3.0, 10.0, 1000.0]),
        pause=st.sampled_from([0.0, 0.0, 1.0, 4.0]),
        guest=st.booleans() if guests else st.just(False),
    )
    return st.lists(step, max_size=120)


def fates(trace: list[Step], arrives: Callable[[Step], bool], **limits: int) -> list[str]:
    """What becomes of those requests that arrive."""
    store = Store(**limits)
    found = []
    for step in trace:
        store.now += step.pause
        if arrives(step):
            found.append(store.run(step.key, step.owner, step.size, ttl=step.ttl, guest=step.guest))
    return found


@given(steps("abcd", 25, guests=False), st.sampled_from("abcd"))
def test_what_becomes_of_an_owners_requests_does_not_depend_on_the_others(trace: list[Step], owner: str) -> None:
    # There is room for 4 owners with 5 results in 100 bytes each: they share 20 results and 7/8 of 6400 bytes.
    bounds = {"idempotency_per_caller": 5, "idempotency_results": 20, "idempotency_bytes": 6400}
    together = fates(trace, lambda step: True, **bounds)
    own = [fate for step, fate in zip(trace, together, strict=True) if step.owner == owner]
    assert own == fates(trace, lambda step: step.owner == owner, **bounds)


@given(steps("abcdefgh", 40, guests=True), st.booleans())
def test_what_becomes_of_users_requests_does_not_depend_on_guests(trace: list[Step], guest: bool) -> None:
    bounds = {"idempotency_per_caller": 5, "idempotency_results": 8, "idempotency_guests": 4, "idempotency_bytes": 128}
    together = fates(trace, lambda step: True, **bounds)
    part = [fate for step, fate in zip(trace, together, strict=True) if step.guest == guest]
    assert part == fates(trace, lambda step: step.guest == guest, **bounds)


@given(steps("abc", 150, guests=True), st.integers(1, 30), st.integers(1, 6), st.integers(64, 1000))
def test_the_bounds_hold_and_the_newest_result_is_kept(
    trace: list[Step], cap: int, per_owner: int, max_size: int
) -> None:
    store = Store(
        idempotency_results=cap,
        idempotency_guests=cap,
        idempotency_per_caller=per_owner,
        idempotency_bytes=max_size,
    )
    for step in trace:
        store.now += step.pause
        room = max_size // 8 if step.guest else max_size - max_size // 8
        if store.run(step.key, step.owner, step.size, ttl=step.ttl, guest=step.guest) == "fresh":
            assert store.knows(step.key) == (step.size <= room and step.ttl > 0)
        for results, part in ((store.store._known, max_size - max_size // 8), (store.store._guests, max_size // 8)):
            kept = results._done
            assert len(kept) <= cap
            assert results._size == sum(len(done.result) for done in kept.values()) <= part
            assert Counter(done.owner for done in kept.values()) == {
                owner: len(owned.keys) for owner, owned in results._owners.items()
            }
            for owned in results._owners.values():
                assert owned.size == sum(len(kept[key].result) for key in owned.keys)
                assert len(owned.keys) <= per_owner
                assert owned.size <= max_size // 64 or len(owned.keys) == 1
