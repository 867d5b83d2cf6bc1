"""Headers of text frames, held against the websockets library."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from liverpc.wire.framing import payload_of, text_frame

SIZES = [0, 1, 125, 126, 127, 4095, 4096, 4097, 65535, 65536, 65537]


@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_are_those_of_the_websockets_library(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@pytest.mark.parametrize("size", SIZES)
def test_the_payload_comes_back_at_every_header_length(size: int) -> None:
    payload = bytes(i % 251 for i in range(size))
    assert payload_of(text_frame(payload)) == payload


@given(st.binary(max_size=300))
def test_the_payload_comes_back(payload: bytes) -> None:
    assert payload_of(text_frame(payload)) == payload
