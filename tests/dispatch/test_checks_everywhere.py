"""What stands before a handler stands before every kind of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from liverpc import Context, LiveError, LiveServer, RpcError, guard, live, remote
from liverpc.testing import TestEnv
from tests.attack import kinds_kit
from tests.attack.kinds_kit import FRAMES, GIVES_NOTHING, PATHS, TOPICS, UNASKED, answers, fits, tried
from tests.uploads.upload_kit import Sender

Next = Callable[[], Awaitable[Any]]

HOW = {path: next(frame for frame in FRAMES if fits(path, frame)) for path in PATHS}


class Application(kinds_kit.Application):
    """With what surrounds the calls of all paths in its order, by path.

    Attributes:
        around: What ran of it.
    """

    def __init__(self, *, middlewares: Sequence[Any] = (), **options: Any) -> None:
        super().__init__(middlewares=[self.middleware(*each) for each in middlewares], **options)
        self.around: list[Any] = []

    def middleware(self, name: str, before: Callable[[], object] = lambda: None) -> Any:
        async def middleware(ctx: Context[Any], following: Next) -> Any:
            if ctx.path == "page/__open":
                return await following()
            self.around.append(f"{name} in")
            before()
            result = await following()
            self.around.append(f"{name} out")
            return result

        return middleware

    async def each_path(self) -> AsyncIterator[tuple[str, Sender]]:
        """Every path, called as it should be, each on a connection of its own."""
        async with self.server.lifespan():
            for path, frame in HOW.items():
                async with self.opened() as sender:
                    self.around.clear()
                    await tried(sender, path, frame)
                    yield path, sender


async def test_middlewares_are_around_everything_in_their_order() -> None:  # acceptance 23
    application = Application(middlewares=[("a",), ("b",)])
    async for path, _ in application.each_path():
        # This one fails, because nobody is in the room.
        out = [] if path == "m/board/__action/move_cursor" else ["b out", "a out"]
        assert application.around == ["a in", "b in", *out], path
        assert application.guarded == {path: 1}
        assert application.ran == ([] if path in GIVES_NOTHING else [path])


@pytest.mark.parametrize("value", ["instead", None, []])
async def test_a_middleware_may_answer_instead_of_everything(value: Any) -> None:  # acceptance 25
    async def instead(ctx: Context[Any], following: Next) -> Any:
        return await following() if ctx.path == "page/__open" else value

    application = Application()
    application.server.middleware(instead)
    async for path, sender in application.each_path():
        [answer] = answers(sender)
        assert (answer["ok"], answer["data"]) == (True, value), path
        assert "topic" not in answer
        assert not application.guarded + application.asked, path
        assert application.ran == []


async def test_a_middleware_that_refuses_refuses_everything() -> None:  # acceptance 26
    def refuse() -> None:
        raise LiveError("UNAUTHENTICATED", "sign in first")

    application = Application(middlewares=[("a",), ("b", refuse)])
    async for path, sender in application.each_path():
        [answer] = answers(sender)
        assert (answer["ok"], answer["code"], answer["error"]) == (False, "UNAUTHENTICATED", "sign in first"), path
        assert application.around == ["a in", "b in"]
        assert not application.guarded + application.asked, path
        assert application.ran == []
        assert not any(map(application.server.subscribers, TOPICS)), path


async def test_before_execute_comes_after_the_guard_with_what_was_sent() -> None:  # acceptance 33
    async def before(ctx: Context[Any], path: str, args: list[Any]) -> None:
        await asyncio.sleep(0)
        if path != "page/__open":
            application.around.append((path, args, application.guarded[path], application.asked[path]))

    application = Application(before_execute=before)
    async for path, _ in application.each_path():
        assert application.around == [(path, PATHS[path], 1, 0)], path
        assert application.asked[path] == (0 if path in UNASKED else 1), path


async def test_before_execute_may_refuse_everything() -> None:  # acceptance 33
    def before(ctx: Context[Any], path: str, args: list[Any]) -> None:
        if path != "page/__open":
            raise LiveError("RATE_LIMITED", "later", retry_after=1.5)

    application = Application(before_execute=before)
    async for path, sender in application.each_path():
        [answer] = answers(sender)
        assert (answer["ok"], answer["code"], answer["retryAfter"]) == (False, "RATE_LIMITED", 1500), path
        assert application.ran == []
        assert (application.guarded, application.asked) == ({path: 1}, {}), path


async def test_a_kept_result_is_only_for_those_who_may_call_now() -> None:
    """What was answered once is no way past the checks, nor is the fallback of an open breaker."""
    ran: list[str] = []
    may: dict[str, bool] = {"guard": True, "scope": True}

    @live
    @live.idempotent()
    @live.scoped(lambda ctx, name: may["scope"])
    async def keep(ctx: Context[Any], name: str) -> str:
        ran.append(name)
        return "kept"

    @live
    @live.breaker(failures=1, fallback="instead")
    @live.scoped(lambda ctx, name: may["scope"])
    async def broken(ctx: Context[Any], name: str) -> str:
        raise RuntimeError("broken")

    check = guard(lambda ctx: may["guard"])
    async with TestEnv(LiveServer({"m": SimpleNamespace(keep=keep, broken=broken, _guard=check)})) as env:
        client = env.connect(user={"id": "ann"}).using(idempotency_key="key")
        assert await client.call(remote("m/keep"), "x") == "kept"
        assert await client.call(remote("m/keep"), "x") == "kept"
        with pytest.raises(RpcError, match="INTERNAL_ERROR"):
            await client.call(remote("m/broken"), "x")
        assert await client.call(remote("m/broken"), "x") == "instead"
        for closed in may:
            may.update(guard=True, scope=True)
            may[closed] = False
            for path in ("m/keep", "m/broken"):
                with pytest.raises(RpcError, match="FORBIDDEN"):
                    await client.call(remote(path), "x")
    assert ran == ["x"]
