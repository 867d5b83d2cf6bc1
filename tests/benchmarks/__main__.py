"""``python -m tests.benchmarks``: measure liverpc beside its peers; ``... compare OLD NEW``: two results side by side.

See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.benchmarks.contest import run_contest, summarise
from tests.benchmarks.machine import BUILD
from tests.benchmarks.report import compare, machine, render
from tests.benchmarks.rows import CONTESTS, ROWS, Row


def main(argv: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0; 1 when a row failed; 2 for usage."""
    given = _parser().parse_args(argv)
    if given.command == "compare":
        try:
            for line in compare(given.old, given.new):
                print(line)
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    rows = [row for row in ROWS if fnmatchcase(row.name, given.rows)]
    if not rows:
        print(f"no row is called {given.rows!r}; --list shows their names", file=sys.stderr)
        return 2
    if given.list:
        for row in rows:
            print(row.name)
        return 0
    if sys.platform != "linux":
        print("measuring needs Linux: processes are pinned to cores and watched through /proc", file=sys.stderr)
        return 2
    results = measure(rows, rounds=given.rounds, seconds=given.seconds)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "rounds": given.rounds, "seconds": given.seconds, "rows": results}
    given.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(row.get("not_run", "").startswith("failed") for row in results))


def measure(rows: Sequence[Row], *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure rows, contest by contest, and print each contest's rows when they are known."""
    results = []
    for contest in CONTESTS.values():
        wanted = [row for row in rows if row.contest == contest.name]
        if not wanted:
            continue
        names = dict.fromkeys(name for row in wanted for name in (row.subject, row.against))
        samples = run_contest(contest, names, rounds=rounds, seconds=seconds, progress=_progress)
        _progress("")
        for row in wanted:
            result = summarise(row, samples)
            print(render(result), flush=True)
            results.append(result)
    return results


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _rounds(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least one round is needed")
    return value


def _seconds(text: str) -> float:
    if not 0.01 <= (value := float(text)) <= 600:
        raise argparse.ArgumentTypeError("a load takes from 0.01 to 600 seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rows", default="*", metavar="GLOB", help="measure the rows with these names only")
    parser.add_argument("--rounds", type=_rounds, default=7, help="loads per contestant, in turn (default: 7)")
    parser.add_argument("--seconds", type=_seconds, default=0.5, help="length of one load (default: 0.5)")
    parser.add_argument("--json", type=Path, default=BUILD.with_suffix(".json"), metavar="FILE", help="write here")
    parser.add_argument("--list", action="store_true", help="show the names of the rows and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    comparing = commands.add_parser("compare", help="show how the ratios changed between two result files")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    return parser


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        code = 0
    sys.exit(code)
