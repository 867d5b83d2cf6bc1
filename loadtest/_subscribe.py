"""The scenario ``subscribe``: streams with many rows, subscribed to anew all the time, and by everybody at once."""

from __future__ import annotations

import time
import zlib
from typing import Annotated, Any, ClassVar

import gevent
import msgspec
from locust import task

from liverpc.client.subscription import Subscription
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.users import LiveUser
from liverpc.errors import RpcError
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Scenario, Tally, drain, rate_rows

__all__ = ["Subscribe", "SubscribeKnobs", "SubscribeUser"]

_PATH = "load/rows"
_HERDS = 3
_HERD_SECONDS = 30.0
_RELOAD_SECONDS = 5.0


class SubscribeKnobs(msgspec.Struct, frozen=True):
    """The options of the scenario."""

    rows: Annotated[int, msgspec.Meta(description="of the stream's value", ge=0, le=10_000)] = 100


class _Seen:
    """Follows one subscription: how many whole values it got, and whether they were right."""

    def __init__(self, scenario: Subscribe) -> None:
        self._scenario = scenario
        self.values = 0
        self.bytes = 0

    def whole(self, value: Any, /) -> None:
        self.values += 1
        data = msgspec.json.encode(value)
        self.bytes = len(data)
        self._scenario.wrong += (len(value), zlib.crc32(data)) != self._scenario.right

    def missed(self, data: list[Any], /) -> None:
        pass

    def event(self, data: Any, /) -> None:
        pass


