"""discover(): all modules of a package, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from liverpc import LiveServer, discover
from liverpc.errors import DeclarationError

CONTRACT = """
import msgspec
from liverpc import Contract, Events, event

class Params(msgspec.Struct):
    {fields}

class Chat(Contract[Events, Params]):
    @event
    def ping(self) -> str:
        return "pong"
"""

Tree = Callable[[dict[str, str]], str]


def contract(*fields: str) -> str:
    return CONTRACT.format(fields="\n    ".join(f"{field}: str" for field in fields) or "pass")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """Writes files below a new package, and gives its name."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files: dict[str, str]) -> str:
        for name, text in {"shop/__init__.py": "", "shop/routes/__init__.py": "", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return "shop.routes"

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(package: str, *, brackets: bool = False) -> list[str]:
    return [module.__name__.removeprefix(f"{package}.") for module in discover(package, brackets=brackets)]


def test_folders_are_urls_and_one_name_may_stand_on_several(tree: Tree) -> None:  # acceptance 250
    package = tree(
        {
            "shop/routes/rooms/_room_id_/chat.py": contract("room_id"),
            "shop/routes/rooms/lobby/chat.py": contract(),
            "shop/routes/files/__rest__/chat.py": contract("rest"),
        }
    )
    modules = discover(package)
    assert [module.Chat.pattern.text for module in modules] == [
        "/files/{rest:path}",
        "/rooms/lobby",
        "/rooms/{room_id}",
    ]
    assert {module.Chat.name for module in modules} == {"chat"}
    LiveServer(modules=modules, guards=[lambda ctx: True])


def test_static_folders_come_first(tree: Tree) -> None:
    package = tree(
        {
            "shop/routes/__all__/chat.py": contract("all"),
            "shop/routes/_a_/chat.py": contract("a"),
            "shop/routes/z/chat.py": contract(),
            "shop/routes/chat.py": contract(),
        }
    )
    assert names(package) == ["chat", "z.chat", "_a_.chat", "__all__.chat"]


def test_modules_that_declare_nothing_are_imported_and_not_listed(tree: Tree) -> None:
    package = tree(
        {
            "shop/routes/chat.py": contract(),
            "shop/routes/rooms/__init__.py": contract(),
            "shop/routes/helpers.py": "from shop.routes.chat import Chat",
            "shop/routes/private.py": contract().replace("Chat", "_Chat"),
            "shop/routes/data/notes.txt": "",
            "shop/routes/not-code/notes.txt": "",
            "shop/routes/.hidden.py": "1/0",
            "shop/routes/__main__.py": "1/0",
        }
    )
    assert names(package) == ["chat", "rooms"]
    assert "shop.routes.helpers" in sys.modules


def test_a_live_function_counts_as_well(tree: Tree) -> None:
    package = tree({"shop/routes/a.py": "from liverpc import live\n@live\ndef f(ctx): ..."})
    assert names(package) == ["a"]


def test_a_broken_module_fails_with_its_file_named(tree: Tree) -> None:
    package = tree({"shop/routes/rooms/bad.py": "1/0"})
    with pytest.raises(DeclarationError, match=r"rooms/bad\.py failed: ZeroDivisionError"):
        discover(package)


@pytest.mark.parametrize("missing", ["shop.nothing", "nothing", "nothing.at.all"])
def test_a_package_that_does_not_exist_is_named(tree: Tree, missing: str) -> None:
    tree({})
    with pytest.raises(DeclarationError, match="there is no package"):
        discover(missing)


def test_a_package_that_fails_or_is_a_module_or_empty_is_refused(tree: Tree) -> None:
    tree({"shop/bad/__init__.py": "import nothing", "shop/one.py": "", "shop/empty/__init__.py": ""})
    with pytest.raises(DeclarationError, match=r"shop\.bad failed: ModuleNotFoundError"):
        discover("shop.bad")
    with pytest.raises(DeclarationError, match="it is a module"):
        discover("shop.one")
    with pytest.raises(DeclarationError, match="no module in it declares anything"):
        discover("shop.empty")


@pytest.mark.parametrize("target", ["elsewhere", "shop/routes/own"])
def test_links_are_refused(tree: Tree, tmp_path: Path, target: str) -> None:
    package = tree({"shop/routes/own/chat.py": contract(), "elsewhere/chat.py": contract()})
    (tmp_path / "shop/routes/link").symlink_to(tmp_path / target)
    with pytest.raises(DeclarationError, match="link is a link"):
        discover(package)


def test_a_linked_file_is_refused(tree: Tree, tmp_path: Path) -> None:
    package = tree({"elsewhere/chat.py": contract()})
    (tmp_path / "shop/routes/chat.py").symlink_to(tmp_path / "elsewhere/chat.py")
    with pytest.raises(DeclarationError, match=r"chat\.py is a link"):
        discover(package)


def test_a_module_of_the_same_name_from_elsewhere_is_refused(tree: Tree, tmp_path: Path) -> None:
    package = tree({"shop/routes/a.py": contract(), "elsewhere/a.py": contract()})
    discover(package)
    sys.modules["shop.routes.a"].__file__ = str(tmp_path / "elsewhere/a.py")
    with pytest.raises(DeclarationError, match="is hidden by"):
        discover(package)


@pytest.mark.parametrize("name", ["my-chat.py", "chat.live.py", "my-rooms/chat.py"])
def test_a_name_that_cannot_be_imported_is_refused(tree: Tree, name: str) -> None:
    package = tree({f"shop/routes/{name}": contract()})
    with pytest.raises(DeclarationError, match="cannot be the name of a module"):
        discover(package)


def test_folders_in_brackets_are_an_option(tree: Tree) -> None:
    package = tree(
        {
            "shop/routes/[room_id]/chat.py": contract("room_id"),
            "shop/routes/[room_id]/deeper/chat.py": contract("room_id"),
            "shop/routes/files/[...rest]/__init__.py": contract("rest"),
        }
    )
    with pytest.raises(DeclarationError, match="call the folder"):
        discover(package)
    modules = discover(package, brackets=True)
    assert [(module.__name__, module.Chat.pattern.text) for module in modules] == [
        ("shop.routes.files.__rest__", "/files/{rest:path}"),
        ("shop.routes._room_id_.chat", "/{room_id}"),
        ("shop.routes._room_id_.deeper.chat", "/{room_id}/deeper"),
    ]
    assert (modules[1].__file__ or "").endswith("[room_id]/chat.py")
    assert discover(package, brackets=True) == modules  # nothing is imported twice


def test_a_folder_in_brackets_that_fails_is_named_and_can_be_tried_again(tree: Tree) -> None:
    package = tree({"shop/routes/[room_id]/__init__.py": "1/0"})
    for _ in range(2):
        with pytest.raises(DeclarationError, match=r"\[room_id\]/__init__\.py failed: ZeroDivisionError"):
            discover(package, brackets=True)


def test_two_spellings_of_one_folder_are_refused(tree: Tree) -> None:
    package = tree({"shop/routes/[id]/a.py": contract("id"), "shop/routes/_id_/b.py": contract("id")})
    with pytest.raises(DeclarationError, match=r"are both the module shop\.routes\._id_"):
        discover(package, brackets=True)
