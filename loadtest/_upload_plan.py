"""Which uploads are made, and of what bytes: decided by the seed, before the run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from loadtest._words import Size, parse_bandwidth, parse_sizes

__all__ = ["BLOCK", "PIECE", "Data", "Fate", "Plan", "UploadKnobs", "plans"]

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


class UploadKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    upload_sizes: Annotated[str, Meta(description="SIZE=WEIGHT,...: how large, in B, kB or MB, and how often each")] = (
        "1MB=16,10MB=3,100MB=1"
    )
    uploads_per_user: Annotated[int, Meta(description="at the same time, on one connection", ge=1, le=1000)] = 1
    bandwidth: Annotated[
        str, Meta(description="megabytes per second of all uploads together; max: as many as the server takes")
    ] = "50"
    cancelled: Annotated[float, Meta(description="share of uploads given up midway", ge=0, le=1)] = 0.1
    killed: Annotated[float, Meta(description="share of uploads whose connection is cut", ge=0, le=1)] = 0.05

    def __post_init__(self) -> None:
        parse_sizes(self.upload_sizes)
        parse_bandwidth(self.bandwidth)
        if self.cancelled + self.killed > 1:
            raise ValueError(
                f"cancelled and killed are shares of all uploads, together 1 at most: "
                f"not {self.cancelled:g} and {self.killed:g}"
            )


def plans(knobs: UploadKnobs, seed: str, user: int, lane: int) -> Iterator[Plan]:
    """All uploads of one lane of one user, the same for equal seeds."""
    rng = random.Random(f"{seed}/{user}/{lane}")
    sizes = parse_sizes(knobs.upload_sizes)
    weights = [size.weight for size in sizes]
    while True:
        (size,) = rng.choices(sizes, weights)
        drawn = rng.random()
        fate: Fate = "whole"
        if drawn < knobs.killed:
            fate = "killed"
        elif drawn < knobs.killed + knobs.cancelled:
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
