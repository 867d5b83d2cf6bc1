"""The transports' switch."""

import pytest


@pytest.fixture(params=[True, False], ids=["fast", "library"])
def fast(request: pytest.FixtureRequest) -> bool:
    """Tests that use it run with the fast path and without it."""
    return bool(request.param)
