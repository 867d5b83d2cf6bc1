"""Users who talk in rooms, and an account of what each of them heard: what ``rooms`` and ``chaos`` share."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

import msgspec
from locust import task
from msgspec import Meta

from liverpc.client.subscription import Subscription
from liverpc.contrib.locust.client import LiveClient
from liverpc.contrib.locust.users import ConnectOptions, LiveUser
from liverpc.errors import ConfigError, RpcError
from loadtest._gate import must, told
from loadtest._result import Row
from loadtest._room_audit import Manner, Stay, Zipf
from loadtest._run import Run, run_of
from loadtest._scenario import FOREVER, Operations, Scenario, Tally, drain, operation_rows

__all__ = ["KEPT", "PLAIN", "Guest", "Kind", "Talk", "TalkKnobs", "TalkUser", "by_room"]


class TalkKnobs(msgspec.Struct, frozen=True):
    """Options of scenarios with rooms."""

    topics: Annotated[int, Meta(ge=1, le=10_000, description="how many rooms there are")] = 100
    zipf: Annotated[
        float, Meta(ge=0, le=10, description="how unequal they are, as the exponent of Zipf's law; 0: equal")
    ] = 1.0
    rooms_per_user: Annotated[int, Meta(ge=1, description="in how many of them each user is at a time")] = 2


class Kind(msgspec.Struct, frozen=True):
    """A kind of rooms, and what they are called on the server."""

    name: str
    topic: str  #: before the room's name
    data: str  #: the stream
    say: str  #: what speaks in it

    def group(self, run: Run) -> str:
        """With what the names of this run's rooms begin."""
        return f"{self.name[0]}{run.plan.id}"


PLAIN = Kind("plain", "load-room:", "load/room/__data", "load/room/__action/say")
KEPT = Kind("kept", "load-kept:", "load/kept", "load/say_kept")  #: with replay


class Guest:
    """A user, and the rooms that it is in.

    Attributes:
        number: Of the user.
        name: As the server knows it.
        kind: Of its rooms.
        client: Its connection.
        stays: By room; those in which it speaks.
        spoken: How much it said, by room.
        rng: Of its own choices.
    """

    def __init__(self, talk: Talk, number: int, name: str, client: LiveClient) -> None:
        self.talk = talk
        self.number = number
        self.name = name
        self.kind = talk.kind_of(number)
        self.client = client
        self.stays: dict[str, Stay] = {}
        self.spoken: dict[str, int] = {}
        self.rng = random.Random(f"{talk.run.options.seed}/{number}")
        self._held: dict[str, list[Subscription]] = {}

    def choose(self) -> str:
        """A room in which it is not."""
        there = {int(room.rpartition("-")[2]) for room in self.stays}
        return f"{self.kind.group(self.talk.run)}-{self.talk.zipf.choose(self.rng, there)}"

    def enter(self, room: str) -> None:
        """Go to a room, and wait until one is there; RpcError when it is refused."""
        stay = Stay(self.heard)
        self.listen(room, self.kind.data, observer=stay)
        self.stays[room] = stay

    def listen(self, room: str, path: str, observer: Any) -> None:
        """Subscribe to a part of a room until one leaves it."""
        began = time.perf_counter()
        recorder = self.talk.run.recorder
        try:
            subscription = self.client.subscribe(path, room, observer=observer)
        except RpcError as error:
            recorder.fail("SUB", path, time.perf_counter() - began, error.code)
            raise
        recorder.add("SUB", path, time.perf_counter() - began)
        self._held.setdefault(room, []).append(subscription)

    def leave(self, room: str) -> None:
        """Leave a room, when everything has come that was said there before; RpcError when it cannot be asked for."""
        stay = self.stays.pop(room)
        said = self.client.call("load/heard", room)
        drain(lambda: not stay.behind(said))
        for subscription in self._held.pop(room):
            self.client.unsubscribe(subscription)
        self.talk.left(stay, said)

    def speak(self, due: float) -> None:
        """Say something in one of the rooms."""
        self.say(self.rng.choice(list(self.stays)), due, self.talk.says)

    def say(self, room: str, due: float, says: Mapping[Kind, Operations]) -> None:
        """Say something there, which counts among these."""
        run = self.talk.run
        number = self.spoken.get(room, 0)
        self.spoken[room] = number + 1
        padding = "x" * run.options.size
        says[self.kind].send(
            self.client, due, room, number, due + run.offset, run.now(), padding, then=self.answered(room, number)
        )

    def answered(self, room: str, number: int) -> Callable[[Any], object] | None:
        """What is told the answer to something that is said; None: nothing is."""
        return None

    def heard(self, row: Any, manner: Manner) -> None:
        """Something was said in one of its rooms."""
        run = self.talk.run
        now = run.now()
        if manner == "replayed":
            run.recorder.add("PUB", "deliver replayed", now - row["due"], part=True)
        else:
            run.recorder.add("PUB", "deliver", now - row["due"])
            run.recorder.add("PUB", "deliver from send", now - row["ts"], part=True)

    def shows(self, room: str) -> dict[str, int]:
        """How much each has said there, by the value that its client has."""
        return {row["id"]: row["n"] + 1 for row in self._held[room][0].value}


