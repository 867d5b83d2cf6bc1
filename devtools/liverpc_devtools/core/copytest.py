"""Copy a call as a test: a complete pytest file that makes it again and expects the same of it.

Everything recorded is chosen by whoever talks to the server, so nothing of it gets into the file but as the ``repr`` of
plain data, or as a comment after :func:`~liverpc_devtools.core.text.clean`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from liverpc.inspector.protocol import CallEvent, Declared, PublishEvent
from liverpc_devtools.core.model import Model
from liverpc_devtools.core.text import clean, date

__all__ = ["Listened", "as_test", "listened", "test_of"]

Listened = tuple[str, Sequence[Any]]  # path and arguments of a stream

_LOST = re.compile(r"^\[REDACTED\]$|^\[depth-cap\]$|^\[cycle\]$|\[\+\d+ (more|characters)\]$|^\[\d+ bytes\]$")
_MADE_UP = re.compile(
    r"^(.*_)?(id|ids|uuid|guid|nonce|at|ts|time|timestamp|created|updated|modified|date)$|[a-z](Id|Ids|At|Time)$"
)
_LOOKS_MADE_UP = re.compile(
    r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$|^[0-9a-f]{16,}$|^\d{4}-\d\d-\d\d[T ]\d\d:\d\d", re.IGNORECASE
)
_KINDS: tuple[tuple[type, str], ...] = ((bool, "bool"), (int, "int"), (float, "(int, float)"), (str, "str"))
_MAX_NAMES = 3  # in the template of a topic: what fits into several can take long to find out
_GONE = ("deleted", "removed", "left")

_HEAD = '''"""{title}

Written by liverpc-tui from a call of {when}. It needs a fixture `live_server` that returns your server.
Where `on_connect` decides who somebody is, define a fixture `live_client`; see docs/testing.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from liverpc import RpcError, remote
from liverpc.testing import TestClient
'''
_SOME = '''

class Some:
    """Equal to any value of a type: what is made up at run time differs from run to run."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self.kind)

    def __repr__(self) -> str:
        return f"Some({self.kind})"
'''
_SHOWS = '''

def shows(value: Any, data: Any) -> bool:
    """Whether a stream's value is what was published, or has it among its rows."""
    rows = value if isinstance(value, list) else [value]
    if isinstance(data, dict):
        return any(isinstance(row, dict) and all(row.get(key) == each for key, each in data.items()) for row in rows)
    return value == data or data in rows
