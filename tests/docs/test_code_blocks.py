"""Every Python block in the README and the manual runs.

A block with ``name=x.py`` is a file beside the document's other files; ``test_*.py`` are run by pytest, others
are run by the document's own test below. A block without name stands alone.
"""

import asyncio
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from liverpc import LiveServer, remote
from liverpc.client import connect
from tests.e2e.doors import At, ask, free_port, subprocess_at

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
Outcomes: TypeAlias = dict[str, Future[str]]
BLOCK = re.compile(r"^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> Iterator[tuple[str | None, str]]:
    for match in BLOCK.finditer(document.read_text()):
        name = re.search(r"name=(\S+)", match["info"])
        yield name[1] if name else None, match["code"]


ALONE = [
    pytest.param(code, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, (name, code) in enumerate(blocks(document), 1)
    if name is None
]
TESTS = [
    pytest.param(document, name, id=f"{document.name}-{name}")
    for document in DOCUMENTS
    for name, _ in blocks(document)
    if name is not None and name.startswith("test_")
]


def run(folder: Path, *command: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def write_files(document: Path, folder: Path, port: int = 8000) -> None:
    for name, code in blocks(document):
        if name is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(code.replace("8000", str(port)))


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """What the blocks that were chosen print, by test: they run two at a time, for most of it is Python starting."""

    def alone(code: str, folder: Path) -> str:
        (folder / "block.py").write_text(code)
        return run(folder, "block.py")

    def as_test(document: Path, name: str, folder: Path) -> str:
        write_files(document, folder)
        (folder / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
        )
        (folder / "conftest.py").write_text(
            "from liverpc.testing import virtual_loop_factory\n"
            "def pytest_asyncio_loop_factories(config, item):\n    return {'virtual': virtual_loop_factory}\n"
        )
        return run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", name)

    with ThreadPoolExecutor(2) as pool:
        started: Outcomes = {}
        for item in request.session.items:
            params: dict[str, Any] = (
                item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
            )
            if item.parent is request.node and "outcome" in getattr(item, "fixturenames", ()):
                work = (
                    partial(alone, params["code"])
                    if "code" in params
                    else partial(as_test, params["document"], params["name"])
                )
                started[item.name] = pool.submit(work, tmp_path_factory.mktemp("block"))
        yield started


@pytest.fixture
def outcome(request: pytest.FixtureRequest, outcomes: Outcomes) -> str:
    """What the block of a test prints."""
    return outcomes[request.node.name].result()


@pytest.mark.parametrize("code", ALONE)
def test_a_block_without_name_stands_alone(code: str, outcome: str) -> None:
    assert "Traceback" not in outcome


@pytest.mark.parametrize(("document", "name"), TESTS)
def test_a_block_that_is_a_test_passes(document: Path, name: str, outcome: str) -> None:
    assert "passed" in outcome


@pytest.mark.parametrize(
    ("document", "server", "client", "printed"),
    [
        ("README.md", "chat", "page.py", "heard hello\nsent "),
        ("README.md", "todo", "client.py", "[Todo(id=1, title='Milk')] connected\n"),
        ("docs/contracts.md", "chat", "page.py", "heard hello\nnoted lift-off\nJOIN_REJECTED\n"),
        ("docs/contracts.md", "chat", "watch.py", "connected chat\n"),
        ("docs/contracts.md", "chat", "dashboard.py", "general from the dashboard\n"),
    ],
    ids=lambda value: value.removesuffix(".py"),
)
def test_a_server_and_a_client_of_a_document_understand_each_other(
    document: str, server: str, client: str, printed: str, tmp_path: Path
) -> None:
    port = free_port()
    write_files(ROOT / document, tmp_path, port)
    with subprocess_at(tmp_path, port, server):
        assert run(tmp_path, client).startswith(printed)


@pytest.mark.realtime
@pytest.mark.parametrize("options", [[], ["--ws", "liverpc.transports.uvicorn:LiveDoor"]], ids=["asgi", "door"])
async def test_the_fastapi_application_of_the_readme_serves_calls_and_its_own_route(
    options: list[str], tmp_path: Path
) -> None:
    port = free_port()
    write_files(ROOT / "README.md", tmp_path, port)
    with subprocess_at(tmp_path, port, "uvicorn", "api:app", "--port", str(port), *options):
        at = At(port, "/ws")
        answer = await ask(at, "GET", "/rooms")
        assert (answer.status, answer.body) == (200, b'["general"]')
        async with connect(at.url) as client, client.stream(remote("todo/todos")) as todos:
            row = await client.call(remote("todo/add"), "Milk")
            assert row == {"id": 1, "title": "Milk"}
            assert todos.value == [row]
        printed = await asyncio.to_thread(run, tmp_path, "page.py")  # the contract, on the same port
        assert printed.startswith("heard hello\n")


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"`make (\w+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make {target}"
    for command in set(re.findall(r"\.venv/bin/(\S+)", text)):
        assert shutil.which(command, path=os.path.dirname(sys.executable)), command


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", document.read_text()):
        if "://" not in target:
            there = document.parent / target if target else document
            assert there.exists(), f"{document.name} links to {target}"
            assert not anchor or anchor in anchors(there), f"{document.name} links to {target}#{anchor}"


def test_the_table_of_settings_has_every_argument_of_a_server() -> None:
    table = (ROOT / "docs" / "settings.md").read_text().partition("## The environment")[0]
    firsts = re.findall(r"^\| (`[^|]+)\|", table, re.MULTILINE)
    documented = [name for first in firsts for name in re.findall(r"`(\w+)`", first)]
    arguments = inspect.signature(LiveServer).parameters
    assert sorted(documented) == sorted(arguments)
