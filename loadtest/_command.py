"""``python -m loadtest run | compare | calibrate | options``: whole series of runs, which Locust does one at a time."""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from liverpc.errors import ConfigError
from loadtest._cli import add_options
from loadtest._compare import compare, compared_text, summarise
from loadtest._folder import read, write
from loadtest._gate import ABORTED, BROKEN, FAILED, INVALID, PASS
from loadtest._profile import OptionError, Options, Profile, read_profile
from loadtest._report import grid, table
from loadtest._result import Result

__all__ = ["main"]

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_IN = "everything about it is in "  # Locust's last line
_USAGE = 2
_WORST = (BROKEN, _USAGE, FAILED, INVALID, ABORTED, PASS)  # from the worst exit code to the best


def main(argv: Sequence[str] | None = None) -> int:
    """Do it, and return the exit code: that of the worst run; 2 for what makes no sense."""
    words = sys.argv[1:] if argv is None else list(argv)
    # Scenarios come first, for behind an option that goes to Locust a word may be its value.
    named = list(itertools.takewhile(lambda word: not word.startswith("-"), words[1:]))
    if words[:1] in (["run"], ["calibrate"]):
        del words[1 : 1 + len(named)]
    given, extra = _parser().parse_known_args(words)
    given.scenarios = named
    if extra and given.command in ("compare", "options"):
        _parser().error(f"unrecognized arguments: {' '.join(extra)}")
    try:
        code: int = given.do(given, extra)
    except OptionError as error:
        return _complain(str(error), _USAGE)
    except (ConfigError, OSError) as error:
        return _complain(str(error), BROKEN)
    except KeyboardInterrupt:
        return _complain("interrupted", BROKEN)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description="Series of load tests; one is `locust -f loadtest --scenario …`."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        usage="%(prog)s [SCENARIO ...] [options] [options of Locust]",
        help="run scenarios, and report each into a folder",
        description="Run scenarios (default: all that the profile has) one after the other, each against a demo of "
        "its own unless --host names a server. "
        "Further options go to Locust, such as -u 100 --rate 500; they win over the profile.",
    )
    run.add_argument("--host", metavar="URL", help="of the server; default: a demo is started for each run")
    run.add_argument("--repeat", type=int, metavar="N", help="of each scenario; default: the profile's, or 1")
    run.add_argument(
        "--against", type=_folders, metavar="FOLDER,...", help="earlier runs of the same scenario, to compare with"
    )
    run.set_defaults(do=_run)
    calibrate = commands.add_parser(
        "calibrate",
        usage="%(prog)s SCENARIO [...] [options] [options of Locust]",
        help="measure scenarios against a server that does nothing",
        description="What is measured then is the load generator, the kernel and the network. Later runs with the same "
        "options and the same --runs on this machine show it as their floor. Further options go to Locust.",
    )
    calibrate.set_defaults(do=_calibrate)
    for each in (run, calibrate):
        each.add_argument("--profile", metavar="NAME", help="of loadtest/profiles, or a .toml file")
        each.add_argument(
            "--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="of all runs (default: %(default)s)"
        )
    options = commands.add_parser(
        "options",
        help="print the options of a scenario, or of all",
        description="Those that the load tests add to Locust's; `locust --help` prints Locust's own.",
    )
    options.add_argument("scenario", nargs="?", metavar="SCENARIO", help="default: all")
    options.set_defaults(do=_options)
    comparing = commands.add_parser(
        "compare",
        help="compare runs",
        description="Exit code 0: no worse; 3: worse; 2: they are not comparable.",
    )
    comparing.add_argument("old", type=_folders, metavar="OLD", help="folder of a run; of repeats: with commas between")
    comparing.add_argument("new", type=_folders, metavar="NEW", help="likewise")
    comparing.add_argument("--force", action="store_true", help="also when options or machines differ")
    comparing.set_defaults(do=_compare)
    return parser


def _folders(text: str) -> list[Path]:
    return [Path(each) for each in text.split(",") if each]


def _run(given: argparse.Namespace, extra: list[str]) -> int:
    profile = read_profile(given.profile) if given.profile else Profile()
    scenarios = given.scenarios or list(profile.scenarios)
    if not scenarios:
        raise OptionError("nothing to run: name scenarios, or a --profile that has some")
    repeat = profile.meta.repeat if given.repeat is None else given.repeat
    if repeat < 1:
        raise OptionError(f"--repeat {repeat}: at least 1")
    lines = [("scenario", "p50 ms", "p99 ms", "verdict", "folder")]
    codes = []
    server = ["--host", given.host] if given.host else ["--serve"]
    arguments = [*server, *_arguments(given, profile), *extra]
    pool = ThreadPoolExecutor(profile.meta.jobs)
    try:
        for scenario, runs in zip(
            scenarios, pool.map(lambda name: _runs(name, arguments, given.runs, repeat), scenarios), strict=True
        ):
            results = [result for _, result in runs if isinstance(result, Result)]
            folders = [folder for folder, _ in runs if folder is not None]
            for result in results:
                print(f"{table(result)}\n", end="", flush=True)
            if len(results) < repeat:
                codes.append(_USAGE if runs[-1][1] == _USAGE else BROKEN)
                lines.append((scenario, "", "", "ERROR: it could not be run, see above", ""))
                continue
            code, summary = _judged(results, folders, given.against)
            codes.append(code)
            figures = {row.key: row.value.removesuffix(" ms") for row in summary.rows}
            lines.append(
                (scenario, figures.get("p50_ms", ""), figures.get("p99_ms", ""), summary.verdict, str(folders[-1]))
            )
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, which the runs got, too, and end in their time
    print(f"\n{grid(lines)}")
    return min(codes, key=_WORST.index)


