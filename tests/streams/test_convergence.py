"""Whatever the network does, in the end every client shows what the server has.

``LIVERPC_SEED=n`` repeats one run.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from liverpc.client.position import Position
from tests.streams.convergence_kit import Diverged, run_seed, run_seeds

RUNS, CHUNK = 1000, 100
ONE = os.environ.get("LIVERPC_SEED")
CHUNKS = [range(int(ONE), int(ONE) + 1)] if ONE else [range(at, at + CHUNK) for at in range(0, RUNS, CHUNK)]


@pytest.fixture(scope="module")
def totals(request: pytest.FixtureRequest) -> Iterator[dict[range, Future[Counter[str]]]]:
    """What happened in the chosen chunks, which run two at a time."""
    here = [item for item in request.session.items if item.parent is request.node]
    calls: list[Any] = [item.callspec for item in here if hasattr(item, "callspec")]
    chosen = [call.params["seeds"] for call in calls if "seeds" in call.params]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield {seeds: pool.submit(run_seeds, seeds) for seeds in chosen}


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_after_the_noise_every_client_shows_what_the_server_has(
    seeds: range, totals: dict[range, Future[Counter[str]]]
) -> None:
    total = totals[seeds].result()
    assert ONE or all(total.values()), total  # each fault happened


def ignores_gaps(position: Position, seq: int | None) -> bool:
    if seq is None or position.seq is None or position.epoch is None:
        return True
    if seq <= position.seq:
        return False
    position.seq = seq
    return True


def ignores_repeats(position: Position, seq: int | None) -> bool:
    if seq is None or position.seq is None or position.epoch is None:
        return True
    if seq > position.seq + 1:
        return False
    position.seq = max(seq, position.seq)
    return True


@pytest.mark.parametrize("broken", [ignores_gaps, ignores_repeats])
def test_a_client_that_does_not_count_is_found_out_and_the_seed_told(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[Position, int | None], bool]
) -> None:
    monkeypatch.setattr(Position, "is_turn_of", broken)
    with pytest.raises(Diverged) as caught:
        for seed in range(100):
            run_seed(seed)
    text = str(caught.value)
    assert re.match(
        r"seed \d+, to be repeated with LIVERPC_SEED=\d+:\nclient \d \(connected\), \w+_replay: shows ", text
    )
    with pytest.raises(Diverged) as again:
        run_seed(int(text.split()[1].rstrip(",")))
    assert str(again.value) == text


def test_a_seed_repeats_its_run() -> None:
    assert run_seed(7) == run_seed(7) != run_seed(8)
