"""What ``abuse`` and ``slow_consumer`` share: healthy users, of whose life others must not be able to take anything."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Annotated

import msgspec
import psutil  # type: ignore[import-untyped]  # it has no types

from liverpc.config import Limits
from liverpc.contrib.locust.attach import Counts
from liverpc.errors import AttachError
from loadtest._fanout import Fanout
from loadtest._gate import must
from loadtest._phases import memory_rows, phases_of
from loadtest._result import Row
from loadtest._run import Run
from loadtest._scenario import drain

__all__ = ["Disturbed", "Quiet"]

_CLEAN_SECONDS = 10.0  # for the server to be rid of who is gone; more than its ``close_seconds``

Quiet = Annotated[
    float, msgspec.Meta(description="seconds before the disturbance and after it, at most a third of the run", gt=0)
]


class Disturbed(Fanout):
    """Publishes and their account as in ``fanout``, and the latencies by phase.

    Attributes:
        phases: Of this run.
        limits: The server's, too, wherever it has the same environment.
    """

    needs = "devtools"
    topic = ""  # a fault that drops publishes has nothing to do here

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.channel = f"{self.name.replace('_', '-')}-{run.plan.id}"
        self.phases = phases_of(run.options, self.knobs.quiet)
        self.limits = Limits.from_env()
        self._before: Counts
        self._memory: int | None = None  # of the server before

    def part(self, at: float) -> str:
        return self.phases.of(at)

    def begin(self) -> None:
        super().begin()
        drain(lambda: self.now().connections <= self.run.users + 1)  # whoever tried the server out is on its way out
        self._before = self.now()
        self._memory = self._look()

    def left_over(self, gone: int = 0) -> list[Row]:
        """Whether the server has no more connections than at the beginning, less the ``gone``."""
        try:
            wanted = self._before.connections - gone
            drain(lambda: self.now().connections <= wanted, _CLEAN_SECONDS)
            more = max(0, self.now().connections - wanted)
        except AttachError as error:
            return [must("server_looked_at", "server: can be looked at", f"no: {error}", "yes")]
        return [must("connections_left", "server: connections left over", more, 0)]

    def memory(self) -> list[Row]:
        """How much the server took for the disturbance, where its process can be looked at."""
        each_second = [(each.at, each.server.rss_bytes) for each in self.run.lead.seconds if each.server]
        looks = [(-math.inf, self._memory), *each_second, (math.inf, self._look())]
        return memory_rows(((at, rss) for at, rss in looks if rss is not None), self.phases)

    def _look(self) -> int | None:
        pid = self.run.lead.server_pid
        with suppress(psutil.Error):  # it is gone, or none of this user's
            return None if pid is None else int(psutil.Process(pid).memory_info().rss)
        return None

    def counted(self, counter: str) -> int:
        """How much more the server has counted than at the beginning; raises as :meth:`now`."""
        return self.now().counters.get(counter, 0) - self._before.counters.get(counter, 0)

    def now(self) -> Counts:
        """What the server counted by now.

        Raises:
            AttachError: It does not say.
        """
        counts: Counts = self.run.lead.attachment.counts()
        return counts
