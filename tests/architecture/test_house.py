"""The rules of the house that a linter does not know."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("liverpc", "devtools", "loadtest", "tests") for path in (ROOT / folder).rglob("*.py")
)
SHIPPED = [path for path in SOURCES if path.relative_to(ROOT).parts[0] != "tests"]
MAX_LINES = 600


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_the_top_level_holds_what_it_should() -> None:
    allowed = {"liverpc", "devtools", "loadtest", "tests", "docs", "pyproject.toml", "README.md", "CHANGELOG.md"}
    allowed |= {"LICENSE", "Makefile", "build", "dist", "runs"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found <= allowed


def test_protocol_sections_that_the_code_cites_exist() -> None:
    sections = set(re.findall(r"^## (\d+)", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE))
    for path in SHIPPED:
        for cited in re.findall(r"docs/protocol\.md sections? (\d+)", path.read_text()):
            assert cited in sections, f"{path.relative_to(ROOT)} cites section {cited} of docs/protocol.md"


def test_documents_that_the_code_cites_exist() -> None:
    for path in SHIPPED:
        for cited in re.findall(r"\bdocs/[a-z-]+\.md", path.read_text()):
            assert (ROOT / cited).exists(), f"{path.relative_to(ROOT)} cites {cited}"
