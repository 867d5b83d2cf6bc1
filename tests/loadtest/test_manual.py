"""The manual of the load tests, compared with the source: it names no figure that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from liverpc.config import ClientConfig, Limits
from loadtest._attackers import KINDS
from tests.loadtest.load_kit import ROOT

#: Who makes figures, which argument is the key, and what else they put behind it.
_MAKERS = {"told": (0, ""), "must": (0, ""), "healthy": (0, ""), "trend_rows": (0, ""), "_counted": (0, "")}
_MAKERS["rate_rows"] = (1, r"(_wanted_per_s|_per_s|_rate_ratio)?")
_MAKERS["operation_rows"] = (1, r"(_wanted_per_s|_per_s|_rate_ratio|_failed|_unanswered)?")
_WORD = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+)+?)(?:_max|_min)?`")


def _nodes() -> Iterator[ast.AST]:
    """Of the whole source, but for functions whose keys their callers make."""
    waiting: list[ast.AST] = [
        ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "loadtest").glob("_*.py"))
    ]
    while waiting:
        node = waiting.pop()
        if not (isinstance(node, ast.FunctionDef) and node.name in _MAKERS):
            yield node
            waiting += ast.iter_child_nodes(node)


def _pattern(key: ast.expr) -> str:
    """A regular expression for a key in the source; empty: it is passed on."""
    if isinstance(key, ast.Constant):
        return re.escape(str(key.value))
    if isinstance(key, ast.JoinedStr):
        return "".join(_pattern(part) or r"\w+" for part in key.values)
    return ""


def _source() -> tuple[re.Pattern[str], set[str]]:
    """The keys of figures, and the names of scenarios and of all fields, of which many are options or in JSON."""
    keys: list[str] = []
    fields: set[str] = set()
    for node in _nodes():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            fields.add(node.target.id)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "name":  # of a scenario
            fields.add(ast.unparse(node.value).strip("'"))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS:
            number, suffixes = _MAKERS[node.func.id]
            if pattern := _pattern(node.args[number]):
                keys.append(pattern + suffixes)
    return re.compile("|".join(keys)), fields


@pytest.mark.parametrize("manual", ["load-tests.md", "load-scenarios.md", "load-your-server.md"])
def test_every_figure_that_the_manual_names_is_made(manual: str) -> None:
    figures, fields = _source()
    others = {*fields, *Limits.__struct_fields__, *ClientConfig.__struct_fields__, *KINDS}
    others |= {"on_event"}  # an argument of LiveUser.stream()
    text = (ROOT / "docs" / manual).read_text(encoding="utf-8")
    named = {word for word in _WORD.findall(text) if not word.startswith(("liverpc_load_", "http_"))}
    assert [word for word in sorted(named - others) if not figures.fullmatch(word)] == []
