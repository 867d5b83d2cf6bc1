"""What is public is listed, and the lists are true."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import liverpc
import liverpc.client

ROOT = Path(__file__).parents[2]
PUBLIC = ["liverpc", "liverpc.client"]


def modules() -> list[str]:
    # contrib needs packages that are not always there, and locust patches the process it is imported in.
    return [
        info.name
        for info in pkgutil.walk_packages(liverpc.__path__, "liverpc.")
        if not info.name.startswith("liverpc.contrib") and not info.name.endswith("__main__")
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_listed_name_exists_and_is_offered_once(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    for each in module.__all__:
        assert getattr(module, each) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_the_lazy_table_and_the_list_agree(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module._HOME) == sorted(module.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = liverpc.no_such_name


@pytest.mark.parametrize("name", modules())
def test_modules_list_what_they_define(name: str) -> None:
    module = importlib.import_module(name)
    for each in getattr(module, "__all__", ()):
        assert hasattr(module, each), f"{name}.__all__ lists {each!r}, which does not exist"


@pytest.mark.parametrize("name", modules())
def test_modules_say_what_they_are_for(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"


def test_no_submodule_shadows_a_public_name() -> None:
    submodules = {info.name for info in pkgutil.iter_modules(liverpc.__path__)}
    assert not submodules & set(liverpc.__all__)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "liverpc" / "__init__.py").read_text())
    seen = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("liverpc")
        for alias in node.names
    }
    assert seen == set(liverpc.__all__)
