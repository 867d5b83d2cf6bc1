"""A server that remembers what reached its functions, and two kinds of clients; tests start each as a process.

``server`` takes its limits from the environment and says where it listens. ``steady PORT CLIENTS RATE`` makes so many
calls a second with each client, at times fixed beforehand; each line of input names a duration, and is answered with
what came of it. ``abuse PORT RATE`` bothers the server so many times a second, until it is ended.

A caller says who it is in ``Authorization``, or as ``token`` in the URL: ``NAME.ORGANIZATION`` or
``NAME.ORGANIZATION.SECONDS``, the time after which its session expires, with ``_`` for the point. Without it nobody is
signed in, and anything else is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from types import SimpleNamespace
from typing import Any, TypedDict

from msgspec import Struct

from liverpc import (
    ConnectRequest,
    Context,
    Contract,
    DevWarnings,
    Events,
    Inspect,
    Limits,
    LiveServer,
    RateLimit,
    Reject,
    RoomKey,
    RpcError,
    UploadContext,
    access,
    event,
    guard,
    live,
    public,
    remote,
    room,
)
from liverpc.client import connect
from tests.e2e.abuse_kit import Raw, call, hostile, message

#: Calls of one caller to each function of ``limited``; they come back in an hour.
POINTS = 2
HOUR = 3_600.0
STORE_MAX, TAKE_MAX = 1_000, 10_000
LOCK_WAIT = 0.3


class Caller(TypedDict):
    id: str
    organization_id: str


class Params(Struct):
    number: str


class Say(Struct):
    text: str


class Heard(Events):
    def said(self, data: str) -> None: ...


class Desk(Contract[Heard, Params, Any], path="/desk/{number}"):
    """Where one may say so much an hour, and what was said is not said again."""

    reach: Callable[[str, Any, str], object]

    @room.private
    def desk(self) -> RoomKey:
        self.reach("desk/__join/desk", self.locals, self.params.number)
        return self.params.number

    @event(rate_limit=RateLimit(POINTS, HOUR), idempotent=True)
    async def say(self, data: Say) -> str:
        self.reach("desk/__event/say", self.locals, data.text)
        return "said"


def caller_of(request: ConnectRequest) -> Caller | None:
    token = request.headers.get("authorization", request.query.get("token"))
    if token is None:
        return None
    parts = token.split(".")
    if len(parts) not in (2, 3):
        raise Reject("UNAUTHENTICATED", "no token of ours")
    if len(parts) == 3:
        request.expires_at = time.time() + float(parts[2].replace("_", "."))
    return {"id": parts[0], "organization_id": parts[1]}


def declared() -> tuple[dict[str, Any], Counter[str]]:
    """The modules, and what reached their functions: how often, by ``[path, who, arguments]``."""
    reached: Counter[str] = Counter()

    def reach(ctx: Context[Any], *args: Any) -> None:
        who = ctx.connection.user_id or f"@{ctx.connection.request.address}"
        reached[json.dumps([ctx.path, who, args])] += 1

    async def chunks(ctx: UploadContext[Any]) -> int:
        reach(ctx)
        size = 0
        async for chunk in ctx.upload:
            size += len(chunk)
        return size

    class Own(Desk, path="/desk/{number}", name="desk"):
        @staticmethod
        def reach(path: str, caller: Any, text: str) -> None:
            reached[json.dumps([path, caller["id"] if caller else "@", [text]])] += 1

    # -- for those who are signed in

    @live
    def read(ctx: Context[Caller], name: str = "") -> str:
        reach(ctx, name)
        return "secret"

    @live
    async def write(ctx: Context[Caller], name: str = "") -> str:
        reach(ctx, name)
        return "secret"

    @live.stream("vault")
    async def rows(ctx: Context[Caller], name: str = "") -> list[str]:
        reach(ctx, name)
        return ["secret"]

    @live.binary(max_size=STORE_MAX)
    async def store(ctx: Context[Caller], data: bytes) -> int:
        reach(ctx, len(data))
        return len(data)

    take = live.upload(max_size=TAKE_MAX)(chunks)

    @live.room("board:{name}", merge="crud", key="id", cursors=True)
    async def board(ctx: Context[Caller], name: str) -> list[dict[str, str]]:
        reach(ctx, name)
        return [{"id": "secret"}]

    @board.presence
    def here(ctx: Context[Caller], name: str) -> dict[str, str]:
        reach(ctx, name)
        return {"name": ctx.user["id"]}

    @board.action
    async def add(ctx: Context[Caller], name: str, card: str) -> str:
        reach(ctx, name, card)
        return "added"

    vault = SimpleNamespace(
        Own=Own,
        read=read,
        write=write,
        rows=rows,
        store=store,
        take=take,
        board=board,
        _guard=guard(authenticated=True),
    )

    # -- for those of one organization

    @live.scoped(access.org())
    @live
    def look(ctx: Context[Caller], organization: str) -> str:
        reach(ctx, organization)
        return "secret"

    @live.scoped(access.org())
    @live
    async def change(ctx: Context[Caller], organization: str) -> str:
        reach(ctx, organization)
        return "secret"

    @live.scoped(access.org())
    @live.binary(max_size=STORE_MAX)
    async def file(ctx: Context[Caller], data: bytes, organization: str) -> str:
        reach(ctx, organization)
        return "secret"

    @live.stream("tenant:{organization}", access=access.org())
    async def news(ctx: Context[Caller], organization: str) -> list[str]:
        reach(ctx, organization)
        return ["secret"]

    tenant = SimpleNamespace(look=look, change=change, file=file, news=news, _guard=public())

    # -- for everybody, so many times an hour

    limit = live.rate_limit(points=POINTS, per=HOUR)

    @limit
    @live
    def hit_me(ctx: Context[Caller]) -> None:
        reach(ctx)

    @limit
    @live
    async def wait_for_me(ctx: Context[Caller]) -> None:
        reach(ctx)

    @limit
    @live.binary(max_size=STORE_MAX)
    async def keep(ctx: Context[Caller], data: bytes) -> None:
        reach(ctx)

    @limit
    @live.stream("feed")
    async def feed(ctx: Context[Caller]) -> list[str]:
        reach(ctx)
        return []

    limited = SimpleNamespace(
        hit_me=hit_me,
        wait_for_me=wait_for_me,
        keep=keep,
        feed=feed,
        send=limit(live.upload(max_size=TAKE_MAX)(chunks)),
        _guard=public(),
    )

    # -- what must not run twice

    @live.idempotent()
    @live
    async def charge(ctx: Context[Caller], amount: int) -> str:
        reach(ctx, amount)
        await asyncio.sleep(0.02)
        return f"receipt {sum(reached.values())} of {ctx.connection.user_id or ctx.connection.id} for {amount}"

    @live.idempotent()
    @live
    async def refund(ctx: Context[Caller], amount: int) -> str:
        reach(ctx, amount)
        return f"refund of {amount}"

    pay = SimpleNamespace(charge=charge, refund=refund, _guard=public())

    # -- one at a time

    @live.lock(lambda ctx, name, seconds: name, max_wait=LOCK_WAIT)
    @live
    async def hold(ctx: Context[Caller], name: str, seconds: float) -> str:
        reach(ctx, name)
        await asyncio.sleep(seconds)
        return name

    work = SimpleNamespace(hold=hold, _guard=guard(authenticated=True))
    modules = {"vault": vault, "tenant": tenant, "limited": limited, "pay": pay, "work": work}
    return modules, reached


async def serve(more: Mapping[str, Any] = {}) -> None:
    """Until it is ended; ``more`` are further modules."""
    modules, reached = declared()

    @live
    def echo(ctx: Context[Caller], number: int) -> int:
        return number

    @live
    async def echo_async(ctx: Context[Caller], number: int) -> int:
        return number

    @live.lock(lambda ctx, number: f"own:{ctx.user['id']}")
    @live.rate_limit(points=1_000, per=10.0)
    @live
    async def careful(ctx: Context[Caller], number: int) -> int:
        return number

    @live
    def report(ctx: Context[Caller]) -> dict[str, Any]:
        """What reached functions since the last report, and what the server has in hand."""
        rows = [[*json.loads(row), times] for row, times in reached.items()]
        reached.clear()
        return {
            "reached": rows,
            "connections": len(server.connections),
            "tasks": len(asyncio.all_tasks()),
            "topics": len(server._hub.topics),
            "locks": len(server._services.policies.locks),
            "running": len(server._services.policies.once),
            "uploads": len(server.uploads.running),
            "cpu": time.process_time(),
        }

    def is_control(ctx: Context[Caller]) -> bool:
        return ctx.user["id"] == "control"

    modules["steady"] = SimpleNamespace(
        echo=echo, echo_async=echo_async, careful=careful, _guard=guard(authenticated=True)
    )
    modules["control"] = SimpleNamespace(report=report, _guard=guard(is_control, authenticated=True))
    server = LiveServer(
        {**modules, **more},
        on_connect=caller_of,
        naming="camel",
        limits=Limits.from_env(os.environ),
        trusted_proxies=["127.0.0.1"],
        inspect=Inspect(enabled=False),
        warnings=DevWarnings(),
        dev=False,
    )
    async with server.serve(port=0) as at:
        print(json.dumps({"port": at.port}), flush=True)  # noqa: T201 - this is how the test learns it
        await asyncio.Event().wait()


STEADY = ("steady/echo", "steady/echo_async", "steady/careful")


async def steady(port: int, clients: int, rate: float) -> None:
    """Calls at times fixed beforehand; what a late answer delays is not left out of the figures."""
    loop = asyncio.get_running_loop()
    refused: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(
                connect(f"ws://127.0.0.1:{port}/ws", headers={"authorization": f"steady{number}.acme"})
            )
            for number in range(clients)
        ]
        print(json.dumps({"clients": clients}), flush=True)  # noqa: T201 - the test waits for it
        lines = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            latencies: list[float] = []

            async def one(client: Any, number: int, due: float, into: list[float] = latencies) -> None:
                try:
                    assert await client.call(remote(STEADY[number % len(STEADY)]), number) == number
                except RpcError as error:
                    refused[error.code] += 1
                into.append(loop.time() - due)

            start, total = loop.time() + 0.05, int(float(line) * rate * clients)
            calls: set[asyncio.Task[None]] = set()
            for number in range(total):
                due = start + number / (rate * clients)
                if (ahead := due - loop.time()) > 0:
                    await asyncio.sleep(ahead)
                calls.add(asyncio.create_task(one(opened[number % clients], number, due)))
            await asyncio.wait(calls)
            latencies.sort()
            p50, p99 = (latencies[int(len(latencies) * share)] * 1e3 for share in (0.5, 0.99))
            about = {"calls": total, "p50": p50, "p99": p99, "max": latencies[-1] * 1e3, "refused": refused}
            print(json.dumps(about), flush=True)  # noqa: T201 - this is what the test asked for


def abuse(port: int, rate: float) -> None:
    """Ten of one kind of hostile messages at a time, or a newcomer that calls more than it may."""
    os.nice(19)  # whoever measures the server on this core comes first
    with ExitStack() as stack:
        callers = [stack.enter_context(Raw(port, token)) for token in (None, "mallory.globex") * 2]
        hits = b"".join(message(call("limited/wait_for_me", ref=str(n))) for n in range(POINTS + 1))
        kinds = hostile(10)
        start = time.monotonic()
        for number in count():
            if (ahead := start + number / rate - time.monotonic()) > 0:
                time.sleep(ahead)
            kind = number % (len(kinds) + 1)
            if kind == len(kinds):
                token, address = (f"u{number}.acme", "192.0.2.1") if number % 2 else (None, f"192.0.2.{number % 200}")
                with Raw(port, token, address=address, first=hits) as newcomer:
                    answers = newcomer.answers(POINTS + 1)
            else:
                frames, expected = kinds[kind]
                caller = callers[number // len(kinds) % len(callers)]
                caller.send(*frames)
                answers = caller.answers(expected)
                assert not any(answer["ok"] for answer in answers), answers
            if number == len(kinds):
                print("{}", flush=True)  # noqa: T201 - everything was tried once


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(serve())
    elif sys.argv[1] == "abuse":
        abuse(int(sys.argv[2]), float(sys.argv[3]))
    else:
        asyncio.run(steady(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
