"""Runs contests: every contestant once per round, so that a drift of the machine falls on all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from os import fstat
from typing import Any, TypeAlias

from tests.benchmarks.machine import (
    CLIENT_CORE,
    LoadFailed,
    NotRun,
    Server,
    client,
    ensure_files,
    idle_kb,
    on_core,
    run_load,
)
from tests.benchmarks.rows import Contest, Contestant, Row, Servant

__all__ = ["Samples", "run_contest", "summarise"]

#: By contestant one sample per round, or why there is none.
Sample: TypeAlias = dict[str, float]
Samples: TypeAlias = dict[str, "list[Sample] | str"]

CLIENT_BUSY, SERVER_IDLE = 0.9, 0.95
#: Rounds in which a server waited longer for its core are left out, as long as so many are left.
WAITED, ENOUGH = 0.06, 3


def run_contest(
    contest: Contest, names: Iterable[str], *, rounds: int, seconds: float, progress: Callable[[str], None]
) -> Samples:
    """Measure the named contestants of a contest, ``rounds`` times in turn.

    One that cannot run, or fails, is left out of the rounds that follow and says why.
    """
    samples: Samples = {}
    with ExitStack() as stack:
        running: dict[Servant, Server] = {}
        for name in names:
            contestant = contest.contestants[name]
            try:
                ensure_files(contest.files)
                if contestant.mode != "inside":
                    client()
                if contestant.mode != "memory" and contestant.servant not in running:
                    running[contestant.servant] = stack.enter_context(Server(contestant.servant.command()))
                samples[name] = []
            except NotRun as why:
                samples[name] = f"not run: {why}"
            except LoadFailed as why:
                samples[name] = f"failed: {why}"
        for number in range(rounds):
            # Every other round backwards: nobody always follows the same neighbour.
            for name in list(samples)[:: -1 if number % 2 else 1]:
                taken = samples[name]
                if isinstance(taken, str):
                    continue
                progress(f"{contest.name} round {number + 1}/{rounds}: {name}")
                contestant = contest.contestants[name]
                try:
                    taken.append(_measure(contestant, running.get(contestant.servant), seconds * contest.stretch))
                except LoadFailed as why:
                    samples[name] = f"failed: {why}"
    return samples


def _measure(contestant: Contestant, server: Server | None, seconds: float) -> Sample:
    servant = contestant.servant
    options = [f"path={servant.path}", *servant.opening, *contestant.options]
    if server is None:
        with Server(servant.command()) as fresh:
            return {"kb": idle_kb(fresh, options)}
    if contestant.mode == "inside":
        return server.ask(" ".join((*contestant.options, str(seconds))), 60 + 10 * seconds)
    with nullcontext() if contestant.beside is None else _beside(server, contestant.beside):
        sample = run_load(server, contestant.mode, options, seconds)
    server.settle()
    return sample


@contextmanager
def _beside(server: Server, program: Sequence[str]) -> Iterator[None]:
    """Another program that has to do with a server, on the load client's core."""
    command = [sys.executable, "-m", *(part.format_map(server.about) for part in program)]
    with tempfile.TemporaryFile() as printed:
        with on_core(CLIENT_CORE):
            running = subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 10
            while fstat(printed.fileno()).st_size == 0:
                if running.poll() is not None or time.monotonic() > end:
                    raise LoadFailed(f"{' '.join(program)} did not get to work")
                time.sleep(0.02)
            yield
            if running.poll() is not None:
                raise LoadFailed(f"{' '.join(program)} ended")
        finally:
            running.terminate()
            running.wait()


def summarise(row: Row, samples: Samples) -> dict[str, Any]:
    """What a row says: the median of the same-round ratios, the medians of both sides, and what to make of it.

    Returns:
        A JSON object. With ``not_run`` there is nothing else to it than the row's name and goals. ``cpu_ratio``
        compares processor time per operation the same way as ``ratio`` compares rates: above 1 the subject needs
        less. ``client_bound`` names the sides whose load client was busy while their server was not. ``rounds`` are
        those the figures are made of, ``contended`` says that other programs took the servers' core in most.
    """
    about: dict[str, Any] = {
        "name": row.name,
        "metric": row.metric,
        "higher_is_better": row.higher_is_better,
        "must": row.must,
        "target": row.target,
    }
    subject, peer = samples[row.subject], samples[row.against]
    for side in (subject, peer):
        if isinstance(side, str):
            return {**about, "not_run": side}
    assert not isinstance(subject, str)
    assert not isinstance(peer, str)
    pairs = list(zip(subject, peer, strict=True))
    calm = [pair for pair in pairs if max(side.get("waited", 0.0) for side in pair) <= WAITED]
    about["contended"] = len(calm) < min(ENOUGH, len(pairs))
    if not about["contended"]:
        pairs = calm
    about["rounds"] = len(pairs)
    ratios = [ours[row.metric] / (theirs[row.metric] * row.scale) for ours, theirs in pairs]
    about["ratio"] = statistics.median(ratios)
    about["ratios"] = ratios
    if "cpu_us" in subject[0] and "cpu_us" in peer[0]:
        about["cpu_ratio"] = statistics.median(theirs["cpu_us"] / ours["cpu_us"] for ours, theirs in pairs)
    about["subject"], about["peer"] = (_medians(side) for side in zip(*pairs, strict=True))
    about["client_bound"] = [
        name
        for name, side in ((row.subject, about["subject"]), (row.against, about["peer"]))
        if side.get("client_busy", 0.0) > CLIENT_BUSY and side["server_busy"] < SERVER_IDLE
    ]
    return about


def _medians(samples: Sequence[Sample]) -> Sample:
    return {field: statistics.median(sample[field] for sample in samples) for field in samples[0]}
