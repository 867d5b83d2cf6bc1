"""What the program can be told in words: the command line, the palette and the help read it here.

A command does its work through :class:`Shell`, so that nothing here knows how it is drawn.
"""

from __future__ import annotations

import difflib
import shlex
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from liverpc_devtools.core.fuzzy import ranked

__all__ = [
    "COMMANDS",
    "SCREENS",
    "Command",
    "CommandError",
    "CommandLog",
    "Done",
    "Names",
    "Shell",
    "completions",
    "equivalent",
    "find",
    "run",
]

_LOGGED = 500
#: In the order of their keys.
SCREENS = (
    "overview",
    "streams",
    "rpc",
    "connections",
    "events",
    "rooms",
    "uploads",
    "chaos",
    "record",
    "explorer",
)
Names = Literal["screens", "columns", "servers", "contexts", "themes", "views", "recordings"]


class CommandError(Exception):
    """A command cannot be carried out; the text says what was wrong."""


class Shell(Protocol):
    """The program, as commands see it. Every method may raise :class:`CommandError`."""

    @property
    def url(self) -> str:
        """The server that is looked at."""
        ...

    def names(self, what: Names) -> Iterable[str]:
        """What there is to choose from now."""
        ...

    def go(self, screen: str) -> None: ...
    def filter(self, text: str) -> None: ...
    def find(self, text: str) -> None: ...
    def sort(self, column: str) -> None: ...
    def toggle_column(self, column: str) -> None: ...
    def attach(self, server: str) -> None: ...
    def show_server(self, server: str) -> None: ...
    def disarm(self) -> None: ...
    def redact(self, keys: list[str]) -> None: ...
    def press(self, action: str) -> None:
        """What a key does: ``action`` is the end of its id, such as ``copy``."""
        ...

    def record(self, path: str) -> None: ...
    def replay(self, path: str) -> None: ...
    def when(self, text: str) -> None: ...
    def theme(self, name: str) -> None: ...
    def save_view(self, name: str) -> None: ...
    def remove_view(self, name: str) -> None: ...
    def show_view(self, name: str) -> None: ...
    def dump(self, path: str) -> None: ...
    def show_keys(self) -> None: ...
    def show_log(self) -> None: ...
    def quit(self) -> None: ...


@dataclass(frozen=True)
class Command:
    """A verb.

    Args:
        name: One word or more.
        arguments: A hint such as ``NAME``; in brackets when it may be left out; empty: it takes none.
        description: Reads as a part of a sentence.
        run: Carries it out.
        choices: What the argument is chosen from.
        key: The id of the binding that does the same.
        cli: The command line that does the same, of the URL and the argument; None: there is none.
        logged: Whether it belongs into the log.
    """

    name: str
    arguments: str
    description: str
    run: Callable[[Shell, str], None]
    choices: Names | None = None
    key: str = ""
    cli: Callable[[str, str], str] | None = None
    logged: bool = True

    @property
    def needs(self) -> bool:
        """Whether the argument must be given."""
        return bool(self.arguments) and not self.arguments.startswith("[")


def _with(words: str) -> Callable[[str, str], str]:
    """A command line made of words, ``{url}`` and ``{it}``."""
    return lambda url, it: "liverpc-tui " + words.format(url=shlex.quote(url), it=shlex.quote(it))


