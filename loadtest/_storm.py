"""The scenario ``reconnect_storm``: everybody loses the connection at once, and comes back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import gevent
from msgspec import Meta

from liverpc.errors import ConfigError
from loadtest._gate import must, told
from loadtest._readers import Appender, ClientKnobs, Readers, ReaderUser, audit_rows, server_rows
from loadtest._recovery import outages
from loadtest._result import Row
from loadtest._run import Run
from loadtest._scenario import Scenario, StayingUser, Tally, drain

__all__ = ["ReconnectStorm", "ReconnectStormUser"]

_PATIENCE = 120.0  # seconds for all to come back, besides those offline
_LOOK_SECONDS = 0.2
_WHY = "more may have been appended meanwhile than the server keeps, which is replay_events"


class StormKnobs(ClientKnobs, frozen=True):
    """The options of the scenario."""

    cut: Annotated[
        Literal["sockets", "server", "restart", "none"],
        Meta(
            description="what ends the connections: the network, kill -9 of the server, its restart, or nothing; "
            "the server needs --serve"
        ),
    ] = "sockets"
    offline: Annotated[
        float, Meta(ge=0, description="seconds without network, or without server between its end and its start")
    ] = 0.0
    storms: Annotated[int, Meta(ge=1, description="how many, one after the other")] = 1
    calm: Annotated[float, Meta(ge=0, description="seconds before each storm, and after the last one")] = 2.0


class ReconnectStorm(Scenario):
    """One log that is appended to all the time, and everybody else subscribed to it; then storms."""

    name = "reconnect_storm"
    headline = "RC reconnect"
    defaults: ClassVar[Mapping[str, Any]] = {"users": 200, "rate": 10.0}
    Knobs = StormKnobs
    expects_lost_connections = True
    settle_seconds = 45.0

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.readers = Readers(run, self.knobs)
        self._appender = Appender(run, self.readers.name)
        self._cuts: list[float] = []  # when, on the leading process's clock
        self._loads = 0  # before the storms
        self._cutting = False

    # -- in the leading process

    @property
    def _ends_server(self) -> bool:
        return self.knobs.cut in ("server", "restart")

    def begin(self) -> None:
        if self._ends_server and self.run.lead.server is None:
            raise ConfigError(f"--cut {self.knobs.cut} ends the server: let the run start one with --serve")
        self._appender.open()
        self._loads = self._appender.loads()
        self.run.spawn(self._append)

    def _append(self) -> None:
        self._appender.work(self.run.options.rate)

    def lead(self) -> None:
        if self.knobs.cut == "none":
            return
        for _ in range(self.knobs.storms):
            if not self.run.pause(self.knobs.calm):
                return
            self._cutting = True
            self._cut()
            self._cutting = False
            self._wait()
        if self.run.pause(self.knobs.calm):
            self.run.lead.finish()

    def _cut(self) -> None:
        lead, knobs = self.run.lead, self.knobs
        self._cuts.append(time.perf_counter())
        if knobs.cut == "sockets":
            lead.say("all sockets cut")
            lead.order("outage", knobs.offline)
            return
        lead.order("outage")
        if knobs.cut == "server":
            lead.say("server killed")
            lead.server.kill()
        else:
            lead.say("server terminated")
            lead.server.terminate()
        gevent.sleep(knobs.offline)
        lead.server.start()
        lead.say("server started")

    def _wait(self) -> None:
        """Until everybody is back."""
        wanted = self.run.users * len(self._cuts)
        until = time.perf_counter() + self.knobs.offline + _PATIENCE
        while sum(self.run.lead.order("back")) < wanted:
            if time.perf_counter() > until or not self.run.pause(_LOOK_SECONDS):
                return
        self.run.lead.say("all are back")

    def rows(self, tally: Tally) -> list[Row]:
        lead, users = self.run.lead, self.run.users
        storms = outages(self._cuts, tally.lists["back"], users)
        rows = [told("storms", "storms", len(storms))]
        if storms:
            worst = max(storms, key=lambda each: each.recovered(1.0))
            lead.details["recovery"] = worst.curve()
            rows += [
                told(
                    f"recovered_{percent}_s",
                    f"{percent} % were live again after",
                    max(each.recovered(percent / 100) for each in storms),
                    "s",
                    better="less",
                )
                for percent in (50, 95, 100)
            ]
            rows.append(
                must("not_back", "readers that did not come back", users * len(storms) - tally.count("back"), 0)
            )
        elif self.knobs.cut != "none":
            self.run.broken("the run ended before the first storm")
        return [
            *rows,
            must(
                "resets_other",
                f"readers with other than {self._resets} resets",
                tally.count("resets_other"),
                0,
                "" if self._ends_server else _WHY,
            ),
            *audit_rows(tally, loads_before=0 if self._ends_server else self._loads),
            *self._appender.rows(server_ends=self._ends_server),
            *server_rows(self.run),
        ]

    # -- in every process

    @property
    def _resets(self) -> int:
        """Of each reader: a server that ended has forgotten what was missed, no other has."""
        return len(self._cuts) if self._ends_server else 0

    def settle(self) -> Mapping[str, int]:
        drain(lambda: not self._appender.pending and not self._cutting, self.settle_seconds)
        return {"resets": self._resets}

    def count(self, published: Mapping[str, int]) -> Tally:
        return self.readers.tally(resets=published["resets"])

    def close(self) -> None:
        self._appender.close()


class ReconnectStormUser(ReaderUser, StayingUser):
    """Subscribes, and accounts for everything through all its connections."""

    scenario: ClassVar[type[Scenario]] = ReconnectStorm
