"""The programs of the client's manual run against the server of the manual."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.docs.test_code_blocks import ROOT, run, serving, write_files


@pytest.mark.parametrize(("script", "printed"), [("calls.py", "3 items connected"), ("blocking.py", "True")])
def test_the_programs_of_the_manual_work(script: str, printed: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    write_files(ROOT / "docs" / "client.md", tmp_path, port)
    with serving(tmp_path, "shop.py", port):
        said = run(tmp_path, script)
    assert printed in said
    assert "NOT_FOUND: there is no item 77" in said
