"""Every kind of path, called with every kind of frame: nothing runs that is not meant to, and no check is passed by.

(docs/protocol.md sections 4, 5, 11 and 12.)
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from tests.attack.kinds_kit import (
    AS_CONTROL,
    FRAMES,
    GIVES_NOTHING,
    PATHS,
    SECRET,
    TOPICS,
    UNASKED,
    Application,
    answers,
    fits,
    tried,
)
from tests.uploads.upload_kit import Sender, turns

Check = Callable[[Sender, str, str], Awaitable[None]]


async def for_each_pair(application: Application, check: Check, *but: str) -> None:
    """Send every frame for every path, each on a connection of its own."""
    async with application.server.lifespan():
        for path in PATHS:
            for frame in FRAMES if path not in but else ():
                async with application.opened() as sender:
                    await tried(sender, path, frame)
                    await check(sender, path, frame)


async def nothing_is_there(application: Application, sender: Sender, what: str) -> None:
    assert not any(answer["ok"] for answer in answers(sender)), what
    before = len(sender.log)
    application.publish()
    await turns()
    assert SECRET not in json.dumps(sender.log), what
    assert len(sender.log) == before, what
    assert [application.server.subscribers(topic) for topic in TOPICS] == [0] * len(TOPICS), what
    assert application.server.uploads.running == [], what


async def test_a_guard_that_lets_nobody_pass_is_passed_by_no_frame() -> None:  # acceptance 17
    application = Application(guards=False)

    async def check(sender: Sender, path: str, frame: str) -> None:
        what = f"{path}, {frame}"
        assert application.ran == [], what
        assert not application.asked, what
        await nothing_is_there(application, sender, what)
        if fits(path, frame):
            assert application.guarded == {path: 1}, what
            assert [answer["code"] for answer in answers(sender)] in (["CLOSED"], []), what

    await for_each_pair(application, check)


async def test_a_predicate_that_lets_nobody_pass_is_passed_by_no_frame() -> None:
    application = Application(admits=False)

    async def check(sender: Sender, path: str, frame: str) -> None:
        what = f"{path}, {frame}"
        assert application.ran == [], what
        if path in ("m/gated", "page/__leave/group") and fits(path, frame):  # a shut gate is no error; leaving neither
            assert SECRET not in json.dumps(sender.log), what
            assert [answer.get("data") for answer in answers(sender)] in ([None], []), what
            return
        await nothing_is_there(application, sender, what)
        if fits(path, frame):
            codes = [answer["code"] for answer in answers(sender)]
            assert codes in (["UNAUTHENTICATED"], ["JOIN_REJECTED"], []), what
            assert application.asked == {path: 1}, what

    await for_each_pair(application, check, "m/open_to_all", "page/__event/act")


async def test_a_frame_of_another_kind_does_nothing() -> None:
    application = Application()

    async def check(sender: Sender, path: str, frame: str) -> None:
        if fits(path, frame):
            return
        what = f"{path}, {frame}"
        assert application.ran == [], what
        assert not application.asked, what
        await nothing_is_there(application, sender, what)
        waits = frame not in AS_CONTROL and "nobody waits" not in frame
        code = "NOT_FOUND" if path.startswith("page/") else "INVALID_REQUEST"
        assert [answer["code"] for answer in answers(sender)] == ([code] if waits else []), what

    await for_each_pair(application, check)


async def test_whatever_runs_was_asked_about_once() -> None:
    application = Application()

    async def check(sender: Sender, path: str, frame: str) -> None:
        if not fits(path, frame):
            return
        what = f"{path}, {frame}"
        assert application.guarded == {path: 1}, what
        assert application.asked == ({} if path in UNASKED else {path: 1}), what
        assert application.ran == ([] if path in GIVES_NOTHING else [path]), what
        codes = [answer["ok"] for answer in answers(sender)]
        assert codes in ([path != "m/board/__action/move_cursor"], []), what

    await for_each_pair(application, check)
