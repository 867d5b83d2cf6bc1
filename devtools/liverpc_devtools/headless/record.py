"""``record``: write what a server tells into files, for as long as it takes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from liverpc_devtools.core.attach import Link
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recording import Recorder, Rotation
from liverpc_devtools.core.text import count, size
from liverpc_devtools.headless.output import Refused, emit, narrate

__all__ = ["record"]

_LOOK_SECONDS = 0.25


async def record(link: Link, model: Model, path: Path | None, *, rotation: Rotation, seconds: float | None) -> None:
    """Record until cancelled, or for a time. A connection that is lost comes back; the recording says so.

    Args:
        link: Feeds ``model``.
        model: Without a session.
        path: The file; None: a new one in the folder of recordings.
        rotation: When there is to be another file.
        seconds: How long; None: until cancelled.

    Raises:
        Refused: The recording ended by itself.
        AttachError: There is no such server.
        ConfigError: The file cannot be made.
    """
    recorder, attached = Recorder(model), asyncio.Event()
    model.taps.append(lambda _: attached.set())
    await link.connect()
    feeding = asyncio.create_task(link.run(), name="record")
    try:
        async with asyncio.timeout(seconds):
            await attached.wait()
            narrate(f"recording to {recorder.start(path, rotation=rotation)}")
            while not (feeding.done() or recorder.problem):
                await asyncio.wait({feeding}, timeout=_LOOK_SECONDS)
            raise Refused(recorder.problem or model.reason)
    except TimeoutError:
        pass
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        recorder.stop()
        _tell(recorder)


def _tell(recorder: Recorder) -> None:
    total = 0
    for each in recorder.finished:
        with suppress(FileNotFoundError):  # somebody else has removed it
            bytes_ = each.stat().st_size
            emit({"t": "recorded", "path": str(each), "size": bytes_})
            total += bytes_
    narrate(f"{count(recorder.events)} events, {size(total)}")
    if recorder.lost:
        narrate(f"{count(recorder.lost)} frames were not written: the disk was too slow")
