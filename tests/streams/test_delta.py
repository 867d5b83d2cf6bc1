"""Delta streams, and applications that know what a log does not hold."""

from typing import Any

import pytest

from liverpc import Context, Delta, Limits
from tests.streams.raw_client import Raw
from tests.streams.replay_kit import App, names, put


class Versions:
    """What an application knows of its rows' versions."""

    def __init__(self) -> None:
        self.version: Any = 3
        self.diff: Any = [{"id": "b"}, {"id": "a", "_deleted": True}]
        self.missed: Any = None
        self.asked: list[Any] = []

    def delta(self) -> Delta:
        return Delta(version=self.tell_version, diff=self.tell_diff, from_seq=self.tell_missed)

    def tell_version(self, ctx: Context[Any]) -> Any:
        return self._given(self.version)

    async def tell_diff(self, ctx: Context[Any], since: Any) -> Any:
        self.asked.append(since)
        return self._given(self.diff)

    async def tell_missed(self, ctx: Context[Any], seq: int) -> Any:
        self.asked.append(seq)
        return self._given(self.missed)

    @staticmethod
    def _given(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value


async def test_194_the_same_version_changes_nothing_and_listens() -> None:
    versions = Versions()
    async with App(replay=False, delta=versions.delta()).env() as env:
        raw = await Raw.open(env)
        first = await raw.subscribe("demo/rows")
        assert (first["version"], first["data"]) == (3, [{"id": "a"}])
        raw = await Raw.open(env)
        reply = await raw.subscribe("demo/rows", version=3)
        # acceptance 194
        assert (reply["unchanged"], reply["data"], reply["version"]) == (True, [], 3)
        put(env, "b")
        assert (await raw.recv())["data"] == {"id": "b"}


async def test_194_another_version_gets_the_changes() -> None:
    versions = Versions()
    app = App(delta=versions.delta(), transform=lambda row: {**row, "shown": True})
    async with app.env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", version=1)
        assert (reply["delta"], reply["version"], reply["seq"]) == (True, 3, 0)
        assert reply["data"] == [{"id": "b", "shown": True}, {"id": "a", "_deleted": True}]
        assert versions.asked == [1]
        assert app.loads == 0


@pytest.mark.parametrize("diff", [None, RuntimeError("broken"), "no rows", [{"id": 1}, 5]])
async def test_194_without_a_diff_there_is_the_whole_value(diff: Any) -> None:
    versions = Versions()
    versions.diff = diff

    def show(row: Any) -> Any:
        return {"id": row["id"]}

    async with App(delta=versions.delta(), transform=show).env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", version=1)
        assert (reply["data"], reply["version"]) == ([{"id": "a"}], 3)
        assert "delta" not in reply


@pytest.mark.parametrize(("version", "known"), [(1, True), (1, "1"), (None, 1), (RuntimeError("broken"), 1)])
async def test_a_version_is_told_apart_by_its_type_and_may_be_unknown(version: Any, known: Any) -> None:
    versions = Versions()
    versions.version, versions.diff = version, None
    async with App(delta=versions.delta()).env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", version=known)
        assert reply["data"] == [{"id": "a"}]
        assert "unchanged" not in reply


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        ([], (True, [], 4)),
        ([(2, "created", {"id": "b"}), (3, "created", {"id": "c"})], (True, ["b", "c"], 3)),
        ([(None, "created", {"id": "b"})], (True, ["b"], 4)),
        (None, (False, ["a"], 4)),
        (RuntimeError("broken"), (False, ["a"], 4)),
        ([{"id": 1}], (False, ["a"], 4)),
        ([(5, "created", {"id": "b"})], (False, ["a"], 4)),  # numbers that the log has not reached are not the log's
    ],
)
async def test_198_the_application_bridges_what_the_log_does_not_hold(missed: Any, expected: Any) -> None:
    versions = Versions()
    versions.missed = missed
    delta = Delta(from_seq=versions.tell_missed)
    async with App(delta=delta).env(limits=Limits(replay_events=2)) as env:
        first = await (await Raw.open(env)).subscribe("demo/rows")
        for n in range(4):
            put(env, n)
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=1, epoch=first["epoch"])
        # acceptance 198
        shown = [row.get("data", row)["id"] for row in reply["data"]]
        assert (reply["replay"], shown, reply["seq"]) == expected
        assert versions.asked == [1]
        versions.asked.clear()
        await (await Raw.open(env)).subscribe("demo/rows", seq=2, epoch=first["epoch"])
        await (await Raw.open(env)).subscribe("demo/rows", seq=1, epoch="another")
        assert versions.asked == []


async def test_from_seq_works_without_a_log_too() -> None:
    versions = Versions()
    versions.missed = [(8, "created", {"id": "b"})]
    async with App(replay=False, delta=Delta(from_seq=versions.tell_missed)).env() as env:
        reply = await (await Raw.open(env)).subscribe("demo/rows", seq=7)
        assert names(reply) == [(8, "created", "b")]
        assert (reply["seq"], reply["replay"]) == (8, True)
