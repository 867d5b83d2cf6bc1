"""A page of the tutorial in a process of its own, as a browser's tab is: ``python -m tests.e2e.tutorial_page URL``.

It prints a line of JSON for everything that happens to it, until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from liverpc import ClientConfig, RpcError
from liverpc.client import connect
from tests.e2e.tutorial_kit import Chat, OpenProject, ToClient, cookie

CONFIG = ClientConfig(backoff_base=0.05, backoff_max=0.3)


def say(*what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def lost(room_name: str, payload: Any, error: RpcError) -> None:
    say("lost", room_name, payload.project_id, error.code)


async def main(url: str) -> None:
    headers = cookie("ann's")
    async with connect(Chat, url, config=CONFIG, headers=headers, room_id="general") as page:
        page.on(ToClient.message, lambda message: say("heard", message.text))
        page.on(ToClient.note, lambda note: say("noted", note.of, note.text))
        page.on_join_lost(lost)
        await page.join(Chat.project, OpenProject("zeus"))
        await page.join(Chat.project, OpenProject("apollo"))
        await page.join(Chat.tenant)
        slow = asyncio.ensure_future(page.call(Chat.slow))
        say("ready", await page.call(Chat.whoami), page.joined)
        try:
            await slow
        except RpcError as error:
            say("slow", error.code)
        say("back", await page.call(Chat.whoami), page.joined)
        await asyncio.to_thread(sys.stdin.read)
    say("closed")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
