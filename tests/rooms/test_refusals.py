"""What the log and the devtools hear of those who are not let in."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from liverpc import LiveError
from liverpc.rooms.refusals import Refusals
from liverpc.testing import create_test_context


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def boom(which: int) -> BaseException:
    try:
        if which:
            raise KeyError("one line")
        raise KeyError("another")
    except KeyError as error:
        return error


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "liverpc.rooms")
    return caplog


def test_each_kind_is_logged_once_a_minute_with_how_many_there_were(log: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock)
    ctx: Any = create_test_context()
    for _ in range(5):
        refusals.add(ctx, "chat/x", "refused")
    refusals.add(ctx, "chat/y", "refused")
    refusals.add(ctx, "chat/x", LiveError("FORBIDDEN"))
    assert [record.levelno for record in log.records] == [logging.INFO] * 3
    clock.now = 61
    refusals.add(ctx, "chat/x", "refused")
    assert "4 more like it" in log.records[-1].getMessage()
    assert (refusals.total, len(refusals.last)) == (8, 8)


def test_an_exception_is_logged_whole_and_one_from_another_line_as_well(log: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(Clock())
    reported: list[BaseException] = []
    ctx: Any = create_test_context()
    ctx.services.report = lambda path, error, ctx: reported.append(error)
    for which in (0, 0, 1):
        refusals.add(ctx, "chat/x", boom(which))
    assert [(record.levelno, record.exc_info is not None) for record in log.records] == [(logging.ERROR, True)] * 2
    assert len(reported) == 3
    assert "one line" not in str(refusals.last)


def test_a_client_cannot_make_new_kinds(log: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(Clock())
    ctx: Any = create_test_context()
    for part in range(2000):
        refusals.add(ctx, "chat/x", f"no usable key: part {part} is empty")
    refusals.add(ctx, "chat/x", "refused")
    assert len(log.records) == 2
    assert len(refusals.last) == 100
