"""When to do what, decided before the run: an open loop, which a slow server does not slow down."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["due_times"]


def due_times(rate: float, start: float, seed: object = None) -> Iterator[float]:
    """The moments of an endless series of operations, in seconds on the clock ``start`` is of.

    Who is late does the next operation at once and measures from the due time: so the wait that a stalled
    server causes is in the latencies, and not left out.

    Args:
        rate: Operations per second.
        start: The first moment of a constant rate; the random series begins after it.
        seed: None: every ``1 / rate`` seconds. Else: at random, as independent users would (a Poisson
            process), the same for equal seeds.

    Raises:
        ValueError: The rate is not positive.
    """
    if not rate > 0:
        raise ValueError(f"a rate is a positive number of operations per second, not {rate!r}")
    return _constant(rate, start) if seed is None else _poisson(rate, start, random.Random(str(seed)))


def _constant(rate: float, start: float) -> Iterator[float]:
    number = 0
    while True:
        yield start + number / rate  # not summed up: no error accumulates
        number += 1


def _poisson(rate: float, start: float, rng: random.Random) -> Iterator[float]:
    due = start
    while True:
        due += rng.expovariate(rate)
        yield due
