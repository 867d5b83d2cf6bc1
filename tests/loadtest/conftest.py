from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.loadtest.load_kit import first_url, process


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of all processes: token files go to a folder of this test run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIVERPC_", "LOCUST_"))}
    return kept | {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("runtime"))}


@pytest.fixture(scope="session")
def host(environ: dict[str, str]) -> Iterator[str]:
    """A running demo."""
    with process("-m", "liverpc.cli", "demo", "--port", "0", "--users", "0", environ=environ) as running:
        yield first_url(running).removesuffix("/ws")
