"""What a server may tell the devtools of uploads, however little sense it makes."""

from __future__ import annotations

import itertools

import pytest

from liverpc.inspector.protocol import State, UploadInfo
from liverpc_devtools.core.upload_rows import Uploads


@pytest.mark.parametrize(("size", "received"), list(itertools.product([None, -5, 0, 1, 10**30], [-3, 0, 1, 10**30])))
def test_every_size_has_a_share_between_nothing_and_all(size: int | None, received: int) -> None:
    uploads = Uploads(0.0)
    uploads.apply(
        State(rev=1, at=1.0, uploads=[UploadInfo("c", "1", "m/up", "", "", 0.0, size, received, 0, 0, "held")])
    )
    [row] = uploads.rows
    assert (row.share is None) == (size is None)
    assert 0.0 <= (row.share or 0.0) <= 1.0
    assert row.percent in ("", "0%", "100%")
    row.seconds_left(2.0)
