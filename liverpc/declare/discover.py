"""The modules of a package of routes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from liverpc.declare.contract import Contract
from liverpc.declare.folders import folder_kind
from liverpc.declare.functions import Declaration
from liverpc.errors import DeclarationError

__all__ = ["discover"]

_BRACKETS = re.compile(r"\[(\.\.\.)?([A-Za-z][A-Za-z0-9_]*)\]")


def discover(package: str, *, brackets: bool = False) -> list[ModuleType]:
    """Import a package with all its modules, and list those that declare something: ``modules=discover("app.routes")``.

    Below a package called ``routes``, contracts without a path of their own get that of their folder; see
    :class:`Contract`. Files and folders that begin with a dot, and ``__main__.py``, are passed over. Folders that stand
    for themselves come before those that stand for parts of the URL.

    Args:
        package: Its name.
        brackets: Accept folders such as ``[room_id]`` and ``[...rest]``, as if they were called ``_room_id_`` and
            ``__rest__``: under that name their modules are known. Type checkers, and ``import`` statements elsewhere,
            do not find them.

    Raises:
        DeclarationError: There is no such package, a module in it fails, none declares anything, a link leads out of
            it, or a name in it cannot be imported.
    """
    try:
        root = import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{package}.".startswith(f"{error.name}."):
            raise _broken(package, error) from error
        raise DeclarationError(f"discover({package!r}): there is no package {error.name!r}") from None
    except Exception as error:
        raise _broken(package, error) from error
    folders = getattr(root, "__path__", None)
    if folders is None:
        raise DeclarationError(f"discover({package!r}): it is a module; list it in modules= itself")
    modules = [root]
    for folder in folders:
        modules += _below(package, Path(folder), brackets)
    found = [module for module in modules if _declares(module)]
    if not found:
        raise DeclarationError(f"discover({package!r}): no module in it declares anything")
    return found


def _declares(module: ModuleType) -> bool:
    """Whether there is something for servers in a module that it does not only import."""
    for name, value in vars(module).items():
        is_contract = isinstance(value, type) and issubclass(value, Contract) and value.pattern is not None
        if (is_contract or isinstance(value, Declaration)) and value.__module__ == module.__name__ and name[0] != "_":
            return True
    return False


def _below(package: str, folder: Path, brackets: bool) -> Iterator[ModuleType]:
    names: dict[str, Path] = {}
    for entry in folder.iterdir():
        if not _is_code(entry):
            continue
        name = _name(entry, brackets)
        if name in names:
            raise DeclarationError(f"{names[name]} and {entry} are both the module {package}.{name}")
        names[name] = entry
    for name in sorted(names, key=lambda name: (folder_kind(name), name)):
        entry, full = names[name], f"{package}.{name}"
        if entry.is_file():
            yield _imported(full, entry)
            continue
        init = entry / "__init__.py"
        if name != entry.name:
            _adopt(full, entry, init)
        if init.exists():
            yield _imported(full, init)
        yield from _below(full, entry, brackets)


def _is_code(entry: Path) -> bool:
    if entry.name.startswith(".") or entry.name in ("__pycache__", "__main__.py"):
        return False
    if entry.suffix != ".py" and not (entry.is_dir() and any(entry.rglob("*.py"))):
        return False
    if entry.is_symlink():
        raise DeclarationError(f"{entry} is a link; discover() imports only what lies in the package itself")
    return entry.name != "__init__.py"


def _name(entry: Path, brackets: bool) -> str:
    name = entry.stem if entry.is_file() else entry.name
    if name.isidentifier():
        return name
    match = None if entry.is_file() else _BRACKETS.fullmatch(name)
    if match is None:
        raise DeclarationError(f"{entry}: {name!r} cannot be the name of a module; use letters, digits and _")
    ours = f"__{match[2]}__" if match[1] else f"_{match[2]}_"
    if not brackets:
        raise DeclarationError(f"{entry}: call the folder {ours}, or say discover(..., brackets=True)")
    return ours


def _adopt(full: str, folder: Path, init: Path) -> None:
    """Make a folder a package of another name, in which Python then finds the rest."""
    if full in sys.modules:
        return
    spec = ModuleSpec(full, None, is_package=True)
    if init.exists():
        spec = spec_from_file_location(full, init) or spec
    spec.submodule_search_locations = [str(folder)]
    module = module_from_spec(spec)
    sys.modules[full] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[full]
        raise _broken(str(init), error) from error


def _imported(full: str, file: Path) -> ModuleType:
    try:
        module = import_module(full)
    except Exception as error:
        raise _broken(str(file), error) from error
    if module.__file__ is None or not file.samefile(module.__file__):
        raise DeclarationError(f"{file} is hidden by {module.__file__}, which is {full}, too; rename one of them")
    return module


def _broken(what: str, error: Exception) -> DeclarationError:
    return DeclarationError(f"importing {what} failed: {type(error).__name__}: {error}")
