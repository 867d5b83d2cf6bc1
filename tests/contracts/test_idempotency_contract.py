from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from liverpc.backends.ports import Claim

Start = Callable[[str], Awaitable[Any]]


async def test_one_of_many_runs_and_the_others_get_its_result(start: Start) -> None:
    nodes = [await start(name) for name in "abc"]
    claims = await asyncio.gather(*(node.cluster.idempotency.begin("pay") for node in nodes for _ in range(20)))
    assert Counter(claim.state for claim in claims) == {"fresh": 1, "in_flight": 59}
    token = next(claim.token for claim in claims if claim.state == "fresh")
    assert await nodes[0].cluster.idempotency.commit("pay", token, b'{"id":7}')
    for node in nodes:
        assert await node.cluster.idempotency.begin("pay") == Claim("done", result=b'{"id":7}')


async def test_a_null_result_is_a_result(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    claim = await store.begin("k")
    await store.commit("k", claim.token, b"null")
    assert await store.begin("k") == Claim("done", result=b"null")


async def test_keys_are_independent(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    assert (await store.begin("k")).state == "fresh"
    assert (await store.begin("l")).state == "fresh"


async def test_an_aborted_claim_lets_the_next_caller_run(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    claim = await store.begin("k")
    assert await store.abort("k", claim.token)
    assert (await store.begin("k")).state == "fresh"


async def test_the_same_key_for_another_request_is_a_mismatch(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    claim = await store.begin("k", fingerprint="one")
    assert (await store.begin("k", fingerprint="two")).state == "mismatch"
    assert (await store.begin("k", fingerprint="one")).state == "in_flight"
    await store.commit("k", claim.token, b"1")
    assert (await store.begin("k", fingerprint="two")).state == "mismatch"
    assert (await store.begin("k", fingerprint="one")).state == "done"


async def test_a_claim_not_finished_in_time_is_taken_over_and_its_owner_is_too_late(start: Start) -> None:
    a, b = await start("a"), await start("b")
    late = await a.cluster.idempotency.begin("k", hold=1.0)
    await asyncio.sleep(0.75)
    assert (await b.cluster.idempotency.begin("k")).state == "in_flight"
    await asyncio.sleep(0.5)
    current = await b.cluster.idempotency.begin("k", hold=10)
    assert current.state == "fresh"
    assert not await a.cluster.idempotency.extend("k", late.token, 10)
    assert not await a.cluster.idempotency.commit("k", late.token, b'"late"')
    assert not await a.cluster.idempotency.abort("k", late.token)
    assert await b.cluster.idempotency.commit("k", current.token, b'"current"')
    assert (await a.cluster.idempotency.begin("k")).result == b'"current"'


async def test_a_claim_that_ended_cannot_be_committed_even_if_nobody_took_it(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    claim = await store.begin("k", hold=0.5)
    await asyncio.sleep(0.75)
    assert not await store.commit("k", claim.token, b"1")
    assert (await store.begin("k")).state == "fresh"


async def test_extending_keeps_a_claim(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    claim = await store.begin("k", hold=1.0)
    for _ in range(3):
        await asyncio.sleep(0.75)
        assert await store.extend("k", claim.token, 1.0)
    assert (await store.begin("k")).state == "in_flight"
    assert await store.commit("k", claim.token, b"1")
    assert not await store.extend("k", claim.token, 1.0)


async def test_a_result_is_kept_for_its_time(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    claim = await store.begin("k")
    await store.commit("k", claim.token, b"1", ttl=1.0)
    await asyncio.sleep(0.75)
    assert (await store.begin("k")).state == "done"
    await asyncio.sleep(0.5)
    assert (await store.begin("k")).state == "fresh"


async def test_a_result_without_time_is_not_kept(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    claim = await store.begin("k")
    assert await store.commit("k", claim.token, b"1", ttl=0)
    assert (await store.begin("k")).state == "fresh"


async def test_results_of_all_kinds_of_owners_are_found_by_their_key(start: Start) -> None:
    a, b = await start("a"), await start("b")
    for number, (owner, guest) in enumerate([("ann", False), ("ann", True), ("", False), ("", True)]):
        claim = await a.cluster.idempotency.begin(f"k{number}")
        assert await a.cluster.idempotency.commit(f"k{number}", claim.token, b"1", owner=owner, guest=guest)
        assert (await b.cluster.idempotency.begin(f"k{number}")).state == "done"


async def test_many_results_of_one_owner_displace_no_others(start: Start) -> None:
    store = (await start("a")).cluster.idempotency
    for key, owner, guest in [("bobs", "bob", False), *((f"k{n}", "ann", n % 2 == 0) for n in range(300))]:
        claim = await store.begin(key)
        assert await store.commit(key, claim.token, b"1", owner=owner, guest=guest)
    assert (await store.begin("bobs")).state == "done"
    assert (await store.begin("k299")).state == "done"