class Talk(Scenario):
    """Users are in rooms that they choose by themselves, and all of them speak.

    Attributes:
        guests: Those of this process.
        zipf: Chooses rooms.
        says: What was said, by kind of room.
    """

    headline = "PUB deliver"
    kinds: ClassVar[tuple[Kind, ...]] = (PLAIN,)
    guest_type: ClassVar[type[Guest]] = Guest

    @classmethod
    def check(cls, knobs: Any) -> None:
        if knobs.rooms_per_user > knobs.topics:
            raise ConfigError(f"nobody can be in {knobs.rooms_per_user} rooms: there are --topics {knobs.topics}")

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.guests: list[Guest] = []
        self.zipf = Zipf(self.knobs.topics, self.knobs.zipf)
        self.says = {kind: Operations(run, kind.say, f"said_{kind.name}") for kind in self.kinds}
        self._left: Counter[str] = Counter()  # what came of stays that are over
        self._displaced = 0

    def kind_of(self, number: int) -> Kind:
        """Of the rooms of a user."""
        return self.kinds[number % len(self.kinds)]

    def user_name(self, number: int) -> str:
        """As the server knows the user."""
        return f"{self.run.plan.id}-{number}"

    def new_guest(self, number: int, client: LiveClient) -> Guest:
        """One more; it has no room yet."""
        guest = self.guest_type(self, number, self.user_name(number), client)
        self.guests.append(guest)
        return guest

    def left(self, stay: Stay, said: Mapping[str, int]) -> None:
        """A stay is over; it is known how much each had said by then."""
        self._left.update(stay.counts(said))
        self._displaced = max(self._displaced, stay.displaced)

    # -- the end, in every process

    def settle(self) -> dict[str, int]:
        drain(lambda: not any(each.pending for each in self.says.values()))
        return {f"said {room} {guest.name}": n for guest in self.guests for room, n in guest.spoken.items()}

    def count(self, published: Mapping[str, int]) -> Tally:
        said = by_room(published, "said")
        drain(lambda: not any(stay.behind(said.get(room, {})) for _, room, stay in self.stays()))
        tally = Tally()
        for operations in self.says.values():
            tally.add(operations.tally())
        tally.add(self.account(said, self.guests))
        tally.add(self._compare(said))
        return tally

    def stays(self) -> Iterable[tuple[Guest, str, Stay]]:
        """All that are not over."""
        return [(guest, room, stay) for guest in self.guests for room, stay in guest.stays.items()]

    def account(self, said: Mapping[str, Mapping[str, int]], guests: Iterable[Guest]) -> Tally:
        """What came of all stays of these guests, and of those that are over."""
        counts, displaced = Counter(self._left), self._displaced
        for guest in guests:
            for room, stay in guest.stays.items():
                counts.update(stay.counts(said.get(room, {})))
                displaced = max(displaced, stay.displaced)
        return Tally(counts=dict(counts), peaks={"displaced": displaced})

    def _compare(self, said: Mapping[str, Mapping[str, int]]) -> Tally:
        """The values that clients have, and what was said, with what the server has."""
        there: dict[str, list[Guest]] = {}
        for guest, room, _ in self.stays():
            there.setdefault(room, []).append(guest)
        wrong = otherwise = 0
        try:
            for room, guests in there.items():
                heard = guests[0].client.call("load/heard", room)
                otherwise += heard != said.get(room, {})
                drain(partial(self._agree, room, guests, heard))
                wrong += sum(each.shows(room) != heard for each in guests)
        except RpcError as error:
            self.run.broken(f"the server does not say what was said: {error}")
        return Tally(counts={"values_wrong": wrong, "said_otherwise": otherwise})

    def _agree(self, room: str, guests: Iterable[Guest], heard: Mapping[str, int]) -> bool:
        return all(each.shows(room) == heard for each in guests)

    # -- rows

    def said_rows(self, tally: Tally) -> list[Row]:
        """How much was said, and that it arrived on the server."""
        if not any(tally.count(f"said_{kind.name}") for kind in self.kinds):
            self.run.broken("nothing was said")
        each = self.run.options.rate / self.run.users
        rows = []
        for kind in self.kinds:
            users = sum(self.kind_of(number) is kind for number in range(self.run.users))
            if users:
                rows += operation_rows(tally, f"said_{kind.name}", f"said in {kind.name} rooms", each * users)
        otherwise = tally.count("said_otherwise")
        return [*rows, must("said_otherwise", "rooms of which the server says otherwise", otherwise, 0)]

    def value_rows(self, tally: Tally) -> list[Row]:
        """What clients have at the end."""
        return [
            told("stays", "stays in a room", tally.count("subscribers")),
            must("values_wrong", "values unlike the server's at the end", tally.count("values_wrong"), 0),
        ]


def by_room(published: Mapping[str, int], what: str) -> dict[str, dict[str, int]]:
    """What :meth:`Talk.settle` of all processes told: by room and user."""
    found: dict[str, dict[str, int]] = {}
    for key, number in published.items():
        kind, room, name = key.split(" ")
        if kind == what:
            found.setdefault(room, {})[name] = number
    return found


class TalkUser(LiveUser):
    """Is in some rooms, and speaks there on schedule."""

    abstract = True
    wait_time = FOREVER

    def connect_options(self) -> ConnectOptions:
        run = run_of(self.environment)
        query = "&" if "?" in run.url else "?"
        return ConnectOptions(url=f"{run.url}{query}user={run.scenario.user_name(self.number)}")

    def on_start(self) -> None:
        run = run_of(self.environment)
        self.number = run.next_user()
        super().on_start()
        talk: Talk = run.scenario
        self.guest = talk.new_guest(self.number, self.client)
        for _ in range(talk.knobs.rooms_per_user):
            self.guest.enter(self.guest.choose())
        run.ready()

    @task  # type: ignore[untyped-decorator]  # Locust has no types
    def speak(self) -> None:
        run = run_of(self.environment)
        for due in run.when_due(run.times_of(self.number)):
            self.guest.speak(due)
