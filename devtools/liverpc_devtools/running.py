"""Running the program on a terminal, until it is quit, told to end, or the terminal is gone."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import time
from typing import Any

from textual.app import App

__all__ = ["run"]

_SECONDS_TO_END = 3.0  # after a signal


def _end_with_the_terminal() -> None:
    """Wait until nobody is at the other end of the terminal, then end the process.

    No signal tells that reliably, and what the application still draws can block it for ever.
    """
    poller = select.poll()
    poller.register(sys.__stdout__.fileno() if sys.__stdout__ else 1, 0)  # 0: errors and hang-ups only
    poller.poll()
    time.sleep(_SECONDS_TO_END)
    os._exit(130)


async def run(app: App[Any], *, mouse: bool = True) -> int:
    """Run ``app`` until it is quit; 0, or 130 when a signal asked the process to end.

    Args:
        app: The program.
        mouse: Whether it asks the terminal for the mouse.
    """
    code = 0
    # A terminal that is gone, or takes nothing any more, blocks the thread that draws, and so the way out.
    last_resort = threading.Timer(_SECONDS_TO_END, os._exit, (130,))
    last_resort.daemon = True

    def interrupted() -> None:
        nonlocal code
        if not code:
            last_resort.start()
        code = 130
        app.exit()

    threading.Thread(target=_end_with_the_terminal, daemon=True).start()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, interrupted)
    await app.run_async(mouse=mouse)
    last_resort.cancel()
    return code or app.return_code or 0
