"""The scenario ``upload``: what users send, what must come back, and what the server must not keep."""

from __future__ import annotations

import hashlib
import resource
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import gevent
import msgspec
from locust import task

from liverpc import remote
from liverpc.config import ClientConfig
from liverpc.contrib.locust.attach import Counts
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.schedule import due_times
from liverpc.contrib.locust.uploading import LiveUpload
from liverpc.contrib.locust.users import LiveUser
from liverpc.errors import AttachError, ErrorCode, RpcError
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Operations, Scenario, Tally, drain, operation_rows
from loadtest._upload_plan import Data, Plan, UploadKnobs, plans
from loadtest._words import parse_bandwidth

__all__ = ["Upload", "UploadUser"]

_LOOK_SECONDS = 0.5
_STOP_SECONDS = 0.1  # until whoever waits for its turn sees that the run ends
_ENDS = ("stored", "cancelled", "killed", "given up at the end")
_REST_SECONDS = 0.1  # after a failure: a server that refuses everything is not asked a thousand times per second


class _Stored(msgspec.Struct):
    bytes: int
    sha256: str


_STORE = remote("files/store", returns=_Stored)


class _Look(msgspec.Struct, frozen=True):
    """What a server is like at a moment."""

    counters: dict[str, int]  #: since it started
    has: dict[str, int]  #: how much of what now

    def more_than(self, before: _Look) -> dict[str, int]:
        """What it has more than it had."""
        return {what: more for what, number in self.has.items() if (more := number - before.has.get(what, 0)) > 0}


