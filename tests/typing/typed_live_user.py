"""What the type checkers must infer and refuse of users of load tests. Read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

import msgspec

from liverpc import Context, UploadContext, live, public, remote
from liverpc.client.subscription import Subscription
from liverpc.contrib.locust import (
    ConnectOptions,
    LiveClient,
    LiveUser,
    Mix,
    People,
    Person,
    Recorded,
    RecordedUser,
    Recorder,
)
from liverpc.wire.frames import EventFrame


class Order(msgspec.Struct):
    id: int


_guard = public()


@live
async def place(ctx: Context, item: str, amount: int = 1) -> Order:
    return Order(1)


@live.stream("orders", merge="crud", key="id")
async def orders(ctx: Context, shop: str) -> list[Order]:
    return []


@live.binary()
async def thumb(ctx: Context, data: bytes, name: str) -> int:
    return len(data)


@live.upload()
async def put(ctx: UploadContext, name: str) -> Order:
    return Order(ctx.upload.received)


class Customer(LiveUser):
    people = People.read("users.csv", columns=["token"], when_used_up="stop")

    def connect_options(self) -> ConnectOptions:
        assert_type(self.person, Person)
        assert_type(self.person["token"], str)
        return ConnectOptions(url="wss://shop", headers={"Authorization": self.person["token"]})

    def on_start(self) -> None:
        super().on_start()
        assert_type(self.client, LiveClient)
        assert_type(self.recorder, Recorder)
        assert_type(self.stream(orders, "north"), Subscription)
        assert_type(self.stream(orders, "north", on_event=self.heard), Subscription)
        self.stream("shop/orders", "north", on_event=self.heard)
        self.stream(orders)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        self.stream(orders, 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        self.stream(place, "x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]

    def heard(self, event: EventFrame) -> None: ...

    def buy(self) -> None:
        assert_type(self.call(place, "tea"), Order)
        assert_type(self.call(place, item="tea", amount=2), Order)
        assert_type(self.call(remote("shop/count", returns=int)), int)
        assert_type(self.call("shop/place", "tea"), Any)
        self.call(place, 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        self.call(place)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        self.call(orders, "north")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        self.call("shop/place", item="tea")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]

    def send(self) -> None:
        assert_type(self.binary(thumb, b"x", "a"), int)
        assert_type(self.binary("shop/thumb", b"x", "a"), Any)
        assert_type(self.upload(put, b"x", "a"), Order)
        assert_type(self.upload(put, [b"x", memoryview(b"y")], "a", size=2), Order)
        assert_type(self.upload("shop/put", b"x", "a", size=1), Any)
        self.binary(thumb, b"x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        self.upload(put, b"x", 5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        self.upload(put, "x", "a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


class Again(RecordedUser):
    recording = "monday.lrec.gz"
    speed = 2.0
    seed = "monday"

    def arguments(self, path: str, recorded: Recorded) -> list[Any] | None:
        assert_type(recorded.args, dict[str, Any])
        assert_type(self.mix, Mix)
        return super().arguments(path, recorded)