COMMANDS: tuple[Command, ...] = (
    Command(
        "go", "SCREEN", "show a screen", lambda it, to: it.go(to), "screens", cli=_with("attach {url} --screen {it}")
    ),
    Command(
        "filter",
        "[TEXT]",
        "show the rows that match; all of them without a text",
        lambda it, text: it.filter(text),
        key="app.filter",
        cli=_with("attach {url} --filter {it}"),
    ),
    Command("find", "TEXT", "go to the next row that contains a text", lambda it, text: it.find(text)),
    Command("sort", "COLUMN", "sort by a column, again to turn it around", lambda it, to: it.sort(to), "columns"),
    Command("column", "NAME", "hide a column, or show it again", lambda it, to: it.toggle_column(to), "columns"),
    Command(
        "attach",
        "URL or @CONTEXT",
        "watch another server, too",
        lambda it, to: it.attach(to),
        "contexts",
        cli=_with("attach {url} {it}"),
    ),
    Command("server", "NAME", "show another of the attached servers", lambda it, to: it.show_server(to), "servers"),
    Command("chaos", "", "inject a fault", lambda it, _: it.press("chaos"), key="app.chaos"),
    Command(
        "chaos disarm",
        "",
        "remove every fault at once",
        lambda it, _: it.disarm(),
        key="app.disarm",
        cli=_with("chaos {url} clear"),
    ),
    Command("copy", "", "copy something of the selected row", lambda it, _: it.press("copy"), key="table.copy"),
    Command(
        "export", "", "write the rows that are shown to a file", lambda it, _: it.press("export"), key="table.export"
    ),
    Command(
        "record",
        "[FILE]",
        "record what comes, or stop that",
        lambda it, path: it.record(path),
        key="app.record",
        cli=_with("record {url} -o {it}"),
    ),
    Command(
        "replay", "FILE", "show a recording", lambda it, path: it.replay(path), "recordings", cli=_with("replay {it}")
    ),
    Command("when", "FILTER", "tell, and record, when such an event comes", lambda it, text: it.when(text)),
    Command("theme", "NAME", "draw in other colours", lambda it, name: it.theme(name), "themes"),
    Command("redact add", "KEY...", "record the values of further keys no more", lambda it, to: it.redact(to.split())),
    Command("save view as", "NAME", "keep screen, filter, order and columns", lambda it, name: it.save_view(name)),
    Command("save view remove", "NAME", "forget a view", lambda it, name: it.remove_view(name), "views"),
    Command("view", "NAME", "show a view that was kept", lambda it, name: it.show_view(name), "views"),
    Command("dump diagnostics", "[FILE]", "write what this program knows of itself", lambda it, path: it.dump(path)),
    Command("help", "", "show the keys", lambda it, _: it.show_keys(), key="app.help", logged=False),
    Command("log", "", "show what was done", lambda it, _: it.show_log(), key="app.log", logged=False),
    Command("quit", "", "end the program", lambda it, _: it.quit(), key="app.quit"),
)


def find(line: str) -> tuple[Command, str]:
    """The command of a line, and its argument.

    Raises:
        CommandError: There is none, or its argument is missing or too much.
    """
    words = line.split()
    if not words:
        raise CommandError("say what to do; tab shows what there is")
    for number in range(len(words), 0, -1):
        name = " ".join(words[:number])
        for command in COMMANDS:
            if command.name == name:
                return command, _argument(command, line, words[number:])
    likely = difflib.get_close_matches(line, [each.name for each in COMMANDS], 1)
    likely = likely or difflib.get_close_matches(words[0], [each.name for each in COMMANDS], 1)
    hint = f"; do you mean {likely[0]}?" if likely else "; tab shows what there is"
    raise CommandError(f"no command {words[0]!r}{hint}")


def _argument(command: Command, line: str, words: list[str]) -> str:
    argument = line.split(None, len(command.name.split()))[-1].strip() if words else ""
    if argument and not command.arguments:
        raise CommandError(f"{command.name} takes nothing, not {argument!r}")
    if command.needs and not argument:
        raise CommandError(f"{command.name} needs {command.arguments}")
    return argument


def run(shell: Shell, line: str) -> None:
    """Carry out a line.

    Raises:
        CommandError: It cannot be.
    """
    command, argument = find(line)
    command.run(shell, argument)


def equivalent(url: str, line: str) -> str:
    """The line as somebody would type it into a terminal; ``:line`` where only this program does it."""
    try:
        command, argument = find(line)
    except CommandError:
        return f":{line}"
    if command.cli is None or (not argument and command.arguments):
        return f":{line}"
    return command.cli(url, argument)


def completions(shell: Shell, line: str) -> list[str]:
    """Whole lines that ``line`` may become, the likeliest first."""
    line = line.lstrip()
    for command in sorted(COMMANDS, key=lambda each: -len(each.name)):
        if line.startswith(f"{command.name} ") and command.choices is not None:
            begun = line[len(command.name) + 1 :].lstrip()
            names = ranked(begun, shell.names(command.choices), str)
            return [f"{command.name} {each}" for each in names if each != begun]
    begin = [each for each in COMMANDS if each.name.startswith(line)]
    rest = [each for each in ranked(line, COMMANDS, lambda each: each.name) if each not in begin]
    return [f"{each.name} " if each.arguments else each.name for each in (*begin, *rest) if each.name != line]


@dataclass(frozen=True)
class Done:
    """Something that was done."""

    number: int
    wall: float  #: seconds since the epoch
    server: str
    cli: str  #: the equivalent line


class CommandLog:
    """The last 500 actions, oldest first."""

    def __init__(self) -> None:
        self.entries: deque[Done] = deque(maxlen=_LOGGED)
        self._number = 0

    def add(self, wall: float, server: str, cli: str) -> None:
        """Note an action; a repetition of the last one only moves its time."""
        if self.entries and (self.entries[-1].server, self.entries[-1].cli) == (server, cli):
            self.entries.pop()
        self._number += 1
        self.entries.append(Done(self._number, wall, server, cli))
