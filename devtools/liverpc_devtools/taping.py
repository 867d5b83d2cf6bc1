"""What the program does with recordings: begin and end them, play them, wait for something to record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from liverpc.errors import ConfigError
from liverpc_devtools.core.commands import CommandError
from liverpc_devtools.core.filter import FilterError
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.recorded import Recording
from liverpc_devtools.core.replaying import Player
from liverpc_devtools.core.tape import Tape, tape_of
from liverpc_devtools.core.text import count
from liverpc_devtools.core.triggers import desktop
from liverpc_devtools.screens.server import Served

if TYPE_CHECKING:
    from liverpc_devtools.app import DevtoolsApp

__all__ = ["Tapes", "played"]


def played(path: Path, *, speed: float = 1.0, begin: str = "") -> Served:
    """A recording as a server that is watched.

    Args:
        path: The file.
        speed: Seconds of the recording in a second.
        begin: The moment to begin at, as in :func:`~liverpc_devtools.core.replaying.moment`; empty: the first.

    Raises:
        ConfigError: It is no recording, or there is no such moment.
    """
    player = Player(Recording(path))
    at = player.starting(begin)
    model = Model(monotonic=player.time)
    Tape(model, player=player)
    player.speed = speed
    player.feed(model, at)
    return Served(model, player, url=str(path), readonly=True)


class Tapes:
    """The tapes of all servers of a program.

    Args:
        app: The program.
        bell: Whether terminals are asked to notify their user of what was waited for.
    """

    def __init__(self, app: DevtoolsApp, *, bell: bool = True) -> None:
        self._app = app
        self._bell = bell

    def toggle(self, path: str = "") -> str:
        """Record the server that is shown, or stop it; says what happened.

        Raises:
            CommandError: It cannot be.
        """
        tape = tape_of(self._app.pane.model)
        if tape.player is not None:
            raise CommandError("this is a recording already")
        if tape.recorder.on:
            return f"recorded to {tape.recorder.end()}"
        try:
            return f"recording to {tape.recorder.start(Path(path).expanduser() if path else None)}"
        except ConfigError as error:
            raise CommandError(str(error)) from None

    def when(self, text: str) -> str:
        """Wait for something on the server that is shown, or with ``-`` before it no more; says what happened.

        Raises:
            CommandError: It is no filter.
        """
        tape = tape_of(self._app.pane.model)
        if tape.player is not None:
            raise CommandError("nothing new happens in a recording; filter its events instead")
        if text.startswith("- "):
            if not tape.triggers.forget(text[2:]):
                raise CommandError(f"nobody waits for {text[2:]!r}")
            return f"waiting for {text[2:]} no more"
        try:
            tape.triggers.when(text)
        except (ConfigError, FilterError) as error:
            raise CommandError(str(error)) from None
        return f"waiting for {text}; the 30 s before and after will be recorded"

    def flush(self) -> None:
        """Tell people what was waited for and came, and which recordings ended by themselves."""
        for pane in self._app.panes:
            tape = pane.model.tape
            if tape is None:
                continue
            while tape.triggers.alarms:
                self._alarm(tape.triggers.alarms.popleft())
            if problem := tape.recorder.told():
                self._app.say(f"the recording ended: {problem}")

    def _alarm(self, text: str) -> None:
        app = self._app
        app.say(text)
        if self._bell:
            app.bell()
            if app._driver is not None:
                app._driver.write(desktop(text))

    def farewell(self) -> list[str]:
        """End all recordings; what to tell people when the program has left the screen."""
        lines: list[str] = []
        for pane in self._app.panes:
            if pane.model.tape is None:
                continue
            lines += [f"recorded to {each}" for each in pane.model.tape.close()]
            if lost := pane.model.tape.recorder.lost:
                lines.append(f"{count(lost)} frames were not written")
            if unsaved := pane.model.tape.triggers.unsaved:
                lines.append(f"what was waited for came {count(unsaved)} times more than was saved")
        return lines
