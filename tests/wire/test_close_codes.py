"""What a client does after a close."""

from __future__ import annotations

import pytest

from liverpc.wire.close import Advice, CloseCode, advice, of_status


@pytest.mark.parametrize("code", [1008, 4401, 4403])
def test_refusals_are_final(code: int) -> None:
    assert advice(code) is Advice.TERMINAL


def test_throttled_clients_come_back_late() -> None:
    assert advice(4429) is Advice.THROTTLE


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1009, 1011, 1012, 1013, 4000, 4400, 4402, 4404])
def test_everything_else_is_retried(code: int) -> None:
    assert advice(code) is Advice.RETRY


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, CloseCode.UNAUTHENTICATED), (403, CloseCode.FORBIDDEN), (429, CloseCode.THROTTLED), (503, 4503)],
)
def test_a_refused_handshake_counts_as_the_close_of_the_same_meaning(status: int, code: int) -> None:
    assert of_status(status) == code
