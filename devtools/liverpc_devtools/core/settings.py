"""The settings of the user: keys, contexts, theme.

They stand in ``tui.toml`` in :func:`~liverpc_devtools.core.store.config_dir`::

    theme = "light"

    [keys]
    "streams.pause" = "P"

    [context.prod]
    url = "wss://rt.example.org"
    token_cmd = "pass show rt/attach"
    theme = "contrast"
    readonly = true
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from liverpc.errors import ConfigError
from liverpc_devtools.core.store import config_dir, replace_file
from liverpc_devtools.core.text import clean

__all__ = ["Context", "Settings", "read_settings", "write_keys"]

_TOKEN_SECONDS = 60.0  # somebody may have to type a password
_CONTEXT = {"url": str, "token_file": str, "token_cmd": str, "theme": str, "readonly": bool, "insecure": bool}


@dataclass(frozen=True)
class Context:
    """A server by name.

    Args:
        name: Without the ``@``.
        url: As on the command line.
        token_file: Its content is the token.
        token_cmd: What it prints is the token; run without a shell.
        theme: Worn while this server is the first; empty: any.
        readonly: Nothing that changes the server is offered or asked for.
        insecure: The token may travel over ``ws://`` to other machines.
    """

    name: str
    url: str
    token_file: str = ""
    token_cmd: str = ""
    theme: str = ""
    readonly: bool = False
    insecure: bool = False

    @cached_property
    def token(self) -> str:
        """What ``token_cmd`` prints; empty without one. It is run once.

        Raises:
            ConfigError: It failed, or printed nothing. What it printed is in no message.
        """
        if not self.token_cmd:
            return ""
        try:
            # The command is the user's own, from a file only they write.
            done = subprocess.run(  # noqa: S603 - our own interpreter and options
                shlex.split(self.token_cmd), stdout=subprocess.PIPE, timeout=_TOKEN_SECONDS, check=True, text=True
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            what = "took too long" if isinstance(error, subprocess.TimeoutExpired) else "failed"
            code = f" with exit code {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else ""
            raise ConfigError(f"token_cmd of @{self.name} {what}{code}") from None
        if not (secret := done.stdout.strip()):
            raise ConfigError(f"token_cmd of @{self.name} printed no token")
        return secret


@dataclass(frozen=True)
class Settings:
    """What the file says.

    Args:
        path: The file, there or not.
        keys: Keys by the id of a binding, several separated by commas.
        contexts: By name.
        theme: Empty: the default.
        lines: On which line of the file a key stands.
    """

    path: Path
    keys: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, Context] = field(default_factory=dict)
    theme: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Settings:
        """Nothing is set."""
        return cls(config_dir() / "tui.toml")

    def context(self, name: str) -> Context:
        """The context of that name.

        Raises:
            ConfigError: There is none.
        """
        try:
            return self.contexts[name]
        except KeyError:
            known = ", ".join(f"@{each}" for each in self.contexts) or "none"
            raise ConfigError(f"no context @{clean(name)} in {self.path}; there are: {known}") from None

    def at(self, key: str) -> str:
        """Where a key is set, for people."""
        return f"{self.path}:{self.lines.get(key, 1)}"


def read_settings(path: Path | None = None) -> Settings:
    """Read the file; empty settings when there is none.

    Raises:
        ConfigError: It is no TOML, or something in it is not what it should be; with file and line.
    """
    path = config_dir() / "tui.toml" if path is None else path
    try:
        text = path.read_text(encoding="utf-8")
        told = tomllib.loads(text)
    except FileNotFoundError:
        return Settings(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {clean(str(error))}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no TOML: {clean(str(error))}") from None
    keys, contexts = told.pop("keys", {}), told.pop("context", {})
    theme = told.pop("theme", "")
    lines = {key: _line(text, key) for key in keys} if isinstance(keys, dict) else {}
    if told:
        raise ConfigError(f"{path}:{_line(text, next(iter(told)))}: unknown: {', '.join(map(clean, told))}")
    if not isinstance(theme, str):
        raise ConfigError(f"{path}:{_line(text, 'theme')}: theme is a name in quotes")
    if not isinstance(keys, dict) or not all(isinstance(each, str) for each in keys.values()):
        raise ConfigError(f'{path}: [keys] has lines such as "streams.pause" = "P"')
    if not isinstance(contexts, dict):
        raise ConfigError(f"{path}: contexts are sections such as [context.prod]")
    read = {name: _context(path, text, name, entry) for name, entry in contexts.items()}
    return Settings(path, keys, read, theme, lines)


def _context(path: Path, text: str, name: str, entry: Any) -> Context:
    place = f"{path}:{_line(text, f'context.{name}')}: [context.{clean(name)}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
        raise ConfigError(f"{place} needs a url in quotes")
    for key, value in entry.items():
        kind = _CONTEXT.get(key)
        if kind is None:
            raise ConfigError(f"{place} has an unknown {clean(key)!r}; known are {', '.join(_CONTEXT)}")
        if not isinstance(value, kind):
            raise ConfigError(f"{place}: {key} is {'true or false' if kind is bool else 'a text in quotes'}")
    return Context(name=name, **entry)


def _line(text: str, key: str) -> int:
    """Where a key or a section stands, from 1; 1 when it is written in a way not looked for."""
    quoted = re.escape(key)
    found = re.search(rf"^\s*\[?\s*[\"']?{quoted}[\"']?\s*(=|\])", text, re.MULTILINE)
    return text.count("\n", 0, found.end()) + 1 if found else 1


def write_keys(path: Path, keys: Mapping[str, str], forget: Iterable[str] = ()) -> None:
    """Set keys in the file, and take others out of it; everything else in it stays as it is.

    Raises:
        ConfigError: The file is broken, or cannot be written.
    """
    read_settings(path)  # broken files are not made worse
    gone = {*keys, *forget}
    lines, section = [], ""
    source = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in source.splitlines():
        if heading := re.match(r"\s*\[([^\[\]]+)\]", line):
            section = heading[1].strip()
        key = re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)
        if not (section == "keys" and key and key[1] in gone):
            lines.append(line)
    fresh = [f'"{key}" = "{_quoted(value)}"' for key, value in keys.items()]
    if fresh:
        at = next((n for n, line in enumerate(lines) if re.match(r"\s*\[\s*keys\s*\]", line)), None)
        if at is None:
            lines += [*([""] if lines else []), "[keys]", *fresh]
        else:
            lines[at + 1 : at + 1] = fresh
    try:
        replace_file(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {clean(str(error))}") from None


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