class Upload(Scenario):
    """Users upload all the time, and calls are made meanwhile: on their connections, and on one beside them.

    Attributes:
        answer_seconds: For what is under way at the end; it is lost if nothing comes of it.
        clean_seconds: For the server to be rid of it all: longer than ``upload_grace_seconds``.
    """

    name = "upload"
    headline = "RPC load/echo bystander"
    needs = "devtools"
    Knobs = UploadKnobs
    answer_seconds: ClassVar = 5.0
    clean_seconds: ClassVar = 8.0

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.data = Data(run.options.seed)
        self.clients: list[LiveClient] = []
        self.running: set[LiveUpload] = set()
        self.ends: Counter[str] = Counter()  # how uploads ended, in words
        self.errors: Counter[str] = Counter()  # the codes of those that failed
        self.wrong = 0  # answers that do not say what was sent
        self.late = 0  # given up, and not ended by it at once
        self.begun = 0  # uploads that the server has let in
        self.ended_early = 0  # those of them that did not come to an answer of their function
        self.unclear = 0  # uploads that failed: let in or not, and by whom they were ended, only the server knows
        self.bytes = 0
        self._bandwidth = parse_bandwidth(self.knobs.bandwidth) / run.plan.processes
        self._due = 0.0  # when the next bytes may be sent
        self._settled_at = 0.0  # seconds after the start: nothing is sent any more
        self._bystander: LiveClient | None = None  # in the leading process
        self._beside = Operations(run, "load/echo", "bystander", name="load/echo bystander")
        self._among = Operations(run, "load/echo", "uploading", name="load/echo uploading")
        self._before: _Look  # the run
        self._buffered = 0
        self._memory = 0
        run.spawn(self._call_among)

    # -- for users

    def pace(self, size: int) -> None:
        """Wait until so many more bytes may be sent, or the run ends; what was not sent in time is not made up for."""
        now = time.perf_counter()
        due = self._due = max(self._due, now) + size / self._bandwidth
        while due > (now := time.perf_counter()) and not self.run.stopping:
            gevent.sleep(min(due - now, _STOP_SECONDS))

    def answered(self, stored: _Stored, sent: int, digest: str) -> None:
        """The server says what it got."""
        right = (stored.bytes, stored.sha256) == (sent, digest)
        self.wrong += not right
        self.ends["stored"] += 1
        self.begun += 1

    def gave_up(self, sending: LiveUpload, why: str) -> None:
        """Cancel it; ``why`` says under which name it counts."""
        sending.cancel()
        outcome = sending.upload.outcome
        self.late += not isinstance(outcome, RpcError) or outcome.code != ErrorCode.CANCELLED
        self._ended_early(sending, why)

    def killed(self, sending: LiveUpload) -> None:
        """Its connection is about to be cut."""
        self._ended_early(sending, "killed")

    def _ended_early(self, sending: LiveUpload, why: str) -> None:
        self.ends[why] += 1
        self.begun += sending.upload.sent > 0
        self.ended_early += sending.upload.sent > 0

    def failed(self, error: RpcError) -> None:
        """It ended as it should not, or could not even begin."""
        self.ends["failed"] += 1
        self.errors[error.code] += 1

    # -- the run

    def begin(self) -> None:
        self._bystander = LiveClient(self.run.url)
        self._bystander.open()
        try:
            with gevent.Timeout(self.answer_seconds):
                self._bystander.upload(_STORE, b"x", "load test")
        except RpcError as error:
            raise RpcError(error.code, f"the server does not answer {_STORE.path}: {error}") from None
        except gevent.Timeout:
            raise RpcError(ErrorCode.TIMEOUT, f"the server does not answer {_STORE.path}") from None
        self._before = self._look()

    def lead(self) -> None:
        self.run.spawn(self._watch)
        assert self._bystander is not None
        self._call(self._beside, [self._bystander], self.run.options.rate / 2)

    def _call_among(self) -> None:
        self.run.begun.wait()
        self._due = time.perf_counter()
        if self.clients:
            self._call(self._among, self.clients, self.run.options.rate / 2 / self.run.plan.processes)

    def _call(self, calls: Operations, clients: Sequence[LiveClient], rate: float) -> None:
        run, options = self.run, self.run.options
        value = "x" * options.size
        for number, due in enumerate(run.when_due(due_times(rate, run.start, options.random_arrivals))):
            calls.send(clients[number % len(clients)], due, value)

    def _watch(self) -> None:
        with suppress(AttachError):  # counting says so
            while not self.run.stopping:
                self._look()
                gevent.sleep(_LOOK_SECONDS)

    def _look(self) -> _Look:
        """What the server is like now.

        Raises:
            AttachError: It does not say, or says nothing of uploads.
        """
        attachment: Any = self.run.lead.attachment
        counts: Counts = attachment.counts()
        if counts.uploads is None:
            raise AttachError("refused", "the devtools say nothing of uploads: the token is for some topics only")
        has = {"uploads": counts.uploads.running, "bytes": counts.uploads.buffered, "connections": counts.connections}
        self._buffered = max(self._buffered, counts.uploads.buffered)
        process = Path(f"/proc/{self.run.lead.server_pid}")
        with suppress(OSError):  # it is none of this machine, or no longer there
            pages = int((process / "statm").read_text().split()[1])
            self._memory = max(self._memory, pages * resource.getpagesize())
            has["file descriptors"] = sum(1 for _ in (process / "fd").iterdir())
        return _Look(counts.counters, has)

    def settle(self) -> dict[str, int]:
        drain(lambda: not self.running and not self._beside.pending and not self._among.pending, self.answer_seconds)
        self._settled_at = time.perf_counter() - self.run.start
        return {}

    def count(self, published: object) -> Tally:
        counts = {end: float(self.ends[end]) for end in (*_ENDS, "failed")}
        counts |= {"lost": len(self.running), "wrong": self.wrong, "late": self.late, "bytes": self.bytes}
        counts |= {"begun": self.begun, "ended_early": self.ended_early, "unclear": self.unclear}
        errors = [[code, number] for code, number in self.errors.items()]
        tally = Tally(counts=counts, peaks={"settled_at": self._settled_at}, lists={"errors": errors})
        for calls in (self._beside, self._among):
            tally.add(calls.tally())
        return tally

    def rows(self, tally: Tally) -> list[Row]:
        stored, failed, lost = (tally.count(name) for name in ("stored", "failed", "lost"))
        if not stored and not lost and not failed:
            self.run.broken("no upload came to its end: use smaller ones or a longer run")
        errors: Counter[str] = Counter()
        for code, number in tally.lists["errors"]:
            errors[code] += number
        self.run.lead.details["upload_errors"] = dict(errors)
        rate = self.run.options.rate / 2
        seconds = max(tally.peaks["settled_at"], 1e-9)
        why = ", ".join(f"{number} {code}" for code, number in errors.items())
        rows = [
            told("connections", "connections", self.run.users),
            told("wanted_mb_per_s", "MB/s wanted", self.knobs.bandwidth),
            told("mb_per_s", "MB/s done", tally.count("bytes") / seconds / 1e6, better="more", digits=1),
            *(told(end.split()[0], f"uploads: {end}", int(tally.count(end))) for end in _ENDS),
            must("failed", "uploads: failed", int(failed), 0, why),
            must("lost", "uploads: lost", int(lost), 0, f"nothing came of them within {self.answer_seconds:g} s"),
            must("wrong", "uploads: stored wrong", tally.count("wrong"), 0, "another size or checksum than was sent"),
            must("late", "uploads: cancelled, and not at once", tally.count("late"), 0),
            *operation_rows(tally, "bystander", "calls, bystander", rate),
            *operation_rows(tally, "uploading", "calls, uploading", rate),
        ]
        try:
            rows += self._inside(tally)
        except AttachError as error:
            rows.append(must("looked_at", "server: can be looked at", f"no: {error}", "yes"))
        return rows

    def close(self) -> None:
        if self._bystander is not None:
            self._bystander.close()

    def _inside(self, tally: Tally) -> list[Row]:
        """Whether the server counted the same, and what it still has."""
        until = time.perf_counter() + self.clean_seconds
        while (left := (now := self._look()).more_than(self._before)) and time.perf_counter() < until:
            gevent.sleep(0.1)
        begun, ended = (
            now.counters[name] - self._before.counters[name] for name in ("uploads_started", "uploads_aborted")
        )
        unclear = int(tally.count("unclear") + tally.count("lost"))
        memory = [told("memory_mb", "server: most memory", self._memory / 1e6, "MB", digits=0)] if self._memory else []
        return [
            _counted("server_begun", "server: uploads begun", begun, int(tally.count("begun")), unclear),
            _counted("server_early", "server: uploads ended early", ended, int(tally.count("ended_early")), unclear),
            *(
                _counted(f"{what.replace(' ', '_')}_left", f"server: {what} left over", left.get(what, 0))
                for what in now.has
            ),
            told("waiting_bytes", "server: most bytes waiting at once", self._buffered),
            *memory,
        ]


