"""What of a filter a server can evaluate: kinds, globs of names, whether a call failed, and how long it took.

Regular expressions and payloads stay here: the first could keep a server busy, and with the second one could guess
at what was redacted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from liverpc.inspector.protocol import Match
from liverpc_devtools.core.terms import All, Any_, Node, Not, Term, number

__all__ = ["SLOW_MS", "Area", "area"]

SLOW_MS = 100.0  #: a call that took as long is slow

_MAX_GLOBS, _MAX_GLOB = 16, 256
_CARRIERS = ("binary", "upload")  # further kinds of calls
_KINDS = ("pub", "rpc", "conn")
_NAMES = {"topic": "pub", "event": "pub", "path": "rpc"}  # fields with globs, and the only kind that has them


@dataclass(frozen=True)
class _Wanted:
    """What is wanted of one kind. None: whatever the name."""

    topic: tuple[str, ...] | None = None
    event: tuple[str, ...] | None = None
    path: tuple[str, ...] | None = None
    ok: bool | None = None
    min_ms: float = 0.0


@dataclass(frozen=True)
class Area:
    """A set of events around those that a filter lets through.

    Attributes:
        kinds: What is wanted of each kind; of those left out nothing is.
        exact: Whether it is the very set.
    """

    kinds: dict[str, _Wanted]
    exact: bool = True

    def match(self) -> Match:
        """For the server."""
        if not self.kinds:
            return Match()  # a match without kinds has all of them
        pub, rpc = self.kinds.get("pub", _Wanted()), self.kinds.get("rpc", _Wanted())
        return Match(
            kind=[] if len(self.kinds) == len(_KINDS) else list(self.kinds),
            topic=list(pub.topic or ()),
            event=list(pub.event or ()),
            path=list(rpc.path or ()),
            ok=rpc.ok,
            min_ms=rpc.min_ms,
        )


def area(node: Node, test: Callable[[Term], Callable[[object], bool]]) -> Area:
    """The set of ``node``; ``test`` makes what a term does with a value."""
    found = _area(node, test, wanted=True)
    return replace(found, exact=found.exact and bool(found.kinds))


def _area(node: Node, test: Callable[[Term], Callable[[object], bool]], *, wanted: bool) -> Area:
    if isinstance(node, Not):
        return _area(node.part, test, wanted=not wanted)
    if isinstance(node, All | Any_):
        areas = [_area(each, test, wanted=wanted) for each in node.parts]
        if isinstance(node, All) is wanted:
            result = _everything(exact=True)
            for each in areas:
                result = _both(result, each)
            return result
        result = Area({})
        for each in areas:
            result = _either(result, each)
        return result
    return _term(node, test(node), wanted) if isinstance(node, Term) else _everything(exact=False)


def _everything(*, exact: bool) -> Area:
    return Area({kind: _Wanted() for kind in _KINDS}, exact)


def _term(node: Term, test: Callable[[object], bool], wanted: bool) -> Area:
    without = test(None) is wanted  # kinds of events that do not have the field
    if node.name == "kind":
        shares = {kind: test((kind, *_CARRIERS) if kind == "rpc" else kind) for kind in _KINDS}
        sure = test("rpc") or not any(map(test, _CARRIERS))
        kinds = [kind for kind in _KINDS if shares[kind] is wanted or (kind == "rpc" and not sure)]
        return Area(dict.fromkeys(kinds, _Wanted()), sure)
    if node.name in _NAMES and node.operator == ":" and len(node.value) <= _MAX_GLOB:
        owner, sure = _NAMES[node.name], True
        kinds_left = {kind: _Wanted() for kind in _KINDS if kind != owner and without}
        if node.name == "event":  # of connections it says what happened, for which a match has no word
            told = [test(what) is wanted for what in ("open", "close")]
            kinds_left |= {"conn": _Wanted()} if any(told) else {}
            sure = all(told) or not any(told)
        if not wanted:
            return Area({**kinds_left, owner: _Wanted()}, exact=False)
        named: dict[str, Any] = {node.name: (node.value,)}
        glob = _Wanted(**named)
        return Area({**kinds_left, owner: glob}, sure and (node.wild or "*" not in node.value))
    if node.name in ("ok", "is", "ms"):
        return _of_calls(node, test, wanted, without)
    return _everything(exact=False)


def _of_calls(node: Term, test: Callable[[object], bool], wanted: bool, without: bool) -> Area:
    if node.name == "is":
        if not wanted or node.value.casefold() not in ("error", "slow") or node.operator != ":":
            return _everything(exact=False)
        rpc = _Wanted(ok=False) if test("error") else _Wanted(min_ms=SLOW_MS)
        return Area({"rpc": rpc})
    kinds = {kind: _Wanted() for kind in ("pub", "conn") if without}
    if node.name == "ok":
        passing = [ok for ok in (True, False) if test(ok) is wanted]
        if passing:
            kinds["rpc"] = _Wanted(ok=passing[0] if len(passing) == 1 else None)
        return Area(kinds)
    if wanted and node.operator in (">", ">="):
        amount = number(node.value) or 0.0
        return Area({**kinds, "rpc": _Wanted(min_ms=max(amount, 0.0))}, exact=node.operator == ">=" and amount >= 0)
    return Area({**kinds, "rpc": _Wanted()}, exact=False)


def _both(one: Area, other: Area) -> Area:
    kinds, exact = {}, one.exact and other.exact
    for kind in one.kinds.keys() & other.kinds.keys():
        a, b = one.kinds[kind], other.kinds[kind]
        if a.ok is not None and b.ok is not None and a.ok is not b.ok:
            continue
        names = {}
        for name in ("topic", "event", "path"):
            first, second = getattr(a, name), getattr(b, name)
            names[name] = second if first is None else first
            exact = exact and (first is None or second is None or first == second)
        ok = b.ok if a.ok is None else a.ok
        kinds[kind] = _Wanted(**names, ok=ok, min_ms=max(a.min_ms, b.min_ms))
    return Area(_ordered(kinds), exact)


def _either(one: Area, other: Area) -> Area:
    kinds, exact = {**one.kinds, **other.kinds}, one.exact and other.exact
    for kind in one.kinds.keys() & other.kinds.keys():
        a, b = one.kinds[kind], other.kinds[kind]
        if a == b:
            continue
        names, different = {}, 0
        for name in ("topic", "event", "path"):
            first, second = getattr(a, name), getattr(b, name)
            union = None if first is None or second is None else tuple(dict.fromkeys((*first, *second)))
            names[name] = union if union is None or len(union) <= _MAX_GLOBS else None
            exact = exact and (union is None or len(union) <= _MAX_GLOBS)
            different += first != second
        ok = a.ok if a.ok is b.ok else None
        different += a.ok is not b.ok
        different += a.min_ms != b.min_ms
        kinds[kind] = _Wanted(**names, ok=ok, min_ms=min(a.min_ms, b.min_ms))
        exact = exact and different <= 1  # of two differences the mixed cases would be let through, too
    return Area(_ordered(kinds), exact)


def _ordered(kinds: dict[str, _Wanted]) -> dict[str, _Wanted]:
    return {kind: kinds[kind] for kind in _KINDS if kind in kinds}
