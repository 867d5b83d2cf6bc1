"""What records a model, what plays it, and what waits for something to happen to it."""

from __future__ import annotations

from pathlib import Path

from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recording import Recorder
from liverpc_devtools.core.replaying import Player
from liverpc_devtools.core.triggers import Triggers

__all__ = ["Tape", "tape_of"]


class Tape:
    """Of one model.

    Args:
        model: Of a server, or of a recording.
        player: Plays the recording; None: it is a server.
        folder: Where recordings without a name go.
    """

    def __init__(self, model: Model, *, player: Player | None = None, folder: Path | None = None) -> None:
        self.player = player
        self.recorder = Recorder(model, folder=folder)
        self.triggers = Triggers(model, folder=folder)
        self.folder = folder
        model.tape = self

    def close(self) -> list[Path]:
        """End what is recorded; returns the files that were written since the program started, oldest first."""
        self.recorder.stop()
        self.triggers.close()
        files = [*self.recorder.made, *self.triggers.made]
        return sorted({each for each in files if each.exists()}, key=lambda each: each.stat().st_mtime)


def tape_of(model: Model) -> Tape:
    """The tape of a model, made now when there is none."""
    return model.tape or Tape(model)
