"""A till, whose functions have limits, keys, locks and a breaker."""

from __future__ import annotations

import asyncio
from typing import Annotated

from msgspec import Meta, Struct

from liverpc import Context, LiveError, guard, live
from liverpc.demo.world import Visitor


def named(ctx: Context[Visitor]) -> None:
    """Guests have no account."""
    if ctx.user.guest:
        raise LiveError("UNAUTHENTICATED", "Guests have no account: connect with ?user=NAME")


_guard = guard(named)

Amount = Annotated[int, Meta(ge=1, le=1_000)]


class Receipt(Struct, frozen=True):
    """What a payment is answered with."""

    number: int
    amount: int


@live
@live.rate_limit(points=20, per=60.0)
@live.idempotent(ttl=600.0)
@live.lock(lambda ctx, amount: f"account:{ctx.user.team}", max_wait=5.0)
@live.breaker("bank", failures=3, reset_after=5.0)
async def pay(ctx: Context[Visitor], amount: Amount) -> Receipt:
    """Pay from the account of the caller's team, one payment at a time."""
    world = ctx.user.world
    await asyncio.sleep(0.4)  # the bank
    world.payments += 1
    return Receipt(world.payments, amount)
