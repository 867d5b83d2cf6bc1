"""The programs of the client's manual run against the server of the manual."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_code_blocks import ROOT, run, write_files
from tests.e2e.doors import free_port, subprocess_at


@pytest.mark.parametrize(("script", "printed"), [("calls.py", "3 items connected"), ("blocking.py", "True")])
def test_the_programs_of_the_manual_work(script: str, printed: str, tmp_path: Path) -> None:
    port = free_port()
    write_files(ROOT / "docs" / "client.md", tmp_path, port)
    with subprocess_at(tmp_path, port, "shop"):
        said = run(tmp_path, script)
    assert printed in said
    assert "NOT_FOUND: there is no item 77" in said


def test_the_pages_of_contracts_of_the_manual_work(tmp_path: Path) -> None:
    port = free_port()
    write_files(ROOT / "docs" / "client.md", tmp_path, port)
    with subprocess_at(tmp_path, port, "talk"):
        said = run(tmp_path, "pages.py")
        assert run(tmp_path, "talking.py") == "hello connected\n"
    assert said.splitlines() == [
        "heard hello",
        "cleared",
        "JOIN_REJECTED",
        "connected ('everybody',) ()",
        "found hi",
    ]


def test_the_uploads_of_the_manual_work(tmp_path: Path) -> None:
    port = free_port()
    write_files(ROOT / "docs" / "client.md", tmp_path, port)
    with subprocess_at(tmp_path, port, "files"):
        said = run(tmp_path, "uploads.py")
        many = run(tmp_path, "many_uploads.py")
    assert many == f"stored {len(list(tmp_path.glob('*.py')))} files\n"
    assert int(many.split()[1]) > 4
    assert "cat.png: 4 bytes" in said
    assert "sent 3000000 of 3000000" in said
    assert said.endswith("CANCELLED\n")
