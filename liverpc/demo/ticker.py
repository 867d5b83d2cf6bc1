"""Prices that change by themselves: a stream fed from outside any handler."""

from __future__ import annotations

import asyncio
import random

from liverpc import Context, LiveServer, live, public
from liverpc.demo.world import Price, Visitor, World

_guard = public()

SYMBOLS = {"AAA": 100.0, "BBB": 20.0, "CCC": 350.0, "DDD": 4.5}


@live.stream("prices", merge="crud", key="id")
async def prices(ctx: Context[Visitor]) -> list[Price]:
    """The last price of every symbol."""
    return list(ctx.user.world.prices.values())


headline = live.channel("headline", merge="set", item=str)


async def run(server: LiveServer, world: World, rng: random.Random, *, interval: float = 0.25) -> None:
    """Move one price every ``interval`` seconds, for ever."""
    world.prices.update({name: Price(name, start, 0.0) for name, start in SYMBOLS.items()})
    while True:
        name = rng.choice(list(SYMBOLS))
        price = round(world.prices[name].price * rng.uniform(0.99, 1.01), 2)
        change = round((price / SYMBOLS[name] - 1) * 100, 2)
        world.prices[name] = moved = Price(name, price, change)
        server.publish_nowait(prices.topic(), "updated", moved)
        if abs(change) > 3:
            server.publish_nowait(headline.topic(), "set", f"{name} at {change:+.1f} %")
        await asyncio.sleep(interval)