def _arguments(given: argparse.Namespace, profile: Profile) -> list[str]:
    """What follows from the profile, for Locust."""
    meta = profile.meta
    return [
        *(["--profile", given.profile] if given.profile else ["-t", "30s"]),
        *(["--processes", str(meta.processes)] if meta.processes > 1 else []),
        *(["--pin"] if meta.pin else []),
    ]


def _runs(scenario: str, arguments: Sequence[str], runs: Path, repeat: int) -> list[tuple[Path | None, Result | int]]:
    """Runs of a scenario, one after the other, until one comes to no result; that has said why."""
    done: list[tuple[Path | None, Result | int]] = []
    while len(done) < repeat and (not done or done[-1][0] is not None):
        print(f"{scenario}{f' ({len(done) + 1} of {repeat})' if repeat > 1 else ''} …\n", end="", flush=True)
        done.append(_one(scenario, arguments, runs))
    return done


def _one(scenario: str, arguments: Sequence[str], runs: Path) -> tuple[Path | None, Result | int]:
    """One run in a process of its own: its folder and result, or None and its exit code."""
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--loglevel", "WARNING", "--scenario", scenario, "--run-dir", str(runs), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - ours
    folder = next((line.removeprefix(_IN) for line in done.stdout.splitlines() if line.startswith(_IN)), None)
    return (None, done.returncode) if folder is None else (Path(folder), read(Path(folder)))


def _judged(results: list[Result], folders: list[Path], against: list[Path] | None) -> tuple[int, Result]:
    """The exit code of a run, or of repeats of it, and all of them as one."""
    summary = summarise(results)
    if len(results) > 1:
        folder = folders[-1].with_name(f"{folders[-1].name}-summary")
        folder.mkdir()
        write(folder, summary)
        print(table(summary))
    if against is None:
        return summary.exit_code, summary
    comparison = compare([read(each) for each in against], results)
    text = compared_text(comparison)
    print(text)
    (folders[-1] / "compare.txt").write_text(text + "\n", encoding="utf-8")
    return min((summary.exit_code, comparison.exit_code), key=_WORST.index), summary


def _compare(given: argparse.Namespace, extra: list[str]) -> int:
    comparison = compare([read(each) for each in given.old], [read(each) for each in given.new], force=given.force)
    print(compared_text(comparison))
    return comparison.exit_code


def _options(given: argparse.Namespace, extra: list[str]) -> int:
    from loadtest.locustfile import USERS  # imports gevent

    scenarios = {user.scenario.name: user.scenario for user in USERS}
    if given.scenario not in (None, *scenarios):
        raise OptionError(f"there is no scenario {given.scenario}: choose one of {', '.join(scenarios)}")
    chosen = {given.scenario: scenarios[given.scenario]} if given.scenario else scenarios
    parser = argparse.ArgumentParser(usage="locust -f loadtest [options of Locust] [options]", add_help=False)
    if given.scenario:
        of = msgspec.structs.replace(Options(), **chosen[given.scenario].defaults)
        parser.description = f"By default, {given.scenario} has -u {of.users} -r {of.spawn_rate:g} --rate {of.rate:g}."
    add_options(parser, {name: each.Knobs for name, each in chosen.items()})
    print(parser.format_help(), end="")
    return PASS


def _calibrate(given: argparse.Namespace, extra: list[str]) -> int:
    if not given.scenarios:
        raise OptionError("nothing to calibrate: name scenarios, such as rpc or fanout")
    from loadtest._calibrate import calibrate  # imports gevent
    from loadtest._cores import split

    profile = read_profile(given.profile) if given.profile else Profile()
    cores = split() if profile.meta.pin else None
    for scenario in given.scenarios:
        print(f"{scenario} …", flush=True)
        result = calibrate(scenario, [*_arguments(given, profile), *extra], runs=given.runs, cores=cores)
        print(table(result), flush=True)
    return PASS


def _complain(sentence: str, code: int) -> int:
    print(f"loadtest: {sentence}", file=sys.stderr)
    return code