def _counted(key: str, metric: str, value: int, sure: int = 0, unclear: int = 0) -> Row:
    """What the server counted must be ``sure``, or more by some of those that are ``unclear``, and failures already."""
    wanted = min(max(value, sure), sure + unclear)
    return must(key, metric, value, wanted, "or others are at it, too" if value > wanted else "")


class UploadUser(LiveUser):
    """Uploads one file after the other."""

    wait_time = FOREVER
    scenario: ClassVar[type[Scenario]] = Upload

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        self.number = run.next_user()
        run.scenario.clients.append(self.client)
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def uploads(self) -> None:
        run = run_of(self.environment)
        run.begun.wait()
        lanes = [gevent.spawn(self._uploads, run, lane) for lane in range(run.scenario.knobs.uploads_per_user)]
        try:
            gevent.joinall(lanes, raise_error=True)
        finally:
            gevent.killall(lanes)

    def _uploads(self, run: Run, lane: int) -> None:
        scenario: Upload = run.scenario
        for plan in plans(scenario.knobs, run.options.seed, self.number, lane):
            if run.stopping:
                return
            try:
                if plan.fate == "killed":
                    self._upload_elsewhere(run, plan)
                else:
                    self._upload(run, plan, self.client)
            except RpcError as error:
                scenario.failed(error)
                gevent.sleep(_REST_SECONDS)

    def _upload_elsewhere(self, run: Run, plan: Plan) -> None:
        options = self.connect_options()
        client = LiveClient(
            options.url,
            headers=options.headers,
            tls=options.tls,
            config=ClientConfig(max_attempts=1),
            on_attempt=self.on_attempt,
        )
        try:
            client.open()
            self._upload(run, plan, client)
        finally:
            client.abort(reset=plan.reset)

    def _upload(self, run: Run, plan: Plan, client: LiveClient) -> None:
        """One upload to its planned end.

        Raises:
            RpcError: It had another one.
        """
        scenario: Upload = run.scenario
        size, name = plan.size.bytes, plan.size.name
        digest = hashlib.sha256()
        began = time.perf_counter()
        sending = client.begin_upload(_STORE, f"load test {name}", size=size)
        upload = sending.upload
        scenario.running.add(sending)
        try:
            put, goal = 0, size if plan.fate == "whole" else plan.midway
            for piece in scenario.data.pieces(plan.start, goal):
                scenario.pace(len(piece))
                if run.stopping:
                    break
                digest.update(piece)
                put += len(piece)
                if not sending.send(piece, last=put == size):
                    break  # its answer came early, which is no good one
                if put == len(piece) and goal < size:
                    self._seen(client, sending)
            whole = time.perf_counter()
            if put < goal:
                self._seen(client, sending)
            if put == size or upload.done:
                scenario.answered(sending.result(), put, digest.hexdigest())
                self.recorder.add("UP", f"{name} total", time.perf_counter() - began, size)
                self.recorder.add("UP", f"{name} ack", time.perf_counter() - whole, part=True)
            elif put < goal:
                scenario.gave_up(sending, "given up at the end")
            elif plan.fate == "killed":
                scenario.killed(sending)
            else:
                scenario.gave_up(sending, "cancelled")
        except RpcError as error:
            scenario.unclear += upload.sent > 0
            self.recorder.fail("UP", f"{name} total", time.perf_counter() - began, error.code)
            raise
        finally:
            scenario.running.discard(sending)
            scenario.bytes += upload.sent

    def _seen(self, client: LiveClient, sending: LiveUpload) -> None:
        """Wait until the server has let it in or refused it, if there is anything of it to see."""
        upload = sending.upload
        drain(lambda: upload.sent > 0 or upload.done or not upload.unsent)
        if upload.sent:
            client.call("load/echo", 1)  # once it is answered, so are refusals before it