class Subscribe(Scenario):
    """Each user subscribes on schedule, waits for the first value, and leaves.

    At the end all users subscribe to one new topic at once, and then its value is loaded anew for all of them.

    Attributes:
        right: Number of rows and checksum of the value.
        wrong: Values that were something else, or did not come with the answer.
    """

    name = "subscribe"
    headline = "SUB load/rows"
    defaults: ClassVar = {"rate": 20.0}
    Knobs = SubscribeKnobs
    settle_seconds = 100.0

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.right = (0, 0)
        self.wrong = 0
        self.clients: list[LiveClient] = []
        self._herd: list[tuple[LiveClient, Subscription, _Seen]] = []
        self._started = 0
        self._failed = 0
        self._pending = 0
        self._bytes = 0  # of the largest first value
        self._last = 0.0
        self._loads = [0, 0]  # in the leading process: of cold topics, and when they were loaded anew
        self._missed = 0  # likewise: subscribers who did not get the value that was loaded anew
        run.on_order("right", self._is_right)
        run.on_order("herd", self._gather)
        run.on_order("reloaded", self._reloaded)
        run.on_order("leave", self._leave)

    # -- for users

    def start(self, client: LiveClient, due: float, number: int) -> None:
        """Subscribe to a topic of its own, in a greenlet of its own; the time counts from ``due``."""
        self._started += 1
        self._pending += 1
        self._last = time.perf_counter() - self.run.start

        def once() -> None:
            found = self._subscribe(client, _PATH, due, f"cold-{self.run.plan.id}", number)
            self._pending -= 1
            if found is not None:
                client.unsubscribe(found[1])

        self.run.spawn(once)

    def _subscribe(
        self, client: LiveClient, series: str, due: float, name: str, number: int
    ) -> tuple[LiveClient, Subscription, _Seen] | None:
        """Subscribe, and wait for the first value; None: it failed."""
        seen, add, began = _Seen(self), self.run.recorder.add, time.perf_counter()
        try:
            subscription = client.subscribe(_PATH, name, number, self.knobs.rows, observer=seen)
        except RpcError as error:
            self._failed += 1
            self.run.recorder.fail("SUB", series, time.perf_counter() - due, error.code)
            return None
        now = time.perf_counter()
        self.wrong += not seen.values
        self._bytes = max(self._bytes, seen.bytes)
        add("SUB", series, now - due, seen.bytes)
        add("SUB", f"{series} from send", now - began, part=True)
        return client, subscription, seen

    # -- all at once, on order of the leading process

    def _is_right(self, right: Any) -> None:
        self.right = tuple(right)

    def _gather(self, number: int) -> None:
        """Everybody here subscribes to one topic; the answer comes when all have its value."""
        due, name = time.perf_counter(), self._herd_name
        herd = [gevent.spawn(self._subscribe, each, f"{_PATH} all at once", due, name, number) for each in self.clients]
        gevent.joinall(herd, raise_error=True)
        self._herd = [each.value for each in herd if each.value is not None]

    def _reloaded(self, _: Any) -> int:
        """How many here did not get another value within some seconds."""
        drain(lambda: all(seen.values > 1 for _, _, seen in self._herd), _RELOAD_SECONDS)
        return sum(seen.values < 2 for _, _, seen in self._herd)

    def _leave(self, _: Any) -> None:
        herd, self._herd = self._herd, []
        for client, subscription, _seen in herd:
            client.unsubscribe(subscription)

    @property
    def _herd_name(self) -> str:
        return f"herd-{self.run.plan.id}"

    # -- the leading process

    def begin(self) -> None:
        client = LiveClient(self.run.url)
        client.open()
        try:
            table = client.call("load/table_sum", self.knobs.rows)
        finally:
            client.close()
        self.run.lead.order("right", [table["rows"], table["crc32"]])

    def _all_at_once(self) -> None:
        client, order, loads = LiveClient(self.run.url), self.run.lead.order, self._herd_name
        client.open()
        try:
            for number in range(_HERDS):
                before = client.call("load/counted", loads)
                self.run.lead.say("all subscribe at once")
                order("herd", number, timeout=_HERD_SECONDS)
                gathered = client.call("load/counted", loads)
                client.call("load/publish", "rows-changed")
                self._missed += sum(order("reloaded"))
                order("leave")
                self._loads[0] += gathered - before
                self._loads[1] += client.call("load/counted", loads) - gathered
        finally:
            client.close()

    def rows(self, tally: Tally) -> list[Row]:
        if not tally.count("subscribes"):
            self.run.broken("nothing was subscribed to")
        cold, again = (loads / _HERDS for loads in self._loads)
        return [
            told("connections", "connections", self.run.users),
            *rate_rows(tally, "subscribes", f"subscribes, {self.knobs.rows} rows each", self.run.options.rate),
            told("value_bytes", "bytes of a first value", tally.peaks["bytes"]),
            must("subscribes_failed", "subscribes: failed", tally.count("failed"), 0),
            must("subscribes_unanswered", "subscribes: unanswered", tally.count("pending"), 0),
            must("values_wrong", "values: not the rows they should be", tally.count("wrong"), 0),
            told("loader_calls_per_topic", "all at once: loads per topic", cold, better="less", digits=1),
            must("reloads_per_topic", "all at once: loads per topic when it changes", again, 1),
            must("reloads_missed", "all at once: subscribers without the changed value", self._missed, 0),
        ]

    # -- every process

    def settle(self) -> dict[str, int]:
        drain(lambda: not self._pending)
        if self.run.lead is not None:  # the others have settled
            try:
                self._all_at_once()
            except (RpcError, TimeoutError) as error:
                self.run.broken(str(error))
        return {}

    def count(self, published: object) -> Tally:
        names = {"subscribes": self._started, "failed": self._failed, "pending": self._pending, "wrong": self.wrong}
        return Tally(counts=dict(names), peaks={"subscribes_last": self._last, "bytes": self._bytes})


class SubscribeUser(LiveUser):
    """Subscribes when it is due, however late earlier values are."""

    wait_time = FOREVER
    scenario: ClassVar[type[Scenario]] = Subscribe

    def on_start(self) -> None:
        super().on_start()
        run = run_of(self.environment)
        self.number = run.next_user()
        run.scenario.clients.append(self.client)
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def subscribes(self) -> None:
        run = run_of(self.environment)
        for turn, due in enumerate(run.when_due(run.times_of(self.number))):
            run.scenario.start(self.client, due, turn * run.users + self.number)
