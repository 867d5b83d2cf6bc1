"""The folder of a run: what is in it, and reading it back."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from liverpc.errors import ConfigError
from loadtest._compare import Comparison, compared_markdown, compared_text
from loadtest._hgrm import hgrm
from loadtest._html import page
from loadtest._junit import junit
from loadtest._knee import knee
from loadtest._report import markdown, table
from loadtest._result import Result, Second

__all__ = ["new_folder", "read", "write"]

_T = TypeVar("_T")
_SCHEMA = 2
_SUMMARY, _SECONDS, _DETAILS = "summary.json", "metrics.jsonl", "ledger.json"
_NAME_MAX = 100  # characters of a series' file name


class _Head(msgspec.Struct):
    """What is looked at before the rest of summary.json."""

    schema: int
    metrics_lines: int = 0


def new_folder(base: Path, *, started: str, scenario: str, commit: str = "") -> Path:
    """Make ``<base>/<utc>-<scenario>-<commit>`` for a run, with ``-2`` and so on behind it if there is one already.

    Args:
        base: Is made if it is missing.
        started: The run's :attr:`Result.started`.
        scenario: Its name.
        commit: Of the checkout; empty: none.

    Raises:
        OSError: It cannot be made.
    """
    moment = re.sub(r"\.\d+|[-:]", "", started).replace("+0000", "Z")
    name = _file_name("-".join(part for part in (moment, scenario, commit) if part))
    base.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = base / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


def write(folder: Path, result: Result, comparison: Comparison | None = None) -> None:
    """Write everything that is known of a run into its folder.

    ``summary.json`` comes last: a folder that has it is complete.

    Args:
        folder: Of :func:`new_folder`, or another one.
        result: The run.
        comparison: With an earlier one.

    Raises:
        ConfigError: There is a run in the folder already.
        OSError: It cannot be written.
    """
    summary = folder / _SUMMARY
    if summary.exists():
        raise ConfigError(f"there is a run in {folder} already: choose another folder")
    moved = knee(result)
    texts = {
        "verdict.txt": table(result).lstrip("\n") + "\n",
        "report.html": page(result, moved, comparison),
        "report.md": markdown(result, moved.text, "" if comparison is None else compared_markdown(comparison)),
        "junit.xml": junit(result),
    }
    if comparison is not None:
        texts["compare.txt"] = compared_text(comparison) + "\n"
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    histograms = folder / "hist"
    histograms.mkdir(exist_ok=True)
    for name, series in result.latencies.items():
        if series.buckets:
            _free(histograms, _file_name(name), ".hgrm").write_text(hgrm(series), encoding="utf-8", newline="\n")
    (folder / _SECONDS).write_bytes(b"".join(msgspec.json.encode(second) + b"\n" for second in result.seconds))
    (folder / _DETAILS).write_bytes(_pretty(result.details))
    rest = msgspec.to_builtins(msgspec.structs.replace(result, seconds=[], details={}))
    partial = summary.with_suffix(".partial")
    partial.write_bytes(_pretty({**rest, "metrics_lines": len(result.seconds)}))
    partial.replace(summary)


def read(folder: Path) -> Result:
    """Read a run back.

    Raises:
        ConfigError: There is none, it is of another version, or something is missing; the text says what.
    """
    if not (folder / _SUMMARY).exists():
        why = "has no summary.json: its run did not end, or it is not the folder of a run"
        raise ConfigError(f"{folder} {why if folder.is_dir() else 'is no folder'}")
    summary = _read(folder / _SUMMARY)
    head = _decode(folder / _SUMMARY, summary, _Head)
    if head.schema != _SCHEMA:
        raise ConfigError(
            f"{folder / _SUMMARY} has schema {head.schema}, and this version reads {_SCHEMA}: "
            "use the version of liverpc that wrote it, or run the test again"
        )
    result = _decode(folder / _SUMMARY, summary, Result)
    lines = _read(folder / _SECONDS).splitlines()
    if len(lines) != head.metrics_lines:
        raise ConfigError(f"{folder / _SECONDS} is cut off: {len(lines)} of {head.metrics_lines} lines are there")
    seconds = [_decode(folder / f"{_SECONDS}:{number}", line, Second) for number, line in enumerate(lines, 1)]
    details = _decode(folder / _DETAILS, _read(folder / _DETAILS), dict[str, Any])
    return msgspec.structs.replace(result, seconds=seconds, details=details)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None


def _decode(path: Path, data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:  # a ValidationError is one of the first
        raise ConfigError(f"{path} is damaged or cut off: {error}") from None


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).lstrip(".")[:_NAME_MAX] or "_"


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """A path that is not taken yet."""
    names = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
    return next(path for name in names if not (path := folder / f"{name}{suffix}").exists())