'''


def as_test(
    call: CallEvent,
    *,
    published: Sequence[PublishEvent] = (),
    streams: Mapping[str, Listened] | None = None,
    wall: float | None = None,
) -> str:
    """The file.

    Args:
        call: That was recorded.
        published: What it led to.
        streams: By topic, how to listen to it, as far as it is known: see :func:`listened`.
        wall: When it was, in seconds since the epoch.
    """
    name = re.sub(r"\W+", "_", call.path, flags=re.ASCII).strip("_").lower() or "call"
    lines = [f"async def test_{name}(live_client: Callable[[str], TestClient]) -> None:"]
    body = list(_body(call, published, streams or {}))
    lines += [f"    {line}" if line else "" for line in body]
    text = "\n".join(lines)
    when = ("" if wall is None else date(wall)) or "another time"
    title = f"{_plain(call.path)} {'answers as it did' if call.ok else f'fails with {_plain(call.code)} as it did'}."
    parts = [_HEAD.format(title=title, when=when)]
    parts += [_SOME] if "Some(" in text else []
    parts += [_SHOWS] if "shows(" in text else []
    whole = "".join([*parts, "\n\n", text, "\n"])
    # What is imported is used: the test may have to pass the checks of a project.
    if "RpcError" not in text:
        whole = whole.replace("from liverpc import RpcError, remote\n", "from liverpc import remote\n")
    if "pytest." not in text:
        whole = whole.replace("import pytest\n\n", "")
    if "Any" not in text and "Some(" not in text and "shows(" not in text:
        whole = whole.replace("from typing import Any\n", "")
    return whole


def test_of(model: Model, call: CallEvent) -> str:
    """The file, with what a model knows of what the call led to."""
    led_to = [
        each for each in model.events.events() if isinstance(each, PublishEvent) and call.id and each.cause == call.id
    ]
    paths = {row.info.topic: row.info.path for row in model.rows.streams.values()}
    told = model.explored.declared
    streams: dict[str, Listened] = {}
    for topic in {each.topic for each in led_to} & paths.keys():
        how = None if told is None else listened(topic, paths[topic], told.paths)
        if how is not None:
            streams[topic] = how
    return as_test(call, published=led_to, streams=streams, wall=model.wall(call.at))


def listened(topic: str, path: str, declared: Iterable[Declared]) -> Listened | None:
    """How to listen to a topic that a stream of this path opened; None when that cannot be told from its name.

    Args:
        topic: Such as ``chat:general``.
        path: Of its stream.
        declared: What the server declares; of a stream with a template such as ``chat:{room}``.
    """
    stream = next((each for each in declared if each.path == path), None)
    if stream is None or not stream.topic:
        return None
    parts = re.split(r"\{(\w+)\}", stream.topic)
    names = parts[1::2]
    if len({*names}) < len(names) or len(names) > _MAX_NAMES or not all(map(str.isidentifier, names)):
        return None
    pattern = "".join(f"(?P<{part}>.+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    found = re.fullmatch(pattern, topic, flags=re.DOTALL)
    if found is None:
        return None
    args: list[Any] = []
    for name, schema, needed in stream.parameters:
        if name not in found.groupdict():
            if needed:
                return None
            break
        value = found[name]
        args.append(int(value) if schema.get("type") == "integer" and re.fullmatch(r"-?[0-9]{1,18}", value) else value)
    return path, args


def _body(call: CallEvent, published: Sequence[PublishEvent], streams: Mapping[str, Listened]) -> Iterator[str]:
    yield from _missing(call, published)
    yield f"client = live_client({_literal(call.user)})"
    heard = [each for each in published if each.topic in streams]
    for number, each in enumerate(_firsts(heard)):
        path, spelled = streams[each.topic]
        spread = "".join(f", {_literal(arg)}" for arg in spelled)
        yield f"handle_{number} = await client.subscribe(remote({_literal(path)}){spread})"
    args = call.args if isinstance(call.args, dict) else {}
    yield f"args = {_literal({name: each for name, each in args.items() if name != '…'})}"
    target = f"remote({_literal(call.path)}), *args.values()"
    if not call.ok:
        yield "with pytest.raises(RpcError) as caught:"
        yield f"    await client.{'subscribe' if call.stream else 'call'}({target})"
        yield f"assert caught.value.code == {_literal(call.code)}"
    elif call.stream:
        yield f"handle = await client.subscribe({target})"
        yield "assert handle.status == 'connected'"
    else:
        yield f"result = await client.call({target})"
        if call.result is not msgspec.UNSET:
            yield from _loosely("result", call.result)
            yield f"assert result == {_expected(call.result)}"
    yield from _events(published, heard, streams)


def _events(
    published: Sequence[PublishEvent], heard: Sequence[PublishEvent], streams: Mapping[str, Listened]
) -> Iterator[str]:
    numbers = {each.topic: number for number, each in enumerate(_firsts(heard))}
    for each in published:
        if each.topic not in streams:
            yield f"# published on {_plain(each.topic)!r}: {_plain(each.event)!r}; how to listen to it is not known"
            continue
        if each.data is msgspec.UNSET:
            continue
        yield from _loosely(f"what was published on {_plain(each.topic)}", each.data)
        yield f"data_{numbers[each.topic]} = {_expected(each.data)}"
        not_ = "not " if each.event in _GONE else ""
        number = numbers[each.topic]
        yield f"await handle_{number}.wait_for(lambda value: {not_}shows(value, data_{number}))"


def _firsts(published: Iterable[PublishEvent]) -> list[PublishEvent]:
    return list({each.topic: each for each in reversed(list(published))}.values())[::-1]


def _missing(call: CallEvent, published: Sequence[PublishEvent]) -> Iterator[str]:
    """Calls that fail the test by name for each value that was not recorded as it was."""
    if call.args is msgspec.UNSET:
        yield "pytest.fail('the arguments were not recorded: give them, then remove this line')"
    else:
        yield from _lost("args", call.args)
        if isinstance(call.args, dict) and call.args.get("…"):
            yield "# surplus arguments, which the server ignored, are left out"
    if call.carries:
        text = f"the {clean(call.carries)} data was not recorded: send it, then remove this line"
        yield f"pytest.fail({_literal(text)})"
    if call.ok:
        yield from _lost("result", call.result)
    for each in published:
        yield from _lost(f"data of {each.topic}", each.data)


def _lost(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, str) and (found := _LOST.search(value)):
        how = "redacted" if found[0] == "[REDACTED]" else "cut"
        text = f"{clean(name)} was {how} in the recording: write a value instead, then remove this line"
        yield f"pytest.fail({_literal(text)})"
    elif isinstance(value, dict):
        for key, each in value.items():
            # Surplus arguments are told under this name by their number, which is no value.
            if not (name == "args" and key == "…" and not isinstance(each, str)):
                yield from _lost(f"{name}.{key}", each)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _lost(f"{name}[{index}]", each)


def _loosely(name: str, value: Any) -> Iterator[str]:
    found = sorted(set(_loose(value)))
    if found:
        yield f"# of {_plain(name)} only the type counts of: {', '.join(map(_plain, found))}"


def _loose(value: Any, name: str = "") -> Iterator[str]:
    if _is_loose(value, name):
        yield name or "the value"
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _loose(each, str(key))
    elif isinstance(value, list):
        for each in value:
            yield from _loose(each, name)


def _is_loose(value: Any, name: str) -> bool:
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return False
    return bool(_MADE_UP.search(name)) or (isinstance(value, str) and bool(_LOOKS_MADE_UP.search(value)))


def _expected(value: Any, name: str = "") -> str:
    """A literal, with ``Some(type)`` for what is made up at run time."""
    if _is_loose(value, name):
        return f"Some({next(text for kind, text in _KINDS if isinstance(value, kind))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_expected(each, str(key))}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_expected(each, name) for each in value) + "]"
    return _literal(value)


def _literal(value: Any) -> str:
    # ASCII: what can be hidden in source code, such as text that runs backwards, stays visible.
    return ascii(value)


def _plain(text: str) -> str:
    """For comments and the docstring."""
    return ascii(clean(text))[1:-1].replace('"', "'").replace("{", "(").replace("}", ")")
