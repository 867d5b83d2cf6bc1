"""Which uploads are made, and of what bytes: decided by the seed, before the run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

import msgspec

from loadtest._cli import Options, Size

__all__ = ["BLOCK", "PIECE", "Data", "Fate", "Plan", "plans"]

PIECE = 262_144
BLOCK = 1 << 20
_STEP = 65_537  # from piece to piece within the block, so that none is like its neighbours

Fate = Literal["whole", "cancelled", "killed"]


class Plan(msgspec.Struct, frozen=True):
    """An upload as it shall be."""

    size: Size
    fate: Fate
    midway: int  #: bytes after which it is cancelled or killed
    reset: bool  #: how it is killed: with a TCP reset, or with an ordinary end of the TCP connection
    start: int  #: where its data begin in the block


def plans(options: Options, user: int, lane: int) -> Iterator[Plan]:
    """All uploads of one lane of one user, the same for equal seeds."""
    rng = random.Random(f"{options.seed}/{user}/{lane}")
    sizes, weights = options.upload_sizes, [size.weight for size in options.upload_sizes]
    while True:
        (size,) = rng.choices(sizes, weights)
        drawn = rng.random()
        fate: Fate = "whole"
        if drawn < options.killed:
            fate = "killed"
        elif drawn < options.killed + options.cancelled:
            fate = "cancelled"
        yield Plan(size, fate, int(size.bytes * rng.uniform(0.2, 0.8)), rng.random() < 0.5, rng.randrange(BLOCK))


class Data:
    """Bytes that are different everywhere in an upload and cost nothing to make: pieces of one random block."""

    def __init__(self, seed: str) -> None:
        block = random.Random(seed).randbytes(BLOCK)
        self._twice = memoryview(block + block)

    def pieces(self, start: int, size: int) -> Iterator[memoryview]:
        """``size`` bytes."""
        for at in range(0, size, PIECE):
            yield self._twice[start : start + min(PIECE, size - at)]
            start = (start + _STEP) % BLOCK
